"""What a look sees: the predictions of pool and validation as evidence, with what out-of-fold losses teach.

Cross-fitting (design section 5): random training labels validate too, through models that never saw
them. Scores of different models are made comparable as quantiles of each model's scores on the pool.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.bounds import Floats
from gtloop.calibrating import Calibration, calibrations, held_out, uncalibrated
from gtloop.crossfit import cross_fitting, fold_rows, folds_at_look, reference_rows
from gtloop.errors import PluginFault, blame
from gtloop.evidence import Evidence
from gtloop.facts import Facts
from gtloop.interfaces import Rows
from gtloop.job import Job
from gtloop.keyed import rng
from gtloop.predictions import Scored, raws, scores
from gtloop.slices import Slices
from gtloop.state import HUMAN, POOL
from gtloop.store import BLOCK


class Gathered(NamedTuple):
    """Evidence with the rows and raw scores behind it, columns of equal length; how predictions became labels."""

    rows: Rows
    raw_score: Floats
    evidence: Evidence
    calibration: Calibration


def gather(job: Job, model: Facts.Model, number: int) -> Gathered:
    """What a look of that number sees."""
    assert model.predicted is not None
    calibration, folds = calibrated_folds(job)
    uniform = _uniform(job, number)
    own = _own_block(job, model.predicted, calibration)
    if not folds or not cross_fitting(job):
        rows, raw, quality, slices = own
        evidence = Evidence(raw, quality, _order(job, rows, quality), slices, np.ones(len(rows), bool), uniform)
        return Gathered(rows, raw, evidence, calibration)
    blocks = [_ranked(*own), *(fold_block(job, *fold) for fold in folds)]
    del own
    every, raw, ranked, y, names, exact = _joined(blocks)
    evidence = Evidence(ranked, y, _order(job, every, y), names, exact, uniform)
    return Gathered(every, raw, evidence, calibration)


def _own_block(job: Job, predictions: str, calibration: Calibration) -> tuple[Rows, Floats, Floats, Slices]:
    """Rows of pool and validation, scores of the model that labels, qualities (NaN in the pool), slices."""
    s = job.state
    rows, own, slices = scored(job, predictions, np.union1d(s.rows(POOL), s.validation_rows()), calibration)
    quality = np.full(len(rows), np.nan)
    labelled = np.flatnonzero(s.status[rows] != POOL)
    quality[labelled] = quality_of(job, predictions, rows[labelled], calibration.cut)
    return rows, own, quality, slices


def _ranked(rows: Rows, own: Floats, quality: Floats, slices: Slices) -> tuple[Any, ...]:
    """The block of the model that labels, as ``fold_block`` gives those of the others."""
    return rows, own, quantile(own, own[np.isnan(quality)]), quality, slices, np.ones(len(rows), bool)


def _joined(blocks: list[tuple[Any, ...]]) -> list[Any]:
    """Blocks one after the other, column by column; empties ``blocks``, as both at once are much."""
    columns = [list(parts) for parts in zip(*blocks, strict=True)]
    blocks.clear()
    found: list[Any] = []
    while columns:
        parts = columns.pop(0)
        found.append(Slices.joined(parts) if isinstance(parts[0], Slices) else np.concatenate(parts))
    return found


def _order(job: Job, rows: Rows, quality: Floats) -> NDArray[np.int32]:
    """(m,) the place of each validation value in their one fixed random order; -1 in the pool."""
    found, val = np.full(len(rows), -1, np.int32), np.flatnonzero(~np.isnan(quality))
    found[val[np.argsort(job.order("certify", rows[val]), kind="stable")]] = np.arange(len(val))
    return found


def _uniform(job: Job, number: int) -> float:
    """A number in (0, 1] that nobody chooses: by the seed, and by what the images hold, as most seeds are 0."""
    return 1 - float(rng(job.seed, "uniform", number, job.items.fingerprint()).random())


def calibrated_folds(job: Job) -> tuple[Calibration, list[tuple[Facts.Model, Rows, Calibration]]]:
    """The calibration of the model that labels; and each fold that predicted, its held-out rows and its calibration."""
    folds = {k: m for k, m in sorted(job.state.facts.folds.items()) if m.predicted is not None}
    if not folds:
        return uncalibrated(job), []
    held = {k: fold_rows(job, k, folds_at_look(job)) for k in folds}
    own, of_folds = calibrations(job, {k: held_out(job, str(m.predicted), held[k]) for k, m in folds.items()})
    return own, [(m, held[k], of_folds[k]) for k, m in folds.items()]


def scored(job: Job, predictions: str, rows: Rows, calibration: Calibration) -> Scored:
    """What has a prediction among ``rows``, which are sorted, by the cut of a calibration."""
    return scores(job, predictions, rows, calibration.cut, calibration.fitted)


def fold_block(job: Job, fold: Facts.Model, held_out: Rows, calibration: Calibration) -> tuple[Any, ...]:
    """Evidence columns of one fold's held-out rows, scores as quantiles on the reference sample."""
    assert fold.predicted is not None
    _, reference, _ = scored(job, fold.predicted, reference_rows(job), calibration)
    rows, own, slices = scored(job, fold.predicted, held_out, calibration)
    quality = quality_of(job, fold.predicted, rows, calibration.cut)
    return rows, own, quantile(own, reference), quality, slices, np.zeros(len(rows), bool)


def quantile(values: Floats, reference: Floats) -> Floats:
    """Share of the reference, which is put in order, at or below each value; ties stay ties, order is kept."""
    if not len(reference):
        return values
    reference.sort()
    found = np.empty(len(values))
    for start in range(0, len(values), BLOCK):
        some = slice(start, start + BLOCK)
        found[some] = np.searchsorted(reference, values[some], side="right") / len(reference)
    return found


def quality_of(job: Job, predictions: str, rows: Rows, cut: float) -> Floats:
    """1 - error of the predictions of validation rows; 0 where people gave no label."""
    task = job.plugins.task
    labelled = rows[job.state.status[rows] == HUMAN]
    truth = job.human_labels(labelled)
    quality = np.zeros(len(rows))
    for row, raw in raws(job, predictions, rows):
        if row in truth:
            with blame("task", task.name, "error"):
                quality[np.searchsorted(rows, row)] = 1 - task.error(task.label(raw, cut), truth[row])
    if not ((quality >= 0) & (quality <= 1)).all():
        raise PluginFault(f"task {task.name!r}: error must lie in [0, 1]; see: gtloop plugins check {task.name}")
    return quality
