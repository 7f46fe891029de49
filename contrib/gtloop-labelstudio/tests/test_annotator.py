"""One thing at a time against a real server: what is asked, of whom, and what their answers become."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from desk import Desk
from faulty import Fault, Way
from gtloop.errors import ConfigError, GtloopError, Unreachable
from gtloop.testing.fakes import SIZE, tiny_truth
from PIL import Image
from studio import Server

from gtloop_labelstudio import writing
from gtloop_labelstudio.service import Unsure

BOX = {"boxes": [{"category": "drum", "xyxy": [10.0, 20.0, 30.0, 44.0]}]}


def drawn(desk: Desk, payload: Any = None) -> list[dict[str, Any]]:
    assert desk.context.form is not None
    return writing.write(BOX if payload is None else payload, desk.context.form, SIZE)


def test_what_people_send_and_what_it_becomes(studio: Server, tmp_path: Path) -> None:
    """Labels, nothing, skips, and what fits no form; who and how long; each once."""
    desk = Desk(tmp_path, url=studio.url)
    desk.ask(*(desk.request(row) for row in range(4)))
    one, two = studio.person(1), studio.person(2)
    one.annotate(desk.task(0), drawn(desk), 12.25)
    one.annotate(desk.task(1), [])
    two.annotate(desk.task(2), [], skip=True)
    turned = drawn(desk)
    turned[0]["value"]["rotation"] = 45
    two.annotate(desk.task(3), turned)
    desk.look(0, 1, 2, 3)
    found = {row: desk.of(row)[0] for row in range(4)}
    assert [found[row].outcome for row in range(4)] == ["label", "empty", "cannot_tell", "label"]
    assert found[0].payload == {"boxes": [{"category": "drum", "xyxy": pytest.approx([10.0, 20.0, 30.0, 44.0])}]}
    assert found[0].active_seconds == 12.25
    assert "turned by 45 degrees" in (found[3].payload or {})["unreadable"], "kept, and said why it can't be used"
    assert found[0].worker == found[1].worker
    assert found[2].worker == found[3].worker
    assert len({a.worker for a in found.values()}) == 2
    assert str(one.id) not in (found[0].worker,), "names tell nothing"
    assert {c.reason for c in desk.closed.values()} == {"complete"}
    assert one.next(desk.project) is None, "the server offers it no more"
    before = dict(desk.answers)
    desk.cursor = ""
    desk.again()
    desk.look(0, 1, 2, 3)
    assert desk.answers == before, "from the start, by a new object: the same"


def test_many_people_and_who_does_not_count(studio: Server, tmp_path: Path) -> None:
    """The same person twice, somebody kept out, somebody blocked: their places are given to others."""
    desk = Desk(tmp_path, url=studio.url)
    one, two, three, four = (studio.person(n) for n in (1, 2, 3, 4))
    desk.ask(desk.request(0), desk.request(1))
    one.annotate(desk.task(0), drawn(desk))
    two.annotate(desk.task(1), drawn(desk))
    desk.look(0, 1)
    first, second = desk.of(0)[0].worker, desk.of(1)[0].worker
    desk.annotator.block({second: "a test"})
    desk.ask(desk.request(2, 2, exclude_workers=(first,)))
    for person in (one, two, three, three):
        person.annotate(desk.task(2), drawn(desk))
    desk.look_for(3)
    desk.look_once()
    assert [a.worker in (first, second) for a in desk.of(2)] == [False]
    assert "request-2" not in desk.closed
    assert studio.owner.get(f"/api/tasks/{desk.task(2)}/")["overlap"] == 5, "two, and three places that did not count"
    offered = four.next(desk.project)
    assert offered is not None
    assert offered["id"] == desk.task(2)
    four.annotate(desk.task(2), drawn(desk))
    desk.look(2)
    assert desk.closed["request-2"].delivered == 2
    del desk.closed["request-2"]
    desk.ask(desk.request(2, 3, exclude_workers=(first,)))
    assert studio.person(5).next(desk.project) is not None, "one more person is let in"
    studio.person(5).annotate(desk.task(2), [])
    desk.look(2)
    assert desk.closed["request-2"].delivered == 3
    assert len({a.worker for a in desk.of(2)}) == 3


def test_skips_that_ask_somebody_else(studio: Server, tmp_path: Path) -> None:
    desk = Desk(tmp_path, url=studio.url, skipped="declined")
    desk.ask(desk.request(0))
    studio.person(1).annotate(desk.task(0), [], skip=True)
    desk.look_for(1)
    assert desk.of(0)[0].outcome == "declined"
    assert "request-0" not in desk.closed
    assert studio.person(1).next(desk.project) is None
    assert studio.person(2).next(desk.project) is not None
    studio.person(2).annotate(desk.task(0), drawn(desk))
    desk.look(0)
    assert desk.closed["request-0"].delivered == 1


def test_cancelled_and_late(studio: Server, tmp_path: Path) -> None:
    """Nobody is asked any more; what came in time counts."""
    desk = Desk(tmp_path, url=studio.url)
    desk.ask(desk.request(0, 2), desk.request(1, 1), desk.request(2, 2, deadline_s=0.05))
    studio.person(1).annotate(desk.task(0), drawn(desk))
    studio.person(1).annotate(desk.task(2), drawn(desk))
    desk.annotator.cancel(["request-0", "request-1", "nothing"])
    desk.annotator.cancel(["request-0"])
    desk.look(0, 1, 2)
    told = {i: (c.reason, c.delivered) for i, c in desk.closed.items()}
    assert told == {"request-0": ("cancelled", 1), "request-1": ("cancelled", 0), "request-2": ("expired", 1)}
    desk.look_once()
    assert studio.person(2).next(desk.project) is None
    del desk.closed["request-1"]
    desk.ask(desk.request(1, 2))
    assert studio.person(2).next(desk.project) is not None, "asked anew, for more"


def test_a_label_to_correct_is_shown(studio: Server, tmp_path: Path) -> None:
    desk = Desk(tmp_path, url=studio.url)
    desk.ask(desk.request(0, mode="adjust", proposal=BOX), desk.request(1))
    found = {}
    for person in (studio.person(1), studio.person(2)):
        while (task := person.next(desk.project)) is not None:
            found[task["id"]] = task["predictions"]
            person.annotate(task["id"], task["predictions"][0]["result"] if task["predictions"] else [])
    assert found[desk.task(1)] == []
    assert len(found[desk.task(0)]) == 1
    desk.look(0, 1)
    (answer,) = desk.of(0)
    assert answer.payload == {"boxes": [{"category": "drum", "xyxy": pytest.approx([10.0, 20.0, 30.0, 44.0])}]}


def test_masks_and_classes(studio: Server, tmp_path: Path) -> None:
    for task in ("segmentation", "classification"):
        desk = Desk(tmp_path / task, task, url=studio.url)
        truth = tiny_truth(task, 6) or []
        desk.ask(*(desk.request(row) for row in range(2)))
        for row in range(2):
            studio.person(1).annotate(desk.task(row), drawn(desk, truth[row]))
        desk.look(0, 1)
        for row in range(2):
            payload = desk.of(row)[0].payload
            assert payload is not None
            assert desk.context.task is not None
            assert desk.context.task.error(desk.context.task.parse(payload, desk.items[row]), truth[row]) == 0


def test_images_reach_people(studio: Server, tmp_path: Path, files: Path) -> None:
    """Uploaded as they are, upright where EXIF turns them, or served from the server's disk."""
    desk = Desk(tmp_path, url=studio.url, image_url=None)
    turned = tmp_path / "images" / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(turned, exif=exif)
    desk.items[1] = desk.items[1].model_copy(
        update={"uri": str(turned), "name": "secret-class/turned.jpg", "width": 40, "height": 20, "orientation": 6}
    )
    desk.ask(desk.request(0), desk.request(1))
    seen = {}
    for _ in range(2):
        task = studio.person(1).next(desk.project)
        assert task is not None
        seen[task["id"]] = studio.person(1).call("GET", task["data"]["image"])
        assert "secret" not in task["data"]["image"], "its name tells nothing"
        studio.person(1).annotate(task["id"], [])
    assert seen[desk.task(0)].content == Path(desk.items[0].uri).read_bytes()
    (tmp_path / "copy.jpg").write_bytes(seen[desk.task(1)].content)
    with Image.open(tmp_path / "copy.jpg") as copy:
        assert copy.size == (20, 40)
    served = Desk(files / "photos", url=studio.url, image_url=None, local_root=str(files))
    served.ask(served.request(0))
    task = studio.person(1).next(served.project)
    assert task is not None
    assert task["data"]["image"].startswith("/data/local-files/?d=photos/")
    assert studio.person(1).call("GET", task["data"]["image"]).content == Path(served.items[0].uri).read_bytes()


def test_an_import_whose_answer_is_lost_is_found(studio: Server, tmp_path: Path) -> None:
    """Whatever breaks on the way, each request is one task of one project."""
    way = Way(studio.url)
    try:
        desk = Desk(tmp_path, url=way.url, patience_s=300, timeout_s=60)
        way.faults = [
            Fault("cut", "POST", "/api/projects/"),
            Fault("busy", "GET", "/api/projects/"),
            Fault("cut", "POST", "/import"),
            Fault("lost", "GET", "/api/tasks/"),
        ]
        desk.ask(desk.request(0), desk.request(1))
        assert way.count("POST", "/api/projects/") == 1, "found, not made again"
        assert way.count("POST", "/import") == 1
        way.faults = [Fault("lost", "POST", "/import"), Fault("busy", "POST", "/import")]
        desk.again(patience_s=300).submit([desk.request(row) for row in range(4)])
        tasks = studio.owner.get("/api/tasks/", project=desk.project, fields="all")["tasks"]
        assert sorted(t["meta"]["gtloop_request"] for t in tasks) == [f"request-{row}" for row in range(4)]
        studio.person(1).annotate(desk.task(3), [])
        way.faults = [Fault("busy", "GET", "/api/tasks/"), Fault("lost", "GET", "/api/tasks/")]
        desk.look(3)
    finally:
        way.close()


def test_an_import_that_outlives_its_process_is_waited_for(studio: Server, tmp_path: Path) -> None:
    """A driver is killed while the server is at work on its import; the next one finds nothing at first."""
    way = Way(studio.url)
    try:
        desk = Desk(tmp_path, url=way.url)
        desk.ask(desk.request(0))
        desk.annotator._books.ask([desk.request(1)])
        way.faults = [Fault("late", "POST", "/import")]
        with pytest.raises(Unsure):
            desk.annotator._posting._import(desk.annotator._books.unposted(), desk.project)
        desk.again().submit([desk.request(1)])
        assert way.count("POST", "/import") == 2, "not sent again"
        tasks = studio.owner.get("/api/tasks/", project=desk.project, fields="all")["tasks"]
        assert sorted(t["meta"]["gtloop_request"] for t in tasks) == ["request-0", "request-1"]
    finally:
        way.close()


def test_a_twin_is_taken_back(studio: Server, tmp_path: Path) -> None:
    """The server went on with an import that had been given up: one of both stays, and no answer is lost."""
    desk = Desk(tmp_path, url=studio.url)
    desk.ask(desk.request(0, 2))
    meta = {"gtloop_request": "request-0"}
    late = {"data": {"image": "http://127.0.0.1:1/x.png"}, "meta": meta}
    made = studio.owner.call(
        "POST", f"/api/projects/{desk.project}/import", params={"return_task_ids": "true"}, json=[late]
    )
    (twin,) = made.json()["task_ids"]
    studio.person(1).annotate(twin, drawn(desk))
    studio.person(2).annotate(desk.task(0), drawn(desk))
    desk.look(0)
    desk.look_once()
    assert len(desk.of(0)) == 2
    assert studio.owner.get(f"/api/tasks/{twin}/")["is_labeled"]
    assert studio.person(3).next(desk.project) is None


@pytest.mark.parametrize("restarted", [False, True])
def test_an_answer_that_the_server_half_saves_is_found(
    studio: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    """A locked database: it keeps the annotation, but says that it failed, and the task shows no change."""
    desk = Desk(tmp_path, url=studio.url)
    desk.ask(desk.request(0))
    desk.look_once()
    with closing(sqlite3.connect(studio.folder / "label_studio.sqlite3", timeout=60, isolation_level=None)) as database:
        database.execute("UPDATE task SET updated_at = '2020-01-01 00:00:00' WHERE id = ?", [desk.task(0)])
        stop = f"WHEN OLD.id = {desk.task(0)} BEGIN SELECT RAISE(ABORT, 'database is locked'); END"
        database.execute(f"CREATE TRIGGER locked BEFORE UPDATE ON task {stop}")
        body = {"result": drawn(desk), "lead_time": 2.5}
        told = studio.person(1).call("POST", f"/api/tasks/{desk.task(0)}/annotations/", json=body)
        database.execute("DROP TRIGGER locked")
    assert told.status_code == 500
    assert studio.person(2).next(desk.project) is None, "the server counts it"
    if restarted:
        desk.again()
    else:
        monkeypatch.setattr("gtloop_labelstudio.collecting.RECHECK_S", 0.0)
    desk.look(0)
    assert [a.active_seconds for a in desk.of(0)] == [2.5]


def test_collect_waits_for_no_server(studio: Server, tmp_path: Path) -> None:
    """A look that hangs keeps the run from nothing; it is only slow, and what it brings counts."""
    way = Way(studio.url)
    try:
        desk = Desk(tmp_path, url=way.url)
        desk.ask(desk.request(0))
        studio.person(1).annotate(desk.task(0), drawn(desk))
        way.faults = [Fault("held", "GET", "/api/tasks/")]
        assert not desk.annotator.collect("", 0.1).answers, "back before the server has answered"
        way.go.set()
        desk.look(0)
        assert len(desk.of(0)) == 1
    finally:
        way.close()


def test_tokens(studio: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Personal tokens with access tokens that run out, legacy ones, and none; none of them is ever told."""
    desk = Desk(tmp_path, url=studio.url)
    desk.annotator.check(0)
    desk.annotator._service._bearer = "eyJ.expired.token"
    desk.annotator.check(0)
    secret = studio.owner.personal
    body = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True}
    studio.owner.post("/api/jwt/settings", body)
    monkeypatch.setenv("OTHER_TOKEN", studio.owner.legacy)
    desk.again(token_env="OTHER_TOKEN").check(0)
    studio.owner.post("/api/jwt/settings", {**body, "legacy_api_tokens_enabled": False})
    with pytest.raises(ConfigError, match="does not take the access token in OTHER_TOKEN"):
        desk.again(token_env="OTHER_TOKEN").check(0)
    monkeypatch.setenv("OTHER_TOKEN", secret[:-3] + "abc")
    with pytest.raises(ConfigError, match="does not take the access token") as e:
        desk.again(token_env="OTHER_TOKEN").check(0)
    assert secret[:20] not in str(e.value)
    monkeypatch.delenv("OTHER_TOKEN")
    with pytest.raises(ConfigError, match="set OTHER_TOKEN to your access token"):
        desk.again(token_env="OTHER_TOKEN").check(0)
    assert all(secret not in path.read_text() for path in tmp_path.rglob("*.jsonl"))


def test_a_server_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "0123456789")
    with pytest.raises(Unreachable, match="GET /api/current-user/whoami fails: ConnectError.*look after the server"):
        Desk(tmp_path, url="http://127.0.0.1:1").annotator.check(0)


def test_a_project_that_is_gone(studio: Server, tmp_path: Path) -> None:
    desk = Desk(tmp_path, url=studio.url)
    desk.ask(desk.request(0))
    assert studio.owner.call("DELETE", f"/api/projects/{desk.project}/").is_success
    with pytest.raises(GtloopError, match="is gone or another's"):
        desk.again().submit([desk.request(1)])
