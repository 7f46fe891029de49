"""The driver's side of the desk: requests go in, answers and closures come out."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gtloop import keyed
from gtloop.interfaces import Collected
from gtloop.records import Answer, Closed, Request
from gtloop_plugins.annotators.local import closing

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gtloop_plugins.annotators.local.database import Database

BATCH = 1000
"""Most answers of one ``collect``."""
CHUNK = 500
"""Requests that are written at once, so that people at the page hardly wait."""
POLL_S = 0.1

INSERT = """INSERT INTO request (id, batch, mode, body, want, asked_at, deadline)
    VALUES (:id, :batch, :mode, :body, :want, :now, :deadline) RETURNING number"""
EXTEND = """UPDATE request SET want = :want, body = :body, state = 'open', asked_at = :now, deadline = :deadline
    WHERE number = :number"""
ANSWERS = """SELECT a.number, r.id, a.worker, a.outcome, a.payload, a.seconds, a.price, a.at
    FROM answer a JOIN request r ON r.number = a.request WHERE a.number > ? ORDER BY a.number LIMIT ?"""
CLOSURES = "SELECT number, request, delivered, reason FROM closure WHERE number > ? ORDER BY number"


class Desk:
    """Requests and what became of them. Everything is in the database, nothing in the object."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(self, requests: Sequence[Request]) -> None:
        """Ask what is new, and ask more people where ``answers`` has grown, even if the request had ended."""
        batch = None
        for start in range(0, len(requests), CHUNK):
            with self._database.write() as c:
                if batch is None:
                    batch = 1 + c.exec_driver_sql("SELECT coalesce(max(batch), 0) FROM request").scalar_one()
                for request in requests[start : start + CHUNK]:
                    _submit(c, request, batch)

    def cancel(self, request_ids: Sequence[str]) -> None:
        """Withdraw requests; what is unknown or has ended stays as it is."""
        with self._database.write() as c:
            for request_id in request_ids:
                closing.close_cancelled(c, request_id)

    def collect(self, cursor: str, limit_s: float) -> Collected:
        """Answers and closures after ``cursor``: the numbers of the last ones, as ``ANSWER:CLOSURE``."""
        until = time.monotonic() + limit_s
        answer, closure = (int(part) for part in cursor.split(":")) if cursor else (0, 0)
        while True:
            self.expire()
            found = self._after(answer, closure)
            left = until - time.monotonic()
            if found.answers or found.closed or left <= 0:
                return found
            time.sleep(min(POLL_S, left))

    def expire(self) -> None:
        """End what is past its deadline."""
        late = "SELECT 1 FROM request WHERE state = 'open' AND deadline IS NOT NULL AND deadline <= ? LIMIT 1"
        with self._database.read() as c:
            if c.exec_driver_sql(late, (time.time(),)).first() is None:
                return
        with self._database.write() as c:
            closing.close_expired(c)

    def counts(self) -> dict[str, int]:
        """Open requests, leases that run, and answers (declined ones excepted)."""
        open_ = "SELECT count(*) FROM request WHERE state = 'open'"
        leased = """SELECT count(*) FROM lease l JOIN request r ON r.number = l.request
            WHERE l.until > ? AND r.state = 'open'"""
        answers = "SELECT coalesce(sum(got), 0) FROM request"
        with self._database.read() as c:
            return {
                "open": c.exec_driver_sql(open_).scalar_one(),
                "leased": c.exec_driver_sql(leased, (time.time(),)).scalar_one(),
                "answers": c.exec_driver_sql(answers).scalar_one(),
            }

    def _after(self, answer: int, closure: int) -> Collected:
        with self._database.read() as c:
            rows = c.exec_driver_sql(ANSWERS, (answer, BATCH)).all()
            # A closure never comes before the answers that it counts.
            ends = c.exec_driver_sql(CLOSURES, (closure,)).all() if len(rows) < BATCH else []
        if rows or ends:
            self._database.sync()  # or a power cut could undo what was seen here, and give its number to another
        answers = [_answer(*row[1:]) for row in rows]
        closed = [Closed(request=request, delivered=delivered, reason=why) for _, request, delivered, why in ends]
        return Collected(answers, closed, f"{rows[-1][0] if rows else answer}:{ends[-1][0] if ends else closure}")


def _submit(c: Connection, request: Request, batch: int) -> None:
    now = time.time()
    values = {
        "id": request.id,
        "batch": batch,
        "mode": request.mode,
        "body": request.model_dump_json(),
        "want": request.answers,
        "now": now,
        "deadline": None if request.deadline_s is None else now + request.deadline_s,
    }
    known = c.exec_driver_sql("SELECT number, want FROM request WHERE id = ?", (request.id,)).first()
    if known is None:
        _exclude(c, c.exec_driver_sql(INSERT, values).scalar_one(), request)
    elif request.answers > known.want:
        c.exec_driver_sql(EXTEND, {**values, "number": known.number})
        _exclude(c, known.number, request)
        closing.close_declined(c, known.number)


def _exclude(c: Connection, number: int, request: Request) -> None:
    for worker in request.exclude_workers:
        c.exec_driver_sql("INSERT INTO excluded VALUES (?, ?) ON CONFLICT DO NOTHING", (number, worker))


def _answer(
    request: str, worker: str, outcome: Any, payload: str | None, seconds: float, price: int, at: str
) -> Answer:
    return Answer(
        id=keyed.digest(request, worker),
        request=request,
        worker=worker,
        outcome=outcome,
        payload=None if payload is None else json.loads(payload),
        active_seconds=seconds,
        price=price,
        at=at,
    )
