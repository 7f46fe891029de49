"""From requests to jobs and back; what goes wrong on the way changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crew import Crew, Driver, build, requests
from emulator import TOKEN, Emulator
from gtloop.errors import ConfigError, GtloopError, Unreachable
from gtloop.interfaces import Context, Form, Primitive
from gtloop.records import Request

from gtloop_cvat.annotator import Cvat


def begin(
    folder: Path, emulator: Emulator, n: int = 5, answers: int = 1, task: str = "bbox", **options: Any
) -> tuple[Driver, Crew, list[Request]]:
    annotator = build(folder / "work", emulator, task, **options)
    asked = requests(folder, n, answers)
    annotator.submit(asked)
    driver = Driver(annotator)
    driver.look()
    return driver, Crew(emulator, [r.item for r in asked], task), asked


@pytest.mark.parametrize("task", ["bbox", "classification", "segmentation"])
def test_jobs_of_each_task_come_back_as_the_truth(tmp_path: Path, emulator: Emulator, task: str) -> None:
    driver, crew, asked = begin(tmp_path, emulator, 5, answers=2, task=task)
    assert sorted(len(t["images"]) for t in emulator.tasks.values()) == [2, 2, 3, 3], "each twice, three at most"
    names = [name for t in emulator.tasks.values() for name, _ in t["images"]]
    assert not any(r.item.name in name for name in names for r in asked), "file names tell nothing"
    assert driver.answers == {}
    crew.work()
    driver.look()
    assert len(driver.answers) == 10
    assert {c.reason for c in driver.closed.values()} == {"complete"}
    made = driver.annotator.context.task
    assert made is not None
    rows = {r.id: r.item for r in asked}
    for a in driver.answers.values():
        said = made.empty() if a.outcome == "empty" else made.parse(a.payload or {}, rows[a.request])
        assert said is not None
        assert made.error(said, made.parse(crew.truths[rows[a.request].row], rows[a.request])) < 1e-9
    assert emulator.calls["denied"] == 0, "no call that the SDK's models would refuse"


@pytest.mark.parametrize("part", ["POST /api/tasks", "/data/", "GET /api/jobs", "/api/requests/"])
@pytest.mark.parametrize("fault", ["500 before", "500 after"])
def test_a_broken_call_makes_no_second_task(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, part: str, fault: str
) -> None:
    if fault == "500 before":
        monkeypatch.setattr("gtloop_cvat.posting.FINISH_S", 0.0)  # nothing comes of it later
    emulator.next_faults = [(part, fault)]
    driver, crew, _ = begin(tmp_path, emulator, 3)
    driver.look(2)
    assert len(emulator.tasks) == 1
    (task,) = emulator.tasks.values()
    assert len(task["images"]) == 3
    again = Driver(build(tmp_path / "work", emulator))
    again.look()
    assert len(emulator.tasks) == 1, "a new process goes on with it"
    crew.work()
    again.look()
    assert len(again.answers) == 3


def test_people_are_assigned_and_known_by_opaque_ids(tmp_path: Path, emulator: Emulator) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 3, answers=2, assignees="anna,ben")
    assert sorted(t["assignee"] for t in emulator.tasks.values()) == ["anna", "ben"]
    crew.work()
    driver.look()
    workers = {a.worker for a in driver.answers.values()}
    assert len(workers) == 2
    assert not any("anna" in w or "ben" in w for w in workers)
    for r in requests(tmp_path, 3):
        driver.annotator.submit([r.model_copy(update={"id": f"more-{r.id}", "exclude_workers": (sorted(workers)[0],)})])
    driver.look()
    (task,) = emulator.open_tasks()
    kept_out = sorted(workers)[0]
    assert driver.annotator._parts.books.worker(task["assignee"]) != kept_out
    crew.work()
    driver.look()
    assert kept_out not in {a.worker for a in driver.answers.values() if a.request.startswith("more")}


def test_an_answer_of_somebody_who_has_answered_is_asked_of_others(tmp_path: Path, emulator: Emulator) -> None:
    driver, crew, _ = begin(tmp_path, emulator, 3, answers=2)
    assert crew.work("anna") == 2
    driver.look(2)
    assert len(driver.answers) == 3, "the same person twice counts once"
    assert not driver.closed
    assert crew.work("ben") == 1
    driver.look()
    assert len(driver.answers) == 6


def test_proposals_are_shown_and_corrected(tmp_path: Path, emulator: Emulator) -> None:
    annotator = build(tmp_path / "work", emulator)
    box = {"category": "crate", "xyxy": [1.0, 2.0, 20.0, 30.0], "confidence": 0.7}
    asked = requests(tmp_path, 2, mode="adjust", proposal={"boxes": [box]})
    annotator.submit(asked)
    driver = Driver(annotator)
    driver.look()
    (task,) = emulator.tasks.values()
    assert [(s["frame"], s["type"], s["source"]) for s in task["shapes"]] == [
        (0, "rectangle", "auto"),
        (1, "rectangle", "auto"),
    ]
    moved = [{**s, "points": [2.0, 2.0, 20.0, 30.0]} for s in task["shapes"][:1]]
    emulator.complete(task, moved, [])
    driver.look()
    first, second = (next(a for a in driver.answers.values() if a.request == r.id) for r in asked)
    assert first.payload == {"boxes": [{"category": "crate", "xyxy": [2.0, 2.0, 20.0, 30.0]}]}
    assert (second.outcome, second.payload) == ("empty", None), "who deletes all says that nothing is there"


def test_cannot_tell_polygons_and_turned_boxes(tmp_path: Path, emulator: Emulator) -> None:
    driver, _, _ = begin(tmp_path, emulator, 2)
    (task,) = emulator.tasks.values()
    ids = {x["name"]: x["id"] for x in task["labels"]}
    turned = {"type": "rectangle", "label_id": ids["crate"], "points": [10.0, 10.0, 20.0, 14.0], "rotation": 90.0}
    stray = {"type": "polygon", "label_id": ids["crate"], "points": [1.0, 1.0, 5.0, 1.0, 5.0, 5.0]}
    emulator.complete(
        task, [{"frame": 0, **turned}, {"frame": 0, **stray}], [{"frame": 1, "label_id": ids["cannot tell"]}]
    )
    driver.look()
    said = {a.request: (a.outcome, a.payload) for a in driver.answers.values()}
    assert said["r0"] == ("label", {"boxes": [{"category": "crate", "xyxy": [13.0, 7.0, 17.0, 17.0]}]})
    assert said["r1"] == ("cannot_tell", None)


def test_a_deleted_task_is_made_again_and_needless_ones_are_deleted(tmp_path: Path, emulator: Emulator) -> None:
    driver, crew, asked = begin(tmp_path, emulator, 3)
    emulator.tasks.clear()
    driver.look(2)
    assert len(emulator.tasks) == 1
    driver.annotator.cancel([asked[0].id])
    driver.look()
    assert len(emulator.tasks) == 1, "two of its images are wanted"
    driver.annotator.cancel([r.id for r in asked])
    driver.look(2)
    assert not emulator.tasks
    assert {c.reason for c in driver.closed.values()} == {"cancelled"}
    assert crew.work() == 0


def test_images_that_cvat_refuses_are_said_in_one_line(tmp_path: Path, emulator: Emulator) -> None:
    emulator.broken = "cannot identify image file"
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 2))
    with pytest.raises(GtloopError, match="CVAT refuses to upload images: cannot identify image file"):
        Driver(annotator).look(3)


def test_work_that_has_begun_is_not_overwritten(tmp_path: Path, emulator: Emulator) -> None:
    """This process dies between the assignment and writing it down; somebody has opened the job meanwhile."""
    annotator = build(tmp_path / "work", emulator)
    proposal = {"boxes": [{"category": "crate", "xyxy": [1.0, 2.0, 20.0, 30.0]}]}
    annotator.submit(requests(tmp_path, 1, mode="adjust", proposal=proposal))
    Driver(annotator).look()
    (task,) = emulator.tasks.values()
    task["state"], task["shapes"] = "in progress", []
    annotator._parts.books.do("UPDATE job SET state = 'planned', task = NULL")
    Driver(annotator).look(2)
    assert len(emulator.tasks) == 1
    assert task["shapes"] == []


def test_a_server_that_hangs_is_asked_again(tmp_path: Path, emulator: Emulator) -> None:
    emulator.hang_s, emulator.next_faults = 30.0, [("GET /api/jobs", "hang")]
    driver, crew, _ = begin(tmp_path, emulator, 2, timeout_s=1)
    driver.look()
    crew.work()
    driver.look()
    assert len(driver.answers) == 2
    assert not emulator.next_faults


def test_requests_expire(tmp_path: Path, emulator: Emulator) -> None:
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 1, deadline_s=0.0))
    driver = Driver(annotator)
    driver.look()
    assert driver.closed["r0"].reason == "expired"
    assert not emulator.tasks


def test_check_says_what_is_lacking(tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(why: str, kind: type[GtloopError] = ConfigError, **options: Any) -> None:
        with pytest.raises(kind, match=why) as found:
            build(tmp_path / "work", emulator, **options).check(0)
        assert TOKEN not in str(found.value)
        assert "\n" not in str(found.value)

    build(tmp_path / "work", emulator, assignees="anna").check(0)
    refuses("no user 'carl'", assignees="carl")
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", "wrong")
    refuses("does not let this account")
    monkeypatch.delenv("CVAT_ACCESS_TOKEN")
    refuses("set CVAT_ACCESS_TOKEN")
    form = Form(task="t", instructions="", primitives=(Primitive(kind="text", name="t"),))
    with pytest.raises(GtloopError, match="take another annotator"):
        Cvat(Cvat.Options(), Context(workdir=tmp_path / "other", form=form)).check(0)
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)
    monkeypatch.setattr("gtloop_cvat.annotator.CHECK_S", 0.5)
    emulator.stop()
    refuses(r"can't read the account: \[Errno \d+\] Connection refused$", Unreachable)
