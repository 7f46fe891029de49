"""Whole runs of task ``segmentation`` on tiny images, without torch: people, stub, promise, labels out and in again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import runs
from runs import cli

import gtloop
from gtloop.interfaces import Context
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES, SIZE, tiny_truth

N = 60
CAREFUL = ("-o", "annotators.synthetic.spammers=0", "-o", "annotators.synthetic.noise=0.5")
"""People whom two or three answers suffice: 60 images are few."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found, _ = runs.make_images(tmp_path_factory.mktemp("source"), N, "segmentation")
    return found


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to its end by the command line, with promise and score of the default preset."""
    root = tmp_path_factory.mktemp("runs") / "masks"
    ended = cli(
        *runs.small(
            images, root, "--task", "segmentation", *CAREFUL, "-o", "promise.target=0.5", "-o", "sizes.validation=20"
        )
    )
    assert ended.code == 0, ended.err
    return root


def test_a_run_ends_with_machine_labels_that_are_right(finished: Path, images: Path) -> None:
    status = runs.status(finished)
    items = status["items"]
    assert items["pool"] == 0
    assert items["machine"] > 0
    assert items["machine"] + items["human"] + items["unlabelable"] == N
    assert status["promise"]["metric"] == "mean IoU"
    ended = cli("report", finished, "--truth", images.parent / "truth.jsonl", "--json")
    assert ended.code == 0, ended.err
    quality: dict[str, Any] = json.loads(ended.out)["quality"]
    assert quality["machine"]["count"] == items["machine"]
    assert quality["machine"]["mean"] > 0.8
    assert quality["human"]["mean"] > 0.7


@pytest.mark.slow
def test_the_report_shows_masks(finished: Path, images: Path, tmp_path: Path) -> None:
    ended = cli("report", finished, "--truth", images.parent / "truth.jsonl", "--out", tmp_path)
    assert ended.code == 0, ended.err
    html = (tmp_path / "index.html").read_text("utf-8")
    assert 0 < html.count('<i class="stripes"') <= html.count('<div class="grid two">')
    assert (tmp_path / "figures.png").exists()


def test_prices_are_those_of_the_preset(finished: Path) -> None:
    status = runs.status(finished)
    assert status["cost_usd"]["human"] == pytest.approx(0.84 * status["annotations"])


def test_labels_go_out_and_come_back(finished: Path, images: Path, tmp_path: Path) -> None:
    rows = runs.exported(finished)
    assert len(rows) == N
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    task = registry.build("task", "segmentation", {}, Context(categories=CATEGORIES))
    truth = tiny_truth("segmentation", N)
    assert truth is not None
    labelled = {name: row for name, row in rows.items() if row["payload"] is not None}
    errors = [task.error(row["payload"], truth[int(name[5:8])]) for name, row in labelled.items()]
    assert sum(errors) / len(errors) < 0.2
    assert {row["source"] for row in labelled.values()} == {"human", "machine"}
    assert all(row["payload"]["size"] == [SIZE[1], SIZE[0]] for row in labelled.values())

    # The export is the predictions file of another run: what it says is what that run labels by machine.
    out = finished.parent / f"{finished.name}-out.jsonl"
    again = tmp_path / "again"
    command = runs.small(images, again, "--task", "segmentation", "-o", "promise.target=0.5")
    command = tuple("predictions" if part == "stub" else part for part in command)
    if len(labelled) < N:
        command = (*command, "-o", "detectors.predictions.missing=empty")
    ended = cli(*command, "-o", f"detectors.predictions.path={out}", *CAREFUL, "-o", "sizes.validation=36")
    assert ended.code == 0, ended.err
    made = {name: row for name, row in runs.exported(again).items() if row["source"] == "machine"}
    assert made
    for name, row in made.items():
        plain = [(r["category"], r["counts"]) for r in row["payload"]["regions"]]
        assert plain == [
            (r["category"], r["counts"]) for r in labelled[name]["payload"]["regions"] if r["confidence"] >= 0.4
        ]


def test_a_background_that_is_renamed_stays_the_background(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    named = ("--task", "segmentation", *CAREFUL, "-o", f"tasks.segmentation.background={CATEGORIES[0]}")
    assert cli(*runs.small(images, root, *named, "--budget", 60)).code == 4
    ended = cli("categories", root, "--rename", f"{CATEGORIES[0]}=ground")
    assert ended.code == 0, ended.err
    assert gtloop.open(root).state.facts.settings["tasks"]["segmentation"]["background"] == "ground"
    ended = cli("run", "--run", root, "--budget", 1000)
    assert ended.code == 0, ended.err
