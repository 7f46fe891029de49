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
        order = rng.permutation(len(view.rows))
        if "n_objects" not in view.columns:
            return Pick(view.rows[order[:n]], "no predictions yet: drawn uniformly at random")
        count = np.asarray(view.columns["n_objects"], np.float64)[order]
        count = np.where(np.isnan(count), -np.inf, count)
        return Pick(view.rows[order[np.argsort(-count, kind="stable")[:n]]], "most predicted objects")
