"""While a model works, people find work: answers are taken in, and random images are asked ahead.

For annotators that serve a page. What is asked ahead is drawn at random from the pool and trains: pool and validation
stay exchangeable, whatever the model turns out to be. No more is asked than people use up, plus ``people.ahead``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from gtloop.adaptive import weigh, weighing_due
from gtloop.crew import assess, assessment_due, settle, settlement_due
from gtloop.interfaces import Progress
from gtloop.job import Job
from gtloop.people import collect
from gtloop.picking import affordable, ahead_size, pick
from gtloop.state import POOL
from gtloop.submitting import submit_batch

DUE = ((settlement_due, settle), (assessment_due, assess), (weighing_due, weigh))
"""What answers that came call for, in this order: whether it is due, and the step."""
SHORT_S, LONG_S = 0.2, 30.0
"""Seconds between two looks for answers: at a page, and at most where people are far away."""
EVERY_S = 2.0
"""How often people's answers are looked at while a model works."""


class Busy:
    """A run's progress that keeps people at work: each report of a step may take answers in and ask for more."""

    def __init__(self, job: Job, report: Progress) -> None:
        self._job, self._report = job, report
        self._last = time.monotonic()
        self._inside = False

    def __call__(self, step: str, done: int, total: int | None, note: str = "") -> None:
        self._report(step, done, total, note)
        if self._inside or time.monotonic() - self._last < EVERY_S:
            return
        self._inside = True
        try:
            tend(self._job)
        finally:
            self._inside, self._last = False, time.monotonic()


@contextmanager
def people_at_work(job: Job, machine: bool) -> Iterator[None]:
    """Keep people at a page busy in the block, where it is a ``machine`` step."""
    if not machine or "serve" not in job.plugins.annotator.gives:
        yield
        return
    tend(job)
    report = job.progress
    job.progress = Busy(job, report)
    try:
        yield
    finally:
        job.progress = report


class Pause:
    """Waits between two looks for people's answers: always short at a page, ever longer where people are far away."""

    def __init__(self, job: Job) -> None:
        self._job, self._next = job, SHORT_S
        self._longest = SHORT_S if "serve" in job.plugins.annotator.gives else LONG_S

    def reset(self) -> None:
        """Something came."""
        self._next = SHORT_S

    def __call__(self) -> None:
        """Say how far people are, see that the page is up, and wait."""
        if self._job.page is not None:
            self._job.page.keep()
        f = self._job.state.facts
        if f.open:
            newest = max(r.batch for r in f.open.values())
            left = sum(r.batch == newest for r in f.open.values())
            total = max(left, f.batches[newest].count)
            self._job.progress("people answer", total - left, total, f"batch {newest}, {left} left")
        time.sleep(self._next)
        self._next = min(self._longest, 1.5 * self._next)


def tend(job: Job) -> None:
    """Take in what people have answered, and ask ahead where they run out of work."""
    if events := collect(job, 0.0):
        job.commit(events)
    for due, step in DUE:
        if due(job):
            job.commit(step(job))
    if ahead_due(job):
        job.commit(pick(job, "ahead"))
    while any(b.waiting for b in job.state.facts.batches.values()):
        job.commit(submit_batch(job))


def ahead_due(job: Job) -> bool:
    """Whether people have less to do than is to be kept ready for them, and there is something left to ask."""
    f, ahead = job.state.facts, job.settings.people.ahead
    if not ahead or f.cancelled or f.paused or f.broke or (not f.confirmed and job.plugins.annotator.spends_money):
        return False
    waiting = sum(not r.aside for r in f.open.values())
    return waiting < ahead_size(job) / 2 and job.state.count(POOL) > 0 and affordable(job) > 0
