"""What the annotator's answers cost a run, held against reservations and the budget.

An annotator that quotes a price of its own is owed what it says. Any other says at most what the answer itself costs;
what is in it (objects, time) and the platform's fee are added here. Within a budget, an answer costs no more than what
is reserved for its request, its item's fee left aside, and what the budget has left; the rest is *overcharged*.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import Rows
from gtloop.job import Job
from gtloop.money import Prices
from gtloop.records import Answer

Mask = NDArray[np.bool_]

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


def payable(job: Job, rows: Rows, accepted: Mask, is_pool: Mask) -> Mask:
    """(m,) mask of the accepted rows that the budget pays the machine fee for.

    A random sample of pool and validation alike, so that what is left of both is still alike.
    """
    bill, prices, labels = job.state.facts.bill, job.state.prices, int((accepted & is_pool).sum())
    left = bill.left(job.budget)
    if left is None or prices.fees(prices.machine_fee, bill.items, labels) <= left:
        return accepted
    paid = bisect_right(range(1, labels + 1), left, key=lambda n: prices.fees(prices.machine_fee, bill.items, n))
    at = np.flatnonzero(accepted)
    at = at[np.argsort(job.order("payable", rows[at]), kind="stable")]
    chosen = np.zeros(len(rows), np.bool_)
    chosen[at[np.cumsum(is_pool[at]) <= paid]] = True
    return chosen
