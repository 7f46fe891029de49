"""Matching of two sets of boxes, and the image mIoU that the promise is about."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.labels import FloatArray, iou_matrix
from gtloop.records import Payload

_PREFER_MORE = 1e-9  # breaks ties between equally good matchings in favour of more pairs


class Matched(NamedTuple):
    """A one-to-one matching: indices into both sets, and the IoU of each pair (all above 0)."""

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    iou: FloatArray


def match(a: FloatArray, b: FloatArray) -> Matched:
    """One-to-one matching of the largest total IoU (Hungarian); pairs that do not overlap are left out.

    Args:
        a: (N, 4) boxes, ``xyxy``.
        b: (M, 4) boxes, ``xyxy``.
    """
    from scipy.optimize import linear_sum_assignment

    iou = iou_matrix(a, b)
    left, right = linear_sum_assignment(iou + _PREFER_MORE * (iou > 0), maximize=True)
    keep = iou[left, right] > 0
    left, right = left[keep], right[keep]
    return Matched(left, right, iou[left, right])


def by_category(payload: Payload) -> dict[str, FloatArray]:
    """Category to (N, 4) ``xyxy``, rows in lexicographic order, so that the order of the boxes is forgotten."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for box in payload.get("boxes", ()):
        found.setdefault(box["category"], []).append(tuple(box["xyxy"]))
    return {category: np.array(sorted(rows), dtype=np.float64) for category, rows in found.items()}


def image_miou(a: Payload, b: Payload) -> float:
    """Image mIoU: one-to-one per category, unmatched boxes of either side count 0, mean over categories.

    For a category with |A| and |B| boxes and M matched pairs it is sum IoU / (|A| + |B| - |M|), the
    SQ·RQ form of panoptic quality with a Jaccard index of detections. Categories present on either side
    take part; two empty labels are 1, one empty label is 0. Symmetric; the order of boxes is irrelevant.

    Returns:
        A value in [0, 1]; exactly 1 for equal labels.
    """
    left, right = by_category(a), by_category(b)
    categories = sorted(left.keys() | right.keys())
    if not categories:
        return 1.0
    return math.fsum(_quality(left, right, c) for c in categories) / len(categories)


def _quality(left: Mapping[str, FloatArray], right: Mapping[str, FloatArray], category: str) -> float:
    if category not in left or category not in right:
        return 0.0
    # The solver may prefer one of two equally good matchings by position: a fixed order makes it symmetric.
    a, b = sorted((left[category], right[category]), key=lambda rows: (len(rows), rows.tolist()))
    pairs = match(a, b)
    return min(1.0, math.fsum(pairs.iou) / (len(a) + len(b) - len(pairs.iou)))
