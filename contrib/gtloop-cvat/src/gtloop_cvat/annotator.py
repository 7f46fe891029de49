"""Annotator ``cvat``: what core calls, in terms of the parts beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from gtloop.interfaces import Annotator, Collected
from gtloop.records import Request
from gtloop.remote_people import Looks, collect

from gtloop_cvat.looking import Parts
from gtloop_cvat.options import CvatOptions

CHECK_S = 10.0
"""How long ``check`` tries to reach the server."""


class Cvat(Annotator):
    """People label in CVAT: one task with one job for every answer, images uploaded or fetched by the server.

    All state is in ``cvat.sqlite`` in its folder, and at the server. A job counts once its state is ``completed``.
    """

    name = "cvat"
    summary = "people at a CVAT server, through its SDK"
    Options = CvatOptions
    requires = ("cvat_sdk",)
    extra = "gtloop-cvat"
    forms = frozenset({"box", "polygon", "polyline", "point", "mask", "choice"})
    modes = frozenset({"draw", "adjust"})
    patient = True

    def check(self, cost: int) -> None:
        """Form, credentials, reachability and assignees, in this order.

        Raises:
            Unreachable: The server does not answer.
            GtloopError: Something else is lacking.
        """
        self._parts.server.about(CHECK_S)
        for name in self.options.assignees:
            self._parts.server.user_id(name)

    def submit(self, requests: Sequence[Request]) -> None:
        """Write down what is asked; the next look makes tasks of it."""
        self._parts.books.ask(requests)

    def collect(self, cursor: str, limit_s: float) -> Collected:
        """What the last whole look has brought; looks again where that is told, at most every ``poll_s`` seconds.

        Raises:
            GtloopError: Looking fails for good, or for longer than ``patience_s``.
        """
        return collect(self._parts.books, self._looks, cursor, limit_s)

    def rest(self) -> None:
        """Wait until no look is under way."""
        self._looks.rest()

    def cancel(self, request_ids: Sequence[str]) -> None:
        """Withdraw requests; a task is deleted once nobody needs any of its images."""
        with self._parts.books.writing():
            for request in request_ids:
                query = "UPDATE request SET ended = 'cancelled' WHERE id = ? AND ended = '' AND closed = 0"
                self._parts.books.do(query, request)

    def where(self) -> str:
        """Where the tasks are."""
        return f"the tasks are at {self.options.url}"

    @cached_property
    def _parts(self) -> Parts:
        return Parts(self.options, self.context)

    @cached_property
    def _looks(self) -> Looks:
        o = self.options
        return Looks("cvat", lambda: Parts(self.options, self.context), poll_s=o.poll_s, patience_s=o.patience_s)
