"""The loop, top to bottom::

    while step := next_step(job):       # derived from the state: a crash or a long wait needs nothing more
        job.commit(step(job))           # a step is a function of state and plugins that returns events

    pick -> submit ... people ... collect -> consolidate -> fit -> predict -> look? -> pick -> ...

Ten random images are a probe, more make a blind validation set, more train a first model; then the
sampler picks. A look certifies what the model may label (``looking``). When no look is left, people
label the rest. No step calls another; no plugin sees the ledger or another plugin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from gtloop.ahead import DUE, Pause, people_at_work
from gtloop.audit import audit_step
from gtloop.considering import consider, consideration_due, latest_look, look_chosen
from gtloop.consistency import consistency_due, measure_consistency
from gtloop.crossfit import folds_at_look
from gtloop.events import AnyEvent, RunFinished, RunPaused
from gtloop.fitting import check_training
from gtloop.job import Job
from gtloop.letters import read_letters
from gtloop.looking import look
from gtloop.machine import MACHINE_STEPS, embed, fit, fit_fold, predict_fold, prediction_due
from gtloop.people import collect, collect_last, consolidate
from gtloop.picking import asked, cold, next_phase, pick
from gtloop.ranking import embedding_due, needs_predictions
from gtloop.review import conclude, pick_review
from gtloop.stages import next_stage
from gtloop.state import ASIDE, LATER, POOL, RELABEL, TRAIN
from gtloop.stopping import compute_spent, machine_unpaid, overcharge_due, stop_for_budget, stop_overcharged
from gtloop.submitting import submit_batch, withdraw_requests

Outcome = Literal["finished", "waiting", "confirm", "budget", "paused", "cancelled"]
Step = Callable[[Job], list[AnyEvent]]

ENOUGH = 0.95
"""Share of a training batch at which the loop goes on; the rest is consolidated as it comes."""


def drive(job: Job, *, wait: bool = False) -> Outcome:
    """Run the loop until it is finished or paused; ``wait``: also where people answer outside this process."""
    pause = Pause(job)
    while True:
        read_letters(job)
        if (step := next_step(job)) is None:
            break
        with people_at_work(job, step in MACHINE_STEPS):
            events = step(job)
        leaving = job.plugins.annotator.patient and not wait
        if not events and step is collect_answers and leaving:
            events = collect_last(job)
        if events:
            job.commit(events)
            pause.reset()
        elif step is collect_answers:
            if leaving:
                return "waiting"
            pause()
    return _outcome(job)


def _outcome(job: Job) -> Outcome:
    f = job.state.facts
    if f.paused == "asked":
        return "paused"
    if f.paused:
        return "confirm" if f.paused == "confirm" else "budget"
    return "cancelled" if f.cancelled else "finished"


def next_step(job: Job) -> Step | None:
    """Which step is next; None when there is nothing to do now."""
    s, f = job.state, job.state.facts
    if f.finished or f.paused:
        return None
    if overcharge_due(job):
        return stop_overcharged
    if any(b.waiting for b in f.batches.values()):
        return submit_batch
    for due, step in DUE:
        if due(job):
            return step
    if f.judged:
        return conclude
    if auditing := audit_step(job):
        return auditing
    if f.ripe and not still_waiting(job, collecting=True):
        return consolidate_answers
    if still_waiting(job) and not f.cancelled:
        return collect_answers
    if f.cancelled:
        return _leaving(job)
    if job.plugins.annotator.spends_money and f.batches and not f.confirmed:
        return ask_to_confirm
    if f.reviews and not f.broke:
        return pick_review
    if s.count(RELABEL) and not f.broke:
        return pick_batch
    if f.open and (f.broke or not s.count(POOL)):
        return _last_answers(job)
    if not s.count(POOL):
        return stop_for_budget if s.count(RELABEL) or f.reviews or f.audits_asked else _next_stage_or_end(job)
    if consistency_due(job):
        return measure_consistency
    if next_phase(job, resting=False) != "active" and not f.broke:
        return pick_batch
    return machine_step(job) or (stop_for_budget if f.broke else pick_batch)


def _leaving(job: Job) -> Step:
    """The way out of a cancelled run: withdraw, wait for what is withdrawn, end."""
    f = job.state.facts
    if f.open:
        return collect_answers if f.withdrawn else withdraw_requests
    return finish


def _last_answers(job: Job) -> Step:
    """Nothing more is asked: take in what people still have, and withdraw the tests that nobody needs any more."""
    f = job.state.facts
    needless = all(r.aside == "gold" for r in f.open.values()) and f.withdrawals < len(f.batches)
    return withdraw_requests if needless else collect_answers


def _next_stage_or_end(job: Job) -> Step:
    return start_stage if job.state.count(LATER) else finish


def machine_step(job: Job) -> Step | None:
    """The machine half of an iteration: fit, predict and look, as far as they are due."""
    if compute_spent(job):
        return None
    due = look_due(job)
    weighing = not due and consideration_due(job)
    picking = not (due or weighing or resting(job) or job.state.facts.broke)
    if picking and embedding_due(job):
        return embed
    if not (due or weighing) and (not picking or cold(job) or not needs_predictions(job)):
        return None
    model = job.state.facts.model
    if model is None or (job.plugins.detector.trainable and model.batch < job.state.turns):
        return fit
    if model.fault:
        return look_now if due and not job.state.facts.broke else None
    if step := prediction_due(job, due):
        return step
    if not (due or weighing):
        return None
    folds = job.state.facts.folds
    for k in range(folds_at_look(job)):
        if k not in folds:
            return fit_fold
        if folds[k].predicted is None and not folds[k].fault:
            return predict_fold
    return look_now if due else consider


def look_due(job: Job) -> bool:
    """Whether machine labels may become final now; never decided from validation losses."""
    f, looks = job.state.facts, job.state.stage_looks
    if job.settings.loop.certify == "every-round":
        model = f.model
        fresh = model is not None and (model.batch == job.state.turns or not job.plugins.detector.trainable)
        return not (fresh and model is not None and f.looked_at == model.name) and looks < job.promise.looks
    if looks >= len(job.plan.look_at):
        return False
    return f.broke or look_chosen(job) or asked(job.state) >= latest_look(job)


def resting(job: Job) -> bool:
    """Whether no look is to come, so that people label the rest in one batch."""
    if job.settings.loop.certify == "every-round":
        return False
    return job.state.stage_looks >= len(job.plan.look_at)


def still_waiting(job: Job, *, collecting: bool = False) -> bool:
    """Whether people must answer before the loop goes on (or, ``collecting``, before consolidation)."""
    f = job.state.facts
    asked = [r for r in f.open.values() if not r.aside]
    if not asked:
        return False
    last = max(n for n, b in f.batches.items() if b.phase not in ASIDE)
    own = sum(r.batch == last for r in asked)
    blind = any(job.state.role[r.row] != TRAIN for r in asked)
    if collecting:
        return own > 0 and own > (1 - ENOUGH) * f.batches[last].count
    return blind or own > (1 - ENOUGH) * f.batches[last].count


# -------------------------------------------------------------------------------------------- people


def pick_batch(job: Job) -> list[AnyEvent]:
    check_training(job)
    return pick(job, "relabel" if job.state.count(RELABEL) else next_phase(job, resting=resting(job)))


def collect_answers(job: Job) -> list[AnyEvent]:
    return collect(job)


def consolidate_answers(job: Job) -> list[AnyEvent]:
    return [consolidate(job)]


def ask_to_confirm(job: Job) -> list[AnyEvent]:
    return [RunPaused(iteration=job.state.iteration, reason="confirm", why="the probe is answered; say yes to go on")]


def start_stage(job: Job) -> list[AnyEvent]:
    return [next_stage(job, "images were added")]


def finish(job: Job) -> list[AnyEvent]:
    return [RunFinished(iteration=job.state.iteration, number=job.state.facts.finishes + 1)]


# -------------------------------------------------------------------------------------------- looks


def look_now(job: Job) -> list[AnyEvent]:
    """Look; one that is of no use, as the budget came first, is kept for when there is more money."""
    s, late = job.state, job.settings.loop.certify == "late"
    looked = None if late and machine_unpaid(job) else look(job)
    early = late and s.facts.broke and asked(s) < job.plan.look_at[s.stage_looks]
    if looked is None or (early and not (looked.delta or looked.labels)):
        return stop_for_budget(job)
    return [looked]
