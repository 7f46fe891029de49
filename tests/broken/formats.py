"""Broken formats, made of the built-in ``jsonl``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from broken.row import Row
from gtloop.errors import BadLabels
from gtloop.interfaces import Entry, ExportRow
from gtloop_plugins.formats.jsonl import JsonLines


class BoxLines(JsonLines):
    tasks: ClassVar[frozenset[str]] = frozenset({"bbox"})


class CannotWrite(BoxLines):
    """Format whose writer raises."""

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        listed = list(rows)
        if listed:
            raise KeyError("image_id")
        return super().write(path, listed, task, info)


class Shifts(BoxLines):
    """Format that moves boxes by a pixel or more."""

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        for e in super().read(path, task, categories):
            boxes = [{**b, "xyxy": [v + 2 for v in b["xyxy"]]} for b in (e.payload or {}).get("boxes", [])]
            yield e._replace(payload={"boxes": boxes} if e.payload else None)


class LosesAnImage(BoxLines):
    """Format that loses a labelled image."""

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        entries = list(super().read(path, task, categories))
        yield from entries[1:]


class DropsEmpty(BoxLines):
    """Format that drops empty images."""

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        return (e for e in super().read(path, task, categories) if e.payload is None or e.payload["boxes"])


class Invents(BoxLines):
    """Format that turns unlabelled rows into empty labels."""

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        return (e._replace(payload=e.payload or {"boxes": []}) for e in super().read(path, task, categories))


class DropsSilently(BoxLines):
    """Format that leaves out unlabelled rows without a word."""

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        return super().write(path, (row for row in rows if row.label is not None), task, info)


class SniffsAll(BoxLines):
    """Format whose sniff claims everything."""

    def sniff(self, path: Path) -> bool:
        return True


class SniffsNothing(BoxLines):
    """Format whose sniff does not know its own files."""

    def sniff(self, path: Path) -> bool:
        return False


class NeedsRows(BoxLines):
    """Format that can't read an export of no rows."""

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        entries = list(super().read(path, task, categories))
        if not entries:
            raise BadLabels(f"{path} holds no images")
        return iter(entries)


ROWS = [
    Row(CannotWrite, "check_writes_and_reads", "writing 10 rows raised KeyError: 'image_id'"),
    Row(Shifts, "check_reader_reads_what_writer_wrote", "comes back as"),
    Row(LosesAnImage, "check_counts_in_are_counts_out", "do not come back: tiny_000.png"),
    Row(DropsEmpty, "check_empty_images_are_kept", "labelled as empty, does not come back"),
    Row(Invents, "check_unlabelled_rows_never_become_labels", "has no label, but comes back labelled as {'boxes': []}"),
    Row(DropsSilently, "check_unlabelled_rows_never_become_labels", "left out and write returns no warning"),
    Row(SniffsAll, "check_sniff_knows_its_own", "says that a text file that says hello is of this format"),
    Row(SniffsNothing, "check_sniff_knows_its_own", "sniff does not know its own export.jsonl"),
    Row(NeedsRows, "check_writing_nothing_works", "holds no images"),
]
