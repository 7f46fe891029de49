"""The cheapest plan from here, after each round: look now, or train on more labels first (``loop.look = "cheapest"``).

As MCAL (Qiu et al., "MCAL: Minimum Cost Human-Machine Active Labeling", ICLR 2023, arXiv 2006.13999) weighs labels for
training against what a better model labels; here what it labels is what the real test is expected to certify. Goes by
out-of-fold losses of *random training* items, of which none validates any more once a sampler has picked; validation
takes no part, so no test is peeked at.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.crossfit import considering
from gtloop.events import Alternative, AnyEvent, Considered
from gtloop.job import Job
from gtloop.keyed import rng
from gtloop.looking import calibrated_folds, delta_of, fold_block, quantile, scored
from gtloop.money import show
from gtloop.picking import asked, batch_size
from gtloop.promise import Evidence, certify
from gtloop.state import POOL

AHEAD = (0, 1, 2, 3, 5, 8)
"""Batches after which a look is weighed."""
DRAWS = 30
"""Looks that are simulated for each."""
FEWEST = 20
"""Random training items out of fold below which nothing is weighed."""

Floats = NDArray[np.float64]


class Curve(NamedTuple):
    """Mean out-of-fold loss falls as ``size ** -slope``: a power law through all rounds so far."""

    slope: float

    def left(self, now: float, later: float) -> float:
        """Share of the loss of now that is left with more examples."""
        return float((later / now) ** -self.slope)


def consideration_due(job: Job) -> bool:
    """Whether this round is not weighed yet, and may end in a look that is not due by itself."""
    return considering(job) and job.state.facts.considered_at < job.state.turns


def latest_look(job: Job) -> int:
    """Human labels at which a look is made whatever is to be expected: the cap on exploration."""
    planned = job.plan.look_at[job.state.stage_looks]
    return planned + round(job.settings.loop.explore * len(job.items)) if considering(job) else planned


def consider(job: Job) -> list[AnyEvent]:
    """Weigh the plans and choose the cheapest; the first of equals, which is to look sooner."""
    s = job.state
    model, seen = s.facts.model, _out_of_fold(job)
    assert model is not None
    quality = seen.quality
    loss = float(np.mean(1 - quality)) if len(quality) else 1.0
    points = [*s.facts.curve, (model.examples, max(loss, 1e-6))]
    curve = _fit(points)
    common = {"iteration": s.iteration, "turn": s.turns, "examples": model.examples, "loss": round(loss, 6)}
    if curve is None or len(quality) < FEWEST:
        why = "train on: it is not known yet how fast the model learns"
        return [Considered(**common, choice="train", plans=(), why=why)]
    plans = tuple(_plan(job, k, seen, curve) for k in _within_cap(job))
    best = min(plans, key=lambda p: (p.cost, p.labels))
    return [Considered(**common, choice="train" if best.labels else "look", plans=plans, why=_why(job, plans[0], best))]


def _within_cap(job: Job) -> list[int]:
    """Numbers of batches that leave something to label, and do not go beyond the cap."""
    batch, left = batch_size(job), latest_look(job) - asked(job.state)
    return [k for k in AHEAD if k == 0 or (k * batch < job.state.count(POOL) and (k - 1) * batch < left)]


class Seen(NamedTuple):
    """Scores as quantiles of the pool under each model: of out-of-fold items, with their quality, and of the pool."""

    score: Floats
    quality: Floats
    pool: Floats


def _out_of_fold(job: Job) -> Seen:
    """Random training items under models that never saw them."""
    model, (own, folds) = job.state.facts.model, calibrated_folds(job)
    if not folds or model is None or model.predicted is None:
        return Seen(*(np.zeros(0) for _ in range(3)))
    blocks = [fold_block(job, *fold) for fold in folds]
    rows, ranked, quality = (np.concatenate([b[i] for b in blocks]) for i in (0, 2, 3))
    drawn = job.state.columns["random"][rows]
    _, pool, _ = scored(job, model.predicted, job.state.rows(POOL), own)
    return Seen(ranked[drawn], quality[drawn], quantile(pool, pool))


def _fit(points: list[tuple[int, float]]) -> Curve | None:
    """The power law through (examples, loss); None from one size only."""
    size, loss = np.array(points, np.float64).T
    if len(np.unique(size)) < 2:
        return None
    slope = -np.polyfit(np.log(size), np.log(loss), 1)[0]
    return Curve(float(np.clip(slope, 0.0, 1.0)))


def _plan(job: Job, batches: int, seen: Seen, curve: Curve) -> Alternative:
    """What a look after so many batches is expected to label, and what all of it costs from here."""
    s, model = job.state, job.state.facts.model
    assert model is not None
    labels = batches * batch_size(job)
    pool = s.count(POOL) - labels
    left = curve.left(model.examples, model.examples + labels)
    share = float(np.mean([_simulated(job, draw, pool, seen, left) for draw in range(DRAWS)]))
    person, machine = s.rates.request(job.settings.run.workers), s.rates.machine_fee
    if not person:  # people cost nothing: their labels count
        person, machine = 1, 0
    cost = labels * person + pool * ((1 - share) * person + share * machine)
    return Alternative(labels=labels, share=round(share, 4), cost=round(cost))


def _simulated(job: Job, draw: int, pool: int, seen: Seen, left: float) -> float:
    """Share of a pool that a look certifies, with validation drawn from out-of-fold items of a model that is better."""
    chance = rng(job.seed, "consider", job.state.turns, draw, pool)
    n = len(job.state.validation_rows())
    drawn = chance.integers(len(seen.score), size=n)
    y = 1 - (1 - seen.quality[drawn]) * ((chance.random(n) < left) if job.promise.binary else left)
    everything = Evidence(
        np.concatenate([seen.score[drawn], chance.choice(seen.pool, pool, replace=False)]),
        np.concatenate([y, np.full(pool, np.nan)]),
        chance.permutation(n + pool),
        np.full(n + pool, "all"),
        np.ones(n + pool, bool),
        1 - chance.random(),
    )
    delta = delta_of(job, job.state.facts.looks + 1)
    _, accepted = certify(everything, job.promise, delta, job.state.promised_items())
    return float(accepted[n:].mean())


def _why(job: Job, now: Alternative, best: Alternative) -> str:
    free = not job.state.rates.request(job.settings.run.workers)

    def put(plan: Alternative) -> str:
        cost = f"{plan.cost} more labels" if free else show(plan.cost)
        return f"{cost} from here, {plan.share:.0%} of the rest by machine"

    if not best.labels:
        return f"look now: expected {put(now)}; more training saves nothing"
    return f"train on {best.labels} more labels before a look: expected {put(best)}; looking now: {put(now)}"
