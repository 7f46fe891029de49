"""Built-in samplers and scores: what they rank first, and how they treat empty images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gtloop.interfaces import Context, PoolView
from gtloop_plugins.samplers.random import Random
from gtloop_plugins.samplers.uncertainty import Uncertainty
from gtloop_plugins.scores.mean import Mean
from gtloop_plugins.scores.product import Product

ROWS = np.array([3, 5, 8, 13, 21], dtype=np.int32)


def columns(**values: list[float]) -> dict[str, Any]:
    return {name: np.array(v, dtype=np.float32) for name, v in values.items()}


def uncertainty(measure: str) -> Uncertainty:
    return Uncertainty(Uncertainty.Options(measure=measure), Context())


@pytest.mark.parametrize(
    ("measure", "first"), [("least-confidence", [8, 21]), ("margin", [13, 3]), ("entropy", [5, 13])]
)
def test_uncertainty_ranks_by_its_measure(measure: str, first: list[int]) -> None:
    view = PoolView(
        ROWS,
        columns(score=[0.9, 0.8, 0.1, 0.7, 0.2], margin=[0.2, 0.9, 0.8, 0.1, 0.7], entropy=[0.1, 0.9, 0.2, 0.8, 0.3]),
    )
    pick = uncertainty(measure).select(view, 2, np.random.default_rng(0))
    assert pick.rows.tolist() == first
    assert pick.rows.dtype == np.int32


def test_uncertainty_falls_back_to_the_score_and_says_so() -> None:
    view = PoolView(ROWS, columns(score=[0.9, 0.8, 0.1, 0.7, 0.2]))
    pick = uncertainty("margin").select(view, 1, np.random.default_rng(0))
    assert pick.rows.tolist() == [8]
    assert "no feature margin" in pick.reason


def test_images_without_a_value_come_last() -> None:
    view = PoolView(ROWS, columns(score=[np.nan, 0.8, 0.1, np.nan, 0.2]))
    pick = uncertainty("least-confidence").select(view, 5, np.random.default_rng(0))
    assert pick.rows.tolist()[:3] == [8, 21, 5]
    assert set(pick.rows.tolist()[3:]) == {3, 13}


def test_random_is_uniform() -> None:
    sampler = Random(Random.Options(), Context())
    rng = np.random.default_rng(1)
    counts = np.zeros(22)
    for _ in range(2000):
        counts[sampler.select(PoolView(ROWS), 2, rng).rows] += 1
    # Each row is in 2 of 5: 800 of 2000, standard deviation 22.
    assert np.abs(counts[ROWS] - 800).max() < 110


FEATURES: dict[str, Any] = {
    "n_objects": [2, 1, 0, 0],
    "confidence_mean": [0.7, 0.9, 0, 0],
    "confidence_product": [0.48, 0.9, 0, 0],
    "below_cut_max": [0.4, 0.0, 0.3, 0.0],
}


def test_mean_scores_empty_images_by_what_is_below_the_cut() -> None:
    made = Mean(Mean.Options(), Context()).score(columns(**FEATURES))
    assert made == pytest.approx([0.7, 0.9, 0.7, 1.0])
    as_ground_truth = Mean(Mean.Options(empty="zero"), Context()).score(columns(**FEATURES))
    assert as_ground_truth == pytest.approx([0.7, 0.9, 0.0, 0.0])


def test_product_counts_missed_objects_too() -> None:
    made = Product(Product.Options(), Context()).score(columns(**FEATURES))
    assert made == pytest.approx([0.48 * 0.6, 0.9, 0.7, 1.0])


def test_expected_counts_likely_misses() -> None:
    from gtloop_plugins.scores.expected import Expected

    score = Expected(Expected.Options(), Context()).score
    made = score(columns(n_objects=[2, 2, 0, 0], confidence_mean=[0.8, 0.8, 1, 1], below_cut_sum=[0, 2, 0, 1]))
    np.testing.assert_allclose(made, [0.8, 0.4, 1.0, 0.5])
