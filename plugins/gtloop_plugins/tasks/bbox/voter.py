"""A model as one more voter (CROWDLAB: Goh, Tkachenko, Mueller, arXiv 2210.06812), for training items only.

A score is no probability, and is not taken for one. What counts is how people took the model's boxes before, by their
answers alone: how often objects, and what were none, had a box of that score; how often it named the category right;
how far its edges were off. Nothing of that comes from labels that the model voted on, so it can't confirm itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gtloop.interfaces import Hint
from gtloop.labels import FloatArray, iou_matrix
from gtloop.records import Raw
from gtloop_plugins.tasks.bbox.answers import Ints, Spots
from gtloop_plugins.tasks.bbox.beliefs import Beliefs
from gtloop_plugins.tasks.bbox.fusion import Fused, errors, fuse
from gtloop_plugins.tasks.bbox.posterior import Judged

MODEL = "model"
"""Key of what is known of the model, in the skills."""

SCORES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95)
"""Edges between degrees of a box's score; below the first there is no box, which is degree 0."""
DEGREES = len(SCORES) + 1

SAME = 0.3
"""Least IoU at which a model's box may be of an object that people drew."""
TWICE = 0.5
"""IoU with an object that has a better box from which on a box is that object once more, and says nothing."""

LEAST = 20
"""Items with people's answers before a model has any vote."""
MEMORY = 400.0
"""Items that count for full: models change from round to round."""
EVEN = 5.0
"""Objects, and boxes of nothing, that count for a score that tells nothing."""
FALSE, FALSE_WEIGHT = 0.1, 5.0
"""Prior: boxes of nothing an image, of each degree, and the images that it counts for."""
RIGHT, OWN = 0.5, 10.0
"""Prior: share of right categories; and the objects that any prior counts for, against those of a category."""
SPREAD, SPREAD_WEIGHT = 0.15, 10.0
"""Prior: standard deviation of the errors of its boxes, and the boxes that it counts for."""
LIMIT = 1.0
"""Largest error that counts, in widths and heights."""

COUNTS = ("object", "other", "nothing")
GEOMETRY = ("error", "square", "blur")


class Predicted(NamedTuple):
    """The boxes of a prediction of one image, those left out that show an object once more.

    Attributes:
        xyxy: (P, 4).
        degree: (P,) of the score, 1 or more.
        name: (P,) positions of the categories in ``Spots.names``.
        spot: (P,) the object that people drew; -1: none.
    """

    xyxy: FloatArray
    degree: Ints
    name: Ints
    spot: Ints

    def degrees(self, spots: int) -> Ints:
        """(``spots``,) degree of the box of each object; 0: none."""
        found = np.zeros(spots, np.intp)
        found[self.spot[self.spot >= 0]] = self.degree[self.spot >= 0]
        return found


def predicted(raw: Raw, categories: Sequence[str], names: Sequence[str], objects: FloatArray) -> Predicted:
    """Match a raw prediction, one-to-one by IoU and score, to (G, 4) ``objects``.

    Args:
        raw: ``gtloop.labels.RawBoxes``.
        categories: The run's, in order.
        names: Of ``Spots``; ``categories`` are among them.
        objects: What people drew.
    """
    from scipy.optimize import linear_sum_assignment

    keep = np.array(raw["scores"], dtype=np.float64) >= SCORES[0]
    xyxy = np.array(raw["xyxy"], dtype=np.float64).reshape(-1, 4)[keep]
    scores = np.array(raw["scores"], dtype=np.float64)[keep]
    place = np.array([names.index(c) for c in categories], np.intp)
    name = place[np.array(raw["categories"], np.intp)[keep]]
    iou = iou_matrix(xyxy, objects)
    value = np.where(iou >= SAME, iou + scores[:, None], 0.0)
    rows, columns = linear_sum_assignment(value, maximize=True)
    paired = value[rows, columns] > 0
    spot = np.full(len(xyxy), -1, np.intp)
    spot[rows[paired]] = columns[paired]
    counts = (spot >= 0) | (iou.max(axis=1, initial=0.0) < TWICE)
    degree = np.searchsorted(SCORES, scores, side="right")
    return Predicted(xyxy[counts], degree[counts], name[counts], spot[counts])


# ---------------------------------------------------------------------------------------------- learning


def of_now(skills: Mapping[str, Any], hints: Sequence[Hint]) -> Mapping[str, Any]:
    """Skills without what is known of a model, where the hints are of a model of another kind."""
    of = next((h.model for h in hints if h.raw is not None), None)
    if of is None or MODEL not in skills or skills[MODEL].get("of") == of:
        return skills
    return {key: value for key, value in skills.items() if key != MODEL}


def learn(
    spots: Spots, judged: Judged, raws: Sequence[Raw | None], categories: Sequence[str], previous: Mapping[str, Any]
) -> dict[str, Any]:
    """Add how a model's predictions compare with what people's answers alone make of the same images.

    Args:
        spots: Of I images.
        judged: By people's answers, of all ``spots``.
        raws: (I,) predictions of a model that never saw the images' labels; None: not asked.
        categories: The run's, in order.
        previous: What this returned before; more than ``MEMORY`` images of it are weighed down to that.

    Returns:
        ``images``; by degree of score the expected numbers of ``object`` and of ``other`` things that people drew (0:
        without a box of the model), and of its boxes of ``nothing``; ``boxes`` that are of objects, with the sums of
        their ``error``, its ``square``, and the ``blur`` of people's consensus; ``categories``, name to [objects,
        objects without a box; boxes of that name, those that named it right].
    """
    fade = min(1.0, MEMORY / max(1.0, previous.get("images", 0.0)))
    counts = fade * np.array([previous.get(n, [0.0] * DEGREES) for n in COUNTS])
    geometry = fade * np.array([previous.get(n, [0.0] * 4) for n in GEOMETRY])
    kept = previous.get("categories", {})
    by_name = fade * np.array([kept.get(n, [0.0] * 4) for n in spots.names]).reshape(-1, 4)
    images, boxes = fade * previous.get("images", 0.0), fade * previous.get("boxes", 0.0)
    for k, raw in enumerate(raws):
        if raw is None:
            continue
        images += 1
        here = np.flatnonzero(spots.image == k)
        exists, xyxy = judged.exists[here], judged.fused.xyxy[here]
        made = predicted(raw, categories, spots.names, xyxy)
        degree, on = made.degrees(len(here)), made.spot >= 0
        np.add.at(counts[0], degree, exists)
        np.add.at(counts[1], degree, 1 - exists)
        nothing = np.ones(len(on))
        nothing[on] = 1 - exists[made.spot[on]]
        np.add.at(counts[2], made.degree, nothing)
        named = exists[:, None] * judged.category[here]
        by_name[:, 0] += named.sum(axis=0)
        by_name[:, 1] += named[degree == 0].sum(axis=0)
        of = made.spot[on]
        np.add.at(by_name[:, 2], made.name[on], exists[of])
        np.add.at(by_name[:, 3], made.name[on], named[of, made.name[on]])
        error = np.clip(errors(made.xyxy[on], xyxy[of]), -LIMIT, LIMIT)
        sums = np.stack([error, error**2, judged.fused.variance[here][of]])
        geometry += (sums * exists[of][:, None]).sum(axis=1)
        boxes += float(exists[of].sum())
    return {
        "images": images,
        "boxes": boxes,
        **dict(zip((*COUNTS, *GEOMETRY), [*counts.tolist(), *geometry.tolist()], strict=True)),
        "categories": dict(zip(spots.names, by_name.tolist(), strict=True)),
    }


# ---------------------------------------------------------------------------------------------- voting


class Model:
    """What is believed of a model; ``known`` as ``learn`` returned it."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        counts = np.array([known[n] for n in COUNTS])
        drawn = counts[0] + counts[1] + 0.1
        flat = EVEN * drawn / drawn.sum()
        self.object = (counts[0] + flat) / (counts[0].sum() + EVEN)
        """(``DEGREES``,) of an object's box; 0: the model misses it."""
        self.other = (counts[1] + flat) / (counts[1].sum() + EVEN)
        """(``DEGREES``,) the same of what people drew that is no object."""
        self.nothing = (counts[2] + FALSE * FALSE_WEIGHT) / (known["images"] + FALSE_WEIGHT)
        """(``DEGREES``,) boxes of nothing an image."""
        n = known["boxes"]
        error, square, blur = (np.array(known[name]) for name in GEOMETRY)
        self.bias = error / (n + SPREAD_WEIGHT)
        # People's own errors are taken off, but no more than half: to be near them is not to be right.
        about = np.maximum(square - blur, square / 2) - n * (error / max(n, 1e-9)) ** 2
        within = (np.maximum(about, 0.0) + SPREAD_WEIGHT * SPREAD**2) / (n + SPREAD_WEIGHT)
        self.variance = within + within / (n + 1)
        self._categories: Mapping[str, Sequence[float]] = known["categories"]
        right = math.fsum(c[3] for c in self._categories.values()), math.fsum(c[2] for c in self._categories.values())
        self._right = (right[0] + OWN * RIGHT) / (right[1] + OWN)

    @classmethod
    def read(cls, skills: Mapping[str, Any]) -> Model | None:
        """None where too little is known for a vote."""
        known = skills.get(MODEL)
        return cls(known) if known is not None and known["images"] >= LEAST else None

    def missed(self, names: Sequence[str]) -> FloatArray:
        """(K,) probability that it has no box of an object of these categories."""
        return np.array([(missed + OWN * self.object[0]) / (n + OWN) for n, missed, _, _ in self._of(names)])

    def right(self, names: Sequence[str]) -> FloatArray:
        """(K,) probability that a category is right where it names it."""
        return np.array([(right + OWN * self._right) / (n + OWN) for _, _, n, right in self._of(names)])

    def _of(self, names: Sequence[str]) -> list[Sequence[float]]:
        return [self._categories.get(n, (0.0,) * 4) for n in names]


class Voter(NamedTuple):
    """A model, and what it says of one image; ``categories`` are the run's, in order."""

    model: Model
    raw: Raw
    categories: Sequence[str]

    def vote(self, spots: Spots, judged: Judged, beliefs: Beliefs) -> tuple[Judged, float]:
        """Judge the objects of one image anew.

        An object is one that somebody drew: what the model alone sees is no part of a label, but a reason to ask.

        Args:
            spots: Of one image.
            judged: By people's answers.
            beliefs: Of ``spots.workers``.

        Returns:
            The same with the model's vote, and the expected number of objects that nobody drew.
        """
        made = predicted(self.raw, self.categories, spots.names, judged.fused.xyxy)
        unseen = beliefs.objects * math.prod(sorted(beliefs.miss.tolist()))
        here = unseen * self.model.object[made.degree[made.spot < 0]]
        alone = here / (here + self.model.nothing[made.degree[made.spot < 0]])
        left = unseen * float(self.model.object[0]) + math.fsum(alone)
        if not len(spots.image):
            return judged, left
        exists, category = self._exists(spots, judged, made)
        category = self._named(spots, category, made)
        return judged._replace(exists=exists, category=category, fused=self._fused(spots, judged, beliefs, made)), left

    def _exists(self, spots: Spots, judged: Judged, made: Predicted) -> tuple[FloatArray, FloatArray]:
        """Whether it has a box of that score, or none, for objects of each category against what is no object."""
        model, degree = self.model, made.degrees(len(spots.image))
        missed = model.missed(spots.names)
        seen = (1 - missed) / (1 - model.object[0]) * model.object[degree][:, None]
        joint = judged.category * np.where(degree[:, None] == 0, missed, seen)
        odds = judged.exists * joint.sum(axis=1) / model.other[degree]
        return odds / (odds + 1 - judged.exists), joint / joint.sum(axis=1, keepdims=True)

    def _named(self, spots: Spots, category: FloatArray, made: Predicted) -> FloatArray:
        """One coin, as for a worker; each category that it names has its own."""
        k, on = max(2, len(spots.names)), made.spot >= 0
        right = np.clip(self.model.right(spots.names)[made.name[on]], 1 / k, 0.99)
        odds = category.copy()
        np.multiply.at(odds, (made.spot[on], made.name[on]), right * (k - 1) / (1 - right))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def _fused(self, spots: Spots, judged: Judged, beliefs: Beliefs, made: Predicted) -> Fused:
        on = made.spot >= 0
        of = np.concatenate([spots.of, made.spot[on]])
        order = np.argsort(of, kind="stable")
        bias = [beliefs.bias[spots.owner], np.tile(self.model.bias, (int(on.sum()), 1))]
        variance = [beliefs.variance[spots.owner], np.tile(self.model.variance, (int(on.sum()), 1))]
        boxes = np.concatenate([spots.xyxy, made.xyxy[on]])[order]
        return fuse(boxes, of[order], np.concatenate(bias)[order], np.concatenate(variance)[order])
