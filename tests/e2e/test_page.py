"""`gtloop run --annotator local` as a process: people come by HTTP, the page and the loop survive one another."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import runs
from ports import free_port

import gtloop
from gtloop import masks

LINK = re.compile(r"https?://\S+/join/\S+")
SMALL = ("probe=3", "validation=10", "train=10", "batch=10", "look_at=26")


class Program:
    """A command of gtloop in a process of its own, its output kept line by line."""

    def __init__(self, *words: object) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gtloop", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def link(self, who: str, after: int = 0) -> str:
        """The personal link that was printed for somebody, after so many lines."""
        return wait_for(
            lambda: next((m[0] for x in self.lines[after:] if x.startswith(who) and (m := LINK.search(x))), "")
        )

    def end(self, timeout: float = 120) -> int:
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # it says where it is
            self._reader.join(5)
            raise AssertionError("\n".join(self.lines)) from None
        self._reader.join(5)
        return code

    def page(self) -> psutil.Process:
        """The process that serves the page."""
        children = psutil.Process(self.process.pid).children()
        (found,) = [c for c in children if "serve" in c.cmdline()]
        return found


def wait_for(ask: Any, timeout: float = 120) -> Any:
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        if found := ask():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Any]:
    """Starts commands; what still runs at the end is killed."""
    running: list[Program] = []

    def start(*words: object) -> Program:
        running.append(Program(*words))
        return running[-1]

    yield start
    for program in running:
        if program.process.poll() is None:
            program.process.kill()
            program.process.wait()


def _run(tmp_path: Path, *more: object) -> tuple[object, ...]:
    """The arguments of a run of 40 images; the port is one that is free."""
    images, _ = runs.make_images(tmp_path, 40)
    sizes = [x for size in SMALL for x in ("-o", f"sizes.{size}")]
    fixed = ("run", images, "--run", tmp_path / "run", "--classes", "crate,drum", "--detector", "stub")
    return (*fixed, "--annotator", "local", "-o", f"annotators.local.port={free_port()}", *sizes, *more)


def _label(kind: str, width: int, height: int) -> dict[str, Any]:
    """The same for every image: a box, a category, a mask of its left half."""
    if kind == "choice":
        return {"category": "drum"}
    if kind == "box":
        return {"boxes": [{"category": "crate", "xyxy": [1, 1, width - 1, height - 1]}]}
    half = np.zeros((height, width), bool)
    half[:, : width // 2] = True
    return {"size": [height, width], "regions": [{"category": "crate", "counts": masks.encode(half)}]}


class Person:
    """Somebody who labels by HTTP as the page does, with the truth in mind."""

    def __init__(self, link: str) -> None:
        self.http = httpx.Client(base_url=link.split("/join/")[0], follow_redirects=True, timeout=60)
        page = self.http.post("/join", data={"token": link.rsplit("/", 1)[1]})
        assert page.status_code == 200, page.text
        self.csrf = re.search(r'name="csrf" content="([^"]+)"', page.text)[1]  # type: ignore[index]
        self.answered = 0
        self.kind = self.http.get("/api/form").json()["primitives"][0]["kind"]

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        while True:
            found = self.http.post(path, json=body, headers={"X-CSRF-Token": self.csrf})
            if found.status_code != 429:
                break
            time.sleep(0.5)  # faster than any person: the page slows it down
        assert found.status_code == 200, found.text
        return dict(found.json())

    def label(self, most: int = 10_000) -> str:
        """Answer until there is nothing more, or so many times; how the page put it at last."""
        for _ in range(most):
            found = self.post("/api/next", {"holding": []})
            if found["state"] != "task":
                return str(found["state"])
            task = found["task"]
            payload = _label(self.kind, task["width"], task["height"])
            body = {"task": task["id"], "outcome": "label", "payload": payload, "active_seconds": 1.5}
            self.post("/api/submit", body)
            self.answered += 1
        return "task"

    def label_all(self, program: Program) -> None:
        while program.process.poll() is None:
            try:
                if self.label() in ("done", "blocked"):
                    break
            except httpx.TransportError:
                break
            time.sleep(0.1)


@pytest.mark.parametrize(
    "task",
    ["bbox", *(pytest.param(task, marks=pytest.mark.slow) for task in ("classification", "segmentation"))],
)
def test_a_person_labels_a_job_to_its_end(started: Any, tmp_path: Path, task: str) -> None:
    program = started(*_run(tmp_path, "--task", task))
    person = Person(program.link("me"))
    person.label_all(program)
    assert program.end() == 0, program.lines
    found = runs.status(tmp_path / "run")
    assert found["state"] == "finished"
    assert found["annotations"] == person.answered
    assert found["cost_usd"]["total"] == 0
    assert found["saving"] is None, "people of one's own cost nothing unless a price is given"
    workers = {a.worker for _, _, answers in gtloop.open(tmp_path / "run").answers() for a in answers}
    assert len(workers) == 1
    assert not {"me", "local"} & workers, "the ledger names nobody"


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(started: Any, tmp_path: Path) -> None:
    words = _run(tmp_path)
    program = started(*words)
    person = Person(program.link("me"))
    person.label(5)
    page = program.page()
    program.process.send_signal(signal.SIGINT)
    assert program.end() == 130
    assert "stopped; the same command goes on where it was" in program.lines
    assert not page.is_running()
    again = started(*words)
    other = Person(again.link("me"))
    other.label_all(again)
    assert again.end() == 0, again.lines
    assert runs.status(tmp_path / "run")["annotations"] == person.answered + other.answered


@pytest.mark.slow
def test_a_page_that_is_killed_comes_back_at_the_same_address(started: Any, tmp_path: Path) -> None:
    program = started(*_run(tmp_path))
    link = program.link("me")
    person = Person(link)
    person.label(2)
    before = len(program.lines)
    program.page().kill()
    wait_for(lambda: any("started again" in x for x in program.lines[before:]))
    again = program.link("me", before)
    assert again.split("/join/")[0] == link.split("/join/")[0]
    person.label_all(program)  # the session of before still holds
    assert program.end() == 0, program.lines
    assert runs.status(tmp_path / "run")["annotations"] == person.answered


def test_a_page_ends_with_the_run_that_is_killed(started: Any, tmp_path: Path) -> None:
    program = started(*_run(tmp_path))
    program.link("me")
    page = program.page()
    program.process.kill()
    program.process.wait()
    wait_for(lambda: not page.is_running() or page.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.slow
def test_served_without_the_loop_answers_wait_for_it(started: Any, tmp_path: Path) -> None:
    words = _run(tmp_path)
    first = started(*words, "--no-wait")
    assert first.end() == 3, first.lines
    page = started("serve", tmp_path / "run")
    person = Person(page.link("me"))
    assert person.label() == "wait"
    assert person.answered == 3, "the probe"
    second = started("serve", tmp_path / "run")
    assert second.end() == 1
    assert "is being served by another process" in second.lines[-1]
    driver = started(*words)  # finds the page that is there, and leaves it to itself
    person.label_all(driver)
    assert driver.end() == 0, driver.lines
    assert page.process.poll() is None
    page.process.send_signal(signal.SIGTERM)
    assert page.end() == 0


def test_a_page_that_somebody_else_served_is_served_on(started: Any, tmp_path: Path) -> None:
    """As after a kill, where the old page takes a moment to end."""
    words = _run(tmp_path)
    assert started(*words, "--no-wait").end() == 3
    page = started("serve", tmp_path / "run")
    page.link("me")
    driver = started(*words)
    wait_for(lambda: any("is being served" in x for x in driver.lines))
    page.process.send_signal(signal.SIGTERM)
    assert page.end() == 0
    assert Person(driver.link("me")).label() == "wait"


@pytest.mark.slow
def test_serve_drives_where_asked(started: Any, tmp_path: Path) -> None:
    assert started(*_run(tmp_path), "--no-wait").end() == 3
    program = started("serve", tmp_path / "run", "--drive")
    Person(program.link("me")).label_all(program)
    assert program.end() == 0, program.lines
    assert json.loads(runs.cli("status", tmp_path / "run", "--json").out)["state"] == "finished"


def test_serve_says_which_annotators_have_a_page(tmp_path: Path) -> None:
    images, _ = runs.make_images(tmp_path, 30)
    runs.cli(*runs.small(images, tmp_path / "run"))
    ended = runs.cli("serve", tmp_path / "run")
    assert ended.code == 2
    assert ended.error == "annotator 'synthetic' has no page to serve. Annotators that have one: local"


def test_a_port_that_is_taken_is_one_line(started: Any, tmp_path: Path) -> None:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        program = started(*_run(tmp_path), "-o", f"annotators.local.port={s.getsockname()[1]}")
        assert program.end() == 1
    assert program.lines[-1].startswith("error: the page can't be served: port")
