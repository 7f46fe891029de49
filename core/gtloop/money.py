"""Prices and what a run costs, in integer micro-dollars. Prices are data (``[prices]``), not code."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from gtloop.records import MICRO


def micro(usd: Decimal | str | float) -> int:
    """Dollars to micro-dollars, exact for up to six decimals."""
    return int((Decimal(str(usd)) * MICRO).to_integral_value())


def usd(amount: int) -> float:
    """Micro-dollars to dollars."""
    return amount / MICRO


def show(amount: int) -> str:
    """Micro-dollars as text, to the cent: ``$189.44``."""
    return f"${Decimal(amount) / MICRO:,.2f}"


class Prices(BaseModel):
    """What labels cost, dollars with up to six decimals.

    Ground Truth's bill for boxes is ``answer_usd=.036`` (5 workers), ``item_fee_usd=.08``,
    ``machine_fee_usd=.08``: $0.26 an item by people and $0.08 by machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer_usd: Decimal = Field(Decimal("0"), ge=0, description="for one worker's answer")
    item_fee_usd: Decimal = Field(Decimal("0"), ge=0, description="platform fee for an item that people label")
    machine_fee_usd: Decimal = Field(Decimal("0"), ge=0, description="platform fee for an item that the machine labels")

    @property
    def answer(self) -> int:
        return micro(self.answer_usd)

    @property
    def item_fee(self) -> int:
        return micro(self.item_fee_usd)

    @property
    def machine_fee(self) -> int:
        return micro(self.machine_fee_usd)

    def rates(self) -> Rates:
        """What is paid where the annotator asks for nothing else."""
        return Rates(self.answer, 0, self.item_fee, self.machine_fee)


class Rates(NamedTuple):
    """What labels cost in a run as it is, micro-dollars: its prices, and what its annotator makes of them."""

    answer: int
    answer_fee: int
    item_fee: int
    machine_fee: int

    def quoted(self, quote: tuple[int, int]) -> Rates:
        """With what an annotator takes for an answer, and its fee, in place of the run's own price."""
        return self._replace(answer=quote[0], answer_fee=quote[1])

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
    reserved: int = 0

    @property
    def total(self) -> int:
        """Paid so far."""
        return self.human + self.fees + self.machine

    def left(self, budget: int | None) -> int | None:
        """What may still be promised under a hard cap; None without a cap."""
        return None if budget is None else max(0, budget - self.total - self.reserved)
