"""The thread that sends; only the newest snapshot waits: a server that is away costs neither time nor memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from gtloop_mlflow.snapshot import Snapshot
from gtloop_mlflow.tracker import fault

WAITS_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before each further try; the last one over and over."""

log = logging.getLogger("gtloop.mlflow")


class Sender:
    """Sends snapshots from a thread of its own; it begins with the first one.

    Args:
        send: Sends one; may raise anything, and is then tried again.
        host: What the server is called in messages.
    """

    def __init__(self, send: Callable[[Snapshot], object], host: str) -> None:
        self._send, self._host = send, host
        self._changed = threading.Condition()
        self._next: Snapshot | None = None
        self._closing = self._warned = False
        self._thread: threading.Thread | None = None

    def put(self, told: Snapshot) -> None:
        """Send a snapshot, in place of one that still waits; never waits itself."""
        with self._changed:
            self._next = told
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
            self._thread.start()

    def close(self, limit_s: float) -> bool:
        """Try once more where it failed, and wait until all is sent, ``limit_s`` seconds at most; whether it is."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(limit_s)
        return self._next is None and (self._thread is None or not self._thread.is_alive())

    def _work(self) -> None:
        failures = 0
        while (told := self._take()) is not None:
            last = self._closing
            if self._try(told):
                failures = 0
                continue
            if last:
                return
            with self._changed:
                self._changed.wait_for(lambda: self._closing, WAITS_S[min(failures, len(WAITS_S) - 1)])
            failures += 1

    def _take(self) -> Snapshot | None:
        with self._changed:
            self._changed.wait_for(lambda: self._next is not None or self._closing)
            told, self._next = self._next, None
            return told

    def _try(self, told: Snapshot) -> bool:
        try:
            self._send(told)
        except Exception as e:
            if not self._warned:
                log.warning("mlflow: %s %s; what it lacks is sent later", self._host, fault(e))
            self._warned = True
            with self._changed:
                self._next = self._next or told
            return False
        if self._warned:
            log.info("mlflow: %s has all again", self._host)
        self._warned = False
        return True
