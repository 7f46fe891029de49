"""The iterations of a job, committed one after the other: what people answered, and what the machine labelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gtloop.errors import BadAnswer
from gtloop.events import (
    AnswersCollected,
    AnswersSettled,
    AnyEvent,
    BatchCommitted,
    BatchSubmitted,
    Looked,
    Phase,
)
from gtloop.importing import write_imported
from gtloop.interfaces import Progress
from gtloop.job import Job
from gtloop.keyed import digest
from gtloop.known import Known
from gtloop.people import consolidate
from gtloop.picking import request_ids
from gtloop.records import Answer
from gtloop.state import ALIAS, HUMAN, POOL
from gtloop_plugins.formats.groundtruth.jobs.answers import Said, answers_in, framed
from gtloop_plugins.formats.groundtruth.jobs.facts import JobFacts
from gtloop_plugins.formats.groundtruth.jobs.folder import JobFolder
from gtloop_plugins.formats.groundtruth.jobs.labels import Labels, Made

PAID = "paid by the service"
UNSHOWN = "the service labelled them, and shows nothing that their quality could be tested with"


def commit(made: Job, event: AnyEvent) -> None:
    """Append an event and fold it in; nobody is told of it, as it tells of what is long past."""
    for entry in made.ledger.append([event]):
        made.state.apply(entry.event, made.store, entry.seq)


class Asked(NamedTuple):
    """An object that people were asked about, with what they said; ``got``: answers, declined ones left aside."""

    row: int
    said: list[Said]

    @property
    def got(self) -> int:
        return sum(s.outcome != "declined" for s in self.said)


class Replay:
    """Commits what a job did to a run that has just started."""

    def __init__(self, made: Job, job: JobFolder, facts: JobFacts, labels: Labels, progress: Progress) -> None:
        self.made, self.job, self.facts, self.labels, self.progress = made, job, facts, labels, progress
        self.workers: set[str] = set()
        self.left_out = Counter(failed=0, answered=0)
        self.called: dict[int, int] = {}
        """What the run calls each iteration of the job."""

    def all(self) -> None:
        """Every iteration, in the order of their numbers; then labels of which the folder tells no more."""
        people, machine = self.job.responses, list(self.labels.automatic())
        answered = {own for objects in people.values() for own in objects}
        for number in sorted(people):
            while machine and machine[0][0] <= number:
                self._look(*machine.pop(0), answered)
            self._batch(number, people[number])
            self.progress("replay iterations", number, max(people))
        for of, found in machine:
            self._look(of, found, answered)
        rest = self._rest()
        self._without_answers({own: m for own, m in rest.items() if m.source != "machine"})
        self._look(None, {own: m for own, m in rest.items() if m.source == "machine"}, set())
        self._settle()

    def _commit(self, event: AnyEvent) -> None:
        commit(self.made, event)

    def agreement(self) -> dict[str, Any]:
        """How near the labels made of the answers here come to those that the service made of them."""
        task, ours = self.made.plugins.task, self.made.human_labels(self.made.state.rows(HUMAN))
        imported = self.made.state.columns["attempts"] == 0
        quality = [
            1 - task.error(ours[row], found.payload)
            for own, row in self.labels.row_of.items()
            if row in ours and not imported[row] and (found := self.labels.final(own)) and found.payload is not None
        ]
        return {"count": len(quality), "mean": float(np.mean(quality)) if quality else None}

    def _rest(self) -> dict[int, Made]:
        """Labels of objects that have none here: neither answers that can be read, nor a line of the machine's own."""
        s, row_of = self.made.state, self.labels.row_of
        found = {own: self.labels.final(own) for own, row in row_of.items() if s.status[row] in (POOL, ALIAS)}
        self.left_out["failed"] += sum(m is not None and bool(m.failed) for m in found.values())
        return {own: m for own, m in found.items() if m is not None and m.payload is not None}

    def _without_answers(self, found: dict[int, Made]) -> None:
        known = {
            self.labels.row_of[own]: Known(m.payload, "human", m.confidence)
            for own, m in found.items()
            if m.payload is not None
        }
        made, source = self.made, self.job.called(self.job.output or self.job.root)
        for row, label in list(known.items()):  # a copy speaks for its original
            known.setdefault(int(made.items.alias_of[row]), label)
        if known := {row: known[row] for row in sorted(known) if row >= 0 and made.state.status[row] == POOL}:
            self._commit(write_imported(made.store, made.plugins.task, known, made.items, source))

    # ------------------------------------------------------------------------------------------- people

    def _batch(self, number: int, objects: dict[int, list[Path]]) -> None:
        """What people were asked in an iteration, what they answered, and the labels that this makes."""
        asked = [a for own, files in sorted(objects.items()) if (a := self._asked(own, files)).said]
        if not asked:
            return
        made, s = self.made, self.made.state
        batch = self.called[number] = s.iteration
        phase = self._phase(batch)
        ids = request_ids(made, np.array([a.row for a in asked]), ["train"] * len(asked), [1] * len(asked))
        self._commit(self._committed(number, batch, phase, asked, ids))
        self._commit(BatchSubmitted(iteration=batch, batch=batch))
        self._commit(self._collected(batch, asked, ids))
        if s.facts.ripe:
            self._commit(consolidate(made))

    def _asked(self, own: int, files: Sequence[Path]) -> Asked:
        """An object with its answers; each worker's last one."""
        row, said = self.labels.row_of[own], dict[str, Said]()
        item, task = self.made.items[row], self.made.plugins.task
        for file in files:
            where = self.job.called(file)
            try:
                for answer in answers_in(file, self.facts.task):
                    if not answer.fault:
                        try:
                            answer = answer._replace(payload=framed(answer, task, item, self.labels.options.frame))
                        except BadAnswer as e:
                            answer = answer._replace(fault=str(e))
                    if answer.fault:
                        self.job.refuse(where, f"{answer.worker or 'a worker'}: {answer.fault}")
                    elif answer.worker not in said or said[answer.worker].at <= answer.at:
                        said[answer.worker] = answer
            except BadAnswer as e:
                self.job.refuse(where, str(e))
        return Asked(row, list(said.values()))

    def _phase(self, batch: int) -> Phase:
        """Automated labelling draws two batches at random that validate, and one that trains; then a model picks."""
        if not self.facts.random:
            return "rest"
        first: tuple[Phase, ...] = ("probe", "validation", "train")
        return first[batch - 1] if batch <= len(first) else "active"

    def _committed(self, number: int, batch: int, phase: Phase, asked: list[Asked], ids: list[str]) -> BatchCommitted:
        made, workers = self.made, self.facts.workers
        answers = np.array([max(workers, a.got) for a in asked], np.int16)
        price = np.array([made.state.rates.request(int(n)) for n in answers], np.int64)
        blind = phase in ("probe", "validation")
        columns: dict[str, Any] = {
            "request": ids,
            "row": np.array([a.row for a in asked], np.int32),
            "purpose": ["validation" if blind and a.got else "train" for a in asked],
            "answers": answers,
            "max_price": price,
        }
        return BatchCommitted(
            iteration=batch,
            batch=batch,
            phase=phase,
            requests=made.store.write(f"requests/batch-{batch:04d}.parquet", columns),
            reserved=int(price.sum()),
            reason=f"iteration {number} of the job",
        )

    def _collected(self, batch: int, asked: list[Asked], ids: list[str]) -> AnswersCollected:
        made, number = self.made, self.made.state.facts.collections + 1
        pay = made.state.prices.answer
        answers = [
            Answer(
                id=digest(rid, s.worker, s.at, length=32),
                request=rid,
                worker=s.worker,
                outcome=s.outcome,
                payload=s.payload,
                active_seconds=s.seconds,
                price=0 if s.outcome == "declined" else pay,
                at=s.at,
            )
            for a, rid in zip(asked, ids, strict=True)
            for s in sorted(a.said)
        ]
        self.workers.update(a.worker for a in answers)
        names = ("id", "request", "worker", "outcome", "active_seconds", "at")
        columns: dict[str, Any] = {n: [getattr(a, n) for a in answers] for n in names}
        for name in ("price", "fee"):
            columns[name] = np.array([getattr(a, name) for a in answers], np.int64)
        columns |= {"over": np.zeros(len(answers), np.int64), "payload_json": [a.payload for a in answers]}
        closed: dict[str, Any] = {
            "request": ids,
            "delivered": [a.got for a in asked],
            "reason": [
                "complete" if a.got >= self.facts.workers else "expired" if a.got else "declined" for a in asked
            ],
        }
        return AnswersCollected(
            iteration=batch,
            number=number,
            answers=made.store.write(f"answers/answers-{number:05d}.parquet", columns),
            closed=made.store.write(f"answers/closed-{number:05d}.parquet", closed),
            cursor="",
        )

    def _settle(self) -> None:
        """No annotator that comes later is to be told about these answers: the service has paid them."""
        s, store = self.made.state, self.made.store
        tables = [store.read(ref, ["id", "price", "outcome"]) for ref in s.facts.answer_files]
        given = [
            (i, int(p))
            for t in tables
            for i, p, o in zip(t["id"], t["price"], t["outcome"], strict=True)
            if o != "declined"
        ]
        if not given:
            return
        n = len(given)
        columns: dict[str, Any] = {
            "answer": [i for i, _ in given],
            "verdict": ["pay"] * n,
            "reason": [PAID] * n,
            "price": np.array([p for _, p in given], np.int64),
            "fee": np.zeros(n, np.int64),
            "over": np.zeros(n, np.int64),
        }
        upto, ref = len(s.facts.answer_files), store.write("people/settled-00001.parquet", columns)
        self._commit(AnswersSettled(iteration=s.iteration, number=1, upto=upto, verdicts=ref))

    # ------------------------------------------------------------------------------------------ machine

    def _look(self, of: int | None, found: dict[int, Made], answered: set[int]) -> None:
        """Labels that the service's model gave; nothing is certified, as its evidence is not in the folder.

        ``of``: the job's iteration, where it is known.
        """
        made, s = self.made, self.made.state
        again = found.keys() & answered
        self.left_out["answered"] += len(again)
        rows = {self.labels.row_of[own]: m for own, m in sorted(found.items()) if own not in again}
        rows = {row: m for row, m in rows.items() if s.status[row] in (POOL, ALIAS) and m.payload is not None}
        if not rows:
            return
        number, iteration, n = s.facts.looks + 1, s.iteration, len(rows)
        if of is not None:
            self.called[of] = iteration
        model = f"ground-truth-{iteration}"
        payloads = [m.payload for m in rows.values()]
        columns: dict[str, Any] = {
            "row": np.array(list(rows), np.int32),
            "payload_json": payloads,
            "objects": np.array([made.plugins.task.count(p) for p in payloads if p is not None], np.int16),
            "confidence": np.array([m.confidence for m in rows.values()]),
            "threshold": np.full(n, np.nan),
            "bound": np.full(n, np.nan),
            "model": [model] * n,
            "iteration": np.full(n, iteration, np.int32),
        }
        ref = made.store.write(f"labels/machine-{number:04d}.parquet", columns)
        self._commit(
            Looked(iteration=iteration, look=number, model=model, delta=0, certificates=(), labels=ref, why=UNSHOWN)
        )
