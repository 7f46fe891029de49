"""Workers who stand out: answers worse than the others', far too fast, or always the same. numpy only."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import NormalDist, median
from typing import NamedTuple

import numpy as np

from gtloop.interfaces import Task
from gtloop.records import Answer, Item, Payload

ENOUGH = 10
"""Answers below which nobody is said to stand out."""
_CHANCE = 0.01
"""Probability that a test names anybody in a run where all are alike."""
_LOW = 0.05
"""A quality that is less than this below the others' is no matter, however sure."""
_HASTY = 0.25
"""Up to this share of the time that others take for the same items is too short to have looked."""


class Asked(NamedTuple):
    """One request: its item, and what people said; ``Run.answers`` has them."""

    item: Item
    answers: Sequence[Answer]


class Scored(NamedTuple):
    """An answer's quality, and how far that is above the others' mean on the same request."""

    quality: float
    above: float


def values(asked: Asked, task: Task) -> dict[str, Payload]:
    """Worker to label; without those who gave none."""
    labels = {x.worker: task.empty() if x.outcome == "empty" else x.payload for x in asked.answers}
    return {w: label for w, label in labels.items() if label is not None}


def flags(
    asked: Sequence[Asked], sample: Sequence[Asked], scored: Mapping[str, Sequence[Scored]], task: Task
) -> dict[str, str]:
    """Worker to why they stand out, in words; only those who do.

    Args:
        asked: All requests, for the times.
        sample: Requests with canonical answers, one a worker, for what was said.
        scored: Worker to the quality of their answers in ``sample``.
        task: Whose labels they are.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for reasons in (_poor(scored), _hasty(asked), _monotonous(sample, task)):
        for worker, why in reasons.items():
            found[worker].append(why)
    return {worker: "; ".join(whys) for worker, whys in found.items()}


def _poor(scored: Mapping[str, Sequence[Scored]]) -> dict[str, str]:
    """Workers whose answers are worse than the others' to the same items: a one-sided z test on the differences.

    The level is shared by the workers (Bonferroni); the spread is that of everybody's differences, so that a few
    answers that happen to be equally bad prove nothing.
    """
    tested = {w: np.array([s.above for s in of]) for w, of in scored.items() if len(of) >= ENOUGH}
    if not tested:
        return {}
    spread = float(np.std([s.above for of in scored.values() for s in of]))
    least = NormalDist().inv_cdf(1 - _CHANCE / len(tested))
    found = {}
    for w, above in tested.items():
        mean = float(above.mean())
        if mean < -_LOW and -mean * math.sqrt(len(above)) > least * spread:
            quality = float(np.mean([s.quality for s in scored[w]]))
            found[w] = f"quality {quality:.2f}, {-mean:.2f} below the others on the same {len(above)} items"
    return found


def _hasty(asked: Sequence[Asked]) -> dict[str, str]:
    ratios: dict[str, list[float]] = defaultdict(list)
    for a in asked:
        seconds = {x.worker: x.active_seconds for x in a.answers if x.outcome != "declined" and x.active_seconds > 0}
        for w, own in seconds.items():
            others = [s for v, s in seconds.items() if v != w]
            if others:
                ratios[w].append(own / median(others))
    usual = {w: median(of) for w, of in ratios.items() if len(of) >= ENOUGH}
    return {
        w: f"takes {share:.0%} of the time that others take for the same items"
        for w, share in usual.items()
        if share <= _HASTY
    }


def _monotonous(sample: Sequence[Asked], task: Task) -> dict[str, str]:
    """Workers who always give the same answer, which the others give to the same items too seldom for chance."""
    texts = [{w: json.dumps(v, sort_keys=True) for w, v in values(a, task).items()} for a in sample]
    own: dict[str, Counter[str]] = defaultdict(Counter)
    for of in texts:
        for w, text in of.items():
            own[w][text] += 1
    found = {}
    for w, counts in own.items():
        n = counts.total()
        if len(counts) > 1 or n < ENOUGH:
            continue
        others = [text in counts for of in texts if w in of for v, text in of.items() if v != w]
        share = (sum(others) + 1) / (len(others) + 2)
        if others and n * math.log(share) < math.log(_CHANCE / len(own)):
            often = f"{sum(others) / len(others):.0%}"
            found[w] = f"the same answer {n} times of {n}; the others gave it {often} of the time"
    return found
