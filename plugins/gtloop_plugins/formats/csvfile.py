"""``csv``: a table of images and their categories, as spreadsheets and data frames open it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast, get_args

from gtloop.errors import BadLabels
from gtloop.images import suffixes
from gtloop.interfaces import Entry, ExportRow, Format, Frame, Options
from gtloop.labelfiles import check_category, provenance, replacing
from gtloop.records import Payload, Source

COLUMNS = (
    *("image", "label", "confidence", "source", "status", "reason", "row", "id", "iteration", "model", "threshold"),
    *("bound", "workers", "consolidation", "width", "height", "frame", "label_confidence"),
)
"""Header of an export; ``label_confidence`` is that of the payload, which a person's label need not have."""

_IMAGE = ("image", "name", "file", "filename", "path", "image_id")
_LABEL = ("label", "class", "category", "target")
_INTEGERS = ("row", "iteration", "workers", "width", "height")
_NUMBERS = ("confidence", "threshold", "bound")
_OR_NONE = (*_INTEGERS, *_NUMBERS, "source", "model", "consolidation")
_SUFFIXES = (".csv", ".tsv", ".txt")
_DELIMITERS = ",;\t"
_LONGEST = 1 << 16


class _Header(NamedTuple):
    """Positions of the columns; ``names`` is empty where the first line is a row already."""

    delimiter: str
    names: tuple[str, ...]
    image: int = 0
    label: int = 1


class CsvFile(Format):
    """One image a line: ``image,label`` and what else is known; an empty label is an image without one.

    Written: comma, UTF-8, ``COLUMNS`` as the header. Read: comma, semicolon or tab, whichever the first line has; the
    image's column is called image, name, file, filename, path or image_id, the label's label, class, category or
    target, in any case. Without a header there are two columns, image and label.
    """

    name = "csv"
    summary = "table with a column image and a column label"
    Options = Options
    tasks = frozenset({"classification"})
    reads = True
    writes = True
    suffix = ".csv"

    def sniff(self, path: Path) -> bool:
        """Whether the first line has both columns, or is an image's name and one more field."""
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            return False
        try:
            with path.open("rb") as file:
                first = file.readline(_LONGEST).decode("utf-8-sig")
        except (OSError, ValueError):
            return False
        delimiter = _delimiter(first)
        fields = _fields(first, delimiter)
        if _header(fields, delimiter) is not None:
            return True
        image = PurePosixPath(fields[0].strip()).suffix.lower() in suffixes() if fields else False
        return len(fields) == 2 and (image or fields[1].strip() in self.context.categories)

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the lines; all other columns are among the extras, under the header's names.

        The payload has a confidence where there is a column ``label_confidence``, else ``confidence``.

        Raises:
            BadLabels: With the line: not UTF-8, not CSV, no header, a number of fields that is not the header's, no
                image, an image a second time, a category that is not declared, a confidence outside 0 to 1.
        """
        with path.open("rb") as file:
            first = file.readline()
            file.seek(0)
            delimiter = _delimiter(_decoded(first, f"{path}, line 1"))
            lines = csv.reader(_lines(file, path), delimiter=delimiter, strict=True)
            header: _Header | None = None
            seen: dict[str, int] = {}
            for number, fields in _rows(lines, path):
                if header is None:
                    header = _first(fields, delimiter, categories, path)
                    if header.names:
                        continue
                where = f"{path}, line {number}"
                entry = _entry(fields, header, categories, where)
                if entry.name in seen:
                    raise BadLabels(f"{where}: {entry.name} is there already, in line {seen[entry.name]}; remove one")
                seen[entry.name] = number
                yield entry

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write one line a row, streaming; the file appears complete or not at all.

        Raises:
            UsageError: ``path`` can't be written.
        """
        with replacing(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
            table = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore")
            table.writeheader()
            for row in rows:
                payload = {} if row.label is None else row.label.payload
                table.writerow(
                    {
                        **{k: v for k, v in provenance(row).items() if v is not None},
                        "image": row.item.name,
                        "label": payload.get("category", ""),
                        "width": row.width,
                        "height": row.height,
                        "frame": info.get("frame", "display"),
                        "label_confidence": payload.get("confidence"),
                    }
                )
            text.detach()
        return []


def _delimiter(line: str) -> str:
    """The one that the line has most of, outside quotes; the comma among equals."""
    bare = "".join(line.split('"')[::2])
    return max(_DELIMITERS, key=bare.count)


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _header(fields: Sequence[str], delimiter: str) -> _Header | None:
    """The header that these fields are; None where a column is missing."""
    names = [field.strip().casefold() for field in fields]
    image = next((names.index(name) for name in _IMAGE if name in names), None)
    label = next((names.index(name) for name in _LABEL if name in names), None)
    if image is None or label is None:
        return None
    return _Header(delimiter, tuple(names), image, label)


def _first(fields: Sequence[str], delimiter: str, categories: Sequence[str], path: Path) -> _Header:
    header = _header(fields, delimiter)
    if header is not None:
        return header
    if len(fields) == 2 and fields[1].strip() in categories:
        return _Header(delimiter, ())
    raise BadLabels(
        f"{path}, line 1 is no header ({_short(delimiter.join(fields))}); name one column image and one label "
        "(without a header: two columns, image and a declared category)"
    )


def _lines(file: Iterable[bytes], path: Path) -> Iterator[str]:
    for number, raw in enumerate(file, 1):
        yield _decoded(raw, f"{path}, line {number}")


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8-sig" if where.endswith("line 1") else "utf-8")
    except UnicodeDecodeError as e:
        raise BadLabels(f"{where} is not UTF-8; save the file as CSV UTF-8") from e


def _rows(lines: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number of its last line, fields) of each row that is not blank."""
    try:
        for fields in lines:
            if any(field.strip() for field in fields):
                yield lines.line_num, fields
    except csv.Error as e:
        raise BadLabels(f"{path}, line {lines.line_num} is not CSV ({e}); correct it") from e


def _entry(fields: Sequence[str], header: _Header, categories: Sequence[str], where: str) -> Entry:
    width = len(header.names) or 2
    if len(fields) != width:
        raise BadLabels(f"{where} has {len(fields)} fields, not {width}; put fields that hold a delimiter in quotes")
    name, category = fields[header.image], fields[header.label]
    if not name.strip():
        raise BadLabels(f"{where} names no image; add its path or remove the line")
    others = {k: fields[n] for n, k in enumerate(header.names) if n not in (header.image, header.label)}
    source, frame = others.get("source"), others.get("frame")
    return Entry(
        name,
        _payload(category, others, categories, where),
        {k: _value(k, v) for k, v in others.items() if k not in ("frame", "label_confidence")},
        cast(Source, source) if source in get_args(Source) else None,
        cast(Frame, frame) if frame in get_args(Frame) else "display",
    )


def _payload(category: str, others: Mapping[str, str], categories: Sequence[str], where: str) -> Payload | None:
    if category not in categories:
        category = category.strip()  # people write a space behind the comma
    if not category:
        return None
    payload: Payload = {"category": check_category(category, categories, where)}
    column = "label_confidence" if "label_confidence" in others else "confidence"
    text = others.get(column, "").strip()
    if not text:
        return payload
    confidence = _number(text)
    if confidence is None or not 0 <= confidence <= 1:
        raise BadLabels(f"{where}: {column} is {_short(text)}, not a number from 0 to 1; correct it")
    return payload | {"confidence": confidence}


def _value(column: str, text: str) -> Any:
    """A field of an export as what it was; of anything else as it is written."""
    if not text:
        return None if column in _OR_NONE else ""
    if column in _INTEGERS and text.lstrip("-").isdecimal():
        return int(text)
    number = _number(text) if column in _NUMBERS else None
    return text if number is None else number


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
