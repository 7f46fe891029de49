"""Prices and what a run costs, in integer micro-dollars. Prices are data (``[prices]``), not code.

Amounts are exact; where a rule gives a fraction of a micro-dollar (time, shares), it is rounded half up, once for each
answer or step. Every part has a worst case that is known beforehand, so that it can be reserved.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from math import floor, isfinite
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from gtloop.records import MICRO


def micro(usd: Decimal | str | float) -> int:
    """Dollars to micro-dollars, exact for up to six decimals, else half up."""
    return int((Decimal(str(usd)) * MICRO).to_integral_value(ROUND_HALF_UP))


def usd(amount: int) -> float:
    """Micro-dollars to dollars."""
    return amount / MICRO


def show(amount: int) -> str:
    """Micro-dollars as text, to the cent: ``$189.44``."""
    return f"${Decimal(amount) / MICRO:,.2f}"


def half_up(amount: Fraction) -> int:
    """A fraction of micro-dollars to whole ones."""
    return floor(amount + Fraction(1, 2))


def _timed(seconds: float, hour: int) -> int:
    """What ``seconds`` cost at ``hour`` micro-dollars an hour; nothing where the time is not known."""
    return half_up(Fraction(seconds) * hour / 3600) if isfinite(seconds) and seconds > 0 else 0


class Prices(BaseModel):
    """What labels cost, dollars with up to six decimals.

    Ground Truth's bill for boxes is ``answer_usd=.036`` (5 workers), ``item_fee_usd=.08``,
    ``machine_fee_usd=.08``: $0.26 an item by people and $0.08 by machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer_usd: Decimal = Field(Decimal("0"), ge=0, description="for one worker's answer")
    object_usd: Decimal = Field(Decimal("0"), ge=0, description="for each object in an answer, on top")
    objects_most: int | None = Field(None, ge=0, validate_default=True, description="objects paid for in one answer")
    hour_usd: Decimal = Field(Decimal("0"), ge=0, description="for each hour of a worker's active time, on top")
    seconds_most: float | None = Field(
        None, ge=0, allow_inf_nan=False, validate_default=True, description="active seconds paid for in one answer"
    )
    fee_share: Decimal = Field(Decimal("0"), ge=0, le=1, description="platform fee: share of what a worker gets")
    fee_min_usd: Decimal = Field(Decimal("0"), ge=0, description="least platform fee for an answer")
    item_fee_usd: Decimal = Field(Decimal("0"), ge=0, description="platform fee for an item that people label")
    machine_fee_usd: Decimal = Field(Decimal("0"), ge=0, description="platform fee for an item that the machine labels")
    fee_tiers: tuple[tuple[int, Decimal], ...] = Field(
        (), description="pairs (items of the run, dollars): after so many items, no item's fee is more than that"
    )
    minimum_usd: Decimal = Field(Decimal("0"), ge=0, description="what a finished run costs at least")
    compute_usd_hour: Decimal = Field(Decimal("0"), ge=0, description="for an hour of the machine's work")

    @field_validator("objects_most", "seconds_most")
    @classmethod
    def _bounded(cls, most: float | None, info: ValidationInfo) -> float | None:
        priced = "object_usd" if info.field_name == "objects_most" else "hour_usd"
        if most is None and info.data.get(priced):
            raise ValueError(f"prices.{priced} needs it: without a most, nothing can be reserved")
        return most

    @field_validator("fee_tiers")
    @classmethod
    def _rising(cls, tiers: tuple[tuple[int, Decimal], ...]) -> tuple[tuple[int, Decimal], ...]:
        starts = [start for start, _ in tiers]
        if starts != sorted(set(starts)) or any(start < 0 or not 0 <= fee < MICRO for start, fee in tiers):
            raise ValueError("give pairs (items, dollars) by rising numbers of items, dollars from 0 on")
        return tiers

    @property
    def answer(self) -> int:
        return micro(self.answer_usd)

    @property
    def item_fee(self) -> int:
        return micro(self.item_fee_usd)

    @property
    def machine_fee(self) -> int:
        return micro(self.machine_fee_usd)

    @property
    def minimum(self) -> int:
        return micro(self.minimum_usd)

    @property
    def variable(self) -> bool:
        """Whether what an answer costs depends on what is in it."""
        return bool(self.object_usd or self.hour_usd)

    def extra(self, objects: int, seconds: float) -> int:
        """What a worker gets for ``objects`` and active ``seconds``, besides the price of an answer."""
        paid = min(max(0, objects), self.objects_most or 0) * micro(self.object_usd)
        return paid + _timed(min(seconds, self.seconds_most or 0.0), micro(self.hour_usd))

    def fee(self, pay: int) -> int:
        """The platform's fee on ``pay`` for one answer."""
        return max(micro(self.fee_min_usd), half_up(Fraction(self.fee_share) * pay))

    def compute(self, seconds: float) -> int:
        """What the machine's work costs."""
        return _timed(seconds, micro(self.compute_usd_hour))

    def fees(self, fee: int, before: int, n: int) -> int:
        """Fees of ``n`` more items at ``fee`` each, once ``before`` items of the run have had theirs."""
        total, at, end = 0, before, before + n
        for start, most in self.fee_tiers:
            items = max(0, min(start, end) - at)
            total, at = total + items * fee, at + items
            fee = min(fee, micro(most))
        return total + (end - at) * fee

    def rates(self, items: int = 0) -> Rates:
        """What is paid at most where the annotator asks for nothing else, and ``items`` have had their fees."""
        pay = self.answer + self.extra(self.objects_most or 0, self.seconds_most or 0.0)
        item, machine = (self.fees(fee, items, 1) for fee in (self.item_fee, self.machine_fee))
        return Rates(pay, self.fee(pay), item, machine, self.answer)


class Rates(NamedTuple):
    """What labels cost at most in a run as it is, micro-dollars: its prices, and what its annotator makes of them."""

    answer: int
    answer_fee: int
    item_fee: int
    machine_fee: int
    base: int
    """What the run pays for any answer, whatever is in it."""

    def own(self, quote: tuple[int, int]) -> bool:
        """Whether a quote, to the worker and a fee, is an annotator's own price, and not just what it was offered."""
        return tuple(quote) != (self.base, 0)

    def quoted(self, quote: tuple[int, int]) -> Rates:
        """With what an annotator takes for an answer, and its fee, where that is not the run's own price."""
        return self._replace(answer=quote[0], answer_fee=quote[1]) if self.own(quote) else self

    def answers(self, n: int) -> int:
        """Price of ``n`` answers, the platform's share included."""
        return n * (self.answer + self.answer_fee)

    def request(self, answers: int) -> int:
        """Worst-case price of one request, fees included."""
        return self.answers(answers) + self.item_fee


class Bill(BaseModel):
    """What a run has paid and what it has promised to pay, micro-dollars."""

    model_config = ConfigDict(extra="forbid")

    human: int = 0
    fees: int = 0
    machine: int = 0
    compute: int = 0
    topup: int = 0
    """What a finished run pays to come to its minimum."""
    reserved: int = 0
    overcharged: int = 0
    """What an annotator took beyond what the budget allowed."""
    items: int = 0
    """Items whose fee is paid, by people or by machine."""

    @property
    def total(self) -> int:
        """Paid so far."""
        return self.human + self.fees + self.machine + self.compute + self.topup

    @property
    def bound(self) -> int:
        """The least budget that holds all that is paid, promised and taken."""
        return self.total + self.reserved + self.overcharged

    def left(self, budget: int | None) -> int | None:
        """What may still be promised under a hard cap; None without a cap."""
        return None if budget is None else max(0, budget - self.bound)
