"""A look: gather the evidence, certify, and make machine labels final.

Cross-fitting (design section 5): random training labels validate too, through models that never saw
them. Scores of different models are made comparable as quantiles of each model's scores on the pool.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.bounds import TEST
from gtloop.calibrating import Calibration, calibrations, feature_columns, held_out, uncalibrated
from gtloop.crossfit import cross_fitting, fold_rows, folds_at_look, reference_rows
from gtloop.drift import alarm, drift
from gtloop.errors import PluginFault, blame
from gtloop.events import FileRef, Looked
from gtloop.facts import Facts
from gtloop.interfaces import Rows
from gtloop.job import Job
from gtloop.keyed import rng
from gtloop.predictions import raws, read_predictions, score
from gtloop.promise import Evidence, SliceResult, certify
from gtloop.records import Certificate, Payload
from gtloop.spending import payable
from gtloop.state import HUMAN, POOL


class Gathered(NamedTuple):
    """Evidence with the rows and raw scores behind it, columns of equal length; how predictions became labels."""

    rows: Rows
    raw_score: NDArray[np.float64]
    evidence: Evidence
    calibration: Calibration


def look(job: Job) -> Looked:
    """Certify what the current model predicts."""
    started, s = time.monotonic(), job.state
    number = s.facts.looks + 1
    model = s.facts.model
    if model is None or model.predicted is None:
        why = model.fault if model is not None and model.fault else "there is no model"
        return Looked(iteration=s.iteration, look=number, model=None, delta=0, certificates=(), labels=None,
                      why=f"no machine labels, because {why}")  # fmt: skip
    gathered = gather(job, model, number)
    delta, apart = job.promise.delta_of(s.stage_looks + 1), drift(gathered.evidence)
    total = s.promised_items()
    results, accepted = certify(gathered.evidence, job.promise, delta, total)
    evidence = _write_evidence(job, number, gathered, accepted)
    is_pool = np.isnan(gathered.evidence.quality)
    paid = payable(job, gathered.rows, accepted, is_pool)
    certificates = tuple(
        _certificate(job, number, r, gathered, accepted & is_pool, paid & is_pool, evidence) for r in results
    )
    labels = _label(job, number, model, gathered, paid & is_pool, tuple(zip(results, certificates, strict=True)))
    retired = None
    own = paid & ~is_pool
    if own.any() and job.settings.loop.symmetric:
        retired = job.store.write(f"looks/retired-{number:04d}.parquet", {"row": gathered.rows[own]})
    return Looked(
        iteration=s.iteration,
        look=number,
        model=model.name,
        delta=sum(c.delta for c in certificates),
        certificates=certificates,
        labels=labels,
        retired=retired,
        cut=gathered.calibration.cut,
        fitted=_write_fitted(job, number, gathered.calibration),
        drift=apart,
        why="; ".join(filter(None, (_sentence(certificates, labels), alarm(apart)))),
        seconds=round(time.monotonic() - started, 3),
    )


# ----------------------------------------------------------------------------------------- evidence


def gather(job: Job, model: Facts.Model, number: int) -> Gathered:
    """What a look of that number sees."""
    s = job.state
    assert model.predicted is not None
    calibration, folds = calibrated_folds(job)
    pool, validation = s.rows(POOL), s.validation_rows()
    wanted = np.union1d(pool, validation).astype(np.int32)
    rows, own, slices = scored(job, model.predicted, wanted, calibration)
    is_pool = np.isin(rows, pool)
    quality = np.full(len(rows), np.nan)
    quality[~is_pool] = quality_of(job, model.predicted, rows[~is_pool], calibration.cut)
    order, uniform = job.order("certify"), _uniform(job, number)
    if not folds or not cross_fitting(job):
        evidence = Evidence(own, quality, order[rows], slices, np.ones(len(rows), bool), uniform)
        return Gathered(rows, own, evidence, calibration)
    blocks = [(rows, own, quantile(own, own[is_pool]), quality, slices, np.ones(len(rows), bool))]
    blocks += [fold_block(job, *fold) for fold in folds]
    every, raw, ranked, y, names, exact = (np.concatenate(c) for c in zip(*blocks, strict=True))
    evidence = Evidence(ranked, y, order[every], names, exact, uniform)
    return Gathered(every.astype(np.int32), raw, evidence, calibration)


def _uniform(job: Job, number: int) -> float:
    """A number in (0, 1] that nobody chooses: by the seed, and by what the images hold, as most seeds are 0."""
    assert job.state.facts.items is not None
    held = sorted(job.store.read(job.state.facts.items, ["sha256"])["sha256"])
    return 1 - float(rng(job.seed, "uniform", number, hashlib.sha256("".join(held).encode()).hexdigest()).random())


def calibrated_folds(job: Job) -> tuple[Calibration, list[tuple[Facts.Model, Rows, Calibration]]]:
    """The calibration of the model that labels; and each fold that predicted, its held-out rows and its calibration."""
    folds = {k: m for k, m in sorted(job.state.facts.folds.items()) if m.predicted is not None}
    if not folds:
        return uncalibrated(job), []
    held = {k: fold_rows(job, k, folds_at_look(job)) for k in folds}
    own, of_folds = calibrations(job, {k: held_out(job, str(m.predicted), held[k]) for k, m in folds.items()})
    return own, [(m, held[k], of_folds[k]) for k, m in folds.items()]


def scored(
    job: Job, predictions: str, rows: Rows, calibration: Calibration
) -> tuple[Rows, NDArray[np.float64], NDArray[np.str_]]:
    """Rows (sorted) that have a prediction among ``rows``, their scores and slices at the cut of a calibration."""
    known, columns, slices = read_predictions(job, predictions, rows)
    if calibration.cut != job.cut:
        found = dict(raws(job, predictions, rows))
        ordered = [found[row] for row in known.tolist()]
        columns = feature_columns(job, ordered, calibration.cut)
        slices = np.array([job.plugins.task.slice(raw, calibration.cut) for raw in ordered], dtype=np.str_)
    return known, score(job, columns, calibration.fitted), slices


def fold_block(job: Job, fold: Facts.Model, held_out: Rows, calibration: Calibration) -> tuple[Any, ...]:
    """Evidence columns of one fold's held-out rows, scores as quantiles on the reference sample."""
    assert fold.predicted is not None
    _, reference, _ = scored(job, fold.predicted, reference_rows(job), calibration)
    rows, own, slices = scored(job, fold.predicted, held_out, calibration)
    quality = quality_of(job, fold.predicted, rows, calibration.cut)
    return rows, own, quantile(own, reference), quality, slices, np.zeros(len(rows), bool)


def quantile(values: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the reference at or below each value; ties stay ties, order is kept."""
    if not len(reference):
        return values
    return np.searchsorted(np.sort(reference), values, side="right") / len(reference)


def quality_of(job: Job, predictions: str, rows: Rows, cut: float) -> NDArray[np.float64]:
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


def _write_evidence(job: Job, number: int, g: Gathered, accepted: NDArray[np.bool_]) -> FileRef:
    """Everything that the test saw, so that it can be recomputed."""
    e = g.evidence
    return job.store.write(
        f"looks/look-{number:04d}.parquet",
        {
            "row": g.rows,
            "score": e.score,
            "raw_score": g.raw_score,
            "quality": e.quality,
            "order": np.asarray(e.order, np.float64),
            "slice": [str(v) for v in e.slice],
            "exact": e.exact,
            "accepted": accepted,
        },
    )


def _write_fitted(job: Job, number: int, calibration: Calibration) -> FileRef | None:
    """What the score has learnt."""
    if not calibration.fitted:
        return None
    return job.store.write(f"looks/score-{number:04d}.parquet", {"fitted_json": [calibration.fitted]})


# ------------------------------------------------------------------------------------------- result


def _certificate(
    job: Job,
    number: int,
    r: SliceResult,
    g: Gathered,
    accepted: NDArray[np.bool_],
    paid: NDArray[np.bool_],
    evidence: FileRef,
) -> Certificate:
    """The record of one slice; its threshold is a score of the model that labels, not a quantile."""
    mine = np.isin(g.evidence.slice, r.members)
    inside, labelled = accepted & mine, int((paid & mine).sum())
    part = ""
    if labelled < inside.sum():
        part = (
            f"; a random {labelled} of these {r.pool} are labelled, as the budget pays no more fees; what is shown is "
            f"about all {r.pool}"
        )
    return Certificate(
        look=number,
        slice=r.slice,
        kind=job.promise.kind,
        rule=job.promise.rule,
        target=job.promise.target,
        delta=r.delta,
        n=r.n,
        pool=r.pool,
        labelled=labelled,
        s0=r.s0,
        p=r.p,
        threshold=float(g.raw_score[inside].min()) if inside.any() else None,
        bound=r.bound,
        estimate=r.estimate,
        coverage=r.coverage,
        exact=r.exact,
        rungs=r.rungs,
        test=TEST,
        uniform=g.evidence.uniform,
        why=r.why + part,
        evidence=evidence.path,
        sha256=evidence.sha256,
    )


def _label(
    job: Job,
    number: int,
    model: Facts.Model,
    g: Gathered,
    labelled: NDArray[np.bool_],
    certificates: tuple[tuple[SliceResult, Certificate], ...],
) -> FileRef | None:
    """Write the machine labels of pool rows."""
    rows, at = g.rows[labelled], np.flatnonzero(labelled)
    if not len(rows):
        return None
    task, cut = job.plugins.task, g.calibration.cut
    assert model.predicted is not None
    payloads: dict[int, Payload] = {r: task.label(raw, cut) for r, raw in raws(job, model.predicted, rows)}
    owner = [next(c for r, c in certificates if s in r.members) for s in g.evidence.slice[at]]
    ref = job.store.write(
        f"labels/machine-{number:04d}.parquet",
        {
            "row": rows,
            "payload_json": [payloads[int(r)] for r in rows],
            "objects": np.array([task.count(payloads[int(r)]) for r in rows], np.int16),
            "confidence": g.raw_score[at],
            "threshold": [c.threshold for c in owner],
            "bound": [c.bound for c in owner],
            "model": [model.name] * len(rows),
            "iteration": np.full(len(rows), job.state.iteration, np.int32),
        },
    )
    return ref


def _sentence(certificates: tuple[Certificate, ...], labels: FileRef | None) -> str:
    parts_ = [f"{c.slice}: {c.why}" if len(certificates) > 1 else c.why for c in certificates]
    text = "; ".join(parts_) or "the pool is empty"
    if labels is None and not text.startswith("no machine labels"):
        text = f"no machine labels, because {text}"
    return text
