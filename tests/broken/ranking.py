"""Broken samplers and scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from broken.row import Row
from gtloop.interfaces import Pick, PoolView
from gtloop_plugins.samplers.random import Random
from gtloop_plugins.scores.learned import Learned
from gtloop_plugins.scores.mean import Mean

Columns = Mapping[str, NDArray[np.float32]]


class PicksTwice(Random):
    """Sampler that picks a row twice."""

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return Pick(rng.choice(view.rows, min(n, len(view.rows))), "drawn with replacement")


class PicksPositions(Random):
    """Sampler that picks rows which it was not shown."""

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return Pick(rng.permutation(len(view.rows))[:n], "positions, not rows")


class KeepsHalf(Random):
    """Sampler that never gives the whole pool."""

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return super().select(view, min(n, len(view.rows) // 2), rng)


class GlobalRandomness(Random):
    """Sampler that uses global randomness, not the generator given."""

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return Pick(np.random.permutation(view.rows)[:n], "numpy's own generator")


class AlwaysFirst(Random):
    """Sampler that takes the first of equals."""

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return Pick(view.rows[:n], "always the first")


class SortsInPlace(Random):
    """Sampler that changes the columns it is shown."""

    needs = frozenset({"score"})

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        view.columns["score"].sort()
        return super().select(view, n, rng)


class ReadsUndeclared(Random):
    """Sampler that reads a column it does not declare."""

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        order = np.argsort(view.columns["score"] + rng.random(len(view.rows)))
        return Pick(view.rows[order[:n]], "lowest score")


class TooHigh(Mean):
    """Score outside [0, 1]."""

    def score(self, columns: Columns) -> NDArray[np.float64]:
        return super().score(columns) + 0.5


class UpsideDown(Mean):
    """Score that falls as predictions get surer."""

    def score(self, columns: Columns) -> NDArray[np.float64]:
        return 1 - super().score(columns)


class Hump(Mean):
    """Score that is not monotone: highest for middling confidence."""

    def score(self, columns: Columns) -> NDArray[np.float64]:
        return 1 - np.abs(super().score(columns) - 0.75)


class ByPosition(Mean):
    """Score that depends on the order of the rows."""

    def score(self, columns: Columns) -> NDArray[np.float64]:
        n = len(columns["confidence_mean"])
        return np.linspace(0, 1, n)


class BatchRelative(Mean):
    """Score that depends on the other rows."""

    def score(self, columns: Columns) -> NDArray[np.float64]:
        own = super().score(columns)
        return own / max(1.0, own.sum())


class ScoreUndeclared(Mean):
    """Score that reads a column it does not declare."""

    needs = frozenset({"confidence_mean", "n_objects"})


class LearnsArrays(Learned):
    """Score that learns what is no JSON."""

    def fit(self, columns: Columns, quality: NDArray[np.float64]) -> dict[str, Any]:
        return {**super().fit(columns, quality), "mean": quality[:2]}


class LearnsBackwards(Learned):
    """Score whose fitted values fall as quality rises."""

    def fitted(self, columns: Columns, learnt: Mapping[str, Any]) -> NDArray[np.float64]:
        return 1 - super().fitted(columns, learnt)


class ForgetsToLearn(Learned):
    """Score that says that it learns, and returns nothing."""

    def fit(self, columns: Columns, quality: NDArray[np.float64]) -> Any:
        return None


class LearnsInSecret(Mean):
    """Score that learns, and does not say so."""

    def fit(self, columns: Columns, quality: NDArray[np.float64]) -> dict[str, Any]:
        return {"mean": float(quality.mean())}


ROWS = [
    Row(PicksTwice, "check_picks_distinct_rows_of_the_view", "more than once"),
    Row(PicksPositions, "check_picks_distinct_rows_of_the_view", "which it was not shown"),
    Row(KeepsHalf, "check_large_n_takes_the_whole_pool", "20 of 40 rows"),
    Row(GlobalRandomness, "check_seed_decides", "draws from something else"),
    Row(AlwaysFirst, "check_ties_are_broken_at_random", "whatever the generator"),
    Row(SortsInPlace, "check_input_is_not_changed", "changes the columns score"),
    Row(ReadsUndeclared, "check_reads_only_what_it_needs", "reads column 'score'"),
    Row(TooHigh, "check_score_is_in_range", "outside [0, 1]"),
    Row(UpsideDown, "check_sure_beats_unsure", "confidence 1.0 score 0.00"),
    Row(Hump, "check_sure_beats_unsure", "confidence 1.0 score 0.75"),
    Row(ByPosition, "check_score_is_pure", "in reverse order"),
    Row(BatchRelative, "check_score_is_pure", "without the rest"),
    Row(LearnsArrays, "check_score_learns", "no JSON"),
    Row(LearnsBackwards, "check_score_learns", "does not follow"),
    Row(LearnsInSecret, "check_score_learns", "learns is not set"),
    Row(ForgetsToLearn, "check_score_learns", "not a dict"),
    Row(ScoreUndeclared, "check_score_needs_are_declared", "reads column 'below_cut_max'"),
]
