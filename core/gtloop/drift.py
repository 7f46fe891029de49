"""Whether validation and pool have drifted apart; by construction they are exchangeable, so they should never."""

from __future__ import annotations

import numpy as np

from gtloop.evidence import Evidence

ALARM = 0.001
"""p-value at or below which a look warns: chance gives one such alarm in a thousand looks."""
FEWEST = 20
"""Validation items below which nothing is compared."""


def drift(evidence: Evidence) -> float | None:
    """p-value of the same scores in validation and pool (Kolmogorov & Smirnov); None with too few of either.

    By scores only, and only by those of the model that labels: no quality takes part, so nothing is spent.
    """
    from scipy.stats import ks_2samp

    pool = np.isnan(evidence.quality)
    validation = ~pool & evidence.exact
    if min(np.count_nonzero(validation), np.count_nonzero(pool)) < FEWEST:
        return None
    # asymptotic: exact p-values take long for many, and warn of ties
    return float(ks_2samp(evidence.score[validation], evidence.score[pool], method="asymp").pvalue)


def alarm(p: float | None) -> str:
    """What a look says where they have; empty otherwise."""
    if p is None or p > ALARM:
        return ""
    return (
        f"warning: validation and pool have drifted apart (their scores differ, p = {p:.1g}), so what one shows may "
        "not hold for the other; see what was added, removed or imported since validation was drawn"
    )
