"""The hooks of gtloop on one screen: the first page that a plugin author reads.

A plugin is a module named by an entry point of the group ``gtloop``::

    [project.entry-points.gtloop]
    mine = "gtloop_mine"

It implements the hooks it needs with ``@gtloop.hookimpl``. Registration hooks return *classes*;
behaviour lives in the classes (``gtloop.interfaces``). Implementations may leave out trailing
arguments, but never give them defaults: pluggy would not pass them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from gtloop.events import Event
    from gtloop.interfaces import Annotator, Detector, Executor, Format, Observer, Sampler, Score, Task
    from gtloop.state import State

hookspec = pluggy.HookspecMarker("gtloop")
hookimpl = pluggy.HookimplMarker("gtloop")


@hookspec
def gtloop_tasks() -> Iterable[type[Task]]:
    """Task types: everything about a label.

    Example::

        @gtloop.hookimpl
        def gtloop_tasks():
            return [Keypoints]
    """
    return ()


@hookspec
def gtloop_annotators() -> Iterable[type[Annotator]]:
    """Sources of human answers: two methods, ``submit`` and ``collect``."""
    return ()


@hookspec
def gtloop_detectors() -> Iterable[type[Detector]]:
    """Models that fit and predict (classifiers and segmenters too)."""
    return ()


@hookspec
def gtloop_samplers() -> Iterable[type[Sampler]]:
    """Strategies that rank what people label next."""
    return ()


@hookspec
def gtloop_scores() -> Iterable[type[Score]]:
    """Image confidence from prediction features."""
    return ()


@hookspec
def gtloop_formats() -> Iterable[type[Format]]:
    """Readers and writers of label files."""
    return ()


@hookspec
def gtloop_executors() -> Iterable[type[Executor]]:
    """Where fits and predictions run."""
    return ()


@hookspec
def gtloop_observers() -> Iterable[type[Observer]]:
    """Who is told what happened, with options; on where the settings have a table for it."""
    return ()


@hookspec
def gtloop_commands(app: typer.Typer) -> None:
    """Add commands to the ``gtloop`` program; called once, when it is built."""


@hookspec
def gtloop_event(event: Event, state: State) -> None:
    """See each event after it is committed, in every run while the plugin is installed.

    Exceptions are logged with the plugin's name and swallowed; be quick, change nothing.
    """
