"""What a run cost and saved: where the dollars went against people alone, and what a label of either source cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gtloop.plots import HUMAN, MACHINE, Draw, Theme
from gtloop_plugins.commands.reporting.marks import ANSWER, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BOTH = "#7d8894"
"""Labels of people and of the machine together."""


def money(status: Mapping[str, Any]) -> dict[str, float | None]:
    """What a label cost, as JSON.

    Answers and the platform's fees are the price of people's labels, machine fees and the machine's work that of the
    machine's. What is paid goes by what was paid so far, labels that were imported left out.

    Args:
        status: As ``gtloop status --json`` has it.
    """
    cost, items = status["cost_usd"], status["items"]
    human = items["human"] - status["imported"]
    every = human + items["machine"] + items["pool"] + items["unlabelable"]
    ended = status["state"] == "finished" and cost["if_all_human"] > 0
    return {
        "human_label_usd": _each(cost["human"] + cost["fees"], human),
        "machine_label_usd": _each(cost["machine"] + cost["compute"], items["machine"]),
        "label_usd": _each(cost["total"], human + items["machine"]),
        "people_alone_usd": _each(cost["if_all_human"], every),
        "saved_usd": round(max(0.0, cost["if_all_human"] - cost["total"]), 6) if ended else None,
    }


def _each(dollars: float, labels: int) -> float | None:
    return round(dollars / labels, 6) if labels else None


def unpriced(each: Mapping[str, float | None]) -> bool:
    """Whether no label was paid for: there is no price to show."""
    return all(each[name] is None for name in ("human_label_usd", "machine_label_usd", "label_usd"))


def paid(cost: Mapping[str, float], each: Mapping[str, float | None]) -> Draw:
    """Dollars by what they were paid for, above those of people alone; and the price of one label by source."""
    shown = [("people", each["human_label_usd"], HUMAN), ("machine", each["machine_label_usd"], MACHINE)]
    shown += [("all", each["label_usd"], BOTH)]
    known = [(name, dollars, colour) for name, dollars, colour in shown if dollars is not None]

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots(1, 2, width_ratios=(3, 2)) if known else [figure.subplots()]
        _parts(axes[0], theme, cost)
        if known:
            _prices(axes[1], known)

    return draw


def _parts(ax: Axes, theme: Theme, cost: Mapping[str, float]) -> None:
    parts = [
        ("answers of people", cost["human"], theme.human, ""),
        ("platform's fees", cost["fees"], theme.human, "////"),
        ("machine's fees", cost["machine"], theme.machine, ""),
        ("machine's work", cost["compute"], theme.machine, "////"),
        ("promised, not paid yet", cost["reserved"], theme.faint, "////"),
    ]
    start = 0.0
    for name, dollars, colour, hatch in parts:
        if dollars:
            ax.barh(0, dollars, 0.5, left=start, color=colour, hatch=hatch, edgecolor=theme.paper, label=name)
            start += dollars
    ax.barh(1, cost["if_all_human"], 0.5, color=ANSWER)
    for y, dollars in ((0, start), (1, cost["if_all_human"])):
        ax.annotate(f"${dollars:,.2f}", (dollars, y), xytext=(4, 0), textcoords="offset points", va="center")
    ax.set_yticks((0, 1), ("this run", "people alone"))
    _sideways(ax, 1.22 * max(start, cost["if_all_human"], 0.01))
    legend(ax)


def _prices(ax: Axes, known: Sequence[tuple[str, float, str]]) -> None:
    for y, (_, dollars, colour) in enumerate(known):
        ax.barh(y, dollars, 0.5, color=colour)
        ax.annotate(f"${dollars:,.4g}", (dollars, y), xytext=(4, 0), textcoords="offset points", va="center")
    ax.set_yticks(range(len(known)), [name for name, _, _ in known])
    ax.set_title("one label")
    _sideways(ax, 1.35 * max(max(dollars for _, dollars, _ in known), 1e-6))


def worked(hours: Mapping[str, float | None]) -> Draw:
    """People's hours in this run, above those that people alone would have taken."""

    def draw(figure: Figure, theme: Theme) -> None:
        ax = figure.subplots()
        known = [(n, h) for n, h in (("this run", hours["human"]), ("people alone", hours["if_all_human"])) if h]
        for y, (name, value) in enumerate(known):
            ax.barh(y, value, 0.5, color=ANSWER if name == "people alone" else theme.human)
            ax.annotate(f"{value:,.2f} h", (value, y), xytext=(4, 0), textcoords="offset points", va="center")
        ax.set_yticks(range(len(known)), [name for name, _ in known])
        _sideways(ax, 1.15 * max(h for _, h in known))

    return draw


def _sideways(ax: Axes, most: float) -> None:
    """Bars that lie: from the top, with the grid upright."""
    ax.set_xlim(0, most)
    ax.set_ylim(len(ax.get_yticks()) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
