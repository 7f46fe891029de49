"""The loop, top to bottom::

    while step := next_step(job):       # derived from the state: a crash or a long wait needs nothing more
        job.commit(step(job))           # a step is a function of state and plugins that returns events

    pick -> submit ... people ... collect -> consolidate -> fit -> predict -> look? -> pick -> ...

Ten random images are a probe, more make a blind validation set, more train a first model; then the
sampler picks. A look certifies what the model may label (``looking``). When no look is left, people
label the rest. No step calls another; no plugin sees the ledger or another plugin.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import numpy as np

from gtloop.errors import NotEnoughData, blame
from gtloop.events import (
    AnyEvent,
    BatchSubmitted,
    ModelFitted,
    RunFinished,
    RunPaused,
)
from gtloop.interfaces import Rows
from gtloop.job import Job
from gtloop.looking import cross_fitting, fold_rows, look, reference_rows
from gtloop.people import collect, consolidate, requests_of
from gtloop.picking import asked, needs_predictions, next_phase, pick
from gtloop.state import HUMAN, POOL, TRAIN
from gtloop.vision import fit_model, predict_rows

Outcome = Literal["finished", "waiting", "confirm", "budget"]
Step = Callable[[Job], list[AnyEvent]]

ENOUGH = 0.95
"""Share of a training batch at which the loop goes on; the rest is consolidated as it comes."""
FOLD_EFFORT = 0.7
"""Share of the normal schedule for a fold's model: it sees two thirds of the data, and there are three."""


def drive(job: Job) -> Outcome:
    """Run the loop until it is finished, paused, or has to wait for people outside this process."""
    while True:
        job.read_letters()
        if (step := next_step(job)) is None:
            break
        events = step(job)
        if events:
            job.commit(events)
        elif step is collect_answers:
            if job.plugins.annotator.patient:
                return "waiting"
            time.sleep(0.2)
    paused = job.state.facts.paused
    return "finished" if not paused else "budget" if paused == "budget" else "confirm"


def next_step(job: Job) -> Step | None:
    """Which step is next; None when there is nothing to do now."""
    s, f = job.state, job.state.facts
    if f.finished or f.paused:
        return None
    if any(not b.submitted for b in f.batches.values()):
        return submit_batch
    if f.ripe and not still_waiting(job, collecting=True):
        return consolidate_answers
    if still_waiting(job):
        return collect_answers
    if job.plugins.annotator.spends_money and f.batches and not f.confirmed:
        return ask_to_confirm
    if not s.count(POOL):
        return collect_answers if f.open else finish
    if next_phase(job, resting=False) != "active" and not f.broke:
        return pick_batch
    return machine_step(job) or (stop_for_budget if f.broke else pick_batch)


def machine_step(job: Job) -> Step | None:
    """The machine half of an iteration: fit, predict and look, as far as they are due."""
    due = look_due(job)
    if not due and (resting(job) or job.state.facts.broke or not needs_predictions(job)):
        return None
    model = job.state.facts.model
    if model is None or (job.plugins.detector.trainable and model.batch < len(job.state.facts.batches)):
        return fit
    if model.fault:
        return look_now if due and not job.state.facts.broke else None
    if model.predicted is None:
        return predict
    if not due:
        return None
    folds = job.state.facts.folds
    for k in range(cross_fitting(job)):
        if k not in folds:
            return fit_fold
        if folds[k].predicted is None and not folds[k].fault:
            return predict_fold
    return look_now


def look_due(job: Job) -> bool:
    """Whether machine labels may become final now; never decided from validation losses."""
    f = job.state.facts
    if job.settings.loop.certify == "every-round":
        model = f.model
        fresh = model is not None and (model.batch == len(f.batches) or not job.plugins.detector.trainable)
        return not (fresh and model is not None and f.looked_at == model.name) and f.looks < job.promise.looks
    if f.looks >= len(job.plan.look_at):
        return False
    return f.broke or asked(job.state) >= job.plan.look_at[f.looks]


def resting(job: Job) -> bool:
    """Whether no look is to come, so that people label the rest in one batch."""
    if job.settings.loop.certify == "every-round":
        return False
    return job.state.facts.looks >= len(job.plan.look_at)


def still_waiting(job: Job, *, collecting: bool = False) -> bool:
    """Whether people must answer before the loop goes on (or, ``collecting``, before consolidation)."""
    f = job.state.facts
    if not f.open or not f.batches:
        return False
    last = max(f.batches)
    own = sum(r.batch == last for r in f.open.values())
    blind = any(job.state.role[r.row] != TRAIN for r in f.open.values())
    if collecting:
        return own > 0 and own > (1 - ENOUGH) * f.batches[last].count
    return blind or own > (1 - ENOUGH) * f.batches[last].count


# -------------------------------------------------------------------------------------------- people


def pick_batch(job: Job) -> list[AnyEvent]:
    return pick(job, next_phase(job, resting=resting(job)))


def submit_batch(job: Job) -> list[AnyEvent]:
    """Hand committed requests to the annotator; the same ids again after a crash."""
    number = next(n for n, b in job.state.facts.batches.items() if not b.submitted)
    with blame("annotator", job.plugins.annotator.name, "submit"):
        job.plugins.annotator.submit(requests_of(job, number))
    return [BatchSubmitted(iteration=number, batch=number)]


def collect_answers(job: Job) -> list[AnyEvent]:
    return collect(job)


def consolidate_answers(job: Job) -> list[AnyEvent]:
    return [consolidate(job)]


def ask_to_confirm(job: Job) -> list[AnyEvent]:
    return [RunPaused(iteration=job.state.iteration, reason="confirm", why="the probe is answered; say yes to go on")]


def stop_for_budget(job: Job) -> list[AnyEvent]:
    why = f"the budget of ${job.settings.run.budget_usd:,.2f} pays no further item"
    return [RunPaused(iteration=job.state.iteration, reason="budget", why=why)]


def finish(job: Job) -> list[AnyEvent]:
    return [RunFinished(iteration=job.state.iteration)]


# ------------------------------------------------------------------------------------------- machine


def training_rows(job: Job) -> Rows:
    return job.state.rows(HUMAN, TRAIN)


def fit(job: Job) -> list[AnyEvent]:
    """Fit on every human training label; validation labels are never among them."""
    return [_fit(job, f"m{len(job.state.facts.batches):04d}", training_rows(job), None)]


def fit_fold(job: Job) -> list[AnyEvent]:
    """Fit a fold's model on all training labels but the fold's own."""
    model, folds = job.state.facts.model, cross_fitting(job)
    fold = next(k for k in range(folds) if k not in job.state.facts.folds)
    rows = np.setdiff1d(training_rows(job), fold_rows(job, fold, folds)).astype(np.int32)
    assert model is not None
    return [_fit(job, f"{model.name}.f{fold}", rows, fold)]


def _fit(job: Job, name: str, rows: Rows, fold: int | None) -> ModelFitted:
    started, batch = time.monotonic(), len(job.state.facts.batches)
    common = {"iteration": job.state.iteration, "model": name, "fold": fold, "batch": batch, "examples": len(rows)}
    try:
        path, metrics = fit_model(job, name, rows, 1.0 if fold is None else FOLD_EFFORT)
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


def predict_fold(job: Job) -> list[AnyEvent]:
    """Predict a fold's held-out rows, and the reference sample that ranks its scores."""
    folds = job.state.facts.folds
    fold, model = next((k, m) for k, m in sorted(folds.items()) if m.predicted is None and not m.fault)
    rows = np.union1d(fold_rows(job, fold, cross_fitting(job)), reference_rows(job)).astype(np.int32)
    return _predict(job, model.name, model.path, rows)


def _predict(job: Job, name: str, path: str | None, rows: Rows) -> list[AnyEvent]:
    predicted, quarantined = predict_rows(job, name, path, rows)
    return [quarantined, predicted] if quarantined else [predicted]


def look_now(job: Job) -> list[AnyEvent]:
    """Look; a look that the budget forced too early to test anything is kept for when there is more money."""
    looked, f = look(job), job.state.facts
    late = job.settings.loop.certify == "late"
    if late and f.broke and asked(job.state) < job.plan.look_at[f.looks] and not looked.delta and not looked.labels:
        return stop_for_budget(job)
    return [looked]
