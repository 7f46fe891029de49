"""Sampler ``uncertainty``: the images that the model is least sure of.

Least confidence, margin and entropy are the classic measures of Settles, Active Learning Literature
Survey (2009), section 3.1.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from gtloop.interfaces import Options, Pick, PoolView, Sampler


class Measure(NamedTuple):
    """Which column a measure reads, and whether a high value there means uncertain (+1) or sure (-1)."""

    column: str
    sign: int
    reason: str


MEASURES = {
    "least-confidence": Measure("score", -1, "lowest confidence score"),
    "margin": Measure("margin", -1, "smallest margin between the two likeliest labels"),
    "entropy": Measure("entropy", +1, "highest entropy of the prediction"),
}


class UncertaintyOptions(Options):
    """Options of ``uncertainty``."""

    measure: Literal["least-confidence", "margin", "entropy"] = Field(
        "least-confidence",
        description="what uncertain means; margin and entropy need a task that has that feature, "
        "else the score is used",
    )


class Uncertainty(Sampler):
    """Ranks by one measure; ties are broken by the random generator, images without a value come last."""

    name = "uncertainty"
    summary = "takes the images that the model is least sure of"
    needs = frozenset({"score"})

    Options = UncertaintyOptions

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        wanted = MEASURES[self.options.measure]
        least = MEASURES["least-confidence"]
        measure = wanted if wanted.column in view.columns else least
        if measure.column not in view.columns:
            return Pick(rng.permutation(view.rows)[:n], "no predictions yet: drawn uniformly at random")
        reason = measure.reason
        if measure is not wanted:
            reason += f" (this task has no feature {wanted.column})"
        return Pick(view.highest(measure.sign * view.columns[measure.column], n, rng), reason)
