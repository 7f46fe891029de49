"""``segmentation-vote-1``: the masks of several people made one label, and how good each of them is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import Consolidated
from gtloop.records import Answer, Payload
from gtloop_plugins.tasks.segmentation import tiling
from gtloop_plugins.tasks.segmentation.tiling import Ints, Tiling

PRIOR_IOU, PRIOR_ITEMS = 0.7, 5.0
"""What a worker is taken for before the first answer, and how many items of evidence that is worth."""

BEST, WORST = 0.95, 0.52
"""Limits of a worker's skill: nobody decides alone for ever, and nobody's vote counts against what they say."""

NEIGHBOURHOOD = 5
"""Side in pixels of the square whose votes have a say in a contested pixel."""
SAY = 0.25
"""Weight of the mean vote of the neighbourhood, the pixel's own votes being 1: below 1/3, so that of three equal
people it decides only where all differ."""

Floats = NDArray[np.float64]


class _Person(NamedTuple):
    worker: str
    tiling: Tiling
    weight: float


class _Votes(NamedTuple):
    """Pieces of the image in which nobody changes the answer: ``said`` (people, n), ``weights`` (people,)."""

    first: Ints
    length: Ints
    said: Ints
    weights: Floats

    def contested(self) -> NDArray[np.bool_]:
        """(n,) whether two people differ."""
        differ: NDArray[np.bool_] = (self.said != self.said[:1]).any(axis=0)
        return differ

    def of(self, value: int) -> Floats:
        """(n,) weight of those who say ``value``."""
        weight: Floats = self.weights @ (self.said == value)
        return weight


def consolidate(
    answers: Sequence[Answer], skills: Mapping[str, Any], categories: Sequence[str], background: str
) -> Consolidated:
    """Weighted vote on every pixel, the neighbours having a say in what is contested.

    One answer per worker counts (the last by time, then id); ``empty`` votes for background everywhere. A vote weighs
    the log-odds of its worker's skill, so that without skills it is a plain majority; RASA weighs likewise (crowd-kit;
    ``reference/statistics.md`` 5.3). To the votes on a contested pixel the mean votes of its neighbourhood are added,
    which decides ties and removes frayed edges, as Ground Truth smooths "using surrounding pixels". A pixel is void
    where void has more than half of the votes; else void takes no part.

    The posterior of a pixel takes everybody for right with the probability of their skill, and a wrong answer for one
    of the others given there (for the only other where all agree). Confidence is its mean over the pixels that are
    contested or in a category, that of a region its mean over the region. Agreement is the mean pairwise mean IoU, void
    of one side only counting as wrong (1 for one person). Where nobody could tell, or where all say ``empty``, so that
    no answer says the size of the image, the payload is None.
    """
    said = _last(answers)
    size = _size(said)
    if size is None:
        return Consolidated(None, 0.0, 0.0)
    names = [c for c in categories if c != background]
    people = [
        _Person(a.worker, _read(a, names, background), weight(a.worker, skills))
        for a in said
        if a.payload is None or tuple(a.payload["size"]) == size
    ]
    votes = _votes(people, size, len(names))
    image, certain = _decide(votes, size, len(names))
    return Consolidated(
        _payload(image, certain, size, names, background),
        _confidence(votes, image, certain, len(names)),
        _agreement(people, size, len(names)),
    )


def weight(worker: str, skills: Mapping[str, Any]) -> float:
    """Log-odds of a worker's skill: mean IoU with what the others say, shrunk to the prior."""
    known = skills.get("workers", {}).get(worker, {"items": 0, "iou": 0.0})
    skill = (PRIOR_ITEMS * PRIOR_IOU + known["iou"]) / (PRIOR_ITEMS + known["items"])
    skill = min(BEST, max(WORST, skill))
    return math.log(skill / (1 - skill))


def learn(
    answers: Sequence[Sequence[Answer]], previous: Mapping[str, Any], categories: Sequence[str], background: str
) -> dict[str, Any]:
    """Add what newly closed items say about their workers.

    A worker's evidence from an item is the mean IoU with the weighted vote of the *others*; pixels that those leave
    open, and their void, do not count, the worker's own void does.

    Returns:
        ``workers``: name to ``items`` and ``iou``, their number and the sum of their IoU.
    """
    names = [c for c in categories if c != background]
    found = {w: dict(s) for w, s in previous.get("workers", {}).items()}
    for item in answers:
        for worker, iou in sorted(_against_the_others(item, previous, names, background).items()):
            known = found.setdefault(worker, {"items": 0, "iou": 0.0})
            known["items"] += 1
            known["iou"] += iou
    return {"workers": dict(sorted(found.items()))} if found else dict(previous)


def _against_the_others(
    answers: Sequence[Answer], skills: Mapping[str, Any], names: Sequence[str], background: str
) -> dict[str, float]:
    said = _last(answers)
    size = _size(said)
    same = [a for a in said if a.payload is None or tuple(a.payload["size"]) == size]
    if size is None or len(same) < 2:
        return {}
    people = [_Person(a.worker, _read(a, names, background), weight(a.worker, skills)) for a in same]
    votes, k = _votes(people, size, len(names)), len(names) + 2
    iou = {}
    for n, person in enumerate(people):
        others = _winner(np.delete(votes.said, n, axis=0), np.delete(votes.weights, n), len(names))
        if (others == k - 1).all():
            continue
        table = np.bincount(votes.said[n] * k + others, weights=votes.length, minlength=k * k).astype(np.int64)
        iou[person.worker] = tiling.strict_iou(table.reshape(k, k), forgive_columns=True)
    return iou


def _winner(said: Ints, weights: Floats, names: int) -> Ints:
    """(n,) value with most weight; void (names + 1) where two have the same."""
    weighed = np.stack([weights @ (said == value) for value in range(names + 2)])
    best = weighed.argmax(axis=0)
    top = np.partition(weighed, -2, axis=0)
    return np.where(top[-1] - top[-2] < 1e-9, names + 1, best)


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


def _votes(people: Sequence[_Person], size: tuple[int, int], names: int) -> _Votes:
    first, length = tiling.cut([p.tiling for p in people], size[0] * size[1])
    said = np.stack([tiling.values_at(p.tiling, first, names) for p in people])
    return _Votes(first, length, said, np.array([p.weight for p in people]))


def _decide(votes: _Votes, size: tuple[int, int], names: int) -> tuple[Ints, Floats]:
    """The value of every flat pixel, and its posterior."""
    from scipy import ndimage

    total = votes.weights.sum()
    contested = votes.contested()
    image = np.repeat(votes.said[0], votes.length)
    certain = np.full(len(image), 1 / (1 + math.exp(-total)))
    at = np.flatnonzero(np.repeat(contested, votes.length))
    if not len(at):
        return image, certain
    values = np.unique(votes.said[:, contested])
    own, score = np.empty((2, len(values), len(at)))
    for n, value in enumerate(values):
        plane = np.repeat(votes.of(int(value)), votes.length).reshape(size[1], size[0])
        around = ndimage.uniform_filter(plane, NEIGHBOURHOOD, mode="nearest")
        own[n] = plane.ravel()[at]
        # Rounded, so that a tie stays one whatever the filter's last bits are.
        score[n] = np.round(own[n] + SAY * around.ravel()[at], 9)
    chosen = _choose(values, own, score, float(total), names)
    image[at] = values[chosen]
    odds = np.where(own > 0, np.exp(own), 0)
    certain[at] = np.take_along_axis(odds, chosen[None], axis=0)[0] / odds.sum(axis=0)
    return image, certain


def _choose(values: Ints, own: Floats, score: Floats, total: float, names: int) -> NDArray[np.intp]:
    """(n,) rows of ``values`` that win; of equals the first. ``own`` and ``score`` are (values, n)."""
    void = values == names + 1
    chosen: NDArray[np.intp] = np.where((own > 0) & ~void[:, None], score, -np.inf).argmax(axis=0)
    if not void.any():
        return chosen
    row = int(np.flatnonzero(void)[0])
    return np.where((own[row] > 0) & (score[row] > total * (1 + SAY) / 2), row, chosen)


def _payload(image: Ints, certain: Floats, size: tuple[int, int], names: Sequence[str], background: str) -> Payload:
    """The label of flat values, each region with the mean of ``certain`` over it."""
    edges = np.flatnonzero(np.diff(image)) + 1
    runs = np.stack([np.append(0, edges), np.append(edges, len(image))], axis=1)
    value = image[runs[:, 0]]
    area = np.bincount(image, minlength=len(names) + 2)
    mass = np.bincount(image, weights=certain, minlength=len(names) + 2)
    label: Payload = {"size": list(size), "regions": []}
    for n, name in [*enumerate(names), *([(len(names), background)] if background else [])]:
        if area[n]:
            sure = min(1.0, float(mass[n] / area[n]))
            counts = tiling.encode(runs[value == n], size)
            label["regions"].append({"category": name, "counts": counts, "confidence": sure})
    if area[-1]:
        label["void"] = tiling.encode(runs[value == len(names) + 1], size)
    return label


def _confidence(votes: _Votes, image: Ints, certain: Floats, names: int) -> float:
    told = np.repeat(votes.contested(), votes.length) | (image != names)
    return min(1.0, float(certain[told].mean() if told.any() else certain.mean()))


def _agreement(people: Sequence[_Person], size: tuple[int, int], names: int) -> float:
    total = size[0] * size[1]
    pairs = [tiling.confusion(a.tiling, b.tiling, total, names) for a, b in combinations(people, 2)]
    return math.fsum(sorted(map(tiling.strict_iou, pairs))) / len(pairs) if pairs else 1.0
