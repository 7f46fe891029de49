"""The test of one region, against exact enumeration and scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gtloop.bounds import _p_betting, first_rung_items, lower_bound, pool_test

QUALITY = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5, 0.6]))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(QUALITY, min_size=4, max_size=6),
    st.integers(1, 3),
    st.floats(0.05, 0.95),
    st.sampled_from([0.1, 0.25, 0.5]),
)
def test_betting_is_valid_for_every_small_population(population, pool, target, delta):
    """Every ordered sample of every population: certified and false happens with probability <= delta."""
    n = len(population) - pool
    draws = list(itertools.permutations(range(len(population)), n))
    false = 0.0
    for rows in draws:
        y = np.array([population[i] for i in rows])
        rest = [population[i] for i in set(range(len(population))) - set(rows)]
        if np.mean(rest) <= target:
            false += certifying(y, pool, target, delta)
    assert false / len(draws) <= delta + 1e-8


def certifying(y, pool, target, delta) -> float:
    """Probability, over the uniform number, that a sample certifies: the p-value is that number over the wealth."""
    p = _p_betting(y, pool, target, delta)
    for uniform in (0.3, 1.0):
        assert pool_test(y, pool, target, delta, uniform=uniform)[0] == min(1.0, uniform * p)
    return min(1.0, delta / p)


def test_betting_is_valid_and_not_idle_for_larger_populations():
    """All placements of few bad items among 14; nearly all of the level is used, so breaking it would show."""
    used = []
    for pool, bad, delta in itertools.product((1, 2, 4), (1, 2, 3), (0.1, 0.2, 0.3, 0.5)):
        placements = list(itertools.combinations(range(14), bad))
        false = 0
        for rows in placements:
            y = np.ones(14)
            y[list(rows)] = 0.0
            if y[:pool].mean() <= 0.5:
                false += certifying(y[pool:], pool, 0.5, delta)
        used.append(false / len(placements) / delta)
    assert 0.85 < max(used) <= 1 + 1e-6


@given(st.integers(1, 80), st.integers(1, 40), st.floats(0.01, 0.5))
@settings(max_examples=60, deadline=None)
def test_a_faultless_sample_shows_no_more_than_its_chance(n, pool, delta):
    """With one bad item, the sample is faultless with probability pool / (n + pool), and the pool is not."""
    for binary in (False, True):
        p, _ = pool_test(np.ones(n), pool, 1 - 0.5 / pool, delta, binary=binary)
        assert p > delta or pool / (n + pool) <= delta * (1 + 1e-9)


@pytest.mark.parametrize(("n", "pool"), [(5, 3), (20, 10), (60, 40), (50, 150)])
@pytest.mark.parametrize("target", [0.5, 0.9, 0.95])
def test_hypergeometric_is_valid_for_every_population(n, pool, target):
    for total in range(n + pool + 1):
        false = dict.fromkeys((0.02, 0.1, 0.3), 0.0)
        for errors in range(max(0, total - pool), min(n, total) + 1):
            weight = stats.hypergeom.pmf(errors, n + pool, total, n)
            if (total - errors) / pool > 1 - target + 1e-9 and weight > 1e-12:
                y = np.r_[np.zeros(errors), np.ones(n - errors)]
                p, _ = pool_test(y, pool, target, 0.1, binary=True)
                for level in false:
                    false[level] += weight * (p <= level)
        assert all(v <= level + 1e-9 for level, v in false.items())


@pytest.mark.parametrize(("n", "pool", "target"), [(20, 10, 0.9), (60, 40, 0.95), (50, 150, 0.8)])
def test_a_uniform_number_makes_the_level_exact(n, pool, target):
    """Just above the allowed errors: certified with probability delta, no more and no less."""
    allowed, uniform = int((1 - target) * pool + 1e-9), (np.arange(40) + 0.5) / 40
    for level in (0.05, 0.1, 0.3):
        used = 0.0
        for errors in range(n + 1):
            y = np.r_[np.zeros(errors), np.ones(n - errors)]
            # the null that the sample is tested against: as many errors in all as would just break the target
            total = allowed + 1 + errors
            weight = stats.hypergeom.pmf(errors, n + pool, total, n)
            if weight > 1e-9:
                p = [pool_test(y, pool, target, level, binary=True, uniform=u)[0] for u in uniform]
                below = stats.hypergeom.cdf(errors - 1, n + pool, total, n)
                expected = np.clip((level - below) / weight, 0, 1)
                assert np.mean(np.array(p) <= level) == pytest.approx(expected, abs=0.03)
                used += weight
        assert used > 0


def test_hypergeometric_formula_and_large_pool_limit():
    y = np.r_[np.zeros(2), np.ones(98)]
    p, s0 = pool_test(y, 200, 0.95, 0.1, binary=True)
    assert p == pytest.approx(stats.hypergeom(300, 2 + 10 + 1, 100).cdf(2))
    assert s0 == pytest.approx(200 * 0.95 + 98)
    assert pool_test(y, 10**7, 0.95, 0.1, binary=True)[0] == pytest.approx(stats.binom.cdf(2, 100, 0.05), rel=1e-3)


@pytest.mark.parametrize(("delta", "items"), [(0.1, 45), (0.061, 55), (0.0152, 82)])
def test_faultless_points_that_show_095(delta, items):
    """``statistics.md``, correction (2)."""
    assert pool_test(np.ones(items), 10**7, 0.95, delta, binary=True)[0] <= delta
    assert pool_test(np.ones(items - 1), 10**7, 0.95, delta, binary=True)[0] > delta
    assert first_rung_items(0.95, delta, True) == math.ceil(items * 1.3)


@settings(max_examples=50, deadline=None)
@given(st.lists(QUALITY, min_size=1, max_size=60), st.integers(1, 500), st.floats(0, 1), st.floats(0, 1))
def test_evidence_falls_with_the_target(y, pool, a, b):
    """What lets ``s0`` depend on the sample, and the bound be found by bisection."""
    low, high = sorted((a, b))
    y = np.array(y)
    for binary in (False, True):
        y = np.round(y) if binary else y
        p = [pool_test(y, pool, t, 0.1, binary=binary)[0] for t in (low, high)]
        assert 0 <= p[0] <= p[1] * (1 + 1e-9) + 1e-12 <= 1 + 1e-6


@pytest.mark.parametrize("rule", ["exact", "ttest"])
def test_lower_bound_is_the_largest_target_shown(rule):
    rng = np.random.default_rng(1)
    y = rng.beta(6, 2, 80)
    bound = lower_bound(y, 300, 0.1, rule)
    assert pool_test(y, 300, bound, 0.1, rule)[0] <= 0.1 < pool_test(y, 300, bound + 1e-5, 0.1, rule)[0]
    assert 0.6 < bound < y.mean()


@given(st.integers(0, 40), st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_binary_lower_bound_against_every_count(errors, pool):
    y = np.r_[np.zeros(errors), np.ones(60 - min(errors, 60))]
    bound = lower_bound(y, pool, 0.1, binary=True)
    p = [stats.hypergeom.cdf(errors, len(y) + pool, errors + e, len(y)) for e in range(pool + 1)]
    possible = max(e for e in range(pool + 1) if p[e] > 0.1)
    assert bound == pytest.approx(1 - possible / pool)


def test_ttest_is_scipys_with_the_pool_term():
    y = np.random.default_rng(2).beta(5, 2, 50)
    ours = pool_test(y, 10**9, 0.6, 0.1, "ttest")[0]
    assert ours == pytest.approx(stats.ttest_1samp(y, 0.6, alternative="greater").pvalue, rel=1e-4)
    assert pool_test(y, 50, 0.6, 0.1, "ttest")[0] > ours


def test_ttest_without_spread_is_the_exact_test():
    assert pool_test(np.full(5, 0.61), 500, 0.6, 0.1, "ttest")[0] > 0.1
    assert pool_test(np.ones(20), 500, 0.95, 0.1, "ttest", binary=True)[0] > 0.1


def test_betting_survives_many_failures_and_certain_success():
    assert pool_test(np.zeros(5000), 10**6, 0.5, 0.1)[0] == 1.0
    assert pool_test(np.ones(5000), 10**6, 0.5, 0.1)[0] == pytest.approx(0.1)
    assert pool_test(np.ones(5000), 10**6, 0.5, 0.1, uniform=0.5)[0] == pytest.approx(0.05)
    assert lower_bound(np.zeros(30), 100, 0.1) == 0.0


@pytest.mark.parametrize("second", [0.7, 1.0])
def test_two_bets_by_hand(second):
    """Bets look back only: the second variance knows the prior and the first value, no more."""
    delta, target, first = 0.3, 0.6, 0.9
    q = delta
    stake = stats.norm.pdf(stats.norm.ppf(q)) / math.sqrt(2 * 0.25)
    q += min(stake, 0.9 * q / target) * (first - target)
    variance = (0.25 + (first - (0.5 + first) / 2) ** 2) / 2
    stake = stats.norm.pdf(stats.norm.ppf(q)) / math.sqrt(variance)
    q += min(stake, 0.9 * q / target, (1 - q) / (1 - target)) * (second - target)
    p, _ = pool_test(np.array([first, second]), 10**9, target, delta)
    assert p == pytest.approx(min(1.0, delta / q))


def test_nothing_to_go_by_shows_nothing():
    for rule in ("exact", "ttest", "empirical"):
        assert pool_test(np.array([]), 10, 0.5, 0.1, rule)[0] == 1.0
        assert pool_test(np.ones(10), 0, 0.5, 0.1, rule)[0] == 1.0
        assert lower_bound(np.array([]), 10, 0.1, rule) == 0.0


def test_first_rung_is_never_under_twenty_and_can_pass():
    assert first_rung_items(0.6, 0.1, False) == 20
    for target, delta in itertools.product((0.5, 0.8, 0.95, 0.99), (0.2, 0.1, 0.01)):
        for binary in (False, True):
            items = first_rung_items(target, delta, binary)
            assert pool_test(np.ones(items), 10**6, target, delta, binary=binary)[0] <= delta
