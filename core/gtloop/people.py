"""The human half of an iteration: take answers in exactly once, make labels of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from gtloop.corrections import Asked, asked_in, outcome_columns
from gtloop.errors import BadAnswer, PluginFault, blame
from gtloop.events import AnswersCollected, AnyEvent, FileRef, LabelsConsolidated
from gtloop.interfaces import Consolidated, Hint, Rows, Task
from gtloop.job import Job, labels_of
from gtloop.predictions import hints_of
from gtloop.records import Answer, Closed, Item, Payload, known_seconds
from gtloop.spending import costs
from gtloop.store import Store

WAIT_S = 2.0
"""How long one ``collect`` may take."""


def every_request(job: Job) -> Iterator[tuple[str, int, str]]:
    """Request, row and purpose of all that was ever asked."""
    for batch in job.state.facts.batches.values():
        t = job.store.read(batch.requests, ["request", "row", "purpose"])
        for rid, row, purpose in zip(t["request"], t["row"], t["purpose"], strict=True):
            yield rid, int(row), purpose


def answered_by(job: Job, rows: Rows, requests: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Of each of ``rows``, the workers who have answered one of ``requests`` (to their rows)."""
    found: dict[int, set[str]] = {}
    for rid, answers in read_answers(job.store, job.state.facts.answer_files, set(requests)).items():
        found.setdefault(requests[rid], set()).update(a.worker for a in answers)
    return [tuple(sorted(found.get(row, ()))) for row in rows.tolist()]


def collect(job: Job, limit_s: float = WAIT_S) -> list[AnyEvent]:
    """Take in what the annotator has; each answer once, however often it is returned."""
    facts, cursor = job.state.facts, job.state.facts.cursor
    while True:
        with blame("annotator", job.plugins.annotator.name, "collect"):
            brought, ended, after = job.plugins.annotator.collect(cursor, limit_s)
        answers = _new(job, brought)
        closed = [
            c for c in ended if c.request in facts.open and not facts.open[c.request].outlives(c.delivered, c.reason)
        ]
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


def collect_last(job: Job) -> list[AnyEvent]:
    """As ``collect``, before the process ends: what is under way at the annotator comes to its end first."""
    with blame("annotator", job.plugins.annotator.name, "rest"):
        job.plugins.annotator.rest()
    return collect(job, 0.0)


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
    asked = sorted((a for a in fresh.values() if _asked(job, a)), key=lambda a: (a.request, a.worker, a.id))
    return [_timed(job, a) for a in asked]


def _timed(job: Job, answer: Answer) -> Answer:
    """An answer whose time can be added up: one that is no time is taken as not known, the answer as it is."""
    seconds = known_seconds(answer.active_seconds)
    if seconds == answer.active_seconds:
        return answer
    job.progress("time not known", 0, None, f"{answer.worker}: annotator says {answer.active_seconds} s")
    return answer.model_copy(update={"active_seconds": seconds})


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
    paid = costs(job, answers, _counter(job, answers))
    columns |= {name: np.array([getattr(c, name) for c in paid], np.int64) for name in ("price", "fee", "over")}
    columns["payload_json"] = [a.payload for a in answers]
    return job.store.write(f"answers/answers-{number:05d}.parquet", columns)


def _counter(job: Job, answers: list[Answer]) -> Callable[[Answer], int]:
    """Counts the objects in new answers; none in one that does not fit the form."""
    asked, task = {a.request for a in answers}, job.plugins.task
    rows = {rid: row for rid, row, _ in every_request(job) if rid in asked} if job.settings.prices.object_usd else {}

    def count(answer: Answer) -> int:
        given = fitting(task, job.items[rows[answer.request]], [answer], job.state.facts.renamed)
        return sum(task.count(a.payload) for a in given if a.payload is not None)

    return count


def _write_closed(job: Job, number: int, closed: list[Closed]) -> FileRef:
    columns = {n: [getattr(c, n) for c in closed] for n in ("request", "delivered", "reason")}
    return job.store.write(f"answers/closed-{number:05d}.parquet", columns)


def read_answers(store: Store, refs: Iterable[FileRef], requests: set[str] | None = None) -> dict[str, list[Answer]]:
    """Answers by request."""
    found: dict[str, list[Answer]] = {}
    for ref in refs:
        t = store.read(ref)
        t.setdefault("fee", np.zeros(len(t["id"]), np.int64))  # older runs have none
        names = ("id", "request", "worker", "outcome", "active_seconds", "at", "price", "fee", "payload_json")
        for values in zip(*(t[n] for n in names), strict=True):
            fields = dict(zip(names, values, strict=True))
            if requests is None or fields["request"] in requests:
                fields["payload"] = fields.pop("payload_json")
                fields["active_seconds"] = known_seconds(fields["active_seconds"])
                fields["price"], fields["fee"] = int(fields["price"]), int(fields["fee"])
                found.setdefault(fields["request"], []).append(Answer.model_validate(fields))
    return found


def consolidate(job: Job) -> LabelsConsolidated:
    """One label of the answers to each closed request; the task owns how."""
    facts, task = job.state.facts, job.plugins.task
    ripe = sorted(facts.ripe.items(), key=lambda r: r[1])
    tested = sorted(facts.tested.items(), key=lambda r: r[1])
    answers = read_answers(job.store, facts.answer_files, {rid for rid, _ in (*ripe, *tested)})

    def refused(answer: Answer, why: str) -> None:
        job.progress("refused answer", 0, None, f"{answer.worker}: {why}")

    usable = {rid: usable_answers(job, row, answers.get(rid, []), refused) for rid, row in (*ripe, *tested)}
    hints = hints_of(job, [row for _, row in ripe])
    asked = asked_in(job, {rid for rid, _ in ripe})
    taught = [(rid, hint) for (rid, _), hint in zip(ripe, hints, strict=True) if not _saw(asked.get(rid))]
    known = gold_labels(job) if tested else {}
    with blame("task", task.name, "consolidate"):
        skills = task.skills(
            [usable[rid] for rid, _ in (*taught, *tested)],
            known_skills(job),
            [*(hint for _, hint in taught), *(Hint(gold=known.get(row)) for _, row in tested)],
        )
        labels = [
            label_of(task, job.items[row], asked[rid].heeded(usable[rid]), {} if _saw(asked[rid]) else skills, Hint())
            if rid in asked
            else label_of(task, job.items[row], usable[rid], skills, hint)
            for (rid, row), hint in zip(ripe, hints, strict=True)
        ]
        shown = outcome_columns(job, [asked.get(rid) for rid, _ in ripe], [usable[rid] for rid, _ in ripe], labels)
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
            "voted": np.array(
                [h.raw is not None and rid not in asked for (rid, _), h in zip(ripe, hints, strict=True)]
            ),
            **shown,
        },
    )
    kept = None
    if skills:
        kept = job.store.write(f"labels/skills-{number:05d}.parquet", {"skills_json": [skills]})
    return LabelsConsolidated(iteration=len(facts.batches), number=number, labels=ref, skills=kept)


def _saw(asked: Asked | None) -> bool:
    """Whether people saw a label: what they then say tells neither their own habits nor what a model is worth."""
    return asked is not None and asked.mode != "draw"


def gold_labels(job: Job) -> dict[int, Payload]:
    """Row to the label that is known to be right, of the images that test people; categories by their names of now."""
    gold = job.state.facts.gold
    return {} if gold is None else labels_of(job.store, job.state, job.plugins.task, [gold])


def label_of(task: Task, item: Item, answers: list[Answer], skills: dict[str, Any], hint: Hint) -> Consolidated | None:
    """One label of the answers to a request; None where there are none."""
    if not answers:
        return None
    made = task.consolidate(answers, skills) if hint.raw is None else task.assist(answers, skills, hint.raw)
    return made if made.payload is None else made._replace(payload=task.clip(made.payload, item))


def fitting(
    task: Task,
    item: Item,
    answers: Iterable[Answer],
    renamed: Mapping[str, str],
    refused: Callable[[Answer, str], None] = lambda answer, why: None,
) -> list[Answer]:
    """The answers that fit the form, payloads canonical, in the display frame and the categories of now.

    Those that don't stay in the ledger, and take no part in a label.

    Args:
        task: Whose form it is.
        item: What they are about.
        answers: As they were given, under the names of then.
        renamed: Categories of then to those of now.
        refused: Told of each answer that does not fit, and why.
    """
    found = []
    for answer in answers:
        payload = None
        if answer.outcome == "label":
            try:
                payload = _canonical(task, item, answer.payload, renamed)
            except BadAnswer as e:
                refused(answer, str(e))
                continue
        found.append(answer.model_copy(update={"payload": payload}))
    return found


def usable_answers(
    job: Job, row: int, answers: Iterable[Answer], refused: Callable[[Answer, str], None] = lambda answer, why: None
) -> list[Answer]:
    """The answers about an item of which a label can be made: ``fitting``, neither declined nor rejected."""
    f = job.state.facts
    fit = fitting(job.plugins.task, job.items[row], answers, f.renamed, refused)
    return [a for a in fit if a.outcome != "declined" and a.id not in f.rejected]


def _canonical(task: Task, item: Item, payload: Payload | None, renamed: Mapping[str, str]) -> Payload:
    if payload is None:
        raise BadAnswer("a label without a payload")
    if renamed:
        try:
            payload = task.recategorize(payload, renamed)
        except Exception as e:  # nobody has checked that payload yet; parse, which does, knows the names of now only
            raise BadAnswer(f"it can't be read: {e}") from None
    return task.parse(payload, item)


def known_skills(job: Job) -> dict[str, Any]:
    """What is known of the workers so far."""
    ref = job.state.facts.skills
    if ref is None:
        return {}
    found = job.store.read(ref)["skills_json"][0]
    if not isinstance(found, dict):
        raise PluginFault(f"the skills of task {job.plugins.task.name!r} are no JSON object: {json.dumps(found)[:80]}")
    return found
