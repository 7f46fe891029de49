"""Who works: how much each person has answered and how well, who gets no more work, what is paid.

Test images ("gold") have a known label; core mixes them in, and no annotator can tell them from others. Whoever is
below ``people.gold_quality`` on them, or has given ``people.most_answers``, is kept out by annotators that can.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gtloop import accounts
from gtloop.errors import ConfigError, blame
from gtloop.events import AnswersSettled, AnyEvent, FileRef, PeopleAssessed, PricesQuoted, SettingsChanged
from gtloop.facts import Facts
from gtloop.interfaces import Rows
from gtloop.job import Job, Plugins
from gtloop.keyed import rng
from gtloop.money import show
from gtloop.people import answered_by, every_request, fitting, gold_labels, read_answers
from gtloop.records import Answer, Payload, Settlement
from gtloop.settings import Settings
from gtloop.state import State
from gtloop.store import Store

PARTED = "has given {n} answers, as many as one person may"
FAILED = "mean quality {q:.2f} on {n} test images, {least:g} is the least"


def assessment_due(job: Job) -> bool:
    """Whether there are answers by which people are judged, and that have not been looked at."""
    p, f = job.settings.people, job.state.facts
    return f.assessed < len(f.answer_files) and (f.gold is not None or p.most_answers is not None)


def assess(job: Job) -> list[AnyEvent]:
    """Count and score the answers that came since the last time; keep out who has failed, or given enough."""
    f = job.state.facts
    rows = _gold_requests(job)
    known = gold_labels(job) if rows else {}
    new: dict[str, Facts.Person] = {}
    for answers in read_answers(job.store, f.answer_files[f.assessed :]).values():
        for answer in answers:
            if answer.outcome == "declined":
                continue
            person = new.setdefault(answer.worker, Facts.Person())
            person.answers += 1
            if (row := rows.get(answer.request)) in known:
                person.gold += 1
                person.quality += _quality(job, row, answer, known[row])
    out = {w: why for w, person in new.items() if (why := _why_out(job, w, person))}
    if out and "block" in job.plugins.annotator.gives:
        with blame("annotator", job.plugins.annotator.name, "block"):
            job.plugins.annotator.block(out)
    number = f.assessments + 1
    columns: dict[str, Any] = {
        "worker": list(new),
        "answers": np.array([p.answers for p in new.values()], np.int32),
        "gold": np.array([p.gold for p in new.values()], np.int32),
        "quality": np.array([p.quality for p in new.values()], np.float64),
    }
    ref = job.store.write(f"people/assessed-{number:05d}.parquet", columns)
    upto = len(f.answer_files)
    return [PeopleAssessed(iteration=job.state.iteration, number=number, upto=upto, people=ref, out=out)]


def _gold_requests(job: Job) -> dict[str, int]:
    """Request to row of all that test people."""
    if job.state.facts.gold is None:
        return {}
    return {rid: row for rid, row, purpose in every_request(job) if purpose == "gold"}


def _quality(job: Job, row: int, answer: Answer, known: Payload) -> float:
    """How near an answer comes to the known label, in [0, 1]; 0 for one that says nothing or does not fit."""
    task = job.plugins.task
    for a in fitting(task, job.items[row], [answer], job.state.facts.renamed):
        payload = task.empty() if a.outcome == "empty" else a.payload
        if payload is not None:
            with blame("task", task.name, "error"):
                return 1.0 - task.error(payload, known)
    return 0.0


def _why_out(job: Job, worker: str, new: Facts.Person) -> str:
    """Why a worker gets no more work from now on; empty where they do, or where they are out already."""
    p, before = job.settings.people, job.state.facts.people.get(worker, Facts.Person())
    answers, gold = before.answers + new.answers, before.gold + new.gold
    if before.out:
        return ""
    if gold >= p.gold_after and (q := (before.quality + new.quality) / gold) < p.gold_quality:
        return FAILED.format(q=q, n=gold, least=p.gold_quality)
    if p.most_answers is not None and answers >= p.most_answers:
        return PARTED.format(n=answers)
    return ""


# ---------------------------------------------------------------------------------------------- pay


def quoted(job: Job) -> list[AnyEvent]:
    """What an answer costs at the annotator, where that is not what the run goes by.

    Raises:
        ConfigError: What is to be handed out already would then cost more than the budget has.
    """
    return _quoted(job.state, job.plugins, job.budget)


def check_quote(state: State, event: SettingsChanged, store: Store, plugins: Plugins, settings: Settings) -> None:
    """Refuse a change of settings, before it is made, that would cost more at the annotator than the budget has.

    Raises:
        ConfigError: As ``quoted`` would after it.
    """
    after = State()
    after.columns, after.facts = state.columns, state.facts.model_copy(deep=True)  # the event changes facts only
    after.apply(event, store)
    _quoted(after, plugins, accounts.budget_of(settings))


def _quoted(s: State, plugins: Plugins, budget: int | None) -> list[AnyEvent]:
    quote, name = plugins.quote(), plugins.annotator.name
    rates, bill = s.prices.rates(s.facts.bill.items), s.facts.bill
    if tuple(quote) == (s.facts.quote or (rates.base, 0)):
        return []
    waiting = s.unsubmitted() if rates.own(quote) else list(s.facts.open.values())
    more = sum(rates.quoted(quote).request(r.due) - r.reserved for r in waiting)
    if budget is not None and more > 0 and bill.bound + more > budget:
        raise ConfigError(
            f"annotator {name!r} is dearer: what people are to be asked comes to "
            f"{show(bill.bound + more)}; raise --budget to that, or take the annotator of before"
        )
    return [
        PricesQuoted(
            iteration=s.iteration,
            annotator=name,
            answers=s.facts.settings["run"]["workers"],
            answer=quote.answer,
            fee=quote.fee,
        )
    ]


def settlement_due(job: Job) -> bool:
    """Whether there are answers that the annotator waits to be told about: pay or reject."""
    f = job.state.facts
    return "settle" in job.plugins.annotator.gives and f.settled < len(f.answer_files)


def settle(job: Job) -> list[AnyEvent]:
    """Have every answer paid, but those that the rules of ``people.reject`` name."""
    f = job.state.facts
    rows = {rid: row for rid, row, _ in every_request(job)}
    given = [a for answers in read_answers(job.store, f.answer_files[f.settled :]).values() for a in answers]
    judged = [(a, _why_unpaid(job, rows[a.request], a)) for a in given if a.outcome != "declined"]
    settlements = [
        Settlement(answer=a.id, request=a.request, worker=a.worker, verdict="reject" if why else "pay", reason=why)
        for a, why in judged
    ]
    with blame("annotator", job.plugins.annotator.name, "settle"):
        job.plugins.annotator.settle(settlements)
    number = f.settlements + 1
    ref = _write_verdicts(job, number, judged)
    upto = len(f.answer_files)
    return [AnswersSettled(iteration=job.state.iteration, number=number, upto=upto, verdicts=ref)]


def _write_verdicts(job: Job, number: int, judged: list[tuple[Answer, str]]) -> FileRef:
    over: dict[str, int] = {}
    for ref in job.state.facts.answer_files[job.state.facts.settled :]:
        t = job.store.read(ref, ["id", "over"])
        over.update(zip(t["id"], t.get("over", [0] * len(t["id"])), strict=True))
    columns: dict[str, Any] = {
        "answer": [a.id for a, _ in judged],
        "verdict": ["reject" if why else "pay" for _, why in judged],
        "reason": [why for _, why in judged],
        "price": np.array([a.price for a, _ in judged], np.int64),
        "fee": np.array([a.fee for a, _ in judged], np.int64),
        "over": np.array([over[a.id] for a, _ in judged], np.int64),
    }
    return job.store.write(f"people/settled-{number:05d}.parquet", columns)


def _why_unpaid(job: Job, row: int, answer: Answer) -> str:
    """Why an answer is rejected, for the person who gave it; empty: it is paid."""
    rules, person = job.settings.people.reject, job.state.facts.people.get(answer.worker)
    if "blocked" in rules and person is not None and person.out:
        return f"This work came after we had asked you to stop: {person.out}."
    if "misfits" not in rules or answer.outcome != "label":
        return ""
    refused: list[str] = []
    fitting(job.plugins.task, job.items[row], [answer], job.state.facts.renamed, lambda a, why: refused.append(why))
    return f"The answer can't be used: {refused[0]}" if refused else ""


# --------------------------------------------------------------------------------------------- gold


class Tests(NamedTuple):
    """Images that test people in a batch, and for each the workers who know it already."""

    rows: Rows
    known_to: list[tuple[str, ...]]


def mixed(job: Job, n: int, tests: int) -> list[int]:
    """The order in which ``n`` requests are submitted; the last ``tests`` of them must not stand out by it."""
    if not tests:
        return list(range(n))
    order: list[int] = rng(job.seed, "mix", len(job.state.facts.batches) + 1).permutation(n).tolist()
    return order


def pick_tests(job: Job, asked: int) -> Tests:
    """Test images for a batch of ``asked`` items: those that were used least, chance decides among equals."""
    f, s = job.state.facts, job.state
    if f.gold is None or not asked:
        return Tests(np.zeros(0, np.int32), [])
    rows = np.asarray(job.store.read(f.gold, ["row"])["row"], np.int32)
    n = min(len(rows), int(np.ceil(job.settings.people.gold_share * asked)))
    chance = rng(job.seed, "gold", len(f.batches) + 1).random(len(rows))
    order = rows[np.lexsort((chance, s.columns["tests"][rows]))]
    out = {r.row for r in f.open.values()}  # nobody can tell yet who will have seen these
    chosen = np.array([row for row in order.tolist() if row not in out][:n], np.int32)
    earlier = {}
    if s.columns["tests"][chosen].any():
        earlier = {rid: row for rid, row in _gold_requests(job).items() if row in set(chosen.tolist())}
    return Tests(chosen, answered_by(job, chosen, earlier) if earlier else [()] * len(chosen))
