"""What an annotator promises: nothing asked twice, nothing lost, nobody kept waiting."""

from __future__ import annotations

import time
from datetime import datetime
from math import inf

from gtloop.interfaces import Annotator, Collected
from gtloop.records import Answer, Closed, Request
from gtloop.testing.case import Case, CheckFailed, CheckSkipped, during, require

PATIENCE_S = 10.0
"""How long a check waits for all answers."""
SLACK_S = 1.0
"""How much longer than its limit ``collect`` may take on a busy machine."""
NOTHING = Collected([], [], "")


def check_collect_never_blocks(case: Case) -> None:
    """``collect`` returns within its limit, with work outstanding or none."""
    annotator = case.build("blocks")
    for requests in ([], _requests(case, 4)):
        annotator.submit(requests)
        for limit_s in (0.0, 0.2):
            started = time.monotonic()
            annotator.collect("", limit_s)
            took = time.monotonic() - started
            asked = f"{len(requests)} requests out" if requests else "nothing asked"
            require(took <= limit_s + SLACK_S, f"with {asked}, collect with limit_s={limit_s} took {took:.1f} s")


def check_every_answer_arrives(case: Case) -> None:
    """Every request gets its number of answers, by different workers, and is closed with that count."""
    requests = _requests(case, 4)
    annotator = case.build("arrives")
    annotator.submit(requests)
    answers, closed, _ = _gather(case, annotator, requests, "arrives")
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
    answers, _, cursor = _gather(case, annotator, requests, "twice")
    annotator.submit(requests)
    for _ in range(3):  # time for what should not come
        got = annotator.collect(cursor, 0.05)
        cursor = got.cursor
        answers.update((a.id, a) for a in got.answers)
    for r in requests:
        count = sum(a.request == r.id for a in answers.values())
        require(
            count <= r.answers,
            f"a request for {r.answers} answers that is submitted three times has {count} answers: it was posted again",
        )


def check_more_answers_extend(case: Case) -> None:
    """A higher ``answers`` asks more people, not the same ones again."""
    one = _requests(case, 2, answers=1)
    annotator = case.build("extend")
    annotator.submit(one)
    first, _, cursor = _gather(case, annotator, one, "extend")
    three = [r.model_copy(update={"answers": 3}) for r in one]
    annotator.submit(three)
    try:
        answers, _, _ = _gather(case, annotator, three, "extend", Collected([*first.values()], [], cursor))
    except CheckFailed as e:
        raise CheckFailed(f"submitted again with answers raised from 1 to 3: {e}") from None
    for r in three:
        workers = [a.worker for a in answers.values() if a.request == r.id]
        require(len(workers) == 3, f"extended from 1 to 3 answers, a request has {len(workers)}")
        require(len(set(workers)) == 3, f"extended from 1 to 3 answers, they are by the workers {', '.join(workers)}")


def check_answers_are_added_one_by_one(case: Case) -> None:
    """A request that is complete wants one more, and again, from a new object each time: nobody is asked twice."""
    (request,) = _requests(case, 1, answers=1)
    answers: dict[str, Answer] = {}
    cursor = ""
    for n in (1, 2, 3):
        annotator, wanted = case.build("added"), request.model_copy(update={"answers": n})
        annotator.submit([wanted])
        known = Collected([*answers.values()], [], cursor)
        answers, closed, cursor = _gather(case, annotator, [wanted], "added", known)
        got = [a.worker for a in answers.values()]
        require(closed[request.id].delivered == n, f"closed with {closed[request.id].delivered} of {n} answers")
        require(len(got) == len(set(got)) == n, f"raised to {n} answers one by one, they are by {', '.join(got)}")


def check_survives_a_new_object(case: Case) -> None:
    """A new object on the same workdir brings what the old one was asked, from any cursor."""
    requests = _requests(case, 4)
    old = case.build("survives")
    old.submit(requests)
    first = old.collect("", 0.0)
    _answer_outside(case, old, requests, "survives")
    del old
    restarted = "after a restart, a new object on the same workdir"
    try:
        answers, closed, _ = _gather(case, case.build("survives"), requests, "survives", first, outside=False)
    except CheckFailed as e:
        raise CheckFailed(f"{restarted} does not go on: {e}") from None
    wanted = sum(min(r.answers, closed[r.id].delivered) for r in requests)
    require(wanted, "no request was answered")
    require(len(answers) >= wanted, f"{restarted} brings {len(answers)} of {wanted} answers")


def check_old_cursor_brings_the_same(case: Case) -> None:
    """Asked again from an old cursor, ``collect`` brings again what came after it."""
    requests = _requests(case, 4)
    annotator = case.build("cursor")
    annotator.submit(requests)
    _answer_outside(case, annotator, requests, "cursor")
    early = annotator.collect("", 0.0)
    answers, _, _ = _gather(case, annotator, requests, "cursor", early, outside=False)
    after = answers.keys() - {a.id for a in early.answers}
    for cursor, since in (("", answers.keys()), (early.cursor, after)):
        name = "the empty cursor" if cursor == "" else "an old cursor"
        again: set[str] = set()
        deadline = time.monotonic() + PATIENCE_S
        while not again >= since and time.monotonic() < deadline:
            got = annotator.collect(cursor, 0.1)
            cursor = got.cursor
            again |= {a.id for a in got.answers}
        lost = since - again
        require(not lost, f"asked again from {name}, collect brings {len(since) - len(lost)} of {len(since)} answers")


def check_answers_are_well_formed(case: Case) -> None:
    """Answers belong to a request and fit the task; times, prices and dates are sane."""
    requests = _requests(case, 4)
    annotator = case.build("formed")
    annotator.submit(requests)
    answers, _, _ = _gather(case, annotator, requests, "formed")
    by_id = {r.id: r for r in requests}
    for a in answers.values():
        require(a.request in by_id, f"an answer to the unknown request {a.request!r}")
        require(a.price >= 0 and 0 <= a.active_seconds < inf, f"price {a.price}, {a.active_seconds} s")
        try:
            stamp = datetime.fromisoformat(a.at)
        except ValueError:
            require(False, f"at is {a.at!r}, not ISO 8601")
        require(stamp.tzinfo is not None, f"at is {a.at!r}, without a time zone")
        if a.outcome == "label":
            require(a.payload is not None, "outcome 'label' without a payload")
            with during(f"an answer does not fit the form: parsing {a.payload}"):
                case.task.parse(a.payload or {}, by_id[a.request].item)


def check_excluded_workers_do_not_answer(case: Case) -> None:
    """Nobody answers a request that excludes them."""
    (request,) = _requests(case, 1)
    annotator = case.build("excluded")
    annotator.submit([request])
    answers, _, cursor = _gather(case, annotator, [request], "excluded")
    workers = tuple(a.worker for a in answers.values())
    second = request.model_copy(update={"id": "check-again", "exclude_workers": workers})
    annotator.submit([second])
    more, _, _ = _gather(case, annotator, [second], "excluded", Collected([], [], cursor))
    both = set(workers) & {a.worker for a in more.values() if a.request == second.id}
    require(not both, f"answered by workers whom the request excludes: {', '.join(sorted(both))}")


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
    still = len(set(ids) - closed)
    require(not still, f"{still} of {len(ids)} cancelled requests were not closed within {PATIENCE_S:g} s")


def check_settle_is_harmless(case: Case) -> None:
    """Settling nothing raises nothing, and ``where`` is one line."""
    annotator = case.build("settle")
    if "settle" in annotator.gives:
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
    since: Collected = NOTHING,
    outside: bool = True,
) -> tuple[dict[str, Answer], dict[str, Closed], str]:
    """All answers by id, the closures by request, and the cursor, once every request has its answers.

    ``since`` is what was collected before, ``outside`` whether people outside have yet to answer.
    """
    if outside:
        _answer_outside(case, annotator, requests, workdir)
    answers = {a.id: a for a in since.answers}
    closed = {c.request: c for c in since.closed}
    cursor = since.cursor
    deadline = time.monotonic() + PATIENCE_S

    def complete(r: Request) -> bool:
        end = closed.get(r.id)
        return end is not None and (end.delivered >= r.answers or end.reason != "complete")

    while not all(complete(r) for r in requests):
        if time.monotonic() > deadline:
            still = sum(not complete(r) for r in requests)
            raise CheckFailed(
                f"{still} of {len(requests)} requests for {requests[0].answers} answers were not answered and closed "
                f"within {PATIENCE_S:g} s"
            )
        got = annotator.collect(cursor, 0.1)
        cursor = got.cursor
        answers.update((a.id, a) for a in got.answers)
        closed.update((c.request, c) for c in got.closed)
    return answers, closed, cursor


ANNOTATOR_CHECKS = (
    check_collect_never_blocks,
    check_every_answer_arrives,
    check_submit_twice_is_once,
    check_more_answers_extend,
    check_answers_are_added_one_by_one,
    check_survives_a_new_object,
    check_old_cursor_brings_the_same,
    check_answers_are_well_formed,
    check_excluded_workers_do_not_answer,
    check_cancel_closes,
    check_settle_is_harmless,
)
