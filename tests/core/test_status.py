"""Status: what a state says of itself."""

from __future__ import annotations

import numpy as np

from gtloop.facts import Facts
from gtloop.state import COLUMNS, MACHINE, POOL, State
from gtloop.status import items, provisional, why


def test_pool_labels_are_provisional_until_a_look() -> None:
    state = State()
    state.columns = {name: np.zeros(5, kind) for name, kind in COLUMNS.items()}
    assert provisional(state) == 0, "no model, no labels"
    state.facts.model = Facts.Model(name="m", batch=1, path=None, examples=3)
    assert provisional(state) == 0, "not predicted yet"
    state.facts.model.predicted = "predictions/m"
    assert provisional(state) == 5
    state.status[:2] = MACHINE
    assert provisional(state) == 3
    assert items(state)["pool"] == int((state.status == POOL).sum()) == 3


def test_a_run_that_ends_without_a_look_says_why() -> None:
    state = State()
    assert why(state) == ""
    state.facts.finished = True
    assert why(state).startswith("no machine labels, because people had labelled all")
    state.facts.looks, state.facts.why = 1, "because of something else"
    assert why(state) == "because of something else"
