"""What events do to the bill: answers, fees, reservations, the machine's time, and a minimum at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gtloop import events as ev
from gtloop.facts import Facts
from gtloop.money import Rates
from gtloop.records import known_seconds
from gtloop.state import VALIDATION, State
from gtloop.store import Store


def round_of(s: State, event: ev.Event) -> Facts.Round:
    """The iteration of an event."""
    return round_at(s, event.iteration)


def round_at(s: State, number: int) -> Facts.Round:
    """The iteration of that number; people were asked in that of their batch."""
    return s.facts.rounds.setdefault(number, Facts.Round())


def rounds_of(s: State, requests: Iterable[str], store: Store) -> dict[str, Facts.Round]:
    """The iteration in which people were asked, of each request, closed or not.

    Batches of closed ones are read, the latest first, so that no map has to hold every request of a run.
    """
    f, lacking = s.facts, set(requests)
    batches = {rid: f.open[rid].batch for rid in lacking if rid in f.open}
    for number in sorted(f.batches, reverse=True):
        if not (lacking := lacking - batches.keys()):
            break
        asked = store.read(f.batches[number].requests, ["request"])["request"]
        batches |= dict.fromkeys(lacking.intersection(asked), number)
    return {rid: round_at(s, number) for rid, number in batches.items()}


def answered(s: State, e: ev.Event, t: dict[str, Any], store: Store) -> None:
    """Pay for answers, from what is reserved for their requests as far as it goes, and count people's time.

    They belong to the iteration of their batch, whenever they come.
    """
    rounds = rounds_of(s, t["request"], store)
    f, kept, none = s.facts, s.rates.item_fee, np.zeros(len(t["price"]), np.int64)
    money = (t["price"], t.get("fee", none), t.get("over", none))  # older runs have one or two of these
    times = t.get("active_seconds", none)
    for rid, outcome, price, fee, over, seconds in zip(t["request"], t["outcome"], *money, times, strict=True):
        paid, request = int(price) + int(fee), f.open.get(rid)
        f.bill.human += int(price)
        f.bill.fees += int(fee)
        f.bill.overcharged += int(over)
        (rounds[rid] if rid in rounds else round_of(s, e)).human_cost += paid
        if request is not None:
            used = min(paid, max(0, request.reserved - kept))
            request.reserved -= used
            f.bill.reserved -= used
        if outcome == "declined":
            continue
        worked = known_seconds(float(seconds))
        _worked(f.worked, worked, int(price))
        if request is not None and not request.aside and s.role[request.row] == VALIDATION:
            f.blind.answers += 1
            f.blind.timed += bool(worked)
            f.blind.seconds += worked
            f.blind.cost += paid + int(over)


def _worked(so_far: Facts.Worked, seconds: float, price: int) -> None:
    if seconds:
        so_far.timed += 1
        so_far.seconds += seconds
        so_far.paid += price
    else:
        so_far.untimed += 1


def rejected(s: State, asked: Facts.Round, timed: bool, price: int, fee: int, over: int) -> None:
    """An answer that is not paid after all; ``asked``: the iteration in which it was asked for."""
    f = s.facts
    f.bill.human -= price
    f.bill.fees -= fee
    f.bill.overcharged -= over
    f.worked.paid -= price * timed
    asked.human_cost -= price + fee


def labelled(s: State, request: Facts.Open) -> None:
    """The fee for an item that people have labelled."""
    fee = s.rates.item_fee
    s.facts.bill.fees += fee
    s.facts.bill.items += 1
    round_at(s, request.batch).human_cost += fee


def machine(s: State, e: ev.Event, n: int) -> None:
    """The fees for items that the machine has labelled."""
    bill, prices = s.facts.bill, s.prices
    fee = prices.fees(prices.machine_fee, bill.items, n)
    bill.machine += fee
    bill.items += n
    round_of(s, e).machine_cost += fee


def repriced(s: State, request: Facts.Open, rates: Rates) -> int:
    """What an open request costs at most at other rates; what people may have answered at an old price stays."""
    reserved = rates.request(request.due)
    return max(reserved, request.reserved) if s.facts.batches[request.batch].submitted else reserved


def reprice(s: State, requests: Iterable[Facts.Open]) -> None:
    """Reserve for open requests what they cost at most now."""
    rates = s.rates
    for request in requests:
        reserved = repriced(s, request, rates)
        s.facts.bill.reserved += reserved - request.reserved
        request.reserved = reserved


def quoted(s: State, e: ev.PricesQuoted, store: Store) -> None:
    f = s.facts
    if s.rates.own((e.answer, e.fee)):
        f.quote = (e.answer, e.fee)
        reprice(s, s.unsubmitted())  # nobody works at another price yet
    else:  # it goes by the run's own prices again
        f.quote = None
        reprice(s, f.open.values())


def spent(s: State, e: ev.Event, step: str, seconds: float) -> None:
    """Time of the machine, and what that costs."""
    r, cost = round_of(s, e), s.prices.compute(seconds)
    r.seconds[step] = round(r.seconds.get(step, 0.0) + seconds, 3)
    r.machine_cost += cost
    s.facts.bill.compute += cost


def reopened(s: State, e: ev.Event) -> None:
    """A run that was finished goes on: what was lacking to the least that it costs is owed again at its next end."""
    bill = s.facts.bill
    if bill.topup:
        round_of(s, e).human_cost -= bill.topup
        bill.topup = 0
    s.facts.finished = False


def finished(s: State, e: ev.Event) -> None:
    """What is lacking to the least that a run costs."""
    bill = s.facts.bill
    lacking = max(0, s.prices.minimum - (bill.total - bill.topup))
    if lacking != bill.topup:
        round_of(s, e).human_cost += lacking - bill.topup
    bill.topup = lacking
