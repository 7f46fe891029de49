"""Stages: a validation set, a plan and a look of their own for what is in the pool at a time.

What was drawn as validation before says nothing about images that came later, or about a pool that labels from
elsewhere have thinned out. So a new stage draws anew, and the old validation items train. Each stage keeps the promise
by itself, at its own delta.
"""

from __future__ import annotations

from gtloop.events import StageStarted
from gtloop.job import Job
from gtloop.picking import asked
from gtloop.sizes import make_plan
from gtloop.state import HUMAN, LATER, POOL


def next_stage(job: Job, why: str, taken: int = 0) -> StageStarted:
    """The stage that begins with all that is in the pool or waits for it, but ``taken`` items that get labels now."""
    s = job.state
    n = s.count(POOL) + s.count(LATER) - taken
    trainable = job.plugins.detector.trainable
    plan = make_plan(job.settings, job.promise, n, trainable, known=s.count(HUMAN) + taken, asked=asked(s))
    number = s.facts.stage.number + 1
    return StageStarted(iteration=s.iteration, stage=number, plan=plan.model_dump(mode="json"), why=why)
