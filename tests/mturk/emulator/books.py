"""The emulator's own books: SQLite, so that it can be killed and started again."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (key TEXT PRIMARY KEY, value NUMERIC NOT NULL);
CREATE TABLE IF NOT EXISTS hittype (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hit (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, type TEXT NOT NULL, question TEXT NOT NULL, annotation TEXT,
    most INTEGER NOT NULL, reward INTEGER NOT NULL, fee INTEGER NOT NULL, created REAL NOT NULL,
    expires REAL NOT NULL, deleted INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS assignment (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, hit TEXT NOT NULL, worker TEXT NOT NULL, status TEXT NOT NULL,
    accepted REAL NOT NULL, deadline REAL NOT NULL, submitted REAL, autoapproval REAL, judged REAL,
    answer TEXT, feedback TEXT);
CREATE INDEX IF NOT EXISTS of_hit ON assignment (hit);
CREATE INDEX IF NOT EXISTS of_status ON assignment (status);
CREATE TABLE IF NOT EXISTS token (token TEXT PRIMARY KEY, made REAL NOT NULL, id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS payment (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, assignment TEXT NOT NULL, worker TEXT NOT NULL,
    amount INTEGER NOT NULL, fee INTEGER NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS qualification (id TEXT PRIMARY KEY, name TEXT UNIQUE NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS holder (qualification TEXT, worker TEXT, value INTEGER, PRIMARY KEY (qualification, worker));
CREATE TABLE IF NOT EXISTS call (number INTEGER PRIMARY KEY, operation TEXT NOT NULL, came TEXT NOT NULL);
"""


class Books:
    def __init__(self, path: Path) -> None:
        # Killed processes lose nothing that was written; only a machine that goes down could.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + _SCHEMA)
        self.lock = threading.RLock()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All or nothing; one at a time."""
        with self.lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def all(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        with self.lock:
            return self._db.execute(statement, values).fetchall()

    def one(self, statement: str, *values: Any) -> Any:
        with self.lock:
            return self._db.execute(statement, values).fetchone()

    def do(self, statement: str, *values: Any) -> int:
        with self.lock:
            return self._db.execute(statement, values).rowcount

    def fact(self, key: str, default: float = 0) -> float:
        found = self.one("SELECT value FROM fact WHERE key = ?", key)
        return found[0] if found else default

    def put(self, key: str, value: float) -> None:
        self.do("INSERT OR REPLACE INTO fact VALUES (?, ?)", key, value)

    def next(self, what: str) -> int:
        self.do("INSERT INTO fact VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET value = value + 1", f"next {what}")
        return int(self.fact(f"next {what}"))
