"""Progress of long work: rich bars on a terminal, plain lines elsewhere, nothing with ``--json``."""

from __future__ import annotations

import copy
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from gtloop.interfaces import Progress

STOPPED = "stopped; the same command goes on where it was"
EVERY_S = 10.0
"""Seconds between two plain lines of one step."""


class Silent:
    """Nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        return None

    def __call__(self, step: str, done: int, total: int | None, note: str = "") -> None:
        return None


class Plain:
    """A line when a step begins, ends, and every ten seconds between."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._last: dict[str, float] = {}

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        return None

    def __call__(self, step: str, done: int, total: int | None, note: str = "") -> None:
        now = time.monotonic()
        ended = total is not None and done >= total
        if not ended and now - self._last.get(step, -EVERY_S) < EVERY_S:
            return
        self._last[step] = -EVERY_S if ended else now
        count = f" {done}/{total}" if total else f" {done}" if done else ""
        print(f"{step}{count}{': ' + note if note else ''}", file=self._out, flush=True)


class Rich:
    """One bar a step, gone when the step is done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        # bars and the narrator's lines share stderr: rich moves the bars below what is printed
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars: Bars = Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True))
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Rich:
        self._bars.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bars.stop()

    def __call__(self, step: str, done: int, total: int | None, note: str = "") -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total, note=note)
        task = self._tasks[step]
        self._bars.update(task, completed=done, total=total, note=note)
        if total is not None and done >= total:
            self._bars.remove_task(task)
            del self._tasks[step]


def choose(out: IO[str], *, silent: bool) -> Plain | Rich | Silent:
    """The progress that suits where it goes."""
    if silent:
        return Silent()
    return Rich() if out.isatty() else Plain(out)


class _OneLine(logging.Formatter):
    """What was logged, without its traceback; the record stays whole for others."""

    def format(self, record: logging.LogRecord) -> str:
        shown = copy.copy(record)
        shown.exc_info = shown.exc_text = None
        return super().format(shown)


@contextmanager
def watched(debug: bool, silent: bool) -> Iterator[Progress]:
    """Progress on standard error, and what observers log, nothing where ``silent``; Ctrl-C says what comes next."""
    if not silent:
        narrate(debug)
    try:
        with choose(sys.stderr, silent=silent) as progress:
            yield progress
    except KeyboardInterrupt:  # else typer ends the program without a word
        print(STOPPED, file=sys.stderr)
        raise SystemExit(130) from None


def agreed(ask: bool, why: str) -> bool:
    """Whether to start all the same, where somebody can be asked; in a line of its own, as bars may be drawn below."""
    import typer

    try:
        return not ask or typer.confirm("Start all the same?", prompt_suffix=" [y/N]\n", show_default=False, err=True)
    except typer.Abort as e:
        if isinstance(e.__context__, KeyboardInterrupt):  # Ctrl-C, not the end of the input
            raise KeyboardInterrupt from None
        raise


def narrate(debug: bool = False) -> None:
    """Show what observers log; tracebacks only with ``debug``."""

    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler: logging.Handler = RichHandler(
            console=Console(stderr=True), show_level=False, show_path=False, markup=False, log_time_format="%X"
        )
    else:
        handler = logging.StreamHandler(sys.stderr)
    if not debug:
        handler.setFormatter(_OneLine("%(message)s"))
    logger = logging.getLogger("gtloop")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
