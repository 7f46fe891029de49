"""How sure answers are, what people make of labels that they are shown, and by which times a mode is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtloop.corrections import Asked
from gtloop.facts import Facts
from gtloop.interfaces import Context, Hint, Task
from gtloop.money import Prices
from gtloop.proposing import PRIOR, _shrunk, expected
from gtloop.records import Answer
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.classification import Classification

NAMES = ("crate", "drum", "pipe")
BOXES = BBox(BBox.Options(), Context(categories=NAMES))
CLASSES = Classification(Classification.Options(), Context(categories=NAMES))


def answer(worker: str, payload: Mapping[str, Any] | None, outcome: str = "label") -> Answer:
    return Answer(id=f"a-{worker}", request="r", worker=worker, outcome=outcome, payload=payload, at="")


def box(category: str = "crate", shift: float = 0.0) -> dict[str, Any]:
    return {"category": category, "xyxy": [100.0 + shift, 100.0, 200.0 + shift, 180.0]}


def sure(task: Task, payloads: Sequence[Mapping[str, Any]], more: int = 3) -> float:
    said = [answer(f"w{k}", p, "label" if p.get("boxes", True) else "empty") for k, p in enumerate(payloads)]
    return task.sure(said, {}, Hint(), more)


# ------------------------------------------------------------------------------------------------ boxes


def test_two_who_agree_are_surer_than_two_who_differ() -> None:
    agree = sure(BOXES, [{"boxes": [box()]}, {"boxes": [box(shift=2)]}])
    for other in ([], [box("drum")], [box(shift=160)], [box(), box(shift=160)]):
        assert sure(BOXES, [{"boxes": [box()]}, {"boxes": other}]) < agree - 0.1, other


def test_two_who_agree_settle_it_by_default_and_two_who_differ_do_not() -> None:
    least = 0.9
    assert sure(BOXES, [{"boxes": [box()]}, {"boxes": [box(shift=1)]}]) >= least
    assert sure(BOXES, [{"boxes": []}, {"boxes": []}]) >= least
    assert sure(BOXES, [{"boxes": [box()]}, {"boxes": []}]) < least
    assert sure(BOXES, [{"boxes": [box()]}, {"boxes": [box("drum")]}]) < least


def test_a_third_who_agrees_with_one_of_two_makes_it_surer() -> None:
    two = [{"boxes": [box()]}, {"boxes": [box("drum")]}]
    assert sure(BOXES, [*two, {"boxes": [box()]}], more=2) > sure(BOXES, two, more=3)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.sampled_from(NAMES), st.floats(-150, 150)), max_size=3), min_size=1, max_size=5),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
)
def test_sure_is_a_share_and_does_not_depend_on_the_order(drawn: Any, more: int, random: Any) -> None:
    said = [
        answer(f"w{k}", {"boxes": [box(*b) for b in boxes]} if boxes else None, "label" if boxes else "empty")
        for k, boxes in enumerate(drawn)
    ]
    value = BOXES.sure(said, {}, Hint(), more)
    assert 0 <= value <= 1
    random.shuffle(said)
    assert BOXES.sure(said, {}, Hint(), more) == value


@settings(deadline=None)
@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6))
def test_more_people_to_ask_never_make_boxes_surer(names: list[str]) -> None:
    payloads = [{"boxes": [box(n, 3.0 * k)]} for k, n in enumerate(names)]
    values = [sure(BOXES, payloads, more) for more in (1, 2, 4, 8)]
    assert all(a >= b - 1e-9 for a, b in pairwise(values))


def test_who_cannot_tell_makes_nobody_sure() -> None:
    said = [answer("w0", None, "cannot_tell"), answer("w1", None, "cannot_tell")]
    assert BOXES.sure(said, {}, Hint(), 1) == 0
    assert CLASSES.sure(said, {}, Hint(), 1) == 0


def test_of_categories_it_is_the_posterior_and_a_model_may_vote() -> None:
    said = [answer("w0", {"category": "drum"}), answer("w1", {"category": "drum"})]
    assert CLASSES.sure(said, {}, Hint(), 3) == CLASSES.consolidate(said, {}).confidence
    for true in ("drum", "crate"):
        p = [0.98 if n == true else 0.01 for n in NAMES]
        hints = [
            Hint(raw={"probabilities": [0.98 if n == c else 0.01 for n in NAMES]}) for c in NAMES for _ in range(40)
        ]
        seen = [[answer(f"w{k}", {"category": c}) for k in range(3)] for c in NAMES for _ in range(40)]
        skills = CLASSES.skills(seen, {}, hints)
        with_model, alone = (
            CLASSES.sure(said, skills, Hint(raw={"probabilities": p}), 3),
            CLASSES.sure(said, skills, Hint(), 3),
        )
        assert (with_model > alone) == (true == "drum")


# -------------------------------------------------------------------------------------- what they are shown

SHOWN = {"category": "crate"}
YES, NO, DUNNO = answer("y", SHOWN), answer("n", None, "wrong"), answer("d", None, "cannot_tell")


@pytest.mark.parametrize(
    ("answers", "made", "verdict", "surety"),
    [
        ([YES, YES], True, "kept", 1.0),
        ([YES, YES, NO], True, "kept", 2 / 3),
        ([YES, NO], False, "wrong", 0.5),
        ([NO], False, "wrong", 1.0),
        ([NO, DUNNO], False, "wrong", 1.0),
        ([YES, DUNNO], True, "kept", 1.0),
        ([DUNNO], False, "unsure", 0.0),
        ([], False, "unsure", 0.0),
    ],
)
def test_a_label_is_kept_by_more_than_half(answers: list[Answer], made: bool, verdict: str, surety: float) -> None:
    asked = Asked("verify", SHOWN)
    heeded = asked.heeded(answers)
    assert all(a.outcome != "wrong" for a in heeded)
    label = CLASSES.consolidate(heeded, {}).payload if heeded else None
    assert (label is not None) == made
    assert asked.verdict(answers, label, 0.0) == verdict
    assert asked.sure(answers) == pytest.approx(surety)


def test_a_label_that_was_shown_is_read_in_the_categories_of_now() -> None:
    assert Asked("adjust", SHOWN).label(CLASSES, {"crate": "box"}) == {"category": "box"}


# ------------------------------------------------------------------------------------------------ times


def test_own_times_count_once_there_are_enough() -> None:
    few = _shrunk({"draw": [20.0] * 5, "adjust": [1.0] * 19, "verify": []})
    assert few == {"draw": 20, **{m: 20 * ratio for m, ratio in PRIOR.items()}}
    assert _shrunk({"draw": [20.0] * 5, "adjust": [1.0] * 19 + [400.0], "verify": []})["adjust"] == 1


def test_who_measures_no_time_has_the_usual_ratios() -> None:
    assert _shrunk({"draw": [0.0] * 30, "adjust": [], "verify": []}) == {"draw": 1.0, **PRIOR}


class _Job:
    """As much of a job as the costs need."""

    def __init__(self, prices: Prices, proposed: dict[str, Facts.Reviewed], times: dict[str, float]) -> None:
        facts = Facts(proposed=proposed)
        self.state = type("S", (), {"facts": facts, "prices": prices, "rates": prices.rates()})
        self.times = times


@pytest.mark.parametrize(
    ("prices", "wrong", "adjust", "best"),
    [
        ({}, 5, 15.0, "verify"),  # 5 % wrong: 4 s and little more
        ({}, 5, 3.0, "adjust"),
        ({}, 90, 15.0, "adjust"),  # nearly all are drawn anew
        ({}, 90, 40.0, "draw"),  # correcting takes longer than drawing
        ({"answer_usd": "0.04"}, 5, 15.0, "adjust"),  # whatever is asked twice is paid twice
        ({"hour_usd": "12", "seconds_most": 60}, 5, 15.0, "verify"),  # time is money
        ({"answer_usd": "0.04", "hour_usd": "12", "seconds_most": 60}, 90, 40.0, "draw"),
    ],
)
def test_the_cheapest_mode_is_chosen_by_money_then_time(
    prices: dict[str, Any], wrong: int, adjust: float, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"draw": 25.0, "adjust": adjust, "verify": 4.0}
    monkeypatch.setattr("gtloop.proposing.action_times", lambda job: job.times)
    blind = Facts.Reviewed(requests=50, changed=50, shown=False)
    judged = {"adjust": Facts.Reviewed(requests=100, kept=100 - wrong, changed=wrong), "draw": blind}
    costs = expected(_Job(Prices(**prices), judged, times))  # type: ignore[arg-type]
    assert min(costs, key=lambda m: costs[m]) == best
    assert costs["draw"][1] == 25.0


def test_a_closure_of_before_is_no_end() -> None:
    grown = Facts.Open(row=0, batch=1, want=3, got=2, reserved=0, most=5, fixed=False)
    assert grown.outlives(2, "complete")
    assert not grown.outlives(3, "complete")
    assert not grown.outlives(2, "expired")
    assert grown.due == 3
    assert not Facts.Open(row=0, batch=1, want=3, got=2, reserved=0).outlives(2, "complete"), "as it always was"
    moved = grown.model_copy(update={"before": 2})
    assert not moved.outlives(1, "complete"), "another annotator is asked for one only"
    assert np.all([grown.model_copy(update={"full": True}).outlives(n, "complete") for n in (2, 3)])
