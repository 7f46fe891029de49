"""Tests of one region: do its pool items, nobody's labels yet, reach a mean quality?

The items of a region are n validation items, whose qualities y in [0, 1] people told us, and P pool
items. Which of them are validation is random (``design.md`` section 5, exchangeable by construction),
so the y are a simple random sample, without replacement, of all n + P. The question is about the pool
alone. Its mean is at most ``target`` exactly if the sum over all n + P items is at most

    s0 = P * target + sum(y).

``s0`` depends on the sample. That does no harm, because the evidence against a sum falls as the sum
grows: whenever the null hypothesis holds, the true sum T is at most ``s0``, so the evidence against
``s0`` is no more than the evidence against T, which is a fixed number and properly tested.

numpy only at module level; scipy inside functions. No file, no state, no randomness.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rule = Literal["exact", "ttest", "empirical"]

TEST = "betting-2"
"""Version of the tests here; 1 had other bets, and no uniform number."""
CAP = 0.9
"""A bet stakes at most this share of the wealth, so that no single bad image ends a test."""

_RUINED = 1e-12
_NORMAL = NormalDist()


def _p_betting(y: Floats, pool: int, target: float, delta: float) -> float:
    """1 / wealth of a bettor who bets, value after value, that the mean is above that of the union total ``s0``.

    Betting as Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (JRSS-B
    2024), section 5: if the sum over all n + P items is S, value j has expectation ``m_j``, what is left
    of S over how many are left; the wealth ``K += stake_j (y_j - m_j)`` is a martingale that starts at 1,
    whatever the stakes are, as long as they look back only. At S = s0, m_j = (P target + what is left of
    y) / (P + how many are left). So E[K] <= 1 after the last value, and a uniform number U that is drawn
    apart makes ``U / K`` a p-value (Ramdas & Manole, arXiv 2304.02611, theorem 1.2).

    The stakes replicate a digital option, which pays 1 / delta where the sum of what is still to come
    turns out well (the most powerful test of a drift, in the limit of many small values; the idea of
    aiming at 1 / delta is Voracek & Orabona's, "STaR-Bets", arXiv 2505.22422). With ``q = delta K``, the
    share of the goal reached, and the weights ``g_j = P / (P + how many are left)``, by which a value
    tells more about the pool the later it comes,

        delta stake_j = min(g_j phi(Phi^-1(q)) / sqrt(V_j),  CAP q / m_j,  (1 - q) / (1 - m_j)),

    V_j being the variance of what is still to come, from the values before j (prior .25); the second
    term keeps the bettor solvent, the third from more than is wanted.

    Why s0 may depend on the sample: K never rises with S. m_j rises with S. For a given K the gain falls
    in m_j, under each term of the minimum. For a given m_j, q + delta stake (y - m_j) rises in q: phi(Phi^-1)
    is concave with value 0 at 0 and at 1, so under the first term the slope of the stake lies between
    ``-stake / (1 - q) >= -1 / (1 - m_j)`` and ``stake / q <= CAP / m_j``. By induction over j, K_j(s0) <= K_j(T)
    for T <= s0. Whoever changes the stakes keeps that.
    """
    left = pool + len(y) - np.arange(len(y))
    sums = np.cumsum(y)
    m = np.clip((pool * target + sums[-1] - (sums - y)) / left, 1e-12, 1.0 - 1e-12)
    seen = np.arange(2, len(y) + 2)
    variance = (0.25 + np.cumsum((y - (0.5 + sums) / seen) ** 2)) / seen
    variance = np.concatenate(([0.25], variance[:-1]))
    g = pool / left
    to_come = np.cumsum((g * g)[::-1])[::-1]
    columns = (g / np.sqrt(to_come * variance), CAP / m, 1 / (1 - m), y - m)
    q = delta
    for scale, most, enough, gain in zip(*(c.tolist() for c in columns), strict=True):
        if not _RUINED < q < 1 - _RUINED:
            break
        digital = scale * _NORMAL.pdf(_NORMAL.inv_cdf(q))
        q += min(digital, most * q, enough * (1 - q)) * gain
    return delta / (1.0 if q > 1 - 1e-9 else max(q, _RUINED))


def _p_errors(n: int, errors: int, pool: int, pool_errors: int, uniform: float) -> float:
    """Probability of fewer than ``errors``, plus ``uniform`` times that of as many, among n of n + pool items.

    They hold ``errors + pool_errors``. The share of a tie makes the level exact (Lehmann & Romano, section 3.2).
    """
    from scipy.stats import hypergeom

    if pool_errors > pool:
        return 0.0
    law = (n + pool, errors + pool_errors, n)
    tie = (1 - uniform) * hypergeom.pmf(errors, *law) if uniform < 1 else 0.0
    return float(hypergeom.cdf(errors, *law) - tie)


def _errors(y: Floats) -> int:
    return int(np.count_nonzero(y < 0.5))


def pool_test(
    y_in_order: Floats,
    pool: int,
    target: float,
    delta: float,
    rule: Rule = "exact",
    binary: bool = False,
    uniform: float = 1.0,
) -> tuple[float, float]:
    """Test that the mean quality of ``pool`` unlabelled items is above ``target``.

    ``exact`` is valid for every finite population: by betting, or for 0/1 quality by the
    hypergeometric distribution. ``ttest`` is approximate. Where t has nothing to say (0/1 quality, no spread)
    it is the exact test. ``empirical`` compares the mean and protects against nothing.

    Args:
        y_in_order: (n,) qualities in [0, 1] of the validation items, in their fixed random order.
        pool: Number of pool items in the same region.
        target: Mean quality to be shown.
        delta: Error probability; the p-value is tuned to it, and rejection means ``p <= delta``.
        rule: Which test.
        binary: The qualities are 0 or 1.
        uniform: A number in (0, 1] that was drawn apart from everything else, for ``exact``: it uses up what is
            left of delta where the evidence comes in lumps. 1 does without; the test is valid either way.

    Returns:
        p-value (1.0 where there is nothing to go by), and ``s0``, the union total of the null hypothesis.
    """
    y = np.asarray(y_in_order, dtype=np.float64)
    s0 = pool * target + float(y.sum())
    if len(y) == 0 or pool == 0:
        return 1.0, s0
    if rule == "empirical":
        return (0.0 if float(y.mean()) >= target else 1.0), s0
    if target <= 0:
        return 0.0, s0
    if binary:
        # The smallest number of pool errors that breaks the target; 1e-9 forgives 0.1 * 10 < 1.
        return _p_errors(len(y), _errors(y), pool, math.floor((1 - target) * pool + 1e-9) + 1, uniform), s0
    spread = float(y.std(ddof=1)) if len(y) > 1 else 0.0
    if rule == "ttest" and spread > 1e-9:
        from scipy.stats import t

        z = (float(y.mean()) - target) / (spread * math.sqrt(1 / len(y) + 1 / pool))
        return float(t.sf(z, len(y) - 1)), s0
    return min(1.0, uniform * _p_betting(y, pool, target, delta)), s0


def lower_bound(
    y_in_order: Floats, pool: int, delta: float, rule: Rule = "exact", binary: bool = False, uniform: float = 1.0
) -> float:
    """Largest target that ``pool_test`` still shows at level ``delta``: a lower bound of the pool's mean.

    Args are those of ``pool_test``. Found by bisection, to 1e-6 and never too high. 0.0 where there is
    nothing to go by; the plain mean for ``empirical``.
    """
    y = np.asarray(y_in_order, dtype=np.float64)
    if len(y) == 0 or pool == 0:
        return 0.0
    if rule == "empirical":
        return float(y.mean())
    if binary:
        errors = _errors(y)
        low, high = 0, pool + 1  # high: more errors than there are items, always refuted
        while high - low > 1:
            mid = (low + high) // 2
            low, high = (low, mid) if _p_errors(len(y), errors, pool, mid, uniform) <= delta else (mid, high)
        return 1 - (high - 1) / pool
    good, bad = 0.0, 1.0
    while bad - good > 1e-6:
        guess = (good + bad) / 2
        p, _ = pool_test(y, pool, guess, delta, rule, uniform=uniform)
        good, bad = (guess, bad) if p <= delta else (good, guess)
    return good


def first_rung_items(target: float, delta: float, binary: bool) -> int:
    """Validation items that the first region needs to be able to pass: 1.3 times the faultless ones.

    Faultless values that suffice in a large pool: ``ln delta / ln target`` for 0/1 quality, and as many
    as make a bettor who stakes the most reach ``1 / delta`` otherwise. Never under 20. A lucky number may need fewer.
    """
    if target <= 0:
        return 20
    if target >= 1:
        raise ValueError(f"target must be below 1, got {target}")
    growth = -math.log(target) if binary else math.log1p(CAP * (1 - target) / target)
    return max(20, math.ceil(1.3 * math.ceil(math.log(1 / delta) / growth - 1e-9)))
