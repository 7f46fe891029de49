"""Hand committed requests to the annotator, and take back what is open."""

from __future__ import annotations

import numpy as np

from gtloop.errors import blame
from gtloop.events import AnyEvent, BatchSubmitted, RequestsWithdrawn
from gtloop.facts import Facts
from gtloop.job import Job
from gtloop.records import Request


def requests_of(job: Job, batch: int) -> list[Request]:
    """The requests of a committed batch that are open, rebuilt from its file."""
    still = job.state.facts.open
    t = job.store.read(job.state.facts.batches[batch].requests)
    n = len(t["row"])
    columns = (t["request"], job.items.some(np.asarray(t["row"])), t["purpose"], t["max_price"])
    more = (t.get("mode", ["draw"] * n), t.get("proposal_json", [None] * n), t.get("exclude_json", [None] * n))
    able = job.plugins.annotator.modes  # of another annotator than the one that was to be asked
    hours = job.settings.people.deadline_hours
    return [
        Request(
            id=rid,
            item=item,
            answers=max(1, still[rid].want - still[rid].before),
            max_price=_most(job, still[rid], int(price)),
            mode=mode if mode in able or purpose != "train" else "draw",
            proposal=proposal if mode != "draw" and (mode in able or purpose != "train") else None,
            exclude_workers=tuple(exclude["workers"]) if exclude else (),
            deadline_s=None if hours is None else hours * 3600,
        )
        for rid, item, purpose, price, mode, proposal, exclude in zip(*columns, *more, strict=True)
        if rid in still
    ]


def _most(job: Job, request: Facts.Open, price: int) -> int:
    """What the annotator may take for a request: what is reserved, the item's fee left aside."""
    held = price if job.state.facts.batches[request.batch].submitted else request.reserved
    return max(0, held - job.state.rates.item_fee)


def submit_batch(job: Job) -> list[AnyEvent]:
    """Hand committed requests to the annotator; the same ids again after a crash."""
    facts = job.state.facts
    number = next(n for n, b in facts.batches.items() if b.waiting)
    with blame("annotator", job.plugins.annotator.name, "submit"):
        job.plugins.annotator.submit(requests_of(job, number))
    return [BatchSubmitted(iteration=number, batch=number, handover=facts.handovers, extension=facts.extensions)]


def withdraw_requests(job: Job) -> list[AnyEvent]:
    """Ask the annotator to take back every request that is open; what is answered meanwhile still counts."""
    ids = sorted(job.state.facts.open)
    with blame("annotator", job.plugins.annotator.name, "cancel"):
        job.plugins.annotator.cancel(ids)
    number = max(job.state.facts.withdrawals + 1, len(job.state.facts.batches))  # the tests of a batch go once
    return [RequestsWithdrawn(iteration=job.state.iteration, number=number, requests=len(ids))]
