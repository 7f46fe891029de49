"""What each event does to the state: one function an event, and the table of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from gtloop import events as ev
from gtloop import fold_audit as audit
from gtloop import fold_letters as letters
from gtloop import fold_money as money
from gtloop import fold_people as people
from gtloop.events import AnyEvent
from gtloop.facts import Facts
from gtloop.state import (
    ALIAS,
    COLUMNS,
    MACHINE,
    POOL,
    QUARANTINED,
    RELABEL,
    State,
)
from gtloop.store import Store


def fold(state: State, event: AnyEvent, store: Store) -> None:
    """Change ``state`` as ``event`` says; reads the files that it names."""
    _FOLD[event.type](state, event, store)


def _started(s: State, e: ev.RunStarted, store: Store) -> None:
    n = e.items.rows
    s.columns = {name: np.zeros(n, t) for name, t in COLUMNS.items()}
    alias = np.asarray(store.read(e.items, ["alias_of"])["alias_of"])
    s.status[alias >= 0] = ALIAS
    f = s.facts
    f.settings, f.typed, f.plan, f.items = e.settings, copy.deepcopy(e.settings), e.plan, e.items


def _changed(s: State, e: ev.SettingsChanged, store: Store) -> None:
    f = s.facts
    for settings in (f.settings,) if e.letter else (f.settings, f.typed):
        for key, value in e.changes.items():
            *path, last = key.split(".")
            table = settings
            for part in path:
                table = table.setdefault(part, {})
            table[last] = value
    if e.changes:
        f.broke, f.paused = False, ""
    letters.answered(s, e.letter)
    if any(key.startswith("prices.") for key in e.changes):
        money.reprice(s, f.open.values())
    if "run.annotator" in e.changes:
        people.moved(s)
    own = f"detectors.{f.settings['run']['detector'].partition('@')[0]}"
    if any(key == "run.detector" or f"{key}.".startswith(f"{own}.") for key in e.changes):
        letters.new_generation(s)  # no model of another detector, or of other options, is of use to this one


def _quarantined(s: State, e: ev.ItemsQuarantined, store: Store) -> None:
    rows = np.asarray(store.read(e.file, ["row"])["row"])
    s.status[rows[np.isin(s.status[rows], (POOL, RELABEL))]] = QUARANTINED  # what has a label keeps it
    s.columns["audited"][rows] |= s.status[rows] == MACHINE  # its turn in an audit is over
    s.facts.reasons.append(e.file)


def _fitted(s: State, e: ev.ModelFitted, store: Store) -> None:
    same = ("batch", "path", "examples", "fold", "fault", "deal", "folds", "crossed")
    m = Facts.Model(name=e.model, **{name: getattr(e, name) for name in same})
    if e.fold is None:
        s.facts.model, s.facts.folds = m, {}
        s.facts.deliverable = e.path or s.facts.deliverable
    else:
        s.facts.folds[e.fold] = m
    money.spent(s, e, "fit" if e.fold is None else "cross_fit", e.seconds)


def _predicted(s: State, e: ev.ItemsPredicted, store: Store) -> None:
    f = s.facts
    for m in (f.model, *f.folds.values()):
        if m is not None and m.name == e.model:
            if e.sample:
                m.sampled = e.path
            else:
                m.predicted = e.path
            money.spent(s, e, "predict" if m.fold is None else "cross_fit", e.seconds)


def _embedded(s: State, e: ev.ItemsEmbedded, store: Store) -> None:
    known = s.facts.embedded.setdefault(e.space or e.detector, Facts.Embedded())
    known.rows = e.upto
    known.paths.append(e.path)
    money.spent(s, e, "embed", e.seconds)


def _considered(s: State, e: ev.Considered, store: Store) -> None:
    s.facts.considered = e
    s.facts.curve.append((e.examples, max(e.loss, 1e-6)))


def _looked(s: State, e: ev.Looked, store: Store) -> None:
    f, r = s.facts, money.round_of(s, e)
    f.looks, f.looked_at, f.why = e.look, e.model, e.why
    f.cut, f.fitted, f.drift = e.cut, e.fitted, e.drift
    f.delta_spent += e.delta
    f.certificates.extend(e.certificates)
    money.spent(s, e, "certify", e.seconds)
    if e.retired is not None:
        people.to_training(s, store.read(e.retired, ["row"])["row"])
    if e.labels is None:
        r.coverage = 0.0
        return
    t = store.read(e.labels, ["row", "objects"])
    rows = np.asarray(t["row"], np.int32)
    r.coverage = len(rows) / max(1, s.count(POOL))
    if not e.certificates:  # labels of another service
        f.unproven = max(f.unproven, e.iteration)
    s.status[rows] = MACHINE
    s.columns["iteration"][rows] = e.iteration
    s.columns["objects"][rows] = np.asarray(t["objects"])
    f.machine_files.append(e.labels)
    money.machine(s, e, len(rows))
    passed = [c for c in e.certificates if c.threshold is not None]
    r.threshold = min((c.threshold for c in passed if c.threshold is not None), default=None)
    r.certified = min((c.bound for c in passed if c.bound is not None), default=None)


def _broke(s: State, e: ev.BudgetReached, store: Store) -> None:
    s.facts.broke = True


def _finished(s: State, e: ev.RunFinished, store: Store) -> None:
    s.facts.finished, s.facts.finishes = True, e.number
    money.finished(s, e)


_FOLD: dict[str, Callable[[State, Any, Store], None]] = {
    "run-started": _started,
    "warm-started": letters.warm,
    "letter-refused": letters.refused,
    "settings-changed": _changed,
    "prices-quoted": money.quoted,
    "items-added": letters.added,
    "labels-imported": letters.imported,
    "stage-started": letters.staged,
    "categories-changed": letters.categories,
    "relabel-asked": letters.relabel,
    "review-asked": letters.review,
    "review-concluded": people.concluded,
    "audit-asked": audit.asked,
    "audit-concluded": audit.concluded,
    "region-demoted": audit.demoted,
    "people-assessed": people.assessed,
    "answers-settled": people.settled,
    "items-quarantined": _quarantined,
    "batch-committed": people.committed,
    "batch-submitted": people.submitted,
    "answers-extended": people.extended,
    "answers-collected": people.collected,
    "labels-consolidated": people.consolidated,
    "consistency-measured": people.consistent,
    "model-fitted": _fitted,
    "items-predicted": _predicted,
    "items-embedded": _embedded,
    "considered": _considered,
    "looked": _looked,
    "budget-reached": _broke,
    "run-paused": letters.paused,
    "run-resumed": letters.resumed,
    "confirmed": letters.confirmed,
    "run-cancelled": letters.cancelled,
    "requests-withdrawn": letters.withdrawn,
    "run-finished": _finished,
}
