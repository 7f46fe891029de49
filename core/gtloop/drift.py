"""Whether validation and pool have drifted apart; by construction they are exchangeable, so they should never."""

from __future__ import annotations

import numpy as np

from gtloop.bounds import Floats
from gtloop.evidence import Evidence

ALARM = 0.001
"""p-value at or below which a look warns: chance gives one such alarm in a thousand looks."""
FEWEST = 20
"""Validation items below which nothing is compared."""


def drift(evidence: Evidence) -> float | None:
    """p-value of the same scores in validation and pool (Kolmogorov & Smirnov); None with too few of either.

    By scores only, and only by those of the model that labels: no quality takes part, so nothing is spent.
    """
    pool = np.isnan(evidence.quality)
    validation = ~pool & evidence.exact
    if min(np.count_nonzero(validation), np.count_nonzero(pool)) < FEWEST:
        return None
    return p_same(evidence.score[validation], evidence.score[pool])


def p_same(few: Floats, many: Floats) -> float:
    """p-value of the same distribution, two-sided; asymptotic, as exact ones take long for many, and warn of ties.

    As ``scipy.stats.ks_2samp`` with ``method="asymp"``, which takes nine times the memory: the distribution functions
    lie farthest apart at one of the few values, or just below one. Sorts both in place.
    """
    from scipy.stats import kstwo

    few.sort()
    many.sort()
    n, m = len(few), len(many)
    distance = 0.0
    for side in ("left", "right"):
        apart = np.searchsorted(few, few, side=side) / n - np.searchsorted(many, few, side=side) / m
        distance = max(distance, float(np.abs(apart).max()))
    return float(np.clip(kstwo.sf(distance, np.round(n * m / (n + m))), 0, 1))


def alarm(p: float | None) -> str:
    """What a look says where they have; empty otherwise."""
    if p is None or p > ALARM:
        return ""
    return (
        f"warning: validation and pool have drifted apart (their scores differ, p = {p:.1g}), so what one shows may "
        "not hold for the other; see what was added, removed or imported since validation was drawn"
    )
