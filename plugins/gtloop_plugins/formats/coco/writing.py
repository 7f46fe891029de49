"""A COCO file in one pass over the rows of an export."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from gtloop import masks
from gtloop.errors import BadLabels
from gtloop.imagefolders import images
from gtloop.interfaces import ExportRow
from gtloop.labelfiles import provenance, replacing
from gtloop.labels import BoxesLabel, SegmentationLabel


def write(path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
    """Write every row; annotations wait in a temporary file, never in memory.

    Raises:
        UsageError: ``path`` can't be written.
        BadLabels: An object of a category that is not among the run's.
    """
    ids = {category: n for n, category in enumerate(info["categories"], 1)}
    facts = {key: info[key] for key in ("run", "frame", "version") if key in info}
    with replacing(path) as file, tempfile.TemporaryFile(dir=path.parent) as annotations:
        file.write(b'{"info": ' + _json({"description": "exported by gtloop", "gtloop": facts}))
        file.write(b',\n"categories": ' + _json([{"id": n, "name": c} for c, n in ids.items()]))
        file.write(b',\n"images": [')
        lost = _write_rows(file, annotations, rows, task, ids)
        file.write(b'\n],\n"annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
        file.write(b"\n]}\n")
    return lost.sentences()


class _Lost:
    """What COCO could not hold."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.without_size = 0
        self.with_void = 0

    def sentences(self) -> list[str]:
        said = []
        if self.reasons:
            reasons = ", ".join(f"{n} {reason}" for reason, n in self.reasons.most_common(3))
            more = ", ..." if len(self.reasons) > 3 else ""
            said.append(
                f"{images(self.reasons.total())} without a label ({reasons}{more}): COCO cannot tell them from empty "
                'ones, so leave out those whose "gtloop" has "source": null.'
            )
        if self.without_size:
            said.append(f"{images(self.without_size)} without width and height: never decoded, so the size is unknown.")
        if self.with_void:
            said.append(
                f'{images(self.with_void)} partly void: COCO has no void, so it stands under "gtloop" as '
                '"void", and other tools see background there.'
            )
        return said


def _write_rows(
    file: IO[bytes], annotations: IO[bytes], rows: Iterable[ExportRow], task: str, ids: Mapping[str, int]
) -> _Lost:
    lost = _Lost()
    written = 0
    for image_id, row in enumerate(rows, 1):
        image: dict[str, Any] = {"id": image_id, "file_name": row.item.name}
        facts = provenance(row)
        width, height = row.width, row.height
        if row.label is None:
            lost.reasons[row.reason or row.status] += 1
        elif task == "segmentation":
            mask = SegmentationLabel.model_validate(row.label.payload)
            height, width = mask.size
            if mask.void is not None:
                facts["void"] = {"size": mask.size, "counts": mask.void}
                lost.with_void += 1
        if width is None or height is None:
            lost.without_size += 1
        else:
            image |= {"width": width, "height": height}
        file.write((b",\n" if image_id > 1 else b"\n") + _json(image | {"gtloop": facts}))
        for category, shape in _shapes(row, task):
            if category not in ids:
                raise BadLabels(f"{row.item.name}: category {category!r} is not one of the run's; relabel the image")
            written += 1
            record = {"id": written, "image_id": image_id, "category_id": ids[category], **shape}
            annotations.write((b",\n" if written > 1 else b"\n") + _json(record))
    return lost


def _shapes(row: ExportRow, task: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The category of each object of a row, and what its annotation says of its shape and score."""
    if row.label is None:
        return
    if task == "segmentation":
        label = SegmentationLabel.model_validate(row.label.payload)
        for region in label.regions:
            bounds = masks.bounds(region.counts, label.size)
            if bounds is not None:
                code = {"size": label.size, "counts": region.counts}
                shape = {"segmentation": code, **_shape(bounds, masks.area(region.counts), region.confidence)}
                yield region.category, shape
        return
    for box in BoxesLabel.model_validate(row.label.payload).boxes:
        area = (box.xyxy[2] - box.xyxy[0]) * (box.xyxy[3] - box.xyxy[1])
        yield box.category, _shape(box.xyxy, area, box.confidence)


def _shape(xyxy: tuple[float, float, float, float], area: float, confidence: float | None) -> dict[str, Any]:
    x1, y1, x2, y2 = xyxy
    shape: dict[str, Any] = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, "iscrowd": 0}
    return shape if confidence is None else {**shape, "score": confidence}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
