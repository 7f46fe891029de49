from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtloop.errors import BadAnswer
from gtloop.interfaces import Context
from gtloop.labels import RawClasses
from gtloop.records import Item
from gtloop_plugins.tasks.classification import Classification

CATEGORIES = ("bird", "cat", "dog")
TASK = Classification(Classification.Options(), Context(categories=CATEGORIES))
ITEM = Item(row=0, id="i", name="a.jpg", uri="a.jpg")
names = st.sampled_from(CATEGORIES)


@given(names, names)
def test_error(a: str, b: str) -> None:
    assert TASK.error({"category": a}, {"category": b}) == float(a != b)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"category": "brid"}, "'brid' is not declared; use one of: bird, cat, dog"),
        ({}, "category"),
        ({"category": "cat", "confidence": 2}, "confidence"),
        ({"category": ["cat", "dog"]}, "category"),
    ],
)
def test_parse_refuses(payload: dict[str, Any], says: str) -> None:
    with pytest.raises(BadAnswer, match=says) as e:
        TASK.parse(payload, ITEM)
    assert "\n" not in str(e.value)


def test_parse() -> None:
    assert TASK.parse({"category": "cat"}, ITEM) == {"category": "cat"}
    assert TASK.parse({"category": "cat", "confidence": 0.5}, ITEM) == {"category": "cat", "confidence": 0.5}


def test_features_and_label() -> None:
    raw = RawClasses(probabilities=(0.2, 0.7, 0.1)).model_dump(mode="json")
    f = dict(zip(TASK.feature_names, TASK.features(raw, 0.5).tolist(), strict=True))
    assert f["n_objects"] == 1
    assert f["confidence_mean"] == f["confidence_min"] == f["confidence_product"] == pytest.approx(0.7)
    assert f["below_cut_max"] == pytest.approx(0.2)
    assert f["margin"] == pytest.approx(0.5)
    assert f["entropy"] == pytest.approx(1.156780 / np.log2(3), abs=1e-5)
    assert TASK.label(raw, 0.5) == {"category": "cat", "confidence": 0.7}
    assert TASK.slice(raw, 0.5) == "all"
    certain = TASK.features({"probabilities": [0.0, 1.0, 0.0]}, 0.5)
    assert certain[TASK.feature_names.index("entropy")] == 0


@given(names, st.none() | st.floats(0, 1))
def test_raw_gives_the_category_back(category: str, confidence: float | None) -> None:
    raw = TASK.raw({"category": category, "confidence": confidence})
    assert sum(raw["probabilities"]) == pytest.approx(1)
    made = TASK.label(raw, 0.5)
    assert made["category"] == category
    if confidence is None or confidence > 0.34:
        assert made["confidence"] == pytest.approx(1.0 if confidence is None else confidence)


def test_evaluate() -> None:
    pairs = [("cat", "cat"), ("cat", "dog"), ("dog", "dog"), ("bird", "dog")]
    figures = TASK.evaluate([({"category": a}, {"category": b}) for a, b in pairs])
    assert (figures["mean"], figures["count"]) == (0.5, 4)
    assert (figures["recall.dog"], figures["recall.cat"], figures["precision.cat"]) == (pytest.approx(1 / 3), 1, 0.5)
    assert figures["balanced"] == pytest.approx(2 / 3)
    assert np.isnan(TASK.evaluate([])["mean"])


@settings(deadline=None)
@given(names, st.integers(0, 1000))
def test_without_noise_people_are_right(truth: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    said = TASK.simulate({"category": truth}, {**TASK.worker(rng), "noise": 0.0, "spammer": True}, ITEM, rng)
    assert (said.outcome, said.payload) == ("label", {"category": truth})


def test_people_err_as_specified() -> None:
    rng = np.random.default_rng(0)
    crowd = [{**TASK.worker(rng), "spammer": False} for _ in range(3000)]
    said = [TASK.simulate({"category": "cat"}, w, ITEM, rng) for w in crowd]
    chosen = [s.payload["category"] for s in said if s.payload]
    assert np.mean([c == "cat" for c in chosen]) == pytest.approx(0.25 * 0.95 + 0.6 * 0.85 + 0.15 * 0.7, abs=0.025)
    wrong = [c for c in chosen if c != "cat"]
    assert np.mean([c == "dog" for c in wrong]) == pytest.approx(0.75 + 0.25 / 2, abs=0.06)
    assert np.median([s.seconds for s in said]) == pytest.approx(3, rel=0.1)
    spam = [TASK.simulate({"category": "cat"}, {**w, "spammer": True}, ITEM, rng).payload for w in crowd]
    assert np.mean([p == {"category": "cat"} for p in spam]) == pytest.approx(1 / 3, abs=0.04)


def test_form() -> None:
    form = TASK.form()
    assert not form.empty_allowed
    assert form.primitives[0].categories == CATEGORIES
    assert TASK.empty() is None
