"""Detector ``transformers`` on networks with random weights: it learns, starts warm, refuses what does not fit."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import classifier, detr, rt_detr
from gtloop.errors import ConfigError, RunError
from gtloop.images import open_image
from gtloop.interfaces import Context, Example, Form
from gtloop.labels import RawBoxes, iou_matrix
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth

from gtloop_huggingface.detector import Transformers, TransformersOptions
from gtloop_huggingface.detector.training import steps_for


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rt_detr(tmp_path_factory.mktemp("rt-detr"))


def detector(model: Path | str, task: str = "bbox", **options: Any) -> Transformers:
    small = {"image_size": 64, "class_size": 32, "epochs": 1, "min_steps": 2, "lr": 1e-3, "device": "cpu"}
    context = Context(categories=CATEGORIES, form=Form(task=task, instructions="", primitives=()))
    return Transformers(TransformersOptions(**{"model": str(model), **small, **options}), context)


def examples(folder: Path, task: str = "bbox", n: int = 6) -> list[Example]:
    truths = tiny_truth(task, n)
    assert truths is not None
    return [Example(item, truth) for item, truth in zip(tiny_items(folder, n), truths, strict=True)]


def predict(d: Transformers, folder: Path, seen: list[Example]) -> list[Any]:
    return d.predict_batch(d.load(folder), [d.prepare(e.open(), e.item) for e in seen])


def overlap(raws: list[Any], seen: list[Example]) -> float:
    """Mean over all true boxes of the best overlap with one of as many best predicted ones of their image."""
    best: list[float] = []
    for raw, example in zip(raws, seen, strict=True):
        truth = np.array([b["xyxy"] for b in example.payload["boxes"]], float).reshape(-1, 4)
        found = np.array(raw["xyxy"][: len(truth)], float).reshape(-1, 4)
        if len(truth):
            best += iou_matrix(truth, found).max(axis=1, initial=0).tolist()
    return float(np.mean(best))


@pytest.mark.slow
def test_a_fit_learns_its_images_by_heart(checkpoint: Path, tmp_path: Path) -> None:
    """Loss falls, overlap rises: from random weights, on six images."""
    seen = examples(tmp_path / "images")
    fixed: dict[str, Any] = {"flip": False, "zoom": 1.0, "body_lr": 1.0, "ema": 0.9}
    few = detector(checkpoint, min_steps=2, max_steps=2, **fixed)
    few.fit(seen, tmp_path / "few", seed=1)
    many = detector(checkpoint, min_steps=240, max_steps=240, batch=6, lr=5e-3, **fixed)
    notes: list[tuple[int, int | None]] = []
    figures = many.fit(
        seen, tmp_path / "many", seed=1, progress=lambda step, done, total, note="": notes.append((done, total))
    )
    before, after = (overlap(predict(d, tmp_path / name, seen), seen) for d, name in ((few, "few"), (many, "many")))
    assert figures["loss"] < 0.5 * figures["first_loss"]
    assert before < 0.2 < 0.55 < after, (before, after, figures)
    assert notes[-1] == (240, 240)
    best = [(raw["scores"][0], raw["categories"][0]) for raw in predict(many, tmp_path / "many", seen)[:4]]
    assert [category for _, category in best] == [0, 1, 0, 1]


def test_the_loss_falls(checkpoint: Path, tmp_path: Path) -> None:
    figures = detector(checkpoint, min_steps=30, max_steps=30, lr=2e-3, body_lr=1.0).fit(
        examples(tmp_path / "images"), tmp_path / "model", seed=1
    )
    assert figures["loss"] < 0.8 * figures["first_loss"]


def test_a_classifier_learns(tmp_path: Path) -> None:
    seen = examples(tmp_path / "images", "classification", 8)
    d = detector(classifier(tmp_path / "resnet"), "classification", min_steps=60, lr=5e-3, body_lr=1.0)
    d.check([e.item for e in seen])
    d.fit(seen, tmp_path / "model", seed=1)
    raws = predict(d, tmp_path / "model", seen)
    assert [int(np.argmax(raw["probabilities"])) for raw in raws] == [0, 1] * 4


def test_detr_and_its_softmax_work_as_well(tmp_path: Path) -> None:
    """A network with a class for nothing, whose boxes its own image processor makes of its outputs."""
    seen = examples(tmp_path / "images", n=3)
    d = detector(detr(tmp_path / "detr"))
    d.check([])
    d.fit(seen, tmp_path / "model", seed=1)
    for raw in predict(d, tmp_path / "model", seen):
        RawBoxes.model_validate(raw)
        assert raw["scores"] == sorted(raw["scores"], reverse=True)
        assert set(raw["categories"]) <= {0, 1}


def test_a_fit_goes_on_from_an_earlier_model(checkpoint: Path, tmp_path: Path) -> None:
    """Also where the checkpoint is gone, as on another machine."""
    seen = examples(tmp_path / "images")
    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    d = detector(source, min_steps=40, lr=2e-3, body_lr=1.0)
    first = d.fit(seen, tmp_path / "first", seed=1)
    shutil.rmtree(source)
    second = d.fit(seen, tmp_path / "second", seed=2, init=tmp_path / "first", effort=0.2)
    assert second["first_loss"] < 0.8 * first["first_loss"]
    assert second["steps"] < first["steps"]
    predict(d, tmp_path / "second", seen)


def test_one_seed_one_model_and_no_trace_of_it_in_torch(checkpoint: Path, tmp_path: Path) -> None:
    import torch

    seen, raws = examples(tmp_path / "images"), []
    for n, seed in enumerate((1, 1, 2)):
        torch.manual_seed(n)
        before = torch.get_rng_state()
        detector(checkpoint).fit(seen, tmp_path / str(n), seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        raws.append(predict(detector(checkpoint), tmp_path / str(n), seen))
    assert raws[0] == raws[1]
    assert raws[0] != raws[2]


def test_the_model_has_the_categories_and_says_what_it_is(checkpoint: Path, tmp_path: Path) -> None:
    detector(checkpoint).fit(examples(tmp_path / "images"), tmp_path / "model", seed=1)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["id2label"] == {"0": "crate", "1": "drum"}
    card = json.loads((tmp_path / "model" / "gtloop.json").read_text())
    assert (card["task"], card["categories"], card["from"]) == ("bbox", list(CATEGORIES), str(checkpoint))
    assert (tmp_path / "model" / "model.safetensors").is_file()
    other = Transformers(
        detector(checkpoint).options, Context(categories=("car",), form=detector(checkpoint).context.form)
    )
    with pytest.raises(RunError, match=r"is for categories \['crate', 'drum'\], this run needs \['car'\]"):
        other.load(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match=r"is damaged \("):
        detector(checkpoint).load(tmp_path / "model")
    with pytest.raises(RunError, match=r"no model of detector 'transformers' in .*; fit one first"):
        detector(checkpoint).load(tmp_path)


@pytest.mark.slow
def test_a_large_image_of_another_shape_gets_boxes_in_its_own_pixels(checkpoint: Path, tmp_path: Path) -> None:
    """Boxes fit the image, not the square that the network saw."""
    from PIL import Image

    seen = examples(tmp_path / "images")
    d = detector(checkpoint, min_steps=150, lr=2e-3, body_lr=1.0, flip=False, zoom=1.0)
    d.fit(seen, tmp_path / "model", seed=1)
    model, small = d.load(tmp_path / "model"), open_image(seen[0].item.uri)
    large = small.resize((384, 256), Image.Resampling.NEAREST)
    item = seen[0].item.model_copy(update={"width": 384, "height": 256})
    one, four = d.predict_batch(model, [d.prepare(small, seen[0].item), d.prepare(large, item)])
    best = np.array(one["xyxy"][0])
    assert iou_matrix(4 * best[None], np.array(four["xyxy"][:1])) > 0.9
    assert d.least_size(4000, 3000) == (128, 128)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (None, "name the checkpoint to start from, a folder or a model id of the hub such as PekingU/rtdetr_v2_r18vd"),
        ("./nowhere", "there is no folder ./nowhere; name one that save_pretrained wrote"),
        ("/no/such/place", "there is no folder /no/such/place"),
        ("nobody/nothing", "is neither a folder nor a model in the local cache of the hub; fetch it with -o detectors"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_one_line(model: str | None, said: str) -> None:
    with pytest.raises(ConfigError) as e:
        Transformers(TransformersOptions(model=model), Context(categories=CATEGORIES)).check([])
    assert said in str(e.value)
    assert "\n" not in str(e.value)


def test_a_checkpoint_that_does_not_fit_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is of type 'resnet', which does not do task 'bbox'; name one for object"):
        detector(classifier(tmp_path / "resnet")).check([])
    with pytest.raises(ConfigError, match="is of type 'rt_detr', which does not do task 'classification'"):
        detector(checkpoint, "classification").check([])
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(ConfigError, match="can't be used"):
        detector(bare).check([])
    shutil.copy(checkpoint / "config.json", bare)
    with pytest.raises(ConfigError, match="can't be used"):
        detector(bare).fit(examples(tmp_path / "images"), tmp_path / "model", seed=1)


def test_code_of_a_checkpoint_is_never_run(checkpoint: Path, tmp_path: Path) -> None:
    """Neither that of its configuration, nor that of its image processor."""
    evil = Path(shutil.copytree(checkpoint, tmp_path / "evil"))
    (evil / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\n")
    for name in ("config.json", "preprocessor_config.json"):
        told = json.loads((evil / name).read_text())
        told["auto_map"] = {k: "code.C" for k in ("AutoConfig", "AutoModelForObjectDetection", "AutoImageProcessor")}
        (evil / name).write_text(json.dumps(told))
    detector(evil).fit(examples(tmp_path / "images"), tmp_path / "model", seed=1)
    assert not (tmp_path / "ran").exists()


def test_the_network_is_left_alone() -> None:
    """Nothing is fetched without a word from the user, and HF_HUB_OFFLINE counts even then."""
    assert TransformersOptions().download is False
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(ConfigError, match="check its name and the network"):
        detector("nobody/nothing", download=True).check([])


@pytest.mark.parametrize(
    ("n", "effort", "steps"),
    [
        (10, 1.0, 200),
        (200, 1.0, 1500),
        (2000, 1.0, 3000),
        (2000, 0.5, 1500),
        (100, 1.5, 1125),
        (10, 0.1, 20),
        (1, 0.001, 1),
    ],
)
def test_length_of_a_fit(n: int, effort: float, steps: int) -> None:
    assert steps_for(n, TransformersOptions(), effort) == steps
