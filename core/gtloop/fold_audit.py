"""What an audit does to the state: people's labels take the place of the machine's, a region may lose all of them."""

from __future__ import annotations

import numpy as np

from gtloop import events as ev
from gtloop.fold_letters import answered
from gtloop.fold_money import reopened
from gtloop.state import HUMAN, MACHINE, RELABEL, TRAIN, State
from gtloop.store import Store


def asked(s: State, e: ev.AuditAsked, store: Store) -> None:
    s.facts.audits_asked.append(e.n)
    reopened(s, e)
    answered(s, e.letter)


def concluded(s: State, e: ev.AuditConcluded, store: Store) -> None:
    f = s.facts
    f.audits, f.audited = e.number, e.regions
    f.audit_files.append(e.labels)
    f.human_files.append(e.labels)
    names = ("row", "request", "outcome", "objects", "iteration")
    t = store.read(e.labels, names)
    for row, rid, outcome, objects, iteration in zip(*(t[n] for n in names), strict=True):
        f.checked.pop(rid, None)
        if outcome == "replaced":
            s.status[row], s.role[row] = HUMAN, TRAIN
            s.columns["attempts"][row] += 1
            s.columns["random"][row] = False
            s.columns["iteration"][row], s.columns["objects"][row] = iteration, objects
        elif outcome == "requeued":
            requeue(s, np.array([row], np.int32))


def demoted(s: State, e: ev.RegionDemoted, store: Store) -> None:
    s.facts.demoted[f"{e.look}:{e.slice}"] = e.why
    rows = np.asarray(store.read(e.rows, ["row"])["row"], np.int32)
    requeue(s, rows[s.status[rows] == MACHINE])


def requeue(s: State, rows: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
    """Give items to people who had a machine label."""
    s.status[rows] = RELABEL
    s.columns["attempts_before"][rows] = s.columns["attempts"][rows]
