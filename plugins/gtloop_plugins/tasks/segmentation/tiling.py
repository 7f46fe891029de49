"""Labels as disjoint runs of pixels, counted down the columns as COCO does: exact, and no image in memory.

All arithmetic of two labels costs as much as their outlines are long, not as their areas are large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop import masks
from gtloop.records import Payload

Ints = NDArray[np.int64]
Confusion = Ints


class Tiling(NamedTuple):
    """Runs ``[start, end)`` of flat pixels, in order, none overlapping, each of one value; between them background.

    With K names a value is their index, K the background, K + 1 void.
    """

    starts: Ints
    ends: Ints
    values: Ints


def decode(code: str, size: tuple[int, int]) -> Ints:
    """(N, 2) runs inside of a mask, ``size`` (height, width).

    Raises:
        ValueError: It is no run-length text, or of another size.
    """
    lengths, total = masks.counts(code), size[0] * size[1]
    if (lengths < 0).any():
        raise ValueError("a run of negative length")
    if lengths.sum() != total:
        raise ValueError(f"{lengths.sum()} pixels in a mask of {size[1]} x {size[0]} = {total}")
    bounds = np.cumsum(lengths)
    n = len(lengths) // 2
    runs = np.stack([bounds[0::2][:n], bounds[1::2]], axis=1)
    return runs[runs[:, 1] > runs[:, 0]]


def encode(runs: Ints, size: tuple[int, int]) -> str:
    """COCO's text of the union of runs; the same pixels give the same text."""
    lengths = np.diff(np.concatenate([[0], union(runs).ravel(), [size[0] * size[1]]]))
    return masks.text(lengths[:-1] if len(lengths) > 1 and lengths[-1] == 0 else lengths)


def union(runs: Ints) -> Ints:
    """(M, 2) runs in order, those that touch or overlap made one."""
    if not len(runs):
        return runs
    runs = runs[np.argsort(runs[:, 0], kind="stable")]
    reach = np.maximum.accumulate(runs[:, 1])
    first = np.append(True, runs[1:, 0] > reach[:-1])
    last = np.append(first[1:], True)
    return np.stack([runs[first, 0], reach[last]], axis=1)


def complement(runs: Ints, total: int) -> Ints:
    """The runs of what is in none of ``runs``, which are a union."""
    gaps = np.concatenate([[0], runs.ravel(), [total]]).reshape(-1, 2)
    return gaps[gaps[:, 1] > gaps[:, 0]]


def tile(parts: Mapping[int, Ints]) -> Tiling:
    """The tiling of value to runs; where two values overlap, so do its runs (``overlap``)."""
    joined = {value: union(runs) for value, runs in parts.items()}
    runs = np.concatenate([np.zeros((0, 2), np.int64), *joined.values()])
    values = np.repeat(np.array(list(joined), np.int64), [len(r) for r in joined.values()])
    order = np.argsort(runs[:, 0], kind="stable")
    return Tiling(runs[order, 0], runs[order, 1], values[order])


def overlap(tiling: Tiling) -> int | None:
    """Index of the first run that the next one overlaps; None where they are disjoint."""
    bad = np.flatnonzero(tiling.starts[1:] < tiling.ends[:-1])
    return int(bad[0]) if len(bad) else None


def read(payload: Payload, names: Sequence[str], background: str) -> Tiling:
    """The tiling of a label whose categories are among ``names`` or ``background``."""
    size = (int(payload["size"][0]), int(payload["size"][1]))
    parts: dict[int, list[Ints]] = {}
    for region in payload["regions"]:
        if region["category"] != background:
            parts.setdefault(names.index(region["category"]), []).append(decode(region["counts"], size))
    if payload.get("void") is not None:
        parts[len(names) + 1] = [decode(payload["void"], size)]
    return tile({value: np.concatenate(runs) for value, runs in parts.items()})


def named(payloads: Sequence[Payload], background: str) -> list[str]:
    """The categories of labels without ``background``, in order of their names."""
    return sorted({r["category"] for p in payloads for r in p["regions"]} - {background})


def values_at(tiling: Tiling, pixels: Ints, background: int) -> Ints:
    """(n,) values at flat pixels."""
    if not len(tiling.starts):
        return np.full(len(pixels), background, np.int64)
    run = np.searchsorted(tiling.starts, pixels, side="right") - 1
    inside = (run >= 0) & (pixels < tiling.ends[run])
    return np.where(inside, tiling.values[run], background)


def cut(tilings: Sequence[Tiling], total: int) -> tuple[Ints, Ints]:
    """Pieces in which no tiling changes: (n,) first pixels and (n,) lengths."""
    edges = np.unique(np.concatenate([[0, total], *(t.starts for t in tilings), *(t.ends for t in tilings)]))
    return edges[:-1], np.diff(edges)


def confusion(a: Tiling, b: Tiling, total: int, names: int) -> Confusion:
    """(names + 2, names + 2) pixels that ``a`` has as the row and ``b`` as the column."""
    first, length = cut((a, b), total)
    k = names + 2
    pairs = values_at(a, first, names) * k + values_at(b, first, names)
    return np.bincount(pairs, weights=length, minlength=k * k).astype(np.int64).reshape(k, k)


def compare(a: Payload, b: Payload, background: str) -> Confusion | None:
    """The confusion of two labels over the categories that they have (``named``); None where their sizes differ."""
    if list(a["size"]) != list(b["size"]):
        return None
    names = named((a, b), background)
    total = int(a["size"][0]) * int(a["size"][1])
    return confusion(read(a, names, background), read(b, names, background), total, len(names))


def ious(found: Confusion, names: int) -> NDArray[np.float64]:
    """(names,) IoU, NaN where neither side has the category; ``found`` is without void's row or column if forgiven."""
    same = np.diagonal(found)[:names]
    either = found[:names].sum(axis=1) + found[:, :names].sum(axis=0) - same
    return np.where(either > 0, same / np.maximum(either, 1), np.nan)


def mean_iou(found: Confusion) -> float:
    """Mean IoU over the categories that either side has; 1 where neither has one.

    Void of either side counts in nothing. Where it leaves no pixel to compare, though one side has a category: 0.
    """
    names = len(found) - 2
    counted = found[: names + 1, : names + 1]
    if not counted.sum() and found[:names].sum() + found[:, :names].sum():
        return 0.0
    return _mean(ious(counted, names))


def strict_iou(found: Confusion, *, forgive_columns: bool = False) -> float:
    """``mean_iou`` with void as a wrong answer, so that nobody gains by it; on request that of columns is left out."""
    return _mean(ious(found[:, :-1] if forgive_columns else found, len(found) - 2))


def _mean(values: NDArray[np.float64]) -> float:
    known = sorted(values[~np.isnan(values)].tolist())
    return math.fsum(known) / len(known) if known else 1.0
