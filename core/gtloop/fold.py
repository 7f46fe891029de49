"""What each event does to the state: one function an event, and the table of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from gtloop import events as ev
from gtloop import fold_letters as letters
from gtloop.events import AnyEvent
from gtloop.facts import Facts
from gtloop.state import (
    ALIAS,
    ASKED,
    COLUMNS,
    HUMAN,
    MACHINE,
    NONE,
    POOL,
    QUARANTINED,
    RELABEL,
    TRAIN,
    UNLABELABLE,
    VALIDATION,
    State,
)
from gtloop.store import Store

MAX_ATTEMPTS = 3
"""How often an item is asked before it counts as unlabelable."""


def fold(state: State, event: AnyEvent, store: Store) -> None:
    """Change ``state`` as ``event`` says; reads the files that it names."""
    _FOLD[event.type](state, event, store)


def _round(s: State, event: ev.Event) -> Facts.Round:
    return s.facts.rounds.setdefault(event.iteration, Facts.Round())


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
        _reprice(s)
    own = f"detectors.{f.settings['run']['detector'].partition('@')[0]}"
    if any(key == "run.detector" or f"{key}.".startswith(f"{own}.") for key in e.changes):
        letters.new_generation(s)  # no model of another detector, or of other options, is of use to this one


def _reprice(s: State) -> None:
    """Reserve for open requests what the prices of now make them cost at most."""
    f, prices = s.facts, s.prices
    for request in f.open.values():
        reserved = max(0, request.want - request.got) * prices.answer + prices.item_fee
        f.bill.reserved += reserved - request.reserved
        request.reserved = reserved


def _quarantined(s: State, e: ev.ItemsQuarantined, store: Store) -> None:
    rows = np.asarray(store.read(e.file, ["row"])["row"])
    s.status[rows[np.isin(s.status[rows], (POOL, RELABEL))]] = QUARANTINED  # what people have labelled stays labelled
    s.facts.reasons.append(e.file)


def _committed(s: State, e: ev.BatchCommitted, store: Store) -> None:
    t = store.read(e.requests)
    f = s.facts
    rows = np.asarray(t["row"], np.int32)
    blind = np.array([p != "train" for p in t["purpose"]])
    s.status[rows] = ASKED
    s.role[rows] = np.where(blind, VALIDATION, TRAIN)
    if e.phase != "relabel":
        s.columns["random"][rows] = blind | (e.phase == "train")
    s.columns["iteration"][rows] = e.iteration
    s.columns["attempts"][rows] += 1
    for rid, row, want, price in zip(t["request"], rows, t["answers"], t["max_price"], strict=True):
        f.open[rid] = Facts.Open(row=int(row), batch=e.batch, want=int(want), reserved=int(price))
    f.bill.reserved += e.reserved
    f.batches[e.batch] = Facts.Batch(
        phase=e.phase,
        requests=e.requests,
        answers_from=len(f.answer_files),
        count=len(rows),
        validation=bool(blind.all()),
    )
    if e.moved is not None:
        _to_training(s, store.read(e.moved, ["row"])["row"])
    _round(s, e)


def _to_training(s: State, rows: Any) -> None:
    s.role[rows] = TRAIN
    s.columns["random"][rows] = False


def _submitted(s: State, e: ev.BatchSubmitted, store: Store) -> None:
    s.facts.batches[e.batch].submitted = True


def _collected(s: State, e: ev.AnswersCollected, store: Store) -> None:
    f = s.facts
    f.cursor, f.collections = e.cursor, e.number
    if e.answers is not None:
        f.answer_files.append(e.answers)
        t = store.read(e.answers, ["request", "outcome", "price"])
        for rid, outcome, price in zip(t["request"], t["outcome"], t["price"], strict=True):
            f.bill.human += int(price)
            _round(s, e).cost += int(price)
            f.annotations += outcome != "declined"
            if rid in f.open:
                f.open[rid].got += outcome != "declined"
                f.open[rid].reserved -= int(price)
                f.bill.reserved -= int(price)
    if e.closed is not None:
        for rid in store.read(e.closed, ["request"])["request"]:
            _close(s, rid, e)


def _close(s: State, rid: str, e: ev.Event) -> None:
    """Release what is left of a reservation; a request that brought nothing is asked again."""
    f = s.facts
    request = f.open.pop(rid, None)
    if request is None:
        return
    f.bill.reserved -= request.reserved
    if request.got:
        fee = s.prices.item_fee
        f.bill.fees += fee
        _round(s, e).cost += fee
        f.ripe[rid] = request.row
    elif f.cancelled:
        s.status[request.row], s.role[request.row] = POOL, NONE
    elif _attempts(s, request.row) < MAX_ATTEMPTS and f.batches[request.batch].phase == "relabel":
        s.status[request.row] = RELABEL
    elif _attempts(s, request.row) < MAX_ATTEMPTS and s.role[request.row] != VALIDATION:
        s.status[request.row], s.role[request.row] = POOL, NONE
    else:
        s.status[request.row] = UNLABELABLE


def _attempts(s: State, row: int) -> int:
    return int(s.columns["attempts"][row] - s.columns["attempts_before"][row])


def _consolidated(s: State, e: ev.LabelsConsolidated, store: Store) -> None:
    f = s.facts
    t = store.read(e.labels, ["row", "request", "labelled", "objects"])
    rows = np.asarray(t["row"], np.int32)
    labelled = np.asarray(t["labelled"], bool)
    s.status[rows] = np.where(labelled, HUMAN, UNLABELABLE)
    s.columns["objects"][rows] = np.asarray(t["objects"])
    for rid in t["request"]:
        f.ripe.pop(rid, None)
    f.human_files.append(e.labels)
    f.consolidations = e.number
    f.skills = e.skills or f.skills
    for i in np.unique(s.columns["iteration"][rows]):
        of = rows[labelled & (s.columns["iteration"][rows] == i)]
        r = f.rounds.setdefault(int(i), Facts.Round())
        r.human += len(of)
        r.objects_human += int(s.columns["objects"][of].sum())


def _fitted(s: State, e: ev.ModelFitted, store: Store) -> None:
    m = Facts.Model(name=e.model, batch=e.batch, path=e.path, examples=e.examples, fold=e.fold, fault=e.fault)
    if e.fold is None:
        s.facts.model, s.facts.folds = m, {}
        s.facts.deliverable = e.path or s.facts.deliverable
    else:
        s.facts.folds[e.fold] = m
    _spent(s, e, "fit" if e.fold is None else "cross_fit", e.seconds)


def _predicted(s: State, e: ev.ItemsPredicted, store: Store) -> None:
    f = s.facts
    for m in (f.model, *f.folds.values()):
        if m is not None and m.name == e.model:
            m.predicted = e.path
            _spent(s, e, "predict" if m.fold is None else "cross_fit", e.seconds)


def _embedded(s: State, e: ev.ItemsEmbedded, store: Store) -> None:
    known = s.facts.embedded.setdefault(e.space or e.detector, Facts.Embedded())
    known.rows = e.upto
    known.paths.append(e.path)
    _spent(s, e, "embed", e.seconds)


def _spent(s: State, e: ev.Event, step: str, seconds: float) -> None:
    times = _round(s, e).seconds
    times[step] = round(times.get(step, 0.0) + seconds, 3)


def _looked(s: State, e: ev.Looked, store: Store) -> None:
    f, r = s.facts, _round(s, e)
    f.looks, f.looked_at, f.why = e.look, e.model, e.why
    f.delta_spent += e.delta
    f.certificates.extend(e.certificates)
    _spent(s, e, "certify", e.seconds)
    if e.retired is not None:
        _to_training(s, store.read(e.retired, ["row"])["row"])
    if e.labels is None:
        r.coverage = 0.0
        return
    t = store.read(e.labels, ["row", "objects"])
    rows = np.asarray(t["row"], np.int32)
    r.coverage = len(rows) / max(1, s.count(POOL))
    s.status[rows] = MACHINE
    s.columns["iteration"][rows] = e.iteration
    s.columns["objects"][rows] = np.asarray(t["objects"])
    f.machine_files.append(e.labels)
    fee = s.prices.machine_fee * len(rows)
    f.bill.machine += fee
    passed = [c for c in e.certificates if c.threshold is not None]
    r.machine += len(rows)
    r.objects_machine += int(s.columns["objects"][rows].sum())
    r.cost += fee
    r.threshold = min((c.threshold for c in passed if c.threshold is not None), default=None)
    r.certified = min((c.bound for c in passed if c.bound is not None), default=None)


def _broke(s: State, e: ev.BudgetReached, store: Store) -> None:
    s.facts.broke = True


def _finished(s: State, e: ev.RunFinished, store: Store) -> None:
    s.facts.finished, s.facts.finishes = True, e.number


_FOLD: dict[str, Callable[[State, Any, Store], None]] = {
    "run-started": _started,
    "warm-started": letters.warm,
    "letter-refused": letters.refused,
    "settings-changed": _changed,
    "items-added": letters.added,
    "labels-imported": letters.imported,
    "stage-started": letters.staged,
    "categories-changed": letters.categories,
    "relabel-asked": letters.relabel,
    "items-quarantined": _quarantined,
    "batch-committed": _committed,
    "batch-submitted": _submitted,
    "answers-collected": _collected,
    "labels-consolidated": _consolidated,
    "model-fitted": _fitted,
    "items-predicted": _predicted,
    "items-embedded": _embedded,
    "looked": _looked,
    "budget-reached": _broke,
    "run-paused": letters.paused,
    "run-resumed": letters.resumed,
    "confirmed": letters.confirmed,
    "run-cancelled": letters.cancelled,
    "requests-withdrawn": letters.withdrawn,
    "run-finished": _finished,
}
