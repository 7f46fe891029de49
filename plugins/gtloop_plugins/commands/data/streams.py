"""Text behind a URL or in a file, read block by block: large tables never are in memory as a whole."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from gtloop.errors import BadImage, SourceError
from gtloop.remote import opened
from gtloop.retrying import tried
from gtloop.urls import local_path, shown

BLOCK = 4 << 20
"""Bytes that are asked for at a time; a connection that breaks costs no more than one block."""
HINT = "give another --annotations-url"


class _Raw(io.RawIOBase):
    """Blocks as a file."""

    def __init__(self, found: Iterator[bytes]) -> None:
        self._found, self._left = found, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        if not self._left:
            self._left = memoryview(next(self._found, b""))
        n = min(len(into), len(self._left))
        into[:n], self._left = self._left[:n], self._left[n:]
        return n


def lines(where: str) -> Iterator[str]:
    """The lines of a text in UTF-8, with their ends, as ``csv`` wants them.

    Raises:
        SourceError: It is not there, or can't be reached.
    """
    file = io.BufferedReader(_Raw(blocks(where)))
    yield from io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline="")


def whole(where: str) -> bytes:
    """All of it, for what is small; raises as ``lines``."""
    return b"".join(blocks(where))


def blocks(where: str) -> Iterator[bytes]:
    """The bytes, in blocks; each is asked for again where its connection breaks; raises as ``lines``."""
    if (local := local_path(where)) is not None:
        try:
            with Path(local).open("rb") as file:
                yield from iter(lambda: file.read(BLOCK), b"")
        except OSError as e:
            raise SourceError(f"{where} can't be read ({e.strerror}); {HINT}") from None
        return
    try:
        system, path = opened(where)
        size = tried(where, partial(system.info, path)).get("size")
        at = 0
        while size is None or at < size:
            end = at + BLOCK if size is None else min(at + BLOCK, size)
            block = bytes(tried(where, partial(system.cat_file, path, start=at, end=end)))
            if len(block) > end - at:  # a server that knows no ranges sends all of it
                yield block[at:]
                return
            if not block:
                return
            yield block
            at += len(block)
    except BadImage as e:
        raise SourceError(f"{shown(where)}: {e}; {HINT}") from e
