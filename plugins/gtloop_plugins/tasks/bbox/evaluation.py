"""Figures of merit of boxes against a truth, accumulated over a stream of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtloop.labels import FloatArray, iou_matrix
from gtloop.records import Payload
from gtloop_plugins.tasks.bbox.matching import by_category, image_miou, match

HIT = 0.5


def evaluate(pairs: Iterable[tuple[Payload, Payload]]) -> dict[str, float]:
    """Figures of (label, truth) pairs.

    Returns:
        ``mean`` and ``median`` of the image mIoU, ``count`` of images, ``matched_iou`` (mean IoU of matched
        pairs), ``recall`` and ``precision`` of boxes at IoU .5, ``ap50`` (mean over the truth's categories of
        the area under the interpolated precision-recall curve, as COCO's but with every point). NaN where undefined.
    """
    quality: list[float] = []
    matched: list[float] = []
    hits, found, true = 0, 0, 0
    ranked: dict[str, list[tuple[float, bool]]] = {}
    objects: dict[str, int] = {}
    for label, truth in pairs:
        quality.append(image_miou(label, truth))
        ours, theirs = by_category(label), by_category(truth)
        for category in sorted(ours.keys() & theirs.keys()):
            iou = match(ours[category], theirs[category]).iou
            matched += iou.tolist()
            hits += int((iou >= HIT).sum())
        found += sum(map(len, ours.values()))
        true += sum(map(len, theirs.values()))
        for category, boxes in theirs.items():
            objects[category] = objects.get(category, 0) + len(boxes)
        _rank(label, theirs, ranked)
    nan = float("nan")
    return {
        "mean": float(np.mean(quality)) if quality else nan,
        "count": float(len(quality)),
        "median": float(np.median(quality)) if quality else nan,
        "matched_iou": float(np.mean(matched)) if matched else nan,
        "recall": hits / true if true else nan,
        "precision": hits / found if found else nan,
        "ap50": float(np.mean([_ap(ranked.get(c, []), n) for c, n in objects.items()])) if objects else nan,
    }


def _rank(label: Payload, truth: Mapping[str, FloatArray], into: dict[str, list[tuple[float, bool]]]) -> None:
    """Add each box's (confidence, whether it hits): the most confident box takes its best free true box."""
    free = {category: np.ones(len(boxes), dtype=bool) for category, boxes in truth.items()}
    for box in sorted(label["boxes"], key=_confidence, reverse=True):
        category, hit = box["category"], False
        if category in truth:
            iou = iou_matrix(np.array([box["xyxy"]], dtype=np.float64), truth[category])[0] * free[category]
            best = int(np.argmax(iou))
            hit = bool(iou[best] >= HIT)
            free[category][best] &= not hit
        into.setdefault(category, []).append((_confidence(box), hit))


def _confidence(box: Mapping[str, Any]) -> float:
    value = box.get("confidence")
    return 1.0 if value is None else float(value)


def _ap(ranked: list[tuple[float, bool]], objects: int) -> float:
    """Area under the interpolated curve; equal confidences are one point, so their order is irrelevant."""
    if not ranked:
        return 0.0
    order = sorted(ranked, reverse=True)
    score = np.array([s for s, _ in order])
    hits = np.cumsum([hit for _, hit in order])
    last = np.append(score[1:] != score[:-1], True)
    precision: NDArray[np.float64] = (hits / np.arange(1, len(hits) + 1))[last]
    recall = np.append(0.0, hits[last] / objects)
    return float(np.sum(np.diff(recall) * np.maximum.accumulate(precision[::-1])[::-1]))
