"""The vote of several people on every pixel, in pieces that all of them paint alike; only contested pixels cost more.

People cut an image into pieces in which nobody changes the answer. Pieces with the same answers are of one *pattern*,
and an image has few patterns, however large it is: all that depends on who says what is worked out once a pattern.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop_plugins.tasks.segmentation import tiling
from gtloop_plugins.tasks.segmentation.tiling import Confusion, Ints, Tiling

NEIGHBOURHOOD = 5
"""Side in pixels of the square whose votes have a say in a contested pixel."""
SAY = 0.05
"""Weight of the mean vote of the neighbourhood, the pixel's own votes being 1: enough for ties and for votes that are
nearly equal. More (.25) costs mean IoU where skills are known."""
_AT_ONCE = 1 << 18
"""Pixels whose neighbourhoods are looked at in one go: what they need stays in the processor's cache."""
_DIGITS = 9
"""Decimals to which scores are compared, so that a tie stays one whatever the last bits are."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Plane = NDArray[np.unsignedinteger]


class Votes(NamedTuple):
    """What people say.

    Attributes:
        size: (height, width) pixels.
        names: Number of categories; value ``names`` is background, ``names + 1`` void.
        length: (n,) pixels of each piece, down the columns.
        pattern: (n,) pattern of each piece.
        said: (people, patterns) values.
        weights: (people,) weight of each person's vote.
    """

    size: tuple[int, int]
    names: int
    length: Ints
    pattern: Ints
    said: Ints
    weights: Floats

    def contested(self) -> Bools:
        """(patterns,) whether two people differ."""
        differ: Bools = (self.said != self.said[:1]).any(axis=0)
        return differ

    def area(self) -> Ints:
        """(patterns,) pixels."""
        return np.bincount(self.pattern, weights=self.length, minlength=self.said.shape[1]).astype(np.int64)

    def by_value(self) -> Floats:
        """(names + 2, patterns) weight of those who say a value."""
        weighed = np.stack([self.weights @ (self.said == value) for value in range(self.names + 2)])
        # So that equal votes are equal in whatever order they are added.
        rounded: Floats = np.round(weighed, _DIGITS + 3)
        return rounded

    def confusion(self, a: int, b: int) -> Confusion:
        """(names + 2, names + 2) pixels that person ``a`` has as the row and ``b`` as the column."""
        return cross(self.said[a], self.said[b], self.area(), self.names)


class Decided(NamedTuple):
    """An image decided.

    Attributes:
        runs: (n, 2) flat pixels ``[start, end)``.
        value: (n,) their values.
        pixels: (names + 2, patterns) how many pixels of a pattern became a value.
        certain: (names + 2, patterns) posterior of that value there.
    """

    runs: Ints
    value: Ints
    pixels: Ints
    certain: Floats


def cross(rows: Ints, columns: Ints, area: Ints, names: int) -> Confusion:
    """(names + 2, names + 2) pixels with a value in ``rows`` and one in ``columns``, both (patterns,)."""
    k = names + 2
    return np.bincount(rows * k + columns, weights=area, minlength=k * k).astype(np.int64).reshape(k, k)


def gather(people: Sequence[Tiling], weights: Sequence[float], size: tuple[int, int], names: int) -> Votes:
    """The votes of people, one tiling and one weight each."""
    first, length = tiling.cut(people, size[0] * size[1])
    pattern = np.zeros(len(first), np.int64)
    said = np.zeros((0, 1), np.int64)
    for one in people:
        # Renumbered person by person, so that the number stays small whatever the number of people and categories.
        found = pattern * (names + 2) + tiling.values_at(one, first, names)
        numbers, pattern = _renumber(found, said.shape[1] * (names + 2))
        said = np.vstack([said[:, numbers // (names + 2)], numbers % (names + 2)])
    return Votes(size, names, length, pattern, said, np.asarray(weights, np.float64))


def _renumber(codes: Ints, most: int) -> tuple[Ints, Ints]:
    """The codes that occur, in order, and the position of each code among them; all are below ``most``."""
    if most > 4 * len(codes) + 1024:
        numbers, position = np.unique(codes, return_inverse=True)
        return numbers, position.astype(np.int64)
    there = np.zeros(most, bool)
    there[codes] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[codes]


def decide(votes: Votes) -> Decided:
    """A value for every pixel; see ``consolidation.consolidate``."""
    own, area = votes.by_value(), votes.area()
    values, patterns = own.shape
    # Where all around is the pixel's own pattern, the neighbourhood says what the pixel says.
    every = np.repeat(np.arange(values)[:, None], patterns, axis=1)
    settled = _choose(every, own, own * (1 + SAY), votes)
    pixels = np.zeros((values, patterns), np.int64)
    pixels[settled, np.arange(patterns)] = area
    image = np.repeat(settled.astype(np.int16)[votes.pattern], votes.length)
    unsettled = _unsettled(own, settled, votes)
    if unsettled.any():
        for at, pattern, found in _edges(votes, own, unsettled):
            image[at] = found
            for value, sign in ((found, 1), (settled[pattern], -1)):
                moved = np.bincount(value * patterns + pattern, minlength=values * patterns)
                pixels += sign * moved.reshape(values, patterns)
    bounds = np.concatenate([[0], np.flatnonzero(image[1:] != image[:-1]) + 1, [len(image)]])
    runs = np.stack([bounds[:-1], bounds[1:]], axis=1)
    return Decided(runs, image[bounds[:-1]].astype(np.int64), pixels, _posterior(own, votes))


def _choose(values: Ints, own: Floats, score: Floats, votes: Votes) -> Ints:
    """(n,) value that wins of (values, n), rising; of equals the first, void with more than half of the votes only."""
    void = values == votes.names + 1
    score = np.round(score, _DIGITS)
    best = np.where((own > 0) & ~void, score, -np.inf).argmax(axis=0)
    won = void & (own > 0) & (score > votes.weights.sum() * (1 + SAY) / 2)
    rows = np.where(won.any(axis=0), won.argmax(axis=0), best)
    chosen: Ints = np.take_along_axis(values, rows[None], axis=0)[0]
    return chosen


def _unsettled(own: Floats, settled: Ints, votes: Votes) -> Bools:
    """(patterns,) where the neighbourhood, which adds at most ``SAY`` of all votes, could change the answer."""
    most = SAY * votes.weights.sum() + 10.0**-_DIGITS
    void = own[-1]
    half = votes.weights.sum() * (1 + SAY) / 2
    doubt = (void > 0) & (void <= half) & (void + most >= half)
    lead = np.take_along_axis(own, settled[None], axis=0)[0]
    rivals = np.where(own > 0, own, -np.inf)
    rivals[settled, np.arange(len(settled))] = -np.inf
    open_: Bools = doubt | ((settled != votes.names + 1) & (rivals[:-1].max(axis=0) + most >= lead))
    return open_ & votes.contested()


def _edges(votes: Votes, own: Floats, unsettled: Bools) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Unsettled pixels with another pattern near: flat pixels, their patterns, and the values that win there."""
    side = NEIGHBOURHOOD // 2
    plane = np.repeat(votes.pattern.astype(np.min_scalar_type(len(unsettled))), votes.length)
    plane = np.pad(plane.reshape(votes.size[1], votes.size[0]), side, mode="edge")
    near = _filtered(plane, np.maximum) != _filtered(plane, np.minimum)
    pixels = np.flatnonzero(near.ravel() & np.repeat(unsettled[votes.pattern], votes.length))
    candidates = _candidates(own, unsettled)
    flat, width = plane.ravel(), votes.size[0] + 2 * side
    square = [x * width + y for x in range(NEIGHBOURHOOD) for y in range(NEIGHBOURHOOD)]
    for at in np.split(pixels, range(_AT_ONCE, len(pixels), _AT_ONCE)):
        corner = at // votes.size[0] * width + at % votes.size[0]
        pattern = flat[corner + square[len(square) // 2]].astype(np.int64)
        values = candidates[:, pattern]
        around = np.zeros(values.shape)
        for offset in square:
            around += own[values, flat[corner + offset]]
        mine = own[values, pattern]
        yield at, pattern, _choose(values, mine, mine + SAY / len(square) * around, votes)


def _filtered(plane: Plane, pick: np.ufunc) -> Plane:
    """``pick`` of each pixel's neighbourhood, without the border."""
    for axis in (0, 1):
        n = plane.shape[axis] - NEIGHBOURHOOD + 1
        plane = functools.reduce(pick, [plane.take(range(k, k + n), axis) for k in range(NEIGHBOURHOOD)])
    return plane


def _candidates(own: Floats, unsettled: Bools) -> Ints:
    """(most, patterns) values that somebody gave, rising; where there are fewer, others follow nobody gave."""
    most = int((own > 0)[:, unsettled].sum(axis=0).max())
    given: Ints = np.sort(np.argsort(own <= 0, axis=0, kind="stable")[:most], axis=0)
    return given


def _posterior(own: Floats, votes: Votes) -> Floats:
    """(values, patterns) probability of each value that somebody gave."""
    odds = np.where(own > 0, np.exp(own), 0.0)
    # Where all agree, the only other answer is that they are wrong.
    odds_against = np.where(votes.contested(), 0.0, 1.0)
    found: Floats = odds / (np.array([math.fsum(sorted(column)) for column in odds.T.tolist()]) + odds_against)
    return found
