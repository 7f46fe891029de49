"""The observers of a run that are on: told of every event while it is driven, guarded one by one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gtloop.interfaces import Observer

if TYPE_CHECKING:
    from gtloop.events import Event
    from gtloop.job import Job
    from gtloop.state import State

log = logging.getLogger("gtloop.plugins")


class Observers:
    """Those that the settings turn on; what one raises is logged, and hurts nobody."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def observe(self, event: Event, state: State) -> None:
        """Tell every one of them about a committed event."""
        for observer in self._observers:
            with _guarded(observer):
                observer.observe(event, state)

    def close(self) -> None:
        """Let every one of them finish."""
        for observer in self._observers:
            with _guarded(observer):
                observer.close()

    def followed_by(self, others: Observers) -> Observers:
        """``others``, but those whose options are as before go on as they are; the rest of these are closed."""
        before = {o.name: o for o in self._observers}
        kept = [
            before.pop(o.name) if o.name in before and before[o.name].options == o.options else o
            for o in others._observers
        ]
        Observers(tuple(before.values())).close()
        return Observers(kept)


@contextmanager
def _guarded(observer: Observer) -> Iterator[None]:
    try:
        yield
    except Exception as e:
        log.exception("observer %r failed: %s: %s", observer.name, type(e).__name__, " ".join(str(e).split()))


@contextmanager
def observed(job: Job) -> Iterator[None]:
    """Tell the observers that are on what is committed in the block."""
    job.observers = job.plugins.observers()
    try:
        yield
    finally:
        job.observers.close()
