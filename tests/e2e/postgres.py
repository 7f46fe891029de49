"""A real PostgreSQL server, from the wheel of ``pgserver``, that can be crashed and started again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ports import free_port

GUEST, PASSWORD = "guest", "pass:w@rd/%?"
"""A role that needs a password, which has what a URL must escape."""


class Server:
    """Listens at 127.0.0.1; role ``postgres`` needs no password."""

    def __init__(self, folder: Path) -> None:
        from pgserver import utils
        from pgserver._commands import POSTGRES_BIN_PATH, initdb

        self._data = folder / "data"
        self._data.mkdir()
        self._user = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._user = "pgserver"
            utils.ensure_user_exists(self._user)
            for path in (self._data, POSTGRES_BIN_PATH):
                utils.ensure_prefix_permissions(path)
            for name in ("bin", "lib"):
                utils.ensure_folder_permissions(POSTGRES_BIN_PATH.parent / name, 0o055)
            shutil.chown(self._data, self._user)
        initdb(["--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres"], pgdata=self._data, user=self._user)
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {GUEST} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self.port = free_port()
        self.start()
        self.sql(f"CREATE ROLE {GUEST} LOGIN PASSWORD '{PASSWORD}'")

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """What a statement returns."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as c:
            done = c.execute(statement)
            return done.fetchall() if done.description else []

    def start(self) -> None:
        # no fsync: the server may crash here, the machine does not
        self._control("-w", "-l", str(self._data / "log"), "-o", f"-h 127.0.0.1 -p {self.port} -k '' -F", "start")

    def stop(self) -> None:
        """As a crash does it: connections end, and nothing is tidied up."""
        self._control("-w", "-m", "immediate", "stop")

    def _control(self, *args: str) -> None:
        from pgserver._commands import pg_ctl

        pg_ctl(list(args), pgdata=self._data, user=self._user)


@contextmanager
def server() -> Iterator[Server]:
    """A server that is gone after the block."""
    folder = Path(tempfile.mkdtemp(prefix="gtloop-postgres-"))
    try:
        made = Server(folder)
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
