"""Annotator ``mturk``: what core calls, in terms of the parts beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from gtloop.errors import ConfigError, Unreachable
from gtloop.interfaces import Annotator, Collected, Context, Quote
from gtloop.money import micro, show
from gtloop.records import Answer, Closed, Request, Settlement
from gtloop_plugins.annotators.mturk.books import Books
from gtloop_plugins.annotators.mturk.collecting import Collecting
from gtloop_plugins.annotators.mturk.options import MturkOptions, quote
from gtloop_plugins.annotators.mturk.people import Gate
from gtloop_plugins.annotators.mturk.posting import Posting
from gtloop_plugins.annotators.mturk.service import Service
from gtloop_plugins.annotators.mturk.settling import Settling

BATCH = 1000
"""Most answers and closures of one ``collect``."""
CHECK_S = 15.0
"""How long ``check`` tries to reach the service."""


class Mturk(Annotator):
    """People on Amazon Mechanical Turk; the sandbox, unless ``production`` is asked for.

    Answers are handed over a whole look at a time, so that what is made of them together does not depend on how fast
    the service happens to answer.
    """

    name = "mturk"
    summary = "people on Amazon Mechanical Turk (sandbox unless told otherwise)"
    Options = MturkOptions
    requires = ("boto3", "defusedxml")
    extra = "mturk"
    gives = frozenset({"settle", "block", "forget"})
    spends_money = True
    forms = frozenset({"choice", "box", "mask", "text"})
    modes = frozenset({"draw", "verify", "adjust"})
    patient = True

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self._looked = -1e9  # when the last look began, by the monotonic clock
        self._failing: float | None = None  # since when looks fail

    def quote(self, price: int, answers: int) -> Quote:
        """The price in whole cents, and Amazon's fee."""
        return quote(price, answers, self.options.masters)

    def check(self, cost: int) -> None:
        """Form, pictures, confirmed dollars, credentials, reachability and balance, in this order.

        Raises:
            Unreachable: The service does not answer.
            GtloopError: Something else is lacking.
        """
        self._posting.check()
        self._posting.check_confirmed(cost)
        found = self._service.call("get_account_balance", time.monotonic() + CHECK_S)
        balance = micro(found["AvailableBalance"])
        if balance < cost:
            raise ConfigError(
                f"the MTurk account has {show(balance)}, and this may cost {show(cost)}: add money to it, or ask less"
            )

    def submit(self, requests: Sequence[Request]) -> None:
        """Post what is new, and enlarge what has grown.

        Raises:
            GtloopError: Posting stops here; asked again, it goes on.
        """
        self._posting.plan(requests)
        self._posting.post()

    def collect(self, cursor: str, limit_s: float) -> Collected:
        """What the last whole look has brought; looks again where that is told, at most every ``poll_s`` seconds."""
        until = time.monotonic() + limit_s
        after = int(cursor or 0)
        upto = int(self._books.known("handed over") or 0)
        if upto <= after:
            self._look(until)
            upto = int(self._books.known("handed over") or 0)
        told = self._books.told(after, upto, BATCH)
        records = [record for _, record in told]
        return Collected(
            [r for r in records if isinstance(r, Answer)],
            [r for r in records if isinstance(r, Closed)],
            str(told[-1][0] if told else after),
        )

    def cancel(self, request_ids: Sequence[str]) -> None:
        """End the HITs; they are closed once nobody is at work on them."""
        self._settling.withdraw(request_ids)
        self._posting.find_withdrawn()
        self._settling.expire()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Approve, reject with feedback, or send a bonus; each once."""
        self._settling.settle(settlements)

    def block(self, workers: Mapping[str, str]) -> None:
        """Hide this run's HITs from these people, by a private qualification."""
        self._gate.block(workers)

    def forget(self, worker: str) -> bool:
        """Erase which Amazon worker a name stands for."""
        return self._books.forget(worker)

    def where(self) -> str:
        """Where the work is offered."""
        if self.options.endpoint:
            return f"the work is offered at {self.options.endpoint}"
        site = "worker.mturk.com" if self.options.production else "workersandbox.mturk.com"
        return f"the work is offered at https://{site}"

    def _look(self, until: float) -> None:
        """Bring the books up to date, as far as time allows, and hand over what a whole look has brought."""
        wait = self._looked + self.options.poll_s - time.monotonic()
        if wait > 0:
            time.sleep(max(0.0, min(wait, until - time.monotonic())))
            return
        try:
            self._settling.expire()
            self._settling.pay_uncounted()
            if self._collecting.look(until):
                self._posting.post_waiting()
                self._collecting.peek(until)
                self._books.put("handed over", str(self._books.end()))
                self._looked = time.monotonic()
            self._failing = None
        except Unreachable:
            self._failing = self._failing or time.monotonic()
            if time.monotonic() - self._failing > self.options.patience_s:
                raise

    # ---------------------------------------------------------------------------------------- parts

    @cached_property
    def _books(self) -> Books:
        return Books(Path(self.context.workdir))

    @cached_property
    def _service(self) -> Service:
        return Service(self.options)

    @cached_property
    def _gate(self) -> Gate:
        return Gate(self._service, self._books)

    @cached_property
    def _posting(self) -> Posting:
        return Posting(self.options, self.context, self._service, self._books, self._gate)

    @cached_property
    def _collecting(self) -> Collecting:
        return Collecting(self.options.assignment_minutes * 60, self.context, self._service, self._books)

    @cached_property
    def _settling(self) -> Settling:
        return Settling(self._service, self._books)
