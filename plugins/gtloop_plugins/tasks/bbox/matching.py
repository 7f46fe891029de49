"""Matching of two sets of boxes, and the image mIoU that the promise is about."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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


def link(boxes: FloatArray, categories: Sequence[str], owners: Sequence[int], min_iou: float) -> list[list[int]]:
    """Group the boxes of several people into objects, never two boxes of one person in one object.

    Agglomerative: pairs of different people are visited by falling IoU, those of one category first by
    a bonus of .2, and joined where the two groups share no person. Categories do not restrict the groups.

    Args:
        boxes: (N, 4) ``xyxy``, in an order that does not depend on who answered first: it breaks ties.
        categories: (N,) names.
        owners: (N,) who drew each box.
        min_iou: Least IoU of a pair that may join two groups.

    Returns:
        Groups of indices, each sorted, in order of their first index.
    """
    iou = iou_matrix(boxes, boxes)
    names = np.array(categories, dtype=object)
    who = np.asarray(owners)
    rank = iou + 0.2 * (names[:, None] == names[None, :])
    i, j = np.nonzero(np.triu((iou >= min_iou) & (who[:, None] != who[None, :]), k=1))
    groups = {n: [n] for n in range(len(boxes))}
    people: dict[int, set[Any]] = {n: {owners[n]} for n in range(len(boxes))}
    member = list(range(len(boxes)))
    for k in np.lexsort((j, i, -np.round(rank[i, j], 9))):
        a, b = sorted((member[i[k]], member[j[k]]))
        if a == b or people[a] & people[b]:
            continue
        groups[a] += groups[b]
        people[a] |= people[b]
        for n in groups.pop(b):
            member[n] = a
    return [sorted(group) for _, group in sorted(groups.items())]
