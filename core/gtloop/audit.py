"""Audit: people check a random sample of machine labels, blind, and what they find bounds the rest.

A region is what one slice of one look accepted. Its labels have one random order, fixed when they were accepted: the
order comes from the seed, the look and the rows alone. Audits take the next ones of it, whoever asks for them and
whenever, so that all audits of a run are one growing sample without replacement, with one bound that stays valid
(``running``). An item that was audited gets the people's label and is no machine label any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from gtloop import accounts
from gtloop.errors import BadImage, ConfigError, RunError, blame
from gtloop.events import AnyEvent, AuditAsked, AuditConcluded, BudgetReached, FileRef, RegionDemoted
from gtloop.images import open_image
from gtloop.interfaces import Consolidated, Hint
from gtloop.job import Job, labels_of
from gtloop.money import show
from gtloop.people import known_skills, label_of, read_answers, usable_answers
from gtloop.picking import Wanted, affordable, check_gone, commit_requests, quarantine, with_tests
from gtloop.regions import Region, failing, measure, qualities, regions, shares
from gtloop.settings import Settings
from gtloop.state import MACHINE, State
from gtloop.stopping import CENT
from gtloop.store import Store

NONE_LEFT = "there is no machine label left to check"

# ------------------------------------------------------------------------------------------- asking


def asked(job: Job, letter: int, body: dict[str, Any]) -> list[AnyEvent]:
    """Answer a wish to have ``n`` machine labels checked.

    Raises:
        ConfigError: That is no number.
        RunError: There is none to check.
    """
    n = body.get("n")
    if not isinstance(n, int) or n < 1:
        raise ConfigError(f"audit: {n!r} machine labels can't be checked; give a number from 1 on")
    if not any(len(r.left(job.state)) for r in regions(job.store, job.state, job.seed)):
        raise RunError(NONE_LEFT)
    return [AuditAsked(iteration=job.state.iteration, letter=letter, n=n, why=body.get("why", ""))]


class AuditCost(NamedTuple):
    """What an audit comes to at most, beforehand."""

    items: int
    """Machine labels that are checked: no more than there are, than earlier wishes leave, and than the budget pays."""
    tests: int
    """Images that test people, mixed in."""
    answers: int
    most: int
    """Micro-dollars, all answers and fees."""
    left: int | None
    """Micro-dollars that the budget has left before it; None: there is no budget."""
    short: int
    """Machine labels that the budget does not pay for."""


def audit_cost(store: Store, state: State, settings: Settings, n: int) -> AuditCost:
    """What it costs at most to have ``n`` more machine labels checked, as things stand.

    Raises:
        RunError: There is none to check, or the budget does not pay for one.
    """
    waiting, budget = sum(state.facts.audits_asked), accounts.budget_of(settings)
    left = sum(len(r.left(state)) for r in regions(store, state, settings.run.seed))
    if left <= waiting:
        raise RunError(f"earlier wishes cover all {left} machine labels that are left to check" if left else NONE_LEFT)
    wanted, most = min(n, left - waiting), accounts.affordable(state, settings)
    items = wanted if most is None else min(wanted, max(0, most - waiting))
    if not items:
        requests = sum(k + accounts.tests_among(state, settings, k) for k in (*state.facts.audits_asked, wanted))
        least = state.facts.bill.bound + accounts.worst_case(state, settings, requests)
        raise RunError(
            f"the budget of {show(budget or 0)} pays for no check of a machine label; raise it first: "
            f"gtloop run --run {store.root} --budget {-(-least // CENT) / 100:.2f}"
        )
    tests = accounts.tests_among(state, settings, items)
    return AuditCost(
        items=items,
        tests=tests,
        answers=(items + tests) * settings.run.workers,
        most=accounts.worst_case(state, settings, items + tests),
        left=state.facts.bill.left(budget),
        short=wanted - items,
    )


def audit_step(job: Job) -> Callable[[Job], list[AnyEvent]] | None:
    """What an audit needs next: its answers concluded, or a batch handed out; None: nothing now."""
    f = job.state.facts
    if any(r.aside == "audit" for r in f.open.values()):
        return None  # a part of the answers is no random sample: the fast ones may be the easy ones
    if f.checked:
        return conclude_audit
    if f.cancelled or f.broke or (job.plugins.annotator.spends_money and not f.confirmed):
        return None
    return pick_audit if f.audits_asked or sum(_by_rate(job)) else None


def _by_rate(job: Job) -> list[int]:
    """How many more of each region ``promise.audit_rate`` wants checked."""
    s, rate = job.state, job.settings.promise.audit_rate
    if not rate:
        return []
    found = []
    for region in regions(job.store, s, job.seed):
        before = int(s.columns["audited"][region.rows].sum())
        found.append(min(max(0, ceil(rate * len(region.rows) - 1e-9) - before), len(region.left(s))))
    return found


def pick_audit(job: Job) -> list[AnyEvent]:
    """Commit the next requests of an audit, as far as the budget goes."""
    s, f = job.state, job.state.facts
    every = regions(job.store, s, job.seed)
    if f.audits_asked:
        wanted, reason = shares(f.audits_asked[0], [len(r.left(s)) for r in every]), "somebody wants a random sample"
    else:
        wanted, reason = _by_rate(job), f"promise.audit_rate = {job.settings.promise.audit_rate:g}: a random sample"
    reason += " of the machine labels checked"
    price, most = s.rates.request(job.settings.run.workers), affordable(job)
    if sum(wanted) > most:
        if not most:
            return [BudgetReached(iteration=s.iteration, needed=price, left=f.bill.left(job.budget) or 0)]
        reason += f"; the budget pays {most} of {sum(wanted)}"
        wanted = shares(most, wanted)
    bad: dict[int, str] = {}
    rows = np.array([row for r, n in zip(every, wanted, strict=True) for row in _readable(job, r, n, bad)], np.int32)
    events: list[AnyEvent] = [quarantine(job, bad, f"audit-{len(f.reasons) + 1:04d}")] if bad else []
    if len(rows) or f.audits_asked:  # a wish is fulfilled even where nothing is left to check
        number, n = len(f.batches) + 1, len(rows)
        batch = Wanted(rows, ["audit"] * n, [number] * n, job.settings.run.workers, price)
        events.append(commit_requests(job, "audit", with_tests(job, batch), reason))
    return events


def _readable(job: Job, region: Region, n: int, bad: dict[int, str]) -> list[int]:
    """The next ``n`` rows of a region whose images can be read; the others go to ``bad``, and are passed over.

    Raises:
        SourceError: Not one of many can be read.
    """
    found: list[int] = []
    for row in region.left(job.state).tolist():
        if len(found) == n:
            break
        try:
            open_image(job.items.uri[row])
            found.append(row)
        except BadImage as e:
            bad[row] = str(e)
        if not found:
            check_gone(job, len(bad), job.items.name[row], bad[row])
    return found


# --------------------------------------------------------------------------------------- concluding


class Checked(NamedTuple):
    """What people said of one label: its quality, their label, and what becomes of the item."""

    row: int
    request: str
    batch: int
    quality: float
    made: Consolidated | None
    outcome: str
    workers: int


def conclude_audit(job: Job) -> list[AnyEvent]:
    """Take in the answers of an audit: labels change hands, bounds are drawn, what fails is demoted."""
    s, f = job.state, job.state.facts
    checked = _check(job)
    known = qualities(job.store, s) | {c.row: c.quality for c in checked}
    found = tuple(measure(r, s, known, job.promise.delta) for r in regions(job.store, s, job.seed))
    labels = _write(job, checked)
    events: list[AnyEvent] = [AuditConcluded(iteration=s.iteration, number=f.audits + 1, labels=labels, regions=found)]
    over = {c.row for c in checked}
    for at, why in failing(job.promise, s, found).items():
        region = next(r for r in regions(job.store, s, job.seed) if r.key == at)
        rows = np.array([row for row in np.sort(region.rows) if s.status[row] == MACHINE and row not in over], np.int32)
        ref = job.store.write(f"audit/demoted-{f.audits + 1:04d}-{region.look}-{len(events)}.parquet", {"row": rows})
        events.append(RegionDemoted(iteration=s.iteration, look=region.look, slice=region.slice, rows=ref, why=why))
    return events


def _check(job: Job) -> list[Checked]:
    """Machine labels against people's answers, by row."""
    s, f, task = job.state, job.state.facts, job.plugins.task
    closed = sorted(f.checked.items(), key=lambda r: r[1])
    rows = np.array([row for _, row in closed], np.int32)
    machine = labels_of(job.store, s, task, f.machine_files, rows)
    said = read_answers(job.store, f.answer_files, {rid for rid, _ in closed})
    batches = _batches(job)
    found = []
    for rid, row in closed:
        usable = usable_answers(job, row, said.get(rid, []))
        quality, labelled = 0.0, False
        with blame("task", task.name, "consolidate"):
            made = label_of(task, job.items[row], usable, known_skills(job), Hint())
            if made is not None and made.payload is not None:
                quality, labelled = 1 - task.error(machine[row], made.payload), True
        ours = s.status[row] == MACHINE  # else somebody's wish has taken it out meanwhile: it counts all the same
        outcome = "measured" if not ours else "replaced" if labelled else "requeued"
        found.append(Checked(row, rid, batches[rid], float(np.clip(quality, 0, 1)), made, outcome, len(usable)))
    return found


def _batches(job: Job) -> dict[str, int]:
    """Every request of an audit, to its batch."""
    return {
        rid: number
        for number, batch in job.state.facts.batches.items()
        if batch.phase == "audit"
        for rid in job.store.read(batch.requests, ["request"])["request"]
    }


def _write(job: Job, checked: Sequence[Checked]) -> FileRef:
    """A file that also serves as one of human labels: rows whose label is not replaced have no payload there."""
    task = job.plugins.task
    made = [c.made if c.outcome == "replaced" else None for c in checked]
    payloads = [None if m is None else m.payload for m in made]
    columns: dict[str, Any] = {
        "row": np.array([c.row for c in checked], np.int32),
        "request": [c.request for c in checked],
        "outcome": [c.outcome for c in checked],
        "quality": np.array([c.quality for c in checked], np.float64),
        "payload_json": payloads,
        "labelled": np.array([p is not None for p in payloads], np.bool_),
        "objects": np.array([0 if p is None else task.count(p) for p in payloads], np.int16),
        "confidence": np.array([0.0 if m is None else m.confidence for m in made]),
        "agreement": np.array([0.0 if m is None else m.agreement for m in made]),
        "workers": np.array([c.workers for c in checked], np.int16),
        "consolidation": [task.consolidation] * len(checked),
        "iteration": np.array([c.batch for c in checked], np.int32),
        "source": ["human"] * len(checked),
    }
    return job.store.write(f"audit/concluded-{job.state.facts.audits + 1:04d}.parquet", columns)
