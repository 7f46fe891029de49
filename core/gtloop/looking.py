"""A look: gather the evidence, certify, and make machine labels final."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtloop.bounds import TEST
from gtloop.calibrating import Calibration
from gtloop.drift import alarm, drift
from gtloop.events import FileRef, Looked
from gtloop.facts import Facts
from gtloop.gathering import Gathered, gather
from gtloop.job import Job
from gtloop.predictions import raws
from gtloop.promise import SliceResult, certify
from gtloop.records import Certificate
from gtloop.spending import payable
from gtloop.store import PAGE


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
            "order": e.order,
            "slice": e.slices,
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
    mine = g.evidence.slices.isin(r.members)
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
    at = np.flatnonzero(labelled)
    if not len(at):
        return None
    assert model.predicted is not None
    owner = [next((c for r, c in certificates if name in r.members), None) for name in g.evidence.slices.names]
    rows, slices = g.rows[at], g.evidence.slices.codes[at]
    task, cut, iteration = job.plugins.task, g.calibration.cut, job.state.iteration
    done = 0
    with job.store.writing(f"labels/machine-{number:04d}.parquet") as file:
        found = raws(job, model.predicted, rows)
        while several := list(islice(found, PAGE)):
            payloads = [task.label(raw, cut) for _, raw in several]
            some = slice(done, done := done + len(several))
            own = [owner[code] for code in slices[some].tolist()]
            file.add(
                {
                    "row": rows[some],
                    "payload_json": payloads,
                    "objects": np.array([task.count(p) for p in payloads], np.int16),
                    "confidence": g.raw_score[at[some]],
                    "threshold": _floats([None if c is None else c.threshold for c in own]),
                    "bound": _floats([None if c is None else c.bound for c in own]),
                    "model": [model.name] * len(several),
                    "iteration": np.full(len(several), iteration, np.int32),
                }
            )
    assert done == len(rows), "what is labelled has a prediction"
    return file.ref


def _floats(values: list[float | None]) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.float64())


def _sentence(certificates: tuple[Certificate, ...], labels: FileRef | None) -> str:
    parts_ = [f"{c.slice}: {c.why}" if len(certificates) > 1 else c.why for c in certificates]
    text = "; ".join(parts_) or "the pool is empty"
    if labels is None and not text.startswith("no machine labels"):
        text = f"no machine labels, because {text}"
    return text
