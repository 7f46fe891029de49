"""Bounds that hold however often one looks: against enumeration of every order, and by what they mean."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtloop.running import FEWEST, prediction_powered, remaining_lower, running_bounds, wealth

QUALITY = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5]))


def path(values, size, delta, high=None):
    low = np.array(values, float)
    return running_bounds(low, low if high is None else np.array(high, float), size, delta, range(1, len(low) + 1))


@settings(max_examples=25, deadline=None)
@given(st.lists(QUALITY, min_size=2, max_size=4), st.sampled_from([0.1, 0.3, 0.6]))
def test_every_order_of_every_small_population(population, delta):
    """The share of orders in which a bound is wrong at some time is at most delta."""
    n, mean = len(population), float(np.mean(population))
    orders = list(itertools.permutations(population))
    wrong = sum(any(not b.lower - 1e-9 <= mean <= b.upper + 1e-9 for b in path(o, n, delta)) for o in orders)
    assert wrong / len(orders) <= delta + 1e-9


@pytest.mark.parametrize(("good", "bad"), [(9, 3), (12, 2), (4, 8), (7, 7)])
@pytest.mark.parametrize("delta", [0.1, 0.4])
def test_every_order_of_larger_0_1_populations(good, bad, delta):
    """All placements; wealth at the true mean is a martingale that starts at 1, exactly."""
    n = good + bad
    mean, wrong, final = good / n, 0, 0.0
    placements = list(itertools.combinations(range(n), bad))
    for rows in placements:
        y = np.ones(n)
        y[list(rows)] = 0
        up, down = wealth(y, n, mean, delta / 2), wealth(1 - y, n, 1 - mean, delta / 2)
        wrong += bool((np.maximum(up, down) >= math.log(2 / delta)).any())
        final += math.exp(up[n // 2])
    assert wrong / len(placements) <= delta
    assert final / len(placements) == pytest.approx(1.0)


def test_a_mean_above_the_null_makes_money_and_one_below_does_not():
    rng = np.random.default_rng(0)
    y = np.clip(rng.normal(0.8, 0.2, 100), 0, 1)
    assert wealth(y, 1000, 0.6, 0.05)[-1] > math.log(1 / 0.05)
    assert wealth(y, 1000, 0.95, 0.05)[-1] < 0


@settings(max_examples=25, deadline=None)
@given(st.lists(QUALITY, min_size=1, max_size=25), st.integers(0, 60), st.sampled_from([0.05, 0.3]))
def test_bounds_only_become_closer_and_agree_with_what_is_known(values, more, delta):
    size, y = len(values) + more, np.array(values)
    found = path(values, size, delta)
    for before, after in itertools.pairwise(found):
        assert before.lower <= after.lower
        assert after.upper <= before.upper
    assert found[-1].lower >= y.sum() / size - 1e-9, "what is not audited is at least 0"
    assert found[-1].upper <= (y.sum() + more) / size + 1e-9, "and at most 1"
    if not more:
        assert found[-1].lower == pytest.approx(y.mean())
        assert found[-1].upper == pytest.approx(y.mean())


@settings(max_examples=25, deadline=None)
@given(st.lists(QUALITY, min_size=1, max_size=30), st.floats(0.01, 0.98), st.floats(0.001, 0.01))
def test_wealth_never_rises_with_the_mean(values, mean, step):
    y = np.array(values)
    assert (wealth(y, 50, mean, 0.05) >= wealth(y, 50, mean + step, 0.05) - 1e-9).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(QUALITY, min_size=3, max_size=30), st.data())
def test_what_will_never_be_known_only_widens(values, data):
    unknown = data.draw(st.sets(st.integers(0, len(values) - 1), max_size=len(values)))
    low = [0.0 if i in unknown else v for i, v in enumerate(values)]
    high = [1.0 if i in unknown else v for i, v in enumerate(values)]
    known, wider = path(values, 40, 0.1)[-1], path(low, 40, 0.1, high)[-1]
    assert wider.lower <= known.lower + 2e-5
    assert wider.upper >= known.upper - 2e-5


@pytest.mark.parametrize("spoil", ["best", "worst", "after a good one"])
def test_bounds_hold_whoever_takes_items_out(spoil):
    """Somebody who sees the answers withdraws labels before their turn; what holds is about all that there were."""
    rng, delta, wrong, reps = np.random.default_rng(1), 0.2, 0, 300
    for _ in range(reps):
        y = np.round(rng.beta(6, 2, 60), 3)
        out = np.zeros(60, bool)
        for i in range(1, 60):
            takes = {"best": y[i] > 0.9, "worst": y[i] < 0.5, "after a good one": y[i - 1] > 0.8}[spoil]
            out[i] = takes and out.sum() < 15
        low, high = np.where(out, 0, y), np.where(out, 1, y)
        up = wealth(low, 60, y.mean(), delta / 2)
        down = wealth(1 - high, 60, 1 - y.mean(), delta / 2)
        wrong += bool((np.maximum(up, down) >= math.log(2 / delta)).any())
    assert wrong / reps <= delta + 2 * math.sqrt(delta * (1 - delta) / reps)


def test_of_the_rest():
    """10 of 20 audited, 8 of them right, 2 withdrawn: if all 20 have a mean of .7, the 8 left have (14 - 8 - 2) / 8."""
    known = np.array([1.0] * 8 + [0.0] * 2)
    assert remaining_lower(known, 20, 2, 0.7) == pytest.approx(0.5)
    assert remaining_lower(known, 20, 2, 0.4) == 0.0
    assert remaining_lower(known, 12, 2, 0.7) is None


def test_prediction_powered_covers_and_a_good_score_narrows_it():
    rng, misses, widths = np.random.default_rng(2), 0, []
    reps, plain = 400, []
    for _ in range(reps):
        f = rng.random(400)
        y = np.clip(0.3 + 0.6 * f + rng.normal(0, 0.1, 400), 0, 1)
        found = prediction_powered(y[:60], f[:60], f[60:], 0.1)
        assert found is not None
        misses += not found.lower <= y[60:].mean() <= found.upper
        widths.append(found.upper - found.lower)
        unrelated = prediction_powered(y[:60], rng.random(60), rng.random(340), 0.1)
        assert unrelated is not None
        plain.append(unrelated.upper - unrelated.lower)
    assert misses / reps <= 0.1 + 3 * math.sqrt(0.09 / reps)
    assert misses / reps >= 0.04, "it is no wider than it has to be"
    assert np.mean(widths) < 0.7 * np.mean(plain)


@given(st.lists(QUALITY, min_size=FEWEST, max_size=30), st.floats(0.1, 100), st.floats(-5, 5))
def test_prediction_powered_does_not_care_for_the_scale_of_the_score(values, scale, shift):
    y = np.array(values)
    f = np.linspace(0, 1, len(y)) ** 2
    one = prediction_powered(y, f, f[::-1] * 0.9, 0.1)
    other = prediction_powered(y, scale * f + shift, scale * f[::-1] * 0.9 + shift, 0.1)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one == pytest.approx(other, abs=1e-6)


def test_too_little_to_go_by_gives_no_interval():
    ones = np.ones(FEWEST)
    assert prediction_powered(ones[:-1], ones[:-1], ones, 0.1) is None
    assert prediction_powered(ones, ones, ones[:0], 0.1) is None
    assert prediction_powered(ones, np.linspace(0, 1, FEWEST), ones, 0.1) is None, "no spread"
