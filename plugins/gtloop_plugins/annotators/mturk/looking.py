"""Looking for answers beside the driver: at a few calls a second a look may take minutes, and nobody waits for it."""

from __future__ import annotations

import threading
import time

from gtloop.errors import Unreachable
from gtloop.interfaces import Context
from gtloop_plugins.annotators.mturk.books import Books
from gtloop_plugins.annotators.mturk.collecting import Collecting
from gtloop_plugins.annotators.mturk.options import MturkOptions
from gtloop_plugins.annotators.mturk.people import Gate
from gtloop_plugins.annotators.mturk.posting import Posting
from gtloop_plugins.annotators.mturk.service import Service
from gtloop_plugins.annotators.mturk.settling import Settling

HANDED = "handed over"
"""Key of the last entry of the log that a whole look has brought."""


class Parts:
    """The parts of an annotator, on books that one thread uses."""

    def __init__(self, options: MturkOptions, context: Context, service: Service) -> None:
        self.books = Books(context.workdir)
        gate = Gate(service, self.books)
        self.gate, self.posting = gate, Posting(options, context, service, self.books, gate)
        self.settling = Settling(service, self.books)
        self.collecting = Collecting(options.assignment_minutes * 60, context, service, self.books)

    def look(self) -> None:
        """Bring the books up to date, then hand over what that has brought, all at once.

        So what is made of answers together does not depend on how fast the service happens to be.
        """
        self.settling.expire()
        self.settling.pay_uncounted()
        self.collecting.look()
        self.posting.post_waiting()
        self.collecting.peek()
        self.books.put(HANDED, str(self.books.end()))


class Looking:
    """One look at a time, in a thread that dies with the process; all that it learns is on disk at once."""

    def __init__(self, options: MturkOptions, context: Context, service: Service) -> None:
        self._options, self._context, self._service = options, context, service
        self._thread: threading.Thread | None = None
        self._parts: Parts | None = None
        self._fault: Exception | None = None
        self._ended = -1e9  # by the monotonic clock
        self._failing: float | None = None

    def wait(self, until: float) -> None:
        """Start a look where one is due, and wait for its end, or until the monotonic clock says ``until``.

        Raises:
            Unreachable: Looks have failed for longer than ``patience_s``.
            GtloopError: Whatever else has ended a look.
        """
        if self._thread is None:
            if time.monotonic() < self._ended + self._options.poll_s:
                return
            self._thread = threading.Thread(target=self._work, name="mturk", daemon=True)
            self._thread.start()
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            return
        self._thread, self._ended = None, time.monotonic()
        fault, self._fault = self._fault, None
        if fault is None:
            self._failing = None
        elif not isinstance(fault, Unreachable):
            raise fault
        else:
            self._failing = self._failing or time.monotonic()
            if time.monotonic() - self._failing > self._options.patience_s:
                raise fault

    def rest(self) -> None:
        """Wait until no look is under way."""
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            if self._parts is None:
                self._parts = Parts(self._options, self._context, self._service)
            self._parts.look()
        except Exception as e:  # ``wait`` raises it, where somebody hears it
            self._fault = e
