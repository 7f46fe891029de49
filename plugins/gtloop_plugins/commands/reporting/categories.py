"""The plots of categories: how many of each, by whom and when, how well, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gtloop.plots import Draw, Theme
from gtloop_plugins.commands.reporting.figures import NAMES
from gtloop_plugins.commands.reporting.marks import legend, named, short, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CATEGORIES = 30
"""Categories that a plot shows, the most frequent ones."""
MAX_PANELS, COLUMNS = 12, 4
"""Categories that have a panel of their own, and panels in a row."""
MAX_CONFUSION = 12
"""Categories up to which a confusion matrix writes its numbers into the cells."""


def most_frequent(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The categories that a plot shows."""
    return sorted(counts, key=lambda c: -(counts[c]["human"] + counts[c]["machine"]))[:MAX_CATEGORIES]


def categories(
    counts: Mapping[str, Mapping[str, int]], confidence: Mapping[str, Mapping[str, float | None]], truth: bool
) -> Draw:
    """Objects of every category by source, with the true number as a mark, and how sure they are on average.

    The most frequent categories only.
    """
    ordered = most_frequent(counts)

    def draw(figure: Figure, theme: Theme) -> None:
        ax, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        y = np.arange(len(ordered))
        human = np.array([counts[c]["human"] for c in ordered])
        machine = np.array([counts[c]["machine"] for c in ordered])
        ax.barh(y, human, 0.66, color=theme.human, label=named("people", human))
        ax.barh(y, machine, 0.66, left=human, color=theme.machine, label=named("machine", machine))
        true = [counts[c]["truth"] for c in ordered]
        ax.set_xlim(0, 1.06 * max(*(human + machine), *true, 1))
        if truth:
            ax.plot(true, y, "|", color=theme.truth, markersize=16, markeredgewidth=2.4, label="truth")
        ax.set_yticks(y, [short(c) for c in ordered])
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.grid(axis="x", visible=True)
        legend(ax)
        for source in NAMES:
            known = [(v, at) for at, c in enumerate(ordered) if (v := confidence.get(c, {}).get(source)) is not None]
            right.plot(*np.reshape(known, (-1, 2)).T, "D", color=getattr(theme, source), markersize=6, alpha=0.8)
        right.set(title="mean confidence", xlim=(0, 1.04))
        right.grid(axis="x", visible=True)

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
        axes[0].set_yticks(y, [short(c) for c in names])
        axes[0].invert_yaxis()
        legend(axes[-1])

    return draw


def over_iterations(names: Sequence[str], rounds: Mapping[str, Mapping[int, Mapping[str, int]]]) -> Draw:
    """Labels of every category that each iteration brought, a panel a category, people below the machine."""
    shown = names[:MAX_PANELS]
    n = sorted({k for name in shown for k in rounds[name]})
    of = [by for name in shown for by in rounds[name].values()]
    labels = {s: named(NAMES[s], [by.get(s, 0) for by in of]) for s in NAMES}
    most = max((sum(by.get(s, 0) for s in NAMES) for by in of), default=1)

    def draw(figure: Figure, theme: Theme) -> None:
        rows = -(-len(shown) // COLUMNS)
        axes = figure.subplots(rows, min(COLUMNS, len(shown)), sharex=True, sharey=True, squeeze=False).ravel()
        for ax, name in zip(axes, shown, strict=False):
            human, machine = ([rounds[name].get(k, {}).get(s, 0) for k in n] for s in ("human", "machine"))
            ax.bar(n, human, 0.7, color=theme.human, label=labels["human"])
            ax.bar(n, machine, 0.7, bottom=human, color=theme.machine, label=labels["machine"])
            ax.set_ylim(0, 1.08 * most)
            ax.set_title(short(name))
            whole(ax, n)
        for ax in axes[len(shown) :]:
            ax.set_axis_off()
        for ax in axes[max(0, len(shown) - COLUMNS) : len(shown)]:
            ax.set_xlabel("iteration")
            ax.tick_params(labelbottom=True)
        legend(axes[min(COLUMNS, len(shown)) - 1])

    return draw


def confusion(names: Sequence[str], tables: Mapping[str, Mapping[str, Any]]) -> Draw:
    """Confusion matrices side by side: rows are the truth, columns the label; shade is the share of the row.

    Args:
        names: Categories, in the order of rows and columns.
        tables: ``all``, ``human`` and ``machine`` to ``matrix``, ``count`` and ``wrong``.
    """
    titles = {"all": "all", "human": "people", "machine": "machine"}

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
        size = float(np.clip(60 / len(names), 3.5, 8.5))
        for ax, (source, table) in zip(axes, tables.items(), strict=True):
            matrix = np.array(table["matrix"], np.int64)
            share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
            ax.imshow(share, cmap=_shades(theme, source), vmin=0, vmax=1)
            ax.set(title=f"{titles[source]}: {table['wrong']:.1%} of {table['count']:,} wrong", xlabel="label")
            ticks = range(len(names))
            ax.set_xticks(ticks, [short(n, 14) for n in names], rotation=90 if max(map(len, names)) > 2 else 0)
            ax.set_yticks(ticks, [short(n, 14) for n in names])
            ax.tick_params(labelsize=size)
            ax.grid(visible=False)
            if len(names) <= MAX_CONFUSION:
                for i, j in zip(*np.nonzero(matrix), strict=True):
                    ink = theme.paper if share[i, j] > 0.6 else theme.ink
                    ax.text(j, i, str(matrix[i, j]), ha="center", va="center", fontsize=size, color=ink)
        axes[0].set_ylabel("truth")

    return draw


def _shades(theme: Theme, source: str) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    colour = theme.ink if source == "all" else getattr(theme, source)
    return LinearSegmentedColormap.from_list(source, [theme.paper, colour])
