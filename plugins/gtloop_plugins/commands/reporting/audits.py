"""What audits have found, audit after audit: mean and bounds of the largest regions, and the plot of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gtloop.plots import Draw, Theme
from gtloop.regions import in_order, qualities, regions
from gtloop.running import running_bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gtloop.opened import Run

SHOWN = 3
"""Regions that the plot shows."""
POINTS = 60
"""Numbers of audits at which bounds are drawn, at most."""


@dataclass(frozen=True)
class Trail:
    """How the audit of a region went on.

    Attributes:
        name: Its look and slice.
        labels: Machine labels that were accepted.
        n: (k,) how far audits had come in its order.
        mean: (k,) mean quality of those checked up to there; NaN where none was.
        lower: (k,) bound of the mean of all ``labels``, and ``upper``.
        upper: (k,) the other one.
    """

    name: str
    labels: int
    n: NDArray[np.int64]
    mean: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


def trails(run: Run) -> list[Trail]:
    """The audits of a run, the regions with most labels first."""
    if not run.state.facts.audits:
        return []
    known = qualities(run.store, run.state)
    found = []
    for region in regions(run.store, run.state, run.settings.run.seed):
        values = in_order(region, run.state, known)
        if np.isnan(values).all():
            continue
        seen = ~np.isnan(values)
        n = np.unique(np.linspace(1, len(values), POINTS).round().astype(np.int64))
        low, high = np.where(seen, values, 0.0), np.where(seen, values, 1.0)
        bounds = running_bounds(low, high, len(region.rows), run.settings.promise.delta, n.tolist())
        count = np.cumsum(seen)[n - 1]
        mean = np.where(count > 0, np.cumsum(low)[n - 1] / np.maximum(count, 1), np.nan)
        lower, upper = (np.array(column) for column in zip(*bounds, strict=True))
        found.append(Trail(f"look {region.look}, {region.slice}", len(region.rows), n, mean, lower, upper))
    return sorted(found, key=lambda trail: -trail.labels)


def running_bound(shown: Sequence[Trail], target: float | None, metric: str) -> Draw:
    """Mean and bounds against the number audited, one panel a region; ``target`` is what was promised of each."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for ax, trail in zip(axes, shown, strict=True):
            ax.fill_between(trail.n, trail.lower, trail.upper, color=theme.human, alpha=0.2, linewidth=0)
            ax.plot(trail.n, trail.lower, color=theme.human, linewidth=1.2)
            ax.plot(trail.n, trail.upper, color=theme.human, linewidth=1.2)
            ax.plot(trail.n, trail.mean, color=theme.ink, linewidth=1.6)
            if target is not None:
                ax.axhline(target, color=theme.machine, linewidth=1.6, linestyle=(0, (2, 2)))
            ax.set(title=f"{trail.name}: {trail.labels} machine labels", xlabel="audited", ylim=(0, 1.02))
            ax.set_xlim(0, max(int(trail.n[-1]), 2))
        axes[0].set_ylabel(metric)

    return draw
