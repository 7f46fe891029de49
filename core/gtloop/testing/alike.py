"""When two raw predictions count as the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gtloop.records import Raw
from gtloop.testing.case import Case

TOLERANCE = 1e-3
"""Relative difference of numbers that still counts as the same prediction."""
ALIKE = 0.02
"""Difference of scores, and of labels, that another batch size may make."""


def different(first: Sequence[Raw], second: Sequence[Raw]) -> str:
    """``3 of 10 images`` that are predicted differently; empty where none is."""
    wrong = sum(not close(a, b) for a, b in zip(first, second, strict=True))
    return f"{wrong} of {len(first)} images" if wrong else ""


def alike(case: Case, a: Raw, b: Raw) -> bool:
    """The same up to what the arithmetic of another batch size does to near ties: best score, and labels."""
    if close(a, b):
        return True
    best = [max(r.get("scores") or r.get("probabilities") or [0.0]) for r in (a, b)]
    cut = best[0] / 2
    return abs(best[0] - best[1]) < ALIKE and (
        case.task.error(case.task.label(clipped(a), cut), case.task.label(clipped(b), cut)) < ALIKE
    )


def clipped(raw: Raw) -> Raw:
    """With scores in [0, 1], so that wrong ones fail the check for scores and no other."""
    return {**raw, **{k: np.clip(raw[k], 0, 1).tolist() for k in ("scores", "probabilities") if k in raw}}


def close(a: Any, b: Any) -> bool:
    """Equal structure, and numbers equal up to TOLERANCE."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b))
    return bool(a == b)
