"""One XML file as one entry."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, get_args
from xml.etree import ElementTree

from gtloop.errors import BadLabels
from gtloop.imagefolders import entry as unlabelled_entry
from gtloop.imagefolders import records
from gtloop.interfaces import Entry, Frame
from gtloop.labelfiles import check_category
from gtloop.labels import clip_box
from gtloop.records import Payload, Source


def entry(file: Path, root: Path, categories: Sequence[str], one_based: bool, frame: Frame) -> Entry:
    """The entry of an XML file below ``root``; what its ``<gtloop>`` says goes before ``one_based`` and ``frame``.

    Raises:
        BadLabels: With the file: see ``Voc.read``.
    """
    document = parse(file)
    if document.tag != "annotation":
        raise BadLabels(f"{file} is not Pascal VOC: its root is <{document.tag}>, not <annotation>")
    facts = _facts(document, file)
    origin = int(facts.pop("one_based", one_based) is True)
    width, height = (_size(document, file, key) for key in ("width", "height"))
    boxes: list[Payload] = []
    for number, element in enumerate(document.findall("object"), 1):
        where = f"{file}, object {number}"
        category = check_category((element.findtext("name") or "").strip(), categories, where)
        box: Payload = {"category": category, "xyxy": list(_xyxy(element, where, width, height, origin))}
        confidence = _confidence(element, where)
        boxes.append(box if confidence is None else box | {"confidence": confidence})
    stated = facts.pop("name", None)
    name = stated if isinstance(stated, str) and stated else _name(document, file, root)
    extras = {"width": int(width), "height": int(height)} if math.isfinite(width + height) else {}
    return Entry(name, {"boxes": boxes}, extras | facts, _source(facts), _frame(facts, frame))


def unlabelled(root: Path) -> Iterator[Entry]:
    """The images of an export that have no label, unless somebody has added an XML file for them since.

    Raises:
        BadLabels: With the line of ``gtloop.jsonl``: not as gtloop writes it.
    """
    for line in records(root):
        place = line.get("annotation")
        drawn = isinstance(place, str) and (root / place).is_file()
        if line.get("source") is None and not drawn:
            yield unlabelled_entry(line, None, drop=("annotation", "format"))


def parse(file: Path) -> ElementTree.Element:
    """The root element of an XML file.

    Raises:
        BadLabels: It can't be read, is not well-formed, or has a DOCTYPE.
    """
    try:
        return ElementTree.parse(file, ElementTree.XMLParser(target=_Builder())).getroot()
    except BadLabels as e:
        raise BadLabels(f"{file} is refused: {e}, which is unsafe and not part of Pascal VOC; remove it") from e
    except OSError as e:
        raise BadLabels(f"{file} cannot be read: {e.strerror}") from e
    except (ElementTree.ParseError, LookupError, ValueError) as e:
        raise BadLabels(f"{file} is not well-formed XML: {e}; correct or remove it") from e


def xml_files(path: Path) -> Iterator[Path]:
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


class _Builder(ElementTree.TreeBuilder):
    """Refuses a DOCTYPE as soon as it starts: entities can blow up to any size, or read other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise BadLabels("it has a DOCTYPE")


def _facts(document: ElementTree.Element, file: Path) -> dict[str, Any]:
    """What ``<gtloop>`` says; empty where there is none."""
    text = document.findtext("gtloop")
    if text is None:
        return {}
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise BadLabels(f"{file}: the text of <gtloop> is not JSON ({e}); remove that element") from e
    if not isinstance(facts, dict):
        raise BadLabels(f"{file}: the text of <gtloop> is not a JSON object; remove that element")
    return facts


def _source(facts: dict[str, Any]) -> Source | None:
    source: Source | None = facts.get("source")
    return source if source in get_args(Source) else None


def _frame(facts: dict[str, Any], default: Frame) -> Frame:
    frame: Frame = facts.get("frame", default)
    return frame if frame in get_args(Frame) else default


def _xyxy(
    element: ElementTree.Element, where: str, width: float, height: float, origin: int
) -> tuple[float, float, float, float]:
    texts = [element.findtext(f"bndbox/{key}", "") for key in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x1, y1, x2, y2 = (float(t) for t in texts)
    except ValueError as e:
        raise BadLabels(f"{where} needs <bndbox> with numbers xmin, ymin, xmax, ymax, has {texts}; correct it") from e
    # Counted from 1, the far corner's pixel is inside, so that its far edge is the number itself.
    x1, y1 = x1 - origin, y1 - origin
    box = clip_box((x1, y1, x2, y2), width, height) if all(map(math.isfinite, (x1, y1, x2, y2))) else None
    if box is None:
        image = f" of {width:g} x {height:g} pixels" if math.isfinite(width + height) else ""
        raise BadLabels(f"{where}: box {', '.join(texts)} has no area inside the image{image}; correct or remove it")
    return box


def _confidence(element: ElementTree.Element, where: str) -> float | None:
    text = element.findtext("confidence")
    if text is None:
        return None
    try:
        confidence = float(text)
    except ValueError:
        confidence = math.nan
    if not 0 <= confidence <= 1:
        raise BadLabels(f"{where}: <confidence> is {text!r}, not a number from 0 to 1; correct or remove it")
    return confidence


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
