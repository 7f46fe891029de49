"""Prices to the micro-dollar, and the bill that the AWS blog published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtloop import config
from gtloop import events as ev
from gtloop.evidence import Promise
from gtloop.money import Bill, Prices, micro, show
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
        closed = self.store.write(f"answers/closed-{i}.parquet", {"request": ids})
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
