"""What a run costs and would cost if people did all of it: dollars, hours, and what people earn an hour."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

from gtloop.facts import Facts
from gtloop.money import half_up, micro, show, usd
from gtloop.settings import Settings
from gtloop.state import State


def budget_of(settings: Settings) -> int | None:
    """The budget in micro-dollars; None: there is none."""
    usd = settings.run.budget_usd
    return None if usd is None else micro(usd)


def affordable(state: State, settings: Settings) -> int | None:
    """How many more items the budget can pay people for, at the worst-case price, test images among them.

    None: nothing limits them.
    """
    left, price = state.facts.bill.left(budget_of(settings)), worst_case(state, settings, 1)
    if left is None or price == 0:
        return None
    n, gold = left // price, state.facts.gold
    if gold is None:
        return n
    items = min(n, max(n - gold.rows, int(n / (1 + settings.people.gold_share)) + 2))  # as many at least, or rounded
    while items + tests_among(state, settings, items) > n:
        items -= 1
    return items


def tests_among(state: State, settings: Settings, items: int) -> int:
    """How many images that test people are mixed into a batch of ``items``, at most."""
    gold = state.facts.gold
    return 0 if gold is None else min(gold.rows, ceil(settings.people.gold_share * items))


def worst_case(state: State, settings: Settings, requests: int) -> int:
    """What as many requests cost at most, micro-dollars."""
    return requests * state.rates.request(settings.run.workers)


def costs(state: State, settings: Settings, items: int) -> dict[str, float]:
    """Dollars paid and promised; ``items``: those that would have to be labelled without machine and imports."""
    bill = state.facts.bill
    return {
        "human": usd(bill.human),
        "machine": usd(bill.machine),
        "fees": usd(bill.fees + bill.topup),
        "compute": usd(bill.compute),
        "total": usd(bill.total),
        "if_all_human": usd(_all_human(state, settings, items)),
        "reserved": usd(bill.reserved),
        "overcharged": usd(bill.overcharged),
    }


def _all_human(state: State, settings: Settings, items: int) -> int:
    """The worker policy of now on every item, answers that never come left out as here, micro-dollars.

    Where the price of an answer depends on what is in it: by the mean of blind random items, and at its most as long as
    there are none.
    """
    prices, blind, answer = state.prices, state.facts.blind, Fraction(state.rates.answers(1))
    if prices.variable and state.facts.quote is None and blind.answers:
        answer = Fraction(blind.cost, blind.answers)
    people = half_up(items * _answers(state, settings) * answer) + prices.fees(prices.item_fee, 0, items)
    return max(people, prices.minimum)


def _answers(state: State, settings: Settings) -> Fraction:
    """Mean answers to an item by the policy of now: as measured where it adapts, else the share of those that came."""
    tallies, none = state.facts.asked, Facts.Tally()
    adaptive, fixed = tallies.get("adaptive", none), tallies.get("fixed", none)
    if adaptive.requests and settings.people.first_answers is not None:
        return Fraction(adaptive.answers, adaptive.requests)
    return settings.run.workers * (Fraction(fixed.came, fixed.due) if fixed.due else Fraction(1))


def hours(state: State, settings: Settings, items: int) -> dict[str, float | None]:
    """People's active hours, what all ``items`` would take them by the pace of blind random items, and the saving.

    The saving takes answers without a time for as long as the others.
    """
    blind, worked = state.facts.blind, state.facts.worked
    human = worked.seconds / 3600
    pace = blind.seconds / blind.timed if blind.timed else 0.0
    every = pace * float(_answers(state, settings)) * items / 3600
    if not every:
        return {"human": human, "if_all_human": None, "saving": None}
    whole = human * (1 + worked.untimed / worked.timed)
    return {"human": human, "if_all_human": every, "saving": max(0.0, 1 - whole / every)}


def wage(state: State) -> float | None:
    """Dollars that people got for an active hour, by the answers with a time; None where there are none."""
    paid, hours = usd(state.facts.worked.paid), state.facts.worked.seconds / 3600
    return paid / hours if paid and hours else None


def sentence(found: dict[str, Any]) -> str:
    """What it cost and saved, as a part of the sentence of a status: dollars, or hours where nobody is paid."""
    cost, time, done = found["cost_usd"], found["hours"], found["state"] == "finished"
    text = ""
    if cost["if_all_human"]:
        text = f"; {show(round(cost['total'] * 1e6))} paid"
        if done and found["saving"] is not None:
            text += f", {found['saving']:.0%} saved"
    elif time["human"]:
        text = f"; {_time(time['human'])} of people's time"
        if done and time["saving"] is not None:
            text += f", {time['saving']:.0%} saved"
    if cost["overcharged"]:
        text += f"; {show(round(cost['overcharged'] * 1e6))} charged beyond the budget"
    return text


def _time(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes" if hours >= 1 / 60 else "under a minute"
