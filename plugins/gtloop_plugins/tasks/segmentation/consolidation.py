"""``segmentation-vote-2``: the masks of several people made one label, and how good each of them is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from gtloop.interfaces import Consolidated
from gtloop.records import Answer, Payload
from gtloop_plugins.tasks.segmentation import tiling, votes
from gtloop_plugins.tasks.segmentation.tiling import Ints, Tiling
from gtloop_plugins.tasks.segmentation.votes import Decided, Floats, Votes

PRIOR_IOU = 0.7
"""Mean IoU with the truth that a worker is taken for before the first answer."""
PRIOR_ITEMS = 1.0
"""How many items with a known truth that is worth."""

BEST, WORST = 0.97, 0.05
"""Limits of a worker's skill: nobody decides alone against two of the usual skill, and nobody has no vote."""

SWEEPS = 20
"""Rounds in which the skills of people who judge each other are found; they settle within a few."""


class _Compared(NamedTuple):
    """A worker's IoU with each of the others of an item, or with its truth: other None."""

    worker: str
    ious: Mapping[str | None, float]


def consolidate(
    answers: Sequence[Answer], skills: Mapping[str, Any], categories: Sequence[str], background: str
) -> Consolidated:
    """Weighted vote on every pixel, the neighbours having a say in what is contested.

    One answer per worker counts (the last by time, then id); ``empty`` votes for background everywhere. A vote weighs
    the square of its worker's skill (``weight``), so that without skills it is a plain majority. To the votes on a
    contested pixel the mean votes of its neighbourhood are added, which decides ties and removes frayed edges, as
    Ground Truth smooths "using surrounding pixels". A pixel is void where void has more than half of the votes; else
    void takes no part.

    The posterior of a pixel takes weights for log-odds of being right, and a wrong answer for one of the others given
    there (for the only other where all agree). Confidence is its mean over the pixels that are
    contested or in a category, that of a region its mean over the region. Agreement is the mean pairwise mean IoU, void
    of one side only counting as wrong (1 for one person). Where nobody could tell, or where all say ``empty``, so that
    no answer says the size of the image, the payload is None.
    """
    said = _last(answers)
    size = _size(said)
    if size is None:
        return Consolidated(None, 0.0, 0.0)
    names = [c for c in categories if c != background]
    given = _votes(_of_size(said, size), size, skills, names, background)
    made = votes.decide(given)
    return Consolidated(_payload(made, given, names, background), _confidence(made, given), _agreement(given))


def weight(worker: str, skills: Mapping[str, Any]) -> float:
    """What a worker's vote weighs: the square of their skill, that of an unknown worker being the log-odds of theirs.

    The log-odds of every skill, which RASA's weights come near to (crowd-kit; ``reference/statistics.md`` 5.3), let
    the best of three decide alone too often: they are right for errors that are independent from pixel to pixel, and
    the errors of a person come in whole parts. Measured in ``benchmarks/consolidate_masks.py``.
    """
    usual = math.log(PRIOR_IOU / (1 - PRIOR_IOU))
    return usual * (_skill(_known(skills).get(worker)) / PRIOR_IOU) ** 2


def skill(skills: Mapping[str, Any]) -> dict[str, float]:
    """Worker to estimated mean IoU with the truth, shrunk to the prior."""
    return {worker: _skill(known) for worker, known in _known(skills).items()}


def _known(skills: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The sums of each worker; ``segmentation-vote-1`` took the others for the truth, and kept no ``weight``."""
    return {worker: {"weight": known["items"], **known} for worker, known in skills.get("workers", {}).items()}


def _skill(known: Mapping[str, float] | None) -> float:
    if known is None:
        return PRIOR_IOU
    found = (PRIOR_ITEMS * PRIOR_IOU + known["iou"]) / (PRIOR_ITEMS + known["weight"])
    return min(BEST, max(WORST, found))


def learn(
    answers: Sequence[Sequence[Answer]],
    previous: Mapping[str, Any],
    categories: Sequence[str],
    background: str,
    gold: Sequence[Payload | None] = (),
) -> dict[str, Any]:
    """Add what newly closed items say about their workers.

    Two people who err independently have an IoU of about the product of their skills, the IoU with the truth: taken
    for the skill itself it would make everybody look worse, and those worst who met the worst. Skills are the least
    squares fit of that product to the IoU of all pairs (one common factor, as in factor analysis), found by turns,
    where those who were known before start from what was known. Where the truth of an item is known, it is the other
    person, whose skill is 1. Void of the other side does not count, the worker's own does.

    Args:
        answers: Of each item.
        previous: What this returned for the items before.
        categories: The run's.
        background: See ``SegmentationOptions``.
        gold: The true label of each item, as far as known; or none at all.

    Returns:
        ``workers``: name to ``items``, their number; ``weight``, the sum over items of the mean squared skill of the
        others; and ``iou``, the sum of the mean of IoU times that skill.
    """
    names = [c for c in categories if c != background]
    truths = gold or [None] * len(answers)
    items = zip(answers, truths, strict=True)
    compared = [one for item, truth in items for one in _compare(_last(item), truth, names, background)]
    before = now = _known(previous)
    skills = skill(previous)
    for _ in range(SWEEPS):
        now = _added(before, compared, skills)
        # Half a step: with a whole one two people who only know each other would change places for ever.
        skills = {worker: (skills.get(worker, PRIOR_IOU) + _skill(sums)) / 2 for worker, sums in now.items()}
    return {"workers": dict(sorted(now.items()))} if now else dict(previous)


def _added(
    before: Mapping[str, Mapping[str, float]], compared: Sequence[_Compared], skills: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    found = {worker: dict(sums) for worker, sums in before.items()}
    for worker, ious in compared:
        theirs = np.array([1.0 if other is None else skills.get(other, PRIOR_IOU) for other in ious])
        sums = found.setdefault(worker, {"items": 0, "weight": 0.0, "iou": 0.0})
        sums["items"] += 1
        sums["weight"] += float(np.mean(theirs**2))
        sums["iou"] += float(np.mean(theirs * list(ious.values())))
    return found


def _compare(said: Sequence[Answer], truth: Payload | None, names: Sequence[str], background: str) -> list[_Compared]:
    """Each person of an item with the truth, or where there is none with every other; not with who says only void."""
    size = _size(said) if truth is None else (int(truth["size"][0]), int(truth["size"][1]))
    same = _of_size(said, size)
    if size is None or not same:
        return []
    people = [_read(a, names, background) for a in same]
    others: list[str | None] = [a.worker for a in same]
    judges: Iterable[int] = range(len(same))
    if truth is not None:
        people.append(tiling.read(truth, names, background))
        others.append(None)
        judges = [len(same)]
    given = votes.gather(people, [1.0] * len(people), size, len(names))
    useful = [m for m in judges if (given.said[m] <= given.names).any()]
    found = []
    for n, answer in enumerate(same):
        ious = {others[m]: tiling.strict_iou(given.confusion(n, m), forgive_columns=True) for m in useful if m != n}
        if ious:
            found.append(_Compared(answer.worker, ious))
    return found


def _last(answers: Sequence[Answer]) -> list[Answer]:
    """The last answer of each person who could tell, in the order of their names."""
    last: dict[str, Answer] = {}
    for answer in sorted(answers, key=lambda a: (a.at, a.id)):
        if answer.outcome == "empty" or (answer.outcome == "label" and answer.payload is not None):
            last[answer.worker] = answer
    return [last[worker] for worker in sorted(last)]


def _size(answers: Sequence[Answer]) -> tuple[int, int] | None:
    """The (height, width) that most answers have, the larger of equals; None where none says it."""
    sizes = Counter((int(h), int(w)) for h, w in (a.payload["size"] for a in answers if a.payload is not None))
    return max(sizes, key=lambda s: (sizes[s], s)) if sizes else None


def _read(answer: Answer, names: Sequence[str], background: str) -> Tiling:
    if answer.payload is None or answer.outcome == "empty":
        return tiling.tile({})
    return tiling.read(answer.payload, names, background)


def _of_size(answers: Sequence[Answer], size: tuple[int, int] | None) -> list[Answer]:
    return [a for a in answers if a.payload is None or tuple(a.payload["size"]) == size]


def _votes(
    answers: Sequence[Answer], size: tuple[int, int], skills: Mapping[str, Any], names: Sequence[str], background: str
) -> Votes:
    weights = [weight(a.worker, skills) for a in answers]
    return votes.gather([_read(a, names, background) for a in answers], weights, size, len(names))


def _payload(made: Decided, given: Votes, names: Sequence[str], background: str) -> Payload:
    """The label, each region with the mean posterior of its pixels."""
    size = given.size
    label: Payload = {"size": list(size), "regions": []}
    for n, name in [*enumerate(names), *([(len(names), background)] if background else [])]:
        if made.pixels[n].any():
            sure = _mean(made.certain[n], made.pixels[n])
            counts = tiling.encode(made.runs[made.value == n], size)
            label["regions"].append({"category": name, "counts": counts, "confidence": sure})
    if made.pixels[-1].any():
        label["void"] = tiling.encode(made.runs[made.value == len(names) + 1], size)
    return label


def _confidence(made: Decided, given: Votes) -> float:
    told = np.repeat(given.contested()[None], len(made.pixels), axis=0)
    told[np.arange(len(told)) != given.names] = True
    told &= made.pixels > 0
    some = told if told.any() else made.pixels > 0
    return _mean(made.certain[some], made.pixels[some])


def _mean(values: Floats, pixels: Ints) -> float:
    """Mean over pixels; sorted, so that its last bit does not depend on who gave which answer."""
    return min(1.0, math.fsum(sorted((values * pixels).tolist())) / int(pixels.sum()))


def _agreement(given: Votes) -> float:
    pairs = [given.confusion(a, b) for a, b in combinations(range(len(given.weights)), 2)]
    return math.fsum(sorted(map(tiling.strict_iou, pairs))) / len(pairs) if pairs else 1.0
