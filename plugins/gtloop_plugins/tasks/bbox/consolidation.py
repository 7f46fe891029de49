"""``bbox-posterior-2``: the boxes of several people made one label; docs/consolidation.md has method and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from gtloop.interfaces import Consolidated
from gtloop.labels import FloatArray
from gtloop.records import Answer
from gtloop_plugins.tasks.bbox.answers import Person, Spots, image, people, spots
from gtloop_plugins.tasks.bbox.beliefs import Beliefs, Known
from gtloop_plugins.tasks.bbox.fusion import expected_iou
from gtloop_plugins.tasks.bbox.matching import image_miou
from gtloop_plugins.tasks.bbox.posterior import Judged, judge
from gtloop_plugins.tasks.bbox.voter import Voter

KEEP = 0.5
"""Least probability of an object that is kept."""


def consolidate(
    answers: Sequence[Answer], known: Known, names: Sequence[str] = (), voter: Voter | None = None
) -> Consolidated:
    """The objects that probably exist, each with its likeliest category and a robust box.

    Args:
        answers: One worker's last counts; those who could not tell have no vote.
        known: Of the workers, by ``workers.learn``; of no skills: everybody is as the priors say.
        names: The run's categories, which say how likely two people agree on a wrong one.
        voter: A model that votes on whether an object that somebody drew exists, what it is, and on its edges.

    Returns:
        The confidence of a box is the probability that it exists, times that of its category, times the expected IoU
        with the truth: what the box adds to the expected image mIoU. The label's confidence is the expected image
        mIoU, pooled over categories; of a label without boxes, the probability that there is nothing. In simulation
        the mean confidence is within .02 of the mean quality for careful people (b = .05), and with history .03 to
        .06 too high for careless ones (b = .1 and .2): an order, and nearly, but not quite, a quality. Agreement is
        the mean pairwise image mIoU of the answers (1 for one person). The payload is None where nobody could tell.
    """
    given = people(answers)
    if not given:
        return Consolidated(None, 0.0, 0.0)
    found, beliefs, judged, unseen = _weighed(given, known, names, voter)
    if not len(found.image):
        return Consolidated({"boxes": []}, math.exp(-unseen), _agreement(given))
    payload, confidence = _label(judged, judged.fused.expected_iou(beliefs.shared), found.names, unseen)
    return Consolidated(payload, confidence, _agreement(given))


def sure(
    answers: Sequence[Answer],
    known: Known,
    names: Sequence[str] = (),
    more: int = 1,
    voter: Voter | None = None,
) -> float:
    """1 less the image mIoU that answers of ``more`` usual people are expected to add to the label.

    What they would settle: whether each object exists and what it is, for all that they can tell; they sharpen its
    edges by their precision, and find some of what everybody missed.

    Args:
        answers: As for ``consolidate``.
        known: As for ``consolidate``.
        names: As for ``consolidate``.
        more: Number of further answers.
        voter: As for ``consolidate``; what it alone sees is a reason to ask.

    Returns:
        In [0, 1]; 0 where nobody could tell.
    """
    given = people(answers)
    if not given:
        return 0.0
    found, beliefs, judged, missed = _weighed(given, known, names, voter)
    usual = known.of([""])
    left = missed * float(usual.miss[0]) ** more
    if not len(found.image):
        return 1.0 - max(0.0, math.exp(-left) - math.exp(-missed))
    fused = judged.fused
    now = _label(judged, fused.expected_iou(beliefs.shared), found.names, missed)[1]
    sharper = fused._replace(variance=1 / (1 / fused.variance + more / usual.variance)).expected_iou(beliefs.shared)
    objects = math.fsum(judged.exists)
    if objects < KEEP:  # probably nothing is there
        then = math.exp(-left)
    else:
        alone = float(expected_iou(np.zeros((1, 4)), usual.variance / more + usual.shared)[0])
        then = (math.fsum(judged.exists * sharper) + (missed - left) * alone) / (objects + missed)
    return 1.0 - max(0.0, then - now)


def _weighed(
    given: Sequence[Person], known: Known, names: Sequence[str], voter: Voter | None
) -> tuple[Spots, Beliefs, Judged, float]:
    """The spots of one image with what is believed of their workers and of them, and the objects that nobody drew."""
    found = spots([image(given)], names)
    beliefs = known.of(found.workers)
    judged = judge(found, beliefs)
    if voter is not None:
        return found, beliefs, *voter.vote(found, judged, beliefs)
    return found, beliefs, judged, beliefs.objects * math.prod(sorted(beliefs.miss.tolist()))


def _label(judged: Judged, iou: FloatArray, names: Sequence[str], unseen: float) -> tuple[dict[str, Any], float]:
    keep = np.flatnonzero(judged.exists >= KEEP)
    missing = math.fsum(np.delete(judged.exists, keep)) + unseen
    if not len(keep):
        return {"boxes": []}, math.exp(-unseen) * math.prod(sorted((1 - judged.exists).tolist()))
    best = judged.category[keep].argmax(axis=1)  # the first by name of the likeliest
    right = judged.category[keep, best]
    each = judged.exists[keep] * right * iou[keep]
    boxes = [
        {"category": names[c], "xyxy": xyxy, "confidence": min(1.0, p)}
        for c, xyxy, p in zip(best.tolist(), judged.fused.xyxy[keep].tolist(), each.tolist(), strict=True)
    ]
    # A wrong category is an unmatched box on both sides.
    union = len(keep) + missing + math.fsum(judged.exists[keep] * (1 - right))
    return {"boxes": sorted(boxes, key=lambda b: (b["xyxy"], b["category"]))}, min(1.0, math.fsum(each) / union)


def _agreement(given: Sequence[Person]) -> float:
    if len(given) == 1:
        return 1.0
    labels = [{"boxes": [{"category": c, "xyxy": xyxy} for xyxy, c in person.boxes]} for person in given]
    return float(np.mean([image_miou(a, b) for a, b in combinations(labels, 2)]))
