"""For annotators whose people are at somebody else's service: books on disk, and looks for answers beside the driver.

Everything is written down before it is done at the service (the intent) and after (what came of it), each on disk
before the next step, so that a process may die between any two lines. What is told comes from a log in the same file,
up to the last entry that a whole look has brought: so what is made of answers together does not depend on how fast the
service happens to be.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

from gtloop.errors import Unreachable
from gtloop.interfaces import Collected
from gtloop.records import Answer, Closed

BATCH = 1000
"""Most answers and closures of one ``collect``."""
_HANDED = "handed over"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS log (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, body TEXT NOT NULL);
"""


class Books:
    """One SQLite file in an annotator's folder: facts, a log of what is told, and tables of the annotator's own.

    Threads and processes take books of their own, or turns.
    """

    FILE: ClassVar[str]
    """Its name."""
    SCHEMA: ClassVar[str]
    """Statements that make the tables which aren't there yet."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / self.FILE, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA secure_delete=ON")  # who is forgotten leaves no trace in free pages
        self._db.executescript(_SCHEMA + self.SCHEMA)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk at its end; inside another one, a part of it."""
        if self._db.in_transaction:
            yield self._db
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def rows(self, query: str, *values: Any) -> list[Any]:
        return list(self._db.execute(query, values))

    def one(self, query: str, *values: Any) -> Any:
        """The first row; None where there is none."""
        return self._db.execute(query, values).fetchone()

    def do(self, query: str, *values: Any) -> None:
        with self.writing() as db:
            db.execute(query, values)

    def fact(self, key: str, default: str) -> str:
        """A value that stays for ever; ``default`` is written where there is none yet."""
        self.do("INSERT OR IGNORE INTO fact VALUES (?, ?)", key, default)
        return str(self.one("SELECT value FROM fact WHERE key = ?", key)[0])

    def put(self, key: str, value: str) -> None:
        self.do("INSERT OR REPLACE INTO fact VALUES (?, ?)", key, value)

    def known(self, key: str) -> str | None:
        found = self.one("SELECT value FROM fact WHERE key = ?", key)
        return found and str(found[0])

    def tell(self, record: Answer | Closed) -> None:
        """Append to the log; it is told once ``hand_over`` says so."""
        kind = "answer" if isinstance(record, Answer) else "closed"
        self.do("INSERT INTO log (kind, body) VALUES (?, ?)", kind, record.model_dump_json())

    def hand_over(self) -> None:
        """All of the log may be told."""
        with self.writing():
            self.put(_HANDED, str(self.one("SELECT coalesce(max(number), 0) FROM log")[0]))

    def told(self, after: int) -> list[tuple[int, Answer | Closed]]:
        """(number, record) of at most ``BATCH`` entries behind entry ``after`` that may be told."""
        upto = int(self.known(_HANDED) or 0)
        query = "SELECT number, kind, body FROM log WHERE number > ? AND number <= ? ORDER BY number LIMIT ?"
        kinds: dict[str, type[Answer] | type[Closed]] = {"answer": Answer, "closed": Closed}
        return [(n, kinds[kind].model_validate_json(body)) for n, kind, body in self.rows(query, after, upto, BATCH)]


class Parts(Protocol):
    """What a look works with: clients and books that its thread alone uses."""

    def look(self) -> None:
        """Bring the books up to date, and hand over what that has brought."""


class Looks:
    """One look at a time, in a thread that dies with the process; all that it learns is on disk at once.

    Args:
        name: Of the thread.
        parts: Makes what looks work with; called once, in the thread of the first look.
        poll_s: Least time between two looks.
        patience_s: How long looks may fail for want of the service.
    """

    def __init__(self, name: str, parts: Callable[[], Parts], *, poll_s: float, patience_s: float) -> None:
        self._name, self._make, self._poll_s, self._patience_s = name, parts, poll_s, patience_s
        self._thread: threading.Thread | None = None
        self._parts: Parts | None = None
        self._fault: Exception | None = None
        self._ended = -1e9  # by the monotonic clock
        self._failing: float | None = None

    def wait(self, until: float) -> None:
        """Start a look where one is due, and wait for its end, or until the monotonic clock says ``until``.

        Raises:
            Unreachable: Looks have failed for longer than ``patience_s``.
            GtloopError: Whatever else has ended a look.
        """
        if self._thread is None:
            due = self._ended + self._poll_s
            if time.monotonic() < due:
                time.sleep(max(0.0, min(due, until) - time.monotonic()))
                return
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            return
        self._thread, self._ended = None, time.monotonic()
        fault, self._fault = self._fault, None
        if fault is None:
            self._failing = None
        elif not isinstance(fault, Unreachable):
            raise fault
        else:
            self._failing = self._failing or time.monotonic()
            if time.monotonic() - self._failing > self._patience_s:
                raise fault

    def rest(self) -> None:
        """Wait until no look is under way; what has ended one is raised by the next ``wait``."""
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            if self._parts is None:
                self._parts = self._make()
            self._parts.look()
        except Exception as e:  # ``wait`` raises it, where somebody hears it
            self._fault = e


def collect(books: Books, looks: Looks, cursor: str, limit_s: float) -> Collected:
    """What whole looks have brought since ``cursor``; where that is told, looks again first.

    Raises:
        GtloopError: As ``Looks.wait``.
    """
    after = int(cursor or 0)
    told = books.told(after)
    if not told:
        looks.wait(time.monotonic() + limit_s)
        told = books.told(after)
    records = [record for _, record in told]
    return Collected(
        [r for r in records if isinstance(r, Answer)],
        [r for r in records if isinstance(r, Closed)],
        str(told[-1][0] if told else after),
    )
