"""What a job may come to, by Monte Carlo: the run's own sizes and tests on models that it may turn out to have.

Sizes come from ``gtloop.sizes.make_plan``, tests from ``gtloop.promise.certify``; nothing of either is copied here.
Who is picked between looks is drawn at random, as if the sampler knew nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.keyed import rng
from gtloop.promise import Evidence, Promise, certify, look_deltas
from gtloop.settings import Settings
from gtloop.sizes import Plan, cross_fits, make_plan
from gtloop_plugins.commands.planning.models import Assumed, Model, Pilot, Piloted
from gtloop_plugins.commands.planning.pricing import Pricing

LEVELS = (10, 50, 90)
"""Percentiles of every figure."""
MOST_ROUNDS = 200
"""Looks of one job, at most, where each round has one."""


@dataclass(frozen=True)
class Job:
    """A job to plan.

    Attributes:
        settings: Of the run that is planned.
        promise: What it promises.
        items: Images that can be labelled.
        trainable: Whether its detector learns.
        pricing: What labels cost.
        pilot: A run that tells of the model; None: any from weak to strong.
        seconds: Of an answer; None: the pilot's, if any.
        people: How many label at a time.
    """

    settings: Settings
    promise: Promise
    items: int
    trainable: bool
    pricing: Pricing
    pilot: Pilot | None = None
    seconds: float | None = None
    people: int = 1

    @property
    def if_all_human_usd(self) -> float:
        """Dollars, if people label everything."""
        return self.pricing.cost_usd(self.items, 0, self.items * self.settings.run.workers)

    @property
    def plan(self) -> Plan:
        """The sizes that the run would have."""
        return make_plan(self.settings, self.promise, self.items, self.trainable)


class Course(NamedTuple):
    """How one job went: items that people labelled, that the machine labelled, and its fits by training items."""

    human: int
    machine: int
    fits: tuple[int, ...]


def forecast(job: Job, draws: int) -> list[dict[str, float | None]]:
    """``draws`` jobs as figures; the same for a seed, and the n-th has the same luck whatever the settings."""
    return [_figures(job, rng(job.settings.run.seed, "plan", n), n) for n in range(draws)]


def percentiles(found: list[dict[str, float | None]]) -> dict[str, dict[str, float | None]]:
    """Figure to its 10th, 50th and 90th percentile: ``p10``, ``p50``, ``p90``; None where it is not known."""
    out: dict[str, dict[str, float | None]] = {}
    for name in found[0]:
        known = [v for r in found if (v := r[name]) is not None]
        values = np.percentile(known, LEVELS).tolist() if known else [None] * len(LEVELS)
        out[name] = {f"p{level}": value for level, value in zip(LEVELS, values, strict=True)}
    return out


def _figures(job: Job, chance: np.random.Generator, n: int) -> dict[str, float | None]:
    model: Model
    if job.pilot is None:
        model = Assumed(float(chance.random()), job.promise.binary)
    else:
        model = Piloted.of(job.pilot, chance, job.promise.binary)
    course = (_late if job.settings.loop.certify == "late" else _every_round)(job, model, chance)
    answers = course.human * job.settings.run.workers
    hours = _hours(job, answers, chance)
    computing = _computing(job, course)
    cost = job.pricing.cost_usd(course.human, course.machine, answers, 3600 * (computing or 0.0))
    if_all_human = job.if_all_human_usd
    return {
        "cost_usd": cost,
        "answers": float(answers),
        "people_items": float(course.human),
        "machine_share": course.machine / job.items,
        "saving": 1 - cost / if_all_human if if_all_human else None,
        "hours": hours,
        "wall_hours": None if hours is None else hours / job.people + (computing or 0.0),
    }


def _hours(job: Job, answers: int, chance: np.random.Generator) -> float | None:
    """Hours of people's work."""
    if job.seconds is not None:
        return answers * job.seconds / 3600
    if job.pilot is None or not len(job.pilot.seconds):
        return None
    known = job.pilot.seconds
    return float(answers * chance.choice(known, len(known)).mean() / 3600)


def _computing(job: Job, course: Course) -> float | None:
    """Hours of fits and predictions, at the pilot's pace."""
    if job.pilot is None or job.pilot.predict_s is None:
        return None
    folds = job.settings.promise.cross_fit if crosses(job) else 0  # each takes as many steps as the model that labels
    fits = sum(course.fits) * (1 + folds) * (job.pilot.fit_s or 0.0)
    return (fits + len(course.fits) * job.items * job.pilot.predict_s) / 3600


def crosses(job: Job) -> bool:
    """Whether random training items validate too, at the first look."""
    plan = job.plan
    return cross_fits(job.settings, job.trainable, plan.look_at[0], plan.validation + plan.train)


class _Items:
    """Who is what in one job, (n,) each: pool, validation, training; what is none of them has a machine label."""

    def __init__(self, job: Job, chance: np.random.Generator) -> None:
        self._chance = chance
        plan, n = job.plan, job.items
        order = chance.permutation(n)
        self.validation = np.zeros(n, bool)
        self.training = np.zeros(n, bool)
        self.machine = np.zeros(n, bool)
        self.validation[order[: plan.validation]] = True
        self.training[order[plan.validation : plan.validation + plan.train]] = True

    @property
    def pool(self) -> NDArray[np.bool_]:
        return ~(self.validation | self.training | self.machine)

    def ask(self, n: int) -> None:
        """``n`` random items of the pool go to training."""
        self.training[self._chance.permutation(np.flatnonzero(self.pool))[: max(0, n)]] = True

    @property
    def asked(self) -> int:
        return int((self.validation | self.training).sum())

    def look(self, job: Job, model: Model, delta: float, crossed: bool) -> None:
        """Fit, predict, certify; validation items of what is accepted train from then on."""
        trained = int(self.training.sum())
        seen = model.draw(self._chance, job.items, trained)
        if crossed:  # the models of the folds have seen fewer
            part = round(trained * (1 - 1 / job.settings.promise.cross_fit))
            for column, drawn in zip(seen, model.draw(self._chance, trained, part), strict=True):
                column[self.training] = drawn
        validates = self.validation | self.training if crossed else self.validation
        rows = np.flatnonzero(validates | self.pool)
        q = np.where(validates[rows], seen.quality[rows], np.nan)
        exact = ~self.training[rows]
        uniform = 1 - float(self._chance.random())
        order = self._chance.permutation(len(rows))
        evidence = Evidence(seen.score[rows], q, order, seen.slice[rows], exact, uniform)
        accepted = rows[certify(evidence, job.promise, delta, job.items)[1]]
        found = np.zeros(job.items, bool)
        found[accepted] = True
        self.machine |= found & self.pool
        self.training |= found & self.validation
        self.validation &= ~found

    def course(self, fits: list[int]) -> Course:
        machine = int(self.machine.sum())
        return Course(len(self.machine) - machine, machine, tuple(fits))


def _late(job: Job, model: Model, chance: np.random.Generator) -> Course:
    """Looks where the plan has them; after the last, people label the rest."""
    plan, items, fits = job.plan, _Items(job, chance), []
    shares = look_deltas(job.promise.delta, job.promise.looks)
    for k, due in enumerate(plan.look_at):
        items.ask(due - items.asked)
        if not items.pool.any():
            break
        fits.append(int(items.training.sum()))
        delta = job.promise.delta if job.promise.rule == "empirical" else shares[k]
        items.look(job, model, delta, crossed=k == 0 and crosses(job))
    return items.course(fits)


def _every_round(job: Job, model: Model, chance: np.random.Generator) -> Course:
    """A look after each batch, until nothing is left or no look is; people label the rest."""
    plan, items, fits = job.plan, _Items(job, chance), []
    shares = look_deltas(job.promise.delta, job.promise.looks) if job.promise.rule != "empirical" else ()
    for k in range(min(job.promise.looks, MOST_ROUNDS)):
        if not items.pool.any():
            break
        fits.append(int(items.training.sum()))
        items.look(job, model, shares[k] if shares else job.promise.delta, crossed=False)
        items.ask(plan.batch)
    return items.course(fits)


def actual(status: dict[str, Any], seconds: float | None) -> dict[str, float | None]:
    """What a run came to, in the figures of a forecast; ``seconds``: all that people spent on it."""
    items = status["items"]
    total = items["total"] - items["aliases"] - items["quarantined"]
    return {
        "cost_usd": status["cost_usd"]["total"],
        "answers": float(status["annotations"]),
        "people_items": float(total - items["machine"]),
        "machine_share": items["machine"] / max(1, total),
        "saving": status["saving"],
        "hours": None if seconds is None else seconds / 3600,
        "wall_hours": None,
    }
