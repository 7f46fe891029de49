"""From requests to studies, from submissions to answers, verdicts and dollars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crew import Crew, Driver, Participant, begin, build, judge, requests, served
from emulator import Emulator
from gtloop.errors import ConfigError, GtloopError
from market import Denied

from gtloop_prolific.service import Service

Start = Callable[..., Emulator]


def test_one_batch_is_one_study_and_every_cent_is_in_both_books(tmp_path: Path, emulator: Emulator) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 6, answers=2)
    (study,) = emulator.studies.values()
    assert (study["total_available_places"], study["reward"]) == (4, 60), "12 answers are 4 sets of 3 at 20 cents"
    with served(driver.annotator) as browser:
        assert crew.work(browser) == 4
    assert driver.answers == {}, "nothing is told before a look"
    driver.look()
    assert len(driver.answers) == 12
    assert [c.reason for c in driver.closed.values()] == ["complete"] * 6
    judge(driver)
    driver.look()
    assert emulator.statuses() == {"APPROVED": 4}
    assert driver.cost == 10_000 * emulator.paid() == 12 * 200_000
    assert sum(a.fee for a in driver.answers.values()) == round(12 * 200_000 * 0.428)
    assert emulator._status(study) == "COMPLETED"
    assert emulator.calls["misfit"] == emulator.calls["denied"] == 0, "no call that the API would refuse"


def test_places_grow_with_demand_in_the_same_study(tmp_path: Path, emulator: Emulator) -> None:
    driver, _, _ = begin(tmp_path, emulator, 6)
    more = [r.model_copy(update={"id": f"s{n}"}) for n, r in enumerate(requests(tmp_path, 9))]
    crew = Crew(emulator, [r.item for r in more])
    driver.annotator.submit(more)
    driver.look(2)
    (study,) = emulator.studies.values()
    assert study["total_available_places"] == 5
    with served(driver.annotator) as browser:
        assert crew.work(browser) == 5
        driver.look()
        driver.annotator.submit([r.model_copy(update={"id": f"t{n}"}) for n, r in enumerate(more[:3])])
        driver.look()
        assert study["total_available_places"] == 6, "a study that was full recruits again"
        assert crew.work(browser) == 1
    driver.look()
    assert len(driver.answers) == 18


def test_a_study_whose_creation_broke_off_is_found_again(tmp_path: Path, start: Start) -> None:
    for fault in ("503 after", "hang", "503 before", "429"):
        emulator = start()
        emulator.next_faults = [("POST /api/v1/studies/", fault)]
        driver, _, _ = begin(tmp_path / fault, emulator, timeout_s=1)
        driver.look(2)
        assert [s["status"] for s in emulator.studies.values()] == ["ACTIVE"], fault
        del driver
        again = Driver(build(tmp_path / fault / "work", emulator))
        again.look(2)
        assert len(emulator.studies) == 1, "a new process goes on with it"


def twice(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    """Let a call that creates a study break off, and make two of it."""
    create = emulator.create

    def late(body: Any) -> dict[str, Any]:
        for study in (create(body), twin := create(body)):
            study["status"] = status
        return twin

    monkeypatch.setattr(emulator, "create", late)
    emulator.next_faults = [("POST /api/v1/studies/", "503 after")]


def test_a_draft_that_was_made_late_stays_a_draft(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice(emulator, monkeypatch, "UNPUBLISHED")
    driver, crew, _ = begin(tmp_path, emulator, 3)
    driver.look()
    assert sorted(s["status"] for s in emulator.studies.values()) == ["ACTIVE", "UNPUBLISHED"]
    with served(driver.annotator) as browser:
        assert crew.work(browser) == 1
    driver.look()
    assert len(driver.answers) == 3
    assert len(emulator.studies) == 2


def test_two_published_studies_of_one_name_are_for_a_person(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice(emulator, monkeypatch, "ACTIVE")
    with pytest.raises(ConfigError, match="Prolific has 2 studies called"):
        begin(tmp_path, emulator, 3)


def place_by_hand(emulator: Emulator) -> dict[str, Any]:
    """The latest study, with a place that nobody needs."""
    study = list(emulator.studies.values())[-1]
    study["total_available_places"] += 1
    return study


def denies(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Let Prolific refuse something for good."""

    def denied(*_: Any) -> None:
        raise Denied(400, "Not now")

    monkeypatch.setattr(emulator, what, denied)


def test_nothing_is_told_before_what_nobody_needs_is_paused(tmp_path: Path, emulator: Emulator) -> None:
    """What is told may end the run, and nobody would pause the study any more."""
    driver, crew, _ = begin(tmp_path, emulator, 3, patience_s=0.1)
    study = place_by_hand(emulator)
    with served(driver.annotator) as browser:
        assert crew.work(browser, most=1) == 1
    emulator.next_faults = [("/transition/", "503 before")]
    driver.look()
    assert emulator._status(study) == "ACTIVE"
    assert not driver.answers
    assert not driver.closed
    driver.look()
    assert emulator._status(study) == "PAUSED"
    assert len(driver.closed) == len(driver.answers) == 3


def test_a_study_that_prolific_does_not_pause_is_for_a_person(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 3)
    study = place_by_hand(emulator)
    with served(driver.annotator) as browser:
        assert crew.work(browser, most=1) == 1
    denies(emulator, monkeypatch, "move")
    for _ in range(2):
        with pytest.raises(GtloopError, match=f"/studies/{study['id']}/transition/: Not now"):
            driver.look()
    assert not driver.closed
    study["status"] = "PAUSED"  # by hand
    driver.look()
    assert len(driver.closed) == len(driver.answers) == 3


def test_no_answer_waits_for_money_and_nor_does_a_pause(tmp_path: Path, emulator: Emulator) -> None:
    """A study that is needed can't grow; another one, made later, is needed no more."""
    driver, crew, asked = begin(tmp_path, emulator, 3)
    with served(driver.annotator) as browser:
        assert crew.work(browser) == 1
        driver.look()
        driver.annotator.submit([r.model_copy(update={"id": f"s{r.id}"}) for r in asked[:2]])
        driver.look()
        study = place_by_hand(emulator)
        assert crew.work(browser, most=1) == 1
        emulator.balance = 0
        driver.annotator.submit([r.model_copy(update={"id": f"t{r.id}"}) for r in asked])
        for _ in range(2):
            with pytest.raises(GtloopError, match="Insufficient balance.*add money"):
                driver.look()
        assert len(driver.closed) == len(driver.answers) == 5
        assert emulator._status(study) == "PAUSED"
        emulator.balance = 1_000_000
        driver.look()
        assert crew.work(browser) == 1
    driver.look()
    assert len(driver.closed) == len(driver.answers) == 8


def test_who_skipped_all_is_approved_before_the_run_hears_of_it(tmp_path: Path, emulator: Emulator) -> None:
    """Nobody judges what is declined: only a look approves it."""
    driver, crew, _ = begin(tmp_path, emulator, 3, patience_s=0.1)
    with served(driver.annotator) as browser:
        assert crew.work(browser, outcome="declined") == 1
    emulator.next_faults = [("/transition/", "503 before")]
    driver.look()
    assert not driver.closed
    assert emulator.statuses() == {"AWAITING REVIEW": 1}
    driver.look()
    assert len(driver.closed) == 3
    assert emulator.statuses() == {"APPROVED": 1}


def test_a_refused_approval_keeps_no_answer_back(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 3)
    with served(driver.annotator) as browser:
        assert crew.work(browser, outcome="declined") == 1
    denies(emulator, monkeypatch, "judge")
    for _ in range(2):
        with pytest.raises(GtloopError, match="/submissions/.*/transition/: Not now"):
            driver.look()
    assert len(driver.closed) == 3


def test_who_returns_is_not_paid_and_the_images_go_to_others(tmp_path: Path, emulator: Emulator) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 3)
    (study,) = emulator.studies.values()
    with served(driver.annotator) as browser:
        name, url = emulator.take("a" * 24, study["id"]) or ("", "")
        who = Participant(browser(), url)
        crew.do(who, most=2)
        emulator.put(name, "RETURNED")
        driver.look(2)
        assert driver.answers == {}
        assert study["total_available_places"] == 1, "Prolific gives the place to somebody else by itself"
        assert crew.work(browser) == 1
    driver.look()
    assert len(driver.answers) == 3
    assert len({a.worker for a in driver.answers.values()}) == 1
    assert driver.cost == 600_000


def test_who_gives_up_early_is_asked_to_return_and_whole_work_is_paid_without_a_code(
    tmp_path: Path, emulator: Emulator
) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 6)
    (study,) = emulator.studies.values()
    with served(driver.annotator) as browser:
        early, whole = (emulator.take(c * 24, study["id"]) or ("", "") for c in "ab")
        crew.do(Participant(browser(), early[1]), most=1)
        assert emulator.complete(early[0], None) == "AWAITING REVIEW"
        crew.do(Participant(browser(), whole[1]))
        emulator.complete(whole[0], None)
        driver.look(2)
        assert emulator.submissions[early[0]]["return_requested"]
        assert len(driver.answers) == 3
        judge(driver)
        assert emulator.submissions[whole[0]]["status"] == "APPROVED"
        assert crew.work(browser) == 1
        driver.look()
    assert len([a for a in driver.answers.values() if a.outcome == "label"]) == 6
    emulator.put(early[0], "APPROVED")  # by hand, or by Prolific after 21 days
    driver.look()
    assert driver.cost == 10_000 * (emulator.paid() + 60), "one whole submission is not judged yet"
    judge(driver)
    assert driver.cost == 10_000 * emulator.paid()


def test_who_finishes_while_prolific_is_asked_is_paid(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 3)
    (study,) = emulator.studies.values()
    pages = Service.pages
    with served(driver.annotator) as browser:
        name, url = emulator.take("a" * 24, study["id"]) or ("", "")
        who = Participant(browser(), url)

        def slow(self: Service, path: str, **query: Any) -> Any:
            if emulator.submissions[name]["status"] == "ACTIVE":
                emulator.complete(name, crew.do(who)["leave"]["code"])
            return pages(self, path, **query)

        monkeypatch.setattr(Service, "pages", slow)
        driver.look(2)
    assert len(driver.answers) == 3
    assert emulator.submissions[name]["return_requested"] is None


def test_time_runs_out(tmp_path: Path, emulator: Emulator) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 3)
    (study,) = emulator.studies.values()
    with served(driver.annotator) as browser:
        name, url = emulator.take("a" * 24, study["id"]) or ("", "")
        crew.do(Participant(browser(), url), most=1)
        emulator.put(name, "TIMED-OUT")
        driver.look(2)
        assert crew.work(browser) == 1
    driver.look()
    assert len(driver.answers) == 3


def test_turned_away_where_nothing_is_left_for_somebody(tmp_path: Path, emulator: Emulator) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 3)
    (study,) = emulator.studies.values()
    emulator.studies[study["id"]]["total_available_places"] = 2  # somebody has added a place by hand
    with served(driver.annotator) as browser:
        first, second = (emulator.take(c * 24, study["id"]) or ("", "") for c in "ab")
        there = Participant(browser(), first[1])
        late = Participant(browser(), second[1])
        assert not late.in_
        assert "no images left" in late.page
        assert emulator.complete(second[0], late.code) == "RETURNED"
        crew.do(there)
        emulator.complete(first[0], there.next()["leave"]["code"])
        driver.look()
        assert emulator._status(study) == "PAUSED", "a place that nobody needs is taken off the market"
    judge(driver)
    assert driver.cost == 10_000 * emulator.paid() == 600_000


def test_the_same_participant_is_the_same_worker_and_gets_other_images(tmp_path: Path, emulator: Emulator) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 6)
    (study,) = emulator.studies.values()
    with served(driver.annotator) as browser:
        for _ in range(2):
            name, url = emulator.take("a" * 24, study["id"]) or ("", "")
            emulator.complete(name, crew.do(Participant(browser(), url))["leave"]["code"])
        driver.look()
    assert len(driver.answers) == 6
    (worker,) = {a.worker for a in driver.answers.values()}
    assert "a" * 24 not in worker
    assert b"a" * 24 not in (tmp_path / "work" / "prolific.sqlite").read_bytes(), "who it is stands on the desk only"
    assert driver.annotator.forget(worker)
    assert not driver.annotator.forget(worker)


def test_blocked_people_begin_nothing_more(tmp_path: Path, emulator: Emulator) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 6)
    (study,) = emulator.studies.values()
    with served(driver.annotator) as browser:
        name, url = emulator.take("a" * 24, study["id"]) or ("", "")
        emulator.complete(name, crew.do(Participant(browser(), url))["leave"]["code"])
        driver.look()
        (worker,) = {a.worker for a in driver.answers.values()}
        driver.annotator.block({worker: "boxes of the wrong kind"})
        again = emulator.take("a" * 24, study["id"]) or ("", "")
        assert not Participant(browser(), again[1]).in_


def test_a_forged_url_gets_in_nobody(tmp_path: Path, emulator: Emulator) -> None:
    driver, _, _ = begin(tmp_path, emulator, 3)
    (study,) = emulator.studies.values()
    with served(driver.annotator) as browser:
        _, url = emulator.take("a" * 24, study["id"]) or ("", "")
        for wrong in (
            url.replace("a" * 24, "b" * 24),
            url.split("SESSION_ID=")[0] + "SESSION_ID=" + "9" * 24,
            url.replace(study["id"], "c" * 24),
            "/arrive",
            "/arrive?PROLIFIC_PID=<script>&STUDY_ID=1&SESSION_ID=2",
        ):
            who = Participant(browser(), wrong)
            assert who.status in (403, 404), wrong
            assert not who.in_
        assert Participant(browser(), url).in_


def test_cancelled_requests_are_offered_no_more(tmp_path: Path, emulator: Emulator) -> None:
    driver, crew, asked = begin(tmp_path, emulator, 6)
    (study,) = emulator.studies.values()
    with served(driver.annotator) as browser:
        name, url = emulator.take("a" * 24, study["id"]) or ("", "")
        who = Participant(browser(), url)
        crew.do(who, most=1)
        driver.annotator.cancel([r.id for r in asked])
        driver.look()
        assert emulator._status(study) == "PAUSED"
        end = who.next()
        emulator.complete(name, end["leave"]["code"])
    driver.look(2)
    judge(driver)
    assert emulator.submissions[name]["status"] == "APPROVED", "who was at work is paid"
    assert len(driver.closed) == 6
    assert {c.reason for c in driver.closed.values()} <= {"cancelled", "complete"}
    assert driver.cost == 10_000 * emulator.paid() == 600_000
