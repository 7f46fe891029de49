"""Observer: one plain sentence an event, through ``logging`` (the command line shows it on stderr)."""

from __future__ import annotations

import logging

from gtloop.events import Event
from gtloop.narration import sentence
from gtloop.state import State

log = logging.getLogger("gtloop.narrator")


def observe(event: Event, state: State) -> None:
    """Log the sentence of an event, if it has one."""
    text = sentence(event, state)
    if text:
        log.info("[%d] %s", event.iteration, text)
