"""The append-only log of a run and its inbox: SQLAlchemy Core, SQLite by default.

``event`` is written by the driver alone, which holds the run's lock; ``inbox`` by anyone (answers of
a web page, requests to change something): an entry is acknowledged when its row is committed.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from gtloop.errors import Busy, RunError
from gtloop.events import AnyEvent, parse_event

if TYPE_CHECKING:
    from sqlalchemy import Engine, MetaData

SCHEMA = 1


class Entry(NamedTuple):
    """An event with its place in the log."""

    seq: int
    at: str
    event: AnyEvent


class Letter(NamedTuple):
    """An inbox row."""

    number: int
    kind: str
    body: str


def _tables() -> MetaData:
    from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text

    meta = MetaData()
    Table("schema_version", meta, Column("version", Integer, primary_key=True))
    event = Table(
        "event",
        meta,
        Column("seq", Integer, primary_key=True, autoincrement=True),
        Column("at", String(40), nullable=False),
        Column("type", String(40), nullable=False),
        Column("key", String(120), unique=True),
        Column("body", Text, nullable=False),
    )
    Index("event_type", event.c.type)
    Table(
        "inbox",
        meta,
        Column("number", Integer, primary_key=True, autoincrement=True),
        Column("at", String(40), nullable=False),
        Column("kind", String(40), nullable=False),
        Column("key", String(120), unique=True, nullable=False),
        Column("body", Text, nullable=False),
    )
    return meta


def _read_only(path: Path) -> dict[str, str]:
    """How to open a ledger in a folder that can't be written, such as a back-up; empty where it can.

    SQLite must be told that no log has to be made; one that is there (another user drives the run) is read.
    """
    if os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        return {}
    live = path.with_name(path.name + "-wal").exists()
    return {"uri": "true", **({"mode": "ro"} if live else {"immutable": "1"})}


def now() -> str:
    """The time as ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Ledger:
    """The event log of one run."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._meta = _tables()
        self.event = self._meta.tables["event"]
        self.inbox = self._meta.tables["inbox"]

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Ledger:
        """Open ``ledger.sqlite``.

        Raises:
            RunError: It is not there, is no ledger, or is of another version.
        """
        from sqlalchemy import URL, create_engine, event, insert, inspect, select
        from sqlalchemy.exc import DatabaseError

        if not create and not path.exists():
            raise RunError(f"{path.parent} holds no run (no {path.name}); start one with: gtloop run IMAGES")
        query = {} if create else _read_only(path)
        database = f"file:{quote(str(path))}" if query else str(path)
        engine = create_engine(URL.create("sqlite", database=database, query=query))

        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA busy_timeout=30000")
            if not query:
                connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

        ledger = cls(engine)
        version = ledger._meta.tables["schema_version"]
        try:
            with engine.begin() as c:
                made = inspect(c).has_table(version.name)
                found = c.execute(select(version.c.version)).scalars().all() if made else []
                if not found and create:  # new, or a kill came between its tables and its version
                    ledger._meta.create_all(c)
                    c.execute(insert(version).values(version=SCHEMA))
                    found = [SCHEMA]
        except DatabaseError as e:
            raise RunError(f"{path} is not a gtloop ledger ({e.orig!s}); choose another folder with --run") from None
        if not found:
            raise RunError(f"{path.parent} never started; run it again")
        if list(found) != [SCHEMA]:
            raise RunError(
                f"{path} was made by another version of gtloop (ledger version {list(found)}, this one reads {SCHEMA});"
                " use that version, or start a new run with --run"
            )
        return ledger

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()

    def append(self, events: Sequence[AnyEvent]) -> list[Entry]:
        """Commit events in one transaction, in order.

        Raises:
            RunError: One of them has happened before.
        """
        from sqlalchemy import insert
        from sqlalchemy.exc import DatabaseError, IntegrityError

        entries: list[Entry] = []
        at = now()
        try:
            with self._engine.begin() as c:
                for e in events:
                    row = {"at": at, "type": e.type, "key": e.key(), "body": e.model_dump_json()}
                    result = c.execute(insert(self.event).values(**row))
                    key = result.inserted_primary_key
                    assert key is not None
                    entries.append(Entry(int(key[0]), at, e))
        except IntegrityError:
            raise RunError("another process wrote to this run's ledger; only one may drive a run at a time") from None
        except DatabaseError as e:
            raise RunError(f"the ledger can't be written ({e.orig}); mend that and run again") from None
        return entries

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Stream the events that follow ``after``, oldest first."""
        from sqlalchemy import select

        query = select(self.event.c.seq, self.event.c.at, self.event.c.body).where(self.event.c.seq > after)
        with self._engine.connect() as c:
            for seq, at, body in c.execute(query.order_by(self.event.c.seq)):
                yield Entry(seq, at, _event(seq, body))

    def post(self, kind: str, key: str, body: str) -> int:
        """Put a letter into the inbox and return its number; one with this key that is there already stays."""
        from sqlalchemy import insert, select
        from sqlalchemy.exc import IntegrityError

        box = self.inbox
        try:
            with self._engine.begin() as c:
                c.execute(insert(box).values(at=now(), kind=kind, key=key, body=body))
        except IntegrityError:
            pass
        with self._engine.connect() as c:
            return int(c.execute(select(box.c.number).where(box.c.key == key)).scalar_one())

    def letters(self, after: int = 0) -> list[Letter]:
        """Inbox rows after ``after``, oldest first."""
        from sqlalchemy import select

        box = self.inbox
        query = select(box.c.number, box.c.kind, box.c.body).where(box.c.number > after).order_by(box.c.number)
        with self._engine.connect() as c:
            return [Letter(*row) for row in c.execute(query)]


def _event(seq: int, body: str) -> AnyEvent:
    try:
        return parse_event(body)
    except ValueError:
        raise RunError(
            f"event {seq} of the ledger is damaged, or a newer gtloop wrote it; use that version, "
            "or restore the run folder from a back-up"
        ) from None


class Lock:
    """Only one process drives a run, or serves its page: an exclusive file lock, gone with who holds it."""

    def __init__(self, run: Path, name: str = "driver.lock", what: str = "driven") -> None:
        self._path, self._what = run / name, what
        self._file: IO[str] | None = None

    def __enter__(self) -> Lock:
        try:
            self._file = self._path.open("a+")
        except OSError as e:
            raise RunError(f"{self._path.parent} can't be written ({e.strerror}); name another with --run") from None
        try:
            self._take(self._file)
        except OSError:
            self._file.seek(0)
            pid = self._file.read().strip() or "unknown"
            self._file.close()
            raise Busy(
                f"{self._path.parent} is being {self._what} by another process (pid {pid}); "
                "wait for it, stop it, or start another run with --run"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()
        return self

    @staticmethod
    def _take(file: IO[str]) -> None:
        """Lock; for up to a second, as somebody may just be looking whether it is (``driven``)."""
        import fcntl

        end = time.monotonic() + 1
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
            time.sleep(random.uniform(0.001, 0.02))

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()


def driven(run: Path) -> bool:
    """Whether a process drives the run now; a killed one does not. True where that can't be told."""
    import fcntl

    try:
        with (run / "driver.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
