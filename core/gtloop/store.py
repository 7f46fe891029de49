"""The files of a run: Parquet written atomically and synced, so that an event never names a torn one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtloop.errors import RunError
from gtloop.events import FileRef
from gtloop.records import Payload

Table = dict[str, NDArray[Any] | list[Any]]


def sync_dir(path: Path) -> None:
    """Make a rename in ``path`` durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: either the old or the new content survives a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with tmp.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    tmp.replace(path)
    sync_dir(path.parent)


class Store:
    """Reads and writes the Parquet files of the run folder ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, columns: Mapping[str, NDArray[Any] | Sequence[Any]]) -> FileRef:
        """Write a table; columns whose name ends in ``_json`` hold JSON objects or None."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays = {n: _dump(c) if n.endswith("_json") else c for n, c in columns.items()}
        table = pa.table({n: _array(c) for n, c in arrays.items()})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        write_atomic(self.root / path, data)
        return FileRef(path=path, rows=table.num_rows, sha256=hashlib.sha256(data).hexdigest())

    def read(self, ref: FileRef, columns: Sequence[str] | None = None) -> Table:
        """Read a table that an event names.

        Raises:
            RunError: The file is gone or is not what the event says.
        """
        path = self.root / ref.path
        try:
            data = path.read_bytes()
        except OSError as e:
            raise RunError(f"{path} is missing ({e.strerror}); restore the run folder from a back-up") from None
        if hashlib.sha256(data).hexdigest() != ref.sha256:
            raise RunError(f"{path} was changed since it was written; restore the run folder from a back-up")
        return _read_bytes(data, columns)

    def read_path(self, path: str, columns: Sequence[str] | None = None) -> Table:
        """Read a table by its path, unchecked."""
        return _read_bytes((self.root / path).read_bytes(), columns)

    def payloads(self, refs: Sequence[FileRef], rows: NDArray[np.int32] | None = None) -> Iterator[tuple[int, Payload]]:
        """Stream (row, payload) of label files; rows without a payload are left out."""
        wanted = None if rows is None else set(rows.tolist())
        for ref in refs:
            t = self.read(ref, ["row", "payload_json"])
            for row, payload in zip(t["row"], t["payload_json"], strict=True):
                if payload is not None and (wanted is None or int(row) in wanted):
                    yield int(row), payload


def _dump(values: Sequence[Any] | NDArray[Any]) -> list[str | None]:
    return [None if v is None else json.dumps(v, separators=(",", ":")) for v in values]


def _array(values: Any) -> Any:
    """A pyarrow array; (n, k) numpy arrays become fixed-size lists."""
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.array(values)


def _read_bytes(data: bytes, columns: Sequence[str] | None) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Without threads: Arrow's may still live when the process ends, which aborts it (apache/arrow#34314).
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
        table = file.read(columns=list(columns) if columns is not None else None, use_threads=False)
    out: Table = {}
    for name in table.column_names:
        column = table.column(name)
        if name.endswith("_json"):
            out[name] = [None if v is None else json.loads(v) for v in column.to_pylist()]
        elif pa.types.is_fixed_size_list(column.type):
            flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            out[name] = flat.reshape(-1, column.type.list_size)
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
            out[name] = column.to_numpy()
        else:
            out[name] = column.to_pylist()
    return out
