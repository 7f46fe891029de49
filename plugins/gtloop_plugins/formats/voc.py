"""``voc``: Pascal VOC annotations, one XML file for each image.

M. Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 88 (2010), and its development
kit, in which coordinates start at 1 and both corners belong to the box.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NoReturn
from xml.etree import ElementTree

from pydantic import Field

from gtloop.errors import BadLabels
from gtloop.interfaces import Entry, Format, Options
from gtloop.labelfiles import check_category
from gtloop.labels import clip_box
from gtloop.records import Payload


class VocOptions(Options):
    """Options of ``voc``."""

    one_based: bool = Field(
        False,
        description="coordinates start at 1 and corners are inclusive, as in the original VOC sets; "
        "most tools write them from 0",
    )


class Voc(Format):
    """A folder of Pascal VOC XML files (or one of them), read as boxes.

    An image is called as its ``<filename>`` says, unless that and the XML file's stem differ: then the
    stem, with the suffix of ``<filename>``, is its name. XML files below other folders of the root have those before
    their name. Boxes are clipped to ``<size>`` where the file says it.
    """

    name = "voc"
    summary = "Pascal VOC, a folder with one XML file for each image"
    Options = VocOptions
    tasks = frozenset({"bbox"})
    reads = True

    def sniff(self, path: Path) -> bool:
        """Whether the first XML file there has the root element ``annotation``."""
        first = next(_xml_files(path), None)
        try:
            return first is not None and _parse(first).tag == "annotation"
        except BadLabels:
            return False

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the annotations in order of their paths.

        Raises:
            BadLabels: With the file: no XML files, not well-formed, with a DOCTYPE, a category that is not
                declared, a box without four numbers, or without an area inside the image.
        """
        empty = True
        for file in _xml_files(path):
            empty = False
            yield self._entry(file, path, categories)
        if empty:
            raise BadLabels(f"no XML files in {path}; give the folder of the annotations")

    def _entry(self, file: Path, root: Path, categories: Sequence[str]) -> Entry:
        document = _parse(file)
        if document.tag != "annotation":
            raise BadLabels(f"{file} is not Pascal VOC: its root is <{document.tag}>, not <annotation>")
        width, height = (_size(document, file, key) for key in ("width", "height"))
        boxes: list[Payload] = []
        for number, element in enumerate(document.findall("object"), 1):
            where = f"{file}, object {number}"
            category = check_category((element.findtext("name") or "").strip(), categories, where)
            boxes.append({"category": category, "xyxy": list(self._xyxy(element, where, width, height))})
        extras = {"width": int(width), "height": int(height)} if math.isfinite(width + height) else {}
        return Entry(_name(document, file, root), {"boxes": boxes}, extras)

    def _xyxy(
        self, element: ElementTree.Element, where: str, width: float, height: float
    ) -> tuple[float, float, float, float]:
        texts = [element.findtext(f"bndbox/{key}", "") for key in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x1, y1, x2, y2 = (float(t) for t in texts)
        except ValueError as e:
            raise BadLabels(
                f"{where} needs <bndbox> with numbers xmin, ymin, xmax, ymax, has {texts}; correct it"
            ) from e
        if self.options.one_based:
            x1, y1 = x1 - 1, y1 - 1  # the far corner's pixel is inside, so that its far edge is the number itself
        box = clip_box((x1, y1, x2, y2), width, height) if all(map(math.isfinite, (x1, y1, x2, y2))) else None
        if box is None:
            image = f" of {width:g} x {height:g} pixels" if math.isfinite(width + height) else ""
            raise BadLabels(
                f"{where}: box {', '.join(texts)} has no area inside the image{image}; correct or remove it"
            )
        return box


class _Builder(ElementTree.TreeBuilder):
    """Refuses a DOCTYPE as soon as it starts: entities can blow up to any size, or read other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise BadLabels("it has a DOCTYPE")


def _parse(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(file, ElementTree.XMLParser(target=_Builder())).getroot()
    except BadLabels as e:
        raise BadLabels(f"{file} is refused: {e}, which is unsafe and not part of Pascal VOC; remove it") from e
    except OSError as e:
        raise BadLabels(f"{file} cannot be read: {e.strerror}") from e
    except (ElementTree.ParseError, LookupError, ValueError) as e:
        raise BadLabels(f"{file} is not well-formed XML: {e}; correct or remove it") from e


def _xml_files(path: Path) -> Iterator[Path]:
    """XML files at or below ``path``, in order of their folders and names; hidden ones left out."""
    if path.is_file():
        if path.suffix.lower() == ".xml":
            yield path
        return
    for folder, below, files in os.walk(path):
        below[:] = sorted(d for d in below if not d.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(".xml") and not name.startswith("."):
                yield Path(folder, name)


def _size(document: ElementTree.Element, file: Path, key: str) -> float:
    """Pixels of one side; infinite where the file does not say (some tools write 0)."""
    text = document.findtext(f"size/{key}", "").strip()
    try:
        return float(int(text)) or math.inf if text else math.inf
    except ValueError as e:
        raise BadLabels(f"{file}: <{key}> of <size> is {text!r}, not a number of pixels; correct it") from e


def _name(document: ElementTree.Element, file: Path, root: Path) -> str:
    stated = PurePosixPath((document.findtext("filename") or "").strip().replace("\\", "/")).name
    known = PurePosixPath(stated)
    name = stated if file.stem in (stated, known.stem) else file.stem + known.suffix
    parent = file.parent.relative_to(root) if root.is_dir() else PurePosixPath()
    return (PurePosixPath(parent) / name).as_posix()
