"""How far people agree on the same items, and how much a label made of their answers can be relied on.

What each worker did: ``gtloop.workers``. numpy only; no file, no state; every draw is keyed.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple, TypeVar

import numpy as np

from gtloop import keyed
from gtloop.interfaces import Consolidated
from gtloop.records import Answer, Payload

V = TypeVar("V")

PAIRS = 4000
"""Pairs of values that stand for all of them where there are more."""
_DRAWS = 20
"""Draws for each pair that is wanted: many may not be comparable."""
SPLITS = 3
"""Times that the answers of each item are split: three answers can be split in three ways."""


class Alpha(NamedTuple):
    """Krippendorff's alpha and what it was computed from.

    Attributes:
        value: At most 1 (no disagreement); 0: no more agreement than by chance, below 0: less. None: undefined.
        error: Standard error of ``value``; None where it is not known.
        observed: Mean distance of two values of one item; None without a pair.
        expected: Mean distance of two values of any items; None without a pair.
        units: Items with at least two values.
        values: Of these items.
        pairs: Comparable pairs drawn for ``expected``; None where it is exact.
    """

    value: float | None = None
    error: float | None = None
    observed: float | None = None
    expected: float | None = None
    units: int = 0
    values: int = 0
    pairs: int | None = None

    @property
    def meaning(self) -> str:
        """What the value says of single answers, by Krippendorff's marks (Content Analysis, 2004, page 241)."""
        if self.value is None:
            return "undefined: no item has two answers, or all answers are the same"
        if self.value >= 0.8:
            return "people agree: single answers are reliable"
        if self.value >= 0.667:
            return "people mostly agree: single answers allow tentative conclusions"
        if self.value > 0.1:
            return "people differ: rely on labels made of several answers, and see whether the instructions are clear"
        return "people agree hardly more than by chance: see whether the instructions and categories are clear"


def krippendorff_alpha(
    units: Iterable[Sequence[V]], distance: Callable[[V, V], float], pairs: int = PAIRS, seed: int = 0
) -> Alpha:
    """Krippendorff's alpha, 1 - observed / expected disagreement, for any number of people and missing answers.

    K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), in the coincidence-matrix weights: the
    ordered pairs of a unit's ``m`` values weigh ``1 / (m - 1)``, so a unit weighs as many as it has values.
    Expected are all pairs of values across units. Equal values are 0 apart, so only distinct ones are compared:
    exact where they make at most ``pairs`` pairs (classes always, in practice), else from that many drawn pairs.

    A distance may be NaN: not comparable, such as masks of two sizes. Such pairs are left out; expected
    disagreement then takes pairs of different units only, since what one unit's people said is alike by design,
    and would be most of what is left.

    The standard error is of the items as a sample (ratio estimator) and, with drawn pairs, of the draw: the latter is
    ``(1 - alpha) * s / (expected * sqrt(pairs))`` for distances of standard deviation ``s``.

    Args:
        units: The values given to each item, one a worker; those with less than two do not count.
        distance: Symmetric, in [0, 1], 0 for equal values. Nominal alpha: 0 or 1. It is not squared.
        pairs: Most pairs of values compared for the expected disagreement.
        seed: Of the draw.
    """
    known: dict[Hashable, int] = {}
    distinct: list[V] = []
    ids: list[list[int]] = []
    for unit in units:
        if len(unit) > 1:
            ids.append([])
            for value in unit:
                ids[-1].append(known.setdefault(_key(value), len(known)))
                if len(known) > len(distinct):
                    distinct.append(value)
    apart = _Distances(distinct, distance)
    observed, of_item = _observed(ids, apart)
    count = sum(map(len, ids))
    if observed is None:
        return Alpha(units=len(ids), values=count)
    if len(distinct) * (len(distinct) - 1) // 2 <= pairs:
        expected, variance, drawn = _expected_exact(ids, len(distinct), apart), 0.0, None
    else:
        expected, variance, drawn = _expected_drawn(ids, pairs, seed, apart)
    if not expected:
        return Alpha(None, None, observed, expected, len(ids), count, drawn)
    error = None
    if of_item is not None:
        error = math.sqrt(of_item / expected**2 + observed**2 * variance / expected**4)
    return Alpha(1 - observed / expected, error, observed, expected, len(ids), count, drawn)


def _key(value: Any) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return json.dumps(value, sort_keys=True)
    return (type(value), value)


class _Distances:
    """Distances of values by their number, each computed once; ``nan``: whether some pair was not comparable."""

    def __init__(self, values: Sequence[Any], distance: Callable[[Any, Any], float]) -> None:
        self._values, self._distance = values, distance
        self._known: dict[tuple[int, int], float] = {}
        self.nan = False

    def __call__(self, a: int, b: int) -> float:
        if a == b:
            return 0.0
        key = (a, b) if a < b else (b, a)
        if key not in self._known:
            self._known[key] = float(self._distance(self._values[key[0]], self._values[key[1]]))
            self.nan |= math.isnan(self._known[key])
        return self._known[key]


def _observed(ids: Sequence[Sequence[int]], apart: _Distances) -> tuple[float | None, float | None]:
    """Mean distance within units, weighted by their values, and the variance of that mean."""
    found = []
    for unit in ids:
        d = [x for x in (apart(a, b) for a, b in combinations(unit, 2)) if not math.isnan(x)]
        if d:
            found.append((len(unit), sum(d) / len(d)))
    if not found:
        return None, None
    weights, means = np.array(found, np.float64).T
    mean = float((weights * means).sum() / weights.sum())
    if len(found) == 1:
        return mean, None
    spread = float(((weights * (means - mean)) ** 2).sum() / weights.sum() ** 2)
    return mean, spread * len(found) / (len(found) - 1)


def _expected_exact(ids: Sequence[Sequence[int]], distinct: int, apart: _Distances) -> float | None:
    counts = Counter(v for unit in ids for v in unit)
    weights = {(a, b): counts[a] * counts[b] for a, b in combinations(range(distinct), 2)}
    weights |= {(a, a): n * (n - 1) // 2 for a, n in counts.items()}
    distances = {(a, b): apart(a, b) for a, b in weights}
    if apart.nan:
        for unit in ids:
            for a, b in combinations(sorted(unit), 2):
                weights[a, b] -= 1
    kept = [(w, distances[k]) for k, w in weights.items() if not math.isnan(distances[k])]
    total = sum(w for w, _ in kept)
    return sum(w * d for w, d in kept) / total if total else None


def _expected_drawn(
    ids: Sequence[Sequence[int]], pairs: int, seed: int, apart: _Distances
) -> tuple[float | None, float, int]:
    """Mean distance of drawn pairs, the variance of that mean, and how many were comparable."""
    values = np.array([v for unit in ids for v in unit])
    unit_of = np.repeat(np.arange(len(ids)), [len(unit) for unit in ids])
    rng = keyed.rng(seed, "alpha", len(values))
    first = rng.integers(len(values), size=_DRAWS * pairs)
    second = (first + rng.integers(1, len(values), size=_DRAWS * pairs)) % len(values)
    found: list[tuple[float, bool]] = []
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        d = apart(int(values[i]), int(values[j]))
        if not math.isnan(d):
            found.append((d, bool(unit_of[i] == unit_of[j])))
            if len(found) == pairs:
                break
    kept = np.array([d for d, same in found if not (same and apart.nan)])
    mean, variance = (float(kept.mean()), float(kept.var(ddof=1)) / len(kept)) if len(kept) > 1 else (None, 0.0)
    return mean, variance, len(kept)


class Halves(NamedTuple):
    """How well the labels of two halves of the people agree.

    Attributes:
        quality: Mean quality, 1 - error, between the labels of the two halves; None without an item.
        error: Standard error of ``quality``, from the items; None for fewer than two.
        items: Items that could be split.
        splits: Times that each was split.
    """

    quality: float | None
    error: float | None
    items: int
    splits: int


def split_half(
    items: Iterable[tuple[int, Sequence[Answer]]],
    consolidate: Callable[[Sequence[Answer]], Consolidated],
    error: Callable[[Payload, Payload], float],
    seed: int = 0,
    splits: int = SPLITS,
) -> Halves:
    """Reliability of the consolidated label: split the people who answered in two, and compare their labels.

    Each item's answers are split at random, keyed by (seed, row, split), into halves of ``m // 2`` and the rest, and
    each half is consolidated. A half without a label counts as quality 0 if the other has one; if neither has one,
    there is nothing to compare. The quality is that of labels of half as many people, so what labels of all the
    people of two such groups would reach is more. How much more is not said: the Spearman-Brown formula steps up a
    correlation of parallel halves with additive errors, and a mean quality (accuracy, IoU) is no correlation: it is
    not corrected for chance, and a vote is no sum.

    Args:
        items: (row, answers) of each item, without declined ones; items with less than two answers do not count.
        consolidate: Makes one label of answers, whatever their order.
        error: Distance of two labels in [0, 1].
        seed: Of the splits.
        splits: How often each item is split.
    """
    means = []
    for row, answers in items:
        given = sorted(answers, key=lambda a: (a.worker, a.id))
        qualities = []
        for k in range(splits if len(given) > 1 else 0):
            order = keyed.rng(seed, "split-half", row, k).permutation(len(given)).tolist()
            cut = len(given) // 2
            a, b = (consolidate([given[i] for i in half]).payload for half in (order[:cut], order[cut:]))
            if a is not None and b is not None:
                qualities.append(1 - float(error(a, b)))
            elif a is not None or b is not None:
                qualities.append(0.0)
        if qualities:
            means.append(sum(qualities) / len(qualities))
    if not means:
        return Halves(None, None, 0, splits)
    se = float(np.std(means, ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else None
    return Halves(float(np.mean(means)), se, len(means), splits)
