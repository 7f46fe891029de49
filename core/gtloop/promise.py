"""The promise: which machine labels may be given, and how surely they are good enough.

``certify`` is one look. It sees the validation items (blind, random, labelled by people) and the pool,
finds for each slice the widest region of high scores that passes the test of ``gtloop.bounds``, and
says which rows lie there. What decides where tests are made - slices, ladder, share of delta - comes
from the scores of validation and pool *together* and from counts, never from quality and never from
which rows are validation; so every region's validation items are a plain random sample of the region.

Several regions of a slice are tested as a fixed sequence, from the safest to the widest, each at the
full level, until one fails (Angelopoulos et al., "Learn then Test", arXiv 2110.01052, section 3.2;
``design.md`` section 5). Each test is exact for every finite population. The argument for the sequence
takes the hypotheses as given in advance; those here are about the pool, so which of them is the first
false one depends a little on which items are validation. That the level holds all the same is
measured: ``benchmarks/promise.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.bounds import Floats, Rule, first_rung_items, lower_bound, pool_test
from gtloop.counts import ladder, look_deltas, merge_slices, symmetric_batch
from gtloop.evidence import Evidence, Kind, Promise, SliceResult
from gtloop.wording import counted

__all__ = [
    "Evidence",
    "Kind",
    "Promise",
    "Rule",
    "SliceResult",
    "certify",
    "first_rung_items",
    "items_needed",
    "ladder",
    "look_deltas",
    "lower_bound",
    "merge_slices",
    "pool_test",
    "symmetric_batch",
]

DATASET_RUNGS = 200
"""Regions tried for a ``dataset`` promise: loss only grows with the region, so that more of them cost nothing."""


def certify(
    evidence: Evidence, promise: Promise, delta: float, n_total: int
) -> tuple[list[SliceResult], NDArray[np.bool_]]:
    """One look: which machine labels may become final.

    Args:
        evidence: Validation and pool.
        promise: What is to hold.
        delta: Error probability of this look (``look_deltas``); split equally over the slices.
        n_total: Items of the whole run, for ``dataset`` promises; each look may lose
            ``max_loss * n_total / looks``.

    Returns:
        One result for each slice, and the (m,) mask of all rows in accepted regions, pool and validation.
    """
    accepted = np.zeros(len(evidence.score), dtype=np.bool_)
    results = []
    groups, level = _slices(evidence, promise, delta)
    for name, members in groups.items():
        mine = evidence.slices.isin(members)
        region = _Region.of(evidence, mine, name, members)
        if promise.kind == "dataset":
            found = _dataset(region, promise, level, n_total)
        elif promise.rule == "empirical":
            found = _empirical(region, promise)
        else:
            found = _selective(region, promise, level)
        if found.threshold is not None:
            accepted |= mine & (evidence.score >= found.threshold)
        results.append(found)
    return results, accepted


def _slices(evidence: Evidence, promise: Promise, delta: float) -> tuple[dict[str, tuple[str, ...]], float]:
    """Merged slices that have a pool, name to members, and the delta of each.

    Merging goes by the expected number of validation items, a count of pool and validation together.
    """
    slices, pool = evidence.slices, np.isnan(evidence.quality)
    counts, of_pool = slices.counts(), slices[pool].counts()
    names = [name for name, n in zip(slices.names, counts, strict=True) if n]
    if promise.kind == "dataset" or promise.slices == "joint":
        name = names[0] if len(names) == 1 and promise.kind == "selective" else "all"
        return ({name: tuple(names)} if pool.any() else {}), delta
    share = 1 - float(pool.mean()) if len(pool) else 0.0
    expected = dict(zip(names, counts[counts > 0] * share, strict=True))
    merged: dict[str, str] = {}
    for k in range(len(names), 0, -1):  # the most slices that have enough each at delta / their number
        trial = merge_slices(names, expected, items_needed(promise, promise.target, delta / k))
        count = len(set(trial.values()))
        if count <= k:
            merged = trial
        if count >= k:
            break
    has_pool = {name for name, n in zip(slices.names, of_pool, strict=True) if n}
    groups = {}
    for name in sorted(set(merged.values())):
        members = tuple(sorted(k for k, v in merged.items() if v == name))
        if has_pool & set(members):
            groups[name] = members
    return groups, delta / max(len(groups), 1)


def items_needed(promise: Promise, target: float, delta: float) -> int:
    """Validation items below which nothing is tested."""
    return max(promise.min_items, first_rung_items(target, delta, promise.binary))


class _Region(NamedTuple):
    """One slice: validation scores and qualities in their fixed random order, pool scores from low to high."""

    name: str
    members: tuple[str, ...]
    score: Floats
    y: Floats
    pool: Floats
    exact: bool
    uniform: float

    @classmethod
    def of(cls, evidence: Evidence, mine: NDArray[np.bool_], name: str, members: tuple[str, ...]) -> _Region:
        is_pool = np.isnan(evidence.quality)
        val = np.flatnonzero(mine & ~is_pool)
        val = val[np.argsort(evidence.order[val], kind="stable")]
        y, exact = np.clip(evidence.quality[val], 0.0, 1.0), bool(evidence.exact[val].all())
        pool = np.sort(evidence.score[mine & is_pool])
        return cls(name, members, evidence.score[val], y, pool, exact, evidence.uniform)

    def at(self, threshold: float) -> tuple[Floats, int]:
        """Validation qualities, in order, and the number of pool items at or above a threshold."""
        return self.y[self.score >= threshold], self.above(threshold)

    def above(self, threshold: float) -> int:
        """The number of pool items at or above a threshold."""
        return len(self.pool) - int(np.searchsorted(self.pool, threshold))

    def share(self, pool: int) -> str:
        """How many pool items a sentence is about."""
        return f"all {pool} images" if pool == len(self.pool) else f"{pool} of {len(self.pool)} images"

    def shown_by(self, n: int, threshold: float) -> str:
        """Which validation items a sentence is about; the threshold says nothing where that is all of them."""
        which = "" if n == len(self.y) else f" scoring {threshold:.3g} or more"
        return f"{n} validation images{which} have"

    def result(self, why: str, **found: Any) -> SliceResult:
        """What was found; without ``found``, that nothing was tested."""
        found = {"n": len(self.y), "pool": len(self.pool)} | found
        return SliceResult(self.name, self.members, exact=self.exact, why=why, **found)


def _rungs(region: _Region, promise: Promise, delta: float, need: int) -> list[float]:
    """The ladder from the first rung on that would pass if every validation item expected there were faultless."""
    thresholds = ladder(region.score, region.pool, need, promise.rungs)
    for i, threshold in enumerate(thresholds):
        if _passable(region, threshold, promise.target, promise, delta):
            return thresholds[i:]
    return []


def _passable(region: _Region, threshold: float, target: float, promise: Promise, delta: float) -> bool:
    """Whether as many faultless items as are expected there would show ``target``; from scores and counts alone."""
    n, size = len(region.y), len(region.y) + len(region.pool)
    above = int(np.count_nonzero(region.score >= threshold)) + region.above(threshold)
    ones, binary = np.ones(round(above * n / size)), promise.binary
    # the number is not that of the look, which no choice may know
    p, _ = pool_test(ones, above - len(ones), target, delta, "exact", binary, uniform=0.5)
    return p <= delta


def _selective(region: _Region, promise: Promise, delta: float) -> SliceResult:
    """Widest region of the ladder, from the safest on, that passes."""
    need = items_needed(promise, promise.target, delta)
    size, metric, target = len(region.pool), promise.metric, promise.target
    if len(region.y) < need:
        return region.result(
            f"nothing tested: {counted(len(region.y), 'validation image')} here, {need} are needed to show "
            f"{metric} {target:g} with error probability {delta:.3g}"
        )
    best: dict[str, Any] = {}
    end = ""
    tested = 0
    for threshold in _rungs(region, promise, delta, need):
        y, pool = region.at(threshold)
        if pool == 0:  # nothing would be labelled, so nothing is claimed
            continue
        tested += 1
        p, s0 = pool_test(y, pool, target, delta, promise.rule, promise.binary, region.uniform)
        mean = float(y.mean()) if len(y) else 0.0
        found = {"n": len(y), "pool": pool, "s0": s0, "p": p, "estimate": mean}
        if p > delta:
            missed = f"{region.shown_by(len(y), threshold)} {metric} {mean:.3f} and do not show {target:g}"
            if not best:
                those = region.share(pool) if pool == size else f"the surest {region.share(pool)}"
                why = f"no machine labels: even for {those}, {missed}"
                return region.result(why, **found, rungs=tested, delta=delta)
            end = f"; in the next wider region {missed}" if best["pool"] < size else ""
            break
        best = found | {"threshold": threshold, "coverage": pool / size}
    if not best:
        return region.result(
            f"nothing tested: with {counted(len(region.y), 'validation image')} and {counted(size, 'other')} here, "
            f"even faultless ones could not show {metric} {target:g} with error probability {delta:.3g}"
        )
    y, pool = region.at(best["threshold"])
    # what the tests control is the target; beyond it the bound is an estimate, never above the plug-in one
    bound = max(target, min(best["estimate"], _bound(region, y, pool, promise, delta)))
    why = (
        f"{region.share(pool)}: {region.shown_by(len(y), best['threshold'])} {metric} {best['estimate']:.3f} "
        f"and show at least {bound:.3f} with error probability {delta:.3g}{end}"
    )
    return region.result(why, **best, bound=bound, rungs=tested, delta=delta)


def _bound(region: _Region, y: Floats, pool: int, promise: Promise, delta: float) -> float:
    return lower_bound(y, pool, delta, promise.rule, promise.binary, region.uniform)


def _empirical(region: _Region, promise: Promise) -> SliceResult:
    """Ground Truth's rule: the lowest validation score above which the validation mean reaches the target."""
    down = np.argsort(-region.score, kind="stable")
    score = region.score[down]
    means = np.cumsum(region.y[down]) / np.arange(1, len(down) + 1)
    last_of_tie = np.append(score[1:] != score[:-1], np.ones(min(len(score), 1), dtype=np.bool_))
    reach = np.flatnonzero(last_of_tie & (means >= promise.target))
    threshold = float(score[reach[-1]]) if len(reach) else np.inf
    y, pool = region.at(threshold)
    size, metric = len(region.pool), promise.metric
    if pool == 0:
        return region.result(f"no machine labels: above no score do validation images have {metric} {promise.target:g}")
    mean = float(y.mean())
    those = region.shown_by(len(y), threshold)
    why = f"{region.share(pool)}: {those} {metric} {mean:.3f}; rule 'empirical' certifies nothing"
    found = {"n": len(y), "pool": pool, "threshold": threshold, "estimate": mean, "coverage": pool / size}
    return region.result(why, **found, rungs=int(last_of_tie.sum()))


def _dataset(region: _Region, promise: Promise, delta: float, n_total: int) -> SliceResult:
    """Widest region whose summed pool loss is shown to stay within the allowance.

    A region of P pool items may lose ``allowed * n_total`` in all, so its mean quality has to be above
    ``1 - allowed * n_total / P``; below the threshold people label, and nothing is lost.
    """
    allowed = (promise.max_loss or 0.0) / promise.looks
    size, n = len(region.pool), len(region.y)
    need = 1 if promise.rule == "empirical" else items_needed(promise, 1 - allowed * n_total / size, delta)
    if n < need:
        return region.result(
            f"nothing tested: {counted(n, 'validation image')}, {need} are needed to show a mean loss of at most "
            f"{allowed:g} over all {n_total} images with error probability {delta:.3g}"
        )
    best: dict[str, Any] = {}
    end = ""
    tested = 0
    for threshold in ladder(region.score, region.pool, need, DATASET_RUNGS, safest=1 / DATASET_RUNGS):
        y, pool = region.at(threshold)
        target = 1 - allowed * n_total / max(pool, 1)
        if target > 0 and promise.rule != "empirical" and not _passable(region, threshold, target, promise, delta):
            continue
        tested += 1
        p, s0 = _within(region, y, pool, target, promise, delta)
        if p > delta:
            end = "; the next wider region was not shown to keep that" if best.get("pool", 0) < size else ""
            break
        loss = (1 - float(y.mean()) if len(y) else 1.0) * pool / n_total
        best = {"n": len(y), "pool": pool, "s0": s0, "p": p, "threshold": threshold, "estimate": 1 - loss}
    spent = 0.0 if promise.rule == "empirical" else delta
    if not best or best["pool"] == 0:
        why = f"no machine labels: not even the surest images were shown to keep the mean loss within {allowed:g}"
        return region.result(why, rungs=tested, delta=spent)
    best |= {"coverage": best["pool"] / size, "rungs": tested, "delta": spent}
    if promise.rule == "empirical":
        why = f"{region.share(best['pool'])}: rule 'empirical', which certifies nothing{end}"
        return region.result(why, **(best | {"s0": None, "p": None}))
    y, pool = region.at(best["threshold"])
    worst = min((1 - _bound(region, y, pool, promise, delta)) * pool / n_total, allowed)
    best["estimate"] = max(best["estimate"], 1 - worst)
    why = (
        f"{region.share(best['pool'])}: {len(y)} validation images show a mean loss of at most {worst:.3f} over all "
        f"{n_total} images with error probability {delta:.3g}{end}"
    )
    return region.result(why, **best, bound=1 - worst)


def _within(
    region: _Region, y: Floats, pool: int, target: float, promise: Promise, delta: float
) -> tuple[float, float | None]:
    """p-value and null total of a region whose mean has to be above ``target``, which so few may not even need."""
    if pool == 0 or target <= 0:
        return 0.0, None
    return pool_test(y, pool, target, delta, promise.rule, promise.binary, region.uniform)
