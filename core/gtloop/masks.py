"""Masks as COCO run-length codes: exact, compact, and never dense outside of arithmetic.

A code counts pixels down the columns, left to right, in turn outside and inside of the mask, starting outside. It is
written as COCO's text (six bits a character, each count after the third as the difference to the one before the last):
``rleToString`` and ``rleFrString`` in cocodataset/cocoapi, ``common/maskApi.c``. Frame: display pixels, as all labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gtloop.interfaces import Frame
    from gtloop.labels import RawMasks, SegmentationLabel

Mask = NDArray[np.bool_]
IndexMap = NDArray[np.int16]

BACKGROUND, VOID = -1, -2
"""Values of an index map where no category is, and where it does not count."""

LEAST = 0.01
"""Probability above which a category that is the likeliest nowhere is still worth a mention."""


def encode(mask: Mask) -> str:
    """The text of an (H, W) mask."""
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0] if len(flat) and flat[0] else [], [0], edges, [len(flat)]]).astype(np.int64)
    return text(np.diff(bounds))


def decode(code: str, size: tuple[int, int]) -> Mask:
    """The (H, W) mask of a text; ``size`` is (H, W).

    Raises:
        ValueError: It is no such text, or of another size.
    """
    return dense(counts(code), size)


def dense(runs: Sequence[int] | NDArray[np.int64], size: tuple[int, int]) -> Mask:
    """The (H, W) mask of its runs.

    Raises:
        ValueError: They do not add up to ``size``.
    """
    found = np.asarray(runs, np.int64)
    if len(found) and found.min() < 0:
        raise ValueError("a run of negative length")
    if found.sum() != size[0] * size[1]:
        raise ValueError(f"{found.sum()} pixels in a mask of {size[1]} x {size[0]} = {size[0] * size[1]}")
    flat = np.repeat(np.arange(len(found)) % 2 == 1, found)
    return flat.reshape(size, order="F")


def text(runs: Sequence[int] | NDArray[np.int64]) -> str:
    """COCO's text of runs."""
    left = np.array(runs, np.int64)
    left[3:] -= np.asarray(runs, np.int64)[1:-2]
    rounds: list[NDArray[np.int64]] = []
    going = np.ones(len(left), bool)
    while going.any():
        low = left & 31
        left = left >> 5
        more = going & (left != np.where(low & 16, -1, 0))
        rounds.append(np.where(going, (low | (more << 5)) + 48, 0))
        going = more
    if not rounds:
        return ""
    table = np.stack(rounds, axis=1).ravel()
    return bytes(table[table > 0].astype(np.uint8)).decode("ascii")


def counts(code: str) -> NDArray[np.int64]:
    """The runs of COCO's text.

    Raises:
        ValueError: It is no such text.
    """
    raw = np.frombuffer(code.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    if not len(raw):
        return np.zeros(0, np.int64)
    ends = (raw & 32) == 0
    if raw.min() < 0 or raw.max() > 63 or not ends[-1]:
        raise ValueError("no run-length code")
    starts = np.concatenate([[0], np.flatnonzero(ends)[:-1] + 1])
    place = np.arange(len(raw)) - np.repeat(starts, np.diff(np.append(starts, len(raw))))
    if place.max() > 11:
        raise ValueError("no run-length code: a count is too long")
    values: NDArray[np.int64] = np.add.reduceat((raw & 31) << (5 * place), starts)
    negative = raw[ends] & 16 > 0
    values[negative] -= np.int64(1) << (5 * (place[ends][negative] + 1))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def area(code: str) -> int:
    """Number of pixels inside."""
    return int(counts(code)[1::2].sum())


def bounds(code: str, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """The smallest box round a mask, ``xyxy`` in pixels; None where it is empty."""
    ys, xs = np.nonzero(decode(code, size))
    if not len(xs):
        return None
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


def from_polygons(polygons: Iterable[Sequence[float]], size: tuple[int, int]) -> Mask:
    """The (H, W) union of polygons, each ``x1, y1, x2, y2, ...`` in pixels: a pixel is in if its centre is (even-odd).

    pycocotools draws with subpixels, so that borders may differ by a pixel.
    """
    height, width = size
    union = np.zeros(size, bool)
    for polygon in polygons:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        crossings = np.zeros((height, width + 1), np.int64)
        for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
            low, high = sorted((y1, y2))
            rows = np.arange(max(0, np.ceil(low - 0.5)), min(height, np.ceil(high - 0.5)), dtype=np.int64)
            if len(rows):
                at = x1 + (rows + 0.5 - y1) * (x2 - x1) / (y2 - y1)
                np.add.at(crossings, (rows, np.clip(np.ceil(at - 0.5), 0, width).astype(np.int64)), 1)
        union |= np.cumsum(crossings, axis=1)[:, :width] % 2 == 1
    return union


def to_map(label: SegmentationLabel, categories: Sequence[str]) -> IndexMap:
    """(H, W) positions of categories, ``BACKGROUND`` where there is none and ``VOID`` where nothing counts."""
    found: IndexMap = np.full(label.size, BACKGROUND, np.int16)
    for region in label.regions:
        found[decode(region.counts, label.size)] = categories.index(region.category)
    if label.void is not None:
        found[decode(label.void, label.size)] = VOID
    return found


def from_map(index: NDArray[np.integer], categories: Sequence[str]) -> SegmentationLabel:
    """The label of an (H, W) index map: ``BACKGROUND`` is in no region; all else outside of ``categories`` is void."""
    from gtloop.labels import Region, SegmentationLabel

    size = (int(index.shape[0]), int(index.shape[1]))
    present = [int(v) for v in np.unique(index) if 0 <= v < len(categories)]
    void = (index != BACKGROUND) & ((index < 0) | (index >= len(categories)))
    return SegmentationLabel(
        size=size,
        regions=tuple(Region(category=categories[v], counts=encode(index == v)) for v in present),
        void=encode(void) if void.any() else None,
    )


def raw_masks(probabilities: NDArray[np.floating], categories: int) -> RawMasks:
    """The raw prediction that probabilities of pixels make.

    The expected IoU of a region is the sum of its category's probability inside over its area plus the sum outside:
    intersection and union of the region with a truth that is drawn pixel by pixel from the probabilities.

    Args:
        probabilities: (C, H, W), summing to 1 over C: the categories, and behind them what is in none, if anything.
        categories: Number of categories.
    """
    from gtloop.labels import RawMasks

    planes = len(probabilities)
    size = (int(probabilities.shape[1]), int(probabilities.shape[2]))
    top = probabilities.argmax(axis=0)
    best = np.take_along_axis(probabilities, top[None], axis=0)[0]
    found: list[tuple[float, float, int, str]] = []
    missed = []
    entropy = second = np.zeros(size, np.float32)
    for c in range(planes):
        p, own = probabilities[c], top == c
        entropy = entropy - p * np.log(np.maximum(p, 1e-12))
        second = np.maximum(second, np.where(own, 0, p))
        if c < categories and own.any():
            mass, area = float(p[own].sum(dtype=np.float64)), int(own.sum())
            outside = max(0.0, float(p.sum(dtype=np.float64)) - mass)
            found.append((min(1.0, mass / area), min(1.0, mass / (area + outside)), c, encode(own)))
        elif c < categories and p.max() > LEAST:
            missed.append(float(p.max()))
    found.sort(key=lambda f: (-f[0], f[2]))
    return RawMasks(
        size=size,
        counts=tuple(f[3] for f in found),
        scores=tuple(f[0] for f in found),
        categories=tuple(f[2] for f in found),
        expected=tuple(f[1] for f in found),
        missed=tuple(sorted(missed, reverse=True)),
        entropy=float(np.clip(entropy.mean(dtype=np.float64) / np.log(max(2, planes)), 0, 1)),
        margin=float(np.clip((best - second).mean(dtype=np.float64), 0, 1)),
    )


def reorient(array: NDArray[np.generic], orientation: int, to: Frame) -> NDArray[np.generic]:
    """An (H, W) array moved between the displayed and the stored frame of an image with that EXIF orientation."""
    turned = array.T if orientation >= 5 and to == "display" else array
    flip_x, flip_y = _FLIPS[orientation]
    if flip_x:
        turned = turned[:, ::-1]
    if flip_y:
        turned = turned[::-1]
    return turned.T if orientation >= 5 and to == "stored" else turned


# Orientation to (mirror left-right, mirror top-bottom) of the displayed image, after the transposition of 5 to 8.
_FLIPS = {
    1: (False, False),
    2: (True, False),
    3: (True, True),
    4: (False, True),
    5: (False, False),
    6: (True, False),
    7: (True, True),
    8: (False, True),
}
