"""Where a run's ledger is: a file in the run folder, or a server, whose address is in one."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gtloop.errors import ConfigError, RunError
from gtloop.files import write_atomic
from gtloop.ledger import LEDGER, Ledger
from gtloop.locks import Lock
from gtloop.postgres import PostgresLedger
from gtloop.servers import Address, new_address, old_address, same_place

ADDRESS = "ledger.toml"
STARTING = {
    *("driver.lock", "items.parquet", "labels", "listing", "models", "run.toml"),
    *(ADDRESS, f"{LEDGER}-wal", f"{LEDGER}-shm"),
}
"""What a start that was broken off may leave, the ledger's file aside; the next one goes over it."""


def is_run(root: Path) -> bool:
    """Whether a folder holds a run."""
    return any((root / name).is_file() for name in (LEDGER, ADDRESS))


def started(root: Path) -> bool:
    """Whether a folder holds more than what a start that was broken off may leave."""
    return _holds_more(root, *STARTING, LEDGER)


def _holds_more(root: Path, *names: str) -> bool:
    """Whether there is something else in a folder; half an address, left by a kill, aside."""
    return root.exists() and any(p.name not in names and not p.name.startswith(f".{ADDRESS}.") for p in root.iterdir())


def check_place(root: Path, url: str) -> None:
    """Refuse an address that is not that of the run's ledger.

    Raises:
        ConfigError: It is no address, or the ledger is elsewhere.
    """
    address = address_of(root)
    if address is None or not same_place(url, address):
        where = f"at {address.url}" if address else f"the file {LEDGER}"
        raise ConfigError(f"the ledger of {root} is {where}: leave run.ledger out, or start another run with --run")


def address_of(root: Path) -> Address | None:
    """The address of a run's ledger; None where it is a file, or where there is none.

    Raises:
        RunError: It can't be read.
        ConfigError: It is no address, or has a password.
    """
    path = root / ADDRESS
    try:
        table = tomllib.loads(path.read_text("utf-8"))
        url, schema = str(table["url"]), str(table["schema"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError):
        raise RunError(f"{path} can't be read; restore it from a back-up") from None
    return old_address(url, schema)


def open_ledger(root: Path, *, create: bool = False) -> Ledger:
    """Open the ledger of a run folder.

    Raises:
        RunError: It is not there, is no ledger, is of another version, or its server can't be used.
        MissingExtra: There is no library to reach its server with.
    """
    address = address_of(root)
    if address is None:
        return Ledger.open(root / LEDGER, create=create)
    new = not _holds_more(root, ADDRESS, "driver.lock")  # the server's part is made before anything else
    return PostgresLedger.at(root, address, create=create and new)


@contextmanager
def driving(root: Path, url: str | None = None, *, create: bool = False) -> Iterator[Ledger]:
    """The ledger of a run that this process, and no other, drives in the block.

    Args:
        root: Run folder; it exists.
        url: Where a new run's ledger is to be; None: in the folder.
        create: Make it where there is none.

    Raises:
        Busy: Another process drives the run.
        RunError: As ``open_ledger``.
    """
    with Lock(root):
        if create and url is not None and not is_run(root):
            _place(root, new_address(url, root))
        with closing(open_ledger(root, create=create)) as ledger:
            ledger.claim()
            yield ledger


def _place(root: Path, address: Address) -> None:
    """Make an empty ledger in a server, and write down where."""
    write_atomic(
        root / ADDRESS,
        "# Where the ledger of this run is; a password is never written here (docs/postgres.md).\n"
        f"url = {json.dumps(address.url)}\nschema = {json.dumps(address.schema)}\n".encode(),
    )
    try:
        open_ledger(root, create=True).close()
    except BaseException:
        (root / ADDRESS).unlink()
        raise


def drop_ledger(root: Path) -> None:
    """Remove what a server holds of a run that has not started."""
    if (address := address_of(root)) is not None:
        with closing(PostgresLedger.at(root, address)) as ledger:
            ledger.drop()


def stamp(root: Path) -> object:
    """What changes when a run's ledger does."""
    if address_of(root) is not None:
        with closing(open_ledger(root)) as ledger:
            return ledger.newest()
    found = []
    for name in (LEDGER, f"{LEDGER}-wal"):
        path = root / name
        stat = path.stat() if path.exists() else None
        found.append((stat.st_mtime_ns, stat.st_size) if stat else None)
    return found
