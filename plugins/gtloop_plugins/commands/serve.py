"""``serve``: the page where people label, with the loop or without it."""

from __future__ import annotations

from typing import Annotated

import typer

from gtloop.cli import RunArgument, find_run
from gtloop.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def serve(
        ctx: typer.Context,
        run: RunArgument = None,
        drive: Annotated[bool, typer.Option("--drive", help="Run the loop, too: as gtloop run does.")] = False,
        host: Annotated[str | None, typer.Option(help="Address to listen at; default: the annotator's option.")] = None,
        port: Annotated[int | None, typer.Option(help="Port; default: the annotator's option.")] = None,
        child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
    ) -> None:
        """Open the page where people label, review and watch a run, until Ctrl-C."""
        from gtloop.progress import watched
        from gtloop.run import run_or_resume, settings_of
        from gtloop.serving import serve_run

        root = find_run(run)
        if not drive:
            serve_run(root, ctx.obj.registry, host, port, child=child)
            return
        if host is not None or port is not None:
            raise UsageError("with --drive, the address is an option of the annotator: -o annotators.local.port=8080")
        settings = settings_of(root, {})
        with watched(ctx.obj.debug, False) as progress:
            _, found = run_or_resume(root, settings, ctx.obj.registry, wait=True, progress=progress)
        typer.echo(found["summary"])
