"""The machine steps of the loop: fit, predict, and the same for the models of a cross-fit."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from gtloop.crossfit import cross_fitting, fold_rows, folds_at_look, reference_rows, to_deal
from gtloop.errors import NotEnoughData
from gtloop.events import AnyEvent, ModelFitted
from gtloop.interfaces import Rows
from gtloop.job import Job
from gtloop.state import HUMAN, POOL, TRAIN
from gtloop.vision import embed_rows, fit_model, predict_rows


def training_rows(job: Job) -> Rows:
    return job.state.rows(HUMAN, TRAIN)


def fit(job: Job) -> list[AnyEvent]:
    """Fit on every human training label; validation labels are never among them."""
    return [_fit(job, _name(job), training_rows(job))]


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
    return [_fit(job, f"{model.name}.f{fold}", rows, fold, effort, **dealt)]


def _fit(job: Job, name: str, rows: Rows, fold: int | None = None, effort: float = 1.0, **dealt: Any) -> ModelFitted:
    started, batch = time.monotonic(), job.state.turns
    common = {"iteration": job.state.iteration, "model": name, "fold": fold, "batch": batch, "examples": len(rows)}
    common |= dealt
    try:
        path, metrics = fit_model(job, name, rows, effort)
    except NotEnoughData as e:
        return ModelFitted.model_validate({**common, "seconds": 0.0, "fault": str(e)})
    seconds = round(time.monotonic() - started, 3)
    return ModelFitted.model_validate({**common, "seconds": seconds, "metrics": metrics, "path": path})


def predict(job: Job) -> list[AnyEvent]:
    """Predict the pool and the validation items."""
    model = job.state.facts.model
    assert model is not None
    rows = np.union1d(job.state.rows(POOL), job.state.validation_rows()).astype(np.int32)
    return _predict(job, model.name, model.path, rows)


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


def _predict(job: Job, name: str, path: str | None, rows: Rows) -> list[AnyEvent]:
    predicted, quarantined = predict_rows(job, name, path, rows)
    return [quarantined, predicted] if quarantined else [predicted]


MACHINE_STEPS = (fit, fit_fold, predict, predict_fold, embed)
"""What takes long enough for people to run out of work."""
