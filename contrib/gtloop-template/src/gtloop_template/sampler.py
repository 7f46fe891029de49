"""Sampler ``template``: images with the most predicted objects first."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from gtloop.interfaces import Options, Pick, PoolView, Sampler
from pydantic import Field


class TemplateSamplerOptions(Options):
    """Options; each needs a description, because ``gtloop plugins show`` prints it."""

    first: Literal["most", "fewest"] = Field("most", description="which images people label first")


class TemplateSampler(Sampler):
    """Ranks by the number of predicted objects; the generator breaks ties.

    Core picks at random in its place until there are predictions.
    """

    name = "template"
    summary = "takes the images with the most predicted objects"
    needs: ClassVar[frozenset[str]] = frozenset({"n_objects"})
    Options = TemplateSamplerOptions

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        """The best ``n`` rows of the view, each once; the whole view where it has fewer."""
        order = rng.permutation(len(view.rows))
        objects = view.columns["n_objects"][order]
        sign = -1 if self.options.first == "most" else 1
        ranked = order[np.argsort(sign * objects, kind="stable")]
        return Pick(view.rows[ranked[:n]], f"{self.options.first} predicted objects")
