"""Answers that fit the form of a task, and those that don't."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gtloop import masks
from gtloop.interfaces import Context
from gtloop.people import fitting
from gtloop.records import Answer, Item
from gtloop_plugins.tasks.segmentation import Segmentation

TASK = Segmentation(Segmentation.Options(), Context(categories=("lane", "car")))
ITEM = Item(row=0, id="i", name="a.png", uri="a.png", width=4, height=4)
HALF = np.zeros((4, 4), bool)
HALF[:, :2] = True


def answer(worker: str, payload: dict[str, Any] | None, outcome: str = "label") -> Answer:
    return Answer(id=worker, request="r", worker=worker, outcome=outcome, payload=payload, at="t")


def drawn(*regions: tuple[str, Any]) -> dict[str, Any]:
    return {"size": [4, 4], "regions": [{"category": c, "counts": masks.encode(mask)} for c, mask in regions]}


@pytest.mark.parametrize("renamed", [{}, {"road": "lane"}])
def test_an_answer_that_does_not_fit_is_left_out_and_told(renamed: dict[str, str]) -> None:
    old = "road" if renamed else "lane"
    given = [
        answer("overlaps", drawn((old, HALF), ("car", HALF))),
        answer("nonsense", {"mask": "nonsense"}),
        answer("nothing", None),
        answer("stranger", drawn(("bus", HALF))),
        answer("good", drawn((old, HALF), ("car", ~HALF))),
        answer("unsure", {"mask": "left over"}, "cannot_tell"),
    ]
    told: dict[str, str] = {}
    found = fitting(TASK, ITEM, given, renamed, lambda a, why: told.update({a.worker: why}))
    assert [a.worker for a in found] == ["good", "unsure"]
    assert found[0].payload == drawn(("lane", HALF), ("car", ~HALF))
    assert found[1].payload is None
    assert set(told) == {"overlaps", "nonsense", "nothing", "stranger"}
    assert all(told.values())
