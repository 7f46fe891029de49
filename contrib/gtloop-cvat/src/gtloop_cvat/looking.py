"""Posting and looking beside the driver: uploads take minutes, and nobody waits for them."""

from __future__ import annotations

import threading
import time

from gtloop.errors import GtloopError, Unreachable
from gtloop.interfaces import Context

from gtloop_cvat.books import Books
from gtloop_cvat.collecting import Collecting
from gtloop_cvat.convert import Converter
from gtloop_cvat.options import CvatOptions
from gtloop_cvat.posting import Posting
from gtloop_cvat.server import Server

HANDED = "handed over"
"""Key of the last entry of the log that a whole look has brought."""


class Parts:
    """The parts of an annotator, on books that one thread uses."""

    def __init__(self, options: CvatOptions, context: Context) -> None:
        if context.form is None:
            raise GtloopError("annotator 'cvat' has no form to show; use it in a run that has a task")
        self.books, self.server = Books(context.workdir), Server(options)
        converter = Converter(context.form, options.cannot_tell)
        self.posting = Posting(options, self.server, self.books, converter)
        self.collecting = Collecting(self.server, self.books, converter)

    def look(self) -> None:
        """Take in what is done, tell it, then ask for what is lacking."""
        self.collecting.look()
        self.collecting.close()
        self.books.put(HANDED, str(self.books.end()))
        self.posting.plan()
        self.posting.post()


class Looking:
    """One look at a time, in a thread that dies with the process; all that it learns is on disk at once."""

    def __init__(self, options: CvatOptions, context: Context) -> None:
        self._options, self._context = options, context
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
            due = self._ended + self._options.poll_s
            if time.monotonic() < due:
                time.sleep(max(0.0, min(due, until) - time.monotonic()))
                return
            self._thread = threading.Thread(target=self._work, name="cvat", daemon=True)
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

    def _work(self) -> None:
        try:
            if self._parts is None:
                self._parts = Parts(self._options, self._context)
            self._parts.look()
        except Exception as e:  # ``wait`` raises it, where somebody hears it
            self._fault = e
