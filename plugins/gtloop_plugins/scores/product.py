"""Score ``product``: the chance that nothing is wrong, if every object were judged independently."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import Score


class Product(Score):
    """Product of the objects' confidences times (1 - the best confidence that stayed below the cut).

    The first factor is the chance that every reported object is right, the second that the likeliest
    unreported one is indeed none. It falls with the number of objects, as the chance of an error does;
    an empty image has the second factor only.
    """

    name = "product"
    summary = "chance that all objects are right and none is missed"
    needs = frozenset({"confidence_product", "n_objects", "below_cut_max"})

    def score(self, columns: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        right = np.where(columns["n_objects"] > 0, columns["confidence_product"].astype(np.float64), 1.0)
        return np.clip(right * (1.0 - columns["below_cut_max"].astype(np.float64)), 0.0, 1.0)
