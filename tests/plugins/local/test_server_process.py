"""Real server processes: killed amid answers, stopped, started twice."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from deskparts import BOX, PEOPLE, Server, gather, make_local, make_requests, until
from ports import free_port

from gtloop.errors import GtloopError
from gtloop_plugins.annotators.local.serving import listen, served_at


@pytest.mark.slow
def test_no_acknowledged_answer_is_lost_to_a_kill(tmp_path: Path) -> None:
    """Eight people answer; the server is killed three times meanwhile, and each client tries again where it was."""
    local = make_local(tmp_path, people=PEOPLE)
    local.submit(make_requests(tmp_path, 40, answers=4))
    port = free_port()
    server = Server(tmp_path, port)
    acknowledged: set[tuple[str, str]] = set()
    faults: list[BaseException] = []

    def label(name: str) -> None:
        try:
            visitor = _again(lambda: server.visitor(name))
            while True:
                found = _again(lambda: visitor.next())
                if found["state"] != "task":
                    return
                task = found["task"]["id"]
                said = _again(lambda: visitor.say(task))  # noqa: B023 (called at once)
                assert said.status_code == 200, said.text
                acknowledged.add((name, task))
        except BaseException as e:
            faults.append(e)

    threads = [threading.Thread(target=label, args=(name,)) for name in PEOPLE]
    for t in threads:
        t.start()
    for share in (20, 60, 110):
        until(lambda: len(acknowledged) >= share or faults, 60)  # noqa: B023
        server.kill(signal.SIGKILL)
        server = Server(tmp_path, port)
    for t in threads:
        t.join(120)
    server.kill(signal.SIGTERM)
    assert faults == []
    answers, closed = gather(local)
    assert len(answers) == len({(a.request, a.worker) for a in answers}) == len(acknowledged) == 160
    assert len(closed) == 40
    with sqlite3.connect(tmp_path / "desk" / "desk.sqlite") as c:
        kept = set(c.execute("SELECT p.name, l.task FROM answer a JOIN lease l ON l.request = a.request AND "
                             "l.person = a.worker JOIN person p ON p.id = a.worker"))  # fmt: skip
        assert c.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert kept == acknowledged


def _again(act):  # type: ignore[no-untyped-def]
    """Do it until the server is there."""
    found = []

    def done() -> bool:
        try:
            found.append(act())
        except httpx.TransportError:
            return False
        return True

    until(done, 60)
    return found[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(tmp_path: Path, number: int) -> None:
    local = make_local(tmp_path, people=PEOPLE)
    assert local.where() == f"open the page with: gtloop serve {local.context.workdir.parents[1]}"
    server = Server(tmp_path)
    said = json.loads((tmp_path / "desk" / "serve.json").read_text())
    assert said["url"] == server.url
    assert all(link.split("/join/")[0] in local.where() for link in server.links.values())
    with pytest.raises(GtloopError, match="served already, at http://127"):
        local.serve(None, host=None, port=free_port(), ready=lambda text: None)
    assert server.kill(number) == 0
    assert not (tmp_path / "desk" / "serve.json").exists()
    assert served_at(tmp_path / "desk") is None


def test_a_page_that_was_killed_is_not_said_to_be_there(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.kill(signal.SIGKILL)
    assert (tmp_path / "desk" / "serve.json").exists()
    assert served_at(tmp_path / "desk") is None
    with Server(tmp_path) as again:
        assert served_at(tmp_path / "desk") == again.url


def test_sessions_survive_a_restart(tmp_path: Path) -> None:
    local, port = make_local(tmp_path, people=PEOPLE), free_port()
    local.submit(make_requests(tmp_path, 1))
    with Server(tmp_path, port) as server:
        visitor = server.visitor("p0")
        task = visitor.task()
        drawn = visitor.post("/api/draft", {"task": task["id"], "draft": BOX})
        assert drawn.json() == {"ok": True, "lease_s": 600.0}
    with Server(tmp_path, port):
        assert _again(lambda: visitor.task())["draft"] == BOX


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        yield s.getsockname()[1]


def test_a_port_that_is_taken(taken: int) -> None:
    with pytest.raises(
        GtloopError, match=rf"port {taken} of 127.0.0.1 is taken by another program; .*--port {taken + 1}"
    ):
        listen("127.0.0.1", taken, nearby=False)
    with listen("127.0.0.1", taken, nearby=True) as bound:
        assert 0 < bound.getsockname()[1] - taken <= 20


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours(host: str) -> None:
    with pytest.raises(GtloopError, match=f"can't listen at {host}"):
        listen(host, free_port(), nearby=False)
