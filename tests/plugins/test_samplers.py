"""What each sampler is for, beyond the contract that all of them pass (tests/plugins/test_contracts.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gtloop.interfaces import Context, PoolView, Sampler
from gtloop_plugins.samplers.coreset import Coreset
from gtloop_plugins.samplers.diverse import Diverse
from gtloop_plugins.samplers.most_objects import MostObjects
from gtloop_plugins.samplers.uncertainty import Uncertainty

SCORES = arrays(np.float32, st.integers(1, 40), elements=st.floats(0, 1, width=32) | st.just(float("nan")))


def build(kind: type[Sampler], **options: Any) -> Sampler:
    return kind(kind.Options(**options), Context())


def view(labelled: Any = None, **columns: Any) -> PoolView:
    """Candidates with rows 100, 101, ..."""
    n = len(next(iter(columns.values())))
    arrays = {name: np.asarray(values, np.float32) for name, values in columns.items()}
    known = {} if labelled is None else {"embedding": np.asarray(labelled, np.float32)}
    return PoolView(np.arange(100, 100 + n, dtype=np.int32), arrays, known)


def picked(sampler: Sampler, pool: PoolView, n: int, seed: int = 0) -> list[int]:
    return [int(r) - 100 for r in sampler.select(pool, n, np.random.default_rng(seed)).rows]


@pytest.mark.parametrize(
    ("measure", "column", "sign"),
    [("least-confidence", "score", 1), ("margin", "margin", 1), ("entropy", "entropy", -1)],
)
@given(values=SCORES, data=st.data())
def test_nobody_less_sure_is_left_behind(measure: str, column: str, sign: int, values: Any, data: Any) -> None:
    n = data.draw(st.integers(1, len(values)))
    chosen = picked(build(Uncertainty, measure=measure), view(**{"score": np.zeros(len(values)), column: values}), n)
    key = np.where(np.isnan(values), np.inf, sign * values)
    assert np.sort(key[chosen]).tolist() == np.sort(key)[:n].tolist()


@given(values=arrays(np.float32, st.integers(1, 40), elements=st.integers(0, 3)), data=st.data())
def test_most_objects_come_first(values: Any, data: Any) -> None:
    n = data.draw(st.integers(1, len(values)))
    chosen = picked(build(MostObjects), view(n_objects=values), n)
    assert values[chosen].tolist() == (-np.sort(-values))[:n].tolist()


def test_ties_are_broken_at_random() -> None:
    pool = view(n_objects=np.ones(30), score=np.full(30, 0.5))
    for sampler in (build(MostObjects), build(Uncertainty)):
        assert len({tuple(picked(sampler, pool, 5, seed)) for seed in range(5)}) == 5


@given(
    vectors=arrays(np.float32, st.tuples(st.integers(2, 25), st.just(2)), elements=st.integers(-20, 20)),
    known=arrays(np.float32, st.tuples(st.integers(0, 4), st.just(2)), elements=st.integers(-20, 20)),
    data=st.data(),
)
def test_a_coreset_is_greedy_k_center(vectors: Any, known: Any, data: Any) -> None:
    """Each pick is as far from all before it as any candidate is: a plain O(n²) reading of the paper's algorithm 1."""
    n = data.draw(st.integers(1, len(vectors)))
    chosen = picked(build(Coreset), view(known, embedding=vectors), n)
    assert len(set(chosen)) == n
    for k in range(0 if len(known) else 1, n):
        centres = np.concatenate([known, vectors[chosen[:k]]])
        reach = ((vectors[:, None] - centres[None]) ** 2).sum(-1).min(axis=1)
        assert reach[chosen[k]] == max(np.delete(reach, chosen[:k]))


def test_a_coreset_takes_one_of_each_group() -> None:
    groups = np.repeat(np.array([[0, 0], [100, 0], [0, 100], [100, 100]]), 10, axis=0)
    near = groups + np.random.default_rng(0).normal(0, 1, groups.shape)
    chosen = picked(build(Coreset), view([[0, 0]], embedding=near), 3)
    assert sorted(c // 10 for c in chosen) == [1, 2, 3], "the first group has a labelled image"


def test_diverse_takes_one_of_each_group_and_there_what_is_least_sure() -> None:
    groups = np.repeat(np.array([[0, 0], [100, 0], [0, 100], [100, 100]]), 10, axis=0).astype(float)
    rng = np.random.default_rng(0)
    groups += rng.normal(0, 1, groups.shape)
    score = np.tile([0.1, *[0.95] * 9], 4)
    pool = view(embedding=groups, score=score)
    for seed in range(10):
        chosen = picked(build(Diverse), pool, 4, seed)
        assert sorted(c // 10 for c in chosen) == [0, 1, 2, 3]
    few = picked(build(Diverse, beta=1), pool, 4)
    assert sorted(c % 10 for c in few) == [0, 0, 0, 0], "with beta 1 only the least sure are clustered"


def test_diverse_starts_without_a_model() -> None:
    groups = np.repeat(np.array([[0, 0], [100, 0], [0, 100]]), 10, axis=0)
    chosen = picked(build(Diverse), view(embedding=groups), 3)
    assert sorted(c // 10 for c in chosen) == [0, 1, 2]


@pytest.mark.parametrize("kind", [Coreset, Diverse])
def test_what_has_no_embedding_comes_last(kind: type[Sampler]) -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 3))
    vectors[[2, 5, 7]] = np.nan
    chosen = picked(build(kind), view(embedding=vectors, score=np.full(12, 0.5)), 12)
    assert sorted(chosen) == list(range(12))
    assert sorted(chosen[-3:]) == [2, 5, 7]


@pytest.mark.parametrize("kind", [Coreset, Diverse])
def test_copies_are_no_trouble(kind: type[Sampler]) -> None:
    chosen = picked(build(kind), view(embedding=np.ones((20, 4)), score=np.full(20, 0.5)), 8)
    assert len(set(chosen)) == 8
