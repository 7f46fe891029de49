"""Every built-in plugin keeps the contract that third parties are checked by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gtloop.interfaces import KINDS, Annotator, Context, ExportRow
from gtloop.records import Label, Request
from gtloop.registry import Registry
from gtloop.testing import (
    AnnotatorContract,
    DetectorContract,
    ExecutorContract,
    FormatContract,
    ObserverContract,
    SamplerContract,
    ScoreContract,
    TaskContract,
)
from gtloop.testing.contracts import Contract
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth
from gtloop_plugins.annotators.files import Files
from gtloop_plugins.annotators.synthetic import Synthetic
from gtloop_plugins.detectors.predictions import Predictions
from gtloop_plugins.detectors.stub import Stub
from gtloop_plugins.detectors.torchvision import TorchvisionDetector
from gtloop_plugins.detectors.ultralytics import UltralyticsDetector
from gtloop_plugins.executors.local import Local
from gtloop_plugins.executors.ray import Ray
from gtloop_plugins.formats.coco import Coco
from gtloop_plugins.formats.csvfile import CsvFile
from gtloop_plugins.formats.folder import ClassFolders
from gtloop_plugins.formats.groundtruth import GroundTruth
from gtloop_plugins.formats.indexmasks import IndexMasks
from gtloop_plugins.formats.jsonl import JsonLines
from gtloop_plugins.formats.parquet import Parquet
from gtloop_plugins.formats.voc import Voc
from gtloop_plugins.formats.yolo import Yolo
from gtloop_plugins.observers.webhook import Webhook
from gtloop_plugins.samplers.coreset import Coreset
from gtloop_plugins.samplers.diverse import Diverse
from gtloop_plugins.samplers.most_objects import MostObjects
from gtloop_plugins.samplers.random import Random
from gtloop_plugins.samplers.uncertainty import Uncertainty
from gtloop_plugins.scores.expected import Expected
from gtloop_plugins.scores.learned import Learned
from gtloop_plugins.scores.mean import Mean
from gtloop_plugins.scores.product import Product
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.classification import Classification
from gtloop_plugins.tasks.segmentation import Segmentation


class TestBBox(TaskContract):
    plugin = BBox


class TestClassification(TaskContract):
    plugin = Classification


class TestSegmentation(TaskContract):
    plugin = Segmentation


class TestSegmentationWithBackground(TaskContract):
    """The background is one of the categories: every third of the tiny images has nothing else."""

    plugin = Segmentation
    options = {"background": "drum"}


class TestSynthetic(AnnotatorContract):
    plugin = Synthetic


class TestFiles(AnnotatorContract):
    plugin = Files

    def play_people(self, annotator: Annotator, requests: Sequence[Request], workdir: Path) -> None:
        task = annotator.context.task
        assert task is not None
        truths = tiny_truth(task.name)
        assert truths is not None
        lines = []
        for request in requests:
            free = (f"p{k}" for k in range(9) if f"p{k}" not in request.exclude_workers)
            for worker, _ in zip(free, range(request.answers), strict=False):
                answer = {"request": request.id, "worker": worker, "outcome": "label", "active_seconds": 2.5}
                lines.append(json.dumps({**answer, "payload": truths[request.item.row]}) + "\n")
        with (workdir / "answers.jsonl").open("a") as f:
            f.writelines(lines)


class TestStub(DetectorContract):
    plugin = Stub


class TestPredictions(DetectorContract):
    plugin = Predictions

    def options_for(self, folder: Path, task: str) -> Mapping[str, Any]:
        path = folder / f"{task}.jsonl"
        truths = tiny_truth(task)
        assert truths is not None
        rows = [
            ExportRow(
                item,
                Label(row=item.row, payload=truth, source="human", confidence=1, iteration=1),
                item.width,
                item.height,
                "human",
                "",
            )
            for item, truth in zip(tiny_items(folder / "listed"), truths, strict=True)
        ]
        info = {"categories": CATEGORIES, "run": "r", "frame": "display", "version": "0"}
        JsonLines(JsonLines.Options(), Context(categories=CATEGORIES)).write(path, rows, task, info)
        return {"path": path}


class TestTorchvision(DetectorContract):
    """As short and small as it gets: what is checked is the contract, not the quality."""

    plugin = TorchvisionDetector
    options = {
        "epochs": 1,
        "min_steps": 2,
        "image_size": 64,
        "class_size": 64,
        "mask_size": 64,
        "mirror": False,
        "device": "cpu",
    }


class TestUltralytics(DetectorContract):
    """From nothing and for two steps: what is checked is the contract, not the quality."""

    plugin = UltralyticsDetector
    options = {
        "scratch": True,
        "epochs": 1,
        "min_steps": 2,
        "batch": 8,
        "imgsz": 64,
        "class_imgsz": 64,
        "device": "cpu",
    }


class TestCoreset(SamplerContract):
    plugin = Coreset


class TestDiverse(SamplerContract):
    plugin = Diverse


class TestMostObjects(SamplerContract):
    plugin = MostObjects


class TestRandom(SamplerContract):
    plugin = Random


class TestUncertainty(SamplerContract):
    plugin = Uncertainty


class TestUncertaintyByMargin(SamplerContract):
    plugin = Uncertainty
    options = {"measure": "margin"}


class TestMean(ScoreContract):
    plugin = Mean


class TestMeanWithEmptyZero(ScoreContract):
    plugin = Mean
    options = {"empty": "zero"}


class TestExpected(ScoreContract):
    plugin = Expected


class TestLearned(ScoreContract):
    plugin = Learned


class TestProduct(ScoreContract):
    plugin = Product


class TestJsonl(FormatContract):
    plugin = JsonLines


class TestCoco(FormatContract):
    plugin = Coco


class TestVoc(FormatContract):
    plugin = Voc


class TestFolder(FormatContract):
    plugin = ClassFolders


class TestFolderOfCopies(FormatContract):
    plugin = ClassFolders
    options = {"images": "copy"}


class TestGroundTruth(FormatContract):
    plugin = GroundTruth


class TestMasks(FormatContract):
    plugin = IndexMasks


class TestMasksFromOne(FormatContract):
    plugin = IndexMasks
    options = {"first": 1, "background": 0}


class TestParquet(FormatContract):
    plugin = Parquet


class TestCsv(FormatContract):
    plugin = CsvFile


class TestYolo(FormatContract):
    plugin = Yolo


class TestYoloWithoutImages(FormatContract):
    plugin = Yolo
    options = {"images": "none", "val": 0.5}


class TestLocal(ExecutorContract):
    plugin = Local


class TestLocalOneByOne(ExecutorContract):
    plugin = Local
    options = {"decoders": 1, "batch_size": 1}


class TestRay(ExecutorContract):
    """In two real processes of one Ray, which starts once in a session of tests."""

    plugin = Ray
    options = {"min_actors": 2, "max_actors": 2}


class TestWebhook(ObserverContract):
    """With nobody at the address: its test has one who listens."""

    plugin = Webhook
    options = {"url": "http://127.0.0.1:9/", "on": ("confirm",)}


ELSEWHERE = {"local": "local/test_local_contract.py", "mturk": "../mturk/test_contract.py"}
"""Annotators whose people take a server to play, and where their contract is tested."""


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_builtin_has_a_contract_here(kind: str) -> None:
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    assert registry.failed == []
    tested = {
        c.plugin for c in globals().values() if isinstance(c, type) and issubclass(c, Contract) and hasattr(c, "plugin")
    }
    untested = {p.cls.name for p in registry.providers(kind) if p.cls not in tested}
    assert untested == (ELSEWHERE.keys() if kind == "annotator" else set())
    assert all("AnnotatorContract" in (Path(__file__).parent / path).read_text() for path in ELSEWHERE.values())
    assert registry.providers(kind)
