"""What the annotator knows, in one SQLite file of its own: requests, studies, submissions, answers, and what it tells.

Everything is written down before it is done at Prolific and after, so that a process may die between any two lines. Who
a participant is stands only on the page's desk, where it can be erased; here are opaque ids, and ids of submissions.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gtloop import remote_people
from gtloop.records import Closed, Request

_SCHEMA = """
-- each: most that one answer may cost, micro-dollars; extra: answers that were given, and do not count.
CREATE TABLE IF NOT EXISTS request (
    id TEXT PRIMARY KEY, body TEXT NOT NULL, wanted INTEGER NOT NULL, each INTEGER, extra INTEGER NOT NULL DEFAULT 0,
    ended TEXT NOT NULL DEFAULT '', closed INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS request_open ON request (id) WHERE closed = 0;
-- A study is one size of submission at one reward; name is its internal name at Prolific, by which it is found again.
CREATE TABLE IF NOT EXISTS study (
    number INTEGER PRIMARY KEY, images INTEGER NOT NULL, reward INTEGER NOT NULL, name TEXT NOT NULL UNIQUE,
    code TEXT NOT NULL, turned TEXT NOT NULL, id TEXT UNIQUE, tried INTEGER NOT NULL DEFAULT 0,
    quiet INTEGER NOT NULL DEFAULT 0, UNIQUE (images, reward));
-- state: told, or void (what was answered in it does not count); verdict: what Prolific was told.
CREATE TABLE IF NOT EXISTS submission (
    id TEXT PRIMARY KEY, study INTEGER NOT NULL, worker TEXT NOT NULL, state TEXT NOT NULL, items TEXT NOT NULL,
    verdict TEXT NOT NULL DEFAULT '');
-- state: held (its submission is not over), told, void.
CREATE TABLE IF NOT EXISTS answer (
    id TEXT PRIMARY KEY, request TEXT NOT NULL, submission TEXT NOT NULL, outcome TEXT NOT NULL, body TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'held', verdict TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS answer_submission ON answer (submission);
CREATE INDEX IF NOT EXISTS answer_request ON answer (request, state);
"""
_STUDY = "number, images, reward, name, code, turned, id, tried, quiet"


class Study(NamedTuple):
    """A row of table ``study``: ``id`` is Prolific's, None until it is known."""

    number: int
    images: int
    reward: int
    name: str
    code: str
    turned: str
    id: str | None
    tried: int
    quiet: int


class Books(remote_people.Books):
    """The file ``prolific.sqlite`` of an annotator's folder; the driver writes it, the page reads it."""

    FILE = "prolific.sqlite"
    SCHEMA = _SCHEMA

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.namespace = self.fact("namespace", uuid.uuid4().hex[:16])

    # ------------------------------------------------------------------------------------- requests

    def ask(self, requests: Sequence[Request]) -> None:
        """Write down what is new or has grown."""
        with self.writing() as db:
            for r in requests:
                each = r.max_price // r.answers if r.max_price else None
                db.execute(
                    "INSERT INTO request (id, body, wanted, each) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                    "body = excluded.body, wanted = excluded.wanted, each = excluded.each, ended = '', closed = 0 "
                    "WHERE excluded.wanted > wanted",
                    (r.id, r.model_dump_json(), r.answers, each),
                )

    def open_requests(self) -> list[tuple[str, int, str, int, int]]:
        """(id, wanted, ended, told, held) of what is not closed: answers that are told, and those that may be yet."""
        return self.rows(
            """SELECT r.id, wanted, ended, coalesce(sum(a.state = 'told'), 0), coalesce(sum(a.state = 'held'), 0)
            FROM request r LEFT JOIN answer a ON a.request = r.id WHERE closed = 0 GROUP BY r.id ORDER BY r.rowid"""
        )

    def delivered(self, request: str) -> int:
        """Answers that count."""
        query = "SELECT count(*) FROM answer WHERE request = ? AND state = 'told' AND outcome <> 'declined'"
        return int(self.one(query, request)[0])

    def regrown(self) -> list[Request]:
        """Requests that need more answers than they wanted, as some do not count; with that number."""
        rows = self.rows("SELECT body, wanted + extra FROM request WHERE closed = 0 AND ended = '' AND extra > 0")
        return [Request.model_validate_json(body).model_copy(update={"answers": n}) for body, n in rows]

    def least_each(self) -> int | None:
        """Least of what is reserved for one answer; None where nothing is."""
        found = self.one("SELECT min(each) FROM request WHERE closed = 0 AND ended = ''")
        return None if found is None or found[0] is None else int(found[0])

    def worst_case(self) -> int:
        """Most that all that was ever asked may cost, micro-dollars."""
        return int(self.one("SELECT coalesce(sum(each * wanted), 0) FROM request")[0])

    def close(self, closed: Closed) -> None:
        with self.writing() as db:
            db.execute("UPDATE request SET closed = 1 WHERE id = ?", (closed.request,))
            self.tell(closed)

    # -------------------------------------------------------------------------------------- studies

    def studies(self, where: str = "1", *values: Any) -> list[Study]:
        return [Study(*row) for row in self.rows(f"SELECT {_STUDY} FROM study WHERE {where} ORDER BY number", *values)]

    def plan_study(self, images: int, reward: int) -> Study:
        """The study of a size and reward, written down where there is none yet."""
        name = f"gtloop {self.namespace} {images} x {reward}"
        codes = (secrets.token_hex(4).upper(), secrets.token_hex(4).upper())
        self.do(
            "INSERT OR IGNORE INTO study (images, reward, name, code, turned) VALUES (?, ?, ?, ?, ?)",
            images, reward, name, *codes,
        )  # fmt: skip
        return self.studies("images = ? AND reward = ?", images, reward)[0]

    def paid(self, study: int) -> int:
        """How many submissions of a study are paid, or to be judged."""
        return int(self.one("SELECT count(*) FROM submission WHERE study = ? AND state <> 'void'", study)[0])

    def begun(self, study: int) -> set[str]:
        """Submissions that are decided."""
        return {name for (name,) in self.rows("SELECT id FROM submission WHERE study = ?", study)}


def now() -> float:
    return time.time()
