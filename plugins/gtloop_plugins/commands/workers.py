"""``gtloop workers``: who labelled, how well, and how far people agree."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtloop.cli import JsonFlag, RunArgument, find_run
from gtloop.errors import RunError, blame

if TYPE_CHECKING:
    from gtloop.workers import People, Worker


HEADINGS = (
    "worker",
    "answers",
    "quality",
    "skill",
    "seconds",
    "tests",
    "declined",
    "can't tell",
    "empty",
    "paid",
    "an hour",
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def workers(
        ctx: typer.Context,
        run: RunArgument = None,
        items: Annotated[
            int | None,
            typer.Option(min=1, help="Most items that quality is measured on; default: 1000, or 150 for masks."),
        ] = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Say who labelled, how well, and how far people agree."""
        import gtloop
        from gtloop.workers import of_run

        opened = gtloop.open(find_run(run))
        task = opened.task(ctx.obj.registry)
        people = of_run(opened, task, items)
        if not people.workers:
            raise RunError(f"{opened.root}: nobody has answered yet; look again when people have: gtloop status")
        if as_json:
            given = {"run": str(opened.root), "task": task.name, "metric": task.metric}
            ctx.obj.json(given | people.figures() | {"workers": [_facts(w) for w in people.workers]})
        else:
            _print(people, task.metric)

    @app.command("forget-worker")
    def forget_worker(
        ctx: typer.Context,
        run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
        worker: Annotated[str, typer.Argument(help="The worker's id, as gtloop workers shows it.")],
        as_json: JsonFlag = False,
    ) -> None:
        """Forget who is behind a worker's id; what they answered stays, under an id that tells nothing."""
        import gtloop

        opened = gtloop.open(find_run(run))
        annotator = opened.plugins(ctx.obj.registry).annotator
        if "forget" not in annotator.gives:
            raise RunError(
                f"annotator {annotator.name!r} keeps no names: ids of workers are what it was given; "
                "forget them where they come from"
            )
        with blame("annotator", annotator.name, "forget"):
            forgotten = annotator.forget(worker)
        if not forgotten:
            raise RunError(f"nobody is known as {worker}; see the ids with: gtloop workers {run}")
        if as_json:
            ctx.obj.json({"run": str(opened.root), "forgotten": worker})
        else:
            typer.echo(f"forgotten: nothing leads from {worker} to a person any more")


def _facts(worker: Worker) -> dict[str, Any]:
    from gtloop.money import usd

    facts = asdict(worker)
    names = {"paid": "paid_usd", "wage": "wage_usd_hour"}
    return {names.get(k, k): (usd(v) if k == "paid" else v) for k, v in facts.items()}


def _print(people: People, metric: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gtloop.money import show

    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "worker" else "right", no_wrap=True)
    table.add_column("stands out")
    for w in people.workers:
        figures = (f"{w.answers:,}", _number(w.quality), _number(w.skill), _number(w.seconds, 1), _number(w.gold, 2))
        shares = (f"{share:.0%}" if share else "" for share in (w.declined, w.cannot_tell, w.empty))
        money = (show(w.paid) if w.paid else "", f"${w.wage:,.2f}" if w.wage else "")
        row = (w.worker, *figures, *shares, *money, f"out: {w.out}" if w.out else w.flag)
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a pipe has no width: do not fold lines at 80
    console.print(table)
    for line in people.sentences(metric):
        typer.echo(line)


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"
