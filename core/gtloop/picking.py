"""Who is asked next: random starts, the sampler's choice with a blind random refill, or all the rest.

The pool and the blind validation items stay exchangeable by construction (design section 5): a
sampler ranks both without knowing which is which, what it reaches leaves either alike, and a random
slice of the pool refills validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop import accounts
from gtloop.adaptive import adapted
from gtloop.crew import mixed, pick_tests
from gtloop.errors import BadImage, SourceError, Unreachable, blame
from gtloop.events import AnyEvent, BatchCommitted, BudgetReached, ItemsQuarantined, Phase
from gtloop.images import open_image
from gtloop.interfaces import Annotator, Rows
from gtloop.items import random_order
from gtloop.job import Job
from gtloop.keyed import digest
from gtloop.predictions import NO_ROWS
from gtloop.promise import symmetric_batch
from gtloop.proposing import proposed
from gtloop.ranking import candidates, rank
from gtloop.records import Mode, Payload
from gtloop.state import POOL, RELABEL, VALIDATION, State
from gtloop.store import PAGE

if TYPE_CHECKING:
    from gtloop.registry import Registry


class Choice(NamedTuple):
    """Rows to ask for training, rows to ask blind, validation rows that move to training."""

    train: Rows
    blind: Rows
    moved: Rows
    reason: str


def next_phase(job: Job, *, resting: bool) -> Phase:
    """Which kind of batch comes next, from the batches that there were; one that the budget cut short is made up."""
    if not job.state.stage_batches:
        return "probe"
    if _lacking(job, "validation"):
        return "validation"
    if _lacking(job, "train"):
        return "active" if cold(job) else "train"
    return "rest" if resting else "active"


def _lacking(job: Job, phase: Phase) -> int:
    """How many of the random items of a phase people have not been asked about yet; the probe validates too."""
    phases = {"probe", "validation"}
    if phase == "train":
        phases = {"train", "active"} if job.settings.loop.start == "sampler" else {"train"}
    planned = {"probe": job.plan.probe, "validation": job.plan.validation, "train": job.plan.train}[phase]
    return max(0, planned - sum(b.count for b in job.state.stage_batches.values() if b.phase in phases))


def cold(job: Job) -> bool:
    """Whether the sampler picks the first training images, before there is any model."""
    return job.settings.loop.start == "sampler" and _lacking(job, "validation") == 0 < _lacking(job, "train")


def pick(job: Job, phase: Phase) -> list[AnyEvent]:
    """Choose a batch, check that its images can be read, and commit its requests within the budget."""
    s = job.state
    afford = affordable(job)
    sizes = {
        "active": _lacking(job, "train") if cold(job) else batch_size(job),
        "rest": s.count(POOL),
        "ahead": ahead_size(job),
        "relabel": s.count(RELABEL),
    }
    wanted = min(sizes[phase] if phase in sizes else _lacking(job, phase), afford)
    if wanted == 0:
        price = job.state.rates.request(job.settings.run.workers)
        return [BudgetReached(iteration=s.iteration, needed=price, left=s.facts.bill.left(job.budget) or 0)]
    bad: dict[int, str] = {}
    if phase == "active":
        choice = _choose(job, wanted, afford, bad)
    else:
        candidates = s.rows(RELABEL if phase == "relabel" else POOL)
        rows = _readable(job, _by_order(job, candidates), wanted, bad)
        blind = s.role[rows] == VALIDATION if phase == "relabel" else np.full(len(rows), phase in BLIND)
        choice = Choice(rows[~blind], rows[blind], NO_ROWS, _REASONS[phase])
    events: list[AnyEvent] = []
    if bad:
        events.append(_quarantine(job, bad))
    if len(choice.train) + len(choice.blind):
        events.append(_commit(job, phase, choice))
    return events


AHEAD_SHARE = 20
"""At most one in so many images of the pool is asked ahead at a time."""
BLIND: tuple[Phase, ...] = ("probe", "validation")
_REASONS: dict[Phase, str] = {
    "probe": "a few random images, to see that everything works",
    "validation": "random images, kept blind: what machine labels are measured against",
    "train": "random images, to train a first model",
    "ahead": "random images, so that people find work while a model does its part",
    "rest": "no certificate is to come, so people label all that is left",
    "relabel": "their labels were withdrawn, so people label them again",
}


_GONE = (
    "none of {n} images can be read any more, for example {name} ({reason}); bring them back and run again "
    "(or, if they are lost, give them up with -o run.probe_failures=1)"
)
GONE_FROM = 10
"""So many unreadable images, and not one readable, mean that the source is away, not that the images are bad."""


def check_gone(job: Job, bad: int, name: str, reason: str) -> None:
    """Raises SourceError where ``bad`` unreadable images and no readable one mean that the source is away."""
    if bad >= GONE_FROM and job.settings.run.probe_failures < 1:
        raise SourceError(_GONE.format(n=bad, name=name, reason=reason))


def ahead_size(job: Job) -> int:
    """Images asked ahead at a time: few of a small pool, as a look might have labelled them by machine."""
    return min(job.settings.people.ahead, max(2, job.state.count(POOL) // AHEAD_SHARE))


def affordable(job: Job) -> int:
    """How many more items the budget can pay people for; all there are where nothing limits them."""
    most = accounts.affordable(job.state, job.settings)
    return len(job.items) if most is None else most


def batch_size(job: Job) -> int:
    """Items that people are given at a time once a sampler picks."""
    return job.settings.sizes.batch or job.plan.batch


def _by_order(job: Job, rows: Rows) -> Rows:
    order = random_order(len(job.items), job.seed, job.state.facts.stage.number, job.state.facts.warm_sha256)
    return rows[np.argsort(order[rows], kind="stable")]


def _readable(job: Job, candidates: Rows, n: int, bad: dict[int, str]) -> Rows:
    """The first ``n`` candidates whose images decode; the others go to ``bad`` with a reason.

    Raises:
        SourceError: Not one of many can be read.
    """
    good: list[int] = []
    at = 0
    while len(good) < n and at < len(candidates):
        some = candidates[at : at + min(PAGE, n - len(good))]
        at += len(some)
        for row, uri in zip(some.tolist(), job.items.uri.at(some), strict=True):
            try:
                open_image(uri)
                good.append(row)
            except BadImage as e:
                bad[row] = str(e)
            if not good:
                check_gone(job, len(bad), job.items.name[row], bad[row])
    return np.array(good, np.int32)


def _choose(job: Job, wanted: int, afford: int, bad: dict[int, str]) -> Choice:
    """The sampler's choice and its blind random refill."""
    s = job.state
    pool, validation = s.rows(POOL), s.validation_rows()
    if not job.settings.loop.symmetric:
        validation = NO_ROWS
    prefix, refill = symmetric_batch(len(pool), len(validation), wanted)
    ranking, reason = rank(job, candidates(job, np.union1d(pool, validation)), prefix)
    is_pool = np.isin(ranking, pool)
    if is_pool.sum() > afford:  # a hard cap; cuts both sides of the ranking alike
        ranking = ranking[: int(np.flatnonzero(is_pool)[afford])]
        is_pool = np.isin(ranking, pool)
    train = _readable(job, ranking[is_pool], len(ranking), bad)
    rest = _by_order(job, np.setdiff1d(pool, ranking[is_pool]))
    refill = max(refill, 0 if is_pool.any() else 1)  # a small batch may reach validation rows only
    blind = _readable(job, rest, min(refill, afford - len(train)), bad)
    return Choice(train, blind, ranking[~is_pool], reason)


def _quarantine(job: Job, bad: dict[int, str]) -> ItemsQuarantined:
    return quarantine(job, bad, f"batch-{len(job.state.facts.batches) + 1:04d}")


def quarantine(job: Job, bad: dict[int, str], name: str, *, training: bool = False) -> ItemsQuarantined:
    """Take unreadable images out, with their reasons; those to be trained on keep their labels."""
    rows = sorted(bad)
    path = f"quarantine/{name}.parquet"
    ref = job.store.write(path, {"row": np.array(rows, np.int32), "reason": [bad[r] for r in rows]})
    example = f"{job.items.name[rows[0]]} ({bad[rows[0]]})"
    return ItemsQuarantined(iteration=job.state.iteration, file=ref, example=example, training=training)


def request_ids(job: Job, rows: Rows, purposes: Sequence[str], attempts: Sequence[int]) -> list[str]:
    """The idempotency keys of requests: hashes of run, item, purpose and attempt."""
    keys = zip(job.items.id.at(rows), purposes, attempts, strict=True)
    return [digest(job.seed, *key, length=32) for key in keys]


class Wanted(NamedTuple):
    """Requests of a batch to be, as columns; the last two only where something is shown, or somebody left out."""

    rows: Rows
    purposes: list[str]
    attempts: list[int]
    answers: int
    price: int  # of a request, at most
    modes: list[Mode] | None = None
    proposals: list[Payload | None] | None = None
    excluded: Sequence[tuple[str, ...]] | None = None
    first: int = 0  # answers to ask for at first, where not all at once
    fixed: NDArray[np.bool_] | None = None  # which come to all their answers, whatever people say


def _commit(job: Job, phase: Phase, choice: Choice) -> BatchCommitted:
    rows, workers = np.concatenate([choice.train, choice.blind]), job.settings.run.workers
    refill = "control" if phase == "active" else "validation"
    purposes = ["train"] * len(choice.train) + [refill] * len(choice.blind)
    attempts = (job.state.columns["attempts"][rows] + 1).tolist()
    wanted = with_tests(job, Wanted(rows, purposes, attempts, workers, job.state.rates.request(workers)))
    wanted, why = proposed(job, phase, adapted(job, phase, wanted))
    return commit_requests(job, phase, wanted, "; ".join(filter(None, (choice.reason, why))), choice.moved)


def with_tests(job: Job, wanted: Wanted) -> Wanted:
    """A batch with images that test people mixed in, where nobody can tell them from others."""
    n, tests = len(wanted.rows), pick_tests(job, len(wanted.rows))
    order, k = mixed(job, n + len(tests.rows), len(tests.rows)), len(tests.rows)
    purposes = [*wanted.purposes, *["gold"] * k]
    attempts = [*wanted.attempts, *(job.state.columns["tests"][tests.rows] + 1).tolist()]
    excluded = [*([()] * n), *tests.known_to]
    return wanted._replace(
        rows=np.concatenate([wanted.rows, tests.rows])[order],
        purposes=[purposes[i] for i in order],
        attempts=[attempts[i] for i in order],
        excluded=[excluded[i] for i in order] if any(excluded) else None,
    )


def commit_requests(job: Job, phase: Phase, wanted: Wanted, reason: str, moved: Rows = NO_ROWS) -> BatchCommitted:
    """Write a batch down and reserve its worst-case price, once the annotator says that people can be reached."""
    s, n = job.state, len(wanted.rows)
    number = len(s.facts.batches) + 1
    price = wanted.price
    check_people(job.plugins.annotator, job.registry, price * n)
    columns: dict[str, Any] = {
        "request": request_ids(job, wanted.rows, wanted.purposes, wanted.attempts),
        "row": wanted.rows.astype(np.int32),
        "purpose": wanted.purposes,
        "answers": np.full(n, wanted.answers, np.int16),
        "max_price": np.full(n, price, np.int64),
    }
    if wanted.fixed is not None:
        columns |= {"answers": np.full(n, wanted.first, np.int16), "most": columns["answers"], "fixed": wanted.fixed}
    if wanted.modes is not None:
        columns |= {"mode": wanted.modes, "proposal_json": wanted.proposals}
    if wanted.excluded is not None:
        columns["exclude_json"] = [{"workers": names} if names else None for names in wanted.excluded]
    return BatchCommitted(
        iteration=s.iteration,
        batch=number,
        phase=phase,
        requests=job.store.write(f"requests/batch-{number:04d}.parquet", columns),
        reserved=price * n,
        moved=job.store.write(f"requests/moved-{number:04d}.parquet", {"row": moved}) if len(moved) else None,
        reason=reason,
    )


def check_people(annotator: Annotator, registry: Registry, cost: int) -> None:
    """Ask an annotator whether people can be reached, and paid ``cost`` micro-dollars.

    Raises:
        Unreachable: They can't; the text names other annotators.
        GtloopError: Whatever else the annotator says is lacking.
    """
    try:
        with blame("annotator", annotator.name, "check"):
            annotator.check(cost)
    except Unreachable as e:
        others = ", ".join(n for n in registry.names("annotator") if n != annotator.name)
        raise Unreachable(f"{e}; nothing was asked or paid. Other annotators (--annotator): {others}") from None


def asked(state: State) -> int:
    """Items that people were ever asked about, but for the checks of an audit: these bring no look forward."""
    return int(((state.columns["attempts"] > 0) & ~state.columns["audited"]).sum())
