"""The hooks of gtloop-mlflow: the observer ``mlflow``, and a command that brings a run up to date by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gtloop

if TYPE_CHECKING:
    import typer
    from gtloop.interfaces import Observer


@gtloop.hookimpl
def gtloop_observers() -> list[type[Observer]]:
    """The class; imported here, so that a listing of plugins stays quick."""
    from gtloop_mlflow.observer import Mlflow

    return [Mlflow]


@gtloop.hookimpl
def gtloop_commands(app: typer.Typer) -> None:
    """Add ``gtloop mlflow``."""
    from gtloop_mlflow.command import register

    register(app)
