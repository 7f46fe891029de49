"""PostgreSQL servers that hold ledgers: their addresses, connections to them, and what their errors mean."""

from __future__ import annotations

import os
import re
import secrets
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gtloop.errors import ConfigError, MissingExtra, RunError

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine
    from sqlalchemy.exc import DBAPIError

VARIABLE = "GTLOOP_LEDGER"
"""Environment variable with the address for new runs; it may have a password, which is never written down."""
WAITS = {
    **{"connect_timeout": 10, "tcp_user_timeout": 30_000},
    **{"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3},
}
"""How soon this side notices that a server is gone; what the address says counts for more."""
SESSION = """SELECT set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false),
    set_config('tcp_keepalives_count', '3', false), set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END,
    false)"""
"""A driver whose machine is gone loses its lock after a minute; what is committed is on disk, whatever the default."""


class Address(NamedTuple):
    """Where a ledger is: a server's database, without a password, and the schema of the run in it."""

    url: str
    schema: str


def new_address(url: str, root: Path) -> Address:
    """The address of a new run's ledger.

    Raises:
        ConfigError: It is no address of a PostgreSQL database.
        MissingExtra: There is no library to reach one with.
    """
    found = _parsed(url)
    _check_library()
    slug = re.sub(r"[^a-z0-9]+", "_", root.name.lower()).strip("_")[:32]
    return Address(_bare(found).render_as_string(), f"gtloop_{slug}_{secrets.token_hex(6)}")


def old_address(url: str, schema: str) -> Address:
    """An address as somebody may have mended it.

    Raises:
        ConfigError: It is none of a PostgreSQL database, or has a password.
    """
    check_no_password(url)
    if not re.fullmatch(r"\w+", schema, re.ASCII):
        raise ConfigError("ledger.toml: a schema has letters, digits and _ only; put the old one back")
    return Address(_bare(_parsed(url)).render_as_string(), schema)


def same_place(url: str, address: Address) -> bool:
    """Whether a URL, with a password or without, is that of the address."""
    return _bare(_parsed(url)).render_as_string() == address.url


def check_no_password(url: str) -> None:
    """Refuse an address with a password, which would stand in files and in the list of processes.

    Raises:
        ConfigError: It has one, or is no address of a PostgreSQL database.
    """
    if _parsed(url) != _bare(_parsed(url)):
        raise ConfigError(
            f"run.ledger: leave the password out of the address; give it in PGPASSWORD, in ~/.pgpass, or in {VARIABLE}"
        )


def _parsed(url: str) -> URL:
    """An address; messages never show it, for it may have a password."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        found = None
    if found is None or found.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise ConfigError(
            f"run.ledger, {VARIABLE}: write an address as postgresql://USER@HOST/DATABASE; "
            "without one, the ledger is a file in the run folder"
        )
    return found.set(drivername="postgresql", password=found.password or None)


def _bare(url: URL) -> URL:
    """Without its password."""
    from sqlalchemy import URL

    return URL.create(
        url.drivername,
        url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query={k: v for k, v in url.query.items() if k not in ("password", "sslpassword")},
    )


def _check_library() -> None:
    if find_spec("psycopg") is None:
        raise MissingExtra("a ledger in PostgreSQL needs psycopg. Install: pip install 'gtloop[postgres]'")


def connections(address: Address, kept: int = 0) -> Engine:
    """Connections to the server, made when needed; at most ``kept`` of them at once, or any number and not kept.

    Raises:
        MissingExtra: There is no library to make them with.
    """
    from sqlalchemy import NullPool, QueuePool, create_engine, event

    _check_library()
    url, given = _parsed(address.url), os.environ.get(VARIABLE)
    if given is not None and same_place(given, address):
        url = _parsed(given)
    pool: dict[str, Any] = {"poolclass": QueuePool, "pool_size": kept, "max_overflow": 0, "pool_pre_ping": True}
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        **(pool if kept else {"poolclass": NullPool}),
        isolation_level="READ COMMITTED",
        use_native_hstore=False,
        connect_args={
            "application_name": f"gtloop, pid {os.getpid()} on {socket.gethostname()}"[:63],
            "client_encoding": "utf8",
            **{name: value for name, value in WAITS.items() if name not in url.query},
        },
    )

    @event.listens_for(engine, "connect")
    def _settle(connection: Any, _record: Any) -> None:
        connection.execute(SESSION)
        connection.commit()

    return engine


def lost(e: DBAPIError) -> bool:
    """Whether the connection is gone, or none could be made, rather than something refused."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    state = getattr(e.orig, "sqlstate", None)
    gone = state is None or state == "53300" or state.startswith(("08", "57P"))  # too many, broken, shut down
    return e.connection_invalidated or (isinstance(e, InterfaceError | OperationalError) and gone)


def told(e: DBAPIError, address: Address) -> RunError:
    """What a server said that can't be used, and what to do about it."""
    said = " ".join(str(e.orig).split())
    name = _parsed(address.url).database
    if getattr(e.orig, "sqlstate", None) == "42501":
        todo = f'allow it: GRANT CREATE ON DATABASE "{name}" TO this role'
    elif "password" in said or "authentication" in said:
        todo = f"give the password in PGPASSWORD, in ~/.pgpass, or in {VARIABLE}"
    elif "does not exist" in said:
        todo = "make it (createdb, createuser), or correct the address"
    else:
        todo = "see that the server runs, and that the address is right"
    return RunError(f"the ledger at {address.url} can't be used: {said}; {todo}")
