"""What the annotator's answers cost a run, held against reservations and the budget; the stops for money.

An annotator that quotes a price of its own is owed what it says. Any other says at most what the answer itself costs;
what is in it (objects, time) and the platform's fee are added here. Within a budget, an answer costs no more than what
is reserved for its request, its item's fee left aside, and what the budget has left; the rest is *overcharged*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gtloop.events import AnyEvent, RunPaused
from gtloop.job import Job
from gtloop.money import Prices, show
from gtloop.records import Answer

MOST = 10**15
"""Micro-dollars that an answer may claim; a billion dollars is no price."""


class Cost(NamedTuple):
    """What an answer costs, micro-dollars: to the worker, to the platform, and what it claims beyond the budget."""

    price: int
    fee: int
    over: int


def costs(job: Job, answers: Sequence[Answer], objects: Callable[[Answer], int]) -> list[Cost]:
    """What each of some new answers costs, in their order; ``objects`` counts those in an answer."""
    s = job.state
    left, kept, own = s.facts.bill.left(job.budget), s.rates.item_fee, s.facts.quote is not None
    held = {rid: max(0, r.reserved - kept) for rid, r in s.facts.open.items()}
    prices, found = s.prices, []
    for answer in answers:
        price, fee = (min(MOST, max(0, claimed)) for claimed in (answer.price, answer.fee))
        if not own and answer.outcome != "declined":
            price, fee = _priced(prices, price, fee, objects(answer) if prices.object_usd else 0, answer.active_seconds)
        reserved, over = held.get(answer.request, 0), 0
        if left is not None:
            over = max(0, price + fee - reserved - left)
        paid = price + fee - over
        used = min(paid, reserved)
        if used:
            held[answer.request] -= used
        left = None if left is None else left - (paid - used)
        price = min(price, paid)
        found.append(Cost(price, paid - price, over))
    return found


def _priced(prices: Prices, price: int, fee: int, objects: int, seconds: float) -> tuple[int, int]:
    pay = price + prices.extra(objects, seconds)
    return pay, fee + prices.fee(pay)


# --------------------------------------------------------------------------------------------- stops


def overcharge_due(job: Job) -> bool:
    """Whether an annotator took more than it was allowed, and the run has not stopped for that yet."""
    f = job.state.facts
    return f.bill.overcharged > f.told_overcharged and not f.cancelled


def stop_overcharged(job: Job) -> list[AnyEvent]:
    bill, name = job.state.facts.bill, job.plugins.annotator.name
    why = (
        f"annotator {name!r} charged {show(bill.overcharged)} more than the budget allows; nothing more is asked "
        f"until somebody has looked at that and set --budget to {show(bill.bound)} or more"
    )
    return [RunPaused(iteration=job.state.iteration, reason="overcharged", why=why)]


def machine_unpaid(job: Job) -> bool:
    """Whether the budget does not even pay for one machine label, so that a look could label nothing."""
    bill, prices = job.state.facts.bill, job.state.prices
    left = bill.left(job.budget)
    return left is not None and left < prices.fees(prices.machine_fee, bill.items, 1)


def compute_spent(job: Job) -> bool:
    """Whether the machine's time is paid for and nothing is left to pay it: it stops between steps."""
    return bool(job.settings.prices.compute_usd_hour) and job.state.facts.bill.left(job.budget) == 0


def stop_for_budget(job: Job) -> list[AnyEvent]:
    bill, budget = job.state.facts.bill, job.budget or 0
    why = f"the budget of {show(budget)} pays no further item"
    if compute_spent(job):
        why = (
            f"the budget of {show(budget)} is used up, {show(bill.compute)} of it by computing (it stops between steps)"
        )
        if bill.bound > budget:
            why += f"; the last step took {show(bill.bound - budget)} more than was left"
    return [RunPaused(iteration=job.state.iteration, reason="budget", why=why)]
