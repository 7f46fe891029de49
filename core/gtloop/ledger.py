"""The append-only log of a run and its inbox: SQLAlchemy Core; a file of SQLite here, ``gtloop.postgres`` a server.

``event`` is written by the driver alone, which holds the run's lock; ``inbox`` by anyone (answers of
a web page, requests to change something): an entry is acknowledged when its row is committed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote

from gtloop.errors import RunError
from gtloop.events import AnyEvent, parse_event

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, MetaData

LEDGER = "ledger.sqlite"
SCHEMA = 1
PAGE = 1000
"""Events that are read at once."""
T = TypeVar("T")


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


def _tables(schema: str | None) -> MetaData:
    from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text

    meta = MetaData(schema)
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

    def __init__(self, engine: Engine, schema: str | None = None) -> None:
        self._engine = engine
        self._meta = _tables(schema)
        self.version, self.event, self.inbox = (
            self._meta.tables[name if schema is None else f"{schema}.{name}"]
            for name in ("schema_version", "event", "inbox")
        )

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Ledger:
        """Open ``ledger.sqlite``.

        Raises:
            RunError: It is not there, is no ledger, or is of another version.
        """
        from sqlalchemy import URL, create_engine, event
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
        try:
            with engine.begin() as c:
                found = ledger._found(c)
                if not found and create:
                    found = ledger._create(c)
        except DatabaseError as e:
            raise RunError(f"{path} is not a gtloop ledger ({e.orig!s}); choose another folder with --run") from None
        if not found:
            raise RunError(f"{path.parent} never started; run it again")
        check_version(path, found)
        return ledger

    def _found(self, c: Connection) -> Sequence[int]:
        """The version of its tables; empty where there are none, or a kill came between them and their version."""
        from sqlalchemy import inspect, select

        made = inspect(c).has_table(self.version.name, schema=self.version.schema)
        return c.execute(select(self.version.c.version)).scalars().all() if made else ()

    def _create(self, c: Connection) -> Sequence[int]:
        from sqlalchemy import insert

        self._meta.create_all(c)
        c.execute(insert(self.version).values(version=SCHEMA))
        return (SCHEMA,)

    def claim(self) -> None:
        """Become the one who may append, until ``close``; SQLite has the lock of the run folder for that.

        Raises:
            Busy: Somebody else is.
        """

    def claimed(self) -> bool:
        """Whether somebody has claimed it, as far as that is not told by the lock of the run folder."""
        return False

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()

    def append(self, events: Sequence[AnyEvent]) -> list[Entry]:
        """Commit events in one transaction, in order.

        Raises:
            RunError: One of them has happened before.
        """
        from sqlalchemy.exc import DatabaseError, IntegrityError

        at = now()
        rows = [{"at": at, "type": e.type, "key": e.key(), "body": e.model_dump_json()} for e in events]
        try:
            numbers = self._insert(rows)
        except IntegrityError:
            raise another_driver() from None
        except DatabaseError as e:
            raise RunError(f"the ledger can't be written ({e.orig}); mend that and run again") from None
        return [Entry(number, at, e) for number, e in zip(numbers, events, strict=True)]

    def _insert(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Commit rows of ``event``; their numbers."""
        from sqlalchemy import insert

        def work(c: Connection) -> list[int]:
            keys = (c.execute(insert(self.event).values(**row)).inserted_primary_key for row in rows)
            return [int(key[0]) for key in keys if key is not None]

        return self._do(work)

    def _do(self, work: Callable[[Connection], T]) -> T:
        """Do something in a transaction."""
        with self._engine.begin() as c:
            return work(c)

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Stream the events that follow ``after``, oldest first."""
        while page := self._page(after):
            for seq, at, body in page:
                yield Entry(seq, at, _event(seq, body))
            after = page[-1][0]

    def _page(self, after: int) -> list[tuple[int, str, str]]:
        """Number, time and body of the next events."""
        from sqlalchemy import select

        columns = self.event.c
        query = select(columns.seq, columns.at, columns.body).where(columns.seq > after).order_by(columns.seq)
        return self._do(lambda c: [(seq, at, body) for seq, at, body in c.execute(query.limit(PAGE))])

    def newest(self) -> int:
        """Number of the last event; 0 where there is none."""
        return self._do(self._newest)

    def _newest(self, c: Connection) -> int:
        from sqlalchemy import func, select

        return int(c.execute(select(func.coalesce(func.max(self.event.c.seq), 0))).scalar_one())

    def post(self, kind: str, key: str, body: str) -> int:
        """Put a letter into the inbox and return its number; one with this key that is there already stays."""
        from sqlalchemy import insert, select
        from sqlalchemy.exc import IntegrityError

        box = self.inbox

        def work(c: Connection) -> None:
            self._queue(c)
            c.execute(insert(box).values(at=now(), kind=kind, key=key, body=body))

        with suppress(IntegrityError):
            self._do(work)
        return int(self._do(lambda c: c.execute(select(box.c.number).where(box.c.key == key)).scalar_one()))

    def _queue(self, c: Connection) -> None:
        """Have letters committed in the order of their numbers: SQLite has one writer at a time anyway."""

    def letters(self, after: int = 0) -> list[Letter]:
        """Inbox rows after ``after``, oldest first."""
        from sqlalchemy import select

        box = self.inbox
        query = select(box.c.number, box.c.kind, box.c.body).where(box.c.number > after).order_by(box.c.number)
        return self._do(lambda c: [Letter(*row) for row in c.execute(query)])


def check_version(where: object, found: Sequence[int]) -> None:
    """Refuse a ledger that another gtloop made.

    Raises:
        RunError: It is of another version.
    """
    if list(found) != [SCHEMA]:
        raise RunError(
            f"{where} was made by another version of gtloop (ledger version {list(found)}, this one reads {SCHEMA});"
            " use that version, or start a new run with --run"
        )


def another_driver() -> RunError:
    """Two drivers: what one of them is told."""
    return RunError("another process wrote to this run's ledger; only one may drive a run at a time")


def _event(seq: int, body: str) -> AnyEvent:
    try:
        return parse_event(body)
    except ValueError:
        raise RunError(
            f"event {seq} of the ledger is damaged, or a newer gtloop wrote it; use that version, "
            "or restore the run folder from a back-up"
        ) from None
