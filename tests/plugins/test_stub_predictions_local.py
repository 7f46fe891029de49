"""The stub finds what is there, ``predictions`` serves each entry once, ``local`` bounds its memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gtloop.errors import BadLabels, ConfigError
from gtloop.interfaces import Context, Example, Task
from gtloop.records import Item, Payload
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES, EchoDetector, tiny_items, tiny_truth
from gtloop_plugins.detectors.predictions import Predictions
from gtloop_plugins.detectors.stub import Stub
from gtloop_plugins.executors.local import Local


def made(registry: Registry, task: str) -> Task:
    built: Task = registry.build("task", task, {}, Context(categories=CATEGORIES))
    return built


@pytest.mark.parametrize("name", ["bbox", "classification", "segmentation"])
def test_the_stub_learns_from_few_and_labels_the_rest(name: str, registry: Registry, tmp_path: Path) -> None:
    task = made(registry, name)
    items, truths = tiny_items(tmp_path / "images", 30), tiny_truth(name, 30)
    assert truths is not None
    stub = Stub(Stub.Options(), Context(categories=CATEGORIES, task=task))
    model = tmp_path / "model"
    model.mkdir()
    stub.fit([Example(i, t) for i, t in zip(items[:8], truths, strict=False)], model, seed=0)
    local = Local(Local.Options(), Context())
    found = list(local.predict(stub, model, items[8:]))
    errors = [task.error(task.label(p.raw or {}, 0.5), truths[p.item.row]) for p in found]
    assert len(errors) == 22
    assert sum(errors) / len(errors) < 0.05


def predictions(registry: Registry, folder: Path, entries: dict[str, Payload], task: str = "bbox", **given: Any) -> Any:
    def read(path: Path) -> Iterator[tuple[str, Payload]]:
        return iter(entries.items())

    context = Context(categories=CATEGORIES, task=made(registry, task), read_labels=read)
    return Predictions(Predictions.Options(path=folder, **given), context)


BOX = {"boxes": [{"category": "crate", "xyxy": [1.0, 2.0, 30.0, 40.0], "confidence": 0.8}]}


def test_predictions_keep_confidences(registry: Registry, tmp_path: Path) -> None:
    detector = predictions(registry, tmp_path, {"a.png": BOX, "b.png": {"boxes": []}})
    raws = detector.predict_batch(detector.load(None), ["b.png", "a.png"])
    assert [list(r["scores"]) for r in raws] == [[], [0.8]]


def test_missing_predictions_are_an_error_unless_declared_empty(registry: Registry, tmp_path: Path) -> None:
    detector = predictions(registry, tmp_path, {"a.png": BOX})
    with pytest.raises(BadLabels, match=r"no prediction for 2 of 3 images, first 'x\.png'"):
        detector.predict_batch(detector.load(None), ["a.png", "x.png", "y.png"])
    lenient = predictions(registry, tmp_path, {"a.png": BOX}, missing="empty")
    assert list(lenient.predict_batch(lenient.load(None), ["x.png"])[0]["scores"]) == []
    with pytest.raises(ConfigError, match="has no empty label"):
        predictions(registry, tmp_path, {"a.png": BOX}, "classification", missing="empty").load(None)
    with pytest.raises(ConfigError, match="does not exist"):
        predictions(registry, tmp_path / "absent", {}).load(None)
    with pytest.raises(BadLabels, match="lists no image"):
        predictions(registry, tmp_path, {}).load(None)


def test_one_entry_never_serves_two_images(registry: Registry, tmp_path: Path) -> None:
    detector = predictions(registry, tmp_path, {"1.png": BOX})
    with pytest.raises(BadLabels, match=r"entry '1\.png' fits 'a/1\.png' and 'b/1\.png'"):
        detector.predict_batch(detector.load(None), ["a/1.png", "b/1.png"])


def test_local_reads_at_most_three_batches_ahead(tmp_path: Path) -> None:
    items = tiny_items(tmp_path / "images", 40)
    asked = 0

    def counted() -> Iterator[Item]:
        nonlocal asked
        for item in items:
            asked += 1
            yield item

    echo = EchoDetector(EchoDetector.Options(), Context())
    echo.fit([], tmp_path, seed=0)
    stream = Local(Local.Options(batch_size=4), Context()).predict(echo, tmp_path, counted())
    for got, _ in enumerate(stream, 1):
        assert asked <= got + 12
    assert asked == 40
