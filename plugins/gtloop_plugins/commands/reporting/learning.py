"""How well each model did: its quality on validation images, out-of-fold losses, and the curves of its fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gtloop.curves import curves
from gtloop.models import cut_of
from gtloop.plots import Draw, Theme
from gtloop_plugins.commands.reporting.history import Fit, predicted
from gtloop_plugins.commands.reporting.marks import SURE, few_ticks, legend, room, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gtloop.interfaces import Task
    from gtloop.opened import Run
    from gtloop.records import Payload

SHOWN = 3
"""Figures whose curves the plot shows."""


@dataclass(frozen=True)
class Lesson:
    """A model with what is known of its quality.

    Attributes:
        fit: The model.
        quality: Mean over the images that validated then, as people label them; None where not told.
        error: Standard error of that mean; None with fewer than two images.
        n: Images that it is the mean of.
    """

    fit: Fit
    quality: float | None
    error: float | None
    n: int

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        found = curves(self.fit.figures)
        return {
            "model": self.fit.model,
            "iteration": self.fit.iteration,
            "examples": self.fit.examples,
            "validation": self.n,
            "quality": self.quality,
            "error": self.error,
            "out_of_fold": self.fit.out_of_fold,
            "curves": [
                {"name": name, "epochs": [e for e, _ in points], "values": [v for _, v in points]}
                for name, points in found.items()
            ],
        }


def lessons(run: Run, task: Task, fits: Sequence[Fit], labels: Mapping[int, Payload]) -> list[Lesson]:
    """The models of a run, oldest first.

    While a run goes on, only models that a look tested have a quality: whoever chose a detector or a moment by the
    others would choose by validation, and it would measure no more.

    Args:
        run: The run.
        task: Whose error counts.
        fits: Its models.
        labels: People's labels by row.
    """
    ended, cut = run.state.facts.finished or run.state.facts.cancelled, cut_of(run.state, run.settings)

    def qualities(fit: Fit) -> Iterator[float]:
        if fit.predictions is not None and (ended or fit.looked):
            for row, raw in predicted(run.store, fit.predictions, fit.validation):
                if row in labels:
                    yield 1 - float(task.error(task.label(raw, cut), labels[row]))

    return [_lesson(fit, list(qualities(fit))) for fit in fits]


def _lesson(fit: Fit, known: Sequence[float]) -> Lesson:
    n = len(known)
    error = float(np.std(known, ddof=1)) / n**0.5 if n > 1 else None
    return Lesson(fit, float(np.mean(known)) if n else None, error, n)


def has_quality(shown: Sequence[Lesson]) -> bool:
    """Whether there is a quality to draw."""
    return any(lesson.quality is not None or lesson.fit.out_of_fold is not None for lesson in shown)


def has_curves(shown: Sequence[Lesson]) -> bool:
    """Whether there is a curve to draw."""
    return any(len(points) > 1 for lesson in shown for points in curves(lesson.fit.figures).values())


def learning(shown: Sequence[Lesson], target: float | None, metric: str) -> Draw:
    """Quality of every model against the labels that it was fitted on, with intervals."""

    def draw(figure: Figure, theme: Theme) -> None:
        ax = figure.subplots()
        known = [(m.fit.examples, m.quality, SURE * (m.error or 0.0)) for m in shown if m.quality is not None]
        if known:
            x, y, error = np.array(known, np.float64).T
            style: dict[str, Any] = {"color": theme.machine, "linewidth": 1.6, "markersize": 5, "capsize": 3}
            ax.errorbar(x, y, error, fmt="o-", elinewidth=1, label="validation images", **style)
        held = [(m.fit.examples, m.fit.out_of_fold) for m in shown if m.fit.out_of_fold is not None]
        if held:
            x, y = np.array(held, np.float64).T
            ax.plot(x, y, "s--", color=theme.human, markerfacecolor=theme.paper, markersize=5, label="out of fold")
        if target is not None:
            ax.axhline(target, color=theme.ink, linewidth=1.2, linestyle=(0, (2, 2)), label=f"target, {target:g}")
        ax.set(xlabel="labels of people that the model learnt from", ylabel=_mean(metric))
        ax.set_ylim(*room([q - e for _, q, e in known] + [q for _, q in held]))
        ax.margins(x=0.08)
        whole(ax)
        if len(at := {m.fit.examples for m in shown if m.quality is not None or m.fit.out_of_fold is not None}) == 1:
            (only,) = at
            ax.set_xticks([only])
            ax.set_xlim(only - 1, only + 3)  # on the left, where a telephone shows it
        legend(ax)

    return draw


def fitting(shown: Sequence[Lesson]) -> Draw:
    """The curves of every fit against its epochs, a panel a figure; the more labels, the warmer the colour."""
    named = _named(shown)

    def draw(figure: Figure, theme: Theme) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        warm = LinearSegmentedColormap.from_list("warm", [theme.human, "#9b59b6", "#d1495b"])
        axes = figure.subplots(1, len(named), squeeze=False)[0]
        for ax, name in zip(axes, named, strict=True):
            with_curve = [(m, curves(m.fit.figures)[name]) for m in shown if name in curves(m.fit.figures)]
            for k, (lesson, points) in enumerate(with_curve):
                x, y = np.array(points, np.float64).T
                ax.plot(
                    x,
                    y,
                    color=warm(k / max(len(with_curve) - 1, 1)),
                    linewidth=1.3,
                    label=f"{lesson.fit.examples} labels",
                )
            ax.set(title=name.replace("_", " "), xlabel="epoch")
            ax.set_xlim(left=0)
            if _positive(with_curve):
                ax.set_yscale("log")
                few_ticks(ax.yaxis)
        _name_ends(axes[0])

    return draw


def _named(shown: Sequence[Lesson]) -> list[str]:
    """Figures that have curves, in the order of their fits."""
    names = (n for lesson in shown for n, points in curves(lesson.fit.figures).items() if len(points) > 1)
    return list(dict.fromkeys(names))[:SHOWN]


def _positive(curves_: Sequence[tuple[Lesson, Sequence[tuple[float, float]]]]) -> bool:
    """Whether a logarithmic axis shows more: losses fall by factors."""
    values = [v for _, points in curves_ for _, v in points]
    return min(values) > 0 and max(values) > 20 * min(values)


def _name_ends(ax: Axes) -> None:
    """A legend of the first and the last of many lines."""
    handles, labels = ax.get_legend_handles_labels()
    ends = sorted({0, len(handles) - 1}) if len(handles) > 6 else range(len(handles))
    ax.legend([handles[i] for i in ends], [labels[i] for i in ends], loc="upper right")


def _mean(metric: str) -> str:
    return metric if metric.startswith("mean") else f"mean {metric}"
