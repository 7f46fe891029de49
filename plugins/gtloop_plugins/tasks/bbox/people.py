"""Synthetic people who draw boxes (``reference/statistics.md`` 5.4 and 5.5; noise model of BDC, ECCV 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtloop.interfaces import Simulated
from gtloop.labels import clip_box
from gtloop.records import Payload

PROFILES = {"expert": (0.25, 0.05, 0.95), "crowd": (0.6, 0.1, 0.85), "poor": (0.15, 0.2, 0.7)}
"""Name to (share, noise b, mean share of right categories)."""

SPAMMERS = 0.06
SMALL = 0.02
"""Objects below this share of the image's area are missed twice as often."""

Rng = np.random.Generator
XYXY = tuple[float, float, float, float]


def worker(rng: Rng) -> dict[str, Any]:
    """Draw a persona.

    Returns:
        ``profile``; ``bias`` and ``spread`` (4) of (dx / w, dy / h, sw - 1, sh - 1), uniform in ±b and [0, b];
        ``miss`` probability per object, Beta(2, 18); ``false_boxes`` per image, Poisson(.1); ``confusion``
        probability of a wrong category; ``speed`` factor of time, log-normal; ``spammer`` and what one
        would do, ``spam`` (``whole``, ``empty``, ``random``). Two keys are for the caller to change: ``noise``
        multiplies all errors (0: an exact copy of the truth, spammers included), ``spammer`` switches spam.
    """
    names = list(PROFILES)
    profile = names[int(rng.choice(len(names), p=[PROFILES[n][0] for n in names]))]
    _, b, right = PROFILES[profile]
    return {
        "profile": profile,
        "bias": rng.uniform(-b, b, 4).tolist(),
        "spread": rng.uniform(0, b, 4).tolist(),
        "miss": float(rng.beta(2, 18)),
        "false_boxes": 0.1,
        "confusion": float(np.clip(1 - rng.normal(right, 0.05), 0, 1)),
        "speed": float(rng.lognormal(0, 0.4)),
        "spam": str(rng.choice(["whole", "empty", "random"])),
        "spammer": bool(rng.random() < SPAMMERS),
        "noise": 1.0,
    }


def simulate(
    truth: Payload, persona: Mapping[str, Any], size: tuple[int, int] | None, categories: Sequence[str], rng: Rng
) -> Simulated:
    """What that person draws.

    Args:
        truth: Boxes in display pixels.
        persona: See ``worker``.
        size: (width, height) of the image as displayed; None: nothing leaves the hull of the true boxes.
        categories: The run's.
        rng: Keyed by request and worker.
    """
    noise = float(persona["noise"])
    if noise == 0:
        boxes = [{"category": b["category"], "xyxy": list(b["xyxy"])} for b in truth["boxes"]]
        return _answer(boxes, persona, rng)
    frame = _frame(truth, size)
    if frame is None:
        return _answer([], persona, rng)
    if persona["spammer"]:
        return _answer(_spam(persona["spam"], frame, categories, rng), {"speed": 0.2}, rng)
    copies = (_copy(box, persona, noise, frame, categories, rng) for box in truth["boxes"])
    boxes = [box for box in copies if box is not None]
    extra = int(rng.poisson(persona["false_boxes"] * noise))
    return _answer(boxes + [_random_box(frame, categories, rng) for _ in range(extra)], persona, rng)


def _answer(boxes: list[dict[str, Any]], persona: Mapping[str, Any], rng: Rng) -> Simulated:
    # 25 s for the first box and 7 s for each further one (medians), 3 s to see that there is none.
    median = 25.0 + 7.0 * (len(boxes) - 1) if boxes else 3.0
    seconds = float(median * persona["speed"] * rng.lognormal(0, 0.6))
    return Simulated("label" if boxes else "empty", {"boxes": boxes} if boxes else None, seconds)


def _frame(truth: Payload, size: tuple[int, int] | None) -> XYXY | None:
    if size is not None:
        return (0.0, 0.0, float(size[0]), float(size[1]))
    if not truth["boxes"]:
        return None
    rows = np.array([b["xyxy"] for b in truth["boxes"]])
    lo, hi = rows[:, :2].min(axis=0), rows[:, 2:].max(axis=0)
    return (float(lo[0]), float(lo[1]), float(hi[0]), float(hi[1]))


def _copy(
    box: Mapping[str, Any],
    persona: Mapping[str, Any],
    noise: float,
    frame: XYXY,
    categories: Sequence[str],
    rng: Rng,
) -> dict[str, Any] | None:
    """That person's copy of one true box; None where they miss it."""
    x1, y1, x2, y2 = box["xyxy"]
    extent = np.array([x2 - x1, y2 - y1])
    small = extent[0] * extent[1] < SMALL * (frame[2] - frame[0]) * (frame[3] - frame[1])
    if rng.random() < min(0.95, persona["miss"] * noise * (2 if small else 1)):
        return None
    spread = np.array(persona["spread"])
    if small:  # nobody places an edge better than within about two pixels
        spread = np.maximum(spread, np.tile(2 / extent, 2))
    shift = noise * (np.array(persona["bias"]) + spread * rng.standard_normal(4))
    centre = np.array([x1 + x2, y1 + y2]) / 2 + shift[:2] * extent
    half = extent * np.clip(1 + shift[2:], 0.1, 2) / 2
    xyxy = _clip((*(centre - half), *(centre + half)), frame)
    category = _named(box["category"], min(0.9, persona["confusion"] * noise), categories, rng)
    return None if xyxy is None else {"category": category, "xyxy": list(xyxy)}


def _clip(xyxy: Sequence[float], frame: XYXY) -> XYXY | None:
    dx, dy = frame[:2]
    moved = clip_box([xyxy[0] - dx, xyxy[1] - dy, xyxy[2] - dx, xyxy[3] - dy], frame[2] - dx, frame[3] - dy)
    return None if moved is None else (moved[0] + dx, moved[1] + dy, moved[2] + dx, moved[3] + dy)


def _named(true: str, confusion: float, categories: Sequence[str], rng: Rng) -> str:
    """The true category or a wrong one; three quarters of the errors go to the next in the declared order."""
    others = [c for c in categories if c != true]
    if not others or rng.random() >= confusion:
        return true
    if true in categories and rng.random() < 0.75:
        return categories[(categories.index(true) + 1) % len(categories)]
    return str(others[int(rng.integers(len(others)))])


def _random_box(frame: XYXY, categories: Sequence[str], rng: Rng) -> dict[str, Any]:
    extent = np.array([frame[2] - frame[0], frame[3] - frame[1]])
    size = extent * rng.uniform(0.05, 0.4, 2)
    corner = np.array(frame[:2]) + rng.uniform(0, 1, 2) * (extent - size)
    category = str(categories[int(rng.integers(len(categories)))])
    return {"category": category, "xyxy": [float(v) for v in (*corner, *(corner + size))]}


def _spam(kind: str, frame: XYXY, categories: Sequence[str], rng: Rng) -> list[dict[str, Any]]:
    if kind == "empty":
        return []
    if kind == "whole":
        return [{"category": str(categories[0]), "xyxy": list(frame)}]
    return [_random_box(frame, categories, rng) for _ in range(int(rng.integers(1, 4)))]
