"""The desk: who gets what, what counts, how requests end; under any order of events, and many threads."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from deskparts import BOX, gather, make_local, make_requests, site_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gtloop.records import Request
from gtloop_plugins.annotators.local import Local
from gtloop_plugins.annotators.local.refused import Refused
from gtloop_plugins.annotators.local.tokens import Claim
from gtloop_plugins.annotators.local.work import Idle, Said, Task, Work

LABEL = Said("label", BOX, 1.0)
DECLINED = Said("declined", None, 1.0)


def claims(local: Local, *names: str) -> list[Claim]:
    """Sessions of people, in the order of their names."""
    return [Claim(p.id, p.epoch, f"s-{name}") for name in names for p in [local._people.ensure(name, "annotator")]]


def take(work: Work, claim: Claim, *holding: str) -> Task:
    found = work.next(claim, holding)
    assert isinstance(found, Task), found
    return found


def pass_time(local: Local, seconds: float = 1e6) -> None:
    """Let every lease and deadline come nearer."""
    with local._database.write() as c:
        c.exec_driver_sql("UPDATE lease SET until = until - ?", (seconds,))
        c.exec_driver_sql("UPDATE request SET deadline = deadline - ?", (seconds,))


def test_requests_come_in_the_order_of_submission(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    requests = make_requests(tmp_path, 4)
    local.submit([requests[2], requests[0]])
    local.submit([requests[1], requests[2], requests[3]])
    (me,) = claims(local, "a")
    work = site_of(local).work
    order = []
    for _ in requests:
        task = take(work, me)
        order.append(task.request.id)
        work.answer(me, task.task, LABEL)
    assert order == ["request-2", "request-0", "request-1", "request-3"]
    assert work.next(me, []) == Idle("none")


def test_a_reload_brings_the_oldest_lease_back_with_its_draft(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 3))
    (me,) = claims(local, "a")
    work = site_of(local).work
    first = take(work, me)
    ahead = take(work, me, first.task)
    assert ahead.number != first.number
    assert work.next(me, [first.task, ahead.task]) == Idle("holding")
    work.draft(me, first.task, '{"boxes": [1]}')
    assert take(work, me)[:2] == first[:2]
    assert take(work, me).draft == {"boxes": [1]}
    assert take(work, me, first.task).task == ahead.task


def test_a_lease_that_ran_out_goes_to_others_and_can_be_lost(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 1))
    a, b = claims(local, "a", "b")
    work = site_of(local).work
    mine = take(work, a)
    assert work.next(b, []) == Idle("held")
    pass_time(local)
    assert work.renew(a, [mine.task]) == []  # nobody took it
    pass_time(local)
    other = take(work, b)
    assert other.task != mine.task
    assert work.renew(a, [mine.task]) == [mine.task]
    with pytest.raises(Refused, match="went to somebody else") as lost:
        work.draft(a, mine.task, "{}")
    assert (lost.value.status, lost.value.code) == (409, "lease_lost")
    work.answer(a, mine.task, LABEL)  # it still wanted an answer
    with pytest.raises(Refused) as late:
        work.answer(b, other.task, LABEL)
    assert (late.value.status, late.value.code) == (409, "too_late")
    answers, closed = gather(local)
    assert [(x.worker, x.price) for x in answers] == [(a.person, 7)]
    assert [(x.request, x.delivered, x.reason) for x in closed] == [("request-0", 1, "complete")]


def test_the_same_answer_again_changes_nothing_and_another_is_refused(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 1, answers=2))
    (me,) = claims(local, "a")
    work = site_of(local).work
    task = take(work, me)
    for seconds in (600.0, 900.0):
        work.answer(me, task.task, LABEL._replace(seconds=seconds))
    with pytest.raises(Refused) as refused:
        work.answer(me, task.task, Said("cannot_tell", None, 1))
    assert (refused.value.status, refused.value.code) == (409, "already_answered")
    (answer,) = gather(local)[0]
    assert answer.outcome == "label"
    assert answer.active_seconds < 600.0  # no more than the time since the lease began


def test_declines_close_a_request_once_nobody_is_left(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 1))
    a, b, c = claims(local, "a", "b", "c")
    local._people.ensure("boss", "owner")  # is not waited for
    work = site_of(local).work
    for who in (a, b):
        work.answer(who, take(work, who).task, DECLINED)
        assert gather(local)[1] == []
    local._people.revoke(c.person)
    answers, closed = gather(local)
    assert [(x.delivered, x.reason) for x in closed] == [(0, "declined")]
    assert [(x.outcome, x.price) for x in answers] == [("declined", 0)] * 2
    assert work.next(a, []) == Idle("none")


def test_a_decline_does_not_close_what_more_people_were_wanted_for(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 1, answers=3))
    a, b = claims(local, "a", "b")
    work = site_of(local).work
    work.answer(a, take(work, a).task, DECLINED)
    work.answer(b, take(work, b).task, LABEL)
    assert work.next(a, []) == Idle("others")
    assert gather(local)[1] == []
    (c,) = claims(local, "c")
    work.answer(c, take(work, c).task, LABEL)
    assert [(x.delivered, x.reason) for x in gather(local)[1]] == [(2, "declined")]


def test_excluded_people_reviewers_and_blocked_ones_get_nothing_to_draw(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    a, b = claims(local, "a", "b")
    rita = local._people.ensure("rita", "reviewer")
    local.submit(make_requests(tmp_path, 1, exclude_workers=(a.person,)))
    local.submit(make_requests(tmp_path, 1, first=1, mode="verify", proposal=BOX))
    work = site_of(local).work
    assert take(work, a).request.mode == "verify"
    work.release(a, [take(work, a).task])
    assert take(work, Claim(rita.id, 0, "r")).request.id == "request-1"
    local.block({b.person: "too many slips", "w-nobody": "x"})
    local.block({b.person: "too many slips"})
    assert work.next(b, []) == Idle("blocked", why="too many slips")


def test_a_request_that_grows_may_exclude_more_people(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    a, b, c = claims(local, "a", "b", "c")
    local.submit(make_requests(tmp_path, 1))
    work = site_of(local).work
    work.answer(a, take(work, a).task, LABEL)
    local.submit(make_requests(tmp_path, 1, answers=2, exclude_workers=(b.person,)))
    assert work.next(b, []) == Idle("others")
    assert take(work, c).request.id == "request-0"


def test_a_block_gives_back_what_is_held_and_refuses_the_answer(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 1))
    a, b = claims(local, "a", "b")
    work = site_of(local).work
    task = take(work, a)
    local.block({a.person: "slips"})
    with pytest.raises(Refused) as refused:
        work.answer(a, task.task, LABEL)
    assert refused.value.code == "blocked"
    assert take(work, b).request.id == "request-0"


def test_a_deadline_expires_also_when_only_the_driver_looks(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 1, deadline_s=60.0))
    local.submit(make_requests(tmp_path, 1, first=1))
    (me,) = claims(local, "a")
    work = site_of(local).work
    task = take(work, me)
    assert gather(local) == ([], [])
    pass_time(local, 61)
    assert [(x.request, x.reason) for x in gather(local)[1]] == [("request-0", "expired")]
    with pytest.raises(Refused) as refused:
        work.answer(me, task.task, LABEL)
    assert refused.value.code == "too_late"
    grown = make_requests(tmp_path, 1, answers=2, deadline_s=60.0)
    local.submit(grown)  # asks again, with a new deadline
    work.answer(me, task.task, LABEL)
    assert len(gather(local)[0]) == 1


def test_forgetting_erases_the_name_and_the_links(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 1))
    (me,) = claims(local, "Anna Smith")
    work = site_of(local).work
    work.answer(me, take(work, me).task, LABEL)
    assert local.forget(me.person)
    assert not local.forget(me.person)
    assert not local.forget("w-nobody")
    with pytest.raises(Refused) as refused:
        work.next(me, [])
    assert refused.value.status == 401
    assert [a.worker for a in gather(local)[0]] == [me.person]
    assert "Smith" not in "".join(map(str, _dump(local)))


def _dump(local: Local) -> list[Any]:
    with local._database.read() as c:
        tables = [t for (t,) in c.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").all()]
        return [row for t in tables for row in c.exec_driver_sql(f"SELECT * FROM {t}").all()]


def test_collect_waits_for_what_another_process_would_write(tmp_path: Path) -> None:
    local, other = make_local(tmp_path), make_local(tmp_path)
    local.submit(make_requests(tmp_path, 1))
    (me,) = claims(other, "a")
    work = site_of(other).work
    task = take(work, me)
    timer = threading.Timer(0.3, lambda: work.answer(me, task.task, LABEL))
    timer.start()
    started = time.monotonic()
    got = local.collect("", 120)
    timer.join()
    assert len(got.answers) == len(got.closed) == 1
    assert time.monotonic() - started < 60


def test_a_long_batch_is_collected_in_pieces_closures_last(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    item = make_requests(tmp_path, 1)[0].item
    local.submit([Request(id=f"r{n}", item=item, answers=1) for n in range(1200)])
    (me,) = claims(local, "a")
    work = site_of(local).work
    with local._database.write() as c:  # what people would do, faster
        c.exec_driver_sql(
            "INSERT INTO answer (request, worker, outcome, seconds, price, at) "
            "SELECT number, ?, 'empty', 1.0, 7, '2026-01-01T00:00:00.000+00:00' FROM request WHERE number < 1200",
            (me.person,),
        )
        c.exec_driver_sql("UPDATE request SET got = 1, state = 'complete' WHERE number < 1200")
        c.exec_driver_sql("INSERT INTO closure (request, delivered, reason) SELECT id, 1, 'complete' FROM request")
    work.answer(me, take(work, me).task, LABEL)
    first = local.collect("", 0)
    assert (len(first.answers), first.closed) == (1000, [])
    second = local.collect(first.cursor, 0)
    assert len({a.id for a in [*first.answers, *second.answers]}) == 1200
    assert len(second.closed) >= 1200


def test_threads_never_get_one_request_twice_nor_more_answers_than_wanted(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 10, answers=3))
    everybody = claims(local, *"abcdefgh")
    work = site_of(local).work
    accepted: list[tuple[str, str]] = []
    faults: list[BaseException] = []

    def label(me: Claim) -> None:
        try:
            while isinstance(found := work.next(me, []), Task):
                work.answer(me, found.task, LABEL)
                accepted.append((found.request.id, me.person))
        except BaseException as e:
            faults.append(e)

    threads = [threading.Thread(target=label, args=(me,)) for me in everybody]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert faults == []
    answers, closed = gather(local)
    assert sorted((a.request, a.worker) for a in answers) == sorted(accepted)
    assert len(set(accepted)) == len(accepted) == 30
    assert set(Counter(a.request for a in answers).values()) == {3}
    assert len(closed) == 10


class Schedules(RuleBasedStateMachine):
    """Any order of what driver, people and time do. The model is what was acknowledged."""

    people = ("a", "b", "c", "d")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.local = make_local(Path(self.folder.name))
        self.claims = dict(zip(self.people, claims(self.local, *self.people), strict=True))
        self.work = site_of(self.local).work
        self.items = [r.item for r in make_requests(Path(self.folder.name), 4)]
        self.wanted: dict[str, int] = {}
        self.excluded: dict[str, str] = {}
        self.tasks: dict[tuple[str, str], str] = {}
        self.said: dict[tuple[str, str], str] = {}
        self.cursor, self.answers, self.closed = "", [], []

    def teardown(self) -> None:
        assert [a.id for a in self.answers] == [a.id for a in gather(self.local)[0]][: len(self.answers)]
        self.folder.cleanup()

    @rule(n=st.integers(0, 3), answers=st.integers(1, 3), who=st.sampled_from(people), exclude=st.booleans())
    def submit(self, n: int, answers: int, who: str, exclude: bool) -> None:
        request_id = f"r{n}"
        if request_id not in self.wanted and exclude:
            self.excluded[request_id] = who
        out = self.excluded.get(request_id)
        workers = (self.claims[out].person,) if out else ()
        request = Request(id=request_id, item=self.items[n], answers=answers, exclude_workers=workers, deadline_s=500.0)
        self.local.submit([request])
        self.wanted[request_id] = max(answers, self.wanted.get(request_id, 0))

    @rule(who=st.sampled_from(people), holding=st.booleans())
    def next(self, who: str, holding: bool) -> None:
        mine = [task for (w, _), task in self.tasks.items() if w == who]
        found = self.work.next(self.claims[who], mine if holding else [])
        if isinstance(found, Task):
            assert (who, found.request.id) not in self.said, "asked somebody again"
            assert self.excluded.get(found.request.id) != who
            self.tasks[who, found.request.id] = found.task

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), outcome=st.sampled_from(["label", "empty", "declined", "cannot_tell"]))
    def answer(self, data: st.DataObject, outcome: Any) -> None:
        (who, request), task = data.draw(st.sampled_from(sorted(self.tasks.items())))
        code, known = "", self.said.get((who, request))
        try:
            self.work.answer(self.claims[who], task, Said(outcome, BOX if outcome == "label" else None, 1.0))
        except Refused as e:
            code = e.code
        if known is not None:
            assert code == ("" if known == outcome else "already_answered")
        elif code != "too_late":
            assert code == ""
            self.said[who, request] = outcome

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), give_back=st.booleans())
    def renew_or_release(self, data: st.DataObject, give_back: bool) -> None:
        (who, _), task = data.draw(st.sampled_from(sorted(self.tasks.items())))
        act = self.work.release if give_back else self.work.renew
        act(self.claims[who], [task])

    @rule(n=st.integers(0, 3))
    def cancel(self, n: int) -> None:
        self.local.cancel([f"r{n}"])

    @rule(seconds=st.sampled_from([0.0, 400.0, 700.0]))
    def wait(self, seconds: float) -> None:
        pass_time(self.local, seconds)

    @rule()
    def collect(self) -> None:
        got = self.local.collect(self.cursor, 0)
        self.cursor = got.cursor
        self.answers += got.answers
        self.closed += got.closed
        for end in got.closed:
            given = sum(a.request == end.request and a.outcome != "declined" for a in self.answers)
            assert end.delivered <= given, "a closure before its answers"

    @invariant()
    def the_books_agree(self) -> None:
        answers, closed = gather(self.local)
        people = {c.person: name for name, c in self.claims.items()}
        assert {(people[a.worker], a.request): a.outcome for a in answers} == self.said
        assert len(answers) == len(self.said)
        got = Counter(a.request for a in answers if a.outcome != "declined")
        with self.local._database.read() as c:
            rows = c.exec_driver_sql("SELECT id, want, got, state FROM request").all()
        for request_id, want, counted, state in rows:
            assert want == self.wanted[request_id]
            assert counted == got[request_id] <= want
            assert (state == "complete") == (counted == want)
            assert state == "open" or [x for x in closed if x.request == request_id][-1].reason == state


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
