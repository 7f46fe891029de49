"""A look: gather the evidence, certify, and make machine labels final.

Cross-fitting (design section 5): random training labels validate too, through models that never saw
them. Scores of different models are made comparable as quantiles of each model's scores on the pool.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.errors import PluginFault, blame
from gtloop.events import FileRef, Looked
from gtloop.facts import Facts
from gtloop.interfaces import Rows
from gtloop.job import Job
from gtloop.predictions import raws, read_predictions, score
from gtloop.promise import Evidence, SliceResult, certify, look_deltas
from gtloop.records import Certificate, Payload
from gtloop.state import ALIAS, HUMAN, POOL, QUARANTINED, TRAIN, UNLABELABLE

REFERENCE = 200
"""Pool items on which each fold's model is ranked."""


class Gathered(NamedTuple):
    """Evidence with the rows and raw scores behind it, columns of equal length."""

    rows: Rows
    raw_score: NDArray[np.float64]
    evidence: Evidence


def cross_fitting(job: Job) -> int:
    """Number of folds at a look now; 0 where random training labels can't validate.

    Once a sampler has picked, the pool is no longer what the first random labels were drawn from.
    """
    folds = job.settings.promise.cross_fit
    picked = any(b.phase == "active" for b in job.state.stage_batches.values())
    late = job.settings.loop.certify == "late"
    enough = bool(job.state.facts.folds) or len(random_training(job)) >= 2 * folds
    trainable = job.plugins.detector.trainable
    return folds if late and trainable and enough and not picked and job.state.stage_looks == 0 else 0


def random_training(job: Job) -> Rows:
    """Random training rows that people have settled, in the fixed order that deals them to folds."""
    s = job.state
    mask = (s.role == TRAIN) & s.columns["random"] & ((s.status == HUMAN) | (s.status == UNLABELABLE))
    rows = np.flatnonzero(mask).astype(np.int32)
    return rows[np.argsort(job.order("fold")[rows], kind="stable")]


def fold_rows(job: Job, fold: int, folds: int) -> Rows:
    """The rows that a fold's model never sees, as dealt before the first: people may answer while folds are fitted."""
    first = job.state.facts.folds.get(0)
    dealt = None if first is None or first.deal is None else job.store.read(first.deal, ["row"])["row"]
    rows = random_training(job) if dealt is None else np.asarray(dealt, np.int32)
    return np.sort(rows[fold::folds])


def reference_rows(job: Job) -> Rows:
    """A random sample of the pool, on which fold models are ranked."""
    pool = job.state.rows(POOL)
    return np.sort(pool[np.argsort(job.order("reference")[pool], kind="stable")][:REFERENCE])


def look(job: Job, *, certify_now: bool = True) -> Looked:
    """Certify what the current model predicts; ``certify_now`` False where there is no model."""
    started, s = time.monotonic(), job.state
    number = s.facts.looks + 1
    model = s.facts.model
    if not certify_now or model is None or model.predicted is None:
        why = model.fault if model is not None and model.fault else "there is no model"
        return Looked(iteration=s.iteration, look=number, model=None, delta=0, certificates=(), labels=None,
                      why=f"no machine labels, because {why}")  # fmt: skip
    gathered = _gather(job, model)
    delta = _delta(job, number)
    total = len(job.items) - s.count(ALIAS) - s.count(QUARANTINED)
    results, accepted = certify(gathered.evidence, job.promise, delta, total)
    evidence = _write_evidence(job, number, gathered, accepted)
    is_pool = np.isnan(gathered.evidence.quality)
    certificates = tuple(_certificate(job, number, r, gathered, accepted & is_pool, evidence) for r in results)
    labels, trimmed = _label(job, number, model, gathered, accepted & is_pool, certificates)
    retired = None
    own = accepted & ~is_pool
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
        why=_sentence(results, labels, trimmed),
        seconds=round(time.monotonic() - started, 3),
    )


def _delta(job: Job, number: int) -> float:
    p = job.promise
    if p.rule == "empirical":
        return p.delta  # spends nothing: it certifies nothing
    return look_deltas(p.delta, p.looks)[number - 1 - job.state.facts.stage.looks]


# ----------------------------------------------------------------------------------------- evidence


def _gather(job: Job, model: Facts.Model) -> Gathered:
    s = job.state
    assert model.predicted is not None
    pool, validation = s.rows(POOL), s.validation_rows()
    rows, columns, slices = read_predictions(job, model.predicted, np.union1d(pool, validation).astype(np.int32))
    own = score(job, columns)
    is_pool = np.isin(rows, pool)
    quality = np.full(len(rows), np.nan)
    quality[~is_pool] = _quality(job, model.predicted, rows[~is_pool])
    folds = {k: m for k, m in s.facts.folds.items() if m.predicted is not None}
    if not folds:
        evidence = Evidence(own, quality, job.order("certify")[rows], slices, np.ones(len(rows), bool))
        return Gathered(rows, own, evidence)
    blocks = [(rows, own, _quantile(own, own[is_pool]), quality, slices, np.ones(len(rows), bool))]
    for k, fold in sorted(folds.items()):
        blocks.append(_fold_block(job, fold, fold_rows(job, k, cross_fitting(job))))
    every, raw, ranked, y, names, exact = (np.concatenate(c) for c in zip(*blocks, strict=True))
    return Gathered(every.astype(np.int32), raw, Evidence(ranked, y, job.order("certify")[every], names, exact))


def _fold_block(job: Job, fold: Facts.Model, held_out: Rows) -> tuple[Any, ...]:
    """Evidence columns of one fold's held-out rows, scores as quantiles on the reference sample."""
    assert fold.predicted is not None
    _, reference, _ = read_predictions(job, fold.predicted, reference_rows(job))
    rows, columns, slices = read_predictions(job, fold.predicted, held_out)
    own = score(job, columns)
    ranked = _quantile(own, score(job, reference))
    return rows, own, ranked, _quality(job, fold.predicted, rows), slices, np.zeros(len(rows), bool)


def _quantile(values: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the reference at or below each value; ties stay ties, order is kept."""
    if not len(reference):
        return values
    return np.searchsorted(np.sort(reference), values, side="right") / len(reference)


def _quality(job: Job, predictions: str, rows: Rows) -> NDArray[np.float64]:
    """1 - error of the predictions of validation rows; 0 where people gave no label."""
    task, cut = job.plugins.task, job.settings.run.cut
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


# ------------------------------------------------------------------------------------------- result


def _certificate(
    job: Job, number: int, r: SliceResult, g: Gathered, labelled: NDArray[np.bool_], evidence: FileRef
) -> Certificate:
    """The record of one slice; its threshold is a score of the model that labels, not a quantile."""
    inside = labelled & np.isin(g.evidence.slice, r.members)
    return Certificate(
        look=number,
        slice=r.slice,
        kind=job.promise.kind,
        rule=job.promise.rule,
        target=job.promise.target,
        delta=r.delta,
        n=r.n,
        pool=r.pool,
        s0=r.s0,
        p=r.p,
        threshold=float(g.raw_score[inside].min()) if inside.any() else None,
        bound=r.bound,
        estimate=r.estimate,
        coverage=r.coverage,
        exact=r.exact,
        rungs=r.rungs,
        why=r.why,
        evidence=evidence.path,
        sha256=evidence.sha256,
    )


def _label(
    job: Job,
    number: int,
    model: Facts.Model,
    g: Gathered,
    labelled: NDArray[np.bool_],
    certificates: tuple[Certificate, ...],
) -> tuple[FileRef | None, int]:
    """Write the machine labels of the accepted pool rows that the budget pays; how many it does not."""
    rows, accepted = _payable(job, g.rows[labelled])
    if not len(rows):
        return None, accepted
    task, cut = job.plugins.task, job.settings.run.cut
    assert model.predicted is not None
    payloads: dict[int, Payload] = {r: task.label(raw, cut) for r, raw in raws(job, model.predicted, rows)}
    by_row = dict(zip(g.rows[labelled].tolist(), np.flatnonzero(labelled).tolist(), strict=True))
    at = np.array([by_row[int(r)] for r in rows])
    found = {c.slice: c for c in certificates}
    owner = [
        next(c for c in found.values() if s in c.slice.split("+") or c.slice in ("all", s))
        for s in g.evidence.slice[at]
    ]
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
    return ref, accepted - len(rows)


def _payable(job: Job, rows: Rows) -> tuple[Rows, int]:
    """The rows that the budget can pay the machine fee for: a random sample keeps the mean as promised."""
    left, fee = job.state.facts.bill.left(job.budget), job.state.rates.machine_fee
    if left is None or fee == 0 or len(rows) * fee <= left:
        return rows, len(rows)
    chosen = rows[np.argsort(job.order("payable")[rows], kind="stable")][: left // fee]
    return np.sort(chosen), len(rows)


def _sentence(results: list[SliceResult], labels: FileRef | None, trimmed: int) -> str:
    parts_ = [f"{r.slice}: {r.why}" if len(results) > 1 else r.why for r in results]
    text = "; ".join(parts_) or "the pool is empty"
    if labels is None and not text.startswith("no machine labels"):
        text = f"no machine labels, because {text}"
    if trimmed:
        text += f"; the budget does not pay the fee of {trimmed} more"
    return text
