"""The cheapest plan from here, after each round: look now, or train on more labels first (``loop.look = "cheapest"``).

As MCAL (Qiu et al., "MCAL: Minimum Cost Human-Machine Active Labeling", ICLR 2023, arXiv 2006.13999) weighs labels for
training against what a better model labels; here what it labels is what the real test is expected to certify. Goes by
out-of-fold losses of *random training* items, of which none validates any more once a sampler has picked; validation
lends its scores only, mixed with the pool's, so no test is peeked at.

Pool and validation lose what the sampler reaches, so the random items are thinned alike, round by round: those that it
would have taken, had they been in the pool, say nothing about what is left. A later look is simulated on what the
sampler's ranking of now leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.calibrating import Calibration
from gtloop.crossfit import considering
from gtloop.events import Alternative, AnyEvent, Considered, FileRef
from gtloop.facts import Facts
from gtloop.gathering import calibrated_folds, fold_block, quantile, scored
from gtloop.interfaces import Rows
from gtloop.job import Job
from gtloop.keyed import rng
from gtloop.money import show
from gtloop.picking import asked, batch_size
from gtloop.predictions import NO_ROWS
from gtloop.promise import Evidence, certify
from gtloop.ranking import candidates, rank
from gtloop.state import MACHINE, POOL

AHEAD = (0, 1, 2, 3, 5, 8)
"""Batches after which a look is weighed."""
DRAWS = 10
"""Looks that are simulated for each of these and each slope."""
FEWEST = 10
"""Random training items that are like the pool below which nothing is weighed."""
USUAL, SPREAD = 0.35, 0.2
"""Slope of a learning curve before any of it is seen, and its standard deviation: a range that holds most of those that
Hestness et al. report ("Deep Learning Scaling is Predictable, Empirically", arXiv 1712.00409), and steeper ones."""
SLOPES = (-1.0, 0.0, 1.0)
"""Standard deviations off the expected slope at which each plan is weighed."""
NEAR = 15
"""Random items nearest by score, from whose losses one is drawn."""
WORTH = 0.4
"""Share of the rest that a look is to label, or it waits: it can't be taken back, and a small share means that it may
well fail altogether. Chosen on two models of digits, seeds from 100 on (``benchmarks/look.py``)."""
ALIKE = 0.5
"""Correlation of the mean losses of two rounds: they are of the same items."""

Floats = NDArray[np.float64]


class Curve(NamedTuple):
    """Mean out-of-fold loss falls as ``size ** -slope``, a power law: the slope with its standard deviation."""

    slope: float
    spread: float

    def left(self, now: float, later: float, deviations: float = 0.0) -> float:
        """Share of the loss at size ``now`` that is left at size ``later``."""
        return float((later / now) ** -np.clip(self.slope + deviations * self.spread, 0.0, 1.0))


class Seen(NamedTuple):
    """What fold models lost where they never saw the label; scores are quantiles of the pool's.

    Attributes:
        random: Random training items among them, and ``loss``: their mean loss.
        score: (n,) of those of them that are like the pool, sorted, and ``losses``: what was lost there.
        size: Examples that a fold's model was fitted on, on average.
    """

    random: int
    loss: float
    score: Floats
    losses: Floats
    size: float


Folds = list[tuple[Facts.Model, Rows, Calibration]]
"""As ``looking.calibrated_folds`` gives them."""


def consideration_due(job: Job) -> bool:
    """Whether this round is not weighed yet, and may end in a look that is not due by itself."""
    weighed = job.state.facts.considered
    return considering(job) and (weighed is None or weighed.turn < job.state.turns)


def look_chosen(job: Job) -> bool:
    """Whether this round was weighed, and to look came out as the cheapest."""
    weighed = job.state.facts.considered
    return considering(job) and weighed is not None and (weighed.turn, weighed.choice) == (job.state.turns, "look")


def latest_look(job: Job) -> int:
    """Human labels at which a look is made whatever is to be expected: the cap on exploration."""
    planned = job.plan.look_at[job.state.stage_looks]
    return planned + round(job.settings.loop.explore * len(job.items)) if considering(job) else planned


def consider(job: Job) -> list[AnyEvent]:
    """Weigh the plans and choose: to look only where that is no dearer than the best that waiting is expected to bring.

    What it brings depends on how fast the model learns, which is seen before the next choice: so the best plan is
    found for each slope, and the mean of these is what a look has to beat.
    """
    s, model = job.state, job.state.facts.model
    assert model is not None
    own, folds = calibrated_folds(job)
    gone = _thinned(job, folds, _thinned_before(job), 0)
    seen = _seen(job, folds, gone)
    common: dict[str, Any] = {
        "iteration": s.iteration,
        "turn": s.turns,
        "examples": model.examples,
        "loss": round(seen.loss, 6),
    }
    common["thinned"] = _write(job, _thinned(job, folds, gone, batch_size(job)))
    if len(seen.score) < FEWEST:
        why = "train on: too few random images are left that are like the pool to say what a look would bring"
        return [Considered(**common, choice="train", plans=(), why=why)]
    curve = fitted_curve([*s.facts.curve, (model.examples, max(seen.loss, 1e-6))], seen.random)
    union = _left_later(job, own)
    table = [[_plan(job, k, score, seen, curve, z) for z in SLOPES] for k, score in union.items()]
    plans = tuple(_expected(row) for row in table)
    waiting = float(np.mean([min(p.cost for p in column) for column in zip(*table[1:], strict=True)] or [np.inf]))
    look = plans[0].cost <= waiting and (plans[0].share >= WORTH or len(plans) == 1)
    best = plans[0] if look else min(plans[1:], key=lambda p: (p.cost, p.labels))
    return [Considered(**common, choice="look" if look else "train", plans=plans, why=_why(job, plans, best))]


# ---------------------------------------------------------------------------------------- what is seen


def _thinned_before(job: Job) -> Rows:
    """Random training rows that the sampler would have taken, as far as earlier rounds know."""
    weighed = job.state.facts.considered
    if weighed is None or weighed.thinned is None:
        return NO_ROWS
    rows = np.asarray(job.store.read(weighed.thinned, ["row"])["row"], np.int32)
    still: Rows = rows[job.state.columns["random"][rows]]
    return still


def _thinned(job: Job, folds: Folds, gone: Rows, batch: int) -> Rows:
    """``gone`` and what else the sampler would take, so that it has as large a share of the random rows as of the rest.

    That is its share once ``batch`` more are picked. What it would take is what it ranks first by the fold models.
    """
    s = job.state
    picked = batch + sum(b.count for b in s.stage_batches.values() if b.phase == "active")
    rest = s.count(POOL) + len(s.validation_rows()) + s.count(MACHINE) - batch
    random = [rows[s.columns["random"][rows]] for _, rows, _ in folds]
    left = [np.setdiff1d(rows, gone).astype(np.int32) for rows in random]
    ends, total = np.cumsum([0, *map(len, left)]), sum(map(len, random))
    more = max(0, round(total * picked / max(picked + rest, 1)) - (total - int(ends[-1])))
    numbers = np.diff(np.round(more * ends / max(ends[-1], 1))).astype(int).tolist()
    taken = [rank(job, rows, n, m.predicted)[0] for (m, *_), rows, n in zip(folds, left, numbers, strict=True) if n]
    return np.unique(np.concatenate([gone, *taken])).astype(np.int32)


def _write(job: Job, rows: Rows) -> FileRef | None:
    return job.store.write(f"looks/thinned-{job.state.turns:04d}.parquet", {"row": rows}) if len(rows) else None


def _seen(job: Job, folds: Folds, gone: Rows) -> Seen:
    """Random training items under models that never saw them, without those that are ``gone``."""
    if not folds:
        return Seen(0, 1.0, np.zeros(0), np.zeros(0), 1.0)
    blocks = [fold_block(job, *fold) for fold in folds]
    rows, ranked, quality = (np.concatenate([b[i] for b in blocks]) for i in (0, 2, 3))
    drawn = job.state.columns["random"][rows]
    kept = np.flatnonzero(drawn & ~np.isin(rows, gone))
    kept = kept[np.argsort(ranked[kept], kind="stable")]
    mean = float(1 - quality[drawn].mean()) if drawn.any() else 1.0
    size = float(np.mean([m.examples for m, *_ in folds]))
    return Seen(int(drawn.sum()), mean, ranked[kept], 1 - quality[kept], size)


def _left_later(job: Job, calibration: Calibration) -> dict[int, Floats]:
    """Scores of pool and validation that the sampler leaves after each number of batches, by its ranking of now.

    Numbers of batches are those that leave something to label, and do not go beyond the cap.
    """
    s, batch, model = job.state, batch_size(job), job.state.facts.model
    assert model is not None
    assert model.chosen_from is not None
    pool, left = s.rows(POOL), latest_look(job) - asked(s)
    numbers = [k for k in AHEAD if k == 0 or (k * batch < len(pool) and (k - 1) * batch < left)]
    union, share = candidates(job, np.union1d(pool, s.validation_rows())), _sampled(job)
    rows, score, _ = scored(job, model.chosen_from, union, calibration)
    score = quantile(score, score[np.isin(rows, pool)])
    taken = {k: round(share * k * batch) for k in numbers}
    first = rank(job, union, taken[numbers[-1]])[0] if taken[numbers[-1]] else NO_ROWS
    return {k: score[~np.isin(rows, first[:n])] for k, n in taken.items()}


def _sampled(job: Job) -> float:
    """Share of pool and validation that a sampler chooses from: what is weighed stands for all of it."""
    return min(1.0, job.settings.loop.candidates / (job.state.count(POOL) + len(job.state.validation_rows())))


# ------------------------------------------------------------------------------------- what is expected


def fitted_curve(points: list[tuple[int, float]], n: int) -> Curve:
    """The power law through (examples, mean loss of ``n`` items), drawn towards the usual slope."""
    size, loss = np.log(np.array(points, np.float64)).T
    about = size - size.mean()
    if not (spread := float(about @ about)):
        return Curve(USUAL, SPREAD)
    mean = np.clip(np.exp(loss), 0.5 / n, 1 - 0.5 / n)
    noise = float(np.mean((1 - mean) / (mean * n))) * (1 - ALIKE)  # variance of the logarithm of a mean of 0/1 losses
    known, before = spread / noise, SPREAD**-2
    slope = (known * float(-(about @ loss)) / spread + before * USUAL) / (known + before)
    return Curve(slope, (known + before) ** -0.5)


def _plan(job: Job, batches: int, score: Floats, seen: Seen, curve: Curve, deviations: float) -> Alternative:
    """What a look after so many batches is expected to label, and what all of it costs from here.

    ``score`` is that of the pool and validation items that are left by then.
    """
    s, model = job.state, job.state.facts.model
    assert model is not None
    labels = batches * batch_size(job)
    left = curve.left(seen.size, model.examples + labels, deviations)
    share = float(np.mean([_simulated(job, draw, score, seen, left) for draw in range(DRAWS)]))
    person, machine = s.rates.request(job.settings.run.workers), s.rates.machine_fee
    if not person:  # people cost nothing: their labels count
        person, machine = 1, 0
    pool = s.count(POOL) - labels
    cost = labels * person + pool * ((1 - share) * person + share * machine)
    return Alternative(labels=labels, share=round(share, 4), cost=round(cost))


def _expected(plans: list[Alternative]) -> Alternative:
    share, cost = (float(np.mean([getattr(p, name) for p in plans])) for name in ("share", "cost"))
    return Alternative(labels=plans[0].labels, share=round(share, 4), cost=round(cost))


def _simulated(job: Job, draw: int, score: Floats, seen: Seen, left: float) -> float:
    """Share of the pool that a look certifies, where chance says which of pool and validation validates.

    Draws of one number are alike in all plans, so that these differ by what they are, not by luck.
    """
    chance = rng(job.seed, "consider", job.state.turns, draw)
    m = len(score)
    n = min(len(job.state.validation_rows()), m - 1)
    at = chance.permutation(m)[:n]
    near = min(NEAR, len(seen.score))
    first = np.searchsorted(seen.score, score[at]) - near // 2
    loss = seen.losses[np.clip(first, 0, len(seen.score) - near) + chance.integers(near, size=n)]
    loss = loss * ((chance.random(n) < left) if job.promise.binary else left)
    quality = np.full(m, np.nan)
    quality[at] = 1.0 - loss
    order, one = chance.permutation(m), np.full(m, "all")
    everything = Evidence(score, quality, order, one, np.ones(m, bool), 1 - chance.random())
    delta = job.promise.delta_of(job.state.stage_looks + 1)
    total = round(_sampled(job) * job.state.promised_items())
    _, accepted = certify(everything, job.promise, delta, total)
    return float(accepted[np.isnan(quality)].mean())


def _why(job: Job, plans: Sequence[Alternative], best: Alternative) -> str:
    now, free = plans[0], not job.state.rates.request(job.settings.run.workers)

    def put(plan: Alternative) -> str:
        cost = f"{plan.cost} more labels" if free else show(plan.cost)
        return f"{cost} from here, {plan.share:.0%} of the rest by machine"

    if len(plans) == 1:
        return f"look now: expected {put(now)}; no more training was weighed, as a batch would take all that is left"
    if not best.labels:
        return f"look now: expected {put(now)}; more training saves nothing"
    why = f"train on, {best.labels} more labels before a look: expected {put(best)}; looking now: {put(now)}"
    if best.cost <= now.cost:
        return why
    return f"{why}, but " + (
        "so few may well be none" if now.share < WORTH else "if the model learns fast, waiting pays"
    )
