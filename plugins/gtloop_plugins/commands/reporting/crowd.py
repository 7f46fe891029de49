"""The plots of people: who answers how well and how fast, and who answered when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gtloop.plots import Draw, Theme
from gtloop_plugins.commands.reporting.groups import Floats
from gtloop_plugins.commands.reporting.marks import apart, few_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gtloop.workers import Worker

UNITS = (("days", 24.0), ("hours", 1.0), ("minutes", 1 / 60), ("seconds", 1 / 3600))
PAUSE = 2 / 3
"""Share of the time that a pause may take."""
NAMED = 10
"""Workers who have a line of their own, those with most answers."""


def people(workers: Sequence[Worker], timed: bool, metric: str) -> Draw:
    """Quality against median time (``timed``) or number of answers, one dot a worker; all have a quality."""

    def draw(figure: Figure, theme: Theme) -> None:
        ax = figure.subplots()
        x = np.array([w.seconds if timed else w.answers for w in workers], np.float64)
        y = np.array([w.quality for w in workers], np.float64)
        scored = np.array([w.scored for w in workers], np.float64)
        names = apart([w.worker for w in workers], 18)
        rings = [theme.ink if w.flag else theme.paper for w in workers]
        ax.scatter(x, y, s=14 + 140 * scored / scored.max(), color=theme.human, alpha=0.75, edgecolors=rings)
        told: list[tuple[float, float]] = []
        for w, (seconds, quality) in zip(workers, zip(x, y, strict=True), strict=True):
            if w.flag:
                near = sum(abs(q - quality) < 0.06 and 0.5 < s / seconds < 2 for s, q in told)
                ax.annotate(names[w.worker], (seconds, quality), textcoords="offset points", xytext=(8, 10 * near - 3),
                            fontsize=8.5)  # fmt: skip
                told.append((seconds, quality))
        ax.set(xscale="log", xlabel="median seconds of an answer" if timed else "answers", ylabel=metric)
        ax.set_ylim(-0.05, 1.05)
        few_ticks(ax.xaxis)

    return draw


def gap(answers: Mapping[str, Floats]) -> bool:
    """Whether a single pause takes most of the time: against time, all else would be upright lines."""
    times = np.sort(np.concatenate(list(answers.values())))
    return bool(np.diff(times).max(initial=0.0) > PAUSE * (times[-1] - times[0]))


def pace(answers: Mapping[str, Floats]) -> Draw:
    """Answers given by each worker against time; those with most are named, all others are faint.

    Against the answers of all by then where there is a ``gap``.

    Args:
        answers: Worker to sorted hours since the first answer.
    """
    at, what = _axis(answers)
    end = max(float(of[-1]) for of in at.values())

    def draw(figure: Figure, theme: Theme) -> None:
        from matplotlib import colormaps

        ax = figure.subplots()
        ordered = sorted(at, key=lambda w: (-len(at[w]), w))
        names = apart(ordered[:NAMED], 14)
        for k, worker in enumerate(ordered):
            own = k < NAMED
            x = np.concatenate([at[worker][:1], at[worker], [end]])
            y = np.concatenate([[0], np.arange(1, len(x) - 1), [len(x) - 2]])
            colour = colormaps["tab10"](k) if own else theme.faint
            ax.step(x, y, where="post", color=colour, linewidth=1.4 if own else 0.8, zorder=3 if own else 1,
                    label=names[worker] if own else None)  # fmt: skip
        ax.set(xlabel=what, ylabel="answers")
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))

    return draw


def _axis(answers: Mapping[str, Floats]) -> tuple[dict[str, Floats], str]:
    """Where the answers of each worker stand, and what the axis is."""
    if gap(answers):
        every = np.sort(np.concatenate(list(answers.values())))
        rank = {w: np.searchsorted(every, of, "right").astype(np.float64) for w, of in answers.items()}
        return rank, "answers of everybody"
    end = max(float(times[-1]) for times in answers.values())
    unit, hours = next((u for u in UNITS if end >= 2 * u[1]), UNITS[-1])
    return {w: times / hours for w, times in answers.items()}, f"{unit} since the first answer"
