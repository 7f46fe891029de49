"""What drawn boxes say, given what is believed of the people who drew them: existence, category, geometry."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gtloop.labels import FloatArray
from gtloop_plugins.tasks.bbox.answers import Spots
from gtloop_plugins.tasks.bbox.beliefs import Beliefs
from gtloop_plugins.tasks.bbox.fusion import Fused, fuse

TEMPTED = 0.25
"""Probability that somebody draws what only looks like an object."""

COINCIDE = 0.1
"""Probability that one of two people's boxes of nothing overlaps the other's."""


class Judged(NamedTuple):
    """Of S spots.

    Attributes:
        exists: (S,) probability that there is an object.
        tempting: (S,) probability that there is none, but what looks like one.
        category: (S, K) probabilities of ``Spots.names``, if there is an object.
        fused: Consensus boxes.
    """

    exists: FloatArray
    tempting: FloatArray
    category: FloatArray
    fused: Fused


def judge(spots: Spots, beliefs: Beliefs) -> Judged:
    """Posterior of every spot; ``beliefs`` of ``spots.workers``."""
    exists, tempting = _existence(spots, beliefs)
    fused = fuse(spots.xyxy, spots.of, beliefs.bias[spots.owner], beliefs.variance[spots.owner])
    return Judged(exists, tempting, _category(spots, beliefs), fused)


def _existence(spots: Spots, beliefs: Beliefs) -> tuple[FloatArray, FloatArray]:
    """Three ways for boxes to come about: an object, what looks like one, and boxes of nothing.

    Their prior numbers an image are ``objects``, ``tempting`` and each worker's ``false``. Objects are drawn and
    missed by each worker's own rate; what looks like one is drawn by everybody with ``TEMPTED``; boxes of nothing
    lie in one place by chance, with ``COINCIDE`` for each further one.
    """
    drew, worker = spots.box >= 0, spots.worker
    miss, false = np.clip(beliefs.miss[worker], 0.001, 0.999), np.maximum(beliefs.false[worker], 1e-4)
    logs = np.stack(
        [
            np.where(drew, np.log1p(-miss), np.log(miss)),
            np.where(drew, np.log(TEMPTED), np.log1p(-TEMPTED)),
            np.where(drew, np.log(false * COINCIDE), 0.0),
        ]
    )
    start = np.flatnonzero(np.diff(spots.spot, prepend=-1))
    if not len(start):
        return np.zeros(0), np.zeros(0)
    total = np.add.reduceat(logs, start, axis=1)
    total += np.log([[beliefs.objects], [beliefs.tempting], [1 / COINCIDE]])
    shares = np.exp(total - total.max(axis=0))
    shares /= shares.sum(axis=0)
    return shares[0], shares[1]


def _category(spots: Spots, beliefs: Beliefs) -> FloatArray:
    """One coin for each worker: right with their probability, else any other category (Dawid & Skene 1979)."""
    k = max(2, len(spots.names))
    right = np.clip(beliefs.right[spots.owner], 1 / k, 0.999)  # who is worse than chance is no help, nor a hint
    weight = np.log(right * (k - 1) / (1 - right))
    logits = np.zeros((len(spots.image), len(spots.names)))
    np.add.at(logits, (spots.of, spots.name), weight)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True, initial=0.0))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
