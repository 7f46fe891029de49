"""Skills of the people who draw boxes: additive statistics, learnt from agreement and from known labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import Hint
from gtloop.labels import FloatArray, iou_matrix
from gtloop.records import Answer
from gtloop_plugins.tasks.bbox import voter
from gtloop_plugins.tasks.bbox.answers import Drawn, Person, Spots, drawn, image, people, spots
from gtloop_plugins.tasks.bbox.beliefs import COUNTS, FIRST, WIDTH, Beliefs, Statistics
from gtloop_plugins.tasks.bbox.fusion import errors
from gtloop_plugins.tasks.bbox.linking import MIN_IOU, SAME_NAME
from gtloop_plugins.tasks.bbox.posterior import Judged, judge

ROUNDS = 8
"""Rounds of expectation and maximisation over the items of one call."""

LIMIT = 1.0
"""Largest error that counts, in widths and heights: beyond it, a box says nothing more about its drawer."""


def learn(
    answers: Sequence[Sequence[Answer]],
    previous: Mapping[str, Any],
    hints: Sequence[Hint] = (),
    names: Sequence[str] = (),
) -> dict[str, Any]:
    """Sufficient statistics after these items; see ``BBox.skills``.

    Expectation-maximisation: judge every object with what is believed of the workers, count how each of them did,
    believe anew. A box's error is against the consensus of the others, whose own variance is taken off, so nobody is
    measured against oneself. Items with a known label count against that label, and start the rounds. Items answered
    by one person teach nothing. A model's predictions are compared with what people make of the items, and change
    nothing about people.

    Args:
        answers: Of each item.
        previous: What this returned before; of another version: forgotten.
        hints: One for each item, or none at all.
        names: The run's categories.
    """
    given = [people(a) for a in answers]
    golds = [h.gold for h in hints] or [None] * len(given)
    order = sorted(range(len(given)), key=lambda k: (given[k], golds[k] is None, repr(golds[k])))
    known = [(given[k], drawn(gold)) for k in order if (gold := golds[k]) is not None and given[k]]
    taught = [k for k in order if golds[k] is None and len(given[k]) > 1]
    images = [image(given[k]) for k in taught]
    previous = voter.of_now(previous, hints)
    if not known and not images:
        return dict(previous)
    found = spots(images, names)
    before = Statistics.read(previous).for_workers([*found.workers, *(p.worker for ps, _ in known for p in ps)])
    place = {w: k for k, w in enumerate(before.workers)}
    index = np.array([place[w] for w in found.workers], dtype=np.intp)
    now = before = _with_gold(before, known, place)
    for _ in range(ROUNDS if images else 0):
        beliefs = now.beliefs().of(index)
        rows, everything = _count(found, beliefs, judge(found, beliefs))
        wide = np.zeros_like(before.rows)
        wide[index] = rows
        now = before.plus(wide, everything)
    raws = [hints[k].raw if hints else None for k in taught]
    model = previous.get(voter.MODEL)
    if any(raw is not None for raw in raws):
        beliefs = now.beliefs().of(index)
        model = voter.learn(found, judge(found, beliefs), raws, names, model or {})
        model["of"] = next(h.model for h in hints if h.raw is not None)
    return now.json() if model is None else {**now.json(), voter.MODEL: model}


def _count(spots: Spots, beliefs: Beliefs, judged: Judged) -> tuple[FloatArray, FloatArray]:
    """Expected sums of this batch, (W, ``WIDTH``) and of all images."""
    w = len(spots.workers)
    rows = np.zeros((w, WIDTH))
    exists, drew = judged.exists[spots.spot], spots.box >= 0

    def add(name: str, worker: NDArray[np.intp], value: FloatArray) -> None:
        rows[:, COUNTS.index(name)] += np.bincount(worker, weights=value, minlength=w)

    add("images", spots.seen[:, 1], np.ones(len(spots.seen)))
    add("objects", spots.worker, exists)
    add("missed", spots.worker, exists * ~drew)
    add("false", spots.worker, (1 - exists) * drew)
    # Not a miss: who draws one box around two near objects may well see every other one.
    add("merged", spots.merged[:, 0], spots.merged[:, 1].astype(np.float64))
    paired = judged.fused.boxes[spots.of] > 1
    sure = judged.exists[spots.of] * paired
    add("votes", spots.owner, sure)
    add("right", spots.owner, sure * judged.category[spots.of, spots.name])
    add("boxes", spots.owner, sure)
    error = np.clip(np.where(paired[:, None], judged.fused.error, 0.0), -LIMIT, LIMIT)
    blur = np.where(paired[:, None], judged.fused.blur, 0.0)
    for k in range(4):
        rows[:, FIRST + k] = np.bincount(spots.owner, weights=sure * error[:, k], minlength=w)
        rows[:, FIRST + 4 + k] = np.bincount(spots.owner, weights=sure * (error[:, k] ** 2 - blur[:, k]), minlength=w)
    return rows, np.array([spots.images, judged.exists.sum(), judged.tempting.sum()], dtype=np.float64)


def _with_gold(
    before: Statistics, known: Sequence[tuple[Sequence[Person], tuple[Drawn, ...]]], place: Mapping[str, int]
) -> Statistics:
    rows, everything = np.zeros_like(before.rows), np.zeros(3)
    for given, gold in known:
        everything += (1, len(gold), 0)
        for person in given:
            rows[place[person.worker]] += _against(person.boxes, gold)
    return before.plus(rows, everything)


def _against(boxes: Sequence[Drawn], gold: Sequence[Drawn]) -> FloatArray:
    """(``WIDTH``,) sums of one answer to an item whose label is known."""
    from scipy.optimize import linear_sum_assignment

    own = np.array([xyxy for xyxy, _ in boxes], dtype=np.float64).reshape(-1, 4)
    true = np.array([xyxy for xyxy, _ in gold], dtype=np.float64).reshape(-1, 4)
    same = np.array([[a == b for _, b in gold] for _, a in boxes], dtype=bool).reshape(len(own), len(true))
    iou = iou_matrix(own, true)
    score = np.where(iou >= MIN_IOU, iou + SAME_NAME * same, 0.0)
    left, right = linear_sum_assignment(score, maximize=True)
    keep = score[left, right] > 0
    left, right = left[keep], right[keep]
    e = np.clip(errors(own[left], true[right]), -LIMIT, LIMIT)
    n = len(left)
    counts = [1, len(true), len(true) - n, 0, len(own) - n, n, float(same[left, right].sum()), 0, n]
    return np.concatenate([counts, np.zeros(8), e.sum(axis=0), (e**2).sum(axis=0)])
