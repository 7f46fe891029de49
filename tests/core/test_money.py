"""Prices to the micro-dollar, and the bill that the AWS blog published."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtloop import accounts, config
from gtloop import events as ev
from gtloop.errors import ConfigError
from gtloop.evidence import Promise
from gtloop.facts import Facts
from gtloop.money import Bill, Prices, half_up, micro, show
from gtloop.state import HUMAN, MACHINE, State
from gtloop.status import status
from gtloop.store import Store


@pytest.mark.parametrize(("usd", "expected"), [("0.036", 36_000), ("0.26", 260_000), (0.08, 80_000), ("1e-6", 1)])
def test_dollars_become_micro_dollars_exactly(usd: str | float, expected: int) -> None:
    assert micro(usd) == expected


@given(st.integers(0, 10**13))
def test_micro_dollars_survive_a_round_trip(amount: int) -> None:
    from decimal import Decimal

    assert micro(Decimal(amount) / 1_000_000) == amount


def test_a_budget_counts_what_is_promised() -> None:
    bill = Bill(human=micro(1), fees=micro("0.5"), machine=micro("0.25"), reserved=micro(2))
    assert bill.left(micro(4)) == micro("0.25")
    assert bill.left(micro(3)) == 0
    assert bill.left(None) is None


class Replay:
    """Folds the decisions of a run: what people and machine labelled, in which order."""

    def __init__(self, root: Path, n: int) -> None:
        self.store, self.state = Store(root), State()
        self.settings = config.load(None, {"run.preset": "ground-truth", "run.task": "bbox", "run.classes": ("bird",)})
        items = self.store.write("items.parquet", {"row": np.arange(n), "alias_of": np.full(n, -1)})
        self._apply(ev.RunStarted(gtloop="test", settings=self.settings.model_dump(mode="json"), plan={}, items=items))
        self.next = 0

    def _apply(self, event: ev.AnyEvent) -> None:
        # through JSON, as from the ledger
        self.state.apply(ev.parse_event(event.model_dump_json()), self.store)

    def _take(self, n: int) -> np.ndarray:
        rows = np.arange(self.next, self.next + n, dtype=np.int32)
        self.next += n
        return rows

    def people(self, n: int, phase: ev.Phase) -> None:
        state, workers, prices = self.state, self.settings.run.workers, self.state.rates
        i, rows = state.iteration, self._take(n)
        ids = [f"{i}-{r}" for r in rows]
        columns = {
            "request": ids,
            "row": rows,
            "purpose": ["train"] * n,
            "answers": np.full(n, workers),
            "max_price": np.full(n, prices.request(workers)),
        }
        requests = self.store.write(f"requests/{i}.parquet", columns)
        reserved = n * prices.request(workers)
        self._apply(ev.BatchCommitted(iteration=i, batch=i, phase=phase, requests=requests, reserved=reserved))
        assert state.facts.bill.reserved == reserved
        given = [(rid, w) for rid in ids for w in range(workers)]
        answers = self.store.write(
            f"answers/{i}.parquet",
            {
                "request": [rid for rid, _ in given],
                "outcome": ["label"] * len(given),
                "price": np.full(len(given), prices.answer),
            },
        )
        closed = self.store.write(f"answers/closed-{i}.parquet", {"request": ids, "reason": ["complete"] * len(ids)})
        self._apply(ev.AnswersCollected(iteration=i, number=i, answers=answers, closed=closed, cursor=str(i)))
        labelled = {"row": rows, "request": ids, "labelled": np.ones(n, bool), "objects": np.full(n, 2)}
        labels = self.store.write(f"labels/{i}.parquet", labelled)
        self._apply(ev.LabelsConsolidated(iteration=i, number=i, labels=labels))

    def machine(self, n: int, look: int) -> None:
        i, rows = self.state.iteration, self._take(n)
        labels = self.store.write(f"labels/machine-{look}.parquet", {"row": rows, "objects": np.full(n, 2)})
        self._apply(
            ev.Looked(iteration=i, look=look, model="m", delta=0, certificates=(), labels=labels, why="replayed")
        )


def test_the_blog_s_bill_to_the_cent(tmp_path: Path) -> None:
    """10/190/200/200/8 by people, 27 and 365 by machine: $158.08 + $31.36 = $189.44, 27 % saved."""
    replay = Replay(tmp_path, 1000)
    replay.people(10, "probe")
    replay.people(190, "validation")
    replay.people(200, "train")
    replay.machine(27, 1)
    replay.people(200, "active")
    replay.machine(365, 2)
    replay.people(8, "active")
    state = replay.state
    bill = state.facts.bill
    assert (state.count(HUMAN), state.count(MACHINE)) == (608, 392)
    assert show(bill.human + bill.fees) == "$158.08"
    assert show(bill.machine) == "$31.36"
    assert bill.total == micro("189.44")
    assert bill.reserved == 0
    found = status("blog", state, replay.settings, Promise("selective", "mean IoU", 0.6, rule="empirical"))
    assert found["cost_usd"]["total"] == pytest.approx(189.44, abs=1e-9)
    assert found["cost_usd"]["if_all_human"] == pytest.approx(260.00, abs=1e-9)
    assert round(found["saving"], 2) == 0.27
    assert [round(i["cost_usd"], 2) for i in found["iterations"]] == [2.60, 49.40, 52.00, 54.16, 31.28]
    assert found["annotations"] == 608 * 5


def test_prices_are_data() -> None:
    prices = Prices(answer_usd="0.012", item_fee_usd="0.08", machine_fee_usd="0.08")
    assert prices.rates().request(3) == micro("0.116")


# ------------------------------------------------------------------------------------------- price models


def test_half_a_micro_dollar_is_rounded_up() -> None:
    assert [half_up(Fraction(n, 4)) for n in range(7)] == [0, 0, 1, 1, 1, 1, 2]
    prices = Prices(hour_usd="0.0018", seconds_most=10, fee_share="0.5", compute_usd_hour="0.0018")
    assert [prices.extra(0, s) for s in (0.999, 1.0, 2.0, 3.0)] == [0, 1, 1, 2], "half a micro-dollar a second"
    assert [prices.compute(s) for s in (0.999, 1.0, 3.0)] == [0, 1, 2]
    assert [prices.fee(pay) for pay in (0, 1, 2, 3)] == [0, 1, 1, 2]


def test_mturk_s_fee_from_its_price_list() -> None:
    """20 % of the reward, at least a cent."""
    prices = Prices(fee_share="0.2", fee_min_usd="0.01")
    assert [prices.fee(micro(reward)) for reward in ("0.01", "0.05", "0.06")] == [10_000, 10_000, 12_000]


def test_objects_and_time_are_paid_up_to_a_most() -> None:
    prices = Prices(answer_usd="0.01", object_usd="0.02", objects_most=3, hour_usd=36, seconds_most=20, fee_share="0.2")
    assert prices.extra(2, 5.0) == micro("0.09")
    assert prices.extra(7, 1e9) == prices.extra(3, 20.0) == micro("0.26")
    assert prices.extra(-1, -3.0) == prices.extra(0, float("nan")) == prices.extra(0, 0.0) == 0
    assert prices.rates().answers(1) == micro("0.324")


@pytest.mark.parametrize(("key", "most"), [("object_usd", "objects_most"), ("hour_usd", "seconds_most")])
def test_what_has_no_worst_case_is_refused(key: str, most: str) -> None:
    with pytest.raises(ConfigError, match=rf"prices\.{most}: .*prices\.{key} needs it"):
        config.load(None, {"run.classes": ("a",), f"prices.{key}": "0.1"})


@pytest.mark.parametrize("tiers", [((5, "0.1"), (5, "0.2")), ((9, "0.1"), (3, "0.05")), ((-1, "0.1"),), ((3, "-1"),)])
def test_tiers_that_make_no_sense_are_refused(tiers: tuple[tuple[int, str], ...]) -> None:
    with pytest.raises(ConfigError, match=r"prices\.fee_tiers"):
        config.load(None, {"run.classes": ("a",), "prices.fee_tiers": tiers})


def test_fees_fall_with_the_items_of_the_run() -> None:
    """120,000 images at $0.08, $0.04 after 50,000, $0.02 after 100,000: 4,000 + 2,000 + 400 dollars."""
    prices = Prices(item_fee_usd="0.08", machine_fee_usd="0.03", fee_tiers=((50_000, "0.04"), (100_000, "0.02")))
    assert prices.fees(prices.item_fee, 0, 120_000) == micro(6_400)
    assert prices.fees(prices.machine_fee, 99_999, 2) == micro("0.05"), "a tier is no reason to pay more"
    rates = [prices.rates(n) for n in (49_999, 50_000, 100_000)]
    assert [(r.item_fee, r.machine_fee) for r in rates] == [(80_000, 30_000), (40_000, 30_000), (20_000, 20_000)]


amounts = st.decimals(0, 5, places=6)
price_models = st.builds(
    Prices,
    answer_usd=amounts,
    object_usd=amounts,
    objects_most=st.integers(0, 9),
    hour_usd=amounts,
    seconds_most=st.floats(0, 1e4),
    fee_share=st.decimals(0, 1, places=4),
    fee_min_usd=amounts,
    item_fee_usd=amounts,
    fee_tiers=st.lists(st.tuples(st.integers(0, 30), amounts), max_size=4, unique_by=lambda t: t[0]).map(
        lambda tiers: tuple(sorted(tiers))
    ),
)


@given(price_models, st.integers(-2, 40), st.floats(), st.integers(0, 40))
def test_no_answer_costs_more_than_what_is_reserved(prices: Prices, objects: int, seconds: float, items: int) -> None:
    pay = prices.answer + prices.extra(objects, seconds)
    rates = prices.rates(items)
    assert prices.answer <= pay <= rates.answer
    assert prices.fee(pay) <= rates.answer_fee
    assert prices.rates(items + 1).item_fee <= rates.item_fee, "a fee that is reserved does not rise"


@given(price_models, st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_fees_of_two_batches_are_those_of_one(prices: Prices, before: int, a: int, b: int) -> None:
    fee = prices.item_fee
    assert prices.fees(fee, before, a) + prices.fees(fee, before + a, b) == prices.fees(fee, before, a + b)
    assert prices.fees(fee, before, a) == sum(prices.rates(before + i).item_fee for i in range(a))


def test_an_annotator_s_own_price_takes_the_place_of_all_parts() -> None:
    rates = Prices(answer_usd="0.04", object_usd="0.1", objects_most=9, fee_share="0.2", item_fee_usd="0.08").rates()
    assert rates.quoted((40_000, 0)) == rates, "what it was offered is no price of its own"
    assert rates.quoted((50_000, 10_000)).request(2) == 2 * 60_000 + 80_000


# ------------------------------------------------------------------------------------------- reservations


def _asked(tmp_path: Path, **prices: str) -> Replay:
    """A run of four items, of which two are with three people each."""
    replay = Replay(tmp_path, 4)
    replay._apply(ev.SettingsChanged(changes={f"prices.{k}": v for k, v in prices.items()}))
    price = replay.state.rates.request(3)
    columns = {"request": ["a", "b"], "row": [0, 1], "purpose": ["train"] * 2}
    columns |= {"answers": [3, 3], "max_price": [price] * 2}
    ref = replay.store.write("requests/1.parquet", columns)
    replay._apply(ev.BatchCommitted(iteration=1, batch=1, phase="train", requests=ref, reserved=2 * price))
    return replay


def test_an_hour_s_pay_goes_by_answers_with_a_time(tmp_path: Path) -> None:
    replay = _asked(tmp_path, answer_usd="1", item_fee_usd="0")
    columns = {"id": ["1", "2", "3", "4"], "request": ["a", "a", "a", "b"], "outcome": ["label"] * 3 + ["declined"]}
    columns |= {"price": [micro(1)] * 4, "active_seconds": [1800.0, 0.0, float("nan"), 60.0]}
    ref = replay.store.write("answers/1.parquet", columns)
    replay._apply(ev.AnswersCollected(iteration=1, number=1, answers=ref, closed=None, cursor="1"))
    state = replay.state
    assert state.facts.bill.human == micro(4)
    assert state.facts.worked == Facts.Worked(timed=1, seconds=1800.0, paid=micro(1), untimed=2)
    assert accounts.wage(state) == pytest.approx(2.0)
    assert accounts.hours(state, replay.settings, 4)["human"] == pytest.approx(0.5)
    verdicts = {"answer": ["1", "2"], "verdict": ["reject", "reject"], "price": [micro(1)] * 2, "fee": [0, 0]}
    ref = replay.store.write("answers/verdicts.parquet", verdicts)
    replay._apply(ev.AnswersSettled(iteration=1, number=1, upto=1, verdicts=ref))
    assert (state.facts.bill.human, state.facts.worked.paid) == (micro(2), 0)
    assert accounts.wage(state) is None


def test_hours_saved_take_answers_without_a_time_for_as_long_as_others(tmp_path: Path) -> None:
    replay = Replay(tmp_path, 100)
    replay.state.facts.blind = Facts.Blind(answers=10, timed=5, seconds=500.0)
    replay.state.facts.worked = Facts.Worked(timed=20, seconds=2000.0, untimed=20)
    hours = accounts.hours(replay.state, replay.settings, 100)
    answers = 100 * replay.settings.run.workers
    assert hours["human"] == pytest.approx(2000 / 3600)
    assert hours["if_all_human"] == pytest.approx(100 * answers / 3600)
    assert hours["saving"] == pytest.approx(1 - 4000 / (100 * answers))


def test_a_price_that_falls_leaves_what_people_may_have_answered_at_the_old_one(tmp_path: Path) -> None:
    replay = _asked(tmp_path, answer_usd="0.1", item_fee_usd="0.08")
    replay._apply(ev.SettingsChanged(changes={"prices.answer_usd": "0.05"}))
    assert replay.state.facts.bill.reserved == micro("0.46"), "nobody has them yet"
    replay._apply(ev.BatchSubmitted(iteration=1, batch=1))
    replay._apply(ev.SettingsChanged(changes={"prices.answer_usd": "0.01"}))
    assert replay.state.facts.bill.reserved == micro("0.46")
    replay._apply(ev.SettingsChanged(changes={"prices.item_fee_usd": "0.3"}))
    assert replay.state.facts.bill.reserved == micro("0.66"), "of what is new and what was, the dearer"


def test_the_fee_of_items_is_reserved_anew_where_the_annotator_has_a_price_of_its_own(tmp_path: Path) -> None:
    replay = _asked(tmp_path, answer_usd="0.1", item_fee_usd="0.08")
    replay._apply(ev.PricesQuoted(annotator="x", answers=3, answer=200_000, fee=50_000))
    replay._apply(ev.BatchSubmitted(iteration=1, batch=1))
    assert replay.state.facts.bill.reserved == micro("1.66")
    replay._apply(ev.SettingsChanged(changes={"prices.item_fee_usd": "0.5"}))
    assert replay.state.facts.bill.reserved == micro("2.5")
    replay._apply(ev.PricesQuoted(annotator="y", answers=3, answer=100_000, fee=0))
    assert replay.state.facts.quote is None, "that is the run's own price again"


def test_an_item_s_fee_is_not_for_answers(tmp_path: Path) -> None:
    """An answer dearer than its share takes from the answers' part only."""
    replay = _asked(tmp_path, answer_usd="0.1", item_fee_usd="0.08")
    given = {"request": ["a"], "outcome": ["label"], "price": [micro(5)], "fee": [0], "over": [7]}
    answers = replay.store.write("answers/1.parquet", given)
    replay._apply(ev.AnswersCollected(iteration=1, number=1, answers=answers, closed=None, cursor="1"))
    bill = replay.state.facts.bill
    assert (bill.human, bill.overcharged, bill.reserved) == (micro(5), 7, micro("0.46"))
    assert replay.state.facts.open["a"].reserved == micro("0.08")


def test_a_finished_run_pays_its_minimum_once(tmp_path: Path) -> None:
    replay = _asked(tmp_path, minimum_usd="10", machine_fee_usd="0.5", answer_usd="0", item_fee_usd="0")
    paid = []
    for number, machine in ((1, 0), (2, 1), (3, 1)):
        if machine:
            replay.next = number
            replay.machine(machine, number)
        replay._apply(ev.RunFinished(iteration=1, number=number))
        bill = replay.state.facts.bill
        paid.append((bill.machine, bill.total))
        rounds = replay.state.facts.rounds.values()
        assert bill.total == sum(r.cost for r in rounds)
        assert bill.machine == sum(r.machine_cost for r in rounds)
    assert paid == [(0, micro(10)), (micro("0.5"), micro(10)), (micro(1), micro(10))]


def test_the_machine_s_time_is_in_the_bill(tmp_path: Path) -> None:
    replay = _asked(tmp_path, compute_usd_hour="3.6", answer_usd="0")
    replay._apply(ev.ItemsEmbedded(iteration=1, detector="d", path="e", upto=4, rows=4, parts=1, seconds=20.0))
    bill = replay.state.facts.bill
    assert bill.compute == micro("0.02") == bill.total
    assert replay.state.facts.rounds[1].machine_cost == micro("0.02")
