"""CVAT's masks: runs of the mask's own rectangle, row by row, the first of them background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class Runs(NamedTuple):
    """A mask: runs inside the rectangle at (left, top) of width x height pixels."""

    runs: tuple[int, ...]
    left: int
    top: int
    width: int
    height: int


def encode(mask: Mask) -> Runs | None:
    """The runs of an (H, W) mask; None where it is empty."""
    ys, xs = np.nonzero(mask)
    if not len(xs):
        return None
    left, top, right, bottom = int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1
    flat = mask[top:bottom, left:right].ravel()
    ends = np.concatenate([np.flatnonzero(np.diff(flat)) + 1, [len(flat)]])
    runs = np.diff(ends, prepend=0).tolist()
    return Runs((0, *runs) if flat[0] else tuple(runs), left, top, right - left, bottom - top)


def decode(runs: Sequence[int], left: int, top: int, width: int, height: int, size: tuple[int, int]) -> Mask:
    """The (H, W) mask; ``size`` is (H, W), and what lies outside of it is cut off.

    Raises:
        ValueError: The runs are negative, or do not fill the rectangle.
    """
    counts = np.asarray(runs, np.int64)
    if width < 1 or height < 1 or (len(counts) and counts.min() < 0) or int(counts.sum()) != width * height:
        raise ValueError(f"{int(counts.sum())} pixels in a mask of {width} x {height}")
    part = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
    mask = np.zeros(size, bool)
    y1, x1, y2, x2 = max(0, top), max(0, left), min(size[0], top + height), min(size[1], left + width)
    if y2 > y1 and x2 > x1:
        mask[y1:y2, x1:x2] = part[y1 - top : y2 - top, x1 - left : x2 - left]
    return mask
