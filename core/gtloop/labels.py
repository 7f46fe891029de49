"""The JSON shapes of labels and raw predictions that built-in tasks, detectors and formats share.

Frame: absolute pixels of the image as displayed, that is after EXIF transposition; origin at the
top-left corner of the top-left pixel, x to the right, y down. A box is ``xyxy`` with x2 > x1 and
y2 > y1, so that the whole image is ``[0, 0, width, height]``. Categories are names, not indices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

FloatArray = NDArray[np.float64]


class Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Box(Shape):
    """One object: ``xyxy`` in absolute display pixels."""

    category: str
    xyxy: tuple[float, float, float, float]
    confidence: float | None = Field(None, ge=0, le=1)

    @field_validator("xyxy")
    @classmethod
    def _ordered(cls, v: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        if not all(np.isfinite(v)):
            raise ValueError(f"xyxy must be finite, got {v}")
        if not (v[2] > v[0] and v[3] > v[1]):
            raise ValueError(f"xyxy needs x2 > x1 and y2 > y1 (absolute pixels, origin top-left), got {v}")
        return v


class BoxesLabel(Shape):
    """Payload of task ``bbox``: every object in the image; no boxes means that it is empty."""

    boxes: tuple[Box, ...] = ()


class ClassLabel(Shape):
    """Payload of task ``classification``: exactly one category."""

    category: str
    confidence: float | None = Field(None, ge=0, le=1)


class Region(Shape):
    """All pixels of one category: ``counts`` is COCO's run-length text (``gtloop.masks``)."""

    category: str
    counts: str
    confidence: float | None = Field(None, ge=0, le=1)


class SegmentationLabel(Shape):
    """Payload of task ``segmentation``: at most one category a pixel; in no region: background.

    ``size`` is (height, width) in display pixels; ``void`` marks pixels that count in no metric.
    """

    size: tuple[int, int]
    regions: tuple[Region, ...] = ()
    void: str | None = None


class RawBoxes(Shape):
    """Raw prediction of task ``bbox``: all boxes scoring above .01, best first.

    ``xyxy`` (N, 4) display pixels, ``scores`` (N,) in [0, 1], ``categories`` (N,) indices into the
    run's categories.
    """

    xyxy: tuple[tuple[float, float, float, float], ...] = ()
    scores: tuple[float, ...] = ()
    categories: tuple[int, ...] = ()


class RawClasses(Shape):
    """Raw prediction of task ``classification``: ``probabilities`` (K,), summing to 1."""

    probabilities: tuple[float, ...]


class RawMasks(Shape):
    """Raw prediction of task ``segmentation``: the likeliest category of every pixel.

    One region a category, best first. ``size`` is (height, width) in display pixels. N columns: ``counts`` COCO's
    run-length text, no two regions overlap, what is in none is background; ``scores`` the mean probability inside,
    held against the cut; ``categories`` indices into the run's categories; ``expected`` the expected IoU (none: the
    scores take its place). ``missed`` are the largest probabilities of categories without a region. ``entropy`` (over
    its maximum) and ``margin`` (between the two likeliest) are means over the pixels; None: not known.
    ``gtloop.masks.raw_masks`` makes all of it from probabilities.
    """

    size: tuple[int, int]
    counts: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    categories: tuple[int, ...] = ()
    expected: tuple[float, ...] = ()
    missed: tuple[float, ...] = ()
    entropy: float | None = Field(None, ge=0, le=1)
    margin: float | None = Field(None, ge=0, le=1)


def box_array(boxes: Sequence[Box]) -> FloatArray:
    """Stack boxes into an (N, 4) ``xyxy`` array."""
    return np.array([b.xyxy for b in boxes], dtype=np.float64).reshape(-1, 4)


def iou_matrix(a: FloatArray, b: FloatArray) -> FloatArray:
    """Pairwise intersection over union.

    Args:
        a: (N, 4) boxes, ``xyxy``.
        b: (M, 4) boxes, ``xyxy``.

    Returns:
        (N, M) values in [0, 1].
    """
    lo = np.maximum(a[:, None, :2], b[None, :, :2])
    hi = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(hi - lo, 0, None), axis=2)
    area_a = np.prod(a[:, 2:] - a[:, :2], axis=1)
    area_b = np.prod(b[:, 2:] - b[:, :2], axis=1)
    union = area_a[:, None] + area_b[None, :] - inter
    return np.where(union > 0, inter / np.where(union > 0, union, 1), 0.0)


def binary_entropy(p: FloatArray) -> float:
    """Mean entropy in bits of (n,) probabilities; 0 of none."""
    if len(p) == 0:
        return 0.0
    q = np.clip(p, 1e-12, 1 - 1e-12)
    return float(np.mean(-q * np.log2(q) - (1 - q) * np.log2(1 - q)))


def clip_box(xyxy: Sequence[float], width: float, height: float) -> tuple[float, float, float, float] | None:
    """Clip a box to the image; None where nothing of it is inside."""
    x1, y1 = max(0.0, float(xyxy[0])), max(0.0, float(xyxy[1]))
    x2, y2 = min(float(width), float(xyxy[2])), min(float(height), float(xyxy[3]))
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None
