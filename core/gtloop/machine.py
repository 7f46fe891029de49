"""The machine steps of the loop: fit, predict, and the same for the models of a cross-fit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from gtloop.crossfit import cross_fitting, fold_rows, folds_at_look, reference_rows, to_deal
from gtloop.errors import NotEnoughData
from gtloop.events import AnyEvent, ModelFitted
from gtloop.fitting import fit_model, training_rows
from gtloop.interfaces import Rows
from gtloop.job import Job
from gtloop.picking import quarantine
from gtloop.ranking import candidates
from gtloop.state import POOL
from gtloop.vision import embed_rows, predict_rows


def fit(job: Job) -> list[AnyEvent]:
    """Fit on every human training label; validation labels are never among them."""
    return _fit(job, _name(job), training_rows(job))


def _name(job: Job) -> str:
    """Of the next model: batches that it knows, and which generation of models it belongs to."""
    f = job.state.facts
    return f"m{job.state.turns:04d}" + (f".g{f.generation}" if f.generation else "")


def fit_fold(job: Job) -> list[AnyEvent]:
    """Fit a fold's model on all training labels but the fold's own."""
    model, folds = job.state.facts.model, folds_at_look(job)
    fold = next(k for k in range(folds) if k not in job.state.facts.folds)
    everything = training_rows(job)
    rows = np.setdiff1d(everything, fold_rows(job, fold, folds)).astype(np.int32)
    assert model is not None
    deal = None if fold else job.store.write(f"looks/dealt-{model.name}.parquet", {"row": to_deal(job)})
    dealt = {} if fold else {"deal": deal, "folds": folds, "crossed": cross_fitting(job) > 0}
    effort = len(everything) / max(len(rows), 1)  # as many steps as the model that labels: it stands for that one
    return _fit(job, f"{model.name}.f{fold}", rows, fold, effort, **dealt)


def _fit(job: Job, name: str, rows: Rows, fold: int | None = None, effort: float = 1.0, **dealt: Any) -> list[AnyEvent]:
    started, batch = time.monotonic(), job.state.turns
    common = {"iteration": job.state.iteration, "model": name, "fold": fold, "batch": batch, "examples": len(rows)}
    common |= dealt
    try:
        fitted = fit_model(job, name, rows, effort)
    except NotEnoughData as e:
        return [ModelFitted.model_validate({**common, "seconds": 0.0, "fault": str(e)})]
    common |= {"examples": fitted.examples, "metrics": fitted.metrics, "path": fitted.path}
    event = ModelFitted.model_validate({**common, "seconds": round(time.monotonic() - started, 3)})
    return [quarantine(job, fitted.bad, f"fit-{name}", training=True), event] if fitted.bad else [event]


def prediction_due(job: Job, looking: bool) -> Callable[[Job], list[AnyEvent]] | None:
    """What is to be predicted now, if anything: for a look all, for a sampler what it chooses from.

    A model that is never fitted again predicts all at once, as a look needs that anyhow.
    """
    model = job.state.facts.model
    assert model is not None
    if model.predicted is not None:
        return None
    if looking or not job.plugins.detector.trainable:
        return predict
    return predict_sample if model.sampled is None else None


def predict(job: Job) -> list[AnyEvent]:
    """Predict the pool and the validation items."""
    model = job.state.facts.model
    assert model is not None
    return _predict(job, model.name, model.path, _judged(job))


def predict_sample(job: Job) -> list[AnyEvent]:
    """Predict what a sampler chooses from: all, where that are few."""
    model, rows = job.state.facts.model, _judged(job)
    assert model is not None
    some = candidates(job, rows)
    return _predict(job, model.name, model.path, some, sample=len(some) < len(rows))


def _judged(job: Job) -> Rows:
    """The pool and the validation items."""
    return np.union1d(job.state.rows(POOL), job.state.validation_rows())


def embed(job: Job) -> list[AnyEvent]:
    """Embed the items that have no embedding yet, for a sampler that goes by them."""
    embedded, quarantined = embed_rows(job)
    return [quarantined, embedded] if quarantined else [embedded]


def predict_fold(job: Job) -> list[AnyEvent]:
    """Predict a fold's held-out rows, and the reference sample that ranks its scores."""
    folds = job.state.facts.folds
    fold, model = next((k, m) for k, m in sorted(folds.items()) if m.predicted is None and not m.fault)
    rows = np.union1d(fold_rows(job, fold, folds_at_look(job)), reference_rows(job)).astype(np.int32)
    return _predict(job, model.name, model.path, rows)


def _predict(job: Job, name: str, path: str | None, rows: Rows, *, sample: bool = False) -> list[AnyEvent]:
    predicted, quarantined = predict_rows(job, name, path, rows, sample=sample)
    return [quarantined, predicted] if quarantined else [predicted]


MACHINE_STEPS = (fit, fit_fold, predict, predict_sample, predict_fold, embed)
"""What takes long enough for people to run out of work."""
