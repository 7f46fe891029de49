"""Whole jobs over a real server: people answer what it offers, the driver is killed, and labels are what they said."""

from __future__ import annotations

import hashlib
import json
import math
import random
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gtloop
import numpy as np
import pytest
from driver import SMALL, Driver
from gtloop import masks
from gtloop.interfaces import Context, Form, Task
from gtloop.labels import SegmentationLabel
from gtloop.people import read_answers
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES, SIZE, tiny_items, tiny_truth
from studio import Person, Server

from gtloop_labelstudio import writing
from gtloop_labelstudio.books import Books

SHARE = 8
"""Answers that people give from one kill to the next."""
LARGE = {**SMALL, "sizes.validation": 32, "promise.kind": "dataset", "promise.max_loss": 0.25}
"""Enough to show the promise, so that the rest is labelled by machine."""
REGISTRY = Registry.load(discover=False, extra_modules=["gtloop_plugins"])


class Crowd:
    """People who take what the server offers, look at the picture, and answer with what is known to be on it.

    They rest once they have given ``most`` answers.
    """

    def __init__(self, people: Sequence[Person], key: str, form: Form, truth: Mapping[str, Any]) -> None:
        self._key, self._form, self._truth = key, form, truth
        self.said: dict[tuple[int, int], Any] = {}
        self.faults: list[BaseException] = []
        self.most = 0.0
        self._projects: list[int] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._guarded, args=(p,), daemon=True) for p in people]
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
        if len(self.said) >= self.most:
            return False
        task = next(filter(None, map(person.next, self._projects)), None)
        if task is None:
            listed = person.get("/api/projects/", include="id,description", page_size=1000)["results"]
            self._projects = [p["id"] for p in listed if self._key in (p["description"] or "")]
            return False
        payload = self._truth[person.sees(task)]
        person.annotate(task["id"], writing.write(payload, self._form, SIZE), 1 + person.number)
        assert (task["id"], person.number) not in self.said, "asked twice"
        self.said[task["id"], person.number] = payload
        return True


def job(
    studio: Server, folder: Path, task: str, truth: list[Any], kills: int, options: Mapping[str, Any]
) -> tuple[Path, Crowd]:
    """Drive a run to its end, people answering meanwhile; the driver is killed so many times on the way."""
    items, rng = tiny_items(folder / "images", len(truth)), random.Random(1)
    known = {hashlib.sha256(Path(i.uri).read_bytes()).hexdigest(): t for i, t in zip(items, truth, strict=True)}
    form = REGISTRY.build("task", task, {}, Context(categories=CATEGORIES)).form()
    people = [studio.person(n) for n in (1, 2, 3)]  # at rest: the server does not repeat a sign-up that meets a lock
    driver = Driver(folder, task, studio.url, options)
    driver.start()
    try:
        early = rng.randint(1, 1000)
        driver.until(lambda: driver.written >= early)  # it makes the project, or sends the first tasks
        driver.kill()
        driver.start()
        crowd = Crowd(people, Books(driver.journal.parent).key, form, known)
        try:
            for _ in range(kills - 1):
                _work(driver, crowd, rng)
                driver.kill()
                driver.start()
            crowd.most = math.inf
            driver.finish(lambda: not crowd.faults)
        finally:
            crowd.end()
    finally:
        driver.kill()
    return folder / "run", crowd


def _work(driver: Driver, crowd: Crowd, rng: random.Random) -> None:
    """Until people have given their share of answers, and a moment longer."""
    crowd.most += SHARE
    driver.until(lambda: len(crowd.said) >= crowd.most or bool(crowd.faults))
    time.sleep(rng.uniform(0, 1.5))


def check(root: Path, crowd: Crowd, studio: Server, truth: list[Any]) -> None:
    """Every image once, nobody asked twice, every answer taken in once, labels as people said."""
    run = gtloop.open(root)
    facts = run.state.facts
    assert facts.finished
    (project,) = {e["project"] for e in map(json.loads, _journal(root)) if "project" in e}
    tasks = studio.owner.get("/api/tasks/", project=project, fields="all", page_size=1000)["tasks"]
    asked = [r for b in facts.batches.values() for r in run.store.read(b.requests, ["request"])["request"]]
    books = Books(root / "annotator" / "labelstudio")
    ours = {books.asked[request].task for request in asked}
    assert len(ours) == len(asked), "a task for each request"
    # A slow server may finish an import for longer than the next driver waits for it.
    assert all(t["is_labeled"] and t["meta"]["gtloop_request"] in asked for t in tasks if t["id"] not in ours)
    numbers = {studio.person(n).id: n for n in range(1, 4)}
    given = {a["id"]: (t["id"], numbers[a["completed_by"]]) for t in tasks for a in t["annotations"]}
    # With SQLite the server keeps an annotation twice where it has to try again, and lets two people have a last place.
    assert set(given.values()) == crowd.said.keys()
    answers = {a.id: a for some in read_answers(run.store, facts.answer_files).values() for a in some}
    assert sum(ref.rows for ref in facts.answer_files) == len(answers) == 2 * len(asked), "every answer once"
    task = run.task(REGISTRY)
    taken = 0
    for annotation, who in given.items():
        if (answer := answers.get(books.answer_id(annotation))) is not None:
            taken += 1
            assert answer.worker == books.worker(studio.person(who[1]).id)
            assert answer.active_seconds == 1 + who[1]
            assert _same(task, answer.payload, crowd.said[who])
    assert taken == len(answers)
    names = {item.row: item.name for item in run.items}
    people = {names[label.row]: label for label in run.labels() if label.source == "human"}
    assert len(people) == len(asked)
    for number, payload in enumerate(truth):
        if (label := people.get(f"tiny_{number:03d}.png")) is not None:
            assert _same(task, label.payload, payload), "labels are what people said"


def _same(task: Task, given: Any, said: Any) -> bool:
    """Whether a label is what somebody said: masks pixel for pixel. No payload is an empty image."""
    if "regions" in said:
        return np.array_equal(_pixels(given), _pixels(said))
    label = task.empty() if given is None else given
    return label is not None and task.error(label, said) < 1e-6


def _pixels(payload: Any) -> masks.IndexMap:
    return masks.to_map(SegmentationLabel.model_validate(payload), CATEGORIES)


def _journal(root: Path) -> list[str]:
    return (root / "annotator" / "labelstudio" / "labelstudio.jsonl").read_text().splitlines()


def truth_of(task: str, n: int) -> list[Any]:
    """What is on the pictures; masks with holes and frayed edges, as no rectangle has them."""
    found = tiny_truth(task, n)
    assert found is not None
    if task != "segmentation":
        return found
    rng, painted = np.random.default_rng(5), []
    for payload in found:
        index = _pixels(payload)
        index[(index >= 0) & (rng.random(index.shape) < 0.1)] = masks.BACKGROUND
        painted.append(masks.from_map(index, CATEGORIES).model_dump(mode="json", exclude_none=True))
    return painted


@pytest.mark.parametrize(("task", "n", "kills"), [("bbox", 14, 2), ("classification", 10, 2), ("segmentation", 10, 2)])
def test_a_job_that_is_killed(studio: Server, tmp_path: Path, task: str, n: int, kills: int) -> None:
    truth = truth_of(task, n)
    root, crowd = job(studio, tmp_path, task, truth, kills, SMALL)
    check(root, crowd, studio, truth)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["bbox", "classification", "segmentation"])
def test_a_job_that_is_killed_often(studio: Server, tmp_path: Path, task: str) -> None:
    truth = truth_of(task, 60)
    root, crowd = job(studio, tmp_path, task, truth, 8, LARGE)
    check(root, crowd, studio, truth)
    assert {label.source for label in gtloop.open(root).labels()} == {"human", "machine"}
