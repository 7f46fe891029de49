"""Whole jobs over a real server: people answer what it offers, the driver is killed, and labels are what they said."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gtloop
import pytest
from gtloop.interfaces import Context, Form, Task
from gtloop.people import read_answers
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES, SIZE, tiny_items, tiny_truth
from studio import Person, Server

from gtloop_labelstudio import writing
from gtloop_labelstudio.books import Books

SIZES = {"probe": 2, "validation": 4, "train": 4, "batch": 4}


class Crowd:
    """People who take what the server offers, look at the picture, and answer with what is known to be on it."""

    def __init__(self, server: Server, people: int, key: str, form: Form, truth: Mapping[str, Any]) -> None:
        self._server, self._key, self._form, self._truth = server, key, form, truth
        self.said: dict[tuple[int, int], Any] = {}
        self.faults: list[BaseException] = []
        self._over = threading.Event()
        work = [server.person(n) for n in range(1, people + 1)]
        self._threads = [threading.Thread(target=self._guarded, args=(p,), daemon=True) for p in work]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        assert self.faults == []

    def _guarded(self, person: Person) -> None:
        try:
            while not self._over.is_set():
                if not self._answer(person):
                    self._over.wait(0.5)
        except BaseException as e:
            self.faults.append(e)

    def _answer(self, person: Person) -> bool:
        project = self._project(person)
        task = None if project is None else person.next(project)
        if task is None:
            return False
        payload = self._truth[person.sees(task)]
        person.annotate(task["id"], writing.write(payload, self._form, SIZE), 1 + person.number)
        assert (task["id"], person.number) not in self.said, "asked twice"
        self.said[task["id"], person.number] = payload
        return True

    def _project(self, person: Person) -> int | None:
        listed = person.get("/api/projects/", include="id,description", page_size=1000)["results"]
        return next((p["id"] for p in listed if self._key in (p["description"] or "")), None)


def job(studio: Server, folder: Path, task: str, n: int, kills: int, rng: random.Random) -> tuple[Path, Crowd, int]:
    """Drive a run to its end with so many kills; people answer meanwhile."""
    items, truth = tiny_items(folder / "images", n), tiny_truth(task, n)
    assert truth is not None
    known = {hashlib.sha256(Path(i.uri).read_bytes()).hexdigest(): t for i, t in zip(items, truth, strict=True)}
    root = folder / "run"
    work = root / "annotator" / "labelstudio"
    command = [
        sys.executable,
        "-m",
        "gtloop",
        "run",
        folder / "images",
        "--run",
        root,
        "--task",
        task,
        "--wait",
        "--yes",
    ]
    command += ["--classes", ",".join(CATEGORIES), "--annotator", "labelstudio", "--detector", "stub", "--workers", "2"]
    for key, value in {"url": studio.url, "poll_s": 0.2, "chunk": 7}.items():
        command += ["-o", f"annotators.labelstudio.{key}={value}"]
    for key, size in SIZES.items():
        command += ["-o", f"sizes.{key}={size}"]
    if task == "classification":
        command[command.index("--detector") + 1] = "predictions"
        labels = folder / "predictions.jsonl"
        labels.write_text(
            "".join(
                json.dumps({"name": i.name, "payload": {**t, "confidence": 0.5 + i.row / n / 2}}) + "\n"
                for i, t in zip(items, truth, strict=True)
            )
        )
        command += ["-o", f"detectors.predictions.path={labels}"]
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    form = registry.build("task", task, {}, Context(categories=CATEGORIES)).form()
    crowd, done = None, 0
    try:
        while True:
            with (folder / "driver.log").open("ab") as log:
                process = subprocess.Popen(
                    [*map(str, command)], stdout=log, stderr=log, env={**os.environ, "NO_COLOR": "1"}
                )
            while crowd is None:
                time.sleep(0.2)
                assert process.poll() is None, (folder / "driver.log").read_text()
                if (work / "labelstudio.jsonl").exists() and (work / "labelstudio.jsonl").stat().st_size:
                    crowd = Crowd(studio, 3, Books(work).key, form, known)
            code = _drive(process, work / "labelstudio.jsonl", done < kills, rng)
            if code == -9:
                done += 1
                continue
            assert code == 0, (folder / "driver.log").read_text()
            return root, crowd, done
    finally:
        if crowd is not None:
            crowd.end()


def _drive(process: subprocess.Popen[bytes], journal: Path, kill: bool, rng: random.Random) -> int:
    """Wait for the end of a driver, or kill it once it has done some more."""
    if not kill:
        return process.wait(timeout=500)
    until = journal.stat().st_size + rng.randint(1, 2500)
    while process.poll() is None:
        if journal.stat().st_size >= until:
            process.kill()
        time.sleep(0.01)
    return process.wait()


def check(root: Path, crowd: Crowd, studio: Server, n: int, truth: list[Any]) -> None:
    """Every image once, nobody asked twice, every answer taken in once, labels as people said."""
    run = gtloop.open(root)
    facts = run.state.facts
    assert facts.finished
    (project,) = {e["project"] for e in map(json.loads, _journal(root)) if "project" in e}
    tasks = studio.owner.get("/api/tasks/", project=project, fields="all", page_size=1000)["tasks"]
    asked = [r for b in facts.batches.values() for r in run.store.read(b.requests, ["request"])["request"]]
    assert sorted(t["meta"]["gtloop_request"] for t in tasks) == sorted(asked), "a task for each request"
    given = {a["id"]: (t["id"], a["completed_by"]) for t in tasks for a in t["annotations"]}
    # Two people who come at the same moment may both get the last place of a task: the server lets them.
    assert len(set(given.values())) == len(given) == len(crowd.said) >= 2 * len(asked), "nobody was asked twice"
    answers = {a.id: a for some in read_answers(run.store, facts.answer_files).values() for a in some}
    assert sum(ref.rows for ref in facts.answer_files) == len(answers) == 2 * len(asked), "every answer once"
    task = run.task(Registry.load(discover=False, extra_modules=["gtloop_plugins"]))
    numbers = {studio.person(n).id: n for n in range(1, 4)}
    books, taken = Books(root / "annotator" / "labelstudio"), 0
    for annotation, (number, user) in given.items():
        if (answer := answers.get(books.answer_id(annotation))) is not None:
            taken += 1
            assert answer.worker == books.worker(user)
            assert answer.active_seconds == 1 + numbers[user]
            assert _apart(task, answer.payload, crowd.said[number, numbers[user]]) < 1e-6
    assert taken == len(answers)
    names = {item.name: item.row for item in run.items}
    labels = {label.row: label for label in run.labels()}
    people = [label for label in labels.values() if label.source == "human"]
    assert len(people) == len(asked)
    for number, payload in enumerate(truth):
        label = labels[names[f"tiny_{number:03d}.png"]]
        if label.source == "human":
            assert _apart(task, label.payload, payload) < 1e-6, "labels are what people said"


def _apart(task: Task, answer: Any, truth: Any) -> float:
    """How far two labels are apart; of no payload: an empty image."""
    return task.error(task.empty() if answer is None else answer, truth)  # type: ignore[arg-type]


def _journal(root: Path) -> list[str]:
    return (root / "annotator" / "labelstudio" / "labelstudio.jsonl").read_text().splitlines()


@pytest.mark.parametrize(("task", "n", "most"), [("bbox", 14, 2), ("classification", 10, 1)])
def test_a_job_that_is_killed(studio: Server, tmp_path: Path, task: str, n: int, most: int) -> None:
    root, crowd, kills = job(studio, tmp_path, task, n, most, random.Random(1))
    assert kills == most
    check(root, crowd, studio, n, tiny_truth(task, n) or [])


@pytest.mark.slow
@pytest.mark.parametrize("task", ["bbox", "classification", "segmentation"])
def test_jobs_that_are_killed_often(studio: Server, tmp_path: Path, task: str) -> None:
    root, crowd, kills = job(studio, tmp_path, task, 60, 8, random.Random(2))
    assert kills >= 5
    check(root, crowd, studio, 60, tiny_truth(task, 60) or [])
