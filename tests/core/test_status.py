"""Status: what a state says of itself."""

from __future__ import annotations

import numpy as np
import pytest

from gtloop.evidence import Promise
from gtloop.facts import Facts
from gtloop.records import AuditedRegion
from gtloop.state import COLUMNS, MACHINE, POOL, State
from gtloop.status import items, promised, provisional, why
from gtloop.tables import anchoring
from gtloop_plugins.commands.audit import _lines


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


def test_how_far_seeing_leads_people_is_told_in_words() -> None:
    of = {"requests": 12, "unsure": 2, "distance": 0.031}
    blind = {"requests": 5, "unsure": 0, "distance": 0.142}
    told = anchoring({"adjust": of, "draw": blind, "verify": {"requests": 9, "unsure": 0, "distance": None}})
    assert "people who saw it by 0.031 (10 labels), of people who drew blind by 0.142 (5 labels)" in told
    assert "leads people" in told
    assert "leads people" not in anchoring({"draw": blind}), "nobody saw one"
    assert anchoring({"adjust": of | {"unsure": 12}}) == anchoring({}) == ""


@pytest.mark.parametrize(("audited", "sure"), [((5, 0), 0.8), ((5, 1), 0.6), ((1,) * 6, 0.0)])
def test_bounds_of_several_regions_are_less_sure_together(audited: tuple[int, ...], sure: float) -> None:
    """Each has its bounds at delta; those of a region that nobody looked into are 0 and 1."""
    state = State()
    state.facts.audits = 1
    state.facts.audited = tuple(
        AuditedRegion(look=n, slice="all", labels=20, audited=k, mean=0.9 if k else None, lower=0.1, upper=0.9)
        for n, k in enumerate(audited, 1)
    )
    promise = promised(state, Promise("selective", "accuracy", 0.5, delta=0.2))
    assert promise["audit"]["sure"] == sure
    told = _lines(promise)
    assert len(told) == len(audited) + (sum(k > 0 for k in audited) > 1)
    if sum(k > 0 for k in audited) > 1:
        assert told[-1] == f"each is 80% sure by itself, all of them at once {sure:.0%}"
