"""Verdicts, bonuses, the last few images, and what is checked before anything is paid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crew import Crew, Driver, begin, build, judge, requests, served
from emulator import TOKEN, Emulator
from gtloop.errors import ConfigError, GtloopError, Unreachable
from gtloop.records import Settlement

from gtloop_prolific.annotator import Prolific

Start = Callable[..., Emulator]


def test_a_rejection_needs_all_answers_and_says_why(tmp_path: Path, emulator: Emulator) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 6)
    with served(driver.annotator) as browser:
        assert crew.work(browser) == 2
    driver.look()
    workers = sorted({a.worker for a in driver.answers.values()})
    all_of_one = {a.id for a in driver.answers.values() if a.worker == workers[0]}
    one_of_other = next(a for a in driver.answers.values() if a.worker == workers[1])
    judge(driver, {*all_of_one, one_of_other.id})
    assert emulator.statuses() == {"APPROVED": 1, "REJECTED": 1}
    rejected = next(s for s in emulator.submissions.values() if s["status"] == "REJECTED")
    assert rejected["message"].startswith("Boxes are missing. ")
    assert rejected["category"] == "FAILED_INSTRUCTIONS"
    before = driver.cost
    driver.look()
    anyway = [a for a in driver.answers.values() if a.outcome == "declined"]
    assert [a.request for a in anyway] == [one_of_other.request]
    assert driver.cost - before == one_of_other.price, "the ledger took it for unpaid; it was paid"
    judge(driver, {*all_of_one, one_of_other.id})
    driver.look()
    assert driver.cost - before == one_of_other.price, "asked again, nothing changes"


def test_what_is_skipped_is_paid_and_not_asked_again(tmp_path: Path, emulator: Emulator) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 3)
    with served(driver.annotator) as browser:
        assert crew.work(browser, outcome="declined") == 1
    driver.look(2)
    assert {c.reason for c in driver.closed.values()} == {"declined"}
    assert emulator.statuses() == {"APPROVED": 1}, "nobody judges what was declined"
    assert driver.cost == 600_000
    assert not emulator.offered()


def worked(tmp_path: Path, emulator: Emulator, **options: Any) -> tuple[Driver, Settlement]:
    """Somebody whose work is approved, and a bonus for it."""
    driver, crew, _ = begin(tmp_path, emulator, 3, **options)
    with served(driver.annotator) as browser:
        crew.work(browser)
    driver.look(2)
    judge(driver)
    a = next(iter(driver.answers.values()))
    return driver, Settlement(
        answer=a.id, request=a.request, worker=a.worker, verdict="bonus", amount=500_000, reason="good"
    )


def payments(emulator: Emulator) -> int:
    return sum(b["paid"] for b in emulator.bonuses.values())


@pytest.mark.parametrize("fault", ["", "hang", "503 after", "503 before", "429"])
def test_a_bonus_is_never_paid_twice(
    tmp_path: Path, emulator: Emulator, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.hang_s = 8.0  # longer than a call may take; a slow machine is no fault
    driver, bonus = worked(tmp_path, emulator)
    emulator.next_faults = [("/pay/", fault)] if fault else []
    driver.annotator.settle([bonus])
    driver.annotator.settle([bonus])
    assert payments(emulator) == (0 if fault == "503 before" else 1)
    assert [b["amount"] for b in emulator.bonuses.values()] == [50]
    assert ("is not known" in caplog.text) == (fault == "503 before"), "then a person has to look"


def test_a_bonus_that_was_refused_is_paid_once_there_is_money(
    tmp_path: Path, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    driver, bonus = worked(tmp_path, emulator)
    emulator.balance = 0
    for _ in range(2):
        with pytest.raises(GtloopError, match="Insufficient balance.*add money"):
            driver.annotator.settle([bonus])
    emulator.balance = 1_000_000
    for _ in range(2):
        driver.annotator.settle([bonus])
    assert payments(emulator) == 1
    assert "is not known" not in caplog.text


def test_a_bonus_that_was_never_sent_is_paid_later(
    tmp_path: Path, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    driver, bonus = worked(tmp_path, emulator, patience_s=0.1)
    emulator.next_faults = [("/pay/", "429")]
    with pytest.raises(Unreachable):
        driver.annotator.settle([bonus])
    assert payments(emulator) == 0
    for _ in range(2):
        driver.annotator.settle([bonus])
    assert payments(emulator) == 1
    assert "is not known" not in caplog.text


def test_a_bonus_is_not_taken_for_another_of_the_same_amount(
    tmp_path: Path, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    driver, bonus = worked(tmp_path, emulator)
    another = bonus.model_copy(update={"reason": "very good"})
    driver.annotator.settle([bonus])
    emulator.next_faults = [("/pay/", "503 before")]
    driver.annotator.settle([another])
    assert payments(emulator) == 1
    assert "is not known" in caplog.text, "a person has to look"
    list(emulator.bonuses.values())[-1]["paid"] = 1  # by hand
    caplog.clear()
    for _ in range(2):
        driver.annotator.settle([bonus, another])
    assert payments(emulator) == 2
    assert "is not known" not in caplog.text


def test_too_few_images_for_prolifics_least_pay_are_given_back(
    tmp_path: Path, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    driver, _, _ = begin(tmp_path, emulator, 1, price=30_000, images=20, seconds_per_image=10)
    driver.look()
    assert not emulator.studies
    assert [(c.reason, c.delivered) for c in driver.closed.values()] == [("declined", 0)]
    assert "leftovers_usd" in caplog.text
    given = build(tmp_path / "given", emulator, price=30_000, images=20, seconds_per_image=10, leftovers_usd=0.3)
    asked = requests(tmp_path, 1)
    given.submit(asked)
    driver = Driver(given)
    driver.look()
    crew = Crew(emulator, [r.item for r in asked])
    with served(given) as browser:
        assert crew.work(browser) == 1
    driver.look()
    assert driver.cost == 200_000, "a minute at 12 dollars an hour"
    given.submit([asked[0].model_copy(update={"id": "another"})])
    driver.look(2)
    assert driver.closed["another"].reason == "declined", "not more than was allowed for"


def test_check_says_what_is_lacking(tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(why: str, kind: type[GtloopError] = ConfigError, cost: int = 10_000_000, **options: Any) -> None:
        with pytest.raises(kind, match=why) as found:
            build(tmp_path / "work", emulator, **options).check(cost)
        assert TOKEN not in str(found.value)
        assert "\n" not in str(found.value)

    build(tmp_path / "work", emulator, workspace="w1").check(10_000_000)
    refuses("at which https address", public_url=None)
    refuses(r"annotators.prolific.confirm_usd=10\.00", confirm_usd=None)
    refuses(r"up to \$1,000\.01 on Prolific", cost=1_000_010_000)
    refuses("fee_share", fee_share=0.333)
    emulator.balance = 500
    refuses(r"the workspace has \$5\.00", workspace="w1")
    refuses("the workspace is in USD", workspace="w1", currency="GBP", usd_rate=1.3)
    monkeypatch.setenv("PROLIFIC_TOKEN", "wrong-" + TOKEN)
    refuses("does not let this token")
    monkeypatch.delenv("PROLIFIC_TOKEN")
    refuses("set PROLIFIC_TOKEN")
    monkeypatch.setenv("PROLIFIC_TOKEN", TOKEN)
    emulator.stop()
    refuses("fails: ", Unreachable)


def test_what_prolific_refuses_is_one_line(tmp_path: Path, start: Start) -> None:
    poor = start(balance=10)
    annotator = build(tmp_path / "work", poor)
    annotator.submit(requests(tmp_path, 3))
    with pytest.raises(GtloopError, match="Prolific refuses POST .*Insufficient balance.*add money"):
        Driver(annotator).look(3)


def test_it_is_an_annotator_that_spends_money() -> None:
    assert Prolific.spends_money
    assert Prolific.patient
