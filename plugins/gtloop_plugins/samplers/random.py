"""Sampler ``random``: every candidate is as likely as any other."""

from __future__ import annotations

import numpy as np

from gtloop.interfaces import Pick, PoolView, Sampler


class Random(Sampler):
    """The baseline: a uniform draw without replacement."""

    name = "random"
    summary = "draws images uniformly: the baseline that others must beat"

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return Pick(rng.permutation(view.rows)[:n], "drawn uniformly at random")
