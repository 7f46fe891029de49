"""Annotator ``labelstudio``: what core calls, in terms of the parts beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property

from gtloop.interfaces import Annotator, Collected
from gtloop.records import Answer, Closed, Request

from gtloop_labelstudio import forms
from gtloop_labelstudio.books import Books
from gtloop_labelstudio.collecting import Collecting
from gtloop_labelstudio.options import LabelStudioOptions
from gtloop_labelstudio.posting import Posting
from gtloop_labelstudio.service import Service

CHECK_S = 6.0
"""How long ``check`` tries to reach the server."""


class LabelStudio(Annotator):
    """People at a Label Studio server: one project for a run, one task for a request, their annotations as answers.

    State is in ``labelstudio.jsonl`` in its folder, and at the server. Answers are looked for in a thread.
    """

    name = "labelstudio"
    summary = "people at a Label Studio server: its tasks out, their annotations in"
    Options = LabelStudioOptions
    requires = ("httpx",)
    extra = "gtloop-labelstudio"
    gives = frozenset({"block"})
    forms = frozenset(forms.CONTROLS)
    modes = frozenset({"draw", "adjust"})
    patient = True

    def check(self, cost: int) -> None:
        """Form, address and access token, in this order.

        Raises:
            Unreachable: The server does not answer.
            GtloopError: Something else is lacking.
        """
        forms.check(self.context.form)
        self._service.call("GET", "/api/current-user/whoami", time.monotonic() + CHECK_S)

    def submit(self, requests: Sequence[Request]) -> None:
        """Import what is new, and have more people asked where that has grown.

        Raises:
            GtloopError: It stops here; asked again, it goes on.
        """
        forms.check(self.context.form)
        self._books.ask(requests)
        self._posting.post()

    def collect(self, cursor: str, limit_s: float) -> Collected:
        """What looks have brought; looks again where that is told, at most every ``poll_s`` seconds.

        Raises:
            GtloopError: Looking fails for good, or for longer than ``patience_s``.
        """
        after = int(cursor or 0)
        self._collecting.wait(after, time.monotonic() + limit_s)
        records, end = self._books.told(after)
        answers = [r for r in records if isinstance(r, Answer)]
        return Collected(answers, [r for r in records if isinstance(r, Closed)], str(end))

    def rest(self) -> None:
        """Take in what a look that is under way brings."""
        self._collecting.rest()

    def cancel(self, request_ids: Sequence[str]) -> None:
        """Have nobody asked any more; a request is closed by the first look that begins after this."""
        asked = [(i, self._books.asked.get(i)) for i in dict.fromkeys(request_ids)]
        self._books.write(*({"end": i, "reason": "cancelled"} for i, a in asked if a is not None and a.open))
        self._posting.settle()

    def block(self, workers: Mapping[str, str]) -> None:
        """What these people still answer does not count; the server goes on to show them tasks."""
        self._books.write(*({"blocked": worker} for worker in workers if worker not in self._books.blocked))

    def where(self) -> str:
        """Where the work is."""
        project = self._books.project
        return f"label at {self.options.url}" + (f"/projects/{project}" if project else "")

    @cached_property
    def _service(self) -> Service:
        return Service(self.options)

    @cached_property
    def _books(self) -> Books:
        return Books(self.context.workdir)

    @cached_property
    def _posting(self) -> Posting:
        return Posting(self.options, self.context, self._service, self._books)

    @cached_property
    def _collecting(self) -> Collecting:
        return Collecting(self.options, self.context, self._service, self._books)
