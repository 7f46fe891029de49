"""What is known of each of millions of things, in a few bytes of memory: places of texts by hash, JSON on disk."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from weakref import finalize

import numpy as np

_JSON = json.JSONEncoder(separators=(",", ":")).encode


class Index:
    """Where each text stands among ``texts``: 20 bytes for each, as only hashes of 128 bits are kept."""

    def __init__(self, texts: Iterable[str]) -> None:
        hashes = bytearray()
        for text in texts:
            hashes += _hash(text)
        both = np.frombuffer(hashes, "<u8").reshape(-1, 2)
        order = np.argsort(both[:, 0], kind="stable")
        self._first, self._second = memoryview(both[order, 0]), memoryview(both[order, 1])
        self._order = order.astype(np.int32)

    def rows(self, text: str) -> list[int]:
        """Where a text stands, in order; empty: nowhere."""
        hashed = _hash(text)
        first, second = int.from_bytes(hashed[:8], "little"), int.from_bytes(hashed[8:], "little")
        found, at = [], bisect_left(self._first, first)
        while at < len(self._first) and self._first[at] == first:
            if self._second[at] == second:
                found.append(int(self._order[at]))
            at += 1
        return found


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Spool(Mapping[int, Any]):
    """JSON by number, in a file that is gone with the process: 12 bytes of memory for each number up to the highest.

    One thread writes, before others read.

    Args:
        folder: Where the file is to be; where it can't be there, or None: where the system has such files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        fits = folder is not None and os.access(folder, os.W_OK)
        self._file = TemporaryFile(dir=folder if fits else None)  # noqa: SIM115 (lives as long as this)
        finalize(self, self._file.close)
        self._start, self._bytes = np.zeros(0, np.int64), np.zeros(0, np.uint32)
        self._end = 0

    def put(self, number: int, value: Any) -> None:
        """Say what is known of a number; what was said of it before no longer counts."""
        data = _JSON(value).encode()
        self._file.write(data)
        self._point(number, self._end, len(data))
        self._end += len(data)

    def copy(self, number: int, to: int) -> None:
        """Let the same be known of another number."""
        self._point(to, int(self._start[number]), int(self._bytes[number]))

    def _point(self, number: int, start: int, length: int) -> None:
        if number >= len(self._bytes):
            more = max(1024, len(self._bytes) // 2, number + 1 - len(self._bytes))
            self._start, self._bytes = (
                np.concatenate([column, np.zeros(more, column.dtype)]) for column in (self._start, self._bytes)
            )
        self._start[number], self._bytes[number] = start, length

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int | np.integer) or not 0 <= number < len(self._bytes):
            return False
        return bool(self._bytes[number])

    def __getitem__(self, number: int) -> Any:
        if number not in self:
            raise KeyError(number)
        self._file.flush()
        return json.loads(os.pread(self._file.fileno(), int(self._bytes[number]), int(self._start[number])))

    def __iter__(self) -> Iterator[int]:
        """The numbers of which something is known, in order."""
        return (int(number) for number in np.flatnonzero(self._bytes))

    def __len__(self) -> int:
        return int(np.count_nonzero(self._bytes))
