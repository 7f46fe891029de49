"""Annotator ``prolific``: what core calls, in terms of the parts beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from gtloop.errors import ConfigError
from gtloop.interfaces import Annotator, Collected, Quote
from gtloop.money import show
from gtloop.records import Request, Settlement
from gtloop.remote_people import Looks, collect
from gtloop_plugins.annotators.local import Local, LocalOptions

from gtloop_prolific.books import Books
from gtloop_prolific.crowd import Participants
from gtloop_prolific.looking import Parts
from gtloop_prolific.options import ProlificOptions
from gtloop_prolific.pay import Pay
from gtloop_prolific.service import Service

if TYPE_CHECKING:
    from gtloop.opened import Run

CHECK_S = 6.0
"""How long ``check`` tries to reach the service."""


class Prolific(Annotator):
    """People on Prolific label at gtloop's page, a number of images in one submission.

    The page and its desk are those of annotator ``local``; studies, submissions and what is told are in
    ``prolific.sqlite``. Answers are looked for in a thread, and told once their submission is over.
    """

    name = "prolific"
    summary = "people on Prolific, who label at gtloop's own page"
    Options = ProlificOptions
    requires = ("httpx", *Local.requires)
    extra = "gtloop-prolific"
    gives = frozenset({"settle", "block", "serve", "forget"})
    spends_money = True
    forms = Local.forms
    modes = Local.modes
    patient = True

    def quote(self, price: int, answers: int) -> Quote:
        """The price of one image of a full submission, and Prolific's fee."""
        return Pay(self.options, price).quote()

    def check(self, cost: int) -> None:
        """Page, pay, confirmed dollars, token, fee and balance, in this order.

        Raises:
            Unreachable: The service does not answer.
            GtloopError: Something else is lacking.
        """
        o = self.options
        if o.public_url is None or (o.endpoint is None and not o.public_url.startswith("https://")):
            raise ConfigError(
                "participants have to reach the page: say at which https address, "
                "-o annotators.prolific.public_url=https://label.example.org"
            )
        most = self._parts.books.worst_case() + cost + round(o.leftovers_usd * 1e6)
        if o.confirm_usd is None or most > round(o.confirm_usd * 1e6):
            raise ConfigError(
                f"this may cost up to {show(most)} on Prolific; to pay for real, say so with the most that all of it "
                f"may cost: -o annotators.prolific.confirm_usd={-(-most // 10_000) / 100:.2f}"
            )
        self._check_account(cost)

    def _check_account(self, cost: int) -> None:
        o, until = self.options, time.monotonic() + CHECK_S
        self._service.call("GET", "/users/me/", until=until)
        pay = self._pay
        reward = pay.reward(o.images)
        body = {"reward": reward, "total_available_places": 100}
        total = self._service.call("POST", "/study-cost-calculator/", body, until=until)["total_cost"]
        if total * pay.cent > 100 * sum(pay.cost(reward)) + pay.cent:
            share = total / (100 * reward) - 1
            raise ConfigError(
                f"Prolific takes {share:.1%} of rewards from this account, VAT included: "
                "set annotators.prolific.fee_share (and vat_share), so that the budget holds"
            )
        if o.workspace is not None:
            found = self._service.call("GET", f"/workspaces/{o.workspace}/balance/", until=until)
            if found["currency_code"] != o.currency:
                raise ConfigError(f"the workspace is in {found['currency_code']}: set annotators.prolific.currency")
            if found["available_balance"] * pay.cent < cost:
                raise ConfigError(
                    f"the workspace has {show(found['available_balance'] * pay.cent)}, and this may cost {show(cost)}: "
                    "add money to it, or ask less"
                )

    def submit(self, requests: Sequence[Request]) -> None:
        """Put requests on the desk; the next look opens places for them."""
        self._parts.books.ask(requests)
        self._page.submit(requests)

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
        """Give them out no more; who is at work on them may finish, and is paid."""
        with self._parts.books.writing():
            for request in request_ids:
                query = "UPDATE request SET ended = 'cancelled' WHERE id = ? AND ended = '' AND closed = 0"
                self._parts.books.do(query, request)
        self._page.cancel(request_ids)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Approve or reject submissions, once all of their answers are judged; pay a bonus, each once."""
        self._parts.settling.settle(settlements)

    def block(self, workers: Mapping[str, str]) -> None:
        """Let these people begin no other submission."""
        for worker, why in workers.items():
            self._parts.books.put(f"out {worker}", why or "no reason given")

    def forget(self, worker: str) -> bool:
        """Erase which participant a name stands for."""
        return self._page.forget(worker)

    def serve(self, run: Run, *, host: str | None, port: int | None, ready: Callable[[str], None]) -> None:
        """Serve the page until SIGINT or SIGTERM; ``ready`` gets the owner's link.

        Raises:
            GtloopError: The address can't be used, or another process serves this run.
        """
        self._page.serve(run, host=host, port=port, ready=ready)

    def where(self) -> str:
        """Where the work is offered."""
        return f"Prolific sends people to {self.options.public_url}"

    @cached_property
    def _pay(self) -> Pay:
        return Pay(self.options, self.context.price_per_answer)

    @cached_property
    def _service(self) -> Service:
        return Service(self.options)

    @cached_property
    def _page(self) -> Local:
        return page_of(self)

    @cached_property
    def _parts(self) -> Parts:
        return Parts(self.options, self.context, self._page)

    @cached_property
    def _looks(self) -> Looks:
        o = self.options
        return Looks(
            "prolific",
            lambda: Parts(self.options, self.context, page_of(self)),
            poll_s=o.poll_s,
            patience_s=o.patience_s,
        )


class _Page(Local):
    """The page, with participants as its crowd."""

    participants: Participants

    def crowd(self) -> Participants:
        return self.participants


def page_of(annotator: Prolific) -> Local:
    """The page of an annotator, on a desk that several threads and processes may open."""
    o: ProlificOptions = annotator.options
    options = LocalOptions(host=o.host, port=o.port, public_url=o.public_url, people=(), link_days=1)
    page = _Page(options, annotator.context)
    pay = Pay(o, annotator.context.price_per_answer)
    page.participants = Participants(o, Service(o), Books(annotator.context.workdir), pay)
    return page
