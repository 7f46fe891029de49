"""Commands ``plan``, ``simulate`` and ``replay``: what a job would cost and how good its labels would be."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    from gtloop_plugins.commands.planning import plan, replay, simulate

    plan.register(app)
    replay.register(app)
    simulate.register(app)
