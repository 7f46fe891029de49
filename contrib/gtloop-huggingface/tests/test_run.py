"""Whole runs with the detector ``transformers``, exported as a data set and read by ``datasets``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from checkpoints import classifier, rt_detr
from gtloop import cli
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth

DISK = "formats.huggingface.layout=disk"


def gtloop(*args: object) -> None:
    """Run ``gtloop ARGS`` in this process."""
    ended: Any = 0
    try:
        cli.main([str(a) for a in args])
    except SystemExit as e:
        ended = e.code or 0
    assert ended == 0, args


def status(root: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    gtloop("status", root, "--json")
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def words(folder: Path, task: str, checkpoint: Path, n: int, **options: Any) -> list[object]:
    """The arguments of a run on tiny images."""
    items, truth = tiny_items(folder / "images", n), tiny_truth(task, n) or []
    lines = [json.dumps({"name": i.name, "payload": p}) for i, p in zip(items, truth, strict=True)]
    (folder / "truth.jsonl").write_text("\n".join(lines) + "\n")
    fixed = ["run", folder / "images", "--run", folder / "run", "--truth", folder / "truth.jsonl", "--task", task]
    plugins = ["--classes", ",".join(CATEGORIES), "--annotator", "synthetic", "--detector", "transformers"]
    small = {"model": checkpoint, "image_size": 64, "class_size": 32, "device": "cpu", "batch": 4, **options}
    sizes = {"probe": 5, "validation": 35, "train": 15, "batch": 10}
    given = {
        **{f"detectors.transformers.{k}": v for k, v in small.items()},
        **{f"sizes.{k}": v for k, v in sizes.items()},
    }
    return [*fixed, *plugins, *(x for k, v in given.items() for x in ("-o", f"{k}={v}"))]


def test_a_classifier_labels_what_people_need_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Machine labels are certified; the export has all, and is a truth for another run; the model goes elsewhere."""
    checkpoint, root, out = classifier(tmp_path / "checkpoint"), tmp_path / "run", tmp_path / "out"
    options = {"min_steps": 100, "max_steps": 100, "lr": 1e-2, "body_lr": 1.0, "ema": 0.9, "batch": 8}
    given = words(tmp_path, "classification", checkpoint, 120, **options)
    gtloop(
        *given,
        "--target",
        "0.7",
        "-o",
        "annotators.synthetic.noise=0",
        "-o",
        "sizes.look_at=50",
        "-o",
        "promise.cross_fit=0",
    )
    found = status(root, capsys)
    assert found["state"] == "finished"
    assert found["items"]["machine"] > 30, found["summary"]
    assert found["promise"]["certified"] >= 0.7

    gtloop("export", root, "--format", "huggingface", "--out", out)
    train = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(train) == 120
    assert train.features["label"].names == list(CATEGORIES)
    assert train["source"].count("machine") == found["items"]["machine"]

    gtloop("export", root, "--format", "model", "--out", tmp_path / "model")
    gtloop("predict", tmp_path / "model", tmp_path / "images", "--format", "huggingface", "--out", tmp_path / "seen")
    seen = datasets.load_dataset(str(tmp_path / "seen"), split="train", cache_dir=str(tmp_path / "cache"))
    right = [
        CATEGORIES[label] == CATEGORIES[int(name[5:8]) % 2]
        for label, name in zip(seen["label"], seen["name"], strict=True)
    ]
    assert sum(right) > 100


def test_rt_detr_in_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fit, predict and look with a network that knows nothing: people label all, and every label comes out."""
    checkpoint, root, out = rt_detr(tmp_path / "checkpoint"), tmp_path / "run", tmp_path / "out"
    given = [*words(tmp_path, "bbox", checkpoint, 70, epochs=1, min_steps=3, max_steps=3), "-o", DISK]
    gtloop(*given, "--sampler", "uncertainty", "-o", "sizes.look_at=60", "-o", "promise.cross_fit=0")
    found = status(root, capsys)
    assert (found["state"], found["items"]["human"] + found["items"]["machine"]) == ("finished", 70)
    assert sum("fit" in r["seconds"] for r in found["iterations"]) >= 1
    gtloop("export", root, "--format", "huggingface", "--out", out)
    assert len(datasets.load_from_disk(str(out))) == 70
