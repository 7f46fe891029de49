"""What ``torchvision`` does on a GPU, exercised on the CPU: half precision, and batches that fit into memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from gtloop.interfaces import Context, Example, Form
from gtloop.records import Item
from gtloop_plugins.detectors.torchvision import TorchvisionDetector, boxes, devices

torch = pytest.importorskip("torch", reason="gtloop[vision] is not installed")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[TorchvisionDetector, Any, list[Any]]:
    """A detector, its model and five prepared pictures."""
    folder, examples = tmp_path_factory.mktemp("devices"), []
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
