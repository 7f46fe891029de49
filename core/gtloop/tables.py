"""Status for people: the sentence first, then where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gtloop.wording import counted


def print_status(found: dict[str, Any]) -> None:
    """Print what ``gtloop status`` shows on a terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    state = found["state"]
    if state == "running" and not found["driven"]:
        state = (
            "wants to go on (it had finished; more was asked" if found["reopened"] else "stopped (no process drives it"
        )
        state += f"; go on with: gtloop run --run {found['run']})"
    console.print(f"[bold]{found['run']}[/bold]: {state}", highlight=False, soft_wrap=True)
    console.print(found["summary"], highlight=False, soft_wrap=True)
    p = found["promise"]
    if p["why"]:
        console.print(f"Promise: {p['why']}.", highlight=False, soft_wrap=True)
    for what, of in (("Review", found["review"]), ("Proposals", found["proposals"])):
        if told := anchoring(of):
            console.print(f"{what}: {told}.", highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for name in ("iteration", "phase", "people", "machine", "threshold", "certified", "cost", "seconds"):
        table.add_column(name, justify="left" if name == "phase" else "right")
    for i in found["iterations"]:
        seconds = sum(i["seconds"].values())
        table.add_row(
            str(i["n"]),
            i["phase"],
            str(i["human"]),
            str(i["machine"]),
            _number(i["threshold"]),
            _number(i["certified"]),
            f"${i['cost_usd']:,.2f}",
            f"{seconds:.1f}",
        )
    console.print(table)


def anchoring(seen: Mapping[str, Mapping[str, Any]]) -> str:
    """How far people are led by a label that they see: mean errors between it and theirs; empty where none saw one."""
    parts = [
        f"{who} by {m['distance']:.3f} ({counted(judged, 'label')})"
        for mode, who in (("adjust", "of people who saw it"), ("draw", "of people who drew blind"))
        if (m := seen.get(mode)) and (judged := m["requests"] - m["unsure"])
    ]
    if not parts:
        return ""
    led = "; the difference tells how far seeing it leads people" if len(parts) == 2 else ""
    return f"the label that there was differs from that {', '.join(parts)}{led}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
