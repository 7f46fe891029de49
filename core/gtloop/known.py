"""Labels that are known from files: truth for simulated people, earlier human labels, predictions.

Whatever a file is in, what comes out is one canonical payload a row, in the display frame and in the categories of now.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gtloop import labelfiles
from gtloop.compact import Spool
from gtloop.errors import BadAnswer, BadLabels, MissingExtra
from gtloop.interfaces import Context, Entry, Format, Task
from gtloop.items import Items
from gtloop.records import Item, Payload, Source
from gtloop.settings import Settings
from gtloop.wording import counted

if TYPE_CHECKING:
    from gtloop.registry import Registry

log = logging.getLogger("gtloop.known")

TOGETHER = 4096
"""Entries whose images are looked up at a time: a file may name them in any order."""


class Known(NamedTuple):
    """A label of a file: canonical, in the display frame; ``source`` is who made it, where the file says so."""

    payload: Payload
    source: Source | None
    confidence: float


class Labels(Mapping[int, Known]):
    """Row to label, in the order of rows; on disk, as a file may be about millions of images."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def __contains__(self, row: object) -> bool:
        return row in self._spool

    def __getitem__(self, row: int) -> Known:
        return Known(*self._spool[row])

    def __iter__(self) -> Iterator[int]:
        return iter(self._spool)

    def __len__(self) -> int:
        return len(self._spool)

    def payloads(self) -> Truth:
        """Row to payload."""
        return Truth([self])


class Truth(Mapping[int, Payload]):
    """Row to payload of several label files; where two know of a row, the later one counts."""

    def __init__(self, files: Sequence[Labels]) -> None:
        self._files = files

    def __contains__(self, row: object) -> bool:
        return any(row in labels for labels in self._files)

    def __getitem__(self, row: int) -> Payload:
        for labels in reversed(self._files):
            if row in labels:
                return labels[row].payload
        raise KeyError(row)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted({row for labels in self._files for row in labels}))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Part(Sequence[str]):
    """Some names of many, from one row on."""

    def __init__(self, names: Sequence[str], rows: range) -> None:
        self._names, self._rows = names, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: Any) -> Any:
        return self._names[self._rows[at]]

    def __iter__(self) -> Iterator[str]:
        return islice(self._names, self._rows.start, self._rows.stop)


class LabelFiles:
    """Reads label files about a run.

    Args:
        settings: Of the run; its categories are those of now.
        registry: Where the formats come from.
        task: Checks and converts labels.
        original: The categories that the run started with, for files that were written then.
        renamed: Every name that a category ever had, to that of now.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        task: Task,
        original: tuple[str, ...] = (),
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        self._settings, self._registry, self._task = settings, registry, task
        self._classes = [settings.run.classes]
        if original and original != settings.run.classes:
            self._classes.insert(0, original)
        self._renamed = dict(renamed or {})

    def formats(self) -> list[Format]:
        """Every format whose libraries are installed, with its options."""
        built: list[Format] = []
        for p in self._registry.providers("format"):
            name = p.cls.name
            try:
                given, origins = self._settings.options("format", name), self._settings.origins("format", name)
                options = self._registry.options("format", name, given, origins)
                context = Context(categories=self._settings.run.classes)
                built.append(self._registry.build("format", name, options, context))
            except MissingExtra:
                continue
        return built

    def entries(self, where: str) -> Iterator[Entry]:
        """Stream the entries of ``PATH`` or ``FORMAT:PATH``; their payloads as they stand in the file.

        Raises:
            BadLabels: The file can't be read, or no one format fits.
        """
        return self._read(where, self._classes[-1])

    def _read(self, where: str, categories: tuple[str, ...]) -> Iterator[Entry]:
        reader, path = labelfiles.find_reader(self.formats(), where, self._task.name)
        return reader.read(path, self._task.name, categories)

    def pairs(self, where: Path | str) -> Iterator[tuple[str, Payload]]:
        """Stream (name, payload) of what has one; for detectors that read predictions.

        Raises:
            BadLabels: Also where its coordinates are those of the stored frame, as there is no image at hand to turn.
        """
        for entry in self.entries(str(where)):
            if entry.payload is not None:
                if entry.frame == "stored":
                    raise BadLabels(f"{where} holds stored pixels (before EXIF); export it again with --frame display")
                yield entry.name, entry.payload

    def matched(self, where: str, items: Items, rows: range, *, allow_missing: bool = False) -> Labels:
        """Row to label of a file, for the images among ``rows``; an alias speaks for its original.

        Raises:
            BadLabels: The file, or one of its labels, can't be used, or none is about these images.
        """
        first: BadLabels | None = None
        for categories in self._classes:
            try:
                return self._match(self._read(where, categories), where, items, rows, allow_missing)
            except BadLabels as e:
                first = first or e
        assert first is not None
        raise first

    def truth(self, base: str | None, added: Sequence[tuple[int, str]], items: Items) -> Truth:
        """Row to payload of a run's known labels: ``base``, and of images added later (first row, file).

        Raises:
            BadLabels: A file, or one of its labels, can't be used.
        """
        sections = [*([(0, base)] if base else []), *added]
        ends = [first for first, _ in [*sections, (len(items), "")]][1:]
        return Truth(
            [
                self.matched(path, items, range(first, end), allow_missing=first > 0)
                for (first, path), end in zip(sections, ends, strict=True)
            ]
        )

    def _match(self, entries: Iterable[Entry], where: str, items: Items, rows: range, allow_missing: bool) -> Labels:
        names, folder = _Part(items.name, rows), items.store.root
        spool, matched = Spool(folder), 0
        fault: BadLabels | None = None
        found = labelfiles.match_entries(entries, names, what=where, allow_missing=allow_missing, folder=folder)
        while several := list(islice(found, TOGETHER)):
            matched += len(several)
            own = [(rows.start + at, entry) for at, entry in several if entry.payload is not None and fault is None]
            for (row, entry), item in zip(own, items.some(np.array([row for row, _ in own], np.int32)), strict=True):
                try:
                    spool.put(row, self._known(entry, item, where))
                except BadLabels as e:
                    fault = fault or e  # unless names do not fit, which says more
        if allow_missing and not matched and len(names):
            raise BadLabels(f"{where} labels none of the images (first: {names[0]}); check that they belong together")
        if fault is not None:
            raise fault
        for row in spool:
            if (original := int(items.alias_of[row])) >= 0 and original not in spool:
                spool.copy(row, to=original)
        return Labels(spool)

    def _known(self, entry: Entry, item: Item, where: str) -> Known:
        payload = entry.payload
        assert payload is not None
        if self._renamed:
            payload = self._task.recategorize(payload, self._renamed)
        try:
            if entry.frame == "stored":
                payload = self._task.reframe(payload, item, "display")
            payload = self._task.parse(payload, item)
        except BadAnswer as e:
            raise BadLabels(f"{_place(where, entry.name, item)}: {e}") from None
        confidence = entry.extras.get("confidence")
        sure = float(confidence) if isinstance(confidence, int | float) and 0 <= confidence <= 1 else 1.0
        return Known(payload, entry.source, sure)


def _place(where: str, name: str, item: Item) -> str:
    """Where to mend a label: its own file, where it has one, else the label file and the image."""
    file = Path(labelfiles.split(where)[1], name)
    return str(file) if file.is_file() else f"{where}: {item.name}"


def tell_lacking(items: Items, rows: range, truth: Container[int]) -> None:
    """Log one note about the images among ``rows`` that simulated people are asked about in vain.

    Raises:
        BadLabels: Those are all.
    """
    own = [row for row in rows if items.alias_of[row] < 0 and items.width[row] > 0]
    lacking = [row for row in own if row not in truth]
    if not lacking:
        return
    if len(lacking) == len(own):
        raise BadLabels(f"the truth says nothing about any image (first: {items.name[own[0]]}); give one that does")
    log.info(
        "note: the truth lacks %d of %s, first %s: simulated people can't label %s",
        *(len(lacking), counted(len(own), "image"), items.name[lacking[0]], "it" if len(lacking) == 1 else "them"),
    )
