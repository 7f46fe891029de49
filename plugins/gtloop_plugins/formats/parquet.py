"""``parquet``: one row an image, lossless for every task, and columns that DuckDB and Polars query as they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from gtloop.errors import BadLabels
from gtloop.interfaces import Entry, ExportRow, Format, Options
from gtloop.labelfiles import provenance, replacing
from gtloop.labels import BoxesLabel, ClassLabel
from gtloop.records import Payload

_ROWS = 4096
_CHARACTERS = 8 << 20
"""A row group is written at that many rows, or characters of payloads."""
_METADATA = b"gtloop"
_TYPED = ("boxes", "category")


class Parquet(Format):
    """Columns ``name`` and ``payload`` are all that a reader needs; the rest is where a label comes from.

    ``payload`` is the task's payload as JSON text (null: no label); ``boxes``, a list of structs ``category``, ``x1``,
    ``y1``, ``x2``, ``y2``, ``confidence`` (task ``bbox``), and ``category`` (task ``classification``) say the same in
    Parquet's own types, for queries; readers leave them alone. The file's metadata ``gtloop`` is a JSON object with
    ``task``, ``categories``, ``run``, ``frame`` and ``version``.
    """

    name = "parquet"
    summary = "Parquet, one row an image, lossless, for every task"
    Options = Options
    tasks = frozenset({"*"})
    reads = True
    writes = True
    suffix = ".parquet"

    def sniff(self, path: Path) -> bool:
        """Whether it is a Parquet file with columns ``name`` and ``payload``."""
        try:
            with path.open("rb") as file:
                if file.read(4) != b"PAR1":
                    return False
            import pyarrow.parquet as pq

            return {"name", "payload"} <= set(pq.read_schema(path).names)
        except (OSError, ValueError):  # ArrowInvalid is a ValueError
            return False

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the rows, one row group at a time; all other columns that hold something are extras.

        ``payload`` may be JSON text or a struct, in which a null stands for a key that is not there.
        Payloads are passed on as they are: the task checks them.

        Raises:
            BadLabels: With the file and row: no Parquet file, no ``name`` or ``payload``, a name a second time,
                a payload that is no JSON object.
        """
        import pyarrow.parquet as pq

        seen: dict[str, int] = {}
        with _readable(path), pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            missing = [c for c in ("name", "payload") if c not in names]
            if missing:
                raise BadLabels(f'{path} has no column "{missing[0]}"; write one row an image: name, payload')
            own = _METADATA in (file.schema_arrow.metadata or {})
            columns = [c for c in names if not (own and c in _TYPED)]
            number = 0
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(_ROWS, row_groups=[group], columns=columns):
                    for record in batch.to_pylist():
                        number += 1
                        yield _entry(record, seen, number, f"{path}, row {number}")

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write row groups while the rows come; the file appears complete or not at all.

        Raises:
            UsageError: ``path`` can't be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        facts = {"task": task, **{k: info[k] for k in ("categories", "run", "frame", "version") if k in info}}
        schema = _schema(task).with_metadata({_METADATA: json.dumps(facts, ensure_ascii=False).encode()})
        waiting: list[dict[str, Any]] = []
        characters = 0
        with replacing(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:

            def flush() -> None:
                writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
                waiting.clear()

            for row in rows:
                waiting.append(_record(row, task, info.get("frame", "display")))
                characters += len(waiting[-1]["payload"] or "")
                if len(waiting) >= _ROWS or characters >= _CHARACTERS:
                    flush()
                    characters = 0
            flush()
        return []


def _schema(task: str) -> Any:
    import pyarrow as pa

    text, real, whole = pa.string(), pa.float64(), pa.int32()
    fields = {"name": text, "payload": text}
    if task == "bbox":
        box = {"category": text, "x1": real, "y1": real, "x2": real, "y2": real, "confidence": real}
        fields["boxes"] = pa.list_(pa.struct(box.items()))
    if task == "classification":
        fields["category"] = text
    fields |= {"row": whole, "id": text, "width": whole, "height": whole, "frame": text, "status": text}
    fields |= {"reason": text, "source": text, "confidence": real, "iteration": whole, "model": text}
    fields |= {"threshold": real, "bound": real, "workers": whole, "consolidation": text}
    return pa.schema(list(fields.items()))


def _record(row: ExportRow, task: str, frame: str) -> dict[str, Any]:
    payload = None if row.label is None else row.label.payload
    record: dict[str, Any] = {
        "name": row.item.name,
        "payload": None if payload is None else json.dumps(payload, ensure_ascii=False, allow_nan=False),
        "width": row.width,
        "height": row.height,
        "frame": frame,
        **provenance(row),
    }
    if task == "bbox" and payload is not None:
        record["boxes"] = [
            {
                "category": b.category,
                **dict(zip(("x1", "y1", "x2", "y2"), b.xyxy, strict=True)),
                "confidence": b.confidence,
            }
            for b in BoxesLabel.model_validate(payload).boxes
        ]
    if task == "classification" and payload is not None:
        record["category"] = ClassLabel.model_validate(payload).category
    return record


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as e:  # ValueError: text that is not UTF-8
        raise BadLabels(f"{path} can't be read as Parquet ({' '.join(str(e).split())}); export it again") from e


def _entry(record: dict[str, Any], seen: dict[str, int], number: int, where: str) -> Entry:
    name, payload = record.pop("name"), record.pop("payload")
    if not isinstance(name, str) or not name:
        raise BadLabels(f'{where} has no "name" of an image, but {name!r}; write its path')
    if name in seen:
        raise BadLabels(f"{where}: {name} is there already, in row {seen[name]}; remove one")
    seen[name] = number
    extras = {k: v for k, v in record.items() if v is not None}
    source = extras.get("source") if extras.get("source") in ("human", "machine", "adjusted") else None
    frame = extras.get("frame")
    return Entry(name, _payload(payload, name, where), extras, source, "stored" if frame == "stored" else "display")


def _payload(value: Any, name: str, where: str) -> Payload | None:
    def not_a_number(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=not_a_number)
        except (ValueError, RecursionError) as e:
            raise BadLabels(f'{where}: "payload" of {name} is not JSON ({e}); write the payload as JSON') from e
    else:
        value = _without_nulls(value)
    if value is not None and not isinstance(value, dict):
        raise BadLabels(f'{where}: "payload" of {name} is {type(value).__name__}, no object; write the payload as JSON')
    return value


def _without_nulls(value: Any) -> Any:
    """A struct without its null fields: Arrow has no keys that are not there."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value
