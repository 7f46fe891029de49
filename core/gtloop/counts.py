"""What is decided before quality is seen: shares of delta, slices, ladders, batches.

Everything here is a function of counts, and of the scores of validation and pool together; never of
quality, and never of which rows are validation. The tests of ``gtloop.bounds`` rely on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gtloop.bounds import Floats

SAFEST = 0.2
"""Coverage of the first rung, unless it needs more to hold enough validation items."""


def look_deltas(delta: float, looks: int) -> tuple[float, ...]:
    """Split ``delta`` over ``looks`` looks, each twice the one before: late looks label the most."""
    share = [delta * 2**i / (2**looks - 1) for i in range(looks)]
    return (*share[:-1], delta - sum(share[:-1]))


def symmetric_batch(n_pool: int, n_validation: int, batch: int) -> tuple[int, int]:
    """How a batch is picked so that validation stays a random sample of what is left.

    The sampler ranks pool and validation together, not knowing which is which. The first ``prefix`` of
    the ranking leave: validation items among them move to training, pool items are asked for training.
    Then ``refill`` random pool items are asked as fresh blind validation. As the split is random, a
    prefix holds ``prefix * n_validation / (n_pool + n_validation)`` validation items on average, so with
    this refill ``batch`` items are newly asked and ``n_validation`` is kept, both in expectation.

    Returns:
        ``(prefix, refill)``; everything, and no refill, where the pool is no larger than ``batch``.
    """
    if n_pool <= batch:
        return n_pool + n_validation, 0
    refill = round(batch * n_validation / (n_pool + n_validation))
    return batch, min(refill, n_pool - batch)


def merge_slices(names: Sequence[str], n_validation_by_name: Mapping[str, float], min_items: float) -> dict[str, str]:
    """Merge slices, the smallest into the next smallest, until each holds ``min_items`` validation items.

    Args:
        names: Slice names; repeats are ignored.
        n_validation_by_name: Validation items of each, counted or expected; a missing name has none.
        min_items: What each must hold. Where all together hold too few, all become one slice.

    Returns:
        Name to name of the merged slice: its members in alphabetical order joined by "+", or "all".
    """
    groups: list[tuple[float, tuple[str, ...]]] = [
        (float(n_validation_by_name.get(name, 0)), (name,)) for name in sorted(set(names))
    ]
    many = len(groups) > 1
    groups.sort()
    while len(groups) > 1 and groups[0][0] < min_items:
        (a, first), (b, second) = groups[:2]
        groups = sorted([(a + b, tuple(sorted(first + second))), *groups[2:]])
    if many and len(groups) == 1:
        return dict.fromkeys(groups[0][1], "all")
    return {name: "+".join(members) for _, members in groups for name in members}


def ladder(
    score_val: Floats, score_pool: Floats, need: int, rungs: int = 33, safest: float | None = None
) -> list[float]:
    """Thresholds, safest (highest) first: evenly spaced quantiles of all scores, ties kept together.

    ``score_pool`` is in order, from low to high.

    Coverage runs from ``safest`` (default: the larger of 0.2 and what is expected to hold ``need``
    validation items) to 1. Validation and pool scores are pooled and the expected count is used, so
    that the ladder does not depend on which rows are validation. Empty if there is no validation or pool
    item, or if all validation items together are fewer than ``need``.
    """
    n = len(score_val)
    if n == 0 or len(score_pool) == 0 or n < need:
        return []
    size = n + len(score_pool)
    first = max(SAFEST, need / n) if safest is None else safest
    at = np.ceil(np.linspace(first, 1.0, rungs) * size - 1e-9).astype(int)
    at[-1] = size
    return [float(v) for v in np.unique(_of_both(np.sort(score_val), score_pool, size - np.maximum(at, 1)))[::-1]]


def _of_both(few: Floats, many: Floats, at: NDArray[np.int64]) -> Floats:
    """What stands at places of ``few`` and ``many`` together, in order, each in order; without a copy of ``many``."""
    places = np.searchsorted(many, few) + np.arange(len(few))
    before = np.searchsorted(places, at)
    next_few = np.minimum(before, len(few) - 1)
    of_many = many[np.clip(at - before, 0, len(many) - 1)]
    return np.where(places[next_few] == at, few[next_few], of_many)
