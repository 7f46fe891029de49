"""Writes manifests as the service does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from gtloop import imagefolders, maskfiles, masks
from gtloop.errors import BadLabels
from gtloop.interfaces import ExportRow
from gtloop.labelfiles import MARKER, provenance, replacing, replacing_folder
from gtloop.labels import Box, BoxesLabel, ClassLabel, SegmentationLabel
from gtloop.records import Label
from gtloop.urls import shown
from gtloop_plugins.formats.groundtruth.options import (
    BACKGROUND,
    METADATA,
    OWN,
    TYPES,
    VOID,
    VOID_INDEX,
    GroundTruthOptions,
    written_attribute,
)

_LINE, _VALUE = 100_000, 20_000
"""Characters that the service takes in a line and in one attribute of it."""


def write_manifest(
    path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any], options: GroundTruthOptions
) -> list[str]:
    """Write a line for each row; returns a sentence for each thing that the service would not take as it is."""
    attribute = written_attribute(task, options.attribute)
    notes = _Notes()
    with replacing(path) as file, _mask_folder(path, task) as pictures:
        writer = _Writer(task, attribute, info, options, pictures, f"{path.stem}-masks")
        for row in rows:
            line = writer.line(row)
            text = _json(line)
            file.write(text.encode() + b"\n")
            notes.add(row, line, len(text), task, info.get("frame", "display"))
    return notes.sentences()


@contextmanager
def _mask_folder(path: Path, task: str) -> Iterator[_Pictures | None]:
    with replacing_folder(path.with_name(f"{path.stem}-masks")) if task == "segmentation" else nullcontext() as folder:
        if folder is None:
            yield None
            return
        with (folder / MARKER).open("wb") as marker:
            yield _Pictures(folder, marker)


class _Pictures:
    """The folder of masks: pixel 0 is background, category i is i + 1, 255 does not count."""

    def __init__(self, folder: Path, marker: IO[bytes]) -> None:
        self.folder, self.marker = folder, marker
        self.palette = palette()
        self.taken: set[str] = set()

    def add(self, row: ExportRow, label: SegmentationLabel, categories: Sequence[str]) -> tuple[str, set[int]]:
        """Write one mask; its path in the folder and the numbers in it."""
        index = masks.to_map(label, categories)
        values = index + 1
        values[index == masks.VOID] = VOID_INDEX
        file = maskfiles.file_name(self.taken, row.item.name, row.item.row)
        maskfiles.write_index(self.folder / file, values, self.palette)
        imagefolders.append(self.marker, {"name": row.item.name, "file": file, "format": "groundtruth"})
        return file, {int(v) for v in np.unique(values)}


def palette() -> NDArray[np.uint8]:
    """(256, 3) RGB of the numbers in a mask; the background is white, as in the service."""
    found = maskfiles.colours()
    found[0] = 255
    return found


class _Writer:
    """Turns rows into lines."""

    def __init__(
        self,
        task: str,
        attribute: str,
        info: Mapping[str, Any],
        options: GroundTruthOptions,
        pictures: _Pictures | None,
        folder: str,
    ) -> None:
        self.categories: list[str] = list(info["categories"])
        if pictures is not None and len(self.categories) >= VOID_INDEX:
            raise BadLabels(f"a mask of a manifest holds 254 categories, not {len(self.categories)}; export as masks")
        self.attribute, self.options, self.pictures, self.folder = attribute, options, pictures, folder
        self.frame = info.get("frame", "display")
        self.parts = {"bbox": self._boxes, "classification": self._class, "segmentation": self._regions}[task]
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")  # naive, as the service's
        self.made = {"type": TYPES[task], "job-name": f"labeling-job/{info.get('run', '')}", "creation-date": now}

    def line(self, row: ExportRow) -> dict[str, Any]:
        """The line of a row; without the label attribute where there is no label."""
        facts = {"name": row.item.name, "width": row.width, "height": row.height, "frame": self.frame}
        facts |= provenance(row)
        line = {"source-ref": _under(self.options.source_ref, row.item.name) or shown(row.item.uri)}
        if row.label is None:
            return {**line, OWN: facts}
        value, metadata, borrowed = self.parts(row, row.label)
        people = "no" if row.label.source == "machine" else "yes"
        if borrowed:
            facts["label_confidence"] = borrowed
        made = {**metadata, **self.made, "human-annotated": people}
        return {**line, self.attribute: value, self.attribute + METADATA: made, OWN: facts}

    def _index(self, category: str, row: ExportRow) -> int:
        if category not in self.categories:
            raise BadLabels(f"{row.item.name}: category {category!r} is not one of the run's; relabel the image")
        return self.categories.index(category)

    def _boxes(self, row: ExportRow, label: Label) -> tuple[Any, dict[str, Any], list[int]]:
        boxes = BoxesLabel.model_validate(label.payload).boxes
        ids = [self._index(b.category, row) for b in boxes]
        size = [] if row.width is None else [{"width": row.width, "height": row.height, "depth": 3}]
        value = {
            "image_size": size,
            "annotations": [{"class_id": i, **self._place(b)} for i, b in zip(ids, boxes, strict=True)],
        }
        metadata = {
            "objects": [{"confidence": label.confidence if b.confidence is None else b.confidence} for b in boxes],
            "class-map": {str(i): self.categories[i] for i in sorted(set(ids))},
        }
        return value, metadata, [n for n, b in enumerate(boxes) if b.confidence is None]

    def _place(self, box: Box) -> dict[str, float]:
        x1, y1, x2, y2 = box.xyxy
        if self.options.integers:
            x1, y1 = round(x1), round(y1)
            x2, y2 = max(x1 + 1, round(x2)), max(y1 + 1, round(y2))
        place = {"left": x1, "top": y1, "width": x2 - x1, "height": y2 - y1}
        return {k: int(v) if float(v).is_integer() else v for k, v in place.items()}

    def _class(self, row: ExportRow, label: Label) -> tuple[Any, dict[str, Any], list[int]]:
        found = ClassLabel.model_validate(label.payload)
        sure = label.confidence if found.confidence is None else found.confidence
        metadata = {"class-name": found.category, "confidence": sure}
        return self._index(found.category, row), metadata, [0] if found.confidence is None else []

    def _regions(self, row: ExportRow, label: Label) -> tuple[Any, dict[str, Any], list[int]]:
        found = SegmentationLabel.model_validate(label.payload)
        sure = {self._index(r.category, row) + 1: r.confidence for r in found.regions}
        assert self.pictures is not None
        file, present = self.pictures.add(row, found, self.categories)
        names = {0: BACKGROUND, **{i + 1: c for i, c in enumerate(self.categories)}, VOID_INDEX: VOID}
        colours: dict[str, dict[str, Any]] = {}
        for i in sorted(present | {0}):
            own = sure.get(i)
            colours[str(i)] = {
                "class-name": names[i],
                "hex-color": "#{:02x}{:02x}{:02x}".format(*self.pictures.palette[i]),
                "confidence": label.confidence if own is None else own,
            }
        ref = _under(self.options.mask_ref, file) or f"{self.folder}/{file}"
        return ref, {"internal-color-map": colours}, [i for i, own in sorted(sure.items()) if own is None]


def _under(prefix: str, name: str) -> str:
    """``name`` below a prefix; keys of buckets stand as they are, other URLs are quoted."""
    if not prefix:
        return ""
    quoted = "://" in prefix and not prefix.startswith("s3://")
    return prefix.rstrip("/") + "/" + (quote(name) if quoted else name)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


class _Notes:
    """What the service would not take as it is."""

    def __init__(self) -> None:
        self.long: list[str] = []
        self.wide: list[str] = []
        self.fractions = self.turned = self.boxes = 0

    def add(self, row: ExportRow, line: Mapping[str, Any], length: int, task: str, frame: str) -> None:
        if length > _LINE:
            self.long.append(row.item.name)
        elif length > _VALUE and any(len(_json(v)) > _VALUE for v in line.values()):
            self.wide.append(row.item.name)
        if row.label is None or task == "classification":
            return
        self.turned += frame == "display" and row.item.orientation != 1
        if task == "bbox":
            for box in next(v for k, v in line.items() if k + METADATA in line)["annotations"]:
                self.boxes += 1
                self.fractions += any(isinstance(v, float) for v in box.values())

    def sentences(self) -> list[str]:
        said = []
        for names, what, most in ((self.long, "a line", _LINE), (self.wide, "an attribute", _VALUE)):
            if names:
                said.append(
                    f"{imagefolders.images(len(names))} written with {what} of over {most:,} characters, which "
                    f"SageMaker refuses (first: {names[0]}): leave out those lines there."
                )
        if self.fractions:
            said.append(
                f"{self.fractions} of {self.boxes} boxes have fractions of a pixel; SageMaker's trainers take none: "
                "-o formats.groundtruth.integers=true."
            )
        if self.turned:
            said.append(
                f"{imagefolders.images(self.turned)} turned by EXIF, and SageMaker counts pixels before that: "
                "export with --frame stored."
            )
        return said
