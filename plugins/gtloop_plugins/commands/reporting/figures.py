"""The plots of a report, drawn with matplotlib: each a function of plain data, in a light or a dark theme.

Colours mean the same everywhere: blue is people, orange is the machine, green is the truth. No text in a
plot repeats what its caption says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gtloop.plots import HUMAN, MACHINE, Draw, Theme
from gtloop_plugins.commands.reporting.groups import Floats, Group
from gtloop_plugins.commands.reporting.marks import SURE, few_ticks, legend, named, room, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"human": HUMAN, "machine": MACHINE}
NAMES = {"human": "people", "machine": "machine"}
BINS = np.linspace(0, 1, 17)
MANY = 2000
"""Dots from which an SVG holds them as pixels."""
MOST_OBJECTS = 20
"""Objects in an image beyond which images count as one group."""


# ------------------------------------------------------------------------------------- iterations


def progress(iterations: Sequence[Mapping[str, Any]], things: str) -> Draw:
    """Images (and ``things`` in them, unless empty) of every iteration, people below the machine."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots(1, 2 if things else 1, squeeze=False)[0]
        n = [int(i["n"]) for i in iterations]
        _stacked(axes[0], theme, n, [i["human"] for i in iterations], [i["machine"] for i in iterations])
        axes[0].set(title="images", xlabel="iteration")
        if things:
            of = [i["objects"] for i in iterations]
            _stacked(axes[1], theme, n, [o["human"] for o in of], [o["machine"] for o in of])
            axes[1].set(title=f"{things} in their labels", xlabel="iteration")
        legend(axes[-1])

    return draw


def cost(iterations: Sequence[Mapping[str, Any]], if_all_human: float) -> Draw:
    """Dollars of every iteration by source, and their running total against people labelling everything.

    Args:
        iterations: With ``n``, ``cost_usd``, and what of it is the machine's, ``machine_usd``.
        if_all_human: Dollars that people would have cost for every image.
    """

    def draw(figure: Figure, theme: Theme) -> None:
        left, right = figure.subplots(1, 2)
        n = [int(i["n"]) for i in iterations]
        paid = np.array([float(i["cost_usd"]) for i in iterations])
        machine = np.array([float(i["machine_usd"]) for i in iterations])
        _stacked(left, theme, n, paid - machine, machine)
        left.set(title="US dollars", xlabel="iteration")
        legend(left)
        right.step(n, np.cumsum(paid), where="mid", color=theme.ink, linewidth=1.6)
        right.axhline(if_all_human, color=theme.human, linestyle=(0, (4, 3)), linewidth=1.2)
        right.annotate(
            f"people label everything: ${if_all_human:,.2f}",
            (0.02, if_all_human),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            xytext=(0, -11),
            color=theme.human,
            fontsize=8.5,
        )
        right.set(title="US dollars, running total", xlabel="iteration")
        right.set_ylim(0, 1.08 * max(if_all_human, float(paid.sum()), 0.01))
        whole(right, n)

    return draw


def _stacked(ax: Axes, theme: Theme, n: Sequence[int], human: Any, machine: Any) -> None:
    ax.bar(n, human, 0.66, color=theme.human, label=named("people", human))
    ax.bar(n, machine, 0.66, bottom=human, color=theme.machine, label=named("machine", machine))
    ax.set_ylim(0, 1.08 * max(float(np.max(np.add(human, machine))), 0.01))
    whole(ax, n)


# ---------------------------------------------------------------------------------------- quality


def histogram(quality: Mapping[str, Floats], target: float | None, metric: str) -> Draw:
    """Images by quality in 16 bins, one panel a source, with the mean and the promised mean."""

    def draw(figure: Figure, theme: Theme) -> None:
        shown = [s for s in ("human", "machine") if len(quality[s])]
        axes = figure.subplots(1, len(shown), sharex=True, squeeze=False)[0]
        for ax, source in zip(axes, shown, strict=True):
            values = quality[source]
            ax.hist(values, BINS, color=getattr(theme, source), edgecolor=theme.paper, linewidth=0.6)
            mean = float(values.mean())
            ax.axvline(mean, color=theme.ink, linewidth=1.6, clip_on=False)
            ax.set(title=f"{NAMES[source]}: {len(values)} images, mean {mean:.3f}", xlabel=metric, xlim=(0, 1))
            lines = [(mean, "mean", theme.ink)]
            if source == "machine" and target is not None:
                ax.axvline(target, color=theme.ink, linewidth=1.6, linestyle=(0, (2, 2)))
                lines.append((target, f"target {target:g}", theme.ink))
            _name_lines(ax, lines)
        axes[0].set_ylabel("images")

    return draw


def _name_lines(ax: Axes, lines: Sequence[tuple[float, str, str]]) -> None:
    """Write names next to vertical lines, one below the other, on the side that has room."""
    ax.margins(y=0.3)
    for i, (x, name, colour) in enumerate(lines):
        left = x > 0.5
        ax.annotate(
            name,
            (x, 0.97 - 0.08 * i),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            xytext=(-4 if left else 4, 0),
            ha="right" if left else "left",
            va="top",
            fontsize=8.5,
            color=colour,
        )


def confidence(points: Mapping[str, tuple[Floats, Floats]], groups: Mapping[str, Sequence[Group]], metric: str) -> Draw:
    """Quality against confidence: every image with a least-squares line a source, and means above rising thresholds.

    Args:
        points: Source to (confidence, quality), (n,) each.
        groups: Of each source, most confident first.
        metric: Name of the quality.
    """

    def draw(figure: Figure, theme: Theme) -> None:
        left, right = figure.subplots(1, 2)
        _images(left, theme, points, metric)
        for source, of in groups.items():
            x, y = np.array([g.last for g in of]), np.array([g.top for g in of])
            spread = SURE * np.array([g.error or 0.0 for g in of])
            colour = getattr(theme, source)
            right.fill_between(x, y - spread, np.minimum(y + spread, 1), color=colour, alpha=0.15, linewidth=0)
            right.plot(x, y, "o-", color=colour, markersize=3.5, linewidth=1.6, label=NAMES[source])
        right.set(
            title="rising thresholds",
            xlabel="% of images that are left, the surest",
            ylabel=metric if metric.startswith("mean") else f"mean {metric}",
            xlim=(103, 0),
        )
        right.set_xticks(range(100, 0, -10))
        right.set_ylim(*room([g.top for of in groups.values() for g in of]))
        legend(right)

    return draw


def _images(ax: Axes, theme: Theme, points: Mapping[str, tuple[Floats, Floats]], metric: str) -> None:
    binary = all(bool(np.isin(y, (0.0, 1.0)).all()) for _, y in points.values())
    for source, (x, y) in points.items():
        colour = getattr(theme, source)
        ax.scatter(x, _spread(y) if binary else y, s=14, color=colour, alpha=_alpha(len(x)), linewidths=0,
                   label=NAMES[source], rasterized=len(x) > MANY)  # fmt: skip
        if len(x) > 2 and np.ptp(x) > 1e-9:
            slope, at = np.polyfit(x, y, 1)
            ends = np.array([x.min(), x.max()])
            ax.plot(ends, slope * ends + at, color=colour, linewidth=1.6)
    ax.set(
        title="every image, spread a little" if binary else "every image",
        xlabel="confidence",
        ylabel=metric,
        xlim=(-0.05, 1.05),
        ylim=(-0.05, 1.05),
    )
    legend(ax)


def _spread(y: Floats) -> Floats:
    """(n,) 0/1 qualities moved inwards a little, so that points don't hide each other."""
    inwards = np.random.default_rng(0).uniform(0, 0.07, len(y))
    moved: Floats = np.where(y > 0.5, y - inwards, y + inwards)
    return moved


def _alpha(n: int) -> float:
    return float(np.clip(60 / max(n, 1), 0.15, 0.7))


# ---------------------------------------------------------------------------------------- objects


def objects(by: Mapping[str, Sequence[Mapping[str, Any]]], things: str) -> Draw:
    """Images by number of ``things`` in their label, and how sure they are on average.

    Args:
        by: Source to ``objects``, ``images`` and ``confidence`` of each number that there is.
        things: What is counted.
    """
    most = max((g["objects"] for of in by.values() for g in of), default=1)
    top = min(max(most, 1), MOST_OBJECTS)

    def draw(figure: Figure, theme: Theme) -> None:
        left, right = figure.subplots(1, 2)
        x = np.arange(top + 1)
        for source, shift in (("human", -0.2), ("machine", 0.2)):
            counts, sums = np.zeros(top + 1), np.zeros(top + 1)
            for g in by[source]:
                counts[min(g["objects"], top)] += g["images"]
                sums[min(g["objects"], top)] += g["images"] * g["confidence"]
            left.bar(x + shift, counts, 0.38, color=getattr(theme, source), label=named(NAMES[source], counts))
            seen = counts > 0
            size = 20 + 160 * counts[seen] / max(counts.max(), 1)
            right.scatter(x[seen] + shift / 2, sums[seen] / counts[seen], s=size, marker="D", linewidths=0,
                          color=getattr(theme, source), alpha=0.8)  # fmt: skip
        ticks = x if top <= 10 else x[::5]
        names = [f"{n}+" if n == top < most else str(n) for n in ticks]
        for ax in (left, right):
            ax.set_xticks(ticks, names)
            ax.set(xlabel=f"{things} in the label")
        left.set_title("images")
        if _spans(by):
            left.set_yscale("log")
            few_ticks(left.yaxis, (1,))
        right.set(title="mean confidence of these images", ylim=(0, 1.08), xlim=(-0.6, top + 0.6))
        legend(left)

    return draw


def _spans(by: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    """Whether counts differ so much that small ones would not be seen."""
    counts = [g["images"] for of in by.values() for g in of]
    return max(counts, default=1) > 30 * min(counts, default=1)
