"""The one form of a label: a region a category, in order, disjoint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gtloop.errors import BadAnswer
from gtloop.labels import Region, SegmentationLabel
from gtloop.records import Payload
from gtloop_plugins.tasks.segmentation import tiling
from gtloop_plugins.tasks.segmentation.tiling import Ints


def canonical(label: SegmentationLabel, order: Sequence[str], background: str) -> Payload:
    """One region for each category that has pixels, in ``order``; equal labels give equal JSON.

    Args:
        label: Its categories are in ``order``.
        order: Names of categories.
        background: The one that gets the pixels without a category; ``""``: none.

    Raises:
        BadAnswer: No size, a text that is no mask of it, or pixels that are in two categories, or in one and void.
    """
    size = label.size
    if min(size) < 1:
        raise BadAnswer(f"size: {list(size)} holds no pixel; give [height, width]")
    runs = {n: _runs(label.regions, name, size) for n, name in enumerate(order)}
    if label.void is not None:
        runs[len(order) + 1] = tiling.union(_decode(label.void, size, "void"))
    _check_disjoint(tiling.tile(runs), [*order, "background", "void"], size)
    if background in order:
        free = tiling.complement(tiling.union(np.concatenate(list(runs.values()))), size[0] * size[1])
        at = order.index(background)
        runs[at] = tiling.union(np.concatenate([runs[at], free]))
    regions = []
    for n, name in enumerate(order):
        if len(runs[n]):
            sure = _confidence([r for r in label.regions if r.category == name], size)
            rest = {} if sure is None else {"confidence": sure}
            regions.append({"category": name, "counts": tiling.encode(runs[n], size), **rest})
    payload: Payload = {"size": list(size), "regions": regions}
    void = runs.get(len(order) + 1)
    return payload if void is None or not len(void) else {**payload, "void": tiling.encode(void, size)}


def _runs(regions: Sequence[Region], name: str, size: tuple[int, int]) -> Ints:
    """The union of the regions of one category."""
    found = [_decode(r.counts, size, f"regions.{n}") for n, r in enumerate(regions) if r.category == name]
    return tiling.union(np.concatenate(found)) if found else np.zeros((0, 2), np.int64)


def _decode(code: str, size: tuple[int, int], where: str) -> Ints:
    try:
        return tiling.decode(code, size)
    except ValueError as e:
        raise BadAnswer(
            f"{where}: {e}; counts is COCO's compressed run-length text of the whole image (pycocotools.mask.encode)"
        ) from None


def _check_disjoint(found: tiling.Tiling, names: Sequence[str], size: tuple[int, int]) -> None:
    at = tiling.overlap(found)
    if at is None:
        return
    x, y = divmod(int(found.starts[at + 1]), size[0])
    pixels = int(np.maximum(0, np.maximum.accumulate(found.ends)[:-1] - found.starts[1:]).sum())
    one, other = (names[int(v)] for v in found.values[at : at + 2])
    raise BadAnswer(
        f"regions overlap: {one} and {other} have both pixel ({x}, {y}), about {pixels} pixels in all have two; "
        "give each pixel at most one category, or void"
    )


def _confidence(regions: Sequence[Region], size: tuple[int, int]) -> float | None:
    """The mean over the pixels of merged regions, one without a confidence counting as 1; None where none has any."""
    if all(r.confidence is None for r in regions):
        return None
    if len(regions) == 1:
        return regions[0].confidence
    area = [float(np.diff(tiling.decode(r.counts, size), axis=1).sum()) for r in regions]
    sure = [1.0 if r.confidence is None else r.confidence for r in regions]
    return min(1.0, float(np.average(sure, weights=area))) if sum(area) else None
