"""Verify and correct instead of draw: training items are shown the machine's label, where that is cheaper.

Where a model has a prediction of an item that a sampler picked, or that nobody will certify any more, people may be
shown it (``people.proposals``). What validates never is, nor what may validate by cross-fitting, nor tests of people,
nor what somebody found wrong. A share of the rest is drawn from nothing all the same (``people.blind``): how far these
labels are from the machine's, against those of people who saw it, is what seeing it does to people.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING, cast

import numpy as np

from gtloop.errors import blame
from gtloop.events import Phase
from gtloop.job import Job
from gtloop.keyed import rng
from gtloop.predictions import raws
from gtloop.records import Mode, known_seconds

if TYPE_CHECKING:
    from gtloop.picking import Wanted

PRIOR = {"adjust": 0.6, "verify": 0.35}
"""Time of an answer, in that of drawing: editing 2.2 s against 3.7 s (Snapper, IUI 2024), and a box judged in 9.0 s
that is drawn in 25.5 s (Su, Deng and Fei-Fei, HCOMP 2012)."""
ENOUGH = 20
"""Answers of a mode from which on its own time counts."""
WRONG, WRONG_WEIGHT = 0.5, 2.0
"""Share of the machine's labels that need correcting, before people have said so, and the labels that it counts for."""


def proposed(job: Job, phase: Phase, wanted: Wanted) -> tuple[Wanted, str]:
    """A batch with the machine's labels to show, where they are to be shown; and a sentence about it."""
    people, model = job.settings.people, job.state.facts.model
    if people.proposals == "never" or phase not in ("active", "rest") or model is None or model.chosen_from is None:
        return wanted, ""
    mode, why = choose(job)
    if mode == "draw":
        return wanted, why
    train = np.array([purpose == "train" for purpose in wanted.purposes], np.bool_)
    task, cut = job.plugins.task, job.state.facts.cut or job.cut
    found = dict(raws(job, model.chosen_from, wanted.rows[train]))
    with blame("task", task.name, "label"):
        labels = [
            task.label(found[row], cut) if own and row in found else None
            for row, own in zip(wanted.rows.tolist(), train.tolist(), strict=True)
        ]
    chance = rng(job.seed, "proposals", len(job.state.facts.batches) + 1).random(len(labels))
    modes: list[Mode] = [
        "draw" if label is None or c < people.blind else mode for label, c in zip(labels, chance, strict=True)
    ]
    return wanted._replace(modes=modes, proposals=labels), why


def choose(job: Job) -> tuple[Mode, str]:
    """How training items are asked: the mode that is cheapest, in dollars first, then in people's time; and why."""
    able = [m for m in PRIOR if m in job.plugins.annotator.modes]
    if not able:
        return "draw", ""
    costs = expected(job)
    modes = able if job.settings.people.proposals == "always" else ["draw", *able]
    best = min(modes, key=lambda m: costs[m])
    told = ", ".join(f"{m} {costs[m][1]:.1f} s" for m in ("draw", *able))
    verb = {"draw": "people draw from nothing", "adjust": "people correct", "verify": "people judge"}[best]
    return cast(Mode, best), f"{verb}{'' if best == 'draw' else ' the labels of the model'} (expected: {told})"


def expected(job: Job) -> dict[str, tuple[int, float]]:
    """Mode to what a label by one person is expected to cost: micro-dollars, and seconds.

    A label that is found wrong is drawn afterwards, and is paid for twice.
    """
    times = action_times(job)
    draw = times["draw"]
    known = job.state.facts.proposed.values()
    judged = sum(p.requests - p.unsure for p in known if p.shown)
    wrong = sum(p.wrong + p.changed for p in known if p.shown)
    again = (wrong + WRONG * WRONG_WEIGHT) / (judged + WRONG_WEIGHT)
    price = {mode: _price(job, seconds) for mode, seconds in times.items()}
    return {
        "draw": (price["draw"], draw),
        "adjust": (price["adjust"], times["adjust"]),
        "verify": (round(price["verify"] + again * price["draw"]), times["verify"] + again * draw),
    }


def _price(job: Job, seconds: float) -> int:
    """What an answer costs that takes so long; objects cost the same however they came about, and are left out."""
    prices = job.state.prices
    if job.state.facts.quote is not None or not prices.variable:
        return job.state.rates.answers(1)
    pay = prices.answer + prices.extra(0, seconds)
    return pay + prices.fee(pay)


def action_times(job: Job) -> dict[str, float]:
    """Mode to the median active seconds of an answer; by ``PRIOR`` where there are not ``ENOUGH`` of them."""
    modes: dict[str, str] = {}
    for batch in job.state.facts.batches.values():
        if batch.phase not in ("review", "audit"):
            t = job.store.read(batch.requests, ["request", "mode"])
            modes |= dict(zip(t["request"], t.get("mode", ["draw"] * len(t["request"])), strict=True))
    found: dict[str, list[float]] = {"draw": [], **{m: [] for m in PRIOR}}
    for ref in job.state.facts.answer_files:
        t = job.store.read(ref, ["request", "outcome", "active_seconds"])
        for rid, outcome, seconds in zip(t["request"], t["outcome"], t["active_seconds"], strict=True):
            if outcome != "declined" and rid in modes:
                found[modes[rid]].append(known_seconds(float(seconds)))
    return _shrunk(found)


def _shrunk(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    draw = median(seconds["draw"]) if seconds["draw"] else 0.0
    draw = draw or 1.0  # nobody has measured it: only the ratios count
    times = {m: median(seconds[m]) if len(seconds[m]) >= ENOUGH else ratio * draw for m, ratio in PRIOR.items()}
    return {"draw": draw, **times}
