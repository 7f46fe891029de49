"""Status for people: the sentence first, then where it comes from."""

from __future__ import annotations

from typing import Any


def print_status(found: dict[str, Any]) -> None:
    """Print what ``gtloop status`` shows on a terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{found['run']}[/bold]: {found['state']}", highlight=False)
    console.print(found["summary"], highlight=False, soft_wrap=True)
    p = found["promise"]
    if p["why"]:
        console.print(f"Promise: {p['why']}.", highlight=False, soft_wrap=True)
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


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
