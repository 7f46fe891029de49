"""Annotator ``mturk``: what core calls, in terms of the parts beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property

from gtloop.errors import ConfigError
from gtloop.interfaces import Annotator, Collected, Quote
from gtloop.money import micro, show
from gtloop.records import Request, Settlement
from gtloop.remote_people import Looks, collect
from gtloop_plugins.annotators.mturk.looking import Parts
from gtloop_plugins.annotators.mturk.options import MturkOptions, quote
from gtloop_plugins.annotators.mturk.service import Service

CHECK_S = 6.0
"""How long ``check`` tries to reach the service."""


class Mturk(Annotator):
    """People on Amazon Mechanical Turk; in the sandbox, unless ``production`` is asked for.

    All state is in ``mturk.sqlite`` in its folder, and with Amazon. Answers are looked for in a thread.
    """

    name = "mturk"
    summary = "people on Amazon Mechanical Turk (sandbox unless told otherwise)"
    Options = MturkOptions
    requires = ("boto3", "defusedxml")
    extra = "mturk"
    gives = frozenset({"settle", "block", "forget"})
    spends_money = True
    forms = frozenset({"choice", "box", "mask", "point", "polygon", "polyline", "text"})
    modes = frozenset({"draw", "verify", "adjust"})
    patient = True

    def quote(self, price: int, answers: int) -> Quote:
        """The price in whole cents, and Amazon's fee."""
        return quote(price, answers, self.options.masters)

    def check(self, cost: int) -> None:
        """Form, pictures, confirmed dollars, credentials, reachability and balance, in this order.

        Raises:
            Unreachable: The service does not answer.
            GtloopError: Something else is lacking.
        """
        self._parts.posting.check()
        self._parts.posting.check_confirmed(cost)
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
        self._parts.posting.plan(requests)
        self._parts.posting.post()

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
        """End the HITs; they are closed once nobody is at work on them."""
        self._parts.settling.withdraw(request_ids)
        self._parts.posting.find_withdrawn()
        self._parts.settling.expire()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Approve, reject with feedback, or send a bonus; each once."""
        self._parts.settling.settle(settlements)

    def block(self, workers: Mapping[str, str]) -> None:
        """Hide this run's HITs from these people, by a private qualification."""
        self._parts.gate.block(workers)

    def forget(self, worker: str) -> bool:
        """Erase which Amazon worker a name stands for."""
        self._looks.rest()
        return self._parts.books.forget(worker)

    def where(self) -> str:
        """Where the work is offered."""
        if self.options.endpoint:
            return f"the work is offered at {self.options.endpoint}"
        site = "worker.mturk.com" if self.options.production else "workersandbox.mturk.com"
        return f"the work is offered at https://{site}"

    def _new_parts(self) -> Parts:
        return Parts(self.options, self.context, self._service)

    @cached_property
    def _service(self) -> Service:
        return Service(self.options)

    @cached_property
    def _parts(self) -> Parts:
        return self._new_parts()

    @cached_property
    def _looks(self) -> Looks:
        o = self.options
        return Looks("mturk", self._new_parts, poll_s=o.poll_s, patience_s=o.patience_s)
