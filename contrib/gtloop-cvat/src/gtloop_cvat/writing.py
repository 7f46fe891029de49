"""Labels as ``annotations.xml``, which CVAT imports into a task that has the same images."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import XMLGenerator

from gtloop import masks
from gtloop.errors import BadLabels
from gtloop.imagefolders import left_out
from gtloop.interfaces import ExportRow
from gtloop.labelfiles import provenance, replacing
from gtloop.labels import BoxesLabel, ClassLabel, SegmentationLabel

from gtloop_cvat import rle
from gtloop_cvat.reading import CONFIDENCE, FACTS, SOURCES

TYPES = {"bbox": "rectangle", "classification": "tag", "segmentation": "mask"}
_NOT_IN_XML = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")
_CALLED = {source: name for name, source in SOURCES.items()}


def write(path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any], void: str | None) -> list[str]:
    """Write every row; returns a sentence for each thing that the format could not hold.

    Raises:
        UsageError: ``path`` can't be written.
        BadLabels: A category that is not among the run's, or that XML can't hold.
    """
    for category in info["categories"]:
        if _NOT_IN_XML.search(category):
            raise BadLabels(f"category {category!r} can't stand in an XML file; export as jsonl, or rename it")
    reasons: dict[str, int] = {}
    with replacing(path) as file:
        xml = _Xml(XMLGenerator(file, "utf-8", short_empty_elements=True))
        xml.out.startDocument()
        with xml.element("annotations"):
            xml.text("version", "1.1")
            _meta(xml, task, info, void)
            for number, row in enumerate(rows):
                if row.label is None:
                    key = row.reason or row.status
                    reasons[key] = reasons.get(key, 0) + 1
                _image(xml, number, row, task, info, void)
        xml.out.endDocument()
    return left_out(reasons) if reasons else []


class _Xml:
    """An XML file that is written as it goes, with indents."""

    def __init__(self, out: Any) -> None:
        self.out, self._depth = out, 0

    @contextmanager
    def element(self, tag: str, **attributes: str) -> Iterator[None]:
        self._indent()
        self.out.startElement(tag, attributes)
        self._depth += 1
        yield
        self._depth -= 1
        self._indent()
        self.out.endElement(tag)

    def text(self, tag: str, text: str, **attributes: str) -> None:
        self._indent()
        self.out.startElement(tag, attributes)
        self.out.characters(text)
        self.out.endElement(tag)

    def _indent(self) -> None:
        self.out.ignorableWhitespace("\n" + "  " * self._depth)


def _meta(xml: _Xml, task: str, info: Mapping[str, Any], void: str | None) -> None:
    with xml.element("meta"), xml.element("task"):
        xml.text("name", _NOT_IN_XML.sub("_", str(info.get("run", ""))))
        xml.text("mode", "annotation")
        with xml.element("labels"):
            extra = (void,) if void is not None and task == "segmentation" else ()
            for category in (*info["categories"], *extra):
                with xml.element("label"):
                    xml.text("name", category)
                    xml.text("type", TYPES.get(task, "any"))
                    with xml.element("attributes"), xml.element("attribute"):
                        for key, value in (("name", CONFIDENCE), ("mutable", "False"), ("input_type", "text")):
                            xml.text(key, value)
                        xml.text("default_value", "")
                        xml.text("values", "")


def _image(xml: _Xml, number: int, row: ExportRow, task: str, info: Mapping[str, Any], void: str | None) -> None:
    # In ASCII, as XML can't hold every character that a name can.
    facts = {"name": row.item.name, "frame": info.get("frame", "display"), **provenance(row)}
    given = {"id": str(number), "name": _NOT_IN_XML.sub("_", row.item.name)}
    if row.width is not None and row.height is not None:
        given |= {"width": str(row.width), "height": str(row.height)}
    with xml.element("image", **given, **{FACTS: json.dumps(facts, allow_nan=False)}):
        if row.label is None:
            return
        source = _CALLED[row.label.source]
        for tag, category, confidence, attributes in _elements(row.label.payload, task, void):
            if category not in info["categories"] and category != void:
                raise BadLabels(f"{row.item.name}: category {category!r} is not one of the run's; relabel the image")
            with xml.element(tag, label=category, source=source, **attributes):
                if confidence is not None:
                    xml.text("attribute", repr(confidence), name=CONFIDENCE)


def _elements(
    payload: dict[str, Any], task: str, void: str | None
) -> Iterator[tuple[str, str, float | None, dict[str, str]]]:
    """Element, category, confidence and attributes of every object of a label."""
    if task == "classification":
        label = ClassLabel.model_validate(payload)
        yield "tag", label.category, label.confidence, {}
    elif task == "bbox":
        for box in BoxesLabel.model_validate(payload).boxes:
            corners = zip(("xtl", "ytl", "xbr", "ybr"), box.xyxy, strict=True)
            place = {key: repr(float(value)) for key, value in corners}
            yield "box", box.category, box.confidence, {"occluded": "0", **place, "z_order": "0"}
    else:
        made = SegmentationLabel.model_validate(payload)
        parts = [(r.category, r.counts, r.confidence) for r in made.regions]
        if made.void is not None:
            if void is None:
                raise BadLabels(
                    "this label has void pixels: say how CVAT's label for them is called, formats.cvat.void"
                )
            parts.append((void, made.void, None))
        for category, counts, confidence in parts:
            runs = rle.encode(masks.decode(counts, made.size))
            if runs is not None:
                yield "mask", category, confidence, {"occluded": "0", **_mask(runs), "z_order": "0"}


def _mask(runs: rle.Runs) -> dict[str, str]:
    place = {key: str(getattr(runs, key)) for key in ("left", "top", "width", "height")}
    return {"rle": ", ".join(map(str, runs.runs)), **place}
