"""Folds: models that never saw a part of the training labels, so that these can judge, and teach, what labels.

Two uses. *Cross-fitting* (design section 5): random training labels validate too. *Calibrating*: the cut of boxes and
a score that learns are chosen by out-of-fold losses of training labels, which need not be random.
"""

from __future__ import annotations

import numpy as np

from gtloop.interfaces import Rows
from gtloop.job import Job
from gtloop.state import HUMAN, POOL, TRAIN, UNLABELABLE

REFERENCE = 200
"""Pool items on which each fold's model is ranked."""
LEARNING_FOLDS = 3
"""Folds where only a score or a cut learns from them."""


def cross_fitting(job: Job) -> int:
    """Number of folds at a look now; 0 where random training labels can't validate.

    Once a sampler has picked, the pool is no longer what the first random labels were drawn from.
    """
    folds = job.settings.promise.cross_fit
    if (first := job.state.facts.folds.get(0)) is not None:  # what is dealt stays dealt
        return (first.folds or folds) if first.crossed else 0
    picked = any(b.phase == "active" for b in job.state.stage_batches.values())
    late = job.settings.loop.certify == "late"
    enough = len(random_training(job)) >= 2 * folds
    trainable = job.plugins.detector.trainable
    return folds if late and trainable and enough and not picked and job.state.stage_looks == 0 else 0


def considering(job: Job) -> bool:
    """Whether the run decides by itself when to look: once a sampler has picked, out-of-fold losses certify nothing."""
    loop, s = job.settings.loop, job.state
    picked = any(b.phase == "active" for b in s.stage_batches.values())
    chooses = loop.look == "cheapest" and loop.certify == "late" and job.plugins.detector.trainable
    return chooses and picked and s.stage_looks < len(job.plan.look_at)


def folds_at_look(job: Job) -> int:
    """Number of models that a look needs besides the one that labels: to validate, or for a score to learn from."""
    if (first := job.state.facts.folds.get(0)) is not None and first.folds:
        return first.folds
    if folds := cross_fitting(job):
        return folds
    learns = job.plugins.score.learns and job.plugins.detector.trainable and job.settings.loop.certify == "late"
    learns = learns or considering(job)
    return LEARNING_FOLDS if learns and len(job.state.rows(HUMAN, TRAIN)) >= 2 * LEARNING_FOLDS else 0


def random_training(job: Job) -> Rows:
    """Random training rows that people have settled, in the fixed order that deals them to folds."""
    s = job.state
    return _dealt(job, (s.role == TRAIN) & s.columns["random"] & np.isin(s.status, (HUMAN, UNLABELABLE)))


def to_deal(job: Job) -> Rows:
    """The rows whose labels the folds are to judge, in the order that deals them."""
    s = job.state
    return random_training(job) if cross_fitting(job) else _dealt(job, (s.role == TRAIN) & (s.status == HUMAN))


def _dealt(job: Job, mask: np.ndarray) -> Rows:
    rows = np.flatnonzero(mask).astype(np.int32)
    return rows[np.argsort(job.order("fold", rows), kind="stable")]


def fold_rows(job: Job, fold: int, folds: int) -> Rows:
    """The rows that a fold's model never sees, as dealt before the first: people may answer while folds are fitted."""
    first = job.state.facts.folds.get(0)
    dealt = None if first is None or first.deal is None else job.store.read(first.deal, ["row"])["row"]
    rows = to_deal(job) if dealt is None else np.asarray(dealt, np.int32)
    return np.sort(rows[fold::folds])


def reference_rows(job: Job) -> Rows:
    """A random sample of the pool, on which fold models are ranked."""
    pool = job.state.rows(POOL)
    return np.sort(pool[np.argsort(job.order("reference", pool), kind="stable")][:REFERENCE])
