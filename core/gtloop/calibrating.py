"""What a look learns from out-of-fold losses before it tests: the cut of objects, and a score that learns.

Nested, so that no loss certifies what it has helped to choose: each fold's predictions are cut and scored by what the
*other* folds taught, those of the model that labels by what all folds taught. Validation items teach nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.errors import PluginFault, blame
from gtloop.interfaces import Rows
from gtloop.job import Job
from gtloop.predictions import raws
from gtloop.records import Payload, Raw
from gtloop.state import HUMAN

CUTS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
"""Cuts that are tried where none is given (``run.cut``)."""
FEWEST = 20
"""Out-of-fold labels below which nothing is learnt."""


class Calibration(NamedTuple):
    """How raw predictions become labels and scores."""

    cut: float
    fitted: dict[str, Any]
    """What the score has learnt (``Score.fit``); empty where it has not, or does not learn."""


class Held(NamedTuple):
    """Held-out training items of a fold that people have labelled: rows, predictions, labels."""

    rows: Rows
    raws: list[Raw]
    labels: list[Payload]


def uncalibrated(job: Job) -> Calibration:
    """What there is without folds."""
    return Calibration(job.cut, {})


def held_out(job: Job, predictions: str, rows: Rows) -> Held:
    """What a fold's model, whose predictions lie at a path, says of its held-out rows with a human label."""
    labelled = rows[job.state.status[rows] == HUMAN]
    labels = job.human_labels(labelled)
    found = [(row, raw) for row, raw in raws(job, predictions, labelled) if row in labels]
    return Held(
        np.array([row for row, _ in found], np.int32), [raw for _, raw in found], [labels[row] for row, _ in found]
    )


def calibrations(job: Job, folds: Mapping[int, Held]) -> tuple[Calibration, dict[int, Calibration]]:
    """That of the model that labels, from all folds, and that of each fold, from the others."""
    quality = {k: _qualities(job, held) for k, held in folds.items()}

    def of(names: Sequence[int]) -> Calibration:
        return _calibrate(job, [folds[k] for k in names], [quality[k] for k in names])

    names = sorted(folds)
    return of(names), {k: of([j for j in names if j != k]) for k in names}


def cuts(job: Job) -> tuple[float, ...]:
    """The cuts that may be chosen: the given one, or those that are tried."""
    return CUTS if job.settings.run.cut is None else (job.cut,)


def _qualities(job: Job, held: Held) -> NDArray[np.float64]:
    """(n, cuts) quality of every held-out prediction at every cut."""
    task, found = job.plugins.task, np.zeros((len(held.rows), len(cuts(job))))
    for i, (raw, label) in enumerate(zip(held.raws, held.labels, strict=True)):
        before: Payload | None = None
        for j, cut in enumerate(cuts(job)):
            with blame("task", task.name, "error"):
                made = task.label(raw, cut)
                # few cuts change a label, and comparing labels is what takes long
                found[i, j] = found[i, j - 1] if made == before else 1 - task.error(made, label)
            before = made
    return found


def _calibrate(job: Job, folds: Sequence[Held], qualities: Sequence[NDArray[np.float64]]) -> Calibration:
    if sum(len(held.rows) for held in folds) < FEWEST:
        return uncalibrated(job)
    quality = np.concatenate(qualities)
    means = quality.mean(axis=0)
    near = -np.abs(np.array(cuts(job)) - job.cut)  # of equally good ones that nearest to the usual
    at = int(np.lexsort((near, np.round(means, 6)))[-1])
    cut, score = cuts(job)[at], job.plugins.score
    if not score.learns:
        return Calibration(cut, {})
    columns = feature_columns(job, [raw for held in folds for raw in held.raws], cut)
    with blame("score", score.name, "fit"):
        fitted = score.fit(columns, quality[:, at])
    if not isinstance(fitted, dict):
        raise PluginFault(f"score {score.name!r}: fit must return a dict; see: gtloop plugins check {score.name}")
    return Calibration(cut, fitted)


def feature_columns(job: Job, predictions: Sequence[Raw], cut: float) -> dict[str, NDArray[np.float32]]:
    """Name to (n,) features of raw predictions at a cut."""
    task = job.plugins.task
    with blame("task", task.name, "features"):
        matrix = np.array([task.features(raw, cut) for raw in predictions], np.float32)
    matrix = matrix.reshape(len(predictions), len(task.feature_names))
    return {name: matrix[:, k] for k, name in enumerate(task.feature_names)}
