"""``gtloop report``: what a run did and how good its labels are, as a page to look at or as JSON."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from gtloop.cli import JsonFlag, RunArgument, find_run
from gtloop.errors import MissingExtra, UsageError

LIBRARIES = ("matplotlib", "jinja2")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def report(
        ctx: typer.Context,
        run: RunArgument = None,
        truth: Annotated[
            str | None,
            typer.Option(help="Known labels to measure against, PATH or FORMAT:PATH; default: the run's, if any."),
        ] = None,
        out: Annotated[
            Path | None, typer.Option(help="Folder of the page; default: report/ in the run folder.")
        ] = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Show what was labelled, what it cost, and how good it is."""
        import gtloop
        from gtloop_plugins.commands.reporting.measure import gather

        if as_json and out is not None:
            raise UsageError("--json prints facts and writes no page; leave out --json or --out")
        if not as_json:
            check_libraries()
        opened = gtloop.open(find_run(run))
        facts = gather(opened, ctx.obj.registry, truth)
        if as_json:
            ctx.obj.json(facts.status)
            return
        from gtloop_plugins.commands.reporting.page import write_report

        task = opened.task(ctx.obj.registry)
        page = write_report(facts, opened, task, opened.root / "report" if out is None else out)
        typer.echo(facts.status["summary"])
        typer.echo(str(page))


def check_libraries() -> None:
    """Check what draws the page, without importing it.

    Raises:
        MissingExtra: A library is not installed; says the pip line.
    """
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        packages = f"package{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        raise MissingExtra(
            f"the page of a report needs the {packages}. Install: pip install 'gtloop[report]'   "
            "(or print the facts with --json)"
        )
