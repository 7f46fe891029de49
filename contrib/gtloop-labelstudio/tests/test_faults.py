"""What goes wrong between gtloop and a real server: nothing is asked twice, lost, or told to those who may not know."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from desk import Desk, drawn
from faulty import Fault, Way
from gtloop.errors import ConfigError, GtloopError, Unreachable
from studio import Server

from gtloop_labelstudio.service import Unsure


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


@pytest.mark.parametrize("patient", [True, False])
def test_a_project_that_outlives_its_process_is_waited_for(
    studio: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    """Nor is there a second one for people to wait at, where the server needs longer than that."""
    way = Way(studio.url)
    try:
        desk = Desk(tmp_path, url=way.url, patience_s=1e-9)
        way.faults = [Fault("late", "POST", "/api/projects/")]
        with pytest.raises(Unreachable):
            desk.ask(desk.request(0))
        monkeypatch.setattr("gtloop_labelstudio.projects.FINISH_S", 120.0 if patient else 0.0)
        desk.again(patience_s=120).submit([desk.request(0)])
        _until(lambda: way.answered.count(("POST", "/api/projects/")) == (1 if patient else 2))
        desk.again(patience_s=120).submit([desk.request(0), desk.request(1)])
        projects = studio.owner.get("/api/projects/", page_size=1000)["results"]
        same = [p for p in projects if tmp_path.name[:40] in (p["description"] or "")]
        used = [p["id"] for p in same if desk.annotator._books.key in p["description"]]
        assert used == [desk.project]
        assert sorted(p["title"][:10] == "not used: " for p in same) == ([False] if patient else [False, True])
        assert desk.task(0) != desk.task(1)
    finally:
        way.close()


def test_a_second_project_of_the_server_s_own_is_marked(studio: Server, tmp_path: Path) -> None:
    """With SQLite it repeats a call itself where the database was locked, though half of it was done."""
    desk = Desk(tmp_path, url=studio.url)
    desk.ask(desk.request(0))
    used = studio.owner.get(f"/api/projects/{desk.project}/")
    twin = studio.owner.post("/api/projects/", {key: used[key] for key in ("title", "description", "label_config")})
    desk.again().submit([desk.request(0), desk.request(1)])
    assert studio.owner.get(f"/api/projects/{twin['id']}/")["title"].startswith("not used: ")
    assert studio.owner.get(f"/api/projects/{desk.project}/")["title"] == used["title"]


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def _killed_at_its_import(folder: Path, way: Way) -> Desk:
    """Request 0 is asked; that of request 1 is under way at the server, and nobody waits for it."""
    desk = Desk(folder, url=way.url)
    desk.ask(desk.request(0))
    desk.annotator._books.ask([desk.request(1)])
    way.faults = [Fault("late", "POST", "/import")]
    with pytest.raises(Unsure):
        desk.annotator._posting._import(desk.annotator._books.unposted(), desk.project)
    return desk


def test_an_import_that_outlives_its_process_is_waited_for(
    studio: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver is killed while the server is at work on its import; the next one finds nothing at first."""
    monkeypatch.setattr("gtloop_labelstudio.posting.FINISH_S", 120.0)  # a slow server is no fault
    way = Way(studio.url)
    try:
        desk = _killed_at_its_import(tmp_path, way)
        desk.again().submit([desk.request(1)])
        assert way.count("POST", "/import") == 2, "not sent again"
        tasks = studio.owner.get("/api/tasks/", project=desk.project, fields="all")["tasks"]
        assert sorted(t["meta"]["gtloop_request"] for t in tasks) == ["request-0", "request-1"]
    finally:
        way.close()


def test_an_import_that_outlives_its_process_and_is_cancelled_is_offered_to_nobody(
    studio: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gtloop_labelstudio.posting.FINISH_S", 120.0)
    way = Way(studio.url)
    try:
        desk = _killed_at_its_import(tmp_path, way)
        desk.again().cancel(["request-0", "request-1"])
        desk.look(0, 1)
        tasks = studio.owner.get("/api/tasks/", project=desk.project, fields="all")["tasks"]
        assert [t["is_labeled"] for t in tasks] == [True, True]
        assert studio.person(1).next(desk.project) is None
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
    """It dies half-way: the annotation is kept, and counts for it, but the task shows no change."""
    desk = Desk(tmp_path, url=studio.url)
    desk.ask(desk.request(0))
    desk.look_once()
    with closing(sqlite3.connect(studio.folder / "label_studio.sqlite3", timeout=60, isolation_level=None)) as database:
        database.execute("UPDATE task SET updated_at = '2020-01-01 00:00:00' WHERE id = ?", [desk.task(0)])
        stop = f"WHEN OLD.id = {desk.task(0)} BEGIN SELECT RAISE(ABORT, 'it dies'); END"
        database.execute(f"CREATE TRIGGER dies BEFORE UPDATE ON task {stop}")
        body = {"result": drawn(desk), "lead_time": 2.5}
        told = studio.person(1).call("POST", f"/api/tasks/{desk.task(0)}/annotations/", json=body)
        database.execute("DROP TRIGGER dies")
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
