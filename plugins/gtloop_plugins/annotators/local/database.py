"""The database that the driver and the web page share: ``desk.sqlite`` in the annotator's folder.

SQLite in WAL mode. What a transaction has changed is on disk when ``write`` returns, as with ``synchronous=FULL``; but
the log is synced here, after the commit, so that those who commit meanwhile share one sync and nobody else waits for
it. Writers take the lock at once (``BEGIN IMMEDIATE``), so that a transaction never fails half-way; readers never wait.
Times are seconds since 1970, but for ``answer.at``, which is ISO 8601 in UTC.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtloop.errors import RunError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

VERSION = 1
LOG_PAGES = 10_000
"""Length of the log at which a commit has to move it, and wait; the page does so before, beside everybody."""
TABLES = (
    "CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    # ``number`` is the order of submission; ``got`` counts answers, those that declined excepted.
    """CREATE TABLE IF NOT EXISTS request (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, batch INTEGER NOT NULL, mode TEXT NOT NULL,
        body TEXT NOT NULL, want INTEGER NOT NULL, got INTEGER NOT NULL DEFAULT 0, declines INTEGER NOT NULL DEFAULT 0,
        state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'complete', 'cancelled', 'expired', 'declined')),
        asked_at REAL NOT NULL, deadline REAL, CHECK (got <= want))""",
    "CREATE INDEX IF NOT EXISTS request_state ON request (state, number)",
    "CREATE INDEX IF NOT EXISTS request_batch ON request (batch, state)",
    "CREATE INDEX IF NOT EXISTS request_deadline ON request (deadline) WHERE state = 'open' AND deadline IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS excluded (request INTEGER, person TEXT, PRIMARY KEY (request, person)) WITHOUT ROWID",
    # A lease stays when it has run out (``until`` in the past): it tells who may see the image.
    """CREATE TABLE IF NOT EXISTS lease (
        request INTEGER NOT NULL, person TEXT NOT NULL, task TEXT NOT NULL UNIQUE, image TEXT NOT NULL UNIQUE,
        since REAL NOT NULL, until REAL NOT NULL, draft TEXT, PRIMARY KEY (request, person))""",
    "CREATE INDEX IF NOT EXISTS lease_person ON lease (person, until)",
    """CREATE TABLE IF NOT EXISTS answer (
        number INTEGER PRIMARY KEY AUTOINCREMENT, request INTEGER NOT NULL, worker TEXT NOT NULL, outcome TEXT NOT NULL,
        payload TEXT, seconds REAL NOT NULL, price INTEGER NOT NULL, at TEXT NOT NULL, UNIQUE (request, worker))""",
    "CREATE INDEX IF NOT EXISTS answer_worker ON answer (worker, at, outcome, seconds)",
    "CREATE INDEX IF NOT EXISTS answer_at ON answer (at)",
    """CREATE TABLE IF NOT EXISTS closure (
        number INTEGER PRIMARY KEY AUTOINCREMENT, request TEXT NOT NULL, delivered INTEGER NOT NULL,
        reason TEXT NOT NULL)""",
    # ``epoch`` is part of links and sessions: another one ends them all.
    """CREATE TABLE IF NOT EXISTS person (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, epoch INTEGER NOT NULL DEFAULT 0,
        revoked INTEGER NOT NULL DEFAULT 0, blocked TEXT, created REAL NOT NULL, seen REAL)""",
    # What somebody of a crowd does (``shifts``).
    """CREATE TABLE IF NOT EXISTS shift (
        id TEXT PRIMARY KEY, person TEXT NOT NULL, note TEXT NOT NULL, begun REAL NOT NULL, ends REAL NOT NULL,
        ended INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX IF NOT EXISTS shift_person ON shift (person, begun)",
    "CREATE INDEX IF NOT EXISTS shift_running ON shift (begun) WHERE ended = 0",
    "CREATE TABLE IF NOT EXISTS shift_item (shift TEXT, request INTEGER, PRIMARY KEY (shift, request)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS shift_item_request ON shift_item (request)",
)


class Database:
    """``desk.sqlite``; threads and processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "desk.sqlite"
        self._turn = threading.Lock()  # threads queue here, for SQLite lets who finds it busy sleep
        self._syncing = threading.Lock()
        self._committed = self._synced = 0

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database."""
        with self._engine.connect() as c:
            c.exec_driver_sql("BEGIN")
            try:
                yield c
            finally:
                c.exec_driver_sql("ROLLBACK")

    @contextmanager
    def write(self, durable: bool = True) -> Iterator[Connection]:
        """A transaction that is committed when the block ends; undone where it raises.

        One that is not ``durable`` survives a kill; a power cut may undo it, as long as no durable one has followed.
        """
        with self._turn, self._engine.connect() as c:
            c.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield c
            except BaseException:
                c.exec_driver_sql("ROLLBACK")
                raise
            c.exec_driver_sql("COMMIT")
            self._committed += 1
            own = self._committed
        if durable:
            self._sync(own)

    def sync(self) -> None:
        """Put on disk what anybody has committed, in whatever process."""
        # Without a log there is nothing to sync: it went to the database, which a checkpoint syncs itself.
        with suppress(FileNotFoundError):
            log = os.open(self._path.with_name(f"{self._path.name}-wal"), os.O_RDONLY)
            try:
                os.fsync(log)
            finally:
                os.close(log)

    def _sync(self, own: int) -> None:
        """See to it that the commit of that number is on disk; one sync does for all that wait."""
        with self._syncing:
            if self._synced < own:
                upto = self._committed
                self.sync()
                self._synced = upto

    def checkpoint(self) -> None:
        """Move what is in the log to the database, beside whoever reads or writes."""
        with self._engine.connect() as c:
            c.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    @cached_property
    def secret(self) -> str:
        """Signs links and sessions and makes opaque ids; drawn once, and known to nobody outside."""
        with self.read() as c:
            return str(c.exec_driver_sql("SELECT value FROM setting WHERE name = 'secret'").scalar_one())

    @cached_property
    def _engine(self) -> Engine:
        from sqlalchemy import URL, create_engine, event
        from sqlalchemy.exc import DatabaseError

        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            # The secret is in it: only the owner of the run may read it.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        engine = create_engine(URL.create("sqlite", database=str(self._path)), pool_size=8, max_overflow=56)

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # the two methods above begin and end transactions
            for pragma in (
                "busy_timeout=30000",
                "journal_mode=WAL",
                "synchronous=NORMAL",
                f"wal_autocheckpoint={LOG_PAGES}",
            ):
                connection.execute(f"PRAGMA {pragma}")

        try:
            with engine.connect() as c:
                c.exec_driver_sql("BEGIN IMMEDIATE")
                for table in TABLES:
                    c.exec_driver_sql(table)
                for name, value in (("version", str(VERSION)), ("secret", secrets.token_hex(32))):
                    c.exec_driver_sql("INSERT OR IGNORE INTO setting VALUES (?, ?)", (name, value))
                found = c.exec_driver_sql("SELECT value FROM setting WHERE name = 'version'").scalar_one()
                c.exec_driver_sql("COMMIT")
        except DatabaseError as e:
            raise RunError(f"{self._path} can't be used ({e.orig}); restore it from a back-up") from None
        if found != str(VERSION):
            raise RunError(f"{self._path} is of version {found}, this gtloop uses {VERSION}; use the one that made it")
        return engine
