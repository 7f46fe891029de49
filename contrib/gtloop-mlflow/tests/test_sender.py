"""The thread that sends, without a server."""

from __future__ import annotations

import threading
from typing import Any

from gtloop_mlflow.sender import Sender

LIMIT_S = 120.0
"""A busy machine is no fault."""


class Receiver:
    """A server that is away for a number of tries; the first of them ends after ``close`` was called."""

    def __init__(self, away: int) -> None:
        self.away, self.tries = away, 0
        self.begun = threading.Event()
        self.sender = Sender(self.take, "host")

    def take(self, _: Any) -> None:
        self.tries += 1
        self.begun.set()
        with self.sender._changed:
            assert self.sender._changed.wait_for(lambda: self.sender._closing, LIMIT_S)
        if self.tries <= self.away:
            raise ConnectionError("away")


def closed(away: int) -> tuple[bool, int]:
    """Whether all was sent, and after how many tries, where the first one began before the end."""
    receiver = Receiver(away)
    receiver.sender.put(object())  # type: ignore[arg-type]  # nobody looks into it
    assert receiver.begun.wait(LIMIT_S)
    return receiver.sender.close(LIMIT_S), receiver.tries


def test_a_try_that_fails_while_it_ends_is_made_once_more() -> None:
    assert closed(away=1) == (True, 2)


def test_a_server_that_stays_away_is_not_waited_for() -> None:
    assert closed(away=9) == (False, 2)
