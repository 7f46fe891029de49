"""What people do to the state: requests, answers, labels, and what is known of who gave them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from gtloop import events as ev
from gtloop import fold_money as money
from gtloop.facts import Facts
from gtloop.fold_money import round_of
from gtloop.records import known_seconds
from gtloop.state import ASKED, HUMAN, MACHINE, NONE, POOL, RELABEL, TRAIN, UNLABELABLE, VALIDATION, State
from gtloop.store import Store

MAX_ATTEMPTS = 3
"""How often an item is asked before it counts as unlabelable."""


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
    s.columns["random"][rows[~np.asarray(t.get("fixed", np.ones(len(every), np.bool_)))[own]]] = False
    s.columns["iteration"][rows] = e.iteration
    s.columns["attempts"][rows] += 1
    np.add.at(s.columns["tests"], every[[a == "gold" for a in aside]], 1)
    n = len(every)
    policy = (t["answers"], t.get("most", np.zeros(n, np.int16)), t.get("fixed", np.ones(n, np.bool_)))
    for rid, row, want, most, fixed, price, what in zip(
        t["request"], every, *policy, t["max_price"], aside, strict=True
    ):
        f.open[rid] = Facts.Open(
            row=int(row),
            batch=e.batch,
            want=int(want),
            most=int(most),
            fixed=bool(fixed),
            reserved=int(price),
            aside=what,
        )
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
    if e.phase == "audit":
        s.columns["audited"][every[[a == "audit" for a in aside]]] = True
        del f.audits_asked[:1]
    if e.moved is not None:
        to_training(s, store.read(e.moved, ["row"])["row"])
    round_of(s, e)


_ASIDE: dict[str, Literal["gold", "review", "audit"]] = {"gold": "gold", "review": "review", "audit": "audit"}


def to_training(s: State, rows: Any) -> None:
    s.role[rows] = TRAIN
    s.columns["random"][rows] = False


def moved(s: State) -> None:
    """Another annotator: what is open is handed to it; it keeps its own books, and has nothing to settle so far."""
    f = s.facts
    f.cursor, f.settled, f.handovers = "", len(f.answer_files), f.handovers + 1
    for request in f.open.values():
        f.batches[request.batch].submitted = False
        request.before = request.got


def submitted(s: State, e: ev.BatchSubmitted, store: Store) -> None:
    batch = s.facts.batches[e.batch]
    batch.submitted, batch.grown = True, False


def extended(s: State, e: ev.AnswersExtended, store: Store) -> None:
    f = s.facts
    f.extensions = e.number
    t = store.read(e.requests, ["request", "answers", "closed"])
    for rid, answers, closed in zip(t["request"], t["answers"], t["closed"], strict=True):
        if closed:
            _close(s, rid)
        else:
            request = f.open[rid]
            request.want, request.full = int(answers), False
            f.batches[request.batch].grown = True


def collected(s: State, e: ev.AnswersCollected, store: Store) -> None:
    f = s.facts
    f.cursor, f.collections = e.cursor, e.number
    if e.answers is not None:
        f.answer_files.append(e.answers)
        t = store.read(e.answers, ["request", "outcome", "price", "fee", "over", "active_seconds"])
        money.answered(s, e, t, store)
        for rid, outcome in zip(t["request"], t["outcome"], strict=True):
            f.annotations += outcome != "declined"
            if rid in f.open:
                f.open[rid].got += outcome != "declined"
    if e.closed is not None:
        t = store.read(e.closed, ["request", "reason"])
        for rid, reason in zip(t["request"], t["reason"], strict=True):
            if reason == "complete" and rid in f.open and f.open[rid].want < f.open[rid].most:
                f.open[rid].full = True  # maybe it is to have more
            else:
                _close(s, rid)


def _close(s: State, rid: str) -> None:
    """Release what is left of a reservation; a request that brought nothing is asked again."""
    f = s.facts
    request = f.open.pop(rid, None)
    if request is None:
        return
    f.bill.reserved -= request.reserved
    tally = f.asked.setdefault("fixed" if request.fixed else "adaptive", Facts.Tally())
    if request.got and not request.aside:
        tally.requests, tally.answers = tally.requests + 1, tally.answers + request.got
        if not f.cancelled:
            tally.due, tally.came = tally.due + request.whole, tally.came + min(request.got, request.whole)
    if request.aside == "audit":
        if request.got:
            money.labelled(s, request)
        if request.got or not f.cancelled:
            f.checked[rid] = request.row
    elif request.aside:  # its item has its label already, and is billed for that
        closed = f.tested if request.aside == "gold" else f.judged
        if request.got:
            closed[rid] = request.row
    elif request.got:
        money.labelled(s, request)
        f.ripe[rid] = request.row
    elif f.cancelled:
        _back(s, request.row)
    elif _attempts(s, request.row) < MAX_ATTEMPTS and f.batches[request.batch].phase == "relabel":
        s.status[request.row] = RELABEL
    elif _attempts(s, request.row) < MAX_ATTEMPTS and s.role[request.row] != VALIDATION:
        _back(s, request.row)
    else:
        s.status[request.row] = UNLABELABLE
        tally.due += request.whole


def _back(s: State, row: int) -> None:
    s.status[row], s.role[row], s.columns["random"][row] = POOL, NONE, False


def _attempts(s: State, row: int) -> int:
    return int(s.columns["attempts"][row] - s.columns["attempts_before"][row])


def consolidated(s: State, e: ev.LabelsConsolidated, store: Store) -> None:
    f = s.facts
    t = store.read(e.labels)
    rows = np.asarray(t["row"], np.int32)
    labelled = np.asarray(t["labelled"], bool)
    s.status[rows] = np.where(labelled, HUMAN, UNLABELABLE)
    s.columns["objects"][rows] = np.asarray(t["objects"])
    for rid in t["request"]:
        f.ripe.pop(rid, None)
    if "verdict" in t:
        _judged(s, t)
    f.tested.clear()  # their answers have taught what is known of the workers
    f.human_files.append(e.labels)
    f.consolidations = e.number
    f.skills = e.skills or f.skills


def _judged(s: State, t: dict[str, Any]) -> None:
    """What became of labels of the model that people were shown; what they find wrong, they draw anew."""
    names = ("row", "mode", "verdict", "distance", "answers", "seconds")
    for row, mode, verdict, distance, answers, seconds in zip(*(t[n] for n in names), strict=True):
        if mode:
            total = s.facts.proposed.setdefault(mode, Facts.Reviewed(shown=mode != "draw"))
            total.requests += 1
            total.answers += int(answers)
            total.seconds += float(seconds)
            total.distance += 0.0 if np.isnan(distance) else float(distance)
            setattr(total, verdict, getattr(total, verdict) + 1)
        if verdict == "wrong":
            s.status[row] = RELABEL
            s.columns["attempts_before"][row] = s.columns["attempts"][row]


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
            s.columns["random"][row] &= s.status[row] != MACHINE
            s.status[row], s.columns["objects"][row] = HUMAN, objects
            s.role[row] = s.role[row] or TRAIN
            s.columns["attempts"][row] = max(1, s.columns["attempts"][row])  # nobody imported it
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
    t = store.read(e.verdicts, ["answer", "verdict", "price", "fee", "over"])
    overs = t.get("over", np.zeros(len(t["price"]), np.int64))  # older runs have none
    unpaid = {answer for answer, verdict in zip(t["answer"], t["verdict"], strict=True) if verdict == "reject"}
    asked: dict[str, str] = {}
    timed: set[str] = set()
    for ref in f.answer_files[f.settled : e.upto] if unpaid else ():
        given = store.read(ref, ["id", "request", "outcome", "active_seconds"])
        asked |= {a: rid for a, rid in zip(given["id"], given["request"], strict=True) if a in unpaid}
        times = zip(given["id"], given["outcome"], given.get("active_seconds", np.zeros(len(given["id"]))), strict=True)
        timed |= {a for a, outcome, seconds in times if outcome != "declined" and known_seconds(float(seconds))}
    rounds = money.rounds_of(s, asked.values(), store)
    for answer, price, fee, over in zip(t["answer"], t["price"], t["fee"], overs, strict=True):
        if answer in unpaid:
            f.rejected.add(answer)
            money.rejected(s, rounds[asked[answer]], answer in timed, int(price), int(fee), int(over))
    f.settlements, f.settled = e.number, e.upto


def consistent(s: State, e: ev.ConsistencyMeasured, store: Store) -> None:
    s.facts.consistent_in, s.facts.consistency = e.stage, e
