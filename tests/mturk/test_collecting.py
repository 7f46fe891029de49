"""Collecting: every answer once, late ones too; settling: paid, rejected and rewarded once."""

from __future__ import annotations

from pathlib import Path

import pytest
from emulator.client import Denied, Process
from emulator.crew import answer_xml
from mturkkit import Start, build, crew, requests

from gtloop.errors import Unreachable
from gtloop.records import Answer, Settlement
from gtloop_plugins.annotators.mturk import Mturk

BOX = {"label": "crate", "left": 10, "top": 5, "width": 20, "height": 30}
GOOD = answer_xml({"boxes": {"boundingBoxes": [BOX], "inputImageProperties": {"width": 96, "height": 64}}})


def hit_ids(emulator: Process) -> list[str]:
    return [h["id"] for h in emulator.rows("SELECT id FROM hit ORDER BY number")]


def say(emulator: Process, hit: str, worker: str, answer: str = GOOD, seconds: float = 12.5) -> str:
    assignment: str = emulator.ask("accept", worker=worker, hit=hit)
    emulator.ask("submit", assignment=assignment, answer=answer, seconds=seconds)
    return assignment


def verdicts(answers: list[Answer], verdict: str = "pay", reason: str = "") -> list[Settlement]:
    return [
        Settlement(answer=a.id, request=a.request, worker=a.worker, verdict=verdict, reason=reason)  # type: ignore[arg-type]
        for a in answers
    ]


def everything(annotator: Mturk, cursor: str = "") -> list[Answer]:
    """All answers, once a look brings no more."""
    found: dict[str, Answer] = {}
    while True:
        got = annotator.collect(cursor, 30)
        found |= {a.id: a for a in got.answers}
        if got.cursor == cursor:
            return list(found.values())
        cursor = got.cursor


def test_an_answer_says_who_what_when_and_for_how_much(start: Start, tmp_path: Path) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 1, answers=1))
    say(emulator, hit_ids(emulator)[0], "AWORKER1")
    got = annotator.collect("", 30)
    (answer,) = got.answers
    assert answer.payload == {"boxes": [{"category": "crate", "xyxy": [10.0, 5.0, 30.0, 35.0]}]}
    assert (answer.price, answer.fee, answer.outcome) == (60_000, 12_000, "label")
    assert answer.active_seconds == pytest.approx(12.5, abs=0.1)
    assert answer.at.endswith("+00:00")
    assert "AWORKER1" not in str(got)
    assert [(c.request, c.delivered, c.reason) for c in got.closed] == [("r0", 1, "complete")]


def test_part_of_the_answers_comes_before_a_hit_is_done(start: Start, tmp_path: Path) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 1, answers=2))
    say(emulator, hit_ids(emulator)[0], "AW1")
    got = annotator.collect("", 30)
    assert (len(got.answers), got.closed) == (1, [])
    say(emulator, hit_ids(emulator)[0], "AW2")
    more = annotator.collect(got.cursor, 30)
    assert (len(more.answers), len(more.closed)) == (1, 1)


def test_many_assignments_come_in_pages_of_any_order(start: Start, tmp_path: Path) -> None:
    emulator = start(shuffled=True)
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 1, answers=130))
    (hit,) = hit_ids(emulator)
    for n in range(130):
        say(emulator, hit, f"AW{n}", seconds=0)
    assert len({a.worker for a in everything(annotator)}) == 130


@pytest.mark.parametrize("eager", [False, True])
def test_who_accepted_before_the_end_is_heard_and_paid(start: Start, tmp_path: Path, eager: bool) -> None:
    emulator = start(eager=eager)
    annotator = build(tmp_path / "work", emulator, lifetime_hours=1, assignment_minutes=120)
    annotator.submit(requests(tmp_path, 2, answers=2))
    late, never = hit_ids(emulator)
    taken = emulator.ask("accept", worker="ALATE", hit=late)
    emulator.ask("clock", advance_s=3599 + 600)
    annotator._parts.books._db.execute("UPDATE hit SET ends = ends - 4199")  # its own clock
    got = annotator.collect("", 30)
    assert [(c.request, c.reason) for c in got.closed] == [("r1", "expired")]
    with pytest.raises(Denied):
        emulator.ask("accept", worker="AOTHER", hit=never)
    emulator.ask("clock", advance_s=1500)
    emulator.ask("submit", assignment=taken, answer=GOOD)
    more = annotator.collect(got.cursor, 30)
    assert [(a.request, a.price) for a in more.answers] == [("r0", 60_000)]
    assert [(c.request, c.delivered, c.reason) for c in more.closed] == [("r0", 1, "expired")]
    annotator.settle(verdicts(more.answers))
    assert emulator.paid() == (60_000, 12_000)
    assert emulator.ask("books")["held"] == 0


def test_a_worker_who_gives_up_makes_room(start: Start, tmp_path: Path) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 1, answers=1))
    (hit,) = hit_ids(emulator)
    emulator.ask("return", assignment=emulator.ask("accept", worker="AQUITS", hit=hit))
    emulator.ask("accept", worker="ADAWDLES", hit=hit)
    assert annotator.collect("", 0.2).closed == []
    emulator.ask("clock", advance_s=31 * 60)
    say(emulator, hit, "ADOES")
    assert [c.reason for c in annotator.collect("", 30).closed] == ["complete"]


def test_the_deadline_of_a_request_ends_its_hit(start: Start, tmp_path: Path) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 1, deadline_s=7200.0))
    (hit,) = emulator.rows("SELECT expires - created AS life FROM hit")
    assert hit["life"] == pytest.approx(7200, abs=1)


def test_malformed_answers_are_answers(start: Start, tmp_path: Path) -> None:
    """Whoever sends rubbish is owed a decision; core sees a label that no task takes."""
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    bomb = '<!DOCTYPE a [<!ENTITY b "' + "x" * 1000 + '"><!ENTITY c "&b;&b;">]><a>&c;</a>'
    rubbish = ["", "no xml", bomb, answer_xml({"boxes": {"boundingBoxes": "many"}}), GOOD.replace("20", "NaN")]
    annotator.submit(requests(tmp_path, 1, answers=len(rubbish)))
    for n, text in enumerate(rubbish):
        say(emulator, hit_ids(emulator)[0], f"AW{n}", text)
    answers = everything(annotator)
    assert len(answers) == len(rubbish)
    assert all(a.outcome == "label" and a.payload and "unreadable" in a.payload for a in answers)


def test_many_open_hits_cost_few_calls(start: Start, tmp_path: Path) -> None:
    emulator = start(crew=crew())
    many = [r.model_copy(update={"id": f"{r.id}-{k}"}) for k in range(50) for r in requests(tmp_path, 3, answers=1)]
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(many)
    annotator.collect("", 30)
    before = sum(emulator.ask("books")["calls"].values())
    annotator.collect("", 30)
    assert sum(emulator.ask("books")["calls"].values()) - before == 1
    emulator.ask("work")
    before = sum(emulator.ask("books")["calls"].values())
    assert len(everything(annotator)) == 150
    calls = sum(emulator.ask("books")["calls"].values()) - before
    assert calls <= 150 + 10, "one for each HIT with answers, and the lists"


def test_looks_are_not_made_too_often(start: Start, tmp_path: Path) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator, poll_s=30)
    annotator.submit(requests(tmp_path, 1))
    annotator.collect("", 10)
    before = emulator.ask("books")["calls"]
    annotator.collect("", 0.3)
    assert emulator.ask("books")["calls"] == before


def test_an_outage_while_waiting_is_ridden_out(start: Start, tmp_path: Path) -> None:
    emulator = start(crew=crew())
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path))
    emulator.ask("work")
    emulator.kill()
    assert annotator.collect("", 0.1).answers == []
    emulator.start()
    assert len(everything(annotator)) == 6, "the emulator's books have survived, too"


# -------------------------------------------------------------------------------------------- settle


def test_settling_again_changes_nothing(start: Start, tmp_path: Path) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 1, answers=3))
    for worker in ("AGOOD", "ABAD", "ABEST"):
        say(emulator, hit_ids(emulator)[0], worker)
    good, bad, best = sorted(everything(annotator), key=lambda a: ["AGOOD", "ABAD", "ABEST"].index(name(annotator, a)))
    decided = [
        *verdicts([good, best]),
        *verdicts([bad], "reject", "No box is near an object."),
        Settlement(answer=best.id, request="r0", worker=best.worker, verdict="bonus", amount=250_000, reason="Best."),
    ]
    build(tmp_path / "work", emulator).settle(decided)
    calls = emulator.ask("books")["calls"]
    build(tmp_path / "work", emulator).settle(decided)
    assert emulator.ask("books")["calls"] == calls
    assert emulator.paid() == (120_000, 24_000)
    assert emulator.paid("bonus") == (250_000, 50_000)
    rejected = emulator.rows("SELECT worker, feedback FROM assignment WHERE status = 'Rejected'")
    assert rejected == [{"worker": "ABAD", "feedback": "No box is near an object."}]


def name(annotator: Mturk, answer: Answer) -> str:
    return annotator._parts.books.worker_id(answer.worker) or ""


def test_settled_but_not_written_down(start: Start, tmp_path: Path) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 1, answers=2))
    for worker in ("A1", "A2"):
        say(emulator, hit_ids(emulator)[0], worker)
    one, two = everything(annotator)
    annotator.settle([*verdicts([one]), *verdicts([two], "reject", "Wrong.")])
    annotator._parts.books._db.execute("UPDATE assignment SET verdict = ''")
    annotator.settle([*verdicts([one]), *verdicts([two], "reject", "Wrong.")])
    assert emulator.paid() == (60_000, 12_000)
    assert [v for _, v in annotator._parts.books._db.execute("SELECT id, verdict FROM assignment ORDER BY rowid")] == [
        "pay",
        "reject",
    ]


@pytest.mark.parametrize(("forgotten", "days"), [("%bonus %", 0), ("bonus %", 0), ("bonus %", 2)])
@pytest.mark.parametrize(("amount", "reason"), [(2_010_000, ""), (290_000, "Best.")])
def test_a_bonus_that_was_paid_but_not_written_down(
    start: Start, tmp_path: Path, forgotten: str, days: int, amount: int, reason: str
) -> None:
    """Killed right after it was sent; after a day Amazon has forgotten the token, but not the payment."""
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 1, answers=1))
    say(emulator, hit_ids(emulator)[0], "ABEST")
    (answer,) = everything(annotator)
    bonus = Settlement(
        answer=answer.id, request="r0", worker=answer.worker, verdict="bonus", amount=amount, reason=reason
    )
    annotator.settle([bonus])
    assert emulator.paid("bonus")[0] == amount
    annotator._parts.books.do("DELETE FROM fact WHERE key LIKE ?", forgotten)
    emulator.ask("clock", advance_s=days * 86_400)
    annotator.settle([bonus])
    assert emulator.paid("bonus")[0] == amount
    calls = emulator.ask("books")["calls"]
    annotator.settle([bonus])
    assert emulator.ask("books")["calls"] == calls, "it is known now"


def test_a_bonus_that_never_arrived_is_sent_again(start: Start, tmp_path: Path) -> None:
    """Another amount, and another reason, are other bonuses."""
    emulator = start()
    annotator = build(tmp_path / "work", emulator, patience_s=0.2)
    annotator.submit(requests(tmp_path, 1, answers=1))
    say(emulator, hit_ids(emulator)[0], "ABEST")
    (answer,) = everything(annotator)

    def bonus(amount: int, reason: str) -> Settlement:
        return Settlement(
            answer=answer.id, request="r0", worker=answer.worker, verdict="bonus", amount=amount, reason=reason
        )

    annotator.settle([bonus(20_000, "One."), bonus(30_000, "Two.")])
    emulator.kill()
    with pytest.raises(Unreachable):
        annotator.settle([bonus(20_000, "Two.")])
    emulator.start()
    build(tmp_path / "work", emulator).settle([bonus(20_000, "Two.")])
    assert emulator.paid("bonus")[0] == 70_000


def test_what_amazon_paid_before_it_was_rejected_is_told(start: Start, tmp_path: Path) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator, auto_approve_days=1)
    annotator.submit(requests(tmp_path, 1, answers=1))
    say(emulator, hit_ids(emulator)[0], "ASLOW")
    got = annotator.collect("", 30)
    emulator.ask("clock", advance_s=2 * 86_400)
    annotator.settle(verdicts(got.answers, "reject", "Too late."))
    more = annotator.collect(got.cursor, 30)
    assert [(a.outcome, a.price, a.fee) for a in more.answers] == [("declined", 60_000, 12_000)]
    assert emulator.paid() == (60_000, 12_000), "so that the ledger, which took the first price back, agrees"


def test_hits_that_are_paid_for_are_deleted_and_rejections_stay(start: Start, tmp_path: Path) -> None:
    emulator = start(crew=crew())
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 2, answers=2))
    emulator.ask("work")
    answers = everything(annotator)
    annotator.settle(verdicts([a for a in answers if a.request == "r0"]))
    annotator.settle(verdicts([a for a in answers if a.request == "r1"], "reject", "Wrong."))
    assert [h["deleted"] for h in emulator.rows("SELECT deleted FROM hit ORDER BY number")] == [1, 0]


def test_a_deleted_hit_grows_into_another(start: Start, tmp_path: Path) -> None:
    emulator = start(crew=crew())
    annotator = build(tmp_path / "work", emulator)
    (request,) = requests(tmp_path, 1, answers=2)
    annotator.submit([request])
    emulator.ask("work")
    got = annotator.collect("", 30)
    annotator.settle(verdicts(got.answers))
    annotator.submit([request.model_copy(update={"answers": 4})])
    emulator.ask("work")
    more = annotator.collect(got.cursor, 30)
    assert len({a.worker for a in (*got.answers, *more.answers)}) == 4
    assert [c.delivered for c in more.closed] == [4]


# -------------------------------------------------------------------------------------------- people


def test_blocked_people_get_no_more_work_and_others_do(start: Start, tmp_path: Path) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 2, answers=2))
    one, two = hit_ids(emulator)
    say(emulator, one, "ABAD")
    (answer,) = annotator.collect("", 30).answers
    for _ in range(2):
        build(tmp_path / "work", emulator).block({answer.worker: "mean quality 0.1", "nobody": "?"})
    with pytest.raises(Denied, match="does not meet"):
        emulator.ask("accept", worker="ABAD", hit=two)
    say(emulator, two, "AGOOD")
    assert not [c for c in emulator.ask("books")["calls"] if "Block" in c], "Amazon's own block hurts people everywhere"


def test_excluded_people_do_not_see_the_hit(start: Start, tmp_path: Path) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    first, second = requests(tmp_path, 2, answers=2)
    annotator.submit([first])
    say(emulator, hit_ids(emulator)[0], "AKNOWS")
    (answer,) = annotator.collect("", 30).answers
    annotator.submit([second.model_copy(update={"exclude_workers": (answer.worker,)})])
    with pytest.raises(Denied, match="does not meet"):
        emulator.ask("accept", worker="AKNOWS", hit=hit_ids(emulator)[1])
    say(emulator, hit_ids(emulator)[1], "ANEW")


def test_somebody_excluded_who_slipped_in_is_paid_and_not_counted(start: Start, tmp_path: Path) -> None:
    """Forgotten people can't be kept out by name, only recognised when they answer."""
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    first, second = requests(tmp_path, 2, answers=1)
    annotator.submit([first])
    say(emulator, hit_ids(emulator)[0], "AKNOWS")
    got = annotator.collect("", 30)
    annotator.settle(verdicts(got.answers))
    assert annotator.forget(got.answers[0].worker)
    annotator.submit([second.model_copy(update={"exclude_workers": (got.answers[0].worker,)})])
    say(emulator, hit_ids(emulator)[1], "AKNOWS")
    more = annotator.collect(got.cursor, 30)
    assert [(a.outcome, a.payload, a.price) for a in more.answers] == [("declined", None, 60_000)]
    assert [(c.delivered, c.reason) for c in more.closed] == [(0, "expired")]
    annotator.collect(more.cursor, 30)
    assert emulator.paid() == (120_000, 24_000)


def test_forget_leaves_no_trace_of_a_name(start: Start, tmp_path: Path) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 1, answers=1))
    say(emulator, hit_ids(emulator)[0], "AVERYSECRETNAME")
    (answer,) = annotator.collect("", 30).answers
    files = sorted(p for p in (tmp_path / "work").rglob("*") if p.is_file())
    assert any(b"AVERYSECRETNAME" in p.read_bytes() for p in files)
    assert annotator.forget(answer.worker)
    assert not annotator.forget(answer.worker)
    assert not any(b"AVERYSECRETNAME" in p.read_bytes() for p in files)
    bonus = Settlement(answer=answer.id, request="r0", worker=answer.worker, verdict="bonus", amount=10_000, reason="x")
    annotator.settle([bonus])
    assert emulator.paid("bonus") == (10_000, 10_000), "Amazon still knows who it was"
