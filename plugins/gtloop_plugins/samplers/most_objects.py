"""Sampler ``most-objects``: the images in which the model sees most."""

from __future__ import annotations

import numpy as np

from gtloop.interfaces import Pick, PoolView, Sampler


class MostObjects(Sampler):
    """Ranks by the number of predicted objects, as Ground Truth was seen to do; ties at random.

    An image with many objects teaches more boxes for one request, and takes people longer. Images without a number
    come last.
    """

    name = "most-objects"
    summary = "takes the images with most predicted objects, as Ground Truth did"
    needs = frozenset({"n_objects"})

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return Pick(view.highest(view.columns["n_objects"], n, rng), "most predicted objects")
