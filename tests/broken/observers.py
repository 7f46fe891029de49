"""Broken observers, made of one that keeps a count."""

from __future__ import annotations

import threading
import time
from typing import Any

from broken.row import Row
from gtloop.events import Event
from gtloop.interfaces import Context, Observer
from gtloop.state import State


class Counts(Observer):
    """Counts events in its workdir; nothing is wrong with it."""

    name = "counts"
    summary = "counts events"

    def observe(self, event: Event, state: State) -> None:
        path = self.context.workdir / "count"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(int(path.read_text()) + 1 if path.exists() else 1))


class StartsAtOnce(Counts):
    """Observer that starts a thread where it is constructed."""

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self._ended = threading.Event()
        threading.Thread(target=self._ended.wait, name="sender", daemon=True).start()

    def close(self) -> None:
        self._ended.set()


class KnowsThreeEvents(Counts):
    """Observer that raises where it meets an event that it does not know."""

    texts = {"batch-submitted": "asked", "labels-consolidated": "answered", "run-finished": "finished"}

    def observe(self, event: Event, state: State) -> None:
        super().observe(event, state)
        if state.facts.finished:
            self.texts[getattr(event, "type", "")]


class Dawdles(Counts):
    """Observer that holds the run up."""

    def observe(self, event: Event, state: State) -> None:
        super().observe(event, state)
        if getattr(event, "type", "") == "run-finished":
            time.sleep(0.4)


class Meddles(Counts):
    """Observer that changes the state."""

    def observe(self, event: Event, state: State) -> None:
        super().observe(event, state)
        state.facts.bill.human = 0


class BeginsAnew(Counts):
    """Observer that stumbles over what an earlier process left."""

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self._begun = False

    def observe(self, event: Event, state: State) -> None:
        if not self._begun:
            self.context.workdir.mkdir(parents=True, exist_ok=True)
            (self.context.workdir / "log").open("x").close()
        self._begun = True


class ClosesOnce(Counts):
    """Observer that can't be closed again."""

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self._open = ["file"]

    def close(self) -> None:
        self._open.pop()


ROWS = [
    Row(StartsAtOnce, "check_constructing_starts_nothing", "starts a thread: sender"),
    Row(
        KnowsThreeEvents, "check_takes_every_event", "observe of an event of a later version of gtloop raised KeyError"
    ),
    Row(Dawdles, "check_observing_is_quick", "observe of run-finished took 0.4"),
    Row(Meddles, "check_event_and_state_are_not_changed", "changes the state"),
    Row(BeginsAnew, "check_goes_on_in_another_process", "in the second process raised FileExistsError"),
    Row(ClosesOnce, "check_close_is_bounded", "close, before any event, raised IndexError"),
]
