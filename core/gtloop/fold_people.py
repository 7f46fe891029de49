"""What people do to the state: requests, answers, labels, and what is known of who gave them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from gtloop import events as ev
from gtloop.facts import Facts
from gtloop.state import ASKED, HUMAN, NONE, POOL, RELABEL, TRAIN, UNLABELABLE, VALIDATION, State
from gtloop.store import Store

MAX_ATTEMPTS = 3
"""How often an item is asked before it counts as unlabelable."""


def round_of(s: State, event: ev.Event) -> Facts.Round:
    """The iteration of an event."""
    return s.facts.rounds.setdefault(event.iteration, Facts.Round())


def committed(s: State, e: ev.BatchCommitted, store: Store) -> None:
    t = store.read(e.requests)
    f = s.facts
    every, aside = np.asarray(t["row"], np.int32), [_ASIDE.get(p, "") for p in t["purpose"]]
    own = np.array([not a for a in aside], bool)
    rows = every[own]
    blind = np.array([p != "train" for p in t["purpose"]], bool)[own]
    s.status[rows] = ASKED
    s.role[rows] = np.where(blind, VALIDATION, TRAIN)
    if e.phase != "relabel":
        s.columns["random"][rows] = blind | (e.phase == "train")
    s.columns["iteration"][rows] = e.iteration
    s.columns["attempts"][rows] += 1
    np.add.at(s.columns["tests"], every[[a == "gold" for a in aside]], 1)
    for rid, row, want, price, what in zip(t["request"], every, t["answers"], t["max_price"], aside, strict=True):
        f.open[rid] = Facts.Open(row=int(row), batch=e.batch, want=int(want), reserved=int(price), aside=what)
    f.bill.reserved += e.reserved
    f.batches[e.batch] = Facts.Batch(
        phase=e.phase,
        requests=e.requests,
        answers_from=len(f.answer_files),
        count=len(rows),
        validation=bool(len(rows)) and bool(blind.all()),
    )
    if e.phase == "review":
        f.reviews.pop(0)
    if e.moved is not None:
        to_training(s, store.read(e.moved, ["row"])["row"])
    round_of(s, e)


_ASIDE: dict[str, Literal["gold", "review"]] = {"gold": "gold", "review": "review"}


def to_training(s: State, rows: Any) -> None:
    s.role[rows] = TRAIN
    s.columns["random"][rows] = False


def moved(s: State) -> None:
    """Another annotator: what is open is handed to it; it keeps its own books, and has nothing to settle so far."""
    f = s.facts
    f.cursor, f.settled, f.handovers = "", len(f.answer_files), f.handovers + 1
    for request in f.open.values():
        f.batches[request.batch].submitted = False


def submitted(s: State, e: ev.BatchSubmitted, store: Store) -> None:
    s.facts.batches[e.batch].submitted = True


def collected(s: State, e: ev.AnswersCollected, store: Store) -> None:
    f = s.facts
    f.cursor, f.collections = e.cursor, e.number
    if e.answers is not None:
        f.answer_files.append(e.answers)
        t = store.read(e.answers, ["request", "outcome", "price", "fee"])
        fees = t.get("fee", np.zeros(len(t["price"]), np.int64))  # older runs have none
        for rid, outcome, price, fee in zip(t["request"], t["outcome"], t["price"], fees, strict=True):
            f.bill.human += int(price)
            f.bill.fees += int(fee)
            round_of(s, e).cost += int(price) + int(fee)
            f.annotations += outcome != "declined"
            if rid in f.open:
                f.open[rid].got += outcome != "declined"
                f.open[rid].reserved -= int(price) + int(fee)
                f.bill.reserved -= int(price) + int(fee)
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
    if request.aside:  # its item has its label already, and is billed for that
        closed = f.tested if request.aside == "gold" else f.judged
        if request.got:
            closed[rid] = request.row
    elif request.got:
        fee = s.rates.item_fee
        f.bill.fees += fee
        round_of(s, e).cost += fee
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


def consolidated(s: State, e: ev.LabelsConsolidated, store: Store) -> None:
    f = s.facts
    t = store.read(e.labels, ["row", "request", "labelled", "objects"])
    rows = np.asarray(t["row"], np.int32)
    labelled = np.asarray(t["labelled"], bool)
    s.status[rows] = np.where(labelled, HUMAN, UNLABELABLE)
    s.columns["objects"][rows] = np.asarray(t["objects"])
    for rid in t["request"]:
        f.ripe.pop(rid, None)
    f.tested.clear()  # their answers have taught what is known of the workers
    f.human_files.append(e.labels)
    f.consolidations = e.number
    f.skills = e.skills or f.skills
    for i in np.unique(s.columns["iteration"][rows]):
        of = rows[labelled & (s.columns["iteration"][rows] == i)]
        r = f.rounds.setdefault(int(i), Facts.Round())
        r.human += len(of)
        r.objects_human += int(s.columns["objects"][of].sum())


def concluded(s: State, e: ev.ReviewConcluded, store: Store) -> None:
    f = s.facts
    f.conclusions = e.number
    f.human_files.append(e.labels)
    t = store.read(e.labels, ["row", "request", "mode", "verdict", "distance", "seconds", "objects"])
    names = ("row", "request", "mode", "verdict", "distance", "seconds", "objects")
    for row, rid, mode, verdict, distance, seconds, objects in zip(*(t[n] for n in names), strict=True):
        f.judged.pop(rid, None)
        total = f.reviewed.setdefault(mode, Facts.Reviewed())
        total.requests += 1
        total.seconds += float(seconds)
        total.distance += 0.0 if np.isnan(distance) else float(distance)
        setattr(total, verdict, getattr(total, verdict) + 1)
        if verdict == "changed":
            s.status[row], s.columns["objects"][row] = HUMAN, objects
            s.role[row] = s.role[row] or TRAIN
        elif verdict == "wrong":
            s.status[row] = RELABEL
            s.columns["attempts_before"][row] = s.columns["attempts"][row]


def assessed(s: State, e: ev.PeopleAssessed, store: Store) -> None:
    f = s.facts
    f.assessments, f.assessed = e.number, e.upto
    t = store.read(e.people, ["worker", "answers", "gold", "quality"])
    for worker, answers, gold, quality in zip(t["worker"], t["answers"], t["gold"], t["quality"], strict=True):
        person = f.people.setdefault(worker, Facts.Person())
        person.answers += int(answers)
        person.gold += int(gold)
        person.quality += float(quality)
    for worker, why in e.out.items():
        f.people.setdefault(worker, Facts.Person()).out = why


def settled(s: State, e: ev.AnswersSettled, store: Store) -> None:
    f = s.facts
    f.settlements, f.settled = e.number, e.upto
    t = store.read(e.verdicts, ["answer", "verdict", "price", "fee"])
    for answer, verdict, price, fee in zip(t["answer"], t["verdict"], t["price"], t["fee"], strict=True):
        if verdict == "reject":
            f.rejected.add(answer)
            f.bill.human -= int(price)
            f.bill.fees -= int(fee)
            round_of(s, e).cost -= int(price) + int(fee)
