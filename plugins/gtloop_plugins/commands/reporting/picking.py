"""Whether the sampler picked what teaches: its images against the blind random slice of the same batches.

The slice (purpose ``control``) is drawn from what the sampler has left, and refills validation. Each batch is a
stratum: means of the picked images are weighed by the number of random ones in their batch, so that a model that gets
better from batch to batch, and images that get scarcer, make no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import Context, Score, Task
from gtloop.models import cut_of
from gtloop.plots import Draw, Theme
from gtloop_plugins.commands.reporting.history import Picked, features, predicted
from gtloop_plugins.commands.reporting.marks import SURE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gtloop.opened import Run
    from gtloop.records import Payload
    from gtloop.registry import Registry

Floats = NDArray[np.float64]
FEWEST = 5
"""Images of either kind below which nothing is said."""
WHAT = {"error": "model's error", "confidence": "model's confidence", "objects": "{things} in an image"}
"""What is compared; error and confidence are of the model that the sampler went by, before it saw these labels."""


@dataclass(frozen=True)
class Comparison:
    """Means of picked and of random images.

    Attributes:
        n: Images picked and random.
        means: Of either.
        errors: Standard errors of these.
        difference: Picked - random, by batches; None where a batch has only one kind.
        error: Its standard error.
    """

    n: tuple[int, int]
    means: tuple[float, float]
    errors: tuple[float, float]
    difference: float
    error: float

    @property
    def interval(self) -> tuple[float, float]:
        """Of the difference, 95 %, by the normal distribution."""
        return self.difference - SURE * self.error, self.difference + SURE * self.error


Pair = tuple[Floats, Floats]
"""Values of the picked and of the random images of one batch."""


def compare(batches: Sequence[Pair]) -> Comparison | None:
    """Hold picked images against random ones of the same batches; None where either are fewer than ``FEWEST``.

    Batches without one of the two, which say nothing, are left out. The spread of random images is that within all
    batches together, as a batch may have only one of them.
    """
    both = [(p, c) for p, c in batches if len(p) and len(c)]
    picked, control = (np.concatenate([b[k] for b in both] or [np.zeros(0)]) for k in (0, 1))
    if min(len(picked), len(control)) < FEWEST:
        return None
    share = np.array([len(c) for _, c in both]) / len(control)
    means = np.array([p.mean() for p, _ in both]), np.array([c.mean() for _, c in both])
    within = [_within([b[k] for b in both]) for k in (0, 1)]
    variance = float(share**2 @ np.array([within[0] / len(p) + within[1] / len(c) for p, c in both]))
    weighed = float(share @ means[0]), float(share @ means[1])
    errors = tuple((within[k] * float(share**2 @ np.array([1 / len(b[k]) for b in both]))) ** 0.5 for k in (0, 1))
    return Comparison(
        n=(len(picked), len(control)),
        means=weighed,
        errors=(errors[0], errors[1]),
        difference=weighed[0] - weighed[1],
        error=variance**0.5,
    )


def _within(groups: Sequence[Floats]) -> float:
    """Variance within groups."""
    squares = sum(float(((g - g.mean()) ** 2).sum()) for g in groups)
    return squares / max(sum(len(g) for g in groups) - len(groups), 1)


# ------------------------------------------------------------------------------------------- of a run


@dataclass(frozen=True)
class Picking:
    """What came out: batches that were compared, and a comparison of each of ``WHAT`` that there is."""

    batches: int
    found: Mapping[str, Comparison]

    def facts(self) -> dict[str, Any]:
        """As JSON; null where nothing was compared."""
        return {"batches": self.batches, "verdict": self.verdict(), **{k: _facts(self.found.get(k)) for k in WHAT}}

    def verdict(self) -> str:
        """An honest sentence; empty where there is nothing to say."""
        if (error := self.found.get("error")) is None:
            return ""
        low, high = error.interval
        means = f"a mean error of {error.means[0]:.3f} against {error.means[1]:.3f} of random ones"
        interval = f"difference {error.difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
        if low > 0:
            return f"The sampler found images that the model did not know yet: {means} ({interval})"
        if high < 0:
            return f"The sampler picked images that the model knew already: {means} ({interval})"
        return (
            f"Whether the sampler found images that teach more than random ones is not to be seen: {means} ({interval})"
        )


NOTHING = Picking(0, {})
"""Where nothing is compared."""


def _facts(c: Comparison | None) -> dict[str, Any]:
    if c is None:
        return {"picked": None, "random": None, "picked_n": 0, "random_n": 0, "difference": None, "interval": None}
    return {
        "picked": c.means[0],
        "random": c.means[1],
        "picked_n": c.n[0],
        "random_n": c.n[1],
        "difference": c.difference,
        "interval": list(c.interval),
    }


def picking(
    run: Run, registry: Registry, task: Task, picks: Sequence[Picked], labels: Mapping[int, Payload]
) -> Picking:
    """Compare the batches of a run; ``labels``: people's, by row.

    While a run goes on, nothing is compared: the random slice is validation, and its losses are to choose nothing.
    """
    if not (run.state.facts.finished or run.state.facts.cancelled):
        return NOTHING
    score, cut = _score(run, registry), cut_of(run.state, run.settings)
    columns: dict[str, list[Pair]] = {name: [] for name in WHAT}
    for batch in picks:
        arms = [np.sort(rows) for rows in (batch.picked, batch.control)]
        values = [_values(run, task, score, batch.predictions, rows, labels, cut) for rows in arms]
        for name in WHAT:
            columns[name].append((values[0][name], values[1][name]))
    found = {name: c for name, pairs in columns.items() if (c := compare(pairs)) is not None}
    return Picking(sum(len(b.picked) > 0 and len(b.control) > 0 for b in picks), found)


def _score(run: Run, registry: Registry) -> Score:
    name = run.settings.run.score
    options = registry.options("score", name, run.settings.options("score", name))
    score: Score = registry.build("score", name, options, Context(categories=run.settings.run.classes))
    return score


def _values(
    run: Run, task: Task, score: Score, path: str | None, rows: Any, labels: Mapping[int, Payload], cut: float
) -> dict[str, Floats]:
    """Of those of ``rows`` that people have labelled: objects, the model's error and its confidence."""
    known = np.array([r for r in rows.tolist() if r in labels], np.int32)
    none = np.zeros(0)
    objects = np.array([task.count(labels[r]) for r in known.tolist()], np.float64)
    if path is None:
        return {"objects": objects, "error": none, "confidence": none}
    raws = predicted(run.store, path, known)
    errors = [float(task.error(task.label(raw, cut), labels[row])) for row, raw in raws]
    found, columns = features(run.store, path, known, tuple(task.feature_names))
    confidence = np.asarray(score.score(columns), np.float64) if len(found) else none
    return {"objects": objects, "error": np.array(errors, np.float64), "confidence": confidence}


def arms(found: Mapping[str, Comparison], things: str) -> Draw:
    """Means of picked and of random images with 95 % intervals, a panel a figure."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots(1, len(found), squeeze=False)[0]
        for ax, (name, c) in zip(axes, found.items(), strict=True):
            for x, colour in ((0, theme.machine), (1, theme.human)):
                ax.bar(x, c.means[x], 0.6, color=colour)
                ax.errorbar(x, c.means[x], SURE * c.errors[x], color=theme.ink, capsize=4, elinewidth=1.2)
                ax.annotate(
                    f"{c.means[x]:.2f}", (x + 0.06, c.means[x]), xytext=(2, 3), textcoords="offset points", fontsize=8.5
                )
            ax.set_xticks((0, 1), (f"picked, {c.n[0]}", f"random, {c.n[1]}"))
            ax.set(title=WHAT[name].format(things=things), xlim=(-0.6, 1.6))
            ax.margins(y=0.18)
            ax.set_ylim(bottom=0)

    return draw
