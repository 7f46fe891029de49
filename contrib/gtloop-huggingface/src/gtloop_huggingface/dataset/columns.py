"""What a label is in columns of a data set: the features of each task, and the values of a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gtloop import maskfiles, masks
from gtloop.errors import BadLabels
from gtloop.interfaces import ExportRow
from gtloop.labelfiles import provenance
from gtloop.labels import BoxesLabel, ClassLabel, SegmentationLabel

from gtloop_huggingface.library import datasets

PROVENANCE = {
    **dict.fromkeys(("id", "status", "source", "model", "consolidation"), "string"),
    **dict.fromkeys(("confidence", "threshold", "bound"), "float64"),
    **dict.fromkeys(("iteration", "workers"), "int32"),
}
"""Columns that say where a label comes from, with their types."""


def features(task: str, categories: Sequence[str]) -> Any:
    """The ``datasets.Features`` of an export."""
    d = datasets()
    named, real, whole = d.ClassLabel(names=list(categories)), d.Value("float64"), d.Value("int64")
    columns: dict[str, Any] = {"image": d.Image(), "image_id": whole, "name": d.Value("string")}
    columns |= {"width": d.Value("int32"), "height": d.Value("int32")}
    if task == "bbox":
        lists = {"id": whole, "area": real, "category": named, "confidence": real}
        columns["objects"] = {"bbox": d.List(d.List(real, length=4)), **{k: d.List(v) for k, v in lists.items()}}
    elif task == "classification":
        columns |= {"label": named, "label_confidence": real}
    else:
        columns |= {"label": d.Image(), "regions": {"category": d.List(named), "confidence": d.List(real)}}
    columns |= {"frame": d.Value("string"), **{name: d.Value(kind) for name, kind in PROVENANCE.items()}}
    return d.Features(columns)


def values(row: ExportRow, task: str, frame: str) -> dict[str, Any]:
    """The columns of a labelled row but for its pictures; categories by name."""
    assert row.label is not None
    about = provenance(row)
    found = {"image_id": row.item.row, "name": row.item.name, "width": row.width, "height": row.height}
    found |= _label(row.label.payload, task)
    return found | {"frame": frame, **{name: about[name] for name in PROVENANCE}}


def _label(payload: Mapping[str, Any], task: str) -> dict[str, Any]:
    if task == "bbox":
        boxes = BoxesLabel.model_validate(payload).boxes
        corners = [b.xyxy for b in boxes]
        objects: dict[str, list[Any]] = {
            "bbox": [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in corners],
            "id": list(range(len(boxes))),
            "area": [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in corners],
            "category": [b.category for b in boxes],
            "confidence": [b.confidence for b in boxes],
        }
        return {"objects": objects}
    if task == "classification":
        label = ClassLabel.model_validate(payload)
        return {"label": label.category, "label_confidence": label.confidence}
    regions = SegmentationLabel.model_validate(payload).regions
    return {"regions": {"category": [r.category for r in regions], "confidence": [r.confidence for r in regions]}}


def void_value(categories: int) -> int:
    """Value of pixels that do not count: the largest of 8 bits, or of 16 where the categories need them."""
    return 255 if categories < 255 else 65535


def write_mask(path: Path, payload: Mapping[str, Any], categories: Sequence[str], name: str) -> None:
    """Write the index PNG of a segmentation: 0 is background, categories count from 1.

    Raises:
        BadLabels: A category that is not among the run's.
    """
    label = SegmentationLabel.model_validate(payload)
    unknown = [r.category for r in label.regions if r.category not in categories]
    if unknown:
        raise BadLabels(f"{name}: category {unknown[0]!r} is not one of the run's; relabel the image")
    index = masks.to_map(label, categories)
    void = void_value(len(categories))
    numbers = np.where(index == masks.VOID, void, index.astype(np.int64) + 1)
    maskfiles.write_index(path, numbers, maskfiles.colours() if void == 255 else None)


def numbers_of(categories: Sequence[str]) -> dict[str, str]:
    """What ``id2label.json`` says of a mask's numbers."""
    return {"0": "background", **{str(i): name for i, name in enumerate(categories, 1)}}
