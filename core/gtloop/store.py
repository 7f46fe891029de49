"""The files of a run: Parquet written atomically and synced, so that an event never names a torn one.

Written and read in row groups: what is in memory at a time does not grow with the table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gtloop.errors import RunError
from gtloop.events import FileRef
from gtloop.files import replacing_atomically, sync_dir
from gtloop.records import Payload
from gtloop.slices import Slices

Table = dict[str, NDArray[Any] | list[Any]]

BLOCK = 1 << 18
"""Rows of a row group where nobody asks for smaller ones."""
PAGE = 1 << 14
"""Rows of a row group of a file that is streamed, or read here and there."""
_JSON = json.JSONEncoder(separators=(",", ":")).encode
_checked: dict[Path, tuple[str, int, int, int]] = {}
"""Files that this process has found to be what their event says: hash, inode, size and time of change."""


class Writer:
    """Writes a table row group by row group; ``ref`` is there once it is closed (``Store.writing``)."""

    def __init__(self, path: str, file: IO[bytes]) -> None:
        self.rows = 0
        self.ref: FileRef
        self._path, self._sink = path, _Hashing(file)
        self._parquet: Any = None

    def add(self, columns: Mapping[str, Any]) -> None:
        """Write rows as one group; columns whose name ends in ``_json`` hold JSON objects or None."""
        import pyarrow as pa

        self.add_table(pa.table({n: _array(n, c) for n, c in columns.items()}))

    def add_table(self, table: Any) -> None:
        """Write the rows of a ``pyarrow.Table`` as one group."""
        import pyarrow.parquet as pq

        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._sink, table.schema, compression="zstd")
        self._parquet.write_table(table, row_group_size=max(1, table.num_rows))
        self.rows += table.num_rows

    def close(self) -> None:
        """Write the end of the file."""
        if self._parquet is not None:
            self._parquet.close()
        self.ref = FileRef(path=self._path, rows=self.rows, sha256=self._sink.digest.hexdigest())


class _Hashing:
    """A file to write that hashes what it is given."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Whoever opened the file closes it."""


class Store:
    """Reads and writes the Parquet files of the run folder ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, columns: Mapping[str, NDArray[Any] | Sequence[Any] | Slices]) -> FileRef:
        """Write a table; columns whose name ends in ``_json`` hold JSON objects or None."""
        found = {n: c if isinstance(c, np.ndarray | Slices) else _array(n, c) for n, c in columns.items()}
        with self.writing(path) as writer:
            for start in range(0, max(len(next(iter(found.values()))), 1), BLOCK):
                writer.add({name: column[start : start + BLOCK] for name, column in found.items()})
        return writer.ref

    @contextmanager
    def writing(self, path: str) -> Iterator[Writer]:
        """Write a table in the block, row group by row group; it appears whole or not at all."""
        with replacing_atomically(self.root / path) as file:
            writer = Writer(path, file)
            try:
                yield writer
            finally:
                writer.close()
        _checked[self.root / path] = _seen(writer.ref, self.root / path)

    def move(self, ref: FileRef, path: str) -> FileRef:
        """Give a file another path, in the place of what is there."""
        (self.root / ref.path).replace(self.root / path)
        sync_dir((self.root / path).parent)
        moved = ref.model_copy(update={"path": path})
        _checked[self.root / path] = _seen(moved, self.root / path)
        return moved

    def read(self, ref: FileRef, columns: Sequence[str] | None = None) -> Table:
        """Read a table that an event names.

        Raises:
            RunError: The file is gone or is not what the event says.
        """
        self.check(ref)
        return self.read_path(ref.path, columns)

    def read_path(self, path: str, columns: Sequence[str] | None = None) -> Table:
        """Read a table by its path, unchecked."""
        with open_parquet(self.root / path) as file:
            return unpacked(file.read(columns=_some(columns), use_threads=False))

    def stream(
        self, ref: FileRef, columns: Sequence[str], rows: NDArray[np.int32] | None = None, *, size: int = 0
    ) -> Iterator[Table]:
        """Read a table that an event names in pieces of ``size`` rows (0: ``PAGE``); only those of ``rows``, sorted.

        Raises:
            RunError: As ``read``.
        """
        self.check(ref)
        return self.stream_path(ref.path, columns, rows, size=size)

    def stream_path(
        self, path: str, columns: Sequence[str], rows: NDArray[np.int32] | None = None, *, size: int = 0
    ) -> Iterator[Table]:
        """As ``stream``, by a path, unchecked; where none of a small file's rows is wanted, only these are read."""
        with open_parquet(self.root / path) as file:
            if rows is not None and file.metadata.num_rows <= PAGE:
                own = file.read(columns=["row"], use_threads=False).column("row").to_numpy()
                if not among(own, rows).any():
                    return
            for table in file.iter_batches(size or PAGE, columns=_some(columns), use_threads=False):
                if rows is not None:
                    table = table.filter(_mask(among(table.column("row").to_numpy(), rows)))
                if table.num_rows:
                    yield unpacked(table)

    def check(self, ref: FileRef) -> None:
        """See that a file is what an event says; one that this process has seen, and that is as it was, is.

        Raises:
            RunError: It is gone or changed.
        """
        path = self.root / ref.path
        try:
            if _checked.get(path) == (seen := _seen(ref, path)):
                return
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as e:
            raise RunError(f"{path} is missing ({e.strerror}); restore the run folder from a back-up") from None
        if found != ref.sha256:
            raise RunError(f"{path} was changed since it was written; restore the run folder from a back-up")
        _checked[path] = seen

    def payloads(self, refs: Sequence[FileRef], rows: NDArray[np.int32] | None = None) -> Iterator[tuple[int, Payload]]:
        """Stream (row, payload) of label files; rows without a payload are left out."""
        wanted = None if rows is None else in_order(rows)
        for ref in refs:
            for t in self.stream(ref, ["row", "payload_json"], wanted):
                for row, payload in zip(t["row"], t["payload_json"], strict=True):
                    if payload is not None:
                        yield int(row), payload


def _seen(ref: FileRef, path: Path) -> tuple[str, int, int, int]:
    now = path.stat()
    return ref.sha256, now.st_ino, now.st_size, now.st_mtime_ns


def open_parquet(path: Path) -> Any:
    """A ``pyarrow.parquet.ParquetFile`` to read from.

    Read without threads: Arrow's may still live when the process ends, which aborts it (apache/arrow#34314).
    """
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, pre_buffer=False)


def among(values: NDArray[Any], some: NDArray[Any]) -> NDArray[np.bool_]:
    """(n,) whether each value is one of ``some``, which is sorted; the cost does not grow with the largest of them."""
    if not len(some):
        return np.zeros(len(values), np.bool_)
    at = np.minimum(np.searchsorted(some, values), len(some) - 1)
    found: NDArray[np.bool_] = some[at] == values
    return found


def in_order(rows: NDArray[Any]) -> NDArray[Any]:
    """Distinct rows, sorted; the same array where it is that already, as ``np.unique`` takes many times its memory."""
    return rows if (rows[1:] > rows[:-1]).all() else np.unique(rows)


def unpacked(table: Any) -> Table:
    """The columns of a ``pyarrow`` table: numbers as numpy arrays, fixed-size lists as (n, k), JSON parsed."""
    import pyarrow as pa

    out: Table = {}
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if name.endswith("_json"):
            out[name] = _parsed(column.to_pylist())
        elif pa.types.is_fixed_size_list(column.type):
            whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            flat = whole.flatten().to_numpy(zero_copy_only=False)
            out[name] = flat.reshape(-1, column.type.list_size)
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
            out[name] = column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(False)
        else:
            out[name] = column.to_pylist()
    return out


def _parsed(texts: list[str | None]) -> list[Any]:
    """JSON texts as objects; many are parsed as one list, which takes a third of the time."""
    found: list[Any] = []
    for start in range(0, len(texts), PAGE):
        some = ",".join("null" if text is None else text for text in texts[start : start + PAGE])
        found += json.loads(f"[{some}]")
    return found


def _array(name: str, values: Any) -> Any:
    """A pyarrow array; (n, k) numpy arrays become fixed-size lists."""
    import pyarrow as pa

    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if name.endswith("_json"):
        return pa.array([None if v is None else _JSON(v) for v in values], pa.string())
    if isinstance(values, Slices):
        return pa.DictionaryArray.from_arrays(pa.array(values.codes), pa.array(values.names, pa.string())).cast(
            pa.string()
        )
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.array(values)


def _some(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)


def _mask(values: NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.array(values)
