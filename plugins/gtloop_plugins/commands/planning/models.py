"""Models that a job may turn out to have: how good their labels are, and how well their score knows it.

Without a pilot a model is anything from weak to strong. Its items have qualities of a Beta distribution (or right and
wrong ones), tied to the score by a Gaussian copula, as in ``benchmarks/promise.py``, whose weak and strong models match
``statistics.md`` sections 3.5 and 3.6. With a pilot its own pairs of score and quality are drawn again (a bootstrap),
and their errors move along a learning curve to the number of training items that is planned.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gtloop.errors import RunError
from gtloop.recheck import evidence_of, evidence_table, past_looks
from gtloop_plugins.commands.planning.pricing import Work, work_of

if TYPE_CHECKING:
    from gtloop.opened import Run

Floats = NDArray[np.float64]

WEAK, STRONG = 0.425, 0.563
"""Mean quality of the two models."""
SPREAD = 0.27
"""Standard deviation of quality."""
TIE = 0.134
"""Covariance of quality and standardised score."""
RIGHT = (0.75, 0.93)
"""Accuracy of a weak and of a strong model of 0/1 quality."""
TIE_01 = 0.7
"""Correlation of the score with what decides whether a 0/1 label is right."""
GRID = 2001
TRUSTED = 2
"""One in so many of a pilot's items is drawn: its model is one of many that a job may have, and a draw of all items
gives ranges that are too narrow (docs/planning.md has the measurement)."""


class Drawn(NamedTuple):
    """Items as a model sees them: (n,) scores, qualities of its labels, and names of slices."""

    score: Floats
    quality: Floats
    slice: NDArray[np.str_]


class Model(Protocol):
    """A model that a job may have."""

    def draw(self, chance: np.random.Generator, n: int, trained: int) -> Drawn:
        """``n`` items, by a model of so many training items."""


class Assumed(NamedTuple):
    """A model between weak (0) and strong (1), as strong as that at every look."""

    strength: float
    binary: bool

    def draw(self, chance: np.random.Generator, n: int, trained: int) -> Drawn:
        from scipy.stats import beta, norm

        score, noise = chance.standard_normal(n), chance.standard_normal(n)
        if self.binary:
            right = RIGHT[0] + self.strength * (RIGHT[1] - RIGHT[0])
            latent = TIE_01 * score + math.sqrt(1 - TIE_01**2) * noise
            return Drawn(score, (latent > norm.ppf(1 - right)).astype(float), np.full(n, "all"))
        mean = WEAK + self.strength * (STRONG - WEAK)
        k = mean * (1 - mean) / SPREAD**2 - 1
        tie = TIE / SPREAD
        at = norm.cdf(tie * score + math.sqrt(1 - tie**2) * noise)
        levels = np.linspace(0, 1, GRID)
        quality = np.interp(at, levels, beta.ppf(levels, mean * k, (1 - mean) * k))
        return Drawn(score, quality, np.full(n, "all"))


class Pilot(NamedTuple):
    """What a run has shown of its model.

    Attributes:
        items: Validation items of its last look.
        trained: Training items of the models that they are of, on average where there are folds.
        losses: Training items of each model to the losses of its validation items, to fit a learning curve to.
        work: What people's answers were.
        fit_s: Seconds of a fit for each training item; None where none was fitted.
        predict_s: Seconds of a prediction for each item.
    """

    items: Drawn
    trained: int
    losses: dict[int, Floats]
    work: list[Work]
    fit_s: float | None
    predict_s: float | None

    @property
    def seconds(self) -> Floats:
        """(k,) active seconds of the answers that took any."""
        return np.array([s for _, s in self.work if s > 0])


class Piloted(NamedTuple):
    """A model like that of a pilot: one draw of what it may be."""

    items: Drawn
    trained: int
    slopes: tuple[float, float]
    binary: bool

    @classmethod
    def of(cls, pilot: Pilot, chance: np.random.Generator, binary: bool) -> Piloted:
        """Draw the pilot's items again, and with them its learning curve."""
        n = len(pilot.items.score)
        at = chance.integers(n, size=max(1, n // TRUSTED))
        again = {n: chance.choice(loss, len(loss)) for n, loss in pilot.losses.items()}
        items = Drawn(pilot.items.score[at], pilot.items.quality[at], pilot.items.slice[at])
        return cls(items, pilot.trained, learning_curve(again), binary)

    def draw(self, chance: np.random.Generator, n: int, trained: int) -> Drawn:
        at = chance.integers(len(self.items.score), size=n)
        score = self.items.score[at] + 1e-6 * chance.standard_normal(n)  # equal scores are told apart by nothing
        loss = (1 - self.items.quality[at]) * error_ratio(self.slopes, self.trained, trained)
        quality = (chance.random(n) >= loss).astype(float) if self.binary else 1 - np.clip(loss, 0, 1)
        return Drawn(score, quality, self.items.slice[at])


def learning_curve(losses: dict[int, Floats]) -> tuple[float, float]:
    """(gamma, kappa) of a truncated power law ``error = a n^-gamma exp(-kappa n)``, both at least 0.

    MCAL (Qiu, Chintalapudi and Govindan, ICLR 2023; ``statistics.md`` 2.1), fitted to log errors by non-negative least
    squares, weighed by the number of items; kappa takes three sizes. (0, 0) where all models had as many items: nothing
    is known then. gamma is at most 1: errors fall no faster than the number of items grows.
    """
    from scipy.optimize import nnls

    known = {n: max(float(loss.mean()), 0.5 / len(loss)) for n, loss in losses.items() if n > 0 and len(loss)}
    if len(known) < 2:
        return 0.0, 0.0
    n = np.array(sorted(known), float)
    weight = np.sqrt([len(losses[int(k)]) for k in n])
    columns = [np.ones(len(n)), -np.ones(len(n)), -np.log(n)]  # the constant may be of either sign
    if len(known) > 2:
        columns.append(-n)
    found, _ = nnls(np.stack(columns, 1) * weight[:, None], np.log([known[int(k)] for k in n]) * weight)
    return min(1.0, float(found[2])), float(found[3]) if len(known) > 2 else 0.0


def error_ratio(slopes: tuple[float, float], before: int, after: int) -> float:
    """How errors change from ``before`` training items to ``after``; the exponential part only between, not beyond."""
    gamma, kappa = slopes
    if before <= 0 or after <= 0:
        return 1.0
    return float((after / before) ** -gamma * math.exp(-kappa * min(0, after - before)))


def read_pilot(run: Run) -> Pilot:
    """What a run shows of its model, from the evidence of its looks.

    Raises:
        RunError: It has no look yet, or no validation item.
    """
    losses: dict[int, list[Floats]] = {}
    last: tuple[Drawn, int] | None = None
    for past in past_looks(run):
        model = past.before.facts.model
        if not past.event.certificates or model is None:
            continue
        e = evidence_of(evidence_table(run, past.event.certificates[0]), past.event.certificates[0].uniform)
        validates = ~np.isnan(e.quality)
        folds = [f.examples for f in past.before.facts.folds.values()]
        for mask, size in ((validates & e.exact, model.examples), (validates & ~e.exact, round(np.mean(folds or [0])))):
            if mask.any():
                losses.setdefault(size, []).append(1 - e.quality[mask])
        sizes = np.where(e.exact, model.examples, np.mean(folds or [0]))
        seen = Drawn(e.score[validates], e.quality[validates], np.asarray(e.slice[validates], np.str_))
        last = (seen, round(float(sizes[validates].mean())) if validates.any() else 0)
    if last is None or not len(last[0].score):
        raise RunError(f"{run.root} has no look with validation items yet: it tells nothing about a model")
    fitted = [e.event for e in run.events() if e.event.type == "model-fitted" and e.event.fold is None]
    predicted = [e.event for e in run.events() if e.event.type == "items-predicted"]
    fits = [e.seconds / e.examples for e in fitted if e.seconds and e.examples]
    predictions = [e.seconds / e.rows for e in predicted if e.seconds and e.rows]
    return Pilot(
        *last,
        {n: np.concatenate(parts) for n, parts in losses.items()},
        work_of(run, run.task()),
        float(np.median(fits)) if fits else None,
        float(np.median(predictions)) if predictions else None,
    )
