"""The alarm where validation and pool have drifted apart."""

from __future__ import annotations

import numpy as np

from gtloop.drift import ALARM, alarm, drift
from gtloop.evidence import Evidence


def seen(rng: np.random.Generator, shift: float, n: int = 80, pool: int = 300, cross_fitted: bool = False) -> Evidence:
    score = np.r_[rng.normal(shift, 1, n), rng.normal(0, 1, pool)]
    quality = np.r_[np.full(n, 0.5), np.full(pool, np.nan)]
    exact = np.r_[np.full(n, not cross_fitted), np.ones(pool, bool)]
    return Evidence(score, quality, np.arange(n + pool), np.full(n + pool, "all"), exact, 0.5)


def test_exchangeable_items_raise_no_alarm_more_often_than_by_chance() -> None:
    p = np.array([drift(seen(np.random.default_rng(s), 0.0)) for s in range(400)])
    assert np.mean(p <= 0.1) <= 0.1 + 2.5 * np.sqrt(0.09 / 400)
    assert not any(alarm(v) for v in p if v > ALARM)


def test_items_taken_from_one_of_them_raise_it() -> None:
    found = drift(seen(np.random.default_rng(1), 0.8))
    assert found is not None
    assert "drifted apart" in alarm(found)


def test_too_few_or_cross_fitted_ones_are_not_compared() -> None:
    rng = np.random.default_rng(2)
    assert drift(seen(rng, 3.0, n=10)) is None
    assert drift(seen(rng, 3.0, pool=10)) is None
    assert drift(seen(rng, 3.0, cross_fitted=True)) is None
    assert alarm(None) == ""
