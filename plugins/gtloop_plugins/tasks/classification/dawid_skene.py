"""One-coin Dawid-Skene with priors, anchors and a common pattern of errors, on arrays.

Worker w is right with probability s_w (one coin: Zhang et al., JMLR 17, 2016; the model of Dawid & Skene, Applied
Statistics 28, 1979, with one number a worker). Which wrong category they name instead is common to all workers: a
categories x categories table, because the same categories look alike to everybody. It costs no numbers per worker, so
that it is known where full confusion matrices over-fit (``reference/peers.md`` 2.9).
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gtloop.labels import FloatArray

ACCURACY, ANSWERS = 0.8, 4.0
"""Mean of the Beta prior on a worker's accuracy, and how many answers it weighs as much as."""
BEST = 0.995
"""Nobody counts for more than that."""
CLASS_ITEMS = 5.0
"""Dirichlet prior on the frequency of classes, in items each."""
WRONG_ANSWERS, EVEN = 1.0, 1e4
"""Least and most of the Dirichlet prior on where the errors on one category go, in errors; see ``concentration``."""
TELLING = 3
"""Least answers to an item for it to tell which category was taken for which: with two nobody knows who erred."""
JUDGING = 2
"""Least answers to an item for it to tell anything about workers and classes: who is alone agrees with themselves."""
SWEEPS, TOLERANCE = 50, 1e-3
"""Most steps; fewer once the posteriors of an item move by less than that on average, summed over classes."""

Ints = NDArray[np.int64]
Number = TypeVar("Number", float, FloatArray)


class Votes(NamedTuple):
    """Answers, sorted by item: ``item``, ``worker`` and ``said``, all (A,) positions; ``items`` their number."""

    item: Ints
    worker: Ints
    said: Ints
    items: int


class Sums(NamedTuple):
    """Sufficient statistics; those of several batches add up.

    ``right`` and ``total`` (W,) are answers of each worker to items that tell who is right, ``classes`` (K,) such items
    of each class and ``errors`` (K, K) answers that named column for row, all expected.
    """

    right: FloatArray
    total: FloatArray
    classes: FloatArray
    errors: FloatArray


def accuracy(right: Number, total: Number) -> Number:
    """Posterior mean of a worker's accuracy; of one, or of each of an array."""
    return (ACCURACY * ANSWERS + right) / (ANSWERS + total)


def reliance(skill: float, chance: float) -> tuple[float, float]:
    """What an answer is worth: (accuracy, share of errors that follow the common pattern).

    Errors of a spammer go anywhere, so the share falls to 0 at chance, where an answer says nothing at all. It stays
    there below chance: an adversary is not believed in reverse, for two workers who contradict each other look alike.
    """
    s = min(BEST, max(chance, skill))
    return s, min(1.0, (s - chance) / (max(ACCURACY, chance + 1e-9) - chance))


def fit(votes: Votes, before: Sums, known: Ints) -> tuple[Sums, FloatArray]:
    """Expectation-maximisation over all items at once, with everything before as given.

    Args:
        votes: The answers.
        before: Sums of the batches before; zeros at first.
        known: (items,) the true class of an item where it is known, else -1. The first step goes by the workers'
            answers to those (and before), so that they win against a majority that errs alike.

    Returns:
        ``before`` with this batch added, and the (items, K) posterior.
    """
    asked = _ask(votes, before, known)
    golden = known[votes.item] >= 0
    hit = golden & (known[votes.item] == votes.said)
    right = before.right + np.bincount(votes.worker[hit], minlength=len(before.right))
    skills = accuracy(right, before.total + np.bincount(votes.worker[golden], minlength=len(before.right)))
    now, posterior = before, np.zeros((votes.items, len(before.classes)))
    for _ in range(SWEEPS):
        last = posterior
        now, posterior = _sweep(asked, before, now, skills)
        skills = accuracy(now.right, now.total)
        if np.abs(posterior - last).sum() < TOLERANCE * votes.items:
            break
    return now, posterior


class _Asked(NamedTuple):
    """What stays the same from sweep to sweep; P pairs (worker, category said), each with the items it was said of."""

    pairs: Any
    """(items, P) sparse: 1 where that worker said that of the item."""
    judging: Any
    """(P, items) sparse: the same, of items that tell who is right; see ``JUDGING``."""
    telling: Any
    """(P, items) sparse: the same, of items that tell what was taken for what; see ``TELLING``."""
    worker: Ints
    said: Ints
    known: Ints
    counted: NDArray[np.bool_]
    """(items,) what counts for the frequency of classes: test items are chosen, and say nothing about it."""
    total: FloatArray


def _ask(votes: Votes, before: Sums, known: Ints) -> _Asked:
    from scipy.sparse import csr_matrix

    k = len(before.classes)
    pair, column = np.unique(votes.worker * k + votes.said, return_inverse=True)
    pairs = csr_matrix((np.ones(len(column)), (votes.item, column)), shape=(votes.items, len(pair)))
    answers = np.bincount(votes.item, minlength=votes.items)
    judges = (answers >= JUDGING) | (known >= 0)
    total = before.total + np.bincount(votes.worker[judges[votes.item]], minlength=len(before.total))
    judging, telling = (
        pairs.multiply(which.astype(float)[:, None]).T.tocsr()
        for which in (judges, (answers >= TELLING) | (known >= 0))
    )
    return _Asked(pairs, judging, telling, pair // k, pair % k, known, (answers >= JUDGING) & (known < 0), total)


def _sweep(asked: _Asked, before: Sums, now: Sums, skills: FloatArray) -> tuple[Sums, FloatArray]:
    """One step: posteriors with what is known ``now``, and the sums that they make."""
    k, rows = len(before.classes), np.arange(len(asked.worker))
    relied = np.array([reliance(s, 1 / k) for s in skills.tolist()]).reshape(-1, 2)
    s, share = relied[asked.worker].T
    common = share[:, None] * _pattern(now.errors)[asked.said]
    anywhere = ((1 - share) / max(k - 1, 1))[:, None]
    likely = (1 - s)[:, None] * (common + anywhere)
    likely[rows, asked.said] = s
    posterior = asked.pairs @ np.log(likely) + np.log(CLASS_ITEMS + now.classes)
    posterior -= posterior.max(axis=1, keepdims=True)
    np.exp(posterior, out=posterior)
    posterior /= posterior.sum(axis=1, keepdims=True)
    anchored = asked.known >= 0
    posterior[anchored] = np.eye(k)[asked.known[anchored]]
    said_right = (asked.judging @ posterior)[rows, asked.said]
    right = before.right + np.bincount(asked.worker, said_right, minlength=len(before.right))
    # Of an error, the part that the common pattern explains.
    wrong = (asked.telling @ posterior) * common / np.maximum(common + anywhere, 1e-300)
    wrong[rows, asked.said] = 0
    errors = before.errors.T.copy()
    np.add.at(errors, asked.said, wrong)
    classes = before.classes + posterior[asked.counted].sum(axis=0)
    return Sums(right, asked.total, classes, errors.T), posterior


def _pattern(errors: FloatArray) -> FloatArray:
    """(K, K): row said, column true: the probability of naming that category where the true one is missed."""
    k = len(errors)
    prior = concentration(errors)
    found = (prior / max(k - 1, 1) + errors) / (prior + errors.sum(axis=1, keepdims=True))
    return np.ascontiguousarray(found.T)


def concentration(errors: FloatArray) -> float:
    """The Dirichlet prior on where errors go, in errors on each category, evenly to all others.

    Where errors go anywhere it is large, and where they go to few categories small; see ``dispersion``.
    """
    k = len(errors)
    even = errors.sum(axis=1, keepdims=True) * (1 - np.eye(k)) / max(k - 1, 1)
    return float(np.clip(dispersion(errors, even, k - 2), WRONG_ANSWERS, EVEN))


def dispersion(counts: FloatArray, expected: FloatArray, free: int) -> float:
    """Concentration of the Dirichlet prior that rows of counts were drawn round what is expected; inf for no spread.

    By moments, from Pearson's chi squared, of which two standard deviations are taken for chance (Dirichlet-
    multinomial; Mosimann, Biometrika 49, 1962).

    Args:
        counts: (R, K).
        expected: (R, K), of the same row sums.
        free: Degrees of freedom of a row.
    """
    n = counts.sum(axis=1)
    counts, expected, n = counts[n > 1], expected[n > 1], n[n > 1]
    if free < 1 or not len(n):
        return np.inf
    possible = expected > 0
    chi = float(((counts - expected)[possible] ** 2 / expected[possible]).sum())
    chance = free * len(n)
    within = (chi - chance - 2 * np.sqrt(2 * chance)) / (free * float((n - 1).sum()))
    return max(0.0, 1 / within - 1) if within > 0 else np.inf
