"""Requests become jobs: one task with one job for every answer of up to ``frames`` requests, made once.

A task is called by the annotator's namespace and the job's number, by which it is found again: one whose creation or
upload broke off is looked for, for as long as the server may still be making it, and deleted and made anew if it has no
images; nobody has seen it then.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from gtloop.images import content
from gtloop.records import Item, Request

from gtloop_cvat.books import Books, Job
from gtloop_cvat.convert import Converter
from gtloop_cvat.options import CvatOptions
from gtloop_cvat.server import Refused, Server

FINISH_S = 10.0
"""How long the server may go on with a call whose answer was lost, or whose process died, before it is repeated."""


class Posting:
    """Plans jobs, makes them at the server, and takes back those that nobody needs any more."""

    def __init__(self, options: CvatOptions, server: Server, books: Books, converter: Converter) -> None:
        self._options, self._server, self._books, self._converter = options, server, books, converter

    def plan(self) -> None:
        """Write down the jobs that are lacking: as many for each request as it lacks answers."""
        lacking = {
            r: wanted - told - asked for r, wanted, ended, told, asked in self._books.open_requests() if not ended
        }
        while waiting := [r for r, n in lacking.items() if n > 0]:
            chunk = self._chunk(waiting)
            with self._books.writing():
                self._books.plan(chunk, self._assignee(chunk))
            for request in chunk:
                lacking[request] -= 1

    def _chunk(self, waiting: list[str]) -> list[str]:
        """The next requests that one person may do: those that keep out the same people."""
        first = self._kept_out(waiting[0])
        return [r for r in waiting if self._kept_out(r) == first][: self._options.frames]

    def _kept_out(self, request: str) -> frozenset[str]:
        return frozenset(self._books.request(request).exclude_workers) | frozenset(self._books.workers(request))

    def _assignee(self, chunk: Iterable[str]) -> str:
        """Who has least to do, of those who may do these; nobody where there is none."""
        free = [
            name
            for name in self._options.assignees
            if not any(self._books.busy(r, name) or self._books.worker(name) in self._kept_out(r) for r in chunk)
        ]
        return min(free, key=self._books.load, default="")

    def post(self) -> None:
        """Make every job that is planned, unless its requests have been withdrawn meanwhile."""
        for job in self._books.jobs("state = 'planned'"):
            if self._books.needed(job):
                self._post(job)

    def withdraw(self) -> None:
        """Delete the tasks that nobody needs any more, also one whose number never came."""
        for job in self._books.needless():
            if job.task is not None:
                self._server.delete_task(job.task)
            elif job.tried:
                for task in self._listed(job):
                    self._server.delete_task(int(task.id))
            self._books.do("UPDATE job SET state = 'gone' WHERE number = ?", job.number)

    def name(self, job: Job) -> str:
        return f"gtloop {self._books.namespace} {job.number}"

    def _post(self, job: Job) -> None:
        requests = [self._books.request(r) for r in job.requests]
        task = self._found(job) if job.tried else None
        if task is None:
            self._books.do("UPDATE job SET tried = 1 WHERE number = ?", job.number)
            task = self._server.create_task(self.name(job), self._converter.labels())
            self._upload(task, requests)
        made = self._server.job_of(task)
        if made is None:
            raise Refused("make a job", 404, f"task {task} has none; delete it, and run again")
        if str(made.state) == "new":  # else somebody is at work on it: this process died after it was made
            self._propose(task, int(made.id), requests)
        if job.assignee:
            self._server.assign(int(made.id), self._server.user_id(job.assignee))
        self._books.do("UPDATE job SET task = ?, state = 'posted' WHERE number = ?", task, job.number)

    def _found(self, job: Job) -> int | None:
        """The task of a job that was tried before, with its images, and as far on as any; all others are deleted."""
        found = {int(t.id): int(t.size or 0) for t in self._listed(job)}
        full = [task for task, size in sorted(found.items()) if size == len(job.requests)]
        whole = {task: _progress(made) for task in full if (made := self._server.job_of(task)) is not None}
        kept = max(whole, key=lambda task: whole[task], default=None)
        for task in sorted(found.keys() - {kept}):
            self._server.delete_task(task)
        return kept

    def _listed(self, job: Job) -> list[Any]:
        """All tasks of a job; where there is none, the server gets time to make what it was told to."""
        end = time.monotonic() + FINISH_S
        while not (found := self._server.find_tasks(self.name(job))) and time.monotonic() < end:
            time.sleep(0.5)
        return found

    def _upload(self, task: int, requests: list[Request]) -> None:
        pattern = self._options.image_url
        if pattern is not None:
            urls = [pattern.format(name=quote(r.item.name), id=quote(r.item.id)) for r in requests]
            self._server.upload(task, [], urls)
            return
        with tempfile.TemporaryDirectory(prefix="gtloop-cvat-") as folder:
            files = [_file(Path(folder), n, r.item) for n, r in enumerate(requests)]
            self._server.upload(task, files, [])

    def _propose(self, task: int, job: int, requests: list[Request]) -> None:
        """Show what is to be corrected."""
        if not any(r.mode == "adjust" and r.proposal for r in requests):
            return
        ids = self._server.label_ids(task)
        shapes: list[Any] = []
        tags: list[Any] = []
        for frame, request in enumerate(requests):
            if request.mode == "adjust" and request.proposal:
                more, marks = self._converter.propose(frame, request.proposal, ids)
                shapes, tags = shapes + more, tags + marks
        self._server.propose(job, shapes, tags)


def _progress(job: Any) -> tuple[bool, bool, bool]:
    """How much people have to do with a job: it is completed, begun, or assigned."""
    return str(job.state) == "completed", str(job.state) != "new", bool(getattr(job, "assignee", None))


def _file(folder: Path, number: int, item: Item) -> Path:
    """A copy under a name that tells nothing; its order is that of the frames."""
    suffix = PurePosixPath(item.name).suffix[:8]
    path = folder / f"{number:05d}-{item.id[:16]}{suffix}"
    path.write_bytes(content(item.uri))
    return path
