"""What an annotator promises: nothing asked twice, nothing lost, nobody kept waiting."""

from __future__ import annotations

import time
from datetime import datetime

from gtloop.interfaces import Annotator
from gtloop.records import Answer, Closed, Request
from gtloop.testing.case import Case, CheckSkipped, require

PATIENCE_S = 10.0
"""How long a check waits for all answers."""
SLACK_S = 1.0
"""How much longer than its limit ``collect`` may take on a busy machine."""


def check_collect_never_blocks(case: Case) -> None:
    """``collect`` returns within its limit, with work outstanding or none."""
    annotator = case.build("blocks")
    for requests in ([], _requests(case, 4)):
        annotator.submit(requests)
        for limit_s in (0.0, 0.2):
            started = time.monotonic()
            annotator.collect("", limit_s)
            took = time.monotonic() - started
            require(took <= limit_s + SLACK_S, f"collect with a limit of {limit_s} s took {took:.1f} s")


def check_every_answer_arrives(case: Case) -> None:
    """Every request gets its number of answers, by different workers, and is closed with that count."""
    requests = _requests(case, 4)
    annotator = case.build("arrives")
    annotator.submit(requests)
    answers, closed = _gather(case, annotator, requests, "arrives")
    for r in requests:
        own = [a for a in answers.values() if a.request == r.id]
        require(len(own) <= r.answers, f"{len(own)} answers to a request for {r.answers}")
        require(len({a.worker for a in own}) == len(own), "one worker answered a request twice")
        end = closed[r.id]
        require(end.delivered == len(own), f"Closed says {end.delivered} answers, {len(own)} came")
        require(end.reason != "complete" or len(own) == r.answers, f"complete with {len(own)} of {r.answers} answers")


def check_submit_twice_is_once(case: Case) -> None:
    """Submitting a request again asks nobody again."""
    requests = _requests(case, 3)
    annotator = case.build("twice")
    annotator.submit(requests)
    annotator.submit(requests)
    answers, _ = _gather(case, annotator, requests, "twice")
    annotator.submit(requests)
    again, _ = _gather(case, annotator, requests, "twice")
    for r in requests:
        count = sum(a.request == r.id for a in {**answers, **again}.values())
        require(count <= r.answers, f"submitted three times, a request for {r.answers} has {count} answers")


def check_more_answers_extend(case: Case) -> None:
    """A higher ``answers`` asks more people, not the same ones again."""
    one = _requests(case, 2, answers=1)
    annotator = case.build("extend")
    annotator.submit(one)
    first, _ = _gather(case, annotator, one, "extend")
    three = [r.model_copy(update={"answers": 3}) for r in one]
    annotator.submit(three)
    answers, _ = _gather(case, annotator, three, "extend", first)
    for r in three:
        workers = [a.worker for a in answers.values() if a.request == r.id]
        require(len(workers) == 3, f"extended from 1 to 3 answers, a request has {len(workers)}")
        require(len(set(workers)) == 3, f"extended to 3 answers, but by workers {workers}")


def check_survives_a_new_object(case: Case) -> None:
    """A new object on the same workdir brings what the old one was asked, from any cursor."""
    requests = _requests(case, 4)
    old = case.build("survives")
    old.submit(requests)
    first = old.collect("", 0.0)
    _answer_outside(case, old, requests, "survives")
    del old
    rest, _ = _gather(
        case, case.build("survives"), requests, "survives", {a.id: a for a in first.answers}, first.cursor
    )
    everything, _ = _gather(case, case.build("survives"), requests, "survives")
    lost = everything.keys() - rest.keys()
    require(not lost, f"{len(lost)} of {len(everything)} answers are lost after a restart from a cursor")
    require(everything, "no answer survives a restart")


def check_answers_are_well_formed(case: Case) -> None:
    """Answers belong to a request and fit the task; times, prices and dates are sane."""
    requests = _requests(case, 4)
    annotator = case.build("formed")
    annotator.submit(requests)
    answers, _ = _gather(case, annotator, requests, "formed")
    by_id = {r.id: r for r in requests}
    for a in answers.values():
        require(a.request in by_id, f"an answer to the unknown request {a.request!r}")
        require(a.price >= 0 and a.active_seconds >= 0, f"price {a.price}, {a.active_seconds} s")
        try:
            stamp = datetime.fromisoformat(a.at)
        except ValueError:
            require(False, f"at is {a.at!r}, not ISO 8601")
        require(stamp.tzinfo is not None, f"at is {a.at!r}, without a time zone")
        if a.outcome == "label":
            require(a.payload is not None, "outcome 'label' without a payload")
            case.task.parse(a.payload or {}, by_id[a.request].item)


def check_excluded_workers_do_not_answer(case: Case) -> None:
    """Nobody answers a request that excludes them."""
    (request,) = _requests(case, 1)
    annotator = case.build("excluded")
    annotator.submit([request])
    answers, _ = _gather(case, annotator, [request], "excluded")
    workers = tuple(a.worker for a in answers.values())
    second = request.model_copy(update={"id": "check-again", "exclude_workers": workers})
    annotator.submit([second])
    more, _ = _gather(case, annotator, [second], "excluded")
    both = set(workers) & {a.worker for a in more.values() if a.request == second.id}
    require(not both, f"excluded workers answered: {', '.join(sorted(both))}")


def check_cancel_closes(case: Case) -> None:
    """A cancelled request is closed by a later ``collect``; cancelling twice or an unknown one is harmless."""
    requests = _requests(case, 2)
    annotator = case.build("cancel")
    annotator.submit(requests)
    ids = [r.id for r in requests]
    annotator.cancel(ids)
    annotator.cancel([*ids, "no-such-request"])
    closed: set[str] = set()
    deadline = time.monotonic() + PATIENCE_S
    cursor = ""
    while not closed.issuperset(ids) and time.monotonic() < deadline:
        got = annotator.collect(cursor, 0.1)
        cursor = got.cursor
        closed |= {c.request for c in got.closed}
    require(closed.issuperset(ids), f"cancelled requests are still open after {PATIENCE_S:.0f} s")


def check_settle_is_harmless(case: Case) -> None:
    """Settling nothing raises nothing, and ``where`` is one line."""
    annotator = case.build("settle")
    annotator.settle([])
    require("\n" not in annotator.where(), "where() is more than one line")


def _requests(case: Case, n: int, answers: int = 2) -> list[Request]:
    return [Request(id=f"check-{item.row}", item=item, answers=answers) for item in case.items[:n]]


def _answer_outside(case: Case, annotator: Annotator, requests: list[Request], workdir: str) -> None:
    if case.people is not None:
        case.people(annotator, requests, case.path(workdir))
    elif annotator.patient:
        raise CheckSkipped("answers come from outside: give people, a function that plays them")


def _gather(
    case: Case,
    annotator: Annotator,
    requests: list[Request],
    workdir: str,
    known: dict[str, Answer] | None = None,
    cursor: str = "",
) -> tuple[dict[str, Answer], dict[str, Closed]]:
    """All answers by id, and the closures by request, once every request has its answers."""
    _answer_outside(case, annotator, requests, workdir)
    answers = dict(known or {})
    closed: dict[str, Closed] = {}
    deadline = time.monotonic() + PATIENCE_S

    def complete(r: Request) -> bool:
        end = closed.get(r.id)
        return end is not None and (end.delivered >= r.answers or end.reason != "complete")

    while True:
        got = annotator.collect(cursor, 0.1)
        cursor = got.cursor
        answers.update((a.id, a) for a in got.answers)
        closed.update((c.request, c) for c in got.closed)
        if all(complete(r) for r in requests):
            return answers, closed
        open_ones = [r.id for r in requests if not complete(r)]
        require(time.monotonic() < deadline, f"{len(open_ones)} requests are not closed after {PATIENCE_S:.0f} s")


ANNOTATOR_CHECKS = (
    check_collect_never_blocks,
    check_every_answer_arrives,
    check_submit_twice_is_once,
    check_more_answers_extend,
    check_survives_a_new_object,
    check_answers_are_well_formed,
    check_excluded_workers_do_not_answer,
    check_cancel_closes,
    check_settle_is_harmless,
)
