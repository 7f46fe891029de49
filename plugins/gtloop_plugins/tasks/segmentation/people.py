"""Synthetic people who paint masks (``reference/statistics.md`` 5.3 to 5.5; parameters as for boxes)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtloop import masks
from gtloop.interfaces import Simulated
from gtloop.labels import SegmentationLabel
from gtloop.records import Payload

PROFILES = {"expert": (0.25, 0.05, 0.95, 0.0), "crowd": (0.6, 0.1, 0.85, 0.01), "poor": (0.15, 0.2, 0.7, 0.05)}
"""Name to (share, outline error b, mean share of right categories, share of images given up after one region)."""

SPAMMERS = 0.06
SMALL, LARGE = 0.02, 0.1
"""Shares of the image: parts below the first are missed twice as often; those above the second never, and nobody
confuses their category more than a quarter as often."""
CEILING = 0.1
"""Outline error of a large part, over b and the longer side of the image: .5 % for b = .05."""
LEAST = 0.5
"""Outline error in pixels, over the persona's noise, that nobody betters."""
GRID = 8
"""Outline errors change over this share of the longer side: an eighth."""

Rng = np.random.Generator
Index = masks.IndexMap


def worker(rng: Rng) -> dict[str, Any]:
    """Draw a persona.

    Returns:
        ``profile``; ``outline`` error b, as a share of a part's side; ``bias`` of the outline, positive: drawn too
        large, in units of that error; ``miss`` probability per small part, Beta(2, 18); ``confusion`` probability of a
        wrong category; ``gives_up`` probability that only the largest region is painted; ``speed`` factor of time,
        log-normal; ``spammer`` and what one would do, ``spam`` (``whole``, ``empty``, ``random``). Two keys are for the
        caller to change: ``noise`` multiplies all errors (0: an exact copy, spammers included), ``spammer``.
    """
    names = list(PROFILES)
    profile = names[int(rng.choice(len(names), p=[PROFILES[n][0] for n in names]))]
    _, b, right, gives_up = PROFILES[profile]
    return {
        "profile": profile,
        "outline": float(rng.uniform(0, b)),
        "bias": float(rng.uniform(-1, 1)),
        "miss": float(rng.beta(2, 18)),
        "confusion": float(np.clip(1 - rng.normal(right, 0.05), 0, 1)),
        "gives_up": gives_up,
        "speed": float(rng.lognormal(0, 0.4)),
        "spam": str(rng.choice(["whole", "empty", "random"])),
        "spammer": bool(rng.random() < SPAMMERS),
        "noise": 1.0,
    }


def simulate(truth: Payload, persona: Mapping[str, Any], categories: Sequence[str], rng: Rng) -> Simulated:
    """What that person paints: always a ``label``, without regions where they see nothing.

    Args:
        truth: Canonical.
        persona: See ``worker``.
        categories: The run's.
        rng: Keyed by request and worker.
    """
    noise = float(persona["noise"])
    if noise == 0:
        regions = [{"category": r["category"], "counts": r["counts"]} for r in truth["regions"]]
        return _answer({**truth, "regions": regions}, persona, rng)
    if persona["spammer"]:
        size = (int(truth["size"][0]), int(truth["size"][1]))
        spam = _spam(persona["spam"], size, len(categories), rng)
        return _answer(_label(spam, categories), {"speed": 0.02}, rng)
    index = masks.to_map(SegmentationLabel.model_validate(truth), categories)
    seen, deviation = _seen(index, persona, noise, len(categories), rng)
    if rng.random() < min(0.9, persona["gives_up"] * noise):
        seen = _largest(seen)
    return _answer(_label(_painted(seen, deviation, persona, noise, rng), categories), persona, rng)


def _answer(payload: Payload, persona: Mapping[str, Any], rng: Rng) -> Simulated:
    # 79 s a mask (COCO: 22 h for 1,000), 3 s to see that there is nothing; medians.
    median = 79.0 * len(payload["regions"]) or 3.0
    return Simulated("label", payload, float(median * persona["speed"] * rng.lognormal(0, 0.6)))


def _label(index: Index, categories: Sequence[str]) -> Payload:
    return masks.from_map(index, categories).model_dump(mode="json", exclude_none=True)


def _seen(
    index: Index, persona: Mapping[str, Any], noise: float, categories: int, rng: Rng
) -> tuple[Index, dict[int, float]]:
    """What of the truth that person sees, connected part by part, and the outline error in pixels by value.

    A part that is missed is filled with what lies next to it; void is seen, or not, like a category.
    """
    from scipy import ndimage

    seen, missed = index.copy(), np.zeros(index.shape, bool)
    deviation: dict[int, float] = {}
    for value in np.unique(index).tolist():
        parts, n = ndimage.label(index == value)
        area = np.bincount(parts.ravel(), minlength=n + 1)[1:]
        side = float(np.sqrt(np.median(area)))
        largest = CEILING * max(index.shape)
        deviation[value] = max(LEAST, persona["outline"] * min(side, largest))
        if value == masks.BACKGROUND:
            continue
        share = area / index.size
        miss = persona["miss"] * noise * np.select([share < SMALL, share < LARGE], [2.0, 1.0], 0.0)
        gone = rng.random(n) < np.minimum(0.95, miss)
        confusion = persona["confusion"] * noise * np.where(share < LARGE, 1.0, 0.25)
        wrong = rng.random(n) < np.minimum(0.9, confusion)
        names = np.full(n + 1, value)
        for part in np.flatnonzero(wrong & ~gone):
            names[part + 1] = _named(value, categories, rng)
        changed = names != value
        if changed.any():
            where = changed[parts]
            seen[where] = names[parts[where]]
        missed |= np.append(False, gone)[parts]
    return _filled(seen, missed), deviation


def _named(true: int, categories: int, rng: Rng) -> int:
    """A wrong category; three quarters of the errors are the next in the declared order. Void stays void."""
    if true < 0 or categories < 2:
        return true
    if rng.random() < 0.75:
        return (true + 1) % categories
    return int((true + rng.integers(1, categories)) % categories)


def _filled(index: Index, missed: NDArray[np.bool_]) -> Index:
    """What is missed gets the value of the nearest pixel that is not; background where all is."""
    if missed.all():
        return np.full_like(index, masks.BACKGROUND)
    if not missed.any():
        return index
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(missed, return_distances=False, return_indices=True)
    filled: Index = index[tuple(nearest)]
    return filled


def _largest(index: Index) -> Index:
    values, area = np.unique(index[index >= 0], return_counts=True)
    kept = values[area.argmax()] if len(values) else masks.VOID
    return np.where(index == kept, index, masks.BACKGROUND).astype(np.int16)


def _painted(index: Index, deviation: Mapping[int, float], persona: Mapping[str, Any], noise: float, rng: Rng) -> Index:
    """The map with every outline moved by a smooth random field: each pixel goes to the value that reaches farthest.

    A value reaches its field (pixels, normal with its deviation, a person's bias on top for all but the background)
    beyond its own pixels, so that values take from each other and leave no gap.
    """
    from scipy import ndimage

    values = np.unique(index).tolist()
    if len(values) < 2:
        return index
    usual = float(np.mean(list(deviation.values())))  # of a value that the truth has not
    best = np.full(index.shape, -np.inf, np.float32)
    painted = index.copy()
    for value in values:
        beyond = ndimage.distance_transform_cdt(index != value, metric="chessboard").astype(np.float32)
        field = _field(index.shape, rng)
        if value != masks.BACKGROUND:
            field += persona["bias"] / 2
        reach = noise * deviation.get(value, usual) * field - beyond
        painted[reach > best] = value
        best = np.maximum(best, reach)
    return painted


def _field(shape: tuple[int, ...], rng: Rng) -> NDArray[np.float32]:
    """A smooth random field of about unit variance: normal numbers on a coarse grid, interpolated."""
    step = max(2.0, max(shape) / GRID)
    coarse = rng.standard_normal([int(np.ceil(n / step)) + 2 for n in shape]).astype(np.float32)
    for axis, n in enumerate(shape):
        at = (np.arange(n, dtype=np.float32) + 0.5) / np.float32(step)
        low = at.astype(np.int64)
        part = (at - low).reshape([-1 if k == axis else 1 for k in range(2)])
        coarse = coarse.take(low, axis) * (1 - part) + coarse.take(low + 1, axis) * part
    field: NDArray[np.float32] = coarse * np.float32(1.5)  # interpolation leaves 2/3 of the spread in two dimensions
    return field


def _spam(kind: str, size: tuple[int, int], categories: int, rng: Rng) -> Index:
    if kind == "whole":
        return np.zeros(size, np.int16)
    index: Index = np.full(size, masks.BACKGROUND, np.int16)
    for _ in range(int(rng.integers(1, 4)) if kind == "random" else 0):
        extent = np.maximum(1, np.array(size) * rng.uniform(0.05, 0.4, 2)).astype(np.int64)
        y, x = (int(v) for v in rng.uniform(0, 1, 2) * (np.array(size) - extent))
        index[y : y + extent[0], x : x + extent[1]] = rng.integers(categories)
    return index
