"""Figures of merit of boxes against a truth, accumulated over a stream of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.labels import FloatArray
from gtloop.records import Payload
from gtloop_plugins.tasks.bbox.matching import by_category, image_miou, match

HIT = 0.5

THRESHOLDS: FloatArray = np.minimum(np.linspace(0.5, 0.95, 10), 1 - 1e-10)
"""IoU at which a box is a hit: COCO's ``IoU=.50:.05:.95``."""
RECALLS: FloatArray = np.linspace(0.0, 1.0, 101)
MOST = 100
"""Boxes of a category in an image that count, the most confident ones: COCO's ``maxDets=100``."""
PAIRS = 500_000
"""Pairs of a box and a true box that are held at once, unless a single image has more."""

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def evaluate(pairs: Iterable[tuple[Payload, Payload]]) -> dict[str, float]:
    """Figures of (label, truth) pairs.

    Returns:
        ``mean`` and ``median`` of the image mIoU, ``count`` of images, ``matched_iou`` (mean IoU of matched
        pairs), ``recall`` and ``precision`` of boxes at IoU .5, and COCO's average precision (``AveragePrecision``):
        ``ap``, ``ap50``, ``ap75``. ``matched_iou``, ``recall`` and ``precision`` of each category,
        as ``recall.CATEGORY``. NaN where undefined.
    """
    quality: list[float] = []
    of: dict[str, _Tally] = {}
    curves = AveragePrecision()
    for label, truth in pairs:
        quality.append(image_miou(label, truth))
        ours, theirs = by_category(label), by_category(truth)
        for category in sorted(ours.keys() | theirs.keys()):
            tally = of.setdefault(category, _Tally())
            tally.found += len(ours.get(category, ()))
            tally.true += len(theirs.get(category, ()))
            if category in ours and category in theirs:
                tally.matched += match(ours[category], theirs[category]).iou.tolist()
        curves.add(label, truth)
    nan = float("nan")
    return {
        "mean": float(np.mean(quality)) if quality else nan,
        "count": float(len(quality)),
        "median": float(np.median(quality)) if quality else nan,
        **_Tally.together(of.values()).figures(),
        **curves.figures(),
        **{f"{name}.{c}": v for c in sorted(of) for name, v in of[c].figures().items()},
    }


@dataclass
class _Tally:
    """IoU of ``matched`` pairs, and the boxes that labels (``found``) and the truth (``true``) have."""

    matched: list[float] = field(default_factory=list)
    found: int = 0
    true: int = 0

    @classmethod
    def together(cls, of: Iterable[_Tally]) -> _Tally:
        tallies = list(of)
        matched = [v for t in tallies for v in t.matched]
        return cls(matched, sum(t.found for t in tallies), sum(t.true for t in tallies))

    def figures(self) -> dict[str, float]:
        nan, hits = float("nan"), sum(v >= HIT for v in self.matched)
        return {
            "matched_iou": float(np.mean(self.matched)) if self.matched else nan,
            "recall": hits / self.true if self.true else nan,
            "precision": hits / self.found if self.found else nan,
        }


class _Rows(NamedTuple):
    """Boxes of several images: ``xywh`` (N, 4) pixels, ``block`` (N,) image and category, ``score`` (N,)."""

    xywh: FloatArray
    block: Ints
    score: FloatArray


class AveragePrecision:
    """COCO's average precision of boxes, equal to pycocotools' (``cocoeval.py``) to the last bits of a sum.

    Lin et al., Microsoft COCO, ECCV 2014; as computed by cocodataset/cocoapi: of each category in an image the 100 most
    confident boxes, from the most confident on, take the free true box of the largest IoU that is at least the
    threshold (of equals the last); precision, made falling, is read off at 101 recalls and averaged over the recalls
    and over the categories that the truth has; area ``all``, no crowds. Boxes of equal confidence count in the order
    in which they come, as there. A box without a confidence has 1. Measured in ``benchmarks/metrics.py``.

    Images come one at a time; what is kept of a box are its category, its confidence and ten bits.
    """

    def __init__(self) -> None:
        self._categories: dict[str, int] = {}
        self._objects: list[int] = []
        self._ranked: list[tuple[Ints, FloatArray, Bools]] = []
        self._boxes: list[tuple[Any, int, float]] = []
        self._true: list[tuple[Any, int, float]] = []
        self._images = self._pairs = 0

    def add(self, label: Payload, truth: Payload) -> None:
        """Take in an image."""
        for box in truth["boxes"]:
            category = self._category(box)
            self._objects[category] += 1
            self._true.append((box["xyxy"], self._block(category), 1.0))
        self._boxes += [(b["xyxy"], self._block(self._category(b)), _confidence(b)) for b in label["boxes"]]
        self._images += 1
        self._pairs += max(1, len(label["boxes"])) * max(1, len(truth["boxes"]))
        if self._pairs >= PAIRS:
            self._flush()

    def figures(self) -> dict[str, float]:
        """``ap`` (IoU .5 to .95), ``ap50`` and ``ap75``; NaN where the truth has no box."""
        self._flush()
        nothing = (np.zeros(0, np.int64), np.zeros(0), np.zeros((0, len(THRESHOLDS)), bool))
        category, score, hit = (np.concatenate(parts) for parts in zip(nothing, *self._ranked, strict=True))
        # Stable, so that equal confidences stay in the order of their images.
        order = np.lexsort((-score, category))
        bounds = np.searchsorted(category[order], np.arange(len(self._objects) + 1))
        curves = [
            _precision(hit[order[a:b]], n) for a, b, n in zip(bounds[:-1], bounds[1:], self._objects, strict=True) if n
        ]
        if not curves:
            return dict.fromkeys(("ap", "ap50", "ap75"), float("nan"))
        by_threshold = np.mean(curves, axis=(0, 2))
        return {"ap": float(by_threshold.mean()), "ap50": float(by_threshold[0]), "ap75": float(by_threshold[5])}

    def _category(self, box: Mapping[str, Any]) -> int:
        number = self._categories.setdefault(box["category"], len(self._categories))
        if number == len(self._objects):
            self._objects.append(0)
        return number

    def _block(self, category: int) -> int:
        return self._images << 32 | category

    def _flush(self) -> None:
        boxes, true = _rows(self._boxes), _rows(self._true)
        self._boxes, self._true, self._pairs = [], [], 0
        if not len(boxes.block):
            return
        order = np.lexsort((-boxes.score, boxes.block))
        block = boxes.block[order]
        order = order[np.arange(len(block)) - np.searchsorted(block, block) < MOST]
        boxes = _Rows(boxes.xywh[order], boxes.block[order], boxes.score[order])
        self._ranked.append((boxes.block & 0xFFFFFFFF, boxes.score, _hits(boxes, true)))


def _confidence(box: Mapping[str, Any]) -> float:
    value = box.get("confidence")
    return 1.0 if value is None else float(value)


def _rows(boxes: list[tuple[Any, int, float]]) -> _Rows:
    corners = np.array([xyxy for xyxy, _, _ in boxes], np.float64).reshape(-1, 4)
    # COCO's form, so that its rounding is ours.
    xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    return _Rows(xywh, np.array([b for _, b, _ in boxes], np.int64), np.array([s for _, _, s in boxes], np.float64))


def _iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """(N,) IoU of ``xywh`` boxes, row by row, with the operations of ``bbIou`` in cocoapi's ``maskApi.c``."""
    lo = np.maximum(a[:, :2], b[:, :2])
    sides = np.maximum(0.0, np.minimum(a[:, 2:] + a[:, :2], b[:, 2:] + b[:, :2]) - lo)
    inter = sides[:, 0] * sides[:, 1]
    union = a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - inter
    iou: FloatArray = np.divide(inter, union, out=np.zeros_like(inter), where=inter > 0)
    return iou


def _hits(boxes: _Rows, true: _Rows) -> Bools:
    """(N, thresholds) whether each box hits. ``boxes`` are in order of block and rank.

    All blocks go on at once: the first boxes of all of them choose, then the second ones, and so on.
    """
    hits = np.zeros((len(boxes.block), len(THRESHOLDS)), bool)
    box, mate, iou = _candidates(boxes, true)
    if not len(box):
        return hits
    chooser, turn = np.unique(box, return_inverse=True)
    blocks = boxes.block[chooser]
    round_of = (np.arange(len(chooser)) - np.searchsorted(blocks, blocks))[turn]
    order = np.lexsort((mate, iou, box, round_of))
    box, mate, iou = box[order], mate[order], iou[order]
    free = np.ones((len(true.block), len(THRESHOLDS)), bool)
    bounds = np.searchsorted(round_of[order], np.arange(round_of.max() + 2))
    for a, b in pairwise(bounds.tolist()):
        theirs, wanted = box[a:b], mate[a:b]
        first = np.flatnonzero(np.append(True, theirs[1:] != theirs[:-1]))
        possible = free[wanted] & (iou[a:b, None] >= THRESHOLDS)
        # Candidates are in order of IoU, then of the truth: the last possible one is the best.
        best = np.maximum.reduceat(np.where(possible, np.arange(b - a)[:, None], -1), first, axis=0)
        hits[theirs[first]] = best >= 0
        one, threshold = np.nonzero(best >= 0)
        free[wanted[best[one, threshold]], threshold] = False
    return hits


def _candidates(boxes: _Rows, true: _Rows) -> tuple[Ints, Ints, FloatArray]:
    """Pairs of one block whose IoU is at least the lowest threshold: (N,) box, (N,) true box, (N,) IoU."""
    order = np.argsort(true.block, kind="stable")
    known = true.block[order]
    first = np.searchsorted(known, boxes.block)
    many = np.searchsorted(known, boxes.block, side="right") - first
    box = np.repeat(np.arange(len(boxes.block)), many)
    offset = np.arange(len(box)) - np.repeat(np.cumsum(many) - many, many)
    mate = order[np.repeat(first, many) + offset]
    iou = _iou(boxes.xywh[box], true.xywh[mate])
    near = iou >= THRESHOLDS[0]
    return box[near], mate[near], iou[near]


def _precision(hit: Bools, objects: int) -> FloatArray:
    """(thresholds, 101) precision at the recalls, of one category; ``hit`` (N, thresholds) by falling confidence."""
    found = np.cumsum(hit.T, axis=1).astype(np.float64)
    precision = found / (np.arange(1, len(hit) + 1) + np.spacing(1))
    # Made falling; the 0 behind is for recalls that are never reached.
    falling = np.pad(np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))
    at = [np.searchsorted(row, RECALLS, side="left") for row in found / objects]
    return np.take_along_axis(falling, np.stack(at), axis=1)
