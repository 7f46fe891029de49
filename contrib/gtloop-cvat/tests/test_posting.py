"""Tasks that nobody needs any more are not made, and those are found whose creation this process never heard of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crew import Driver, build, requests
from emulator import Emulator

from gtloop_cvat.annotator import Cvat

CREATE = "POST /api/tasks"


def kill(annotator: Cvat) -> None:
    """As if this process had died before it wrote down that its jobs are made."""
    annotator._parts.books.do("UPDATE job SET state = 'planned', task = NULL")


def look_until_closed(driver: Driver, requests: int) -> None:
    """As core does: once the last closure is told, nobody looks any more."""
    for _ in range(10):
        if len(driver.closed) == requests:
            return
        driver.look(0)
    raise AssertionError(f"closed: {sorted(driver.closed)}")


def twin(emulator: Emulator, task: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Another task of the same name; without images unless they are given."""
    made = emulator.create(task["name"], [{"name": x["name"]} for x in task["labels"]])
    made.update(changes)
    return made


def test_a_job_that_is_cancelled_before_it_is_made_is_never_made(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gtloop_cvat.posting.FINISH_S", 0.0)
    annotator = build(tmp_path / "work", emulator)
    asked = requests(tmp_path, 9)
    annotator.submit(asked)
    emulator.next_faults = [(CREATE, "500 before")]
    driver = Driver(annotator)
    driver.look(0)
    assert not emulator.tasks, "three jobs are planned, and none is made"
    annotator.cancel([r.id for r in asked[:7]])
    look_until_closed(driver, 7)
    assert {c.reason for c in driver.closed.values()} == {"cancelled"}
    (task,) = emulator.tasks.values()
    assert len(task["images"]) == 3, "two of the last job are wanted"


def test_cancelled_in_the_midst_of_making_jobs(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotator = build(tmp_path / "work", emulator)
    asked = requests(tmp_path, 9)
    annotator.submit(asked)
    create = emulator.create

    def cancelling(*given: Any) -> dict[str, Any]:
        books = build(tmp_path / "work", emulator)
        books.cancel([r.id for r in asked])
        return create(*given)

    monkeypatch.setattr(emulator, "create", cancelling)
    driver = Driver(annotator)
    driver.look(0)
    assert len(emulator.tasks) == 1, "the other two are not made any more"
    look_until_closed(driver, 9)
    assert not emulator.tasks


@pytest.mark.parametrize("fault", ["500 after", "late"])
def test_a_task_that_this_process_never_heard_of_is_deleted_with_its_requests(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("gtloop_cvat.posting.FINISH_S", 120.0)  # a busy machine is no fault
    annotator = build(tmp_path / "work", emulator)
    asked = requests(tmp_path, 2)
    annotator.submit(asked)
    emulator.next_faults = [(CREATE, fault)]
    driver = Driver(annotator)
    driver.look(0)
    annotator.cancel([r.id for r in asked])
    look_until_closed(driver, 2)
    assert not emulator.tasks


def test_killed_before_it_was_written_down_then_cancelled(tmp_path: Path, emulator: Emulator) -> None:
    annotator = build(tmp_path / "work", emulator, assignees="anna,ben")
    asked = requests(tmp_path, 2)
    annotator.submit(asked)
    Driver(annotator).look()
    assert len(emulator.tasks) == 1
    kill(annotator)
    again = build(tmp_path / "work", emulator, assignees="anna,ben")
    again.cancel([r.id for r in asked])
    driver = Driver(again)
    look_until_closed(driver, 2)
    assert not emulator.tasks, "nobody works for nothing"


def test_a_task_that_the_server_makes_late_is_waited_for(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gtloop_cvat.posting.FINISH_S", 120.0)  # a busy machine is no fault
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 2))
    emulator.next_faults = [(CREATE, "late")]
    driver = Driver(annotator)
    driver.look(2)
    first = min(emulator.tasks)
    assert emulator.calls["DELETE"] == 1, "it was found, without images, and made anew"
    assert [len(t["images"]) for t in emulator.tasks.values()] == [2], f"{first}: one task, and with images"


def test_of_many_tasks_of_a_job_the_one_that_people_are_at_stays(tmp_path: Path, emulator: Emulator) -> None:
    annotator = build(tmp_path / "work", emulator, assignees="anna,ben")
    annotator.submit(requests(tmp_path, 2))
    Driver(annotator).look()
    (fresh,) = emulator.tasks.values()
    del emulator.tasks[fresh["id"]]
    empty = twin(emulator, fresh)
    emulator.tasks[fresh["id"]] = fresh  # now the second in the list
    whole = {"images": fresh["images"], "assignee": "anna"}
    begun = twin(emulator, fresh, **whole, job=9001, state="in progress")
    other = twin(emulator, fresh, **whole, job=9002)
    stranger = twin(emulator, {**fresh, "name": fresh["name"] + "0"})
    kill(annotator)
    driver = Driver(build(tmp_path / "work", emulator, assignees="anna,ben"))
    driver.look()
    assert empty["id"] < begun["id"] < other["id"]
    assert set(emulator.tasks) == {begun["id"], stranger["id"]}
    emulator.complete(begun, [], [])
    driver.look()
    assert len(driver.answers) == 2
