"""From CVAT's shapes to payloads: rotated boxes, polygons and masks that lie on top of each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from gtloop import masks
from gtloop.labels import clip_box
from gtloop.records import Payload

from gtloop_cvat.rle import Mask


class Painted(NamedTuple):
    """A part of an image: all its pixels, and how near it is."""

    category: str
    mask: Mask
    z_order: int
    confidence: float | None = None


def upright(xyxy: Sequence[float], rotation: float) -> tuple[float, float, float, float]:
    """The smallest upright box round a box that is turned by ``rotation`` degrees, clockwise, about its centre."""
    x1, y1, x2, y2 = xyxy
    if not rotation % 360:
        return x1, y1, x2, y2
    angle = math.radians(rotation)
    cx, cy, w, h = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
    half_w = (abs(w * math.cos(angle)) + abs(h * math.sin(angle))) / 2
    half_h = (abs(w * math.sin(angle)) + abs(h * math.cos(angle))) / 2
    return cx - half_w, cy - half_h, cx + half_w, cy + half_h


def box(
    category: str, xyxy: Sequence[float], rotation: float, size: tuple[float, float], confidence: float | None
) -> Payload | None:
    """A box of a payload, clipped to (width, height); None where nothing of it is in the image."""
    if not all(map(math.isfinite, (*xyxy, rotation))):
        return None
    found = clip_box(upright(xyxy, rotation), *size)
    if found is None:
        return None
    made: Payload = {"category": category, "xyxy": list(found)}
    return made if confidence is None else made | {"confidence": confidence}


def segmentation(painted: Iterable[Painted], size: tuple[int, int], void: str | None = None) -> Payload:
    """One region a category: what has a higher ``z_order``, or comes later, lies on top.

    Args:
        painted: In the order of the file.
        size: (height, width) in pixels.
        void: Category of pixels that count in no metric.
    """
    names: list[str] = []
    index = np.full(size, -1, np.int64)
    confidences: dict[str, list[float]] = {}
    for part in sorted(painted, key=lambda p: p.z_order):
        if part.category not in names:
            names.append(part.category)
        index[part.mask] = names.index(part.category)
        if part.confidence is not None:
            confidences.setdefault(part.category, []).append(part.confidence)
    made: Payload = {"size": list(size), "regions": []}
    for number, name in sorted(enumerate(names), key=lambda pair: pair[1]):
        mask = index == number
        if not mask.any():
            continue
        if name == void:
            made["void"] = masks.encode(mask)
            continue
        region: Payload = {"category": name, "counts": masks.encode(mask)}
        if name in confidences:
            region["confidence"] = min(confidences[name])
        made["regions"].append(region)
    return made


def polygon(points: Sequence[float], size: tuple[int, int]) -> Mask:
    """The (H, W) mask of a polygon, x1, y1, x2, y2, ...; a pixel is in it if its centre is."""
    return masks.from_polygons([points], size)
