"""``jsonl``: gtloop's own label file, JSON Lines, lossless for every task."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from gtloop.errors import BadLabels
from gtloop.interfaces import Entry, ExportRow, Format, Options
from gtloop.labelfiles import json_line, provenance, replacing
from gtloop.records import Source

_LONGEST = 1 << 24  # bytes of a first line that are looked at: a file of another format can be one line
_EXAMPLE = '{"name": "a.jpg", "payload": {...}}'


class JsonLines(Format):
    """One JSON object a line, one line an item, in UTF-8.

    ``name`` and ``payload`` (null: no label) are all that a reader needs; a writer adds ``row``, ``id``,
    ``width``, ``height``, ``frame``, ``status``, ``reason``, and ``source``, ``confidence``, ``iteration``, ``model``,
    ``threshold``, ``bound``, ``workers`` and ``consolidation`` of the label. Sizes and coordinates are pixels of
    ``frame``. Payloads are those of the task, as they are.
    """

    name = "jsonl"
    summary = "JSON Lines, one image a line, lossless, for every task"
    Options = Options
    tasks = frozenset({"*"})
    reads = True
    writes = True
    suffix = ".jsonl"

    def sniff(self, path: Path) -> bool:
        """Whether the first line that holds anything is a JSON object with a ``name``."""
        if not path.is_file():
            return False
        try:
            with path.open("rb") as file:
                lines = iter(lambda: file.readline(_LONGEST), b"")
                first = next((line for line in lines if line.strip()), b"")
            record = json.loads(first.decode("utf-8-sig"))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(record, dict) and "name" in record and ("payload" in record or path.suffix == self.suffix)

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the lines; every key but ``name`` and ``payload`` is among the extras.

        Payloads are passed on as they are: the task checks them.

        Raises:
            BadLabels: With the file and line: not UTF-8, not JSON, no name, a payload that is no object,
                a name a second time.
        """
        seen: dict[str, int] = {}
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                where = f"{path}, line {number}"
                record = json_line(raw, where, f"write lines such as {_EXAMPLE}")
                if record is None:
                    continue
                name, payload = record.pop("name", None), record.pop("payload", None)
                if not isinstance(name, str) or not name:
                    raise BadLabels(f'{where} has no "name" of an image; write lines such as {_EXAMPLE}')
                if payload is not None and not isinstance(payload, dict):
                    raise BadLabels(f'{where}: "payload" of {name} is not an object; write lines such as {_EXAMPLE}')
                if name in seen:
                    raise BadLabels(f"{where}: {name} is there already, in line {seen[name]}; remove one")
                seen[name] = number
                source, frame = record.get("source"), record.get("frame")
                yield Entry(
                    name,
                    payload,
                    record,
                    source if source in get_args(Source) else None,
                    "stored" if frame == "stored" else "display",
                )

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write one line a row, streaming; the file appears complete or not at all.

        Raises:
            UsageError: ``path`` can't be written.
        """
        with replacing(path) as file:
            for row in rows:
                record = {
                    "name": row.item.name,
                    "payload": None if row.label is None else row.label.payload,
                    "width": row.width,
                    "height": row.height,
                    "frame": info.get("frame", "display"),
                    **provenance(row),
                }
                file.write(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        return []
