"""What an observer promises: it sees everything, holds nobody up, and changes nothing."""

from __future__ import annotations

import copy
import threading
import time

import numpy as np

from gtloop.events import Event
from gtloop.interfaces import Observer
from gtloop.state import State
from gtloop.testing.case import Case, during, require
from gtloop.testing.history import Told, history

QUICK_S = 0.25
"""Seconds that one event may take: a run has thousands of them, and waits."""
CLOSE_S = 10.0
"""Seconds that closing may take."""


class _Later(Event):
    """An event that this version of gtloop does not have."""

    type: str = "of-a-later-version"


def check_constructing_starts_nothing(case: Case) -> None:
    """Constructing it starts no thread and leaves no file: that is also how its options are checked."""
    before = set(threading.enumerate())
    observer = case.build("constructed")
    started = [t.name for t in set(threading.enumerate()) - before]
    left = sorted(p.name for p in case.path("constructed").rglob("*"))
    observer.close()
    require(not started, f"constructing it starts a thread: {', '.join(started)}")
    require(not left, f"constructing it leaves files in its workdir: {', '.join(left[:3])}")


def check_takes_every_event(case: Case) -> None:
    """It takes every event of a run to its end, and one of a type that it does not know."""
    observer = case.build("every")
    for event, state in history():
        with during(f"observe of {getattr(event, 'type', '')}"):
            observer.observe(event, copy.deepcopy(state))
    with during("observe of an event of a later version of gtloop"):
        observer.observe(_Later(), copy.deepcopy(history()[-1].state))
    observer.close()


def check_observing_is_quick(case: Case) -> None:
    """No event takes long: the run waits."""
    took: dict[int, float] = {}
    for once in range(2):  # the better of two: a busy machine is not the observer's fault
        observer = case.build(f"quick-{once}")
        for n, told in enumerate(history()):
            took[n] = min(took.get(n, np.inf), _seconds(observer, told))
        observer.close()
    slowest = max(took.values())
    kind = next(getattr(history()[n].event, "type", "") for n, seconds in took.items() if seconds == slowest)
    require(slowest <= QUICK_S, f"observe of {kind} took {slowest:.2f} s, {QUICK_S} s are bearable")


def check_event_and_state_are_not_changed(case: Case) -> None:
    """Event and state are left as they were."""
    observer = case.build("unchanged")
    for event, state in history():
        seen, given = event.model_copy(deep=True), copy.deepcopy(state)
        observer.observe(seen, given)
        kind = getattr(event, "type", "")
        require(seen == event, f"observe of {kind} changes the event")
        require(_same(given, state), f"observe of {kind} changes the state")
    observer.close()


def check_goes_on_in_another_process(case: Case) -> None:
    """A new object on the same workdir takes the rest of a run, after one that was closed and one that was not."""
    told = history()
    thirds = [told[: len(told) // 3], told[len(told) // 3 : 2 * len(told) // 3], told[2 * len(told) // 3 :]]
    for n, part in enumerate(thirds):
        observer = case.build("resumed")
        for event, state in part:
            with during(f"observe of {getattr(event, 'type', '')} in the {('first', 'second', 'third')[n]} process"):
                observer.observe(event, copy.deepcopy(state))
        if n != 1:  # the second is killed
            observer.close()


def check_close_is_bounded(case: Case) -> None:
    """It closes within seconds, before it has seen anything and after it has seen a run; and again."""
    for name, seen in (("unseen", history()[:0]), ("seen", history())):
        observer = case.build(f"closed-{name}")
        for event, state in seen:
            observer.observe(event, copy.deepcopy(state))
        for _ in range(2):
            start = time.monotonic()
            with during(f"close, {'after a whole run' if seen else 'before any event'},"):
                observer.close()
            took = time.monotonic() - start
            require(took <= CLOSE_S, f"close took {took:.1f} s, {CLOSE_S:.0f} s are the most")


def _seconds(observer: Observer, told: Told) -> float:
    state = copy.deepcopy(told.state)
    start = time.perf_counter()
    observer.observe(told.event, state)
    return time.perf_counter() - start


def _same(a: State, b: State) -> bool:
    columns = all(np.array_equal(a.columns.get(name, ()), column) for name, column in b.columns.items())
    return columns and a.columns.keys() == b.columns.keys() and (a.facts, a.seq) == (b.facts, b.seq)


OBSERVER_CHECKS = (
    check_constructing_starts_nothing,
    check_takes_every_event,
    check_observing_is_quick,
    check_event_and_state_are_not_changed,
    check_goes_on_in_another_process,
    check_close_is_bounded,
)
