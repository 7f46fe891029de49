"""Runs with the real detector: killed inside a fit, and the main job on the raccoon photographs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import runs

QUICK = {"epochs": 1, "min_steps": 24, "image_size": 96, "channels": 32, "mirror": False, "device": "cpu"}
"""A fit of seconds: what it learns is not the point here."""


def gtloop(*args: str, code: int = 0) -> str:
    """Run the program in a process of its own and return what it prints."""
    done = subprocess.run([sys.executable, "-m", "gtloop", *args], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.mark.slow
def test_killed_three_times_inside_a_real_fit(tmp_path: Path) -> None:
    images, truth = runs.make_images(tmp_path, 90)
    sizes = {"sizes__validation": 30, "sizes__train": 20, "sizes__look_at": 50}
    given = runs.settings(images, truth, **sizes, run__detector="torchvision", detectors__torchvision=QUICK)
    unbroken = runs.spawn(tmp_path / "unbroken", given)  # as the killed one is: with the same number of threads
    unbroken.join()
    assert unbroken.exitcode == 0
    expected = runs.facts(tmp_path / "unbroken")
    assert expected["certificates"], "the run must have looked, or no model took part in it"
    root, kills = tmp_path / "run", 0
    while kills < 3:
        child = runs.spawn(root, given)
        fitting = _wait_for_fit(root, child)
        assert fitting, "the run must reach a fit"
        time.sleep(0.3 * (kills + 1))
        child.kill()
        child.join()
        assert list((root / "models").glob(".*.partial")), "killed in the middle of a fit"
        kills += 1
    child = runs.spawn(root, given)
    child.join()
    assert child.exitcode == 0
    assert runs.facts(root) == expected


def _wait_for_fit(root: Path, child: Any) -> bool:
    """Wait until a model is being fitted that was not there before."""
    before = _partial(root)
    while child.exitcode is None:
        now = _partial(root)
        if now and now != before:
            return True
        time.sleep(0.02)
    return False


def _partial(root: Path) -> dict[str, float]:
    """Models that are being fitted, with their times."""
    found = {}
    for path in (root / "models").glob(".*.partial"):
        with suppress(FileNotFoundError):  # the run removes what a killed one left
            found[path.name] = path.stat().st_mtime
    return found


@pytest.mark.slow
def test_the_main_job_on_real_photographs(tmp_path: Path, shared_data: Path) -> None:
    """The command of the README, with a detector that learns little but is real, to a report and exports."""
    data, run = shared_data / "raccoons", str(tmp_path / "run")
    options = [part for k, v in QUICK.items() for part in ("-o", f"detectors.torchvision.{k}={v}")]
    job = ["--truth", str(data / "annotations"), "--task", "bbox", "--classes", "raccoon", "--annotator", "synthetic"]
    main = ["run", str(data / "images"), *job, "--detector", "torchvision", "--run", run, *options]
    gtloop(*main)
    status = json.loads(gtloop("status", run, "--json"))
    assert status["state"] == "finished"
    counts = status["items"]
    assert counts["human"] + counts["machine"] + counts["aliases"] == counts["total"] == 200, "4 are copies of others"
    report = json.loads(gtloop("report", run, "--truth", str(data / "annotations"), "--json"))
    assert report["quality"]["human"]["mean"] > 0.7
    coco, lines = tmp_path / "coco.json", tmp_path / "labels.jsonl"
    gtloop("export", run, "--format", "coco", "--out", str(coco))
    gtloop("export", run, "--format", "jsonl", "--out", str(lines))
    assert len(json.loads(coco.read_text())["images"]) == 200
    assert len(lines.read_text().splitlines()) == 200
    again = json.loads(gtloop(*main, "--json"))
    assert again["annotations"] == status["annotations"], "the second run asks for nothing"
