"""Files that appear whole or not at all, whoever else writes at the same place: other processes, other hosts."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def sync_dir(path: Path) -> None:
    """Make a rename in ``path`` durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def scratch(path: Path) -> Path:
    """A name beside ``path`` that nobody else has, on any host."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


@contextmanager
def replacing_atomically(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of ``path`` at the end of the block: the old or the new content survives a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = scratch(path)
    try:
        with tmp.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        tmp.replace(path)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    sync_dir(path.parent)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``, as ``replacing_atomically`` does."""
    with replacing_atomically(path) as file:
        file.write(data)
