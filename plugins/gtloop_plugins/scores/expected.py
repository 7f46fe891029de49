"""Score ``expected``: the quality to be expected, missed objects counted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import Score


class Expected(Score):
    """Sum of the objects' confidences over the number of objects reported and expected to be missed.

    Image mIoU is the sum of matched IoU over reported and missed objects together (design section 5).
    With a confidence that tracks IoU, its numerator is expected to be the sum of confidences, and the
    number missed to be the sum of the confidences below the cut. An image without objects scores
    1 / (1 + that sum): it is right only if none was missed.
    """

    name = "expected"
    summary = "expected quality: confidences over objects found and likely missed"
    needs = frozenset({"confidence_mean", "n_objects", "below_cut_sum"})

    def score(self, columns: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        n = columns["n_objects"].astype(np.float64)
        missed = columns["below_cut_sum"].astype(np.float64)
        found = np.where(n > 0, n * columns["confidence_mean"], 1.0)
        return np.clip(found / (np.maximum(n, 1.0) + missed), 0.0, 1.0)
