"""What the annotator knows, in one SQLite file of its own: requests, HITs, assignments, and a log of what it tells.

Everything is written down before it is done at Amazon (the intent) and after (what came of it), each on disk before the
next step, so that a process may die between any two lines.
"""

from __future__ import annotations

import hmac
import secrets
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from gtloop import remote_people
from gtloop.records import Answer, Request

_SCHEMA = """
CREATE TABLE IF NOT EXISTS request (
    id TEXT PRIMARY KEY, body TEXT NOT NULL, wanted INTEGER NOT NULL, cancelled INTEGER NOT NULL DEFAULT 0,
    refused TEXT NOT NULL DEFAULT '', closed INTEGER NOT NULL DEFAULT 0);
-- part: a request is one HIT, unless it grew beyond what its HIT can grow to.
-- planned: assignments that there are to be; posted: that Amazon has confirmed.
CREATE TABLE IF NOT EXISTS hit (
    number INTEGER PRIMARY KEY, request TEXT NOT NULL, part INTEGER NOT NULL, attempt INTEGER NOT NULL DEFAULT 0,
    planned INTEGER NOT NULL, posted INTEGER NOT NULL DEFAULT 0, reward INTEGER NOT NULL, fee INTEGER NOT NULL,
    hit TEXT, type TEXT NOT NULL DEFAULT '', tried REAL NOT NULL DEFAULT 0, ends REAL NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0, withdrawn INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0, UNIQUE (request, part));
CREATE INDEX IF NOT EXISTS hit_hit ON hit (hit);
CREATE TABLE IF NOT EXISTS assignment (
    id TEXT PRIMARY KEY, answer TEXT NOT NULL UNIQUE, hit INTEGER NOT NULL, worker TEXT NOT NULL,
    outcome TEXT NOT NULL, verdict TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS assignment_hit ON assignment (hit);
CREATE TABLE IF NOT EXISTS worker (pseudonym TEXT PRIMARY KEY, id TEXT NOT NULL);
"""


class Hit(NamedTuple):
    """A row of table ``hit``; ``number`` is the order in which they were planned."""

    number: int
    request: str
    part: int
    attempt: int
    planned: int
    posted: int
    reward: int
    fee: int
    hit: str | None
    type: str
    tried: float
    ends: float
    done: int
    withdrawn: int
    deleted: int


_HIT = ", ".join(Hit._fields)


class Books(remote_people.Books):
    """The file ``mturk.sqlite`` of an annotator's folder."""

    FILE = "mturk.sqlite"
    SCHEMA = _SCHEMA

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.namespace = self.fact("namespace", uuid.uuid4().hex)
        self._secret = self.fact("secret", secrets.token_hex(32))

    # ------------------------------------------------------------------------------------- requests

    def request(self, id: str) -> Request | None:
        """A request as it was last asked."""
        found = self.one("SELECT body FROM request WHERE id = ?", id)
        return Request.model_validate_json(found[0]) if found else None

    def wanted(self, id: str) -> int:
        """Answers that a request asks for; 0 where it is unknown."""
        found = self.one("SELECT wanted FROM request WHERE id = ?", id)
        return int(found[0]) if found else 0

    def ask(self, request: Request) -> None:
        with self.writing() as db:
            db.execute(
                "INSERT INTO request (id, body, wanted) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "body = excluded.body, wanted = excluded.wanted, cancelled = 0, refused = '', closed = 0",
                (request.id, request.model_dump_json(), request.answers),
            )

    def mark(self, request: str, **columns: Any) -> None:
        self._update("request", "id", request, columns)

    def to_close(self) -> list[tuple[str, int, int, str]]:
        """(request, wanted, cancelled, refused) of what is not closed, all of whose HITs are done."""
        return list(
            self._db.execute(
                "SELECT id, wanted, cancelled, refused FROM request r WHERE closed = 0 AND NOT EXISTS "
                "(SELECT 1 FROM hit WHERE request = r.id AND done = 0) ORDER BY rowid"
            )
        )

    def delivered(self, request: str) -> int:
        """Answers that count."""
        return int(
            self.one(
                "SELECT count(*) FROM assignment a JOIN hit h ON a.hit = h.number "
                "WHERE h.request = ? AND a.outcome != 'declined'",
                request,
            )[0]
        )

    # ----------------------------------------------------------------------------------------- HITs

    def hits(self, where: str = "1", *values: Any) -> list[Hit]:
        """HITs in the order in which they were planned."""
        rows = self._db.execute(f"SELECT {_HIT} FROM hit WHERE {where} ORDER BY number", values)
        return [Hit(*row) for row in rows]

    def plan(self, request: str, part: int, planned: int, reward: int, fee: int) -> None:
        with self.writing() as db:
            db.execute(
                "INSERT INTO hit (request, part, planned, reward, fee) VALUES (?, ?, ?, ?, ?)",
                (request, part, planned, reward, fee),
            )

    def change(self, number: int, **columns: Any) -> None:
        """Change columns of a HIT."""
        self._update("hit", "number", number, columns)

    def finish(self, hit: Hit) -> None:
        """Nothing more comes of a HIT, unless it has grown in the meantime."""
        with self.writing() as db:
            db.execute("UPDATE hit SET done = 1 WHERE number = ? AND planned = ?", (hit.number, hit.planned))

    def worst_case(self) -> int:
        """What all that was ever posted or planned costs at most, micro-dollars: what came, and what may still come."""
        return int(
            self.one(
                "SELECT coalesce(sum((reward + fee) * CASE WHEN done THEN (SELECT count(*) FROM assignment WHERE "
                "hit = h.number AND verdict != 'reject') ELSE planned END), 0) FROM hit h"
            )[0]
        )

    # ---------------------------------------------------------------------------------- assignments

    def assigned(self, hit: int) -> dict[str, str]:
        """Assignment to verdict of what was taken in of a HIT."""
        return dict(self._db.execute("SELECT id, verdict FROM assignment WHERE hit = ?", (hit,)))

    def answered(self, request: str) -> set[str]:
        """Pseudonyms of those whose answers to a request count."""
        rows = self._db.execute(
            "SELECT worker FROM assignment a JOIN hit h ON a.hit = h.number WHERE h.request = ? "
            "AND a.outcome != 'declined'",
            (request,),
        )
        return {worker for (worker,) in rows}

    def by_answer(self, answer: str) -> tuple[str, int, str] | None:
        """(assignment, number of its HIT, verdict) of an answer."""
        found: tuple[str, int, str] | None = self.one(
            "SELECT id, hit, verdict FROM assignment WHERE answer = ?", answer
        )
        return found

    def take(self, assignment: str, hit: int, worker_id: str, answer: Answer) -> None:
        """Write an answer down and tell it, once."""
        with self.writing() as db:
            db.execute("INSERT OR IGNORE INTO worker VALUES (?, ?)", (answer.worker, worker_id))
            new = db.execute(
                "INSERT OR IGNORE INTO assignment (id, answer, hit, worker, outcome) VALUES (?, ?, ?, ?, ?)",
                (assignment, answer.id, hit, answer.worker, answer.outcome),
            )
            if new.rowcount:
                self.tell(answer)

    def uncounted(self) -> list[tuple[str, int]]:
        """(assignment, number of its HIT) of what does not count, and is not settled."""
        return list(self._db.execute("SELECT id, hit FROM assignment WHERE outcome = 'declined' AND verdict = ''"))

    def price(self, assignment: str) -> tuple[int, int]:
        """(reward, fee) of an assignment, micro-dollars."""
        reward, fee = self.one(
            "SELECT reward, fee FROM assignment a JOIN hit h ON a.hit = h.number WHERE a.id = ?", assignment
        )
        return int(reward), int(fee)

    def settled(self, assignment: str, verdict: str) -> None:
        self._update("assignment", "id", assignment, {"verdict": verdict})

    # -------------------------------------------------------------------------------------- workers

    def pseudonym(self, worker_id: str) -> str:
        """The name that a worker has here: a keyed hash, which tells nothing without this file."""
        return "w" + hmac.new(bytes.fromhex(self._secret), worker_id.encode(), "sha256").hexdigest()[:20]

    def worker_id(self, pseudonym: str) -> str | None:
        found = self.one("SELECT id FROM worker WHERE pseudonym = ?", pseudonym)
        return found and str(found[0])

    def forget(self, pseudonym: str) -> bool:
        with self.writing() as db:
            gone = db.execute("DELETE FROM worker WHERE pseudonym = ?", (pseudonym,)).rowcount > 0
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # no copy stays in the write-ahead log
        return gone

    def _update(self, table: str, key: str, value: Any, columns: dict[str, Any]) -> None:
        sets = ", ".join(f"{name} = ?" for name in columns)
        with self.writing() as db:
            db.execute(f"UPDATE {table} SET {sets} WHERE {key} = ?", (*columns.values(), value))


def now() -> float:
    """Seconds since the epoch, by this machine's clock."""
    return time.time()
