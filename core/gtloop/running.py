"""Bounds that stay valid however often one looks: the mean quality of a finite set, audited item after item.

The items of a region are its ``size`` machine labels as they were accepted. People check them in one random order,
without replacement, so that after any number of audits there is a lower and an upper bound of the mean quality of
*all* of them, and both hold at every number at once with probability ``1 - delta`` (a confidence sequence).

Betting as Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (JRSS-B 2024), section 5
(without replacement) and 4.4 (two bettors with half of delta each, "hedged"). numpy only at module level; scipy inside
functions. No file, no state, no randomness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HORIZONS = (20, 60, 200)
"""Numbers of audits that the bets are made for; the wealth is the mean of that of as many bettors."""
CAP = 0.8
"""A bet stakes at most this share of the wealth, so that no single bad item ends a test."""
CLOSE = 1e-5
"""How closely bounds are found, never on the wrong side."""
FEWEST = 10
"""Audits from which on an approximate interval is given."""


class Bounds(NamedTuple):
    """Where the mean lies."""

    lower: float
    upper: float


def running_bounds(low: Floats, high: Floats, size: int, delta: float, at: Sequence[int] | None = None) -> list[Bounds]:
    """Bounds of the mean of all ``size`` items after some numbers of audits.

    An item whose quality will never be known (somebody withdrew its label before its turn) is 0 in ``low`` and 1 in
    ``high``. The bounds hold all the same, whoever chose it and why: a value that is lowered only lowers the wealth of
    who bets that the mean is high.

    Args:
        low: (n,) qualities in [0, 1] in the order of the audit.
        high: (n,) the same, but for unknown ones.
        size: Items of the region, n or more.
        delta: Probability that some bound is ever wrong.
        at: Ascending numbers of audits, 1 to n each; None: n.

    Returns:
        One for each of ``at``; they only ever become closer.
    """
    at = [len(low)] if at is None else at
    lower = _lower(np.asarray(low, np.float64), size, delta / 2, at)
    upper = _lower(1 - np.asarray(high, np.float64), size, delta / 2, at)
    return [Bounds(a, 1 - b) for a, b in zip(lower, upper, strict=True)]


def wealth(y: Floats, size: int, mean: float, alpha: float) -> Floats:
    """(n,) logarithm of what a bettor has after each value who starts with 1 and bets that the mean is above ``mean``.

    If the mean of all ``size`` items is ``mean`` or less, it ever reaches ``1 / alpha`` with probability at most
    ``alpha``. It never rises with ``mean``, so that the means that it refutes are an interval from 0.
    """
    n = len(y)
    before = np.concatenate(([0.0], np.cumsum(y)))[:-1]
    m = np.maximum((size * mean - before) / (size - np.arange(n)), 1e-12)
    deviations = np.cumsum((y - (0.5 + np.cumsum(y)) / np.arange(2, n + 2)) ** 2)
    variance = (0.25 + np.concatenate(([0.0], deviations))[:-1]) / np.arange(1, n + 1)  # of the values before
    logs = []
    for horizon in HORIZONS:
        stake = np.minimum(np.sqrt(2 * math.log(1 / alpha) / (variance * min(horizon, size))), CAP / m)
        logs.append(np.cumsum(np.log1p(stake * (y - m))))
    every: Floats = np.logaddexp.reduce(np.array(logs), axis=0)
    return every - math.log(len(HORIZONS))


def _lower(y: Floats, size: int, alpha: float, at: Sequence[int]) -> list[float]:
    """Lower bounds after each of the ascending numbers ``at``, each at least the one before."""
    found, best, known = [], 0.0, np.cumsum(y)
    goal = math.log(1 / alpha)
    for n in at:
        best = max(best, float(known[n - 1]) / size if n else 0.0)  # what is not audited is 0 at least
        good, bad = best, 1.0
        while bad - good > CLOSE:
            guess = (good + bad) / 2
            refuted = bool((wealth(y[:n], size, guess, alpha) >= goal).any())
            good, bad = (guess, bad) if refuted else (good, guess)
        best = good
        found.append(best)
    return found


def remaining_lower(known: Floats, size: int, unknown: int, lower: float) -> float | None:
    """Lower bound of the mean of those that still are machine labels; None where there are none.

    Args:
        known: (n,) audited qualities.
        size: Items of the region.
        unknown: Items that were taken out before anybody audited them: they may have been faultless.
        lower: Lower bound of the mean of all ``size`` items.
    """
    left = size - len(known) - unknown
    if left <= 0:
        return None
    return float(np.clip((size * lower - known.sum() - unknown) / left, 0.0, 1.0))


def prediction_powered(y: Floats, f: Floats, rest: Floats, delta: float) -> Bounds | None:
    """Approximate interval of the mean of items that are not audited, with a score as prediction of their quality.

    Prediction-powered inference with a tuned weight (Angelopoulos, Duchi & Zrnic, "PPI++", arXiv 2311.01453), for a
    finite set whose scores are all known: the error of ``mean(w rest) + mean(y - w f)`` is that of a mean of
    residuals. Relies on Student's t: beside the bounds above, never in their place.

    Args:
        y: (n,) audited qualities.
        f: (n,) their scores, of any scale.
        rest: (N,) scores of the items that are left.
        delta: Probability to miss.

    Returns:
        None where there is too little, or too little spread, to go by.
    """
    from scipy.stats import t

    n, left = len(y), len(rest)
    if n < FEWEST or left == 0:
        return None
    spread = float(np.var(f))
    weight = float(np.mean((f - f.mean()) * (y - y.mean()))) / spread if spread > 1e-12 else 0.0
    residual = y - weight * f
    variance = float(np.sum((residual - residual.mean()) ** 2)) / (n - 2)
    if variance < 1e-12:
        return None
    middle = weight * float(rest.mean()) + float(residual.mean())
    half = float(t.ppf(1 - delta / 2, n - 2)) * math.sqrt(variance * (1 / n + 1 / left))
    lower, upper = np.clip([middle - half, middle + half], 0.0, 1.0)
    return Bounds(float(lower), float(upper))
