"""Curves among the figures of a fit: what a figure was at some epochs, as plain numbers by ``NAME@EPOCH``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

POINTS = 60
"""Points that are kept of a curve: the figures of a fit are in an event, and events are small."""


def curve(name: str, points: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Figures that hold a curve for ``curves`` to read back.

    Args:
        name: Of the figure, such as ``loss``.
        points: (epoch, value), in order; of many, ``POINTS`` are kept, the first and the last among them.
    """
    kept = np.unique(np.linspace(0, len(points) - 1, min(len(points), POINTS)).round().astype(int)) if points else ()
    return {f"{name}@{points[i][0]:.6g}": float(points[i][1]) for i in kept}


def curves(figures: Mapping[str, float]) -> dict[str, list[tuple[float, float]]]:
    """Name to (epoch, value) by rising epoch, of the curves among the figures of a fit."""
    found: dict[str, list[tuple[float, float]]] = {}
    for key, value in figures.items():
        name, at, epoch = key.rpartition("@")
        with suppress(ValueError):  # of a name that happens to have the sign
            if at:
                found.setdefault(name, []).append((float(epoch), value))
    return {name: sorted(points) for name, points in found.items() if points}
