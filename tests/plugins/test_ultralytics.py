"""Detector ``ultralytics``: fits and predicts three tasks, finds weights, and keeps to itself."""

from __future__ import annotations

import json
import logging
import os
import pickle
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from gtloop import masks
from gtloop.curves import curves
from gtloop.errors import ConfigError, MissingExtra, NotEnoughData, RunError, Unsupported
from gtloop.images import open_image
from gtloop.interfaces import Context, Example
from gtloop.labels import RawBoxes, RawClasses, RawMasks, SegmentationLabel
from gtloop.records import Item
from gtloop.registry import Registry
from gtloop.testing.case import Case
from gtloop.testing.checks_embedding import check_embeddings_are_vectors
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth
from gtloop_plugins.detectors.ultralytics import UltralyticsDetector, dataset, images, networks, prediction, training
from gtloop_plugins.detectors.ultralytics.library import sealed
from gtloop_plugins.detectors.ultralytics.networks import KINDS

torch = pytest.importorskip("torch", reason="gtloop[ultralytics] is not installed")
if find_spec("ultralytics") is None:  # not imported here, where nothing seals it
    pytest.skip("gtloop[ultralytics] is not installed: pip install 'gtloop[ultralytics]'", allow_module_level=True)

TASKS = list(KINDS)
SHAPES = {"bbox": RawBoxes, "classification": RawClasses, "segmentation": RawMasks}
# Not the newest: what a task has from before yolo26 is taken from there.
ARCHITECTURES = {"bbox": "yolo11n.yaml", "classification": "yolo11n-cls.yaml", "segmentation": "yolo26n-sem.yaml"}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load(discover=False, extra_modules=["gtloop_plugins"])


def detector(
    task: str, categories: tuple[str, ...] = CATEGORIES, workdir: Path = Path("."), **options: Any
) -> UltralyticsDetector:
    small = {"scratch": True, "model": ARCHITECTURES[task], "epochs": 1, "min_steps": 1, "batch": 4}
    small |= {"imgsz": 64, "class_imgsz": 64, "device": "cpu"}
    plugins = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    built = plugins.build("task", task, {}, Context(categories=categories))
    context = Context(categories=categories, task=built, form=built.form(), workdir=workdir)
    return UltralyticsDetector(UltralyticsDetector.Options(**(small | options)), context)


def examples(folder: Path, task: str, n: int = 6) -> list[Example]:
    truths = tiny_truth(task, n)
    assert truths is not None
    return [Example(item, truth) for item, truth in zip(tiny_items(folder, n), truths, strict=True)]


def predict(d: UltralyticsDetector, folder: Path, pictures: list[Image.Image]) -> list[Any]:
    items = [Item(row=i, id=str(i), name=str(i), uri="") for i in range(len(pictures))]
    prepared = [d.prepare(picture, item) for picture, item in zip(pictures, items, strict=True)]
    return d.predict_batch(d.load(folder), pickle.loads(pickle.dumps(prepared)))


def checkpoint(path: Path, architecture: str) -> Path:
    """Weights as ultralytics saves them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sealed(path.parent)
    from ultralytics import YOLO

    with torch.random.fork_rng():
        torch.manual_seed(5)
        YOLO(architecture, verbose=False).save(path)
    return path


def noise(*sizes: tuple[int, int]) -> list[Image.Image]:
    rng = np.random.default_rng(5)
    return [Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


# ------------------------------------------------------------------------------------ keeps to itself

SEALED = """
import json, os, sys
from pathlib import Path

# Whatever trains, torch asks ldconfig for libraries, and makes a cache folder in the system's temporary folder.
import torch, torch._dynamo

inside = Path(sys.argv[1])
seen = []

def watch(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        seen.append(f"{event} {args[-1 if event == 'socket.connect' else 0]}")
        raise OSError("no network here")
    if event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec"):
        seen.append(f"{event} {args[:2]}")
    where = None
    if event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        where = args[0]
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate"):
        where = str(args[1] if event in ("os.rename", "os.link", "os.symlink") else args[0])
    if where is not None and where != os.devnull and inside not in (p := Path(where).absolute(), *p.parents):
        seen.append(f"{event} {where}")

sys.addaudithook(watch)
torch.set_num_threads(3)  # a number that ultralytics would not choose by itself
before = {key: os.environ.get(key) for key in ("OMP_NUM_THREADS", "YOLO_CONFIG_DIR", "MPLCONFIGDIR")}, torch.save
from gtloop.images import open_image
from gtloop.interfaces import Context, Example
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth

registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
counts = {}
for task, n in (("bbox", 60), ("classification", 60), ("segmentation", 60)):
    built = registry.build("task", task, {}, Context(categories=CATEGORIES))
    root = inside / task
    context = Context(categories=CATEGORIES, task=built, form=built.form(), workdir=root / "work")
    options = {"scratch": True, "epochs": 1, "min_steps": 1, "batch": 16, "imgsz": 64, "class_imgsz": 64}
    options |= {"hold_out": 0.1, "device": "cpu"}
    detector = registry.build("detector", "ultralytics", registry.options("detector", "ultralytics", options), context)
    items = tiny_items(root / "images", n)
    (root / "model").mkdir()
    figures = detector.fit(
        [Example(i, t) for i, t in zip(items, tiny_truth(task, n))], root / "model", seed=1
    )
    model = detector.load(root / "model")
    raws = detector.predict_batch(model, [detector.prepare(open_image(i.uri), i) for i in items[:3]])
    counts[task] = [len(raws), sorted(p.name for p in (root / "model").iterdir()), "fitness" in figures]
after = {key: os.environ.get(key) for key in before[0]}, torch.save
assert before == after, (before, after)
assert torch.get_num_threads() == 3, "other detectors' numbers depend on it"
print(json.dumps({"seen": seen, "counts": counts}))
"""


@pytest.mark.slow
def test_nothing_leaves_the_run(tmp_path: Path) -> None:
    """A fit and a prediction of each task: no connection, no look-up, no other program, no file outside of the run.

    Not even for a moment: an audit hook sees every file that Python opens to write, and the folders are looked at
    afterwards for what libraries write by themselves.
    """
    home, cwd, inside = (tmp_path / name for name in ("home", "cwd", "inside"))
    for folder in (home, cwd, inside):
        folder.mkdir()
    own = ("YOLO_", "MPL", "XDG_", "PYTEST", "ULTRALYTICS", "TMPDIR")
    env = {k: v for k, v in os.environ.items() if not k.startswith(own)}
    env |= {"HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "WANDB_MODE": "online"}
    env |= {"ULTRALYTICS_API_KEY": "ul_" + "0" * 40}  # with it, the library reports trainings to its maker
    done = subprocess.run(
        [sys.executable, "-c", SEALED, str(inside)], env=env, cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *printed, last = done.stdout.splitlines()
    found = json.loads(last)
    files = ["model.json", "model.pt"]
    assert found["seen"] == []
    assert list(home.rglob("*")) == list(cwd.rglob("*")) == []
    assert printed == []
    assert found["counts"] == {task: [3, files, True] for task in TASKS}
    said = [line for line in done.stderr.splitlines() if "thousands of labels" not in line]
    assert said == []


def test_import_is_light() -> None:
    code = "import sys, gtloop_plugins.detectors.ultralytics; print({'torch', 'ultralytics', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_licence_is_said() -> None:
    assert UltralyticsDetector.licence == "AGPL-3.0-only"
    assert UltralyticsDetector.requires == ("ultralytics",)
    assert all(f.description for f in UltralyticsDetector.Options.model_fields.values())


def test_what_was_imported_before_is_sealed_too(tmp_path: Path) -> None:
    """A program that uses ultralytics itself may have trackers on; a fit calls none of them."""
    sealed(tmp_path)
    from ultralytics.utils import SETTINGS, checks, events

    dict.update(SETTINGS, {"mlflow": True, "sync": True, "api_key": "x"})
    events.events.enabled = checks.AUTOINSTALL = True
    sealed(tmp_path)
    assert not any(value is True for value in SETTINGS.values())
    assert SETTINGS["api_key"] == ""
    assert (events.events.enabled, checks.AUTOINSTALL, checks.ONLINE) == (False, False, False)
    assert list(tmp_path.iterdir()) == []


def test_no_tracker_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that somebody has added to every training and validation of the library."""
    sealed(tmp_path)
    from ultralytics.utils import callbacks

    called: list[str] = []
    for event, found in callbacks.default_callbacks.items():
        monkeypatch.setitem(callbacks.default_callbacks, event, [*found, lambda _, event=event: called.append(event)])
    (tmp_path / "m").mkdir()
    d = detector("classification", hold_out=0.2, batch=16)
    figures = d.fit(examples(tmp_path / "in", "classification", 60), tmp_path / "m", seed=0)
    assert "fitness" in figures  # so there was a validation
    assert {name: len(points) for name, points in curves(figures).items()} == dict.fromkeys(
        ("loss", "fitness"), figures["epochs"]
    )
    assert called == []


def test_an_old_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gtloop_plugins.detectors.ultralytics.library.version", lambda name: "8.3.250")
    with pytest.raises(MissingExtra, match=r"needs ultralytics 8.4.190 or later, not 8.3.250.*pip install -U"):
        sealed(tmp_path)


# --------------------------------------------------------------------------------------------- fits


@pytest.mark.parametrize("task", TASKS)
def test_a_model_is_data_only_and_loads_again(tmp_path: Path, task: str) -> None:
    d = detector(task)
    steps: list[Any] = []
    folder = tmp_path / "m"
    folder.mkdir()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    figures = d.fit(examples(tmp_path / "in", task), folder, seed=1, progress=lambda *a: steps.append(a))
    assert states[:2] == (random.getstate(), np.random.get_state()[1].tolist())
    assert torch.equal(states[2], torch.get_rng_state())
    assert not torch.are_deterministic_algorithms_enabled()
    assert np.isfinite(list(figures.values())).all()
    assert [s[:3] for s in steps] == [("fit", 0, 1), ("fit", 1, 1)]
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "model.pt"]
    card = json.loads((folder / "model.json").read_text())
    assert (card["task"], card["licence"], card["categories"]) == (task, "AGPL-3.0-only", list(CATEGORIES))
    state = torch.load(folder / "model.pt", weights_only=True)
    net = d.load(folder).net
    assert len(net.names) == len(CATEGORIES) + (task == "segmentation")
    assert not any(p.is_floating_point() and not p.isfinite().all() for p in state.values())


@pytest.mark.parametrize("task", TASKS)
def test_odd_images_in_one_batch(tmp_path: Path, task: str) -> None:
    d = detector(task)
    pictures = noise((1, 1), (5, 400), (400, 5), (28, 28), (700, 500), (96, 64))
    data = examples(tmp_path / "in", task, 3)
    for row, picture in enumerate(pictures):
        path = tmp_path / f"odd{row}.png"
        picture.save(path)
        item = Item(row=9 + row, id=f"o{row}", name=path.name, uri=str(path))
        whole = {"boxes": [{"category": "crate", "xyxy": [0, 0, *picture.size]}]}
        full = np.zeros(picture.size[::-1], np.int16)
        region = masks.from_map(full, CATEGORIES).model_dump(mode="json", exclude_none=True)
        data.append(Example(item, {"bbox": whole, "classification": {"category": "crate"}}.get(task, region)))
    (tmp_path / "m").mkdir()
    d.fit(data, tmp_path / "m", seed=0)
    raws = predict(d, tmp_path / "m", pictures)
    assert predict(d, tmp_path / "m", []) == []
    for raw, picture in zip(raws, pictures, strict=True):
        assert json.loads(json.dumps(raw)) == raw
        found: Any = SHAPES[task].model_validate(raw)
        if task == "segmentation":
            assert found.size == (picture.height, picture.width)
    alone = predict(d, tmp_path / "m", pictures[4:5])[0]
    for key, value in alone.items():
        if key in ("probabilities", "scores", "entropy"):
            assert np.allclose(value, raws[4][key], atol=1e-3)


def test_images_without_objects_only(tmp_path: Path) -> None:
    d = detector("bbox")
    data = [Example(e.item, {"boxes": []}) for e in examples(tmp_path / "in", "bbox", 4)]
    (tmp_path / "m").mkdir()
    figures = d.fit(data, tmp_path / "m", seed=0)
    assert np.isfinite(list(figures.values())).all()
    assert all(score < 0.5 for score in predict(d, tmp_path / "m", noise((96, 64)))[0]["scores"])


@pytest.mark.parametrize("task", TASKS)
def test_too_few_examples(tmp_path: Path, task: str) -> None:
    for n in (0, 1):
        with pytest.raises(NotEnoughData, match="label more"):
            detector(task).fit(examples(tmp_path / "in", task, 2)[:n], tmp_path / "m", seed=0)


def test_a_warm_start_goes_on_from_the_model(tmp_path: Path) -> None:
    """With next to no step size, the weights of the warm start stay; ``model`` is not looked for."""
    data = examples(tmp_path / "in", "bbox", 4)
    for name in "ab":
        (tmp_path / name).mkdir()
    detector("bbox").fit(data, tmp_path / "a", seed=0)
    still = detector("bbox", model="nowhere.pt", scratch=False, lr=1e-12)
    still.fit(data, tmp_path / "b", seed=1, init=tmp_path / "a")
    a, b = (torch.load(tmp_path / n / "model.pt", weights_only=True) for n in "ab")
    weights = [k for k in a if k.endswith("conv.weight")]
    assert len(weights) > 20
    assert all(torch.allclose(a[k], b[k], atol=1e-4) for k in weights)


def test_a_model_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    detector("bbox").fit(examples(tmp_path / "in", "bbox", 2), tmp_path / "a", seed=0)
    with pytest.raises(RunError, match="fit one first"):
        detector("bbox").load(tmp_path / "nowhere")
    for other in (detector("classification"), detector("bbox", ("red",))):
        with pytest.raises(RunError, match="fit a new one"):
            other.load(tmp_path / "a")
    card = json.loads((tmp_path / "a" / "model.json").read_text())
    card["architecture"]["scale"] = "s"
    (tmp_path / "a" / "model.json").write_text(json.dumps(card))
    with pytest.raises(RunError, match=r"tensors are not those of its architecture.*fit a new one"):
        detector("bbox").load(tmp_path / "a")


def test_a_failed_fit_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RunError("out of luck")

    monkeypatch.setattr(training, "train", fails)
    (tmp_path / "m").mkdir()
    with pytest.raises(RunError, match="out of luck"):
        detector("bbox").fit(examples(tmp_path / "in", "bbox", 2), tmp_path / "m", seed=0)
    assert list((tmp_path / "m").iterdir()) == []


def test_a_fit_that_diverges_says_so(tmp_path: Path) -> None:
    """A warm start from weights that are no numbers: the loss is none either."""
    d = detector("classification", epochs=2, batch=2)
    data = examples(tmp_path / "in", "classification", 2)
    for name in "ab":
        (tmp_path / name).mkdir()
    d.fit(data, tmp_path / "a", seed=0)
    state = torch.load(tmp_path / "a" / "model.pt", weights_only=True)
    next(iter(state.values())).fill_(float("nan"))
    torch.save(state, tmp_path / "a" / "model.pt")
    with pytest.raises(RunError, match=r"no longer a number in epoch 1; set a smaller step size"):
        d.fit(data, tmp_path / "b", seed=0, init=tmp_path / "a")
    assert list((tmp_path / "b").iterdir()) == []


def test_a_device_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="finds no CUDA device"):
        detector("bbox", device="cuda").fit(examples(tmp_path / "in", "bbox", 2), tmp_path / "m", seed=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "epochs", "quality"), [("bbox", 40, 0.5), ("classification", 20, 0.85), ("segmentation", 40, 0.5)]
)
def test_it_learns(tmp_path: Path, task: str, epochs: int, quality: float) -> None:
    """From nothing, on rectangles of two colours, judged on images that were not trained on."""
    d = detector(task, epochs=epochs, imgsz=96, batch=8)
    (tmp_path / "m").mkdir()
    d.fit(examples(tmp_path / "in", task, 24), tmp_path / "m", seed=1)
    items, truths = tiny_items(tmp_path / "new", 20, seed=7), tiny_truth(task, 20, seed=7)
    assert truths is not None
    raws = predict(d, tmp_path / "m", [open_image(item.uri) for item in items])
    built = d.context.task
    assert built is not None
    errors = [built.error(built.label(raw, 0.3), truth) for raw, truth in zip(raws, truths, strict=True)]
    assert 1 - np.mean(errors) > quality


# -------------------------------------------------------------------------------------- what it starts from


def test_weights_by_path_and_by_name(tmp_path: Path) -> None:
    """A checkpoint of four categories starts a fit of two, and the model loads again without it."""
    path = checkpoint(tmp_path / "mine.pt", "yolo11n.yaml")
    named = checkpoint(tmp_path / "weights" / "yolo11n-cls.pt", "yolo11n-cls.yaml")
    for task, options in (
        ("bbox", {"model": str(path)}),
        ("classification", {"model": "yolo11n-cls", "weights_dir": str(named.parent)}),
    ):
        folder = tmp_path / task
        folder.mkdir()
        d = detector(task, workdir=tmp_path / "run", scratch=False, lr=1e-12, **options)
        assert d.gives == {"embedding"}
        d.fit(examples(tmp_path / "in", task, 4), folder, seed=0)
        state = torch.load(folder / "model.pt", weights_only=True)
        source = networks.weights(d.options.model, Path(d.options.weights_dir), KINDS[task]).state_dict()
        came = [k for k in source if k.endswith("conv.weight") and source[k].shape == state[k].shape]
        assert len(came) == len([k for k in source if k.endswith("conv.weight")])
        assert all(torch.allclose(source[k], state[k], atol=1e-3) for k in came)
    path.unlink()
    # The class branch is as wide as that of the 80 categories it came with, and not as a fresh one of two would be.
    assert networks._branch_width(torch.load(tmp_path / "bbox" / "model.pt", weights_only=True)) == 80
    later = detector(
        "bbox", workdir=tmp_path / "run", scratch=False, model="yolo11n-cls", weights_dir=str(named.parent)
    )
    assert len(predict(later, tmp_path / "bbox", noise((96, 64)))) == 1


def test_weights_are_asked_for_before_anything_is_labelled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as e:
        detector("bbox", workdir=tmp_path / "run" / "detector", scratch=False, model="auto", weights_dir=str(tmp_path))
    text = str(e.value)
    assert "\n" not in text
    assert "yolo26n.pt is not in" in text
    assert "https://github.com/ultralytics/assets/releases/download/" in text
    assert "scratch=true" in text
    assert list(tmp_path.iterdir()) == []  # nothing is left of looking
    # Outside of a run, a finished model predicts without them.
    detector("bbox", scratch=False, model="auto", weights_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("bbox", {"model": "yolo11n.yaml", "scratch": False}, "scratch=true"),
        ("bbox", {"model": "yolo11n.pt"}, "name an architecture such as yolo26n.yaml"),
        ("bbox", {"model": "yolo11nn.yaml"}, "did you mean yolo11n.yaml?"),
        ("bbox", {"model": "yolo11q", "scratch": False}, "did you mean yolo11"),
        ("bbox", {"model": "qqq.yaml"}, "no model of that name; yolo"),
        ("bbox", {"model": "yolo11n-seg.yaml"}, "is a model for instance segmentation, this run needs one for boxes"),
        ("segmentation", {"model": "yolo11n-seg.yaml"}, "name one such as yolo26n-sem.yaml"),
        ("bbox", {"model": "yolo11n-cls.pt", "scratch": False}, "name one such as yolo26n.pt"),
        ("classification", {"model": "yolo26x.pt", "scratch": False}, "name one such as yolo26n-cls.pt"),
        ("bbox", {"model": "somewhere/else.pt", "scratch": False}, "there is no such file"),
        ("bbox", {"model": "yolov8s-world.yaml"}, "is a model for WorldDetect"),
        ("bbox", {"model": "rtdetr-l.yaml"}, "is a model for RTDETRDecoder"),
        ("classification", {"model": "yolo11n-cls-resnet18.yaml"}, "weights would be downloaded"),
    ],
)
def test_names_that_do_not_do(tmp_path: Path, task: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as e:
        detector(task, workdir=tmp_path / "run", **options)
    assert words in str(e.value)
    assert "\n" not in str(e.value)


def test_weights_of_another_task_or_none_at_all(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "some.pt", "yolo11n-cls.yaml")
    with pytest.raises(ConfigError, match="is a model for classification, this run needs one for boxes"):
        detector("bbox", workdir=tmp_path / "run", scratch=False, model=str(path))
    path.write_bytes(b"not weights")
    with pytest.raises(ConfigError, match="no weights that ultralytics"):
        detector("bbox", workdir=tmp_path / "run", scratch=False, model=str(path))


class Trap:
    """Pickled, it runs code where it is opened without care."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path(os.environ["GTLOOP_TRAP"]),))


def test_weights_that_would_run_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTLOOP_TRAP", str(tmp_path / "sprung"))
    torch.save({"model": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(ConfigError, match="its own classes only"):
        detector("bbox", workdir=tmp_path / "run", scratch=False, model=str(tmp_path / "trap.pt"))
    assert not (tmp_path / "sprung").exists()


def test_an_architecture_of_ones_own(tmp_path: Path) -> None:
    from ultralytics.utils import ROOT

    text = (ROOT / "cfg" / "models" / "11" / "yolo11.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    found = networks.source(str(path), Path("."), KINDS["bbox"], scratch=True)
    assert found.net is None
    assert found.architecture["yaml_file"] == "mine.yaml"
    path.write_text("nc: 80\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no architecture"):
        networks.source(str(path), Path("."), KINDS["bbox"], scratch=True)


@pytest.mark.parametrize("name", ["yolov10n.yaml", "yolov9t.yaml", "yolo12n.yaml", "yolo11.yaml", "yolov8n-p2.yaml"])
def test_architectures_of_the_package(tmp_path: Path, name: str) -> None:
    sealed(tmp_path)
    found = networks.source(name, Path("."), KINDS["bbox"], scratch=True)
    net = networks.build(found.architecture, KINDS["bbox"], ("a", "b"), None)
    assert networks.build(found.architecture, KINDS["bbox"], ("a", "b"), net.state_dict()).names == {0: "a", 1: "b"}


def test_a_model_folder_runs_no_code(tmp_path: Path) -> None:
    """The library evaluates what an architecture calls its activation, unless it is told not to."""
    (tmp_path / "a").mkdir()
    d = detector("classification")
    d.fit(examples(tmp_path / "in", "classification", 2), tmp_path / "a", seed=0)
    card = json.loads((tmp_path / "a" / "model.json").read_text())
    card["architecture"]["activation"] = f"__import__('pathlib').Path({str(tmp_path / 'sprung')!r}).touch()"
    (tmp_path / "a" / "model.json").write_text(json.dumps(card))
    with pytest.raises(RunError, match="fit a new one"):
        d.load(tmp_path / "a")
    assert not (tmp_path / "sprung").exists()


def test_training_from_nothing_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "m").mkdir()
    with caplog.at_level(logging.WARNING, logger="gtloop"):
        detector("classification").fit(examples(tmp_path / "in", "classification", 2), tmp_path / "m", seed=0)
    assert "thousands of labels" in caplog.text


@pytest.mark.parametrize("task", TASKS)
def test_embeddings(tmp_path: Path, task: str, registry: Registry) -> None:
    path = checkpoint(tmp_path / "some.pt", ARCHITECTURES[task])
    options = {"model": str(path), "imgsz": 64, "class_imgsz": 64, "device": "cpu"}
    check_embeddings_are_vectors(Case(UltralyticsDetector, tmp_path / "case", registry, task, options))
    assert detector(task).gives == frozenset()  # of an untrained network


# ------------------------------------------------------------------------------------------------ parts


def test_the_length_of_a_fit_follows_the_data() -> None:
    options = UltralyticsDetector.Options(epochs=50, min_steps=300, max_steps=6000, batch=16)
    assert training.epochs_for(16, options, 1.0) == 300
    assert training.epochs_for(160, options, 1.0) == 50
    assert training.epochs_for(16000, options, 1.0) == 6
    assert training.epochs_for(160, options, 0.5) == 25
    for n in (48, 480, 4800, 48000):  # a fold takes as many steps as the model that has seen all
        fold = n * 2 // 3
        steps = [training.epochs_for(k, options, e) * -(-k // options.batch) for k, e in ((n, 1.0), (fold, n / fold))]
        assert steps[1] == pytest.approx(steps[0], rel=0.15)
    assert training.epochs_for(10**6, options, 0.01) == 1


def test_training_labels_only_are_held_out() -> None:
    assert not dataset.hold_out(59, 0.15, 0).any()
    assert not dataset.hold_out(600, 0, 0).any()
    held = dataset.hold_out(600, 0.15, 0)
    assert held.sum() == 90
    assert (held == dataset.hold_out(600, 0.15, 0)).all()
    assert (held != dataset.hold_out(600, 0.15, 1)).any()


def test_a_fit_stops_and_keeps_the_best(tmp_path: Path) -> None:
    """With held-out examples and no patience the fit ends early, and what it keeps is not the last epoch."""
    d = detector("classification", epochs=12, batch=16, hold_out=0.2, patience=1, lr=0.02)
    (tmp_path / "m").mkdir()
    seen: list[Any] = []
    figures = d.fit(
        examples(tmp_path / "in", "classification", 60), tmp_path / "m", seed=2, progress=lambda *a: seen.append(a)
    )
    assert figures["epochs"] == len(seen) - 1 < 12
    assert 1 <= figures["kept_at"] < figures["epochs"]
    assert 0 < figures["fitness"] <= 1


def test_boxes_come_back_to_where_they_were() -> None:
    """A letterboxed rectangle, found in the pixels that the network sees, has its place in the image again."""
    for size in ((300, 200), (200, 300), (1000, 40), (64, 64)):
        picture = np.full((size[1], size[0], 3), 20, np.uint8)
        x1, y1, x2, y2 = size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2
        picture[y1:y2, x1:x2] = (240, 30, 30)
        one = images.letterbox(Image.fromarray(picture), 320)
        assert one["image"].shape[0] % 32 == one["image"].shape[1] % 32 == 0
        ys, xs = np.nonzero(one["image"][..., 0].astype(int) - one["image"][..., 1] > 100)
        seen = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1, 0.9, 1]], np.float64)
        raw = prediction._raw_boxes(seen, one)
        step = max(1.0, size[0] / 320, size[1] / 320)
        assert np.abs(np.array(raw["xyxy"][0]) - [x1, y1, x2, y2]).max() <= 1.5 * step
        assert raw["categories"] == [1]


def test_regions_come_back_to_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sure logits on the network's coarse grid become a region of the image, however few pixels fit at once."""
    one = images.letterbox(noise((300, 200))[0], 320)
    height, width = one["image"].shape[:2]
    logits = torch.full((3, height // 8, width // 8), -8.0)
    logits[2] = 8.0
    _, top, _, h = one["place"]
    logits[:, (top + h // 2) // 8 :, :] = torch.tensor([8.0, -8.0, -8.0])[:, None, None]
    raws = [prediction._raw_masks(logits, one, 2, 32)]
    monkeypatch.setattr(prediction, "MAX_VALUES", 20000)
    raws.append(prediction._raw_masks(logits, one, 2, 32))
    for raw in raws:
        assert RawMasks.model_validate(raw).categories == (0,)
        mask = masks.decode(raw["counts"][0], (200, 300))
        assert mask[:90].sum() < 0.01 * mask.sum()
        assert mask[112:].mean() > 0.99


@pytest.mark.parametrize("stride", [32, 64])
def test_regions_keep_their_place_where_images_are_padded(stride: int) -> None:
    class Net:
        """Says white of white pixels, on a grid of 8."""

        def __init__(self) -> None:
            self.stride = torch.tensor([8.0, 16.0, float(stride)])

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            grey = torch.nn.functional.avg_pool2d(x[:, :1], 8) * 20 - 10
            return torch.cat([grey, -grey], 1)

    picture = Image.new("RGB", (96, 96))
    picture.paste((255, 255, 255), (0, 0, 48, 96))
    (raw,) = prediction.regions(Net(), [images.letterbox(picture, 96)], "cpu", 1, 1)
    mask = masks.decode(raw["counts"][0], (96, 96))
    assert mask[:, :44].all()
    assert not mask[:, 52:].any()


def test_labels_are_written_as_ultralytics_reads_them(tmp_path: Path) -> None:
    data = examples(tmp_path / "in", "segmentation", 2)
    held = np.zeros(2, bool)
    found = dataset.write(tmp_path / "data", data, held, KINDS["segmentation"], CATEGORIES, 64)
    assert found["names"] == {0: "crate", 1: "drum", 2: dataset.BACKGROUND}
    values = np.asarray(Image.open(tmp_path / "data" / "masks" / "train" / "0000000.png"))
    index = masks.to_map(SegmentationLabel.model_validate(data[0].payload), CATEGORIES)
    assert (values[index == masks.VOID] == 255).all()
    assert (values[index == masks.BACKGROUND] == 2).all()
    assert (values[index == 0] == 0).all()
    boxes = examples(tmp_path / "in", "bbox", 5)
    dataset.write(tmp_path / "boxes", boxes, np.zeros(5, bool), KINDS["bbox"], CATEGORIES, 64)
    lines = (tmp_path / "boxes" / "labels" / "train" / "0000000.txt").read_text().split("\n")
    category, cx, cy, w, h = (float(v) for v in lines[0].split())
    box = boxes[0].payload["boxes"][0]
    back = [(cx - w / 2) * 96, (cy - h / 2) * 64, (cx + w / 2) * 96, (cy + h / 2) * 64]
    assert CATEGORIES[int(category)] == box["category"]
    assert back == pytest.approx(box["xyxy"], abs=1e-4)
    assert (tmp_path / "boxes" / "labels" / "train" / "0000004.txt").read_text() == ""


def test_masks_hold_254_categories(tmp_path: Path) -> None:
    many = tuple(f"c{i}" for i in range(255))
    detector("segmentation", many[:254])
    with pytest.raises(Unsupported, match="at most 254 categories, got 255"):
        detector("segmentation", many)


def test_pillow_stays_as_it_is(tmp_path: Path) -> None:
    """The library replaces ``Image.open`` by one that wants to install a package for a broken file."""
    sealed(tmp_path)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(UnidentifiedImageError):
        Image.open(broken)
    assert Image.open.__module__ == "PIL.Image"
