"""A folder as the VOC development kit has it, in one pass over the rows of an export."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from gtloop.errors import BadLabels
from gtloop.imagefolders import append, images, left_out, record
from gtloop.interfaces import ExportRow
from gtloop.labelfiles import MARKER, provenance, replacing_folder
from gtloop.labels import Box, BoxesLabel

ANNOTATIONS = "Annotations"
LISTED = "ImageSets/Main/default.txt"
LABELMAP = "labelmap.txt"

_NOT_IN_XML = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")
_LONGEST = 200  # bytes of a file's stem or of a folder; file systems allow 255 with the suffix


def write(path: Path, rows: Iterable[ExportRow], info: Mapping[str, Any], one_based: bool) -> list[str]:
    """Write every row.

    Raises:
        UsageError: ``path`` can't be written, or is something else than an earlier export.
        BadLabels: A box of a category that is not among the run's, or one that XML can't hold.
    """
    places = _Places()
    reasons: Counter[str] = Counter()
    without_size = 0
    with replacing_folder(path) as root:
        (root / ANNOTATIONS).mkdir()
        (root / LISTED).parent.mkdir(parents=True)
        _write_labelmap(root / LABELMAP, info["categories"])
        with (root / LISTED).open("wb") as listed, (root / MARKER).open("wb") as marker:
            for row in rows:
                place = places.take(row.item.name)
                annotation = f"{ANNOTATIONS}/{place}.xml"
                append(marker, record(row, None, info, annotation=annotation, format="voc"))
                if row.label is None:
                    reasons[row.reason or row.status] += 1
                    continue
                without_size += row.width is None or row.height is None
                file = root / annotation
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(_document(row, info, one_based))
                listed.write(place.encode() + b"\n")
    return _sentences(reasons, without_size, places.renamed)


def _sentences(reasons: Counter[str], without_size: int, renamed: int) -> list[str]:
    said = left_out(reasons)
    if without_size:
        said.append(f"{images(without_size)} without <size>: never decoded, so the size is unknown.")
    if renamed:
        said.append(
            f"{images(renamed)} not called as the XML file, whose name was taken or impossible: other readers miss "
            f'them, so see "annotation" in {MARKER}.'
        )
    return said


class _Places:
    """A path below ``Annotations`` for each image, its name without the suffix where that is free.

    Attributes:
        renamed: How many images have another one.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self.renamed = 0

    def take(self, name: str) -> str:
        """A free path, without ``.xml``; differs from all others in more than case and accents' encoding."""
        path = PurePosixPath(name)
        *folders, last = [_part(p) for p in path.parts if p != "/"] or ["_"]
        # A folder called a.xml could stand where the file of a.jpg belongs.
        parent = "".join(f"{f}_/" if f.lower().endswith(".xml") else f"{f}/" for f in folders)
        stem = PurePosixPath(last).stem
        found = next(c for c in _candidates(f"{parent}{stem}", f"{parent}{last}") if _folded(c) not in self._taken)
        self._taken.add(_folded(found))
        self.renamed += found != (path.parent / path.stem).as_posix()
        return found


def _candidates(*first: str) -> Iterable[str]:
    yield from first
    number = 2
    while True:
        yield f"{first[-1]}~{number}"
        number += 1


def _folded(place: str) -> str:
    return unicodedata.normalize("NFC", place).casefold()


def _part(part: str) -> str:
    """One part of a path as a file system takes it, in one line (Unicode has seven more ends of lines than most lists).

    Never hidden, as readers leave hidden files out.
    """
    safe = "_".join(f"{_NOT_IN_XML.sub('_', part)}.".splitlines())[:-1].replace("\\", "_")
    safe = f"_{safe}" if safe.startswith(".") else safe
    return safe.encode()[:_LONGEST].decode(errors="ignore")


def _write_labelmap(path: Path, categories: Sequence[str]) -> None:
    """``name:colour:parts:actions``, colours left to the reader; not where a name has a colon."""
    for category in categories:
        if _NOT_IN_XML.search(category) or category != category.strip():
            raise BadLabels(f"category {category!r} can't stand in an XML file; export as jsonl, or rename it")
    if not any(":" in c or c.startswith("#") for c in categories):
        lines = ["# label:color_rgb:parts:actions", *(f"{c}:::" for c in categories)]
        path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def _document(row: ExportRow, info: Mapping[str, Any], one_based: bool) -> bytes:
    assert row.label is not None
    root = ElementTree.Element("annotation")
    name = PurePosixPath(row.item.name)
    _add(root, "folder", _NOT_IN_XML.sub("_", name.parent.as_posix().removeprefix(".")))
    _add(root, "filename", _NOT_IN_XML.sub("_", name.name))
    if row.width is not None and row.height is not None:
        size = ElementTree.SubElement(root, "size")
        _add(size, "width", str(row.width))
        _add(size, "height", str(row.height))
    _add(root, "segmented", "0")
    for box in BoxesLabel.model_validate(row.label.payload).boxes:
        if box.category not in info["categories"]:
            raise BadLabels(f"{row.item.name}: category {box.category!r} is not one of the run's; relabel the image")
        root.append(_object(box, int(one_based)))
    # In ASCII, as XML can't hold every character that a name can.
    facts = {"name": row.item.name, "frame": info.get("frame", "display"), "one_based": one_based, **provenance(row)}
    _add(root, "gtloop", json.dumps(facts, allow_nan=False))
    ElementTree.indent(root)
    xml: bytes = ElementTree.tostring(root, encoding="utf-8")
    return xml + b"\n"


def _object(box: Box, origin: int) -> ElementTree.Element:
    element = ElementTree.Element("object")
    _add(element, "name", box.category)
    for key, text in (("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):  # readers ask for them
        _add(element, key, text)
    bounds = ElementTree.SubElement(element, "bndbox")
    x1, y1, x2, y2 = box.xyxy
    for key, value in (("xmin", x1 + origin), ("ymin", y1 + origin), ("xmax", x2), ("ymax", y2)):
        _add(bounds, key, str(int(value)) if value == int(value) else repr(float(value)))
    if box.confidence is not None:
        _add(element, "confidence", repr(box.confidence))
    return element


def _add(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text
