"""Score ``learned``: expected quality, regressed on what a prediction looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gtloop.interfaces import Options, Score

Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[np.float32]]
FAR = 3.0
"""Standard deviations beyond which a feature counts no further."""
EDGE = 0.01
"""The regression starts from a guess that is at least so far from 0 and 1."""
FOLDS, STEPS = 5, 30


class LearnedOptions(Options):
    """Options of ``learned``."""

    penalties: tuple[float, ...] = Field(
        (30.0, 100.0, 300.0, 1000.0), min_length=1, description="ridge penalties tried; cross-validation chooses one"
    )


class Learned(Score):
    """A logistic ridge regression of quality on all features of the task, drawn towards a guess.

    The guess is that of the score ``expected``: confidences over objects found and likely missed. Core fits the
    regression on out-of-fold predictions of training images, never on losses that certify (Vishwakarma et al.,
    "Pearls from Pebbles", arXiv 2404.16188, learn a confidence for the same reason). Qualities are fractions, as the
    quasi-likelihood of Papke & Wooldridge (J. Appl. Econometrics 1996) allows. Before it has learnt, it is the guess.
    """

    name = "learned"
    summary = "expected quality, learnt from out-of-fold training images"
    needs = frozenset({"confidence_mean", "n_objects", "below_cut_sum"})
    learns = True

    Options = LearnedOptions

    def score(self, columns: Columns) -> Floats:
        n = columns["n_objects"].astype(np.float64)
        found = np.where(n > 0, n * columns["confidence_mean"], 1.0)
        return np.clip(found / (np.maximum(n, 1.0) + columns["below_cut_sum"]), 0.0, 1.0)

    def fit(self, columns: Columns, quality: Floats) -> dict[str, Any]:
        names = sorted(columns)
        x = _spread(columns, names)
        scale = x.std(axis=0)
        varied = scale > 1e-6
        if not varied.any() or quality.std() < 1e-6:
            return {}
        kept = [n for n, v in zip(names, varied, strict=True) if v]
        centre, scale = x.mean(axis=0)[varied], scale[varied]
        z = self._design(columns, kept, centre, scale)
        weights = _regress(z, quality, self._penalty(z, quality))
        return {"names": kept, "centre": centre.tolist(), "scale": scale.tolist(), "weights": weights.tolist()}

    def fitted(self, columns: Columns, learnt: Mapping[str, Any]) -> Floats:
        z = self._design(columns, learnt["names"], np.array(learnt["centre"]), np.array(learnt["scale"]))
        return _expected(z, np.array(learnt["weights"]))

    def _design(self, columns: Columns, names: list[str], centre: Floats, scale: Floats) -> Floats:
        """(n, k + 2): standardised features, the log odds of the guess, and 1."""
        z = np.clip((_spread(columns, names) - centre) / scale, -FAR, FAR)
        guess = np.clip(self.score(columns), EDGE, 1 - EDGE)
        return np.column_stack([z, np.log(guess / (1 - guess)), np.ones(len(guess))])

    def _penalty(self, z: Floats, quality: Floats) -> float:
        """That with the least squared error out of fold."""
        fold = np.arange(len(z)) % FOLDS

        def loss(penalty: float) -> float:
            errors = [
                _expected(z[fold == k], _regress(z[fold != k], quality[fold != k], penalty)) - quality[fold == k]
                for k in range(FOLDS)
            ]
            return float(np.mean(np.concatenate(errors) ** 2))

        penalties: tuple[float, ...] = self.options.penalties
        return min(penalties, key=loss)


def _spread(columns: Columns, names: list[str]) -> Floats:
    """(n, k) features; counts and pixels on a scale like that of logarithms, what lies in [0, 1] hardly changed."""
    return np.arcsinh(np.stack([columns[n] for n in names], axis=1).astype(np.float64))


def _expected(z: Floats, weights: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-np.clip(z @ weights, -30, 30)))
    return found


def _regress(z: Floats, quality: Floats, penalty: float) -> Floats:
    """Weights by damped Newton steps: features are drawn to 0, the guess lightly to 1, the intercept to nothing."""
    ridge = np.append(np.full(z.shape[1] - 2, penalty), (1.0, 1e-6))
    start = np.append(np.zeros(z.shape[1] - 2), (1.0, 0.0))

    def loss(weights: Floats) -> float:
        odds = z @ weights
        return float(np.sum(np.logaddexp(0, odds) - quality * odds) + ridge @ (weights - start) ** 2 / 2)

    weights = start.copy()
    for _ in range(STEPS):
        p = _expected(z, weights)
        slope = z.T @ (quality - p) - ridge * (weights - start)
        step = np.linalg.solve(z.T @ (z * (p * (1 - p))[:, None]) + np.diag(ridge), slope)
        before, size = loss(weights), 1.0
        while size > 1e-4 and loss(weights + size * step) > before:
            size /= 2
        weights = weights + size * step
        if np.abs(size * step).max() < 1e-7:
            break
    return weights
