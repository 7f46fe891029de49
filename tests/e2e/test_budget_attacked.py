"""The budget against an annotator that cheats, a driver that is killed between any two steps, and letters in between.

A schedule is drawn from a seed: prices, a budget, what the annotator does, where the driver dies, who writes what.
After every event of the ledger what is paid and promised must fit the budget of that moment, and the bill must be the
sum of the raw files.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import types
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import runs

import gtloop
from gtloop import config
from gtloop.ahead import Pause
from gtloop.errors import ConfigError
from gtloop.events import AnswersCollected, AnswersSettled, AnyEvent, RunPaused
from gtloop.interfaces import Annotator, Collected, Quote
from gtloop.ledger import Entry, Ledger
from gtloop.money import micro
from gtloop.records import Answer, Closed, Request, Settlement
from gtloop.registry import Registry
from gtloop.run import run_or_resume
from gtloop.state import State
from gtloop.store import Store
from gtloop.testing.fakes import CATEGORIES

ITEMS = 12
QUICK, MANY = 20, int(os.environ.get("GTLOOP_SCHEDULES", "240"))
"""Schedules of the quick suite, and of the slow one; 1,000 take a quarter of an hour."""


class Killed(BaseException):
    """The driver's process dies here."""


class Market:
    """The service behind the annotator: it outlives the driver, and decides by its seed how it cheats."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"market {seed}")
        self.asked: dict[str, Request] = {}
        self.given: list[Answer] = []
        self.closed: dict[str, Closed] = {}
        self.spite = self.rng.choice([0.0, 0.1, 0.4])
        self.own = self.rng.choice([None, None, (30_000, 7_000)])
        self.kill = self.rng.choice([0.0, 0.02, 0.1])
        self.settled: dict[str, str] = {}

    def cheats(self) -> bool:
        return self.rng.random() < self.spite

    def dies(self) -> None:
        if self.rng.random() < self.kill:
            raise Killed

    def answer(self, request: Request, price: int) -> Answer:
        number = len(self.given)
        base, fee = self.own or (price, 0)
        if self.cheats():
            base, fee = base * self.rng.choice([0, 2, 50]), self.rng.choice([0, 1, -5, 900_000])
        boxes = [{"category": "crate", "xyxy": [1, 1, 20, 20]}] * self.rng.randint(0, 4)
        payload: Any = "nonsense" if self.cheats() else boxes
        found = Answer(
            id=f"a{number}",
            request=request.id,
            worker=f"w{self.rng.randint(0, 5)}-{number}",
            outcome=self.rng.choice(["label", "label", "label", "empty", "cannot_tell", "declined"]),
            payload={"boxes": payload},
            active_seconds=self.rng.choice([0.0, 3.3, 20.0, 1e7, -4.0]) if self.cheats() else 7.0,
            price=base,
            fee=fee,
            at="2026-01-01T00:00:00Z",
        )
        if found.outcome != "label":
            found = found.model_copy(update={"payload": None})
        if found.outcome == "declined" and not self.cheats():
            found = found.model_copy(update={"price": 0, "fee": 0})
        self.given.append(found)
        return found


class Cheat(Annotator):
    """Answers late, twice, unasked, dearer than allowed or never; charges what it likes; dies in the middle."""

    name = "cheat"
    summary = "an annotator that cheats"
    gives = frozenset({"settle"})
    market: Market

    def quote(self, price: int, answers: int) -> Quote:
        return Quote(*self.market.own) if self.market.own else Quote(price)

    def submit(self, requests: Sequence[Request]) -> None:
        self.market.dies()
        for request in requests:
            self.market.asked[request.id] = request
        self.market.dies()

    def cancel(self, request_ids: Sequence[str]) -> None:
        for rid in request_ids:
            self.market.closed.setdefault(rid, Closed(request=rid, delivered=0, reason="cancelled"))

    def settle(self, settlements: Sequence[Settlement]) -> None:
        for s in settlements:
            assert self.market.settled.setdefault(s.answer, s.verdict) == s.verdict, "a verdict must not change"
        self.market.dies()

    def collect(self, cursor: str, limit_s: float) -> Collected:
        m = self.market
        m.dies()
        for request in m.asked.values():
            have = sum(a.request == request.id and a.outcome != "declined" for a in m.given)
            if request.id in m.closed and not (m.cheats() and m.cheats()):  # else: late, or more than it was asked for
                if m.closed[request.id].reason == "complete" and have < request.answers:
                    del m.closed[request.id]
                else:
                    continue
            for _ in range(m.rng.randint(0, max(0, request.answers - have) + 2 * m.cheats())):
                m.answer(request, self.context.price_per_answer)
            have = sum(a.request == request.id and a.outcome != "declined" for a in m.given)
            if have >= request.answers or m.rng.random() < 0.2:
                reason = "complete" if have >= request.answers else "expired"
                m.closed.setdefault(request.id, Closed(request=request.id, delivered=have, reason=reason))
        answers = list(m.given) if m.cheats() else m.given[int(cursor or 0) :]
        if m.cheats() and m.given:
            answers = [m.given[-1].model_copy(update={"id": "x", "request": "nobody asked"}), *answers]
        m.dies()
        return Collected(answers, [*m.closed.values(), Closed(request="unknown", delivered=1)], str(len(m.given)))


@pytest.fixture(scope="module")
def registry() -> Registry:
    @gtloop.hookimpl
    def gtloop_annotators() -> list[type]:
        return [Cheat]

    module = types.ModuleType("cheats")
    module.gtloop_annotators = gtloop_annotators  # type: ignore[attr-defined]
    return Registry.load(extra_modules=[module])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_images(tmp_path_factory.mktemp("source"), ITEMS)[0]


@pytest.fixture
def root() -> Iterator[Path]:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


def drawn(images: Path, rng: random.Random) -> dict[str, Any]:
    prices = {
        "answer_usd": rng.choice(["0.01", "0.036"]),
        "item_fee_usd": rng.choice(["0", "0.08"]),
        "machine_fee_usd": rng.choice(["0", "0.08"]),
        "object_usd": rng.choice(["0", "0.013"]),
        "objects_most": 3,
        "hour_usd": rng.choice(["0", "15"]),
        "seconds_most": 9,
        "fee_share": rng.choice(["0", "0.2"]),
        "fee_min_usd": rng.choice(["0", "0.01"]),
        "fee_tiers": rng.choice([[], [[4, "0.05"], [9, "0.01"]]]),
        "minimum_usd": rng.choice(["0", "0", "0.4", "4"]),
        "compute_usd_hour": rng.choice(["0", "0", "20"]),
    }
    sizes = {"probe": 2, "validation": 3, "train": 2, "batch": 3}
    return {
        "run.source": str(images),
        "run.task": "bbox",
        "run.classes": CATEGORIES,
        "run.annotator": "cheat",
        "run.detector": "stub",
        "run.seed": rng.randint(0, 99),
        "run.workers": rng.choice([1, 2, 3]),
        "run.budget_usd": rng.choice([0.4, 0.8, 1.5, 4.0, 20.0, 20.0]),
        "promise.rule": "empirical",
        "promise.target": rng.choice([0.01, 0.01, 0.5]),
        "loop.certify": "every-round",
        "people.reject": rng.choice([(), ("misfits",)]),
        "people.first_answers": rng.choice([None, 1]),
        **{f"sizes.{k}": v for k, v in sizes.items()},
        **{f"prices.{k}": v for k, v in prices.items()},
    }


def wish(run: gtloop.Run, rng: random.Random) -> None:
    """Somebody changes the budget or a price, for better or worse; what does not fit is refused by the driver."""
    budget = run.settings.run.budget_usd
    change = rng.choice(
        [
            {"run.budget_usd": round(budget * rng.choice([0.3, 0.9, 1.1, 2]), 2)},
            {"prices.answer_usd": rng.choice(["0", "0.02", "0.2"])},
            {"prices.item_fee_usd": rng.choice(["0", "0.03", "0.3"])},
            {"prices.machine_fee_usd": "0.3", "prices.hour_usd": "30"},
            {"prices.objects_most": rng.choice([0, 9])},
            {"run.workers": rng.choice([1, 4])},
        ]
    )
    run.change(**change)


def attack(seed: int, root: Path, images: Path, registry: Registry, patch: pytest.MonkeyPatch) -> State:
    """One schedule, with every event of its ledger checked."""
    rng = random.Random(seed)
    Cheat.market = Market(seed)
    append, deaths = Ledger.append, rng.choice([0.0, 0.02, 0.08])

    def dying(ledger: Ledger, events: Sequence[AnyEvent]) -> list[Entry]:
        if deaths and rng.random() < deaths:
            raise Killed
        entries = append(ledger, events)
        if deaths and rng.random() < deaths:
            raise Killed
        return entries

    patch.setattr(Ledger, "append", dying)
    patch.setattr(Pause, "__call__", lambda self: None)
    values = drawn(images, rng)
    for _ in range(25):
        try:
            outcome = run_or_resume(root, config.load(None, values), registry)[0]
            if outcome == "finished":
                break
        except Killed:
            continue
        except ConfigError:  # a dearer quote, or a price or a minimum that the budget does not hold
            values["run.budget_usd"] = 4.0
        if (root / "ledger.sqlite").exists():
            if rng.random() < 0.6:
                wish(gtloop.open(root), rng)
            values["run.budget_usd"] = None  # as it is
    patch.undo()
    state = check(root)
    assert Cheat.market.spite or not state.facts.bill.overcharged, "nobody honest is said to overcharge"
    return state


def check(root: Path) -> State:
    """Fold the ledger event by event; paid and promised fit the budget, and the bill is that of the raw files."""
    run, state, seen = gtloop.open(root), State(), set[str]()
    human = over = fees = 0
    allowed, machine = 0, 0
    for entry in run.events():
        event, before = entry.event, state.facts.bill.model_copy()
        state.apply(event, Store(root), entry.seq)
        bill, budget = state.facts.bill, state.facts.settings["run"]["budget_usd"]
        if isinstance(event, AnswersCollected) and event.answers is not None:
            t = run.store.read(event.answers)
            assert not seen & set(t["id"]), "an answer is paid once"
            seen |= set(t["id"])
            human, over = human + int(t["price"].sum()), over + int(t["over"].sum())
            fees += int(t["fee"].sum())
        elif isinstance(event, AnswersSettled):
            t = run.store.read(event.verdicts)
            no = [v == "reject" for v in t["verdict"]]
            human, over = human - int(t["price"][no].sum()), over - int(t["over"][no].sum())
            fees -= int(t["fee"][no].sum())
        step = bill.compute - before.compute
        machine = max(machine, step)
        allowed = micro(budget)
        assert bill.total - bill.compute + bill.reserved <= allowed, event
        assert step or bill.total + bill.reserved <= max(allowed, before.total + before.reserved), event
        assert bill.total + bill.reserved <= allowed + machine, event
        assert not step or before.bound < allowed, "the machine starts nothing that is not paid for"
        assert bill.reserved == sum(r.reserved for r in state.facts.open.values()), event
        assert min(bill.human, bill.fees, bill.machine, bill.compute, bill.reserved, bill.overcharged) >= 0, event
        assert all(r.reserved >= 0 for r in state.facts.open.values())
        assert (bill.human, bill.overcharged) == (human, over), event
        assert bill.fees >= fees
        rounds = sum(r.cost for r in state.facts.rounds.values())
        assert rounds == bill.total
        if isinstance(event, RunPaused) and event.reason == "overcharged":
            assert bill.overcharged > 0
    for number, paid in asked_for(run).items():
        assert state.facts.rounds[number].cost >= paid, "an answer counts where it was asked for"
    if state.facts.finished:
        assert state.facts.bill.total >= state.prices.minimum
    found = run.status()
    assert found["cost_usd"]["overcharged"] == pytest.approx(state.facts.bill.overcharged / 1e6)
    assert (found["cost_usd"]["overcharged"] > 0) == ("charged beyond the budget" in found["summary"])
    return state


def asked_for(run: gtloop.Run) -> Counter[int]:
    """What answers have cost that were not rejected, by the batch of their request."""
    f, found = run.state.facts, Counter[int]({n: 0 for n in run.state.facts.rounds})
    batch = {rid: n for n, b in f.batches.items() for rid in run.store.read(b.requests, ["request"])["request"]}
    for ref in f.answer_files:
        t = run.store.read(ref)
        for answer, rid, price, fee in zip(t["id"], t["request"], t["price"], t["fee"], strict=True):
            found[batch[rid]] += 0 if answer in f.rejected else int(price) + int(fee)
    return found


def attacks(seeds: Sequence[int], images: Path, registry: Registry) -> list[State]:
    found = []
    for seed in seeds:
        folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        try:
            with pytest.MonkeyPatch.context() as patch:
                found.append(attack(seed, folder, images, registry, patch))
        except AssertionError as e:
            raise AssertionError(f"schedule {seed}") from e
        finally:
            shutil.rmtree(folder)
    return found


def test_no_schedule_of_cheats_deaths_and_letters_exceeds_the_budget(images: Path, registry: Registry) -> None:
    states = attacks(range(QUICK), images, registry)
    assert any(s.facts.bill.overcharged for s in states), "somebody must try"
    assert any(s.facts.finished for s in states)
    assert any(s.facts.bill.machine for s in states)
    assert any(s.facts.rejected for s in states)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(QUICK, MANY, 55))
def test_many_more_schedules(images: Path, registry: Registry, first: int) -> None:
    attacks(range(first, min(MANY, first + 55)), images, registry)
