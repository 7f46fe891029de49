"""Observer: one plain sentence an event, through ``logging`` (the command line shows it on stderr)."""

from __future__ import annotations

import logging

from gtloop import events as ev
from gtloop.events import Event
from gtloop.money import show
from gtloop.state import HUMAN, MACHINE, State

log = logging.getLogger("gtloop.narrator")


def observe(event: Event, state: State) -> None:
    """Log the sentence of an event, if it has one."""
    text = sentence(event, state)
    if text:
        log.info("[%d] %s", event.iteration, text)


def sentence(event: Event, state: State) -> str:
    """What an event means to the person who waits; empty for those of no interest."""
    match event:
        case ev.ItemsQuarantined():
            return f"{event.file.rows} unreadable images put aside"
        case ev.BatchCommitted():
            moved = f"; {event.moved.rows} validation images reached too, now training" if event.moved else ""
            cost = f", at most {show(event.reserved)}" if event.reserved else ""
            return f"{event.requests.rows} images go to people ({event.phase}{cost}): {event.reason}{moved}"
        case ev.LabelsConsolidated():
            return f"{event.labels.rows} images answered, {state.count(HUMAN)} labelled by people so far"
        case ev.ModelFitted():
            return event.fault or f"model {event.model} fitted on {event.examples} images in {event.seconds:.0f} s"
        case ev.ItemsPredicted():
            return f"{event.rows} images predicted by {event.model} in {event.seconds:.0f} s"
        case ev.Looked():
            return f"look {event.look}: {event.why}"
        case ev.BudgetReached():
            return f"the budget has {show(event.left)} left, an image costs {show(event.needed)}"
        case ev.RunPaused():
            return f"paused: {event.why}"
        case ev.RunFinished():
            return f"finished: {state.count(HUMAN)} by people, {state.count(MACHINE)} by machine"
        case _:
            return ""
