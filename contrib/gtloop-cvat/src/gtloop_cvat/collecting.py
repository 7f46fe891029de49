"""Jobs that are completed become answers, each once; what is over is told."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Literal, cast

from gtloop import keyed
from gtloop.records import Answer, Closed, Request

from gtloop_cvat.books import Books, Job
from gtloop_cvat.convert import Converter, Said
from gtloop_cvat.server import Server

log = logging.getLogger("gtloop.cvat")
Reason = Literal["complete", "expired", "cancelled"]


class Collecting:
    """Brings the books up to date."""

    def __init__(self, server: Server, books: Books, converter: Converter) -> None:
        self._server, self._books, self._converter = server, books, converter

    def look(self) -> None:
        """Take in every job that is completed; one whose task somebody has deleted is made again."""
        for job in self._books.jobs("state = 'posted'"):
            assert job.task is not None
            found = self._server.job_of(job.task)
            if found is None:
                log.warning("task %s is gone from CVAT; its images are asked for again", job.task)
                self._books.do("UPDATE job SET state = 'gone' WHERE number = ?", job.number)
            elif str(found.state) == "completed":
                self._take(job, found)

    def close(self) -> None:
        """Tell what is over."""
        self._books.expire()
        for request, wanted, ended, told, _ in self._books.open_requests():
            if told >= wanted or ended:
                reason = "complete" if told >= wanted else cast(Reason, ended)
                self._books.close(Closed(request=request, delivered=told, reason=reason))

    def _take(self, job: Job, found: Any) -> None:
        """The answers of a completed job; from people who may not answer, they are asked of others."""
        assert job.task is not None
        names = {number: name for name, number in self._server.label_ids(job.task).items()}
        frames = self._server.frames(job.task)
        data = self._server.annotations(int(found.id))
        worker = self._worker(found)
        answers = []
        for frame, name in enumerate(job.requests):
            request = self._books.request(name)
            size = (int(frames[frame].width), int(frames[frame].height))
            said = self._read(frame, data, names, size, request)
            if worker not in request.exclude_workers:
                answers.append(self._answer(job, request, worker, said, found))
        with self._books.writing() as db:
            for a in answers:
                open_ = self._books.one("SELECT 1 FROM request WHERE id = ? AND closed = 0 AND ended = ''", a.request)
                if open_ is None:
                    continue
                query = "INSERT INTO answer VALUES (?, ?) ON CONFLICT DO NOTHING"
                if db.execute(query, (a.request, a.worker)).rowcount:
                    self._books.tell(a)
            self._books.do("UPDATE job SET state = 'done' WHERE number = ?", job.number)

    def _read(self, frame: int, data: Any, names: dict[int, str], size: tuple[int, int], request: Request) -> Said:
        """What people drew; what can't be read is an answer that fits no task, so that core counts it."""
        try:
            return self._converter.read(frame, data, names, size, request)
        except (ValueError, TypeError, IndexError) as e:
            return Said("label", {"unreadable": " ".join(str(e).split())[:200]})

    def _worker(self, found: Any) -> str:
        """Who did a job: its assignee; a job of nobody's is somebody of its own."""
        assignee = getattr(found, "assignee", None)
        return self._books.worker(str(assignee.username) if assignee else f"job {found.id}")

    def _answer(self, job: Job, request: Request, worker: str, said: Said, found: Any) -> Answer:
        at = getattr(found, "updated_date", None) or datetime.now(UTC)
        return Answer(
            id=keyed.digest("cvat", self._books.namespace, job.number, request.id),
            request=request.id,
            worker=worker,
            outcome=said.outcome,
            payload=said.payload,
            at=at.astimezone(UTC).isoformat(timespec="milliseconds"),
        )
