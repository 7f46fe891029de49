"""Sampler ``diverse``: uncertain images that differ from one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gtloop.interfaces import Options, Pick, PoolView, Sampler

ROUNDS = 12
FLOOR = 1e-3
"""Least weight of a candidate: a sure image still stands for its neighbourhood."""

Vectors = NDArray[np.float32]
Weights = NDArray[np.float64]


class DiverseOptions(Options):
    """Options of ``diverse``."""

    beta: int = Field(10, ge=1, description="candidates that are clustered, for each image to pick: the least sure")


class Diverse(Sampler):
    """K-means weighted by uncertainty, one image of each cluster (Zhdanov 2019, https://arxiv.org/abs/1901.05954).

    The ``beta`` times ``n`` candidates with the lowest score, weighted by 1 - score, make ``n`` clusters of embeddings;
    the candidate nearest to each centre is picked, heavy clusters first. Before there are predictions all candidates
    weigh the same: plain k-means, a cold start. Images without an embedding come last, at random.
    """

    name = "diverse"
    summary = "one uncertain image of each cluster, by embedding"
    needs = frozenset({"embedding"})
    uses = frozenset({"score"})

    Options = DiverseOptions

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        order = rng.permutation(len(view.rows))
        vectors = np.asarray(view.columns["embedding"], np.float32)[order]
        good = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        weight = np.ones(len(order))
        if "score" in view.columns:
            score = np.nan_to_num(np.asarray(view.columns["score"], np.float64)[order], nan=1.0)
            weight = np.clip(1 - score, FLOOR, 1)
        few = good[np.argsort(-weight[good], kind="stable")[: self.options.beta * n]]
        chosen = few[_spread(vectors[few], weight[few], min(n, len(few)), rng)]
        rest = np.setdiff1d(np.arange(len(order)), chosen)
        rest = rest[np.argsort(~np.isin(rest, good), kind="stable")]
        why = "uncertain and unlike one another" if "score" in view.columns else "unlike one another"
        return Pick(view.rows[order[np.concatenate([chosen, rest])[:n]]], f"{why}, by embedding")


def _spread(vectors: Vectors, weight: Weights, k: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices of ``k`` distinct of (m, d) vectors, m >= k: nearest to the centres, heaviest cluster first."""
    if k == len(vectors):
        return np.argsort(-weight, kind="stable")
    centres = vectors[_seeds(vectors, weight, k, rng)]
    for _ in range(ROUNDS):
        owner = _distances(vectors, centres).argmin(axis=1)
        mass = np.bincount(owner, weights=weight, minlength=k)
        sums = np.zeros((k, vectors.shape[1]))
        np.add.at(sums, owner, weight[:, None] * vectors)
        full = mass > 0
        centres[full] = (sums[full] / mass[full, None]).astype(np.float32)
    distance = _distances(vectors, centres)
    mass = np.bincount(distance.argmin(axis=1), weights=weight, minlength=k)
    chosen = np.zeros(k, np.intp)
    for place, cluster in enumerate(np.argsort(-mass, kind="stable")):
        chosen[place] = int(distance[:, cluster].argmin())
        distance[chosen[place]] = np.inf  # never twice
    return chosen


def _seeds(vectors: Vectors, weight: Weights, k: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """K-means++ seeds (Arthur and Vassilvitskii 2007) with weights."""
    seeds = np.zeros(k, np.intp)
    nearest = np.full(len(vectors), np.inf)
    p = weight / weight.sum()
    for i in range(k):
        seeds[i] = rng.choice(len(vectors), p=p)
        nearest = np.minimum(nearest, _distances(vectors, vectors[seeds[i]][None])[:, 0])
        mass = weight * nearest
        p = mass / mass.sum() if mass.sum() > 0 else weight / weight.sum()
    return seeds


def _distances(vectors: Vectors, centres: Vectors) -> NDArray[np.float64]:
    """(m, k) squared Euclidean distances."""
    a = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    b = np.einsum("ij,ij->i", centres, centres, dtype=np.float64)
    found: NDArray[np.float64] = np.maximum(a[:, None] + b[None] - 2.0 * (vectors @ centres.T), 0)
    return found
