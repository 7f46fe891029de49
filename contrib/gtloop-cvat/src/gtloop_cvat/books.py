"""What the annotator knows, in one SQLite file of its own: requests, jobs, and a log of what it tells."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gtloop import remote_people
from gtloop.records import Closed, Request

_SCHEMA = """
CREATE TABLE IF NOT EXISTS request (
    id TEXT PRIMARY KEY, body TEXT NOT NULL, wanted INTEGER NOT NULL, ends REAL, ended TEXT NOT NULL DEFAULT '',
    closed INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS request_open ON request (id) WHERE closed = 0;
-- A job is a task of its own at the server, called by its number; state: planned, posted, done, gone.
CREATE TABLE IF NOT EXISTS job (
    number INTEGER PRIMARY KEY, requests TEXT NOT NULL, assignee TEXT NOT NULL DEFAULT '',
    tried INTEGER NOT NULL DEFAULT 0,
    task INTEGER, state TEXT NOT NULL DEFAULT 'planned');
CREATE TABLE IF NOT EXISTS item (job INTEGER NOT NULL, request TEXT NOT NULL, PRIMARY KEY (job, request)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS item_request ON item (request);
CREATE TABLE IF NOT EXISTS answer (
    request TEXT NOT NULL, worker TEXT NOT NULL, PRIMARY KEY (request, worker)) WITHOUT ROWID;
"""
_NEEDED = """EXISTS (SELECT 1 FROM item i JOIN request r ON r.id = i.request
    WHERE i.job = job.number AND r.closed = 0 AND r.ended = '')"""


class Job(NamedTuple):
    """A row of table ``job``; ``requests`` in the order of its frames."""

    number: int
    requests: tuple[str, ...]
    assignee: str
    tried: int
    task: int | None
    state: str


class Books(remote_people.Books):
    """The file ``cvat.sqlite`` of an annotator's folder."""

    FILE = "cvat.sqlite"
    SCHEMA = _SCHEMA

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.namespace = self.fact("namespace", uuid.uuid4().hex[:16])
        self._secret = self.fact("secret", secrets.token_hex(32))

    def worker(self, user: str) -> str:
        """The opaque id of somebody."""
        return f"w-{hmac.new(self._secret.encode(), user.encode(), hashlib.sha256).hexdigest()[:12]}"

    # ------------------------------------------------------------------------------------- requests

    def ask(self, requests: Sequence[Request]) -> None:
        """Write down what is new or has grown."""
        with self.writing() as db:
            for r in requests:
                ends = None if r.deadline_s is None else time.time() + r.deadline_s
                db.execute(
                    "INSERT INTO request (id, body, wanted, ends) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                    "body = excluded.body, wanted = excluded.wanted, ends = excluded.ends, ended = '', closed = 0 "
                    "WHERE excluded.wanted > wanted",
                    (r.id, r.model_dump_json(), r.answers, ends),
                )

    def expire(self) -> None:
        query = "UPDATE request SET ended = 'expired' WHERE closed = 0 AND ended = '' AND ends <= ?"
        self.do(query, time.time())

    def request(self, id: str) -> Request:
        return Request.model_validate_json(self.one("SELECT body FROM request WHERE id = ?", id)[0])

    def open_requests(self) -> list[tuple[str, int, str, int, int]]:
        """(id, wanted, ended, told, asked) of what is not closed: answers there are, and jobs it is in now."""
        return self.rows(
            """SELECT r.id, wanted, ended, (SELECT count(*) FROM answer a WHERE a.request = r.id),
            (SELECT count(*) FROM item i JOIN job j ON j.number = i.job
             WHERE i.request = r.id AND j.state IN ('planned', 'posted'))
            FROM request r WHERE closed = 0 ORDER BY r.rowid"""
        )

    def workers(self, request: str) -> set[str]:
        """Who has answered a request."""
        return {w for (w,) in self.rows("SELECT worker FROM answer WHERE request = ?", request)}

    def close(self, closed: Closed) -> None:
        with self.writing():
            self.do("UPDATE request SET closed = 1 WHERE id = ?", closed.request)
            self.tell(closed)

    # ----------------------------------------------------------------------------------------- jobs

    def jobs(self, where: str, *values: Any) -> list[Job]:
        query = f"SELECT number, requests, assignee, tried, task, state FROM job WHERE {where} ORDER BY number"
        return [Job(n, tuple(json.loads(ids)), *rest) for n, ids, *rest in self.rows(query, *values)]

    def needed(self, job: Job) -> bool:
        """Whether any of its requests still waits for answers."""
        return bool(self.jobs(f"number = ? AND {_NEEDED}", job.number))

    def needless(self) -> list[Job]:
        """Jobs that are to be made or done, and that nobody needs any more."""
        return self.jobs(f"state IN ('planned', 'posted') AND NOT {_NEEDED}")

    def plan(self, requests: Sequence[str], assignee: str) -> None:
        with self.writing() as db:
            query = "INSERT INTO job (requests, assignee) VALUES (?, ?) RETURNING number"
            (number,) = db.execute(query, (json.dumps(list(requests)), assignee)).fetchone()
            db.executemany("INSERT INTO item VALUES (?, ?)", [(number, r) for r in requests])

    def load(self, assignee: str) -> int:
        """Jobs that somebody has to do."""
        query = "SELECT count(*) FROM job WHERE assignee = ? AND state IN ('planned', 'posted')"
        return int(self.one(query, assignee)[0])

    def busy(self, request: str, assignee: str) -> bool:
        """Whether somebody has a request in a job, or had it in one."""
        query = "SELECT 1 FROM item i JOIN job j ON j.number = i.job WHERE i.request = ? AND j.assignee = ? LIMIT 1"
        return self.one(query, request, assignee) is not None
