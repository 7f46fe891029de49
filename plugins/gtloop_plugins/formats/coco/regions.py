"""COCO's masks, of possibly overlapping instances, as gtloop's regions, which never overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gtloop import masks
from gtloop.errors import BadLabels
from gtloop.masks import IndexMap, Mask
from gtloop.records import Payload
from gtloop_plugins.formats.coco.checks import number, score
from gtloop_plugins.formats.coco.spill import Annotation

Size = tuple[int, int]

_LARGEST = 1 << 30  # pixels of a mask; more is a typing error, and would not fit into memory


class Patch(NamedTuple):
    """A mask with its top-left pixel in the image."""

    y: int
    x: int
    mask: Mask

    def paint(self, index: IndexMap, value: int) -> None:
        height, width = self.mask.shape
        index[self.y : self.y + height, self.x : self.x + width][self.mask] = value


def regions(image: Mapping[str, Any], annotations: Sequence[Annotation], void: Any, where: str) -> Payload:
    """The ``SegmentationLabel`` of one image; its regions in the order in which their categories first come.

    Crowds are painted first, then the others from the largest to the smallest, last ``void`` (gtloop's own, a
    run-length code as in ``segmentation``).

    Raises:
        BadLabels: With the annotation: no mask, a broken one, or one of another size than the image.
    """
    size = _size(image, annotations, void, where)
    patches = [(a, _patch(a.record.get("segmentation"), size, a.where)) for a in annotations]
    patches.sort(key=lambda p: (not p[0].crowd, -np.count_nonzero(p[1].mask)))
    order = list(dict.fromkeys(a.category for a in annotations if not a.crowd))
    index: IndexMap = np.full(size, masks.BACKGROUND, np.int16)
    for annotation, patch in patches:
        patch.paint(index, masks.VOID if annotation.crowd else order.index(annotation.category))
    if void is not None:
        _patch(void, size, f"{where}, gtloop.void").paint(index, masks.VOID)
    payload = masks.from_map(index, order).model_dump(mode="json", exclude_none=True)
    scores = _scores(annotations)
    for region in payload["regions"]:
        if region["category"] in scores:
            region["confidence"] = scores[region["category"]]
    return payload


def _scores(annotations: Sequence[Annotation]) -> dict[str, float]:
    """The lowest score of each category that has one."""
    lowest: dict[str, float] = {}
    for annotation in annotations:
        found = None if annotation.crowd else score(annotation.record, annotation.where)
        if found is not None:
            lowest[annotation.category] = min(found, lowest.get(annotation.category, 1.0))
    return lowest


def _size(image: Mapping[str, Any], annotations: Sequence[Annotation], void: Any, where: str) -> Size:
    """(height, width): what the image says, or else its first run-length code."""
    coded = [a.record.get("segmentation") for a in annotations] + [void]
    claims = [[image.get("height"), image.get("width")], *(c.get("size") for c in coded if isinstance(c, dict))]
    for claim in claims:
        if not isinstance(claim, list) or len(claim) != 2 or not all(number(n) and n >= 1 for n in claim):
            continue
        if claim[0] * claim[1] > _LARGEST:
            raise BadLabels(f"{where}: {claim[1]} x {claim[0]} pixels are too many for a mask; correct its size")
        return int(claim[0]), int(claim[1])
    raise BadLabels(f"{where} has no width and height, which masks need; add them")


def _patch(segmentation: Any, size: Size, where: str) -> Patch:
    if isinstance(segmentation, dict):
        return Patch(0, 0, _decoded(segmentation, size, where))
    if isinstance(segmentation, list) and segmentation:
        return _drawn(segmentation, size, where)
    raise BadLabels(
        f"{where}: segmentation is {segmentation!r}, neither polygons nor a run-length code; add it, or use --task bbox"
    )


def _decoded(code: Mapping[str, Any], size: Size, where: str) -> Mask:
    if code.get("size") != list(size):
        raise BadLabels(
            f"{where}: its mask has size {code.get('size')!r} (height, width), its image {list(size)}; correct it"
        )
    runs = code.get("counts")
    try:
        if isinstance(runs, str):
            runs = masks.counts(runs).tolist()
        if not isinstance(runs, list) or not all(isinstance(n, int) and not isinstance(n, bool) for n in runs):
            raise ValueError("counts is neither a text nor a list of whole numbers")
        if max(runs, default=0) > size[0] * size[1]:  # also keeps the sum of the runs in 64 bits
            raise ValueError("a run is longer than the mask")
        return masks.dense(runs, size)
    except (ValueError, OverflowError) as e:
        raise BadLabels(f"{where}: its run-length code is broken ({e}); export it again") from e


def _drawn(polygons: Sequence[Any], size: Size, where: str) -> Patch:
    for polygon in polygons:
        fine = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
        if not fine or not all(number(n) and abs(n) < _LARGEST for n in polygon):
            raise BadLabels(
                f"{where}: a polygon is not three or more pairs of numbers, x1, y1, x2, y2, ...; correct or remove it"
            )
    points = np.concatenate([np.asarray(p, np.float64).reshape(-1, 2) for p in polygons])
    # Drawn in its own window: a whole image for each small object takes a hundred times as long.
    x1, y1 = np.clip(np.floor(points.min(axis=0)), 0, (size[1], size[0])).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(points.max(axis=0)), 0, (size[1], size[0])).astype(int).tolist()
    moved = [(np.asarray(p, np.float64).reshape(-1, 2) - (x1, y1)).ravel().tolist() for p in polygons]
    return Patch(y1, x1, masks.from_polygons(moved, (max(0, y2 - y1), max(0, x2 - x1))))
