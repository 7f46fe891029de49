"""The human half of an iteration: hand out requests, take answers in exactly once, make labels of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from gtloop.errors import BadAnswer, PluginFault, blame
from gtloop.events import AnswersCollected, AnyEvent, FileRef, LabelsConsolidated
from gtloop.interfaces import Consolidated, Hint, Task
from gtloop.job import Job
from gtloop.predictions import raws
from gtloop.records import Answer, Closed, Request
from gtloop.state import TRAIN
from gtloop.store import Store

WAIT_S = 2.0
"""How long one ``collect`` may take."""


def requests_of(job: Job, batch: int) -> list[Request]:
    """The requests of a committed batch, rebuilt from its file."""
    t = job.store.read(job.state.facts.batches[batch].requests, ["request", "row", "answers", "max_price"])
    columns = (t["request"], t["row"], t["answers"], t["max_price"])
    return [
        Request(id=rid, item=job.items[int(row)], answers=int(n), max_price=int(price))
        for rid, row, n, price in zip(*columns, strict=True)
    ]


def collect(job: Job) -> list[AnyEvent]:
    """Take in what the annotator has; each answer once, however often it is returned."""
    facts, cursor = job.state.facts, job.state.facts.cursor
    while True:
        with blame("annotator", job.plugins.annotator.name, "collect"):
            brought, ended, after = job.plugins.annotator.collect(cursor, WAIT_S)
        answers = _new(job, brought)
        closed = [c for c in ended if c.request in facts.open]
        moved, cursor = after != cursor, after
        if answers or closed:
            break
        if not moved or not (brought or ended):  # else it repeats what is known: go on behind that
            return []
    number = facts.collections + 1
    return [
        AnswersCollected(
            iteration=len(facts.batches),
            number=number,
            answers=_write_answers(job, number, answers) if answers else None,
            closed=_write_closed(job, number, closed) if closed else None,
            cursor=cursor,
        )
    ]


def _new(job: Job, answers: Iterable[Answer]) -> list[Answer]:
    """Answers that the ledger has not, in the order given."""
    facts = job.state.facts
    fresh = {a.id: a for a in reversed(list(answers))}
    ours = {a.request for a in fresh.values()}
    files = facts.answer_files
    recent = min((facts.batches[facts.open[r].batch].answers_from for r in ours if r in facts.open), default=len(files))
    if ours - facts.open.keys():  # an answer to a closed request: look through them all
        recent = 0
    for ref in files[recent:]:
        for known in job.store.read(ref, ["id"])["id"]:
            fresh.pop(known, None)
    return sorted((a for a in fresh.values() if _asked(job, a)), key=lambda a: (a.request, a.worker, a.id))


def _asked(job: Job, answer: Answer) -> bool:
    """Whether this run ever asked for it; a closed request may still bring a late answer."""
    facts = job.state.facts
    if answer.request in facts.open:
        return True
    return any(
        answer.request in set(job.store.read(b.requests, ["request"])["request"]) for b in facts.batches.values()
    )


def _write_answers(job: Job, number: int, answers: list[Answer]) -> FileRef:
    columns: dict[str, Any] = {
        n: [getattr(a, n) for a in answers] for n in ("id", "request", "worker", "outcome", "active_seconds", "at")
    }
    columns["price"] = np.array([a.price for a in answers], np.int64)
    columns["payload_json"] = [a.payload for a in answers]
    return job.store.write(f"answers/answers-{number:05d}.parquet", columns)


def _write_closed(job: Job, number: int, closed: list[Closed]) -> FileRef:
    columns = {n: [getattr(c, n) for c in closed] for n in ("request", "delivered", "reason")}
    return job.store.write(f"answers/closed-{number:05d}.parquet", columns)


def read_answers(store: Store, refs: Iterable[FileRef], requests: set[str] | None = None) -> dict[str, list[Answer]]:
    """Answers by request."""
    found: dict[str, list[Answer]] = {}
    for ref in refs:
        t = store.read(ref)
        names = ("id", "request", "worker", "outcome", "active_seconds", "at", "price", "payload_json")
        for values in zip(*(t[n] for n in names), strict=True):
            fields = dict(zip(names, values, strict=True))
            if requests is None or fields["request"] in requests:
                fields["payload"] = fields.pop("payload_json")
                fields["price"], fields["active_seconds"] = int(fields["price"]), float(fields["active_seconds"])
                found.setdefault(fields["request"], []).append(Answer.model_validate(fields))
    return found


def consolidate(job: Job) -> LabelsConsolidated:
    """One label of the answers to each closed request; the task owns how."""
    facts, task = job.state.facts, job.plugins.task
    ripe = sorted(facts.ripe.items(), key=lambda r: r[1])
    answers = read_answers(job.store, facts.answer_files, {rid for rid, _ in ripe})
    if facts.renamed:  # given under the names of then
        answers = {rid: [_renamed(job, a) for a in given] for rid, given in answers.items()}
    usable = {
        rid: [a for a in answers.get(rid, []) if a.outcome != "declined" and _fits(job, row, a)] for rid, row in ripe
    }
    hints = _hints(job, [row for _, row in ripe])
    with blame("task", task.name, "consolidate"):
        skills = task.skills([usable[rid] for rid, _ in ripe], _skills(job), hints)
        labels = [_label(task, usable[rid], skills, hint) for (rid, _), hint in zip(ripe, hints, strict=True)]
    number = facts.consolidations + 1
    ref = job.store.write(
        f"labels/human-{number:05d}.parquet",
        {
            "row": np.array([row for _, row in ripe], np.int32),
            "request": [rid for rid, _ in ripe],
            "payload_json": [None if c is None else c.payload for c in labels],
            "labelled": np.array([c is not None and c.payload is not None for c in labels]),
            "objects": np.array([0 if not c or c.payload is None else task.count(c.payload) for c in labels], np.int16),
            "confidence": np.array([0.0 if c is None else c.confidence for c in labels]),
            "agreement": np.array([0.0 if c is None else c.agreement for c in labels]),
            "workers": np.array([len(usable[rid]) for rid, _ in ripe], np.int16),
            "consolidation": [task.consolidation] * len(ripe),
            "iteration": job.state.columns["iteration"][[row for _, row in ripe]].astype(np.int32),
        },
    )
    kept = None
    if skills:
        kept = job.store.write(f"labels/skills-{number:05d}.parquet", {"skills_json": [skills]})
    return LabelsConsolidated(iteration=len(facts.batches), number=number, labels=ref, skills=kept)


def _label(task: Task, answers: list[Answer], skills: dict[str, Any], hint: Hint) -> Consolidated | None:
    if not answers:
        return None
    return task.consolidate(answers, skills) if hint.raw is None else task.assist(answers, skills, hint.raw)


def _hints(job: Job, rows: list[int]) -> list[Hint]:
    """What the model of now, which never saw their labels, predicts of training items; nothing of the others."""
    model = job.state.facts.model
    if model is None or model.predicted is None:
        return [Hint()] * len(rows)
    training = np.array([r for r in rows if job.state.role[r] == TRAIN], np.int32)
    found = dict(raws(job, model.predicted, training))
    return [Hint(raw=found.get(row)) for row in rows]


def _renamed(job: Job, answer: Answer) -> Answer:
    if answer.payload is None:
        return answer
    payload = job.plugins.task.recategorize(answer.payload, job.state.facts.renamed)
    return answer.model_copy(update={"payload": payload})


def _fits(job: Job, row: int, answer: Answer) -> bool:
    """Whether an answer fits the form; one that does not is kept, but takes no part in a label."""
    if answer.outcome != "label":
        return True
    if answer.payload is None:
        return False
    try:
        job.plugins.task.parse(answer.payload, job.items[row])
    except BadAnswer as e:
        job.progress("refused answer", 0, None, f"{answer.worker}: {e}")
        return False
    return True


def _skills(job: Job) -> dict[str, Any]:
    ref = job.state.facts.skills
    if ref is None:
        return {}
    found = job.store.read(ref)["skills_json"][0]
    if not isinstance(found, dict):
        raise PluginFault(f"the skills of task {job.plugins.task.name!r} are no JSON object: {json.dumps(found)[:80]}")
    return found
