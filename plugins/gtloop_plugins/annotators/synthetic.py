"""Annotator ``synthetic``: simulated people who answer at once, for demos, tests and ``gtloop simulate``."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gtloop import keyed
from gtloop.errors import Unsupported
from gtloop.interfaces import Annotator, Collected, Options, Simulated, Task
from gtloop.journal import Journal
from gtloop.ledger import now
from gtloop.records import Answer, Closed, Item, Request

BATCH = 500
"""Most answers of one ``collect``."""

ACTIVITY = 512
"""The busiest worker takes up to this many times the work of the laziest: log-uniform (Welinder's thesis)."""

NO_TRUTH = "annotator 'synthetic' answers from a truth: give --truth PATH, or choose another annotator"


class SyntheticOptions(Options):
    noise: float = Field(1.0, ge=0, description="multiplies all errors of all workers; 0: exact copies of the truth")
    workers: int = Field(40, ge=1, description="size of the population that answers are drawn from")
    spammers: float = Field(0.06, ge=0, lt=1, description="share of answers by people who do not look at the image")
    decline: float = Field(0.0, ge=0, lt=1, description="probability that a worker declines a request")
    cannot_tell: float = Field(0.0, ge=0, le=1, description="probability that a worker answers 'cannot tell'")
    expire: float = Field(0.0, ge=0, le=1, description="share of requests that expire before all have answered")
    seconds: float = Field(1.0, ge=0, description="multiplies the active seconds of an answer")
    tolerance: float = Field(
        0.3, ge=0, le=1, description="error up to which people let a label pass that they are shown"
    )


class _Turn(NamedTuple):
    """One worker's turn at a request."""

    worker: int
    declined: bool


class Synthetic(Annotator):
    """People drawn from the task's personas.

    Everything is keyed by (seed, item or request, worker), so that answers depend neither on batching nor on order
    nor on restarts. Who answers an item is a random order of the population by (seed, item), busy workers first,
    without repetition. The state is ``requests.jsonl`` in the work folder; the cursor is a position in it.
    """

    name = "synthetic"
    summary = "simulated people of mixed skill who answer from the truth at once"
    Options = SyntheticOptions
    modes = frozenset({"draw", "verify", "adjust"})
    needs = frozenset({"truth"})

    def submit(self, requests: Sequence[Request]) -> None:
        """Append what is new or grown to the journal; the rest is a no-op."""
        known = {e["request"]["id"]: e for e in self._journal.entries() if "request" in e}
        fresh = []
        for request in requests:
            last = known.get(request.id)
            before = last["request"]["answers"] if last else 0
            if request.answers <= before:
                continue
            entry = {
                "request": request.model_dump(mode="json"),
                "before": before,
                "first": last["first"] if last else request.answers,
                "at": now(),
            }
            known[request.id] = entry
            fresh.append(entry)
        self._journal.append(fresh)

    def cancel(self, request_ids: Sequence[str]) -> None:
        """Requests that are not answered yet are closed as cancelled."""
        gone = self._cancelled()
        self._journal.append([{"cancel": i} for i in dict.fromkeys(request_ids) if i not in gone])

    def collect(self, cursor: str, limit_s: float) -> Collected:
        """Answers in the order of submission, at most 500 a call; a closure follows a request's last answer."""
        until = time.monotonic() + limit_s
        entries, gone = self._journal.entries(), self._cancelled()
        line, skip = (int(part) for part in cursor.split(":")) if cursor else (0, 0)
        answers: list[Answer] = []
        closed: list[Closed] = []
        for n in range(line, len(entries)):
            if "request" not in entries[n]:
                continue
            request = Request.model_validate(entries[n]["request"])
            earlier, turns = self._turns(request, entries[n]["before"], entries[n]["first"])
            done = skip if n == line else 0
            if request.id in gone:
                closed.append(_closure(request, [*earlier, *turns[:done]], "cancelled"))
                continue
            for k in range(done, len(turns)):
                if len(answers) == BATCH or (answers and time.monotonic() > until):
                    return Collected(answers, closed, f"{n}:{k}")
                answers.append(self._answer(request, turns[k], entries[n]["at"]))
            expired = self._cap(request, entries[n]["first"]) < request.answers
            closed.append(_closure(request, [*earlier, *turns], "expired" if expired else "declined"))
        return Collected(answers, closed, f"{len(entries)}:0")

    def _cancelled(self) -> set[str]:
        return {e["cancel"] for e in self._journal.entries() if "cancel" in e}

    @cached_property
    def _journal(self) -> Journal:
        return Journal(self.context.workdir / "requests.jsonl")

    @cached_property
    def _task(self) -> Task:
        if self.context.task is None:
            raise Unsupported("annotator 'synthetic' needs a task: build it with Context(task=...)")
        return self.context.task

    @cached_property
    def _personas(self) -> list[dict[str, Any]]:
        """The population: the first of a random order are spammers, everybody else is honest."""
        seed, pool = self.context.seed, self.options.workers
        spammers = set(keyed.rng(seed, "spammers").permutation(pool)[: self._n_spammers].tolist())
        drawn = (self._task.worker(keyed.rng(seed, "persona", w)) for w in range(pool))
        return [{**p, "noise": self.options.noise, "spammer": w in spammers} for w, p in enumerate(drawn)]

    @property
    def _n_spammers(self) -> int:
        share = self.options.spammers
        return min(self.options.workers, max(1, round(share * self.options.workers))) if share else 0

    @cached_property
    def _activity(self) -> NDArray[np.float64]:
        """(workers,) rates; spammers together have their share of the total."""
        draw = keyed.rng(self.context.seed, "activity").uniform(0, math.log(ACTIVITY), self.options.workers)
        rate: NDArray[np.float64] = np.exp(draw)
        spam = np.array([p["spammer"] for p in self._personas])
        if 0 < spam.sum() < len(spam):
            rate[spam] *= self.options.spammers / rate[spam].sum()
            rate[~spam] *= (1 - self.options.spammers) / rate[~spam].sum()
        return rate

    def _order(self, item: Item) -> list[int]:
        """Workers in the order in which they come to an item: a race of exponential clocks."""
        clocks = keyed.rng(self.context.seed, "order", item.id).exponential(size=self.options.workers)
        return [int(w) for w in np.argsort(clocks / self._activity, kind="stable")]

    def _turns(self, request: Request, before: int, first: int) -> tuple[list[_Turn], list[_Turn]]:
        """The turns up to ``before`` answers, and those from there to the request's ``answers``."""
        cap = self._cap(request, first)
        excluded = set(request.exclude_workers)
        turns: list[_Turn] = []
        split, answered = 0, 0
        for worker in self._order(request.item):
            if answered >= min(request.answers, cap):
                break
            if _name(worker) in excluded:
                continue
            chance = keyed.rng(self.context.seed, "decline", request.id, worker).random()
            turns.append(_Turn(worker, declined=chance < self.options.decline))
            answered += not turns[-1].declined
            if answered == before and not turns[-1].declined:
                split = len(turns)
        if answered < before:
            split = len(turns)
        return turns[:split], turns[split:]

    def _cap(self, request: Request, first: int) -> int:
        """How many answers a request can get before it expires; no less than asked for most of them."""
        rng = keyed.rng(self.context.seed, "expire", request.id)
        return int(rng.integers(first)) if rng.random() < self.options.expire else request.answers

    def _answer(self, request: Request, turn: _Turn, at: str) -> Answer:
        rng = keyed.rng(self.context.seed, "answer", request.id, turn.worker)
        said = Simulated("declined", None, 1.0) if turn.declined else self._says(request, turn.worker, rng)
        return Answer(
            id=keyed.digest(request.id, _name(turn.worker)),
            request=request.id,
            worker=_name(turn.worker),
            outcome=said.outcome,
            payload=said.payload,
            active_seconds=said.seconds * self.options.seconds,
            price=0 if turn.declined else self.context.price_per_answer,
            at=at,
        )

    def _says(self, request: Request, worker: int, rng: np.random.Generator) -> Simulated:
        if self.context.truth is None:
            raise Unsupported(NO_TRUTH)
        item, shown = request.item, request.proposal
        truth = self.context.truth(item)
        if rng.random() < self.options.cannot_tell or truth is None:
            return Simulated("cannot_tell", None, float(rng.lognormal(math.log(3), 0.5)))
        said = self._task.simulate(truth, self._personas[worker], item, rng)
        if request.mode == "draw" or shown is None:
            return said
        # nobody measures what is shown: what is about right passes, which is what anchoring is
        if self._task.error(truth, shown) <= self.options.tolerance:
            return Simulated("label", shown, said.seconds / 3)
        return said if request.mode == "adjust" else Simulated("wrong", None, said.seconds / 3)


def _name(worker: int) -> str:
    return f"synthetic-{worker:03d}"


def _closure(request: Request, turns: Sequence[_Turn], short: Literal["expired", "declined", "cancelled"]) -> Closed:
    """The closure of a request after ``turns``; ``short`` says why where it got less than it asked for."""
    delivered = sum(not turn.declined for turn in turns)
    return Closed(request=request.id, delivered=delivered, reason="complete" if delivered >= request.answers else short)
