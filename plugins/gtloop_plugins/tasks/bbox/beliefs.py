"""What is believed of workers and images, from sufficient statistics; what nobody knows yet has a prior."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gtloop.labels import FloatArray
from gtloop_plugins.tasks.bbox.fusion import expected_iou

VERSION = 2
"""Of the statistics; others are forgotten."""

COUNTS = ("images", "objects", "missed", "merged", "false", "votes", "right", "boxes")
GROUPS = ("error", "square", "gold_error", "gold_square")
FIRST = len(COUNTS) + 1
WIDTH = FIRST + 4 * len(GROUPS)
"""Numbers that are kept of a worker."""

ALL = ("images", "objects", "tempting")

MISS, MERGE, FALSE, RIGHT = 0.1, 0.01, 0.1, 0.9
"""Priors: probabilities to miss an object and to draw one box around it and others, boxes of nothing an image,
probability to name the category right."""
RATE_WEIGHT, RIGHT_WEIGHT = 10.0, 40.0
"""Objects or images that a prior rate counts for, and votes on categories: people differ less in these."""

SPREAD, BIAS = 0.058, 0.058
"""Priors: standard deviation of a worker's errors about their mean, and of these means about 0."""
SPREAD_WEIGHT = 8.0
"""Boxes that the prior spread counts for."""
CROWD_WEIGHT = 20.0
"""Objects, images or boxes that a prior counts for against what is known of the crowd."""

OBJECTS, TEMPTING = 2.0, 0.1
"""Priors an image: objects, and places that look like one and draw a quarter of all people."""
OBJECTS_WEIGHT, TEMPTING_WEIGHT = 5.0, 20.0


class Beliefs(NamedTuple):
    """Posterior means for W workers, and of the images.

    Attributes:
        miss: (W,) probability to miss an object.
        merge: (W,) probability that an object is in a box around several, or drawn in parts.
        false: (W,) boxes of nothing an image.
        right: (W,) probability to name the category right.
        bias: (W, 4) of errors (``fusion.errors``).
        variance: (W, 4) of errors about ``bias``, with what is not known of ``bias``.
        shared: (4,) variance of what the whole crowd may be off together; only known labels can tell.
        objects: Mean number of objects in an image.
        tempting: Mean number of places that look like an object.
    """

    miss: FloatArray
    merge: FloatArray
    false: FloatArray
    right: FloatArray
    bias: FloatArray
    variance: FloatArray
    shared: FloatArray
    objects: float
    tempting: float

    def of(self, index: Any) -> Beliefs:
        """The same of chosen workers."""
        return self._replace(**{n: getattr(self, n)[index] for n in self._fields[:6]})

    def quality(self) -> FloatArray:
        """(W,) expected image quality of one worker's own label of a usual image.

        Found objects with the right category add their expected IoU; objects, boxes of nothing and, twice, wrong
        categories make the union, as in ``matching.image_miou``.
        """
        found = (1 - self.miss) * (1 - self.merge)
        union = 1 + found * (1 - self.right) + self.false / max(self.objects, 0.5)
        return np.clip(found * self.right * expected_iou(self.bias, self.variance) / union, 0.0, 1.0)


class Known:
    """What skills make one believe of workers; made once for the many items that are judged by them."""

    def __init__(self, skills: Mapping[str, Any]) -> None:
        read = Statistics.read(skills)
        self._place = {w: k for k, w in enumerate(read.workers)}
        # Who has no history is as the crowd is, and changes nothing about it.
        nobody = np.zeros((1, WIDTH))
        self._beliefs = Statistics([*read.workers, ""], np.concatenate([read.rows, nobody]), read.everything).beliefs()

    def of(self, workers: Iterable[str]) -> Beliefs:
        """Of these, in their order."""
        return self._beliefs.of([self._place.get(w, len(self._place)) for w in workers])

    def qualities(self) -> dict[str, float]:
        """Worker with a history to the expected image mIoU of their own label."""
        return dict(zip(self._place, self._beliefs.quality().tolist(), strict=False))


class Statistics:
    """Additive sums: (W, ``WIDTH``) of workers and (3,) of all images."""

    def __init__(self, workers: Sequence[str], rows: FloatArray, everything: FloatArray) -> None:
        self.workers, self.rows, self.everything = list(workers), rows, everything

    @classmethod
    def read(cls, skills: Mapping[str, Any]) -> Statistics:
        """From JSON; nothing from another version."""
        if skills.get("version") != VERSION:
            return cls([], np.zeros((0, WIDTH)), np.zeros(len(ALL)))
        kept = skills["workers"]
        rows = np.array([_row(kept[w]) for w in sorted(kept)], dtype=np.float64).reshape(-1, WIDTH)
        return cls(sorted(kept), rows, np.array([skills["all"][n] for n in ALL], dtype=np.float64))

    def json(self) -> dict[str, Any]:
        """Small and exact."""
        workers = {}
        for w, row in zip(self.workers, self.rows.tolist(), strict=True):
            fields: dict[str, Any] = dict(zip((*COUNTS, "gold"), row, strict=False))
            fields |= {name: row[FIRST + 4 * k : FIRST + 4 * k + 4] for k, name in enumerate(GROUPS)}
            if not fields["gold"]:
                fields = {n: v for n, v in fields.items() if not n.startswith("gold")}
            workers[w] = fields
        return {
            "version": VERSION,
            "workers": workers,
            "all": dict(zip(ALL, self.everything.tolist(), strict=True)),
        }

    def for_workers(self, workers: Iterable[str]) -> Statistics:
        """The same for the known and these workers, sorted; zeros for new ones."""
        names = sorted({*self.workers, *workers})
        place = {w: k for k, w in enumerate(names)}
        rows = np.zeros((len(names), WIDTH))
        rows[[place[w] for w in self.workers]] = self.rows
        return Statistics(names, rows, self.everything)

    def plus(self, rows: FloatArray, everything: FloatArray) -> Statistics:
        """With the sums of further items."""
        return Statistics(self.workers, self.rows + rows, self.everything + everything)

    def column(self, name: str) -> FloatArray:
        """(W,) sums of one count."""
        return self.rows[:, (*COUNTS, "gold").index(name)]

    def group(self, name: str) -> FloatArray:
        """(W, 4) sums of one group."""
        at = FIRST + 4 * GROUPS.index(name)
        return self.rows[:, at : at + 4]

    def beliefs(self) -> Beliefs:
        """Posterior means: each worker's rates and errors, drawn to those of the crowd, and these to the priors."""
        images, objects, tempting = self.everything
        bias, variance, shared = self._errors()
        return Beliefs(
            miss=_rate(self.column("missed"), self.column("objects"), MISS),
            merge=_rate(self.column("merged"), self.column("merged") + self.column("objects"), MERGE),
            false=_rate(self.column("false"), self.column("images"), FALSE),
            right=_rate(self.column("right"), self.column("votes"), RIGHT, RIGHT_WEIGHT),
            bias=bias,
            variance=variance,
            shared=shared,
            objects=float((objects + OBJECTS * OBJECTS_WEIGHT) / (images + OBJECTS_WEIGHT)),
            tempting=float((tempting + TEMPTING * TEMPTING_WEIGHT) / (images + TEMPTING_WEIGHT)),
        )

    def _errors(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        n, gold = self.column("boxes")[:, None], self.column("gold")[:, None]
        mean = self.group("error") / np.maximum(n, 1e-9)
        true = self.group("gold_error") / np.maximum(gold, 1e-9)
        # Squared errors about the worker's own mean: additive sums give them whatever the mean turns out to be.
        about = np.maximum(self.group("square") - n * mean**2, 0) + np.maximum(
            self.group("gold_square") - gold * true**2, 0
        )
        free = np.maximum(n - 1, 0) + np.maximum(gold - 1, 0)
        spread = _crowd(about.sum(axis=0), free.sum(axis=0), SPREAD**2)
        within = (about + SPREAD_WEIGHT * spread) / (free + SPREAD_WEIGHT)
        apart = self._apart(mean, n, within)
        weight = n / (n + SPREAD_WEIGHT)
        gauge, workers = _gauge(mean, weight, np.sqrt(apart)), weight.sum()
        # Of workers who met known labels: how far the consensus that the others' errors are against is off itself.
        both = within / np.maximum(gold, 1e-9) + within / np.maximum(n, 1e-9)
        sure = np.where((gold > 0) & (n > 0), 1 / both, 0.0)
        centred = (workers + 1) / apart
        shift = (((true - mean) * sure).sum(axis=0) - gauge * centred) / (sure.sum(axis=0) + centred)
        shared = workers / (workers + 1) / (sure.sum(axis=0) + centred)
        known, known_gold = n / within, gold / within
        total = known + known_gold + 1 / apart
        return (known * (mean + shift) + known_gold * true) / total, within + 1 / total, shared

    def _apart(self, mean: FloatArray, n: FloatArray, within: FloatArray) -> FloatArray:
        """(4,) variance of workers' biases about 0: the crowd's, one worker not beyond four times a prior's."""
        weight = n / (n + SPREAD_WEIGHT)
        own = np.clip(mean**2 - within / np.maximum(n, 1e-9), 0, (4 * BIAS) ** 2)
        return _crowd((weight * own).sum(axis=0), weight.sum(axis=0), BIAS**2, 5.0)


def _gauge(mean: FloatArray, weight: FloatArray, scale: FloatArray) -> FloatArray:
    """(4,) robust mean of the workers' biases: agreement tells biases but for what all share, taken to be none.

    A few workers who are far off are no reason to move all others: t weights of 3 degrees of freedom.
    """
    centre = np.zeros(4)
    for _ in range(10):
        u = weight * 4 / (3 + ((mean - centre) / scale) ** 2)
        centre = (u * mean).sum(axis=0) / np.maximum(u.sum(axis=0), 1e-9)
    return np.asarray(centre)


def _row(kept: Mapping[str, Any]) -> list[float]:
    counts = [kept[n] for n in COUNTS] + [kept.get("gold", 0.0)]
    return counts + [v for n in GROUPS for v in kept.get(n, (0.0,) * 4)]


def _crowd(total: FloatArray, count: FloatArray, prior: float, weight: float = CROWD_WEIGHT) -> FloatArray:
    return np.asarray((total + weight * prior) / (count + weight))


def _rate(count: FloatArray, of: FloatArray, prior: float, weight: float = RATE_WEIGHT) -> FloatArray:
    crowd = _crowd(count.sum(), of.sum(), prior)
    return np.asarray((count + weight * crowd) / (of + weight))
