"""Status: what a state says of itself."""

from __future__ import annotations

import numpy as np

from gtloop.facts import Facts
from gtloop.state import COLUMNS, MACHINE, POOL, State
from gtloop.status import items, provisional


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
