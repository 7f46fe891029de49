"""How much memory something takes, counted."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any


def bytes_a_row(work: Callable[[int], Any]) -> float:
    """Most bytes of Python's memory that ``work`` holds for each more row."""
    peaks = []
    work(100)  # imports, caches
    for n in (2_000, 10_000):
        tracemalloc.start()
        work(n)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return (peaks[1] - peaks[0]) / 8_000
