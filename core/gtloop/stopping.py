"""The stops for money, and what is lacking where one comes before a look."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from gtloop.accounts import tests_among, worst_case
from gtloop.events import AnyEvent, RunPaused
from gtloop.job import Job
from gtloop.money import micro, show
from gtloop.picking import asked
from gtloop.records import MICRO
from gtloop.settings import Settings
from gtloop.state import POOL, RELABEL, State

ORDINALS = ("first", "second", "third")
CENT = MICRO // 100


class Lacking(NamedTuple):
    """What keeps a budget from reaching the next look, in micro-dollars, at worst-case prices."""

    look: int
    """Number of the look."""
    labels: int
    """How many items people have been asked about by then."""
    more: int
    """To be added to the budget, in whole cents."""
    budget: int
    """The budget that reaches it, in whole cents."""

    def __str__(self) -> str:
        which = ORDINALS[self.look - 1] if self.look <= len(ORDINALS) else "next"
        return f"{show(self.more)} more reaches the {which} look at {self.labels} labels"


def before_look(state: State, settings: Settings) -> Lacking | None:
    """What is lacking before the look that comes next; None where none comes, or the budget reaches it.

    Counts what somebody wants asked first, and the fee of one image that the machine labels, without which no look is
    made; computing is left out.
    """
    f, usd = state.facts, settings.run.budget_usd
    at = f.plan.get("look_at", ())[state.stage_looks : state.stage_looks + 1]
    if usd is None or settings.loop.certify != "late" or not at or f.finished or f.cancelled:
        return None
    items = max(0, at[0] - asked(state))
    if items >= state.count(POOL):  # people label all of them first
        return None
    tests = 0
    if f.gold is not None and items:  # rounded up for each batch
        tests = ceil(items * settings.people.gold_share) + 2 + ceil(items / (settings.sizes.batch or f.plan["batch"]))
    machine = state.prices.fees(state.prices.machine_fee, f.bill.items + items, 1)
    least = f.bill.bound + _wished(state, settings) + worst_case(state, settings, items + tests) + machine
    more, budget = (-(-amount // CENT) * CENT for amount in (least - micro(usd), least))
    return Lacking(f.looks + 1, at[0], more, budget) if more > 0 else None


def _wished(state: State, settings: Settings) -> int:
    """What somebody wants asked before anything else costs at most, micro-dollars: new labels, audits and reviews."""
    f = state.facts
    batches = (state.count(RELABEL), *f.audits_asked)
    requests = sum(n + tests_among(state, settings, n) for n in batches)
    reviews = sum(wish.rows.rows * state.rates.request(wish.answers) for wish in f.reviews)
    return worst_case(state, settings, requests) + reviews


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
    if lacking := before_look(job.state, job.settings):
        why += f"; {lacking}"
    if compute_spent(job):
        why = (
            f"the budget of {show(budget)} is used up, {show(bill.compute)} of it by computing (it stops between steps)"
        )
        if bill.bound > budget:
            why += f"; the last step took {show(bill.bound - budget)} more than was left"
    return [RunPaused(iteration=job.state.iteration, reason="budget", why=why)]
