"""Score ``mean``: SageMaker Ground Truth's image confidence, with a say for empty images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gtloop.interfaces import Options, Score


class MeanOptions(Options):
    """Options of ``mean``."""

    empty: Literal["one-minus-below", "zero"] = Field(
        "one-minus-below",
        description="score of an image without objects: 1 - the best confidence below the cut, or 0 "
        "(Ground Truth's rule)",
    )


class Mean(Score):
    """Mean confidence of the objects of an image.

    Ground Truth gives an image without objects 0, so that no empty image is ever labelled by
    machine. The default here is one minus the best confidence that stayed below the cut: an image
    where nothing comes close to being an object is surely empty.
    """

    name = "mean"
    summary = "mean confidence of an image's objects, as Ground Truth does"
    needs = frozenset({"confidence_mean", "n_objects", "below_cut_max"})

    Options = MeanOptions

    def score(self, columns: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        mean = columns["confidence_mean"].astype(np.float64)
        empty = 1.0 - columns["below_cut_max"].astype(np.float64)
        if self.options.empty == "zero":
            empty = np.zeros_like(mean)
        return np.clip(np.where(columns["n_objects"] > 0, mean, empty), 0.0, 1.0)
