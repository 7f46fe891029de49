"""``bbox-median-1``: the boxes of several people made one label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from gtloop.interfaces import Consolidated
from gtloop.labels import FloatArray, iou_matrix
from gtloop.records import Answer, Payload
from gtloop_plugins.tasks.bbox.matching import image_miou, link

MIN_IOU = 0.2
"""Least IoU at which two people's boxes may be of one object: careless people (b = .2) often agree no better."""

_Key = tuple[tuple[float, ...], str]


class _Object(NamedTuple):
    xyxy: tuple[float, ...]
    category: str
    confidence: float


def consolidate(answers: Sequence[Answer]) -> Consolidated:
    """Coordinate-wise median of the matched boxes, a vote on being there, and a vote on the category.

    One answer per worker counts (the last by time, then id). Boxes are grouped across categories by
    ``link``. With W people who could tell, an object is kept when at least half of them drew it (1 of 2,
    2 of 3, 3 of 5): at a miss rate of .1 per object a strict majority of two would lose 19 % of all objects,
    half of two loses 1 %, and what only one of two drew stays visible with a confidence of about .5 at most
    instead of silently going missing. The category with most votes wins, ties go to the first by name.
    The median is robust against one bad worker where the mean is not (Branson et al., Lean crowdsourcing,
    CVPR 2017, cluster likewise; figures in ``reference/statistics.md`` 5.2).

    The confidence of a box is the mean over the W people of the IoU of their box with the result, 0 where they
    drew none or named another category: their share, weighted by agreement. The label's confidence is the mean
    of its boxes, or the share of people who saw nothing where it has none. Agreement is the mean pairwise
    image mIoU (1 for one person). Where nobody could tell, the payload is None.
    """
    people = _people(answers)
    if not people:
        return Consolidated(None, 0.0, 0.0)
    objects = _objects(people)
    boxes = [{"category": o.category, "xyxy": list(o.xyxy), "confidence": o.confidence} for o in objects]
    if boxes:
        confidence = float(np.mean([o.confidence for o in objects]))
    else:
        confidence = float(np.mean([not keys for keys in people]))
    return Consolidated({"boxes": boxes}, confidence, _agreement(people))


def _people(answers: Sequence[Answer]) -> list[list[_Key]]:
    """The boxes of each person who could tell, in an order that depends on their content only."""
    last: dict[str, Answer] = {}
    for answer in sorted(answers, key=lambda a: (a.at, a.id)):
        if answer.outcome in ("label", "empty"):
            last[answer.worker] = answer
    return sorted(_keys(a.payload if a.outcome == "label" else None) for a in last.values())


def _keys(payload: Payload | None) -> list[_Key]:
    boxes: Sequence[Any] = (payload or {}).get("boxes", ())
    return sorted((tuple(float(v) for v in box["xyxy"]), box["category"]) for box in boxes)


def _objects(people: Sequence[Sequence[_Key]]) -> list[_Object]:
    keys = [(key, owner) for owner, drawn in enumerate(people) for key in drawn]
    boxes = np.array([xyxy for (xyxy, _), _ in keys], dtype=np.float64).reshape(-1, 4)
    names = [category for (_, category), _ in keys]
    groups = link(boxes, names, [owner for _, owner in keys], MIN_IOU)
    kept = [_merge(boxes[g], [names[n] for n in g], len(people)) for g in groups if 2 * len(g) >= len(people)]
    return sorted(kept, key=lambda o: (o.xyxy, o.category))


def _merge(boxes: FloatArray, names: Sequence[str], workers: int) -> _Object:
    middle = np.median(boxes, axis=0)
    votes = Counter(names)
    category = min(votes, key=lambda name: (-votes[name], name))
    iou = iou_matrix(boxes, middle[None])[:, 0]
    # Sorted before it is summed, so that the last bit does not depend on the order either.
    agree = sorted(float(v) for v, name in zip(iou, names, strict=True) if name == category)
    return _Object(tuple(middle.tolist()), category, min(1.0, sum(agree) / workers))


def _agreement(people: Sequence[Sequence[_Key]]) -> float:
    if len(people) == 1:
        return 1.0
    labels = [{"boxes": [{"category": c, "xyxy": xyxy} for xyxy, c in drawn]} for drawn in people]
    return float(np.mean([image_miou(a, b) for a, b in combinations(labels, 2)]))
