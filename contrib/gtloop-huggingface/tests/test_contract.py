"""Format and detector keep gtloop's contract, and gtloop finds them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from checkpoints import classifier, rt_detr
from gtloop.testing import DetectorContract, FormatContract

from gtloop_huggingface.dataset import HuggingFace
from gtloop_huggingface.detector import Transformers


class TestParquet(FormatContract):
    plugin = HuggingFace


class TestDisk(FormatContract):
    plugin = HuggingFace
    options = {"layout": "disk"}


class TestImageFolder(FormatContract):
    plugin = HuggingFace
    options = {"layout": "imagefolder"}


class TestTransformers(DetectorContract):
    plugin = Transformers

    def options_for(self, folder: Path, task: str) -> Mapping[str, Any]:
        make = rt_detr if task == "bbox" else classifier
        small = {"image_size": 64, "class_size": 32, "epochs": 1, "min_steps": 4, "lr": 1e-3, "device": "cpu"}
        return {"model": str(make(folder / f"checkpoint-{task}")), **small}


def test_gtloop_finds_them() -> None:
    (point,) = entry_points(group="gtloop", name="huggingface")
    hooks = point.load()
    assert hooks.gtloop_formats() == [HuggingFace]
    assert hooks.gtloop_detectors() == [Transformers]
