"""The risk that a run has spent: delta look by look against what it had, and how surely each test passed or failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gtloop.plots import Draw, Theme
from gtloop_plugins.commands.reporting.history import Look
from gtloop_plugins.commands.reporting.marks import few_ticks, legend, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 12
"""Tests that the plot shows, those of the latest looks."""
LEAST = 1e-4
"""Smaller p-values are drawn here."""


def risk(looks: Sequence[Look]) -> list[dict[str, Any]]:
    """What each look spent, as JSON; ``total`` adds up what its stage has spent by then."""
    found, totals = [], dict.fromkeys((look.stage for look in looks), 0.0)
    for look in looks:
        totals[look.stage] += look.spent
        found.append(
            {
                "look": look.number,
                "stage": look.stage,
                "labels": look.labels,
                "allowed": round(look.allowed, 6),
                "spent": round(look.spent, 6),
                "total": round(totals[look.stage], 6),
                "accepted": look.accepted,
            }
        )
    return found


def tested(certificates: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Certificates of what was tested, as many as the plot shows."""
    return [c for c in certificates if c["p"] is not None][-SHOWN:]


def spent(looks: Sequence[Mapping[str, Any]], certificates: Sequence[Mapping[str, Any]], delta: float) -> Draw:
    """Delta spent look by look up to what was promised, and the p-value of each test against its share of delta."""
    tests = tested(certificates)

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots(1, 2, width_ratios=(3, 4)) if tests else [figure.subplots()]
        _looks(axes[0], theme, looks, delta)
        if tests:
            _tests(axes[1], theme, tests)

    return draw


def _looks(ax: Axes, theme: Theme, looks: Sequence[Mapping[str, Any]], delta: float) -> None:
    x = np.arange(len(looks))
    now = np.array([look["spent"] for look in looks])
    before = np.array([look["total"] for look in looks]) - now
    ax.bar(x, before, 0.6, color=theme.faint, label="spent before" if before.any() else None)
    ax.bar(x, now, 0.6, bottom=before, color=theme.machine, label="by this look")
    ax.axhline(delta, color=theme.ink, linewidth=1.4, linestyle=(0, (2, 2)))
    ax.annotate(f"delta, {delta:g}", (0.01, delta), xycoords=("axes fraction", "data"), xytext=(0, 3),
                textcoords="offset points", fontsize=8.5)  # fmt: skip
    many = len({look["stage"] for look in looks}) > 1
    names = [f"{look['look']}" + (f"\nstage {look['stage']}" if many else "") for look in looks]
    ax.set_xticks(x, names)
    ax.set(xlabel="look", title="risk spent", ylim=(0, 1.25 * delta), xlim=(-0.8, max(len(looks) - 0.2, 1.8)))
    legend(ax)


def _tests(ax: Axes, theme: Theme, tests: Sequence[Mapping[str, Any]]) -> None:
    y = np.arange(len(tests))
    for at, c in zip(y, tests, strict=True):
        passed = c["threshold"] is not None
        p = min(max(c["p"], LEAST), 1.0)
        ax.plot([c["delta"]] * 2, [at - 0.3, at + 0.3], color=theme.ink, linewidth=2)
        ax.plot(p, at, "o", color=theme.truth if passed else theme.machine, markersize=7,
                markerfacecolor=theme.truth if passed else theme.paper, markeredgewidth=1.6)  # fmt: skip
    ax.set_yticks(y, [short(f"{c['look']}: {c['slice']}") for c in tests])
    ax.set(xscale="log", xlim=(LEAST / 2, 1.6), title="p of each test: left of its share of delta, it passed")
    ax.set_ylim(len(tests) - 0.4, -0.6)
    ax.set_xlabel("p, and its share of delta")
    few_ticks(ax.xaxis, (1,))
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
