"""Whole jobs over real HTTP: what goes wrong on the way changes neither a label nor a cent."""

from __future__ import annotations

import random
import time
from pathlib import Path

import jobs
import pytest
import runs
from conftest import Start


@pytest.mark.parametrize("task", ["bbox", "classification", "segmentation"])
def test_a_job_of_each_task(start: Start, tmp_path: Path, task: str) -> None:
    images, _ = runs.make_images(tmp_path, 60, task)
    emulator = start(**jobs.plan(task, 60))
    sizes = {"sizes__validation": 20, "sizes__train": 10, "sizes__batch": 10, "sizes__look_at": None}
    jobs.drive(tmp_path / "run", jobs.settings(images, emulator, task, **sizes))
    jobs.check_books(emulator, tmp_path / "run")
    status = runs.status(tmp_path / "run")
    assert status["items"]["human"] + status["items"]["machine"] == 60, "every image has a label"
    human, fees = jobs.dollars(tmp_path / "run")
    assert (human, fees) == (status["annotations"] * 60_000, status["annotations"] * 12_000)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list, tuple[int, int], float]:
    """A job without faults: its images, labels, dollars and seconds."""
    folder = tmp_path_factory.mktemp("unbroken")
    images, _ = runs.make_images(folder, 180)
    emulator = jobs.Process(folder / "emulator", **jobs.plan("bbox", 180))
    try:
        given = jobs.settings(images, emulator)
        began = time.monotonic()
        child = jobs.spawn(folder / "run", given)
        child.join()
        assert child.exitcode == 0
        seconds = time.monotonic() - began
        jobs.check_books(emulator, folder / "run")
    finally:
        emulator.kill()
    labels = jobs.said(folder / "run")
    assert {"human", "machine"} == {label["source"] for label in labels}
    return images, labels, jobs.dollars(folder / "run"), seconds


def test_faults_change_nothing(unbroken: tuple, start: Start, tmp_path: Path) -> None:
    images, labels, dollars, _ = unbroken
    emulator = start(**jobs.plan("bbox", 180, faults=0.1))
    child = jobs.spawn(tmp_path / "run", jobs.settings(images, emulator))
    child.join()
    assert child.exitcode == 0
    jobs.check_books(emulator, tmp_path / "run")
    assert jobs.dollars(tmp_path / "run") == dollars
    assert jobs.said(tmp_path / "run") == labels
    calls = emulator.ask("books")["calls"]
    assert calls["CreateHITWithHITType AWS.MechanicalTurk.HitAlreadyExists"] > 3, "the faults were there"


def test_20_kills_change_nothing(unbroken: tuple, start: Start, tmp_path: Path) -> None:
    """kill -9 at random moments, with faults on and an emulator that is killed as well."""
    images, labels, dollars, seconds = unbroken
    rng, kills, n = random.Random(5), 0, 0
    while kills < 20:
        root = tmp_path / f"run{n}"
        emulator = start(**jobs.plan("bbox", 180, faults=0.02, seed=n))
        kills += jobs.kill_often(root, jobs.settings(images, emulator), 20 - kills, rng, seconds / 6)
        emulator.kill()
        emulator.start()
        jobs.check_books(emulator, root)
        assert jobs.dollars(root) == dollars
        assert jobs.said(root) == labels
        n += 1


def test_unreachable_is_said_before_anything_is_reserved(start: Start, tmp_path: Path) -> None:
    images, _ = runs.make_images(tmp_path, 20)
    emulator = start()
    emulator.kill()
    options = {**jobs.FAST, "endpoint": emulator.url, "timeout_s": 0.5}
    given = [x for key, value in options.items() for x in ("-o", f"annotators.mturk.{key}={value}")]
    command = runs.small(images, tmp_path / "run", "-o", "run.annotator=mturk", *given)
    ended = runs.cli(*["mturk" if a == "synthetic" else a for a in command])
    assert ended.code == 1
    assert "nothing was asked or paid. Other annotators (--annotator): " in ended.error
    assert "synthetic" in ended.error
