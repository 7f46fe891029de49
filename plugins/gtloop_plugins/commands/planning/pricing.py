"""What a job costs by its prices: the mean answer where answers are known, the dearest one where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gtloop.money import Prices, Rates, usd

if TYPE_CHECKING:
    from gtloop.interfaces import Task
    from gtloop.opened import Run

Work = tuple[int, float]
"""Objects in an answer, and the active seconds that it took."""


class Pricing(NamedTuple):
    """Prices, with the mean price of an answer: to the worker, and the platform's fee, micro-dollars."""

    prices: Prices
    rates: Rates
    answer: float
    answer_fee: float

    @classmethod
    def of(cls, prices: Prices, rates: Rates, work: Sequence[Work] = ()) -> Pricing:
        """From answers like ``work``; from the dearest answer where there are none, or an annotator names its price."""
        most = prices.rates()
        if not work or (rates.answer, rates.answer_fee) != (most.answer, most.answer_fee):
            return cls(prices, rates, rates.answer, rates.answer_fee)
        pay = [prices.answer + prices.extra(objects, seconds) for objects, seconds in work]
        fees = [prices.fee(p) for p in pay]
        return cls(prices, rates, sum(pay) / len(pay), sum(fees) / len(fees))

    def cost_usd(self, human: int, machine: int, answers: float, compute_s: float = 0.0) -> float:
        """Dollars for items that people and the machine label, with so many answers, fees of people's items first."""
        fees = self.prices.fees(self.prices.item_fee, 0, human)
        fees += self.prices.fees(self.prices.machine_fee, human, machine)
        total = answers * (self.answer + self.answer_fee) + fees + self.prices.compute(compute_s)
        return usd(max(round(total), self.prices.minimum))


def work_of(run: Run, task: Task) -> list[Work]:
    """What the answers of a run were, those aside that nobody labelled with; in the order of requests."""
    found = []
    for _, _, answers in run.answers(task):
        for a in answers:
            if a.outcome != "declined":
                found.append((0 if a.payload is None else task.count(a.payload), a.active_seconds))
    return found
