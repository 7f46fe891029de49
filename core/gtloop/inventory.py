"""The items of a run: their numbers as columns in memory, their texts read from the file as they are needed."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from gtloop.errors import BadImage
from gtloop.events import FileRef
from gtloop.images import header
from gtloop.records import Item
from gtloop.store import PAGE, Store, open_parquet
from gtloop.urls import local_path

KEPT = 1 << 18
"""Texts that stay in memory, at least those of the row groups that were read last."""
TEXTS = ("id", "name", "uri")
NUMBERS = {"width": np.int32, "height": np.int32, "orientation": np.int8, "alias_of": np.int32}


class Pages:
    """Columns of row groups of a file, read as ``pyarrow`` arrays; the latest few are kept."""

    def __init__(self, ref: FileRef, store: Store) -> None:
        store.check(ref)
        self._file = open_parquet(store.root / ref.path)
        meta = self._file.metadata
        sizes = [meta.row_group(k).num_rows for k in range(meta.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._kept: OrderedDict[tuple[int, str], Any] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def group_of(self, rows: Any) -> Any:
        """The row group that holds a row, or each of (n,) rows."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def texts(self, number: int, column: str) -> Any:
        """A column of a row group."""
        with self._lock:
            key = (number, column)
            if key not in self._kept:
                table = self._file.read_row_group(number, columns=[column], use_threads=False)
                self._kept[key] = table.column(0).combine_chunks()
                while len(self._kept) > len(TEXTS) and sum(map(len, self._kept.values())) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


class Texts(Sequence[str]):
    """A column of texts by row. To iterate, or to take many rows at once, is much faster than row by row at random."""

    def __init__(self, pages: Pages, column: str) -> None:
        self._pages, self._column = pages, column

    def __len__(self) -> int:
        return len(self._pages)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return self.at(np.arange(len(self))[row])
        at = row + len(self) if row < 0 else row
        if not 0 <= at < len(self):
            raise IndexError(f"there is no row {row}")
        number = int(self._pages.group_of(at))
        text: str = self._pages.texts(number, self._column)[at - int(self._pages.starts[number])].as_py()
        return text

    def __iter__(self) -> Iterator[str]:
        for number in range(len(self._pages.starts) - 1):
            yield from self._pages.texts(number, self._column).to_pylist()

    def index(self, value: str, start: int = 0, stop: int | None = None) -> int:
        """The first row of a text, read as a stream; ValueError where there is none."""
        for row, text in enumerate(self):
            if text == value and start <= row and (stop is None or row < stop):
                return row
        raise ValueError(f"no row has {value}")

    def at(self, rows: NDArray[Any]) -> list[str]:
        """The texts of (n,) rows, in their order; each row group is read once."""
        rows = np.asarray(rows, np.int64)
        groups = self._pages.group_of(rows)
        order = np.argsort(groups, kind="stable")
        found = np.empty(len(rows), object)
        for some in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            if len(some):
                number = int(groups[some[0]])
                column = self._pages.texts(number, self._column)
                found[some] = column.take(rows[some] - self._pages.starts[number]).to_pylist()
        return found.tolist()


@dataclass(frozen=True)
class Items:
    """The items of a run as columns, (n,) each."""

    id: Texts
    name: Texts
    uri: Texts
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    orientation: NDArray[np.int8]
    alias_of: NDArray[np.int32]
    ref: FileRef
    store: Store

    @classmethod
    def read(cls, ref: FileRef, store: Store) -> Items:
        """Read ``items.parquet``.

        Raises:
            RunError: It is gone or changed.
        """
        numbers: dict[str, Any] = {n: np.zeros(ref.rows, kind) for n, kind in NUMBERS.items()}
        start = 0
        for t in store.stream(ref, list(NUMBERS)):
            for name, column in numbers.items():
                column[start : start + len(t[name])] = t[name]
            start += len(t["width"])
        pages = Pages(ref, store)
        return cls(Texts(pages, "id"), Texts(pages, "name"), Texts(pages, "uri"), **numbers, ref=ref, store=store)

    def __len__(self) -> int:
        return len(self.width)

    def __getitem__(self, row: int) -> Item:
        return self._item(int(row), self.id[row], self.name[row], self.uri[row])

    def __iter__(self) -> Iterator[Item]:
        for start in range(0, len(self), PAGE):
            yield from self.some(np.arange(start, min(start + PAGE, len(self))))

    def some(self, rows: NDArray[Any]) -> Iterator[Item]:
        """Items of rows, in their order; faster than one by one."""
        for start in range(0, len(rows), PAGE):
            of = rows[start : start + PAGE]
            for row, *texts in zip(of.tolist(), self.id.at(of), self.name.at(of), self.uri.at(of), strict=True):
                yield self._item(row, *texts)

    def _item(self, row: int, id: str, name: str, uri: str) -> Item:
        if self.width[row] == 0 and local_path(uri) is not None:  # unreadable when it was listed: perhaps mended since
            with suppress(BadImage):
                self.width[row], self.height[row], self.orientation[row], _ = header(uri)
        known = self.width[row] > 0
        return Item(
            row=row,
            id=id,
            name=name,
            uri=uri,
            width=int(self.width[row]) if known else None,
            height=int(self.height[row]) if known else None,
            orientation=int(self.orientation[row]),
            alias_of=int(self.alias_of[row]) if self.alias_of[row] >= 0 else None,
        )

    def hashes(self, rows: NDArray[np.int32]) -> Iterator[str]:
        """Stream content hashes of (n,) rows, which are sorted; empty where an image could not be read."""
        return (h for t in self.store.stream(self.ref, ["row", "sha256"], rows) for h in t["sha256"])

    def fingerprint(self) -> str:
        """SHA-256 of the sorted content hashes of all images: what they hold, whatever they are called."""
        held = np.zeros((len(self), 32), np.uint8)
        n = 0
        for t in self.store.stream(self.ref, ["sha256"]):
            known = "".join(t["sha256"])  # none of what could not be read
            end = n + len(known) // 64
            held[n:end] = np.frombuffer(bytes.fromhex(known), np.uint8).reshape(-1, 32)
            n = end
        ordered = held[:n].view("S32").ravel()
        ordered.sort()
        found = hashlib.sha256()
        for start in range(0, n, PAGE):
            found.update(ordered[start : start + PAGE].tobytes().hex().encode())
        return found.hexdigest()
