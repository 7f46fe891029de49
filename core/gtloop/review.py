"""Review: people look at labels that there are, shown to them (verify, adjust) or blind, so that anchoring is measured.

A label stays until somebody says otherwise: ``verify`` keeps it or has the item labelled anew, ``adjust`` replaces it.
A blind share of a review is drawn from nothing instead; how far those answers are from the label, against how far
corrections of it are, tells what seeing the label does to people (model-assist bias). Validation items stay blind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gtloop.corrections import asked_in
from gtloop.errors import blame
from gtloop.events import AnyEvent, BudgetReached, FileRef, ReviewConcluded
from gtloop.interfaces import Consolidated, Hint, Rows
from gtloop.job import Job, labels_of
from gtloop.keyed import rng
from gtloop.people import answered_by, every_request, known_skills, label_of, read_answers, usable_answers
from gtloop.picking import Wanted, commit_requests
from gtloop.records import Answer, Mode, Payload
from gtloop.state import HUMAN, MACHINE, POOL, VALIDATION, State
from gtloop.store import Store


def write_wish(store: Store, state: State, seed: int, letter: int, rows: Rows, mode: Mode, blind: float) -> FileRef:
    """Rows with the mode in which each is shown: ``draw`` for the blind share and for whatever validates."""
    chance = rng(seed, "blind", letter).random(len(rows))
    random = (
        state.columns["random"] & (state.stage_looks == 0) & (state.count(POOL) > 0)
    )  # may validate by cross-fitting
    hidden = (chance < blind) | (state.role[rows] == VALIDATION) | random[rows]
    modes = ["draw" if hide else mode for hide in hidden]
    return store.write(f"review/letter-{letter:05d}.parquet", {"row": rows, "mode": modes})


def pick_review(job: Job) -> list[AnyEvent]:
    """Commit the requests of the next wish for a review, as far as the budget goes."""
    s, wish = job.state, job.state.facts.reviews[0]
    t = job.store.read(wish.rows, ["row", "mode"])
    shown = _shown(job, np.asarray(t["row"], np.int32))
    pairs = [(int(row), mode) for row, mode in zip(t["row"], t["mode"], strict=True) if int(row) in shown]
    quote, left = job.plugins.quote(wish.answers), s.facts.bill.left(job.budget)
    price = s.rates.quoted(quote).request(wish.answers)
    reason = "somebody wants their labels looked at"
    if left is not None and price and len(pairs) * price > left:
        reason += f"; the budget pays {left // price} of {len(pairs)}"
        pairs = pairs[: left // price]
        if not pairs:
            return [BudgetReached(iteration=s.iteration, needed=price, left=left)]
    rows = np.array([row for row, _ in pairs], np.int32)
    wanted = Wanted(
        rows,
        ["review"] * len(rows),
        [len(s.facts.batches) + 1] * len(rows),
        wish.answers,
        price,
        modes=[mode for _, mode in pairs],
        proposals=[None if mode == "draw" else shown[row] for row, mode in pairs],
        excluded=_makers(job, rows) if wish.others else None,
    )
    return [commit_requests(job, "review", wanted, reason)]


def _shown(job: Job, rows: Rows) -> dict[int, Payload]:
    """Row to the label of now, in the categories of now, of those rows that still have one."""
    s, found = job.state, dict[int, Payload]()
    for status, files in ((HUMAN, s.facts.human_files), (MACHINE, s.facts.machine_files)):
        found |= labels_of(job.store, s, job.plugins.task, files, rows[s.status[rows] == status])
    return found


def _makers(job: Job, rows: Rows) -> list[tuple[str, ...]]:
    """Of each row, the workers who have answered it before."""
    wanted = set(rows.tolist())
    return answered_by(job, rows, {rid: row for rid, row, _ in every_request(job) if row in wanted})


# --------------------------------------------------------------------------------------- conclusion


class Judged(NamedTuple):
    """What a review says of one label; ``made`` is the label that takes its place, where one does."""

    verdict: str
    distance: float
    made: Consolidated | None


def conclude(job: Job) -> list[AnyEvent]:
    """A verdict for each closed request of a review, and the labels that take the place of others."""
    f, task = job.state.facts, job.plugins.task
    ripe = sorted(f.judged.items(), key=lambda r: r[1])
    asked = asked_in(job, {rid for rid, _ in ripe})
    said = read_answers(job.store, f.answer_files, {rid for rid, _ in ripe})
    now = _shown(job, np.array([row for _, row in ripe], np.int32))
    judged: list[Judged] = []
    usable: list[list[Answer]] = []
    for rid, row in ripe:
        usable.append(usable_answers(job, row, said.get(rid, [])))
        shown = asked[rid].label(task, f.renamed)
        before = now.get(row) if shown is None or shown == now.get(row) else None  # not if it was replaced meanwhile
        judged.append(_judge(job, row, asked[rid].mode, usable[-1], before))
    return [
        ReviewConcluded(
            iteration=job.state.iteration,
            number=f.conclusions + 1,
            labels=_write(job, ripe, [asked[rid].mode for rid, _ in ripe], usable, judged),
        )
    ]


def _judge(job: Job, row: int, mode: Mode, answers: Sequence[Answer], before: Payload | None) -> Judged:
    task = job.plugins.task
    if before is None:  # the label that they looked at was withdrawn, or replaced, meanwhile
        return Judged("unsure", float("nan"), None)
    if mode == "verify":
        wrong, right = (sum(a.outcome == o for a in answers) for o in ("wrong", "label"))
        return Judged("wrong" if wrong > right else "kept" if right > wrong else "unsure", float("nan"), None)
    usable = [a for a in answers if a.outcome != "wrong"]
    with blame("task", task.name, "consolidate"):
        made = label_of(task, job.items[row], usable, known_skills(job), Hint())
        if made is None or made.payload is None:
            return Judged("unsure", float("nan"), None)
        distance = task.error(made.payload, before)
    machine = job.state.status[row] == MACHINE
    if distance == 0 or (mode == "draw" and not machine):  # drawn blind: measures what people said, changes it not
        return Judged("kept", distance, None)
    return Judged("changed", distance, made)


def _write(
    job: Job,
    ripe: Sequence[tuple[str, int]],
    modes: Sequence[Mode],
    usable: Sequence[Sequence[Answer]],
    judged: Sequence[Judged],
) -> FileRef:
    """A file that also serves as one of human labels: rows without a payload have none there."""
    task, n = job.plugins.task, len(ripe)
    made = [j.made for j in judged]
    payloads = [None if m is None else m.payload for m in made]
    columns: dict[str, Any] = {
        "row": np.array([row for _, row in ripe], np.int32),
        "request": [rid for rid, _ in ripe],
        "mode": list(modes),
        "verdict": [j.verdict for j in judged],
        "distance": np.array([j.distance for j in judged]),
        "seconds": np.array([sum(a.active_seconds for a in answers) for answers in usable]),
        "payload_json": payloads,
        "labelled": np.array([p is not None for p in payloads]),
        "objects": np.array([0 if p is None else task.count(p) for p in payloads], np.int16),
        "confidence": np.array([0.0 if m is None else m.confidence for m in made]),
        "agreement": np.array([0.0 if m is None else m.agreement for m in made]),
        "workers": np.array([len(answers) for answers in usable], np.int16),
        "consolidation": [task.consolidation] * n,
        "iteration": np.full(n, job.state.iteration, np.int32),
        "source": ["adjusted" if mode == "adjust" else "human" for mode in modes],
    }
    return job.store.write(f"review/concluded-{job.state.facts.conclusions + 1:05d}.parquet", columns)
