"""``annotations.xml``, image by image; nothing is held but the image at hand."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, get_args

from gtloop.errors import BadLabels
from gtloop.interfaces import Entry, Frame
from gtloop.labelfiles import check_category
from gtloop.records import Payload, Source

from gtloop_cvat import rle, shapes

NAME = "annotations.xml"
FACTS = "gtloop"
"""Attribute of an image with all that gtloop knows of it, as JSON; CVAT passes over it."""
CONFIDENCE = "confidence"
DRAWN = ("box", "polygon", "polyline", "points", "mask", "ellipse", "cuboid", "skeleton")
SOURCES: dict[str, Source] = {"manual": "human", "auto": "machine", "semi-auto": "adjusted"}


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The XML of a file, of an export's ZIP, or of a folder that one was unpacked to.

    Raises:
        BadLabels: It is not there, or can't be read.
    """
    try:
        if path.is_dir():
            path = path / NAME
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(NAME) as file:
                yield file
        else:
            with path.open("rb") as file:
                yield file
    except KeyError:
        raise BadLabels(f"{path} has no {NAME}; export the task from CVAT as 'CVAT for images 1.1'") from None
    except (OSError, zipfile.BadZipFile) as e:
        raise BadLabels(f"{path} can't be read: {e}") from None


def root_tag(path: Path) -> str:
    """The name of the root element; empty where there is none."""
    from defusedxml.ElementTree import iterparse

    try:
        with opened(path) as file:
            _, element = next(iter(iterparse(file, events=("start",), forbid_dtd=True)))
            return str(element.tag)
    except Exception:  # whatever is wrong with it: it is not this format
        return ""


class Reader:
    """Reads one file for one task."""

    def __init__(
        self, path: Path, task: str, categories: Sequence[str], *, bare: str, frame: Frame, void: str | None
    ) -> None:
        self._path, self._task, self._categories = path, task, categories
        self._bare, self._frame = bare, frame
        self._void = void if void not in categories else None

    def entries(self) -> Iterator[Entry]:
        """Every image of the file."""
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import ParseError, iterparse

        with opened(self._path) as file:
            root: Any = None
            try:
                for event, element in iterparse(file, events=("start", "end"), forbid_dtd=True):
                    if root is None:
                        root = element
                        if root.tag != "annotations":
                            raise BadLabels(f"{self._path} is not CVAT's XML: its root is <{root.tag}>")
                    elif event == "end" and element.tag == "track":
                        raise BadLabels(
                            f"{self._path} has tracks of a video; export the task as 'CVAT for images 1.1' instead"
                        )
                    elif event == "end" and element.tag == "image":
                        yield self._entry(element)
                        root.clear()
            except ParseError as e:
                raise BadLabels(f"{self._path} is not well-formed XML: {e}; export it again") from None
            except DefusedXmlException:
                raise BadLabels(f"{self._path} is refused: it has a DOCTYPE, which is unsafe; remove it") from None

    def _entry(self, image: Any) -> Entry:
        facts = self._facts(image)
        name = str(facts.pop("name", None) or image.get("name") or "")
        where = f"{self._path}, image {name or image.get('id')!r}"
        if not name:
            raise BadLabels(f"{where} has no name; export the task again")
        size = self._size(image, where)
        drawn = [e for e in image if e.tag in DRAWN]
        tags = [e for e in image if e.tag == "tag"]
        payload, used = self._payload(drawn, tags, size, where)
        extras: dict[str, Any] = dict(facts)
        if all(map(math.isfinite, size)):
            extras |= {"width": int(size[0]), "height": int(size[1])}
        if image.get("subset"):
            extras["subset"] = image.get("subset")
        if attributes := [a for e in (*drawn, *tags) if (a := _attributes(e)) is not None]:
            extras["attributes"] = attributes
        if others := [{"shape": e.tag, "label": e.get("label", "")} for e in (*drawn, *tags) if e not in used]:
            extras["others"] = others
        if not used and not self._says_empty(facts):
            payload = None
        frame = facts.get("frame", self._frame)
        source = facts.get("source", self._source(used))
        return Entry(
            name,
            payload,
            extras,
            source if source in get_args(Source) else None,
            frame if frame in get_args(Frame) else self._frame,
        )

    def _says_empty(self, facts: dict[str, Any]) -> bool:
        if "source" in facts:
            return facts["source"] is not None and self._task != "classification"
        return self._bare == "empty" and self._task != "classification"

    def _payload(
        self, drawn: list[Any], tags: list[Any], size: tuple[float, float], where: str
    ) -> tuple[Payload | None, list[Any]]:
        """What an image's elements say for the task, and those that say it."""
        if self._task == "classification":
            return self._class(tags, where)
        if self._task == "bbox":
            used = [e for e in drawn if e.tag == "box"]
            return {"boxes": [self._box(e, size, f"{where}, box {n}") for n, e in enumerate(used, 1)]}, used
        used = [e for e in drawn if e.tag in ("mask", "polygon")]
        if not all(map(math.isfinite, size)):
            raise BadLabels(f"{where} has no width and height, which masks need; export the task again")
        whole = (int(size[1]), int(size[0]))
        painted = [self._painted(e, whole, f"{where}, {e.tag} {n}") for n, e in enumerate(used, 1)]
        return shapes.segmentation(painted, whole, self._void), used

    def _class(self, tags: list[Any], where: str) -> tuple[Payload | None, list[Any]]:
        if len(tags) > 1:
            raise BadLabels(f"{where} has {len(tags)} tags; a class is one: remove the others")
        if not tags:
            return None, []
        made: Payload = {"category": self._category(tags[0], where)}
        confidence = _confidence(tags[0], where)
        return (made if confidence is None else made | {"confidence": confidence}), tags

    def _box(self, element: Any, size: tuple[float, float], where: str) -> Payload:
        xyxy = [_number(element, key, where) for key in ("xtl", "ytl", "xbr", "ybr")]
        rotation = _number(element, "rotation", where, 0.0)
        category = self._category(element, where)
        made = shapes.box(category, xyxy, rotation, size, _confidence(element, where))
        if made is None:
            raise BadLabels(f"{where}: {', '.join(map(str, xyxy))} has no area inside the image; correct or remove it")
        return made

    def _painted(self, element: Any, size: tuple[int, int], where: str) -> shapes.Painted:
        category = element.get("label", "")
        if category != self._void:
            category = self._category(element, where)
        z_order = int(_number(element, "z_order", where, 0.0))
        return shapes.Painted(category, _mask(element, size, where), z_order, _confidence(element, where))

    def _category(self, element: Any, where: str) -> str:
        return check_category(element.get("label", ""), self._categories, where)

    def _source(self, used: list[Any]) -> Source | None:
        """Who made the label: where not all say the same, nobody."""
        said = {SOURCES.get(e.get("source", "")) for e in used}
        return said.pop() if len(said) == 1 else None

    def _size(self, image: Any, where: str) -> tuple[float, float]:
        width, height = (_number(image, key, where, math.inf) for key in ("width", "height"))
        return (width or math.inf), (height or math.inf)

    def _facts(self, image: Any) -> dict[str, Any]:
        text = image.get(FACTS)
        if text is None:
            return {}
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError):
            facts = None
        if not isinstance(facts, dict):
            raise BadLabels(f"{self._path}, image {image.get('name')!r}: {FACTS} is not a JSON object; remove it")
        return facts


def _mask(element: Any, size: tuple[int, int], where: str) -> rle.Mask:
    try:
        if element.tag == "polygon":
            pairs = [pair.split(",") for pair in element.get("points", "").split(";")]
            points = [float(v) for x, y in pairs for v in (x, y)]
            if len(points) < 6 or not all(map(math.isfinite, points)):
                raise ValueError("a polygon of fewer than three points")
            return shapes.polygon(points, size)
        runs = [int(v) for v in element.get("rle", "").split(",")]
        left, top, width, height = (int(element.get(k, "")) for k in ("left", "top", "width", "height"))
        return rle.decode(runs, left, top, width, height, size)
    except (ValueError, OverflowError) as e:
        raise BadLabels(f"{where} can't be read ({e}); correct or remove it") from None


def _attributes(element: Any) -> dict[str, str] | None:
    """CVAT's attributes of a shape, and its rotation; None where it has none."""
    found = {a.get("name", ""): a.text or "" for a in element if a.tag == "attribute" and a.get("name") != CONFIDENCE}
    for key in ("rotation", "occluded", "group_id"):
        if element.get(key, "0") not in ("0", "0.0", "0.00"):
            found[key] = element.get(key)
    return {"label": element.get("label", ""), **found} if found else None


def _confidence(element: Any, where: str) -> float | None:
    texts = [a.text or "" for a in element if a.tag == "attribute" and a.get("name") == CONFIDENCE]
    if not texts or not texts[0].strip():
        return None
    try:
        value = float(texts[0])
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise BadLabels(f"{where}: {CONFIDENCE} is {texts[0]!r}, not a number from 0 to 1; correct or remove it")
    return value


def _number(element: Any, key: str, where: str, default: float | None = None) -> float:
    text = element.get(key)
    try:
        return default if text is None and default is not None else float(text)
    except (TypeError, ValueError):
        raise BadLabels(f"{where}: {key} is {text!r}, not a number; correct it") from None
