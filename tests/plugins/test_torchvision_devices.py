"""What ``torchvision`` does on GPUs, exercised on the CPU: half precision, batches that fit, several devices."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gtloop.interfaces import Context, Example, Form
from gtloop.records import Item
from gtloop_plugins.detectors.torchvision import TorchvisionDetector, boxes, devices

torch = pytest.importorskip("torch", reason="gtloop[vision] is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module")
def fitted(folder: Path) -> tuple[TorchvisionDetector, Any, list[Any]]:
    """A detector, its model and five prepared pictures."""
    examples = []
    for row in range(5):
        path = folder / f"{row}.png"
        Image.fromarray(np.random.default_rng(row).integers(0, 255, (64, 96, 3), dtype=np.uint8)).save(path)
        item = Item(row=row, id=str(row), name=path.name, uri=str(path), width=96, height=64)
        examples.append(Example(item, {"boxes": [{"category": "red", "xyxy": [10, 10, 60, 50]}]}))
    context = Context(categories=("red",), form=Form(task="bbox", instructions="", primitives=()))
    options = TorchvisionDetector.Options(image_size=96, channels=8, min_steps=1, max_steps=4, device="cpu")
    detector = TorchvisionDetector(options, context)
    detector.fit(examples, folder / "model", seed=0)
    return detector, detector.load(folder / "model"), [detector.prepare(e.open(), e.item) for e in examples]


def test_half_precision_changes_little(fitted: Any) -> None:
    _, model, prepared = fitted
    images = boxes.to_tensor([p["image"] for p in prepared], model.device)
    with torch.inference_mode():
        whole = boxes._look(model.net, images, True)
        with devices.half(model.device, True):
            half = boxes._look(model.net, images, True)
            assert torch.is_autocast_enabled("cpu")
    for a, b, close in zip(whole, half, (0.02, 4.0), strict=True):
        assert b.dtype == torch.float32
        assert not torch.equal(a, b)
        assert float((a - b).abs().max()) < close


def test_the_cpu_computes_in_full_precision(fitted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, model, prepared = fitted
    seen = []
    look = boxes._look
    monkeypatch.setattr(boxes, "_look", lambda *a: (seen.append(torch.is_autocast_enabled("cpu")), look(*a))[1])
    detector.predict_batch(model, prepared)
    assert seen == [False] * len(prepared)


def test_a_batch_that_memory_does_not_hold_is_halved(fitted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, model, prepared = fitted
    expected = detector.predict_batch(model, prepared)
    look, tried = boxes._look, []

    def small(net: Any, images: Any, mirror: bool) -> Any:
        tried.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("on purpose")
        return look(net, images, mirror)

    monkeypatch.setattr(boxes, "_look", small)
    model.together = 8
    got = detector.predict_batch(model, prepared)
    assert tried == [5, 4, 2, 2, 1]
    assert model.together == 2
    for a, b in zip(expected, got, strict=True):
        assert a["scores"] == pytest.approx(b["scores"], abs=1e-4)
    monkeypatch.setattr(boxes, "_look", lambda *a: (_ for _ in ()).throw(torch.OutOfMemoryError("always")))
    with pytest.raises(torch.OutOfMemoryError):
        detector.predict_batch(model, prepared)
    model.together = 1


@pytest.mark.parametrize(("room", "found"), [(1000, 256), (100, 64), (20, 16)])
def test_a_batch_grows_until_memory_ends(room: int, found: int) -> None:
    def run(n: int) -> None:
        if n > room:
            raise torch.OutOfMemoryError("on purpose")

    assert devices.most_together(run, 16) == found


def test_a_batch_is_found_with_the_network_itself(fitted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, model, _ = fitted
    looked, look = [], boxes._look
    monkeypatch.setattr(boxes, "_look", lambda net, images, *a: (looked.append(len(images)), look(net, images, *a))[1])
    monkeypatch.setattr(devices.most_together, "__defaults__", (32,))
    assert detector._most_together(model) == 32
    assert looked == [32]


def test_several_devices_predict_as_one_does(fitted: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, model, prepared = fitted
    expected = detector.predict_batch(model, prepared)
    monkeypatch.setattr(detector, "_devices", lambda: [torch.device("cpu")] * 3)
    several = detector.load(folder / "model")
    looked, look = [], boxes._look
    monkeypatch.setattr(boxes, "_look", lambda net, *a: (looked.append(id(net)), look(net, *a))[1])
    assert detector.predict_batch(several, prepared) == expected
    nets = [id(m.net) for m in (several, *several.twins)]
    assert [looked.count(net) for net in nets] == [2, 2, 1]
    assert detector.predict_batch(several, prepared[:1]) == expected[:1]


def test_a_device_with_less_memory_halves_its_own_batches(
    fitted: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, _, prepared = fitted
    monkeypatch.setattr(detector, "_devices", lambda: [torch.device("cpu")] * 2)
    several = detector.load(folder / "model")
    small, look = several.twins[0], boxes._look
    several.together = small.together = 4

    def limited(net: Any, images: Any, mirror: bool) -> Any:
        if net is small.net and len(images) > 1:
            raise torch.OutOfMemoryError("on purpose")
        return look(net, images, mirror)

    monkeypatch.setattr(boxes, "_look", limited)
    assert len(detector.predict_batch(several, prepared)) == 5
    assert (several.together, small.together) == (4, 1)


def test_what_a_device_raises_arrives(fitted: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, _, prepared = fitted
    monkeypatch.setattr(detector, "_devices", lambda: [torch.device("cpu")] * 2)
    several = detector.load(folder / "model")
    broken = several.twins[0].net
    broken["body"].forward = lambda images: (_ for _ in ()).throw(ValueError("on purpose"))
    with pytest.raises(ValueError, match="on purpose"):
        detector.predict_batch(several, prepared)


@pytest.fixture
def compiling(fitted: Any, monkeypatch: pytest.MonkeyPatch) -> TorchvisionDetector:
    """The detector with ``compile`` on."""
    detector: TorchvisionDetector = fitted[0]
    monkeypatch.setattr(detector, "options", detector.options.model_copy(update={"compile": True}))
    return detector


def test_a_compiled_network_predicts_the_same(
    fitted: Any, folder: Path, compiling: TorchvisionDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model, prepared = fitted
    traced: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        traced.append(graph)
        return graph.forward

    # Real tracing, but no code generation, which takes minutes.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    compiled = compiling.load(folder / "model")
    found = compiling.predict_batch(compiled, prepared)
    assert traced
    for a, b in zip(compiling.predict_batch(model, prepared), found, strict=True):
        assert a["scores"] == pytest.approx(b["scores"], abs=1e-4)


def test_a_network_that_cannot_be_compiled_predicts_all_the_same(
    fitted: Any,
    folder: Path,
    compiling: TorchvisionDetector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, model, prepared = fitted

    def backend(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    compiled = compiling.load(folder / "model")
    with caplog.at_level(logging.WARNING):
        found = compiling.predict_batch(compiled, prepared)
    assert found == compiling.predict_batch(model, prepared)
    (warning,) = [r.getMessage() for r in caplog.records if "torch.compile failed" in r.getMessage()]
    assert "no compiler here" in warning
