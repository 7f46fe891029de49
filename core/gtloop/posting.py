"""Commands that leave a letter: answered at once where nobody drives the run, else by the process that does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gtloop.cli import find_run

if TYPE_CHECKING:
    from gtloop.opened import Run


def post(
    ctx: typer.Context,
    run: Path | None,
    write: Callable[[Run], int],
    what: str,
    as_json: bool,
    *,
    quiet: bool = False,
    more: Mapping[str, Any] | None = None,
) -> bool:
    """Leave a letter, have it answered if nobody drives, and say so; whether it was answered.

    Args:
        ctx: Of the command.
        run: Run folder, or None for the one that is found.
        write: Leaves the letter, and returns its number.
        what: Name of the command, for its JSON.
        as_json: Print JSON.
        quiet: Print nothing.
        more: Further fields of its JSON.

    Raises:
        RunError: The letter was refused.
    """
    import gtloop
    from gtloop.progress import watched
    from gtloop.run import take_in

    root = find_run(run)
    letter = write(gtloop.open(root))
    with watched(ctx.obj.debug, as_json or quiet) as progress:
        taken = take_in(root.resolve(), ctx.obj.registry, letter, progress)
    if quiet:
        return taken
    if as_json:
        state = gtloop.open(root).status(ctx.obj.registry)["state"]
        ctx.obj.json({"asked": what, "taken": taken, "state": state, **(more or {})})
    elif taken:
        typer.echo(f"noted; go on with: gtloop run --run {root}")
    else:
        typer.echo("asked; the process that drives the run takes it in")
    return taken
