"""The plots of a report, drawn with matplotlib: each a function of plain data, in a light or a dark theme.

Colours mean the same everywhere: blue is people, orange is the machine, green is the truth. No text in a
plot repeats what its caption says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtloop.plots import HUMAN, MACHINE, Draw, Theme
from gtloop_plugins.commands.reporting.measure import Floats, Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gtloop.workers import Worker

ANSWER = "#9fb6da"
"""Single answers of people: a paler blue than their label."""
COLOURS = {"human": HUMAN, "machine": MACHINE}
NAMES = {"human": "people", "machine": "machine"}
BINS = np.linspace(0, 1, 17)
MAX_CATEGORIES = 30
"""Categories that a plot shows, the most frequent ones."""
MAX_CONFUSION = 12
"""Categories up to which a confusion matrix writes its numbers into the cells."""


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
        _legend(axes[-1])

    return draw


def cost(iterations: Sequence[Mapping[str, Any]], machine_fee: float, if_all_human: float) -> Draw:
    """Dollars of every iteration by source, and their running total against people labelling everything.

    Args:
        iterations: With ``n``, ``machine`` and ``cost_usd``.
        machine_fee: Dollars that one machine label costs.
        if_all_human: Dollars that people would have cost for every image.
    """

    def draw(figure: Figure, theme: Theme) -> None:
        left, right = figure.subplots(1, 2)
        n = [int(i["n"]) for i in iterations]
        paid = np.array([float(i["cost_usd"]) for i in iterations])
        machine = np.minimum([machine_fee * i["machine"] for i in iterations], paid)
        _stacked(left, theme, n, paid - machine, machine)
        left.set(title="US dollars", xlabel="iteration")
        _legend(left)
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
        _whole(right, n)

    return draw


def _stacked(ax: Axes, theme: Theme, n: Sequence[int], human: Any, machine: Any) -> None:
    ax.bar(n, human, 0.66, color=theme.human, label="people")
    ax.bar(n, machine, 0.66, bottom=human, color=theme.machine, label="machine")
    _whole(ax, n)


def _whole(ax: Axes, n: Sequence[int]) -> None:
    """Whole iterations on the x axis, with room around a single one."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if n:
        ax.set_xlim(min(n) - 0.6, max(n) + 0.6)


def _legend(ax: Axes) -> None:
    """The legend above the plot, on the right, where it hides nothing."""
    for handle in ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderpad=0.2).legend_handles:
        if handle is not None:
            handle.set_alpha(1)


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
                lines.append((target, f"promised mean {target:g}", theme.ink))
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


def confidence(points: Mapping[str, tuple[Floats, Floats]], groups: Sequence[Group], metric: str, of: str) -> Draw:
    """Quality against confidence: every image with a least-squares line a source, and group means.

    Args:
        points: Source to (confidence, quality), (n,) each.
        groups: Of the source ``of``, most confident first.
        metric: Name of the quality.
        of: ``human`` or ``machine``.
    """

    def draw(figure: Figure, theme: Theme) -> None:
        left, right = figure.subplots(1, 2)
        for source, (x, y) in points.items():
            colour = getattr(theme, source)
            left.scatter(x, y + _spread(y), s=14, color=colour, alpha=_alpha(len(x)), linewidths=0, label=NAMES[source])
            if len(x) > 2 and np.ptp(x) > 1e-9:
                slope, at = np.polyfit(x, y, 1)
                ends = np.array([x.min(), x.max()])
                left.plot(ends, slope * ends + at, color=colour, linewidth=1.6)
        binary = all(_is_binary(y) for _, y in points.values())
        left.set(
            title="every image, spread a little" if binary else "every image",
            xlabel="confidence",
            ylabel=metric,
            xlim=(-0.05, 1.05),
            ylim=(-0.05, 1.05),
        )
        _legend(left)
        colour = getattr(theme, of)
        middle = [(g.first + g.last) / 2 for g in groups]
        width = [0.86 * (g.last - g.first) for g in groups]
        right.bar(middle, [g.quality for g in groups], width, color=colour, alpha=0.55, label="this group")
        right.plot(
            [g.last for g in groups],
            [g.top for g in groups],
            "o-",
            color=theme.ink,
            markersize=3.5,
            label="all up to here",
        )
        right.set(
            title=NAMES[of],
            xlabel="% of images, sorted by confidence, surest first",
            ylabel=metric if metric.startswith("mean") else f"mean {metric}",
            xlim=(0, 100),
            ylim=(0, 1.05),
        )
        _legend(right)

    return draw


def _is_binary(y: Floats) -> bool:
    return bool(np.isin(y, (0.0, 1.0)).all())


def _spread(y: Floats) -> Floats:
    """(n,) small offsets that keep points of 0/1 quality from hiding each other; zeros for other qualities."""
    return np.random.default_rng(0).uniform(-0.035, 0.035, len(y)) * _is_binary(y)


def _alpha(n: int) -> float:
    return float(np.clip(60 / max(n, 1), 0.15, 0.7))


# ----------------------------------------------------------------------------------------- people


def people(workers: Sequence[Worker], timed: bool, metric: str) -> Draw:
    """Quality against median time (``timed``) or number of answers, one dot a worker; all have a quality."""

    def draw(figure: Figure, theme: Theme) -> None:
        ax = figure.subplots()
        x = np.array([w.seconds if timed else w.answers for w in workers], np.float64)
        y = np.array([w.quality for w in workers], np.float64)
        scored = np.array([w.scored for w in workers], np.float64)
        rings = [theme.ink if w.flag else theme.paper for w in workers]
        ax.scatter(x, y, s=14 + 140 * scored / scored.max(), color=theme.human, alpha=0.75, edgecolors=rings)
        for w, at in zip(workers, zip(x, y, strict=True), strict=True):
            if w.flag:
                ax.annotate(_short(w.worker), at, textcoords="offset points", xytext=(8, -3), fontsize=8.5)
        ax.set(xscale="log", xlabel="median seconds of an answer" if timed else "answers", ylabel=metric)
        ax.set_ylim(-0.05, 1.05)
        ax.xaxis.set_major_formatter("{x:g}")

    return draw


# ------------------------------------------------------------------------------- objects, categories


def objects(human: Sequence[int], machine: Sequence[int], things: str) -> Draw:
    """Images by number of ``things`` in their label."""

    def draw(figure: Figure, theme: Theme) -> None:
        ax = figure.subplots()
        top = min(max([*human, *machine, 1]), 20)
        x = np.arange(top + 1)
        for values, source, shift in ((human, "human", -0.2), (machine, "machine", 0.2)):
            counts = np.bincount(np.minimum(np.array(values, int), top), minlength=top + 1)
            ax.bar(x + shift, counts, 0.38, color=getattr(theme, source), label=NAMES[source])
        ax.set_xticks(x, [*map(str, x[:-1]), f"{top}+" if max([*human, *machine, 0]) > top else str(top)])
        ax.set(xlabel=f"{things} in the label", ylabel="images")
        _legend(ax)

    return draw


def most_frequent(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The categories that a plot shows."""
    return sorted(counts, key=lambda c: -(counts[c]["human"] + counts[c]["machine"]))[:MAX_CATEGORIES]


def categories(counts: Mapping[str, Mapping[str, int]], truth: bool) -> Draw:
    """Objects of every category by source, with the true number as a mark; the most frequent ones."""
    ordered = most_frequent(counts)

    def draw(figure: Figure, theme: Theme) -> None:
        ax = figure.subplots()
        y = np.arange(len(ordered))
        human = np.array([counts[c]["human"] for c in ordered])
        ax.barh(y, human, 0.66, color=theme.human, label="people")
        ax.barh(y, [counts[c]["machine"] for c in ordered], 0.66, left=human, color=theme.machine, label="machine")
        if truth:
            true = [counts[c]["truth"] for c in ordered]
            ax.plot(true, y, "|", color=theme.truth, markersize=16, markeredgewidth=2.4, label="truth")
        ax.set_yticks(y, [_short(c) for c in ordered])
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.grid(axis="x", visible=True)
        _legend(ax)

    return draw


def by_category(names: Sequence[str], panels: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> Draw:
    """Figures in [0, 1] of every category: a panel a figure, which holds source to category to value."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        y = np.arange(len(names))
        for ax, (title, values) in zip(axes, panels.items(), strict=True):
            height = 0.76 / len(values)
            for n, (source, of) in enumerate(values.items()):
                known = [of.get(c) or 0.0 for c in names]
                shift = (n - (len(values) - 1) / 2) * height
                ax.barh(y + shift, known, height, color=getattr(theme, source), label=NAMES[source])
            ax.set(title=title, xlim=(0, 1))
            ax.grid(axis="y", visible=False)
            ax.grid(axis="x", visible=True)
        axes[0].set_yticks(y, [_short(c) for c in names])
        axes[0].invert_yaxis()
        _legend(axes[-1])

    return draw


def confusion(names: Sequence[str], panels: Sequence[tuple[str, NDArray[np.int64]]]) -> Draw:
    """Confusion matrices side by side: rows are the truth, columns the label; shade is the share of the row."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, (source, table) in zip(axes, panels, strict=True):
            share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
            ax.imshow(share, cmap=_shades(theme, source), vmin=0, vmax=1)
            wrong = 1 - np.trace(table) / max(table.sum(), 1)
            ax.set(title=f"{NAMES[source]}: {table.sum()} images, {wrong:.1%} wrong", xlabel="label", ylabel="truth")
            ticks = range(len(names))
            ax.set_xticks(ticks, [_short(n) for n in names], rotation=90 if len(names) > 4 else 0)
            ax.set_yticks(ticks, [_short(n) for n in names])
            ax.grid(visible=False)
            if len(names) <= MAX_CONFUSION:
                for i, j in zip(*np.nonzero(table), strict=True):
                    ink = theme.paper if share[i, j] > 0.6 else theme.ink
                    ax.text(j, i, str(table[i, j]), ha="center", va="center", fontsize=8, color=ink)

    return draw


def _shades(theme: Theme, source: str) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(source, [theme.paper, getattr(theme, source)])


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"
