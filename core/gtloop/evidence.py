"""What a promise is, what a look sees, and what it finds: plain frozen records of numpy columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gtloop.bounds import Floats, Rule
from gtloop.counts import look_deltas
from gtloop.errors import ConfigError, PluginFault
from gtloop.slices import Slices

Kind = Literal["selective", "dataset"]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Promise:
    """What the user is promised about the machine labels; frozen for a run.

    Attributes:
        kind: ``selective``: mean quality of machine-labelled items >= ``target``. ``dataset``: mean
            loss over all items, human labels counting 0, <= ``max_loss``.
        metric: Name of the quality, for messages.
        target: Least mean quality, in (0, 1).
        delta: Probability that the promise may be broken, over the randomness of the sample.
        rule: Test used (``gtloop.bounds.pool_test``).
        binary: Quality is 0 or 1.
        max_loss: Of ``dataset`` only, in (0, 1).
        looks: How often labels may become final; fixed in advance.
        rungs: Regions tried in a slice, at most.
        min_items: Validation items that a slice needs, at least.
        slices: ``own``: the promise holds in each slice, which has a threshold and a share of delta of its own.
            ``joint``: it holds for all of them together, by one threshold.

    Raises:
        ConfigError: A number is out of its range, or ``max_loss`` is missing or misplaced.
    """

    kind: Kind
    metric: str
    target: float
    delta: float = 0.1
    rule: Rule = "exact"
    binary: bool = False
    max_loss: float | None = None
    looks: int = 1
    rungs: int = 33
    min_items: int = 30
    slices: Literal["joint", "own"] = "joint"

    def __post_init__(self) -> None:
        if self.kind == "dataset" and (self.max_loss is None or not 0 < self.max_loss < 1):
            raise ConfigError(f"promise 'dataset' needs max_loss between 0 and 1, got {self.max_loss}: set max_loss")
        if self.kind == "selective" and self.max_loss is not None:
            raise ConfigError("max_loss belongs to promise 'dataset': remove it, or choose that kind")
        if self.kind == "selective" and not 0 < self.target < 1:
            raise ConfigError(f"target must lie between 0 and 1, got {self.target}")
        if not 0 < self.delta < 1:
            raise ConfigError(f"delta must lie between 0 and 1, got {self.delta}: 0.1 is usual")
        if self.looks < 1 or self.rungs < 1 or self.min_items < 1:
            raise ConfigError("looks, rungs and min_items must be at least 1")

    def delta_of(self, look: int) -> float:
        """Error probability of a stage's look number ``look``, from 1; beyond ``looks``, that of the last."""
        if self.rule == "empirical":
            return self.delta  # spends nothing: it certifies nothing
        return look_deltas(self.delta, self.looks)[min(look, self.looks) - 1]


@dataclass(frozen=True)
class Evidence:
    """One look: validation and pool as columns of equal length m, in any order of rows.

    Attributes:
        score: (m,) image confidence, higher is better; with cross-fitting, its quantile under the
            model that made the prediction.
        quality: (m,) 1 - error in [0, 1] for validation rows, NaN for pool rows.
        order: (m,) keys of the one fixed random order of validation values, drawn from the run's seed; what it says of
            pool rows is not read.
        slice: (m,) names, from predictions only: an array, or ``Slices``.
        exact: (m,) False where a validation value is cross-fitted.
        uniform: A number that is uniform in (0, 1] and drawn apart from all else (``bounds.pool_test``); 1 is valid,
            and certifies little.

    Raises:
        PluginFault: Columns differ in length, a score is not a number, a quality is outside [0, 1].
    """

    score: Floats
    quality: Floats
    order: NDArray[Any]
    slice: Any
    exact: Bools
    uniform: float

    @cached_property
    def slices(self) -> Slices:
        """``slice`` as few names and many numbers."""
        return Slices.of(self.slice)

    def __post_init__(self) -> None:
        m = len(self.score)
        if not 0 < self.uniform <= 1:
            raise PluginFault(f"the uniform number of a look must lie in (0, 1], got {self.uniform}")
        for name in ("quality", "order", "slice", "exact"):
            if len(getattr(self, name)) != m:
                raise PluginFault(f"evidence column {name!r} has {len(getattr(self, name))} rows, 'score' has {m}")
        if bad := int(np.count_nonzero(np.isnan(self.score))):
            raise PluginFault(f"the score plugin gave no number for {bad} of {m} images: choose another --score")
        known = self.quality[~np.isnan(self.quality)]
        if known.size and (known.min() < -1e-9 or known.max() > 1 + 1e-9):
            raise PluginFault("the task plugin gave an error outside [0, 1]: its 'error' must stay inside")


@dataclass(frozen=True)
class SliceResult:
    """What one look found in one slice.

    Attributes:
        slice: Its name; merged slices are joined by "+", all of them are "all".
        members: The slices it is made of.
        n: Validation items, and ``pool``: pool items, at or above ``threshold``; where nothing is
            accepted, those of the region that was tested and failed, or all where nothing was tested.
        s0: Union total of the null hypothesis, and ``p``: p-value, of that region (None: not tested).
        threshold: Lowest accepted score (None: nothing accepted).
        bound: Certified lower bound of the mean quality there; for ``dataset``, of the mean quality
            over all items with human labels counting 1. None where nothing is certified.
        estimate: Plug-in value of what ``bound`` bounds.
        coverage: Share of the slice's pool that is accepted.
        exact: False where cross-fitted values took part.
        rungs: Regions tested.
        delta: Error probability spent.
        why: One sentence: why this much, or why nothing.
    """

    slice: str
    members: tuple[str, ...]
    n: int
    pool: int
    s0: float | None = None
    p: float | None = None
    threshold: float | None = None
    bound: float | None = None
    estimate: float | None = None
    coverage: float = 0.0
    exact: bool = True
    rungs: int = 0
    delta: float = 0.0
    why: str = ""
