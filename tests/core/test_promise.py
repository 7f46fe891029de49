"""Looks: against simulation, on bad and on empty input; and what is decided from counts and scores."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gtloop.errors import ConfigError, PluginFault
from gtloop.promise import (
    Evidence,
    Promise,
    certify,
    ladder,
    look_deltas,
    merge_slices,
    symmetric_batch,
)


def look(score, quality, slices=None, seed=0) -> Evidence:
    """Evidence of columns; pool rows have quality NaN."""
    m = len(score)
    rng = np.random.default_rng(seed)
    order, uniform = rng.permutation(m), 1 - rng.random()
    names = np.full(m, "all") if slices is None else np.array(slices)
    exact = np.ones(m, dtype=bool)
    return Evidence(np.asarray(score, float), np.asarray(quality, float), order, names, exact, uniform)


def world(rng, n, pool, mean=0.563, tie=0.5):
    """Scores and true qualities; the first n are validation."""
    score = rng.standard_normal(n + pool)
    latent = tie * score + math.sqrt(1 - tie**2) * rng.standard_normal(n + pool)
    return score, stats.beta.ppf(stats.norm.cdf(latent), mean * 2.4, (1 - mean) * 2.4)


def hidden(y, n):
    """Qualities with those of the pool unknown."""
    return np.where(np.arange(len(y)) < n, y, np.nan)


def certified(score, y, n, promise, seed=0):
    results, accepted = certify(look(score, hidden(y, n), seed=seed), promise, promise.delta, len(y))
    return results[0], accepted


# ------------------------------------------------------------------------- counts and scores


@given(st.floats(0.001, 0.5), st.integers(1, 6))
def test_look_deltas_sum_and_grow(delta, looks):
    parts = look_deltas(delta, looks)
    assert len(parts) == looks
    assert sum(parts) == pytest.approx(delta)
    assert all(0 < a < b for a, b in itertools.pairwise(parts))


def test_merge_slices_by_count():
    counts = {"cat": 30, "dog": 25, "empty": 5, "fox": 8}
    assert merge_slices(list(counts), counts, 20) == {"cat": "cat", "dog": "dog+empty+fox"} | dict.fromkeys(
        ("empty", "fox"), "dog+empty+fox"
    )
    assert merge_slices(list(counts), counts, 13) == {
        "cat": "cat",
        "dog": "dog",
        "empty": "empty+fox",
        "fox": "empty+fox",
    }
    assert set(merge_slices(list(counts), counts, 69).values()) == {"all"}
    assert merge_slices(["cat"], {"cat": 3}, 20) == {"cat": "cat"}
    assert merge_slices(["a", "unseen"], {"a": 50}, 20) == {"a": "all", "unseen": "all"}
    assert merge_slices([], {}, 20) == {}


@given(st.dictionaries(st.text("abcdefg", min_size=1, max_size=3), st.integers(0, 60), min_size=1), st.integers(1, 80))
def test_merged_slices_hold_enough_or_are_one(counts, least):
    merged = merge_slices(sorted(counts, reverse=True), counts, least)
    sums: dict[str, int] = {}
    for name, group in merged.items():
        sums[group] = sums.get(group, 0) + counts[name]
    assert merged.keys() == counts.keys()
    assert len(sums) == 1 or min(sums.values()) >= least


SCORES = st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.51, 0.9, 0.95]) | st.floats(0, 1), min_size=30, max_size=80)


@given(SCORES, st.integers(20, 29), st.randoms())
@settings(max_examples=50, deadline=None)
def test_ladder_does_not_depend_on_which_rows_are_validation(scores, n, random):
    first = ladder(np.array(scores[:n]), np.sort(scores[n:]), 10)
    random.shuffle(scores)
    assert ladder(np.array(scores[:n]), np.sort(scores[n:]), 10) == first
    assert set(first) <= set(scores)
    share = np.linspace(max(0.2, 10 / n), 1, 33)
    assert first == sorted({sorted(scores)[-max(int(np.ceil(s * len(scores) - 1e-9)), 1)] for s in share}, reverse=True)
    assert first == sorted(set(first), reverse=True)
    assert first[-1] == min(scores)
    assert np.mean(np.array(scores) >= first[0]) >= 10 / n - 1e-9


def test_ladder_is_empty_where_nothing_can_be_tested():
    some = np.linspace(0, 1, 30)
    assert ladder(some, some, 31) == ladder(some, np.array([]), 5) == ladder(np.array([]), some, 5) == []
    assert len(ladder(some, some, 6, rungs=17)) == 17
    many = np.linspace(0, 1, 200)
    assert len(ladder(many, many, 40)) == 33
    assert ladder(np.ones(30), np.ones(30), 6) == [1.0]


@pytest.mark.parametrize(("pool", "validation", "batch"), [(800, 200, 100), (5000, 30, 200), (300, 600, 50)])
def test_symmetric_batch_keeps_validation_and_asks_for_a_batch_on_average(pool, validation, batch):
    prefix, refill = symmetric_batch(pool, validation, batch)
    drawn = prefix * validation / (pool + validation)
    assert prefix - drawn + refill == pytest.approx(batch, abs=0.5)
    assert refill - drawn == pytest.approx(0, abs=0.5)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 300))
def test_symmetric_batch_never_asks_for_more_than_there_is(pool, validation, batch):
    prefix, refill = symmetric_batch(pool, validation, batch)
    assert 0 <= prefix <= pool + validation
    assert refill >= 0
    assert min(prefix, pool) + refill <= pool


# ------------------------------------------------------------------------------------ looks


def violations(rule, seeds, n=200, pool=150):
    promise = Promise("selective", "mean IoU", 0.6, 0.1, rule)
    broken = []
    for seed in seeds:
        score, y = world(np.random.default_rng(seed), n, pool)
        mine = certified(score, y, n, promise, seed)[1][n:]
        broken.append(mine.any() and y[n:][mine].mean() < 0.6)
    return float(np.mean(broken))


def test_exact_rule_holds_where_the_empirical_one_breaks():
    """Small pool on purpose: there a test of the union's mean is broken in 17 % of runs (``design.md``)."""
    limit = 0.1 + 2.5 * math.sqrt(0.09 / 200)
    assert violations("exact", range(200)) <= limit < 0.3 < violations("empirical", range(100))


def picked(seed, symmetric, n=200, pool=800, batch=100):
    """Is the promise broken after three batches of a sampler that prefers items better than their score?"""
    rng = np.random.default_rng(seed)
    score, y = world(rng, n, pool)
    val = np.arange(n + pool) < n
    left = np.ones(n + pool, dtype=bool)
    for _ in range(3):
        rows = np.flatnonzero(left if symmetric else left & ~val)
        size = (len(rows) - int((left & val).sum()), int((left & val).sum()), batch)
        prefix, refill = symmetric_batch(*size) if symmetric else (batch, 0)
        left[rows[np.argsort(0.15 * score[rows] - y[rows])[:prefix]]] = False
        val[rng.permutation(np.flatnonzero(left & ~val))[:refill]] = True
    rows = np.flatnonzero(left)
    evidence = look(score[rows], np.where(val[rows], y[rows], np.nan), seed=seed)
    mine = rows[certify(evidence, Promise("selective", "mean IoU", 0.6), 0.1, n + pool)[1] & ~val[rows]]
    return bool(len(mine) and y[mine].mean() < 0.6)


def test_symmetric_picking_keeps_the_promise_that_naive_picking_breaks():
    assert np.mean([picked(s, True) for s in range(100)]) <= 0.1 + 2.5 * 0.03
    assert np.mean([picked(s, False) for s in range(40)]) > 0.5


def test_accepted_rows_are_those_at_or_above_the_threshold():
    score, y = world(np.random.default_rng(3), 300, 500)
    score = np.round(score, 1)
    result, accepted = certified(score, y, 300, Promise("selective", "mean IoU", 0.6))
    assert np.array_equal(accepted, score >= result.threshold)
    assert (result.n, result.pool) == (accepted[:300].sum(), accepted[300:].sum())
    assert result.coverage == accepted[300:].mean() > 0.3
    assert 0.6 <= result.bound < result.estimate == pytest.approx(y[:300][accepted[:300]].mean())
    assert result.p <= result.delta == 0.1
    for number in (f"{result.pool} of 500", f"{result.bound:.3f}", f"{result.estimate:.3f}"):
        assert number in result.why
    assert f"scoring {result.threshold:.3g} or more" in result.why
    assert result.s0 == pytest.approx(0.6 * result.pool + y[:300][accepted[:300]].sum())


@pytest.mark.parametrize("rule", ["exact", "empirical"])
@pytest.mark.parametrize("kind", ["selective", "dataset"])
def test_where_all_are_labelled_no_threshold_is_told(kind, rule):
    score, y = world(np.random.default_rng(3), 100, 200, 0.95)
    promise = Promise(kind, "mean IoU", 0.3, rule=rule, max_loss=0.9 if kind == "dataset" else None)
    result, accepted = certified(score, y, 100, promise)
    assert accepted.all()
    assert result.why.startswith("all 200 images: ")
    assert "scoring" not in result.why
    none, _ = certified(np.zeros(300), np.zeros(300), 100, promise)
    assert none.threshold is None or kind == "dataset"
    assert "scoring" not in none.why


@pytest.mark.parametrize("kind", ["selective", "dataset"])
@pytest.mark.parametrize("among_bad", [0, 20])
def test_a_wider_region_is_told_of_only_where_images_to_label_lie_in_it(kind, among_bad):
    sizes = [200, 60, 100, among_bad]
    score = np.repeat([0.9, 0.1, 0.9, 0.1], sizes) + np.random.default_rng(0).uniform(0, 0.1, sum(sizes))
    y = np.repeat([1.0, 0.0, 1.0, 0.0], sizes)
    promise = Promise(kind, "mean IoU", 0.8, max_loss=0.03 if kind == "dataset" else None)
    result, accepted = certified(score, y, 260, promise)
    assert accepted[260:360].sum() > 80
    assert ("next wider region" in result.why) == (among_bad > 0)


@pytest.mark.parametrize("kind", ["selective", "dataset"])
def test_order_of_rows_and_dtypes_do_not_matter(kind):
    rng = np.random.default_rng(4)
    score, y = world(rng, 200, 400)
    names = rng.choice(["a", "b"], 600)
    promise = Promise(kind, "mean IoU", 0.6, max_loss=0.2 if kind == "dataset" else None)
    one = Evidence(score.astype(np.float32), hidden(y, 200), rng.permutation(600), names, np.ones(600, dtype=bool), 0.5)
    shuffle = rng.permutation(600)
    columns = [one.score, one.quality, one.order / 1000, one.slice.astype(object), one.exact]
    two = Evidence(*(c[shuffle] for c in columns), 0.5)
    (first, mask), (second, moved) = certify(one, promise, 0.1, 600), certify(two, promise, 0.1, 600)
    assert first == second
    assert np.array_equal(mask[shuffle], moved)
    assert mask.any()


def test_slices_have_their_own_thresholds_and_share_delta():
    rng = np.random.default_rng(5)
    good, bad, few = (world(rng, n, p, mean) for n, p, mean in ((150, 300, 0.8), (150, 300, 0.3), (4, 20, 0.5)))
    parts = [(good, 150, "good"), (bad, 150, "bad"), (few, 4, "few")]
    score = np.concatenate([s for (s, _), _, _ in parts])
    quality = np.concatenate([hidden(y, n) for (_, y), n, _ in parts])
    names = np.concatenate([np.full(len(y), name) for (_, y), _, name in parts])
    own = Promise("selective", "mean IoU", 0.6, slices="own")
    results, accepted = certify(look(score, quality, names), own, 0.1, len(score))
    by_name = {r.slice: r for r in results}
    assert by_name.keys() == {"good", "bad+few"} or by_name.keys() == {"bad", "few+good"}
    assert all(r.delta == pytest.approx(0.05) for r in results)
    assert sum(r.coverage > 0.8 for r in results) == sum(r.threshold is None for r in results) == 1
    assert not accepted[names == "bad"].any()


def test_delta_is_not_shared_with_slices_without_a_pool():
    score, y = world(np.random.default_rng(6), 200, 200, 0.8)
    names = np.where(np.arange(400) < 100, "finished", "open")
    own = Promise("selective", "mean IoU", 0.6, slices="own")
    results, _ = certify(look(score, hidden(y, 200), names), own, 0.1, 400)
    assert [(r.slice, r.delta) for r in results] == [("open", 0.1)]


def test_joint_slices_have_one_threshold_and_all_of_delta():
    score, y = world(np.random.default_rng(6), 200, 200, 0.8)
    evidence = look(score, hidden(y, 200), np.where(np.arange(400) % 3 < 1, "a", "b"))
    (result,), accepted = certify(evidence, Promise("selective", "mean IoU", 0.6), 0.1, 400)
    assert (result.slice, result.members, result.delta) == ("all", ("a", "b"), 0.1)
    assert np.array_equal(accepted, score >= result.threshold)


def test_too_few_validation_items_spend_nothing_and_say_how_many_are_needed():
    promise = Promise("selective", "accuracy", 0.95, binary=True)
    result, accepted = certified(np.arange(140.0), np.ones(140), 40, promise)
    assert not accepted.any()
    assert (result.delta, result.rungs, result.threshold) == (0.0, 0, None)
    assert "40 validation images" in result.why
    assert "59 are needed" in result.why


def test_first_rung_waits_until_a_small_pool_can_pass():
    """59 faultless values say too little about 18 pool items; 200 say enough about 60."""
    rng = np.random.default_rng(7)
    result, accepted = certified(
        rng.random(260), np.ones(260), 200, Promise("selective", "accuracy", 0.95, binary=True)
    )
    assert result.coverage == 1.0
    assert accepted.all()


def test_cross_fitted_values_are_marked():
    score, y = world(np.random.default_rng(8), 200, 300)
    one = look(score, hidden(y, 200))
    mixed = Evidence(one.score, one.quality, one.order, one.slice, np.arange(500) != 7, one.uniform)
    promise = Promise("selective", "mean IoU", 0.6)
    assert certify(one, promise, 0.1, 500)[0][0].exact
    assert not certify(mixed, promise, 0.1, 500)[0][0].exact


def test_empirical_rule_is_the_lowest_validation_score_that_reaches_the_target():
    score = [9, 8, 7, 7, 6, 5, 8.5, 7, 6.5, 1]
    quality = [1, 0.2, 1, 0.4, 0.4, 0, *[np.nan] * 4]
    [result], accepted = certify(look(score, quality), Promise("selective", "mean IoU", 0.6, rule="empirical"), 0.1, 10)
    assert (result.threshold, result.estimate, result.coverage) == (6.0, 0.6, 0.75)
    assert (result.bound, result.p, result.s0, result.delta) == (None, None, None, 0.0)
    assert accepted.tolist() == [True] * 5 + [False] + [True] * 3 + [False]


@pytest.mark.parametrize("binary", [False, True])
def test_dataset_promise_bounds_the_loss_of_all_items(binary):
    broken, coverage = 0, []
    promise = Promise("dataset", "mean IoU", 0.6, binary=binary, max_loss=0.1)
    for seed in range(100):
        score, y = world(np.random.default_rng(seed), 200, 400)
        y = np.round(y) if binary else y
        result, accepted = certified(score, y, 200, promise, seed)
        loss = (1 - y[200:][accepted[200:]]).sum() / 600
        broken += loss > 0.1
        coverage.append(result.coverage)
        assert result.bound is None or result.bound >= 0.9 - 1e-9
    assert broken / 100 <= 0.1 + 2.5 * math.sqrt(0.09 / 100)
    assert np.mean(coverage) > 0.2


@pytest.mark.parametrize("rule", ["exact", "ttest", "empirical"])
@pytest.mark.parametrize("kind", ["selective", "dataset"])
@pytest.mark.parametrize("binary", [False, True])
def test_degenerate_looks(rule, kind, binary):
    promise = Promise(kind, "quality", 0.6, rule=rule, binary=binary, max_loss=0.1 if kind == "dataset" else None)
    n, m = 100, 300

    def run(score, y, n):
        return certified(np.asarray(score, float), np.asarray(y, float), n, promise)

    empty = look([], [])
    assert certify(empty, promise, 0.1, 0) == ([], pytest.approx(np.zeros(0)))
    assert certify(look(np.arange(n), np.ones(n)), promise, 0.1, n)[0] == []  # no pool
    result, accepted = run(np.arange(m), np.ones(m), 0)  # no validation
    assert not accepted.any()
    assert result.delta == 0
    assert result.why
    for score in (np.random.default_rng(0).random(m), np.ones(m)):  # all different, all tied
        good, accepted = run(score, np.ones(m), n)
        assert accepted[score >= score[:n].min()].all()
        assert good.coverage > 0.95
        bad, accepted = run(score, np.zeros(m), n)
        assert accepted[n:].sum() <= (0.1 * m if kind == "dataset" else 0)
        assert bad.why
    apart, accepted = run(np.r_[np.full(n, 5.0), np.zeros(m - n)], np.r_[np.zeros(n), np.ones(m - n)], n)
    assert not accepted.any()
    assert apart.why


def test_bad_columns_and_numbers_are_refused_in_one_line():
    one = np.ones(3)
    with pytest.raises(PluginFault, match="no number for 1 of 3"):
        look([1, np.nan, 2], one)
    with pytest.raises(PluginFault, match="outside"):
        look(one, [0.5, 1.2, np.nan])
    with pytest.raises(PluginFault, match="'order' has 2 rows"):
        Evidence(one, one, np.arange(2), one, one > 0, 0.5)
    with pytest.raises(PluginFault, match="in \\(0, 1\\], got 0"):
        Evidence(one, one, one, one, one > 0, 0)
    for wrong in ({"target": 1.0}, {"delta": 0.0}, {"looks": 0}, {"max_loss": 0.1}, {"kind": "dataset"}):
        with pytest.raises(ConfigError) as caught:
            Promise(**({"kind": "selective", "metric": "q", "target": 0.6} | wrong))
        assert "\n" not in str(caught.value)
