"""Sampler ``coreset``: images that leave none far from a labelled one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import Pick, PoolView, Sampler

BLOCK = 65536
"""Candidates whose distances are computed at once."""

ROWS = 4096
"""Candidates, and labelled images, in one product."""

Vectors = NDArray[np.float32]


class Coreset(Sampler):
    """K-center greedy on embeddings (Sener and Savarese 2018, https://arxiv.org/abs/1708.00489).

    Each pick is the candidate farthest from all that is labelled or picked; where nothing is labelled, the first is the
    one nearest to the mean. Images without an embedding come last, at random.
    """

    name = "coreset"
    summary = "covers the pool: farthest from all that is labelled, by embedding"
    needs = frozenset({"embedding"})

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        order = rng.permutation(len(view.rows))
        vectors = np.asarray(view.columns["embedding"], np.float32)[order]
        good = np.isfinite(vectors).all(axis=1)
        labelled = np.asarray(view.labelled.get("embedding", vectors[:0]), np.float32)
        labelled = labelled[np.isfinite(labelled).all(axis=1)]
        chosen = _farthest(vectors[good], labelled, n)
        ranked = np.concatenate([order[good][chosen], order[~good], np.delete(order[good], chosen)])
        return Pick(view.rows[ranked[:n]], "farthest from every labelled image, by embedding")


def _farthest(vectors: Vectors, labelled: Vectors, n: int) -> NDArray[np.intp]:
    """Indices of at most ``n`` of (m, d) vectors, greedily farthest from (k, d) labelled and from each other."""
    m = min(n, len(vectors))
    if not m:
        return np.zeros(0, np.intp)
    if len(labelled):
        nearest = _to_nearest(vectors, labelled)
    else:
        nearest = np.float32(4 * np.square(vectors).sum(axis=1).max() + 1) - _squared(vectors, vectors.mean(axis=0))
    chosen = np.zeros(m, np.intp)
    for k in range(m):
        best = int(np.argmax(nearest))
        chosen[k] = best
        to_best = _squared(vectors, vectors[best])
        nearest = to_best if k == 0 and not len(labelled) else np.minimum(nearest, to_best)
        nearest[chosen[: k + 1]] = -1  # never twice, whatever duplicates there are
    return chosen


def _to_nearest(vectors: Vectors, labelled: Vectors) -> Vectors:
    """(m,) squared distances to the nearest of (k, d), in blocks: one product of matrices each."""
    out = np.full(len(vectors), np.inf, np.float32)
    lengths = np.square(vectors).sum(axis=1)
    for start in range(0, len(vectors), ROWS):
        some = slice(start, start + ROWS)
        for other in range(0, len(labelled), ROWS):
            those = labelled[other : other + ROWS]
            rest = np.square(those).sum(axis=1) - 2 * (vectors[some] @ those.T)
            np.minimum(out[some], lengths[some] + rest.min(axis=1), out=out[some])
    return np.maximum(out, 0)


def _squared(vectors: Vectors, one: Vectors) -> Vectors:
    """(m,) squared Euclidean distances, in blocks."""
    out = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), BLOCK):
        difference = vectors[start : start + BLOCK] - one
        out[start : start + BLOCK] = np.einsum("ij,ij->i", difference, difference)
    return out
