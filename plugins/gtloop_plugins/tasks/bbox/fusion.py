"""The geometry of an object from the boxes that several people drew of it, for many objects at once."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.labels import FloatArray

NU = 6.0
"""Degrees of freedom of the t distribution of whole boxes about the truth: small means robust."""

SCALE_WEIGHT = 4.0
"""Squared errors that the usual scale of errors counts for, against those of the object at hand."""

ROUNDS = 8

Ints = NDArray[np.intp]


class Fused(NamedTuple):
    """Consensus boxes, and how each box of which they are made compares with the others.

    G objects, M boxes. Errors are (dx / w, dy / h, w ratio - 1, h ratio - 1), as in BDC (ECCV 2024).

    Attributes:
        xyxy: (G, 4).
        variance: (G, 4) of the error of ``xyxy``.
        boxes: (G,) number of boxes of each.
        error: (M, 4) of each box against the consensus of the others of its object; NaN for the only one.
        blur: (M, 4) variance of that consensus, which ``error`` has besides its own.
    """

    xyxy: FloatArray
    variance: FloatArray
    boxes: Ints
    error: FloatArray
    blur: FloatArray

    def expected_iou(self, shared: FloatArray) -> FloatArray:
        """(G,) expected IoU with the truth; ``shared`` (4,) is the variance of what all boxes are off together."""
        return expected_iou(np.zeros_like(self.variance), self.variance + shared)


def expected_iou(bias: FloatArray, variance: FloatArray) -> FloatArray:
    """(N,) expected IoU of boxes whose errors are normal; ``bias`` and ``variance`` (N, 4) of the errors.

    exp(-sum of the four edges' mean absolute errors, in widths and heights): right to first order, and within .03
    for any jitter that leaves an IoU of .5 (``tests/plugins/test_bbox_consolidation.py``).
    """
    half = bias[:, 2:] / 2
    mean = np.concatenate([bias[:, :2] - half, bias[:, :2] + half], axis=1)
    sd = np.tile(np.sqrt(np.maximum(variance[:, :2] + variance[:, 2:] / 4, 1e-12)), 2)
    z = mean / sd
    erf = np.vectorize(math.erf, otypes=[float])(z / math.sqrt(2))
    absolute = sd * math.sqrt(2 / math.pi) * np.exp(-(z**2) / 2) + mean * erf
    return np.asarray(np.exp(-absolute.sum(axis=1)))


def errors(boxes: FloatArray, truth: FloatArray) -> FloatArray:
    """(N, 4) errors of ``boxes`` against ``truth``, both (N, 4) ``xyxy``; see ``Fused``."""
    own, true = _centred(boxes), _centred(truth)
    return np.concatenate([(own[:, :2] - true[:, :2]) / true[:, 2:], own[:, 2:] / true[:, 2:] - 1], axis=1)


def fuse(boxes: FloatArray, group: Ints, bias: FloatArray, variance: FloatArray) -> Fused:
    """Robust mean of each object's boxes, corrected for what is known of the people who drew them.

    Every box is corrected for its drawer's ``bias``; the centre starts at the median and moves to the mean weighted
    by precision and by a multivariate t of whole boxes (iteratively reweighted least squares): who is off in one edge
    is probably off in all. The scale of the t is that of the object's boxes, by the median of their distances, drawn
    to the usual one. With equal ``bias`` 0 and equal ``variance``, the result lies within the hull of the boxes.

    Args:
        boxes: (M, 4) ``xyxy``, grouped, in an order within the group that does not depend on who answered first.
        group: (M,) 0 to G - 1, ascending, none left out.
        bias: (M, 4) of the errors of their drawers.
        variance: (M, 4) of the same, about ``bias``.
    """
    start = np.flatnonzero(np.diff(group, prepend=-1))
    count = np.diff(np.append(start, len(group)))
    # Everything is moved by the median and back, so that equal boxes give that very box, to the last bit.
    middle = _medians(boxes, group, start, count)
    drawn = _centred(boxes)
    origin = _centred(middle)[group]
    shift = _corrected(drawn, bias) - origin
    centre = _medians(shift, group, start, count)
    scale = _scale(_distance(shift, centre[group], origin, variance), group, start, count)
    for _ in range(ROUNDS):
        weight = (NU + 4) / (NU + _distance(shift, centre[group], origin, variance) / scale[group])
        precision = weight[:, None] / variance
        total = np.add.reduceat(precision, start)
        centre = np.add.reduceat(precision * shift, start) / total
    others = np.maximum(total[group] - precision, 1e-300)
    rest = origin + (total[group] * centre[group] - precision * shift) / others
    rest[count[group] == 1] = np.nan
    half = centre[:, 2:] / 2
    return Fused(
        xyxy=middle + np.concatenate([centre[:, :2] - half, centre[:, :2] + half], axis=1),
        variance=scale[:, None] / total,
        boxes=count,
        error=np.concatenate([(drawn[:, :2] - rest[:, :2]) / rest[:, 2:], drawn[:, 2:] / rest[:, 2:] - 1], axis=1),
        blur=scale[group][:, None] / others,
    )


def _corrected(drawn: FloatArray, bias: FloatArray) -> FloatArray:
    size = drawn[:, 2:] / (1 + bias[:, 2:])
    return np.concatenate([drawn[:, :2] - bias[:, :2] * size, size], axis=1)


def _centred(xyxy: FloatArray) -> FloatArray:
    return np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], axis=1)


def _distance(shift: FloatArray, centre: FloatArray, origin: FloatArray, variance: FloatArray) -> FloatArray:
    """(M,) squared Mahalanobis distance, 4 on average where all is as expected."""
    e = (shift - centre) / np.tile(origin[:, 2:] + centre[:, 2:], 2)
    return np.asarray((e * e / variance).sum(axis=1))


def _medians(x: FloatArray, group: Ints, start: Ints, count: Ints) -> FloatArray:
    low, high = start + (count - 1) // 2, start + count // 2
    columns = [x[np.lexsort((column, group)), k] for k, column in enumerate(x.T)]
    return np.stack([(c[low] + c[high]) / 2 for c in columns], axis=1)


def _scale(distance: FloatArray, group: Ints, start: Ints, count: Ints) -> FloatArray:
    """(G,) factor of the variances: the median distance over its expectation, drawn to 1."""
    median = _medians(distance[:, None], group, start, count)[:, 0]
    free = 4.0 * (count - 1)
    # 3.36 is the median of chi square with 4 degrees of freedom; the centre has taken 1 of n shares of the spread.
    own = median / 3.36 * count / np.maximum(count - 1, 1)
    return (SCALE_WEIGHT + free * own) / (SCALE_WEIGHT + free)
