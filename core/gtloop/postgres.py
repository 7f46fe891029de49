"""A run's ledger in a PostgreSQL server (docs/postgres.md): one schema a run, any number of runs a database.

Who drives a run holds an advisory lock of a connection of its own, and appends on that very connection, at the number
after the last that it knows: who has lost the lock has lost the connection, and two can never both append.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtloop.errors import RunError
from gtloop.ledger import Ledger, T, another_driver, check_version
from gtloop.locks import busy
from gtloop.servers import Address, connections, lost, told

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

log = logging.getLogger("gtloop.ledger")
PATIENCE_S = 120.0
"""How long a server that was there is waited for."""
KILLED_S = 5.0
"""How long a server may take to notice that a driver was killed."""
HOLDER = """SELECT coalesce(nullif(max(a.application_name), ''), 'unknown')
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.classid::bigint = (CAST(:key AS bigint) >> 32) & 4294967295
    AND l.objid::bigint = CAST(:key AS bigint) & 4294967295 HAVING count(*) > 0"""


class PostgresLedger(Ledger):
    """The event log of a run, in a server."""

    def __init__(self, root: Path, address: Address) -> None:
        super().__init__(connections(address), address.schema)
        self._root, self._address = root, address
        self._key = int.from_bytes(hashlib.sha256(address.schema.encode()).digest()[:8], "big", signed=True)
        self._claimed = False
        self._driver: Connection | None = None  # holds the lock
        self._last = self._upto = 0  # last event, and the last that may be there by what is being written

    @classmethod
    def at(cls, root: Path, address: Address, *, create: bool = False) -> PostgresLedger:
        """Open the ledger at an address.

        Raises:
            RunError: The server can't be used, or holds no such ledger, or one of another version.
            MissingExtra: There is no library to reach it with.
        """
        from sqlalchemy import text
        from sqlalchemy.exc import DBAPIError

        ledger = cls(root, address)
        try:
            with ledger._engine.begin() as c:
                found = ledger._found(c)
                if not found and create:
                    c.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{address.schema}"'))
                    found = ledger._create(c)
        except DBAPIError as e:
            raise told(e, address) from None
        if not found:
            raise RunError(
                f"{address.url} has no schema {address.schema}, which is the ledger of {root}; "
                "restore the database from a back-up, or mend the address in ledger.toml"
            )
        check_version(f"schema {address.schema} in {address.url}", found)
        return ledger

    def claim(self) -> None:
        from sqlalchemy.exc import DBAPIError

        try:
            self._driver = self._locked(time.monotonic() + KILLED_S)
            with self._driver.begin():
                self._last = self._upto = self._newest(self._driver)
        except DBAPIError as e:
            raise told(e, self._address) from None
        self._claimed = True

    def claimed(self) -> bool:
        return self._do(self._holder) is not None

    def close(self) -> None:
        if self._driver is not None:
            self._driver.close()
        self._driver, self._claimed = None, False
        super().close()

    def drop(self) -> None:
        """Remove it from the server."""
        from sqlalchemy import text

        self._do(lambda c: c.execute(text(f'DROP SCHEMA "{self._address.schema}" CASCADE')))

    def _holder(self, c: Connection) -> str | None:
        """Who holds the lock."""
        from sqlalchemy import text

        found = c.execute(text(HOLDER), {"key": self._key}).scalar_one_or_none()
        return None if found is None else str(found).removeprefix("gtloop, ")

    def _locked(self, end: float) -> Connection:
        """A connection that holds the lock, for which it waits till ``end``.

        Raises:
            Busy: Somebody else has it.
            RunError: Somebody else had it since this process lost it, and used it.
        """
        from sqlalchemy import text

        c = self._engine.connect()
        try:
            while not c.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": self._key}).scalar_one():
                if time.monotonic() > end:
                    raise busy(self._root, self._holder(c) or "unknown")
                c.rollback()
                time.sleep(0.1)
            if self._claimed and c.execute(self._after(self._upto)).first() is not None:
                raise another_driver()
            c.commit()
        except BaseException:
            c.close()
            raise
        return c

    def _after(self, number: int) -> Select[Any]:
        """The rows of ``event`` after a number."""
        from sqlalchemy import select

        return select(self.event).where(self.event.c.seq > number).order_by(self.event.c.seq)

    def _insert(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        if not self._claimed:
            raise RuntimeError("only who has claimed a ledger may append to it")
        numbered = [{"seq": self._last + n, **row} for n, row in enumerate(rows, start=1)]
        self._upto = self._last + len(rows)
        try:
            self._do(lambda c: self._put(c, numbered))
            self._last = self._upto
        finally:
            self._upto = self._last
        return [row["seq"] for row in numbered]

    def _put(self, c: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows of ``event``, unless a commit did whose answer was lost with the connection."""
        from sqlalchemy import insert

        found = [dict(row) for row in c.execute(self._after(self._last)).mappings()]
        if found and found != rows:
            raise another_driver()
        if rows and not found:
            c.execute(insert(self.event), rows)

    def _queue(self, c: Connection) -> None:
        """Have letters committed in the order of their numbers, so that who has read one never misses one before it."""
        from sqlalchemy import text

        c.execute(text(f'LOCK TABLE "{self._address.schema}".inbox IN SHARE ROW EXCLUSIVE MODE'))

    def _do(self, work: Callable[[Connection], T]) -> T:
        """Do something in a transaction, perhaps twice: where the connection is lost, wait for the server.

        Raises:
            RunError: It does not come back, or it refuses.
            IntegrityError: A key is there.
        """
        from sqlalchemy.exc import DBAPIError, IntegrityError

        end: float | None = None
        while True:
            try:
                return self._once(work, end or time.monotonic() + PATIENCE_S)
            except IntegrityError:
                raise
            except DBAPIError as e:
                said = " ".join(str(e.orig).split())
                if not lost(e):
                    raise RunError(f"the ledger can't be used ({said}); mend that and run again") from None
                if end is None:
                    end = time.monotonic() + PATIENCE_S
                    log.warning("the ledger's server does not answer, waiting for it: %s", said)
                elif time.monotonic() > end:
                    raise RunError(
                        f"the ledger's server has not answered for {PATIENCE_S:.0f} seconds ({said}); "
                        "nothing is lost: run again when it does"
                    ) from None
            time.sleep(random.uniform(0.2, 1.0))

    def _once(self, work: Callable[[Connection], T], end: float) -> T:
        """Do something in a transaction; of who drives, on the connection that holds the lock."""
        if not self._claimed:
            return super()._do(work)
        if self._driver is None or self._driver.invalidated:
            self._driver = self._locked(end)
        with self._driver.begin():
            return work(self._driver)
