"""Every task with every annotator, detector and sampler, in whole runs on tiny images; what does not fit is refused.

Cells with a detector that needs torch take seconds each: of those each sampler is run once a task, marked slow.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from runs import make_images

import gtloop
from gtloop import config
from gtloop.errors import Unsupported
from gtloop.registry import Registry
from gtloop.run import run_or_resume
from gtloop.testing.fakes import CATEGORIES

TASKS = ("bbox", "classification", "segmentation")
ANNOTATORS = ("files", "synthetic")
SAMPLERS = ("coreset", "diverse", "most-objects", "random", "uncertainty")
LIGHT = ("predictions", "stub")
HEAVY = ("torchvision", "ultralytics")
N = 36
SIZES = {"sizes.probe": 4, "sizes.validation": 6, "sizes.train": 6, "sizes.batch": 6, "sizes.look_at": 22}
"""Two batches are the sampler's, then comes a look, then people label the rest."""

QUICK: dict[str, dict[str, Any]] = {
    "torchvision": {
        "epochs": 1,
        "min_steps": 2,
        "image_size": 64,
        "class_size": 32,
        "mask_size": 64,
        "channels": 16,
        "mirror": False,
    },
    "ultralytics": {"scratch": True, "epochs": 1, "min_steps": 2, "batch": 8, "imgsz": 64, "class_imgsz": 64},
}
NO_EMBEDDING = {"predictions", "ultralytics"}
"""Detectors from which ``diverse`` and ``coreset`` get nothing to go by."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Images and truth of each task."""
    return {task: make_images(tmp_path_factory.mktemp(task), N, task) for task in TASKS}


def given(source: tuple[Path, Path], task: str, annotator: str, detector: str, sampler: str) -> config.Settings:
    images, truth = source
    options: dict[str, Any] = dict(QUICK.get(detector, {}))
    if detector == "predictions":
        options = {"path": str(truth)}
    flags: dict[str, Any] = {
        "run.source": str(images),
        "run.task": task,
        "run.classes": CATEGORIES,
        "run.annotator": annotator,
        "run.detector": detector,
        "run.sampler": sampler,
        f"detectors.{detector}": options,
        **({"run.truth": str(truth)} if annotator == "synthetic" else {}),
        **SIZES,
    }
    return config.load(None, flags)


def answer(root: Path, truth: Path) -> None:
    """Answer every request of annotator ``files`` with the truth."""
    folder = root / "annotator" / "files"
    known = {r["name"]: r["payload"] for r in map(json.loads, truth.read_text().splitlines())}
    with (folder / "answers.jsonl").open("a") as out:
        for request in map(json.loads, (folder / "requests.jsonl").read_text().splitlines()):
            payload = known[Path(request["image"]).name]
            for k in range(request["answers"]):
                said = {"request": request["id"], "worker": f"w{k}", "outcome": "label", "payload": payload}
                out.write(json.dumps(said) + "\n")


def run(root: Path, source: tuple[Path, Path], *cell: str) -> gtloop.Run:
    """Run a cell to its end."""
    settings, outcome, calls = given(source, *cell), "waiting", 0
    while outcome == "waiting":
        outcome, _ = run_or_resume(root, settings, Registry.load())
        if outcome == "waiting":
            answer(root, source[1])
        calls += 1
        assert calls < 20, "it never ends"
    assert outcome == "finished"
    return gtloop.open(root)


def check(found: gtloop.Run, detector: str, sampler: str) -> None:
    """Every image has a label, people's or the machine's; the sampler did what it is for, or said why not."""
    items = found.status()["items"]
    assert items["human"] + items["machine"] + items["unlabelable"] + items["aliases"] == N
    assert items["human"] >= 24
    events = [e.event for e in found.events()]
    reasons = {e.reason for e in events if e.type == "batch-committed" and e.phase == "active"}
    at_random = {r for r in reasons if r.startswith("at random, as there is no")}
    if sampler in ("coreset", "diverse") and detector in NO_EMBEDDING:
        assert reasons == at_random == {"at random, as there is no embedding to go by"}
    else:
        assert reasons
        assert not at_random
    assert any(e.type == "looked" for e in events)


@pytest.mark.parametrize(
    ("task", "annotator", "detector", "sampler"), list(itertools.product(TASKS, ANNOTATORS, LIGHT, SAMPLERS))
)
def test_every_cell_without_torch(
    sources: dict[str, tuple[Path, Path]], tmp_path: Path, task: str, annotator: str, detector: str, sampler: str
) -> None:
    check(run(tmp_path / "run", sources[task], task, annotator, detector, sampler), detector, sampler)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "detector", "sampler"), list(itertools.product(TASKS, HEAVY, SAMPLERS)))
def test_every_cell_with_torch(
    sources: dict[str, tuple[Path, Path]], tmp_path: Path, task: str, detector: str, sampler: str
) -> None:
    annotator = ANNOTATORS[SAMPLERS.index(sampler) % 2]
    check(run(tmp_path / "run", sources[task], task, annotator, detector, sampler), detector, sampler)


WITH_A_SERVER = ("local", "mturk")
"""Annotators that take a server: their whole runs of every task are in tests/e2e/test_page.py and tests/mturk."""


def test_the_matrix_is_all_that_is_installed() -> None:
    registry = Registry.load()
    for kind, names in (
        ("task", TASKS),
        ("annotator", (*ANNOTATORS, *WITH_A_SERVER)),
        ("detector", (*LIGHT, *HEAVY)),
        ("sampler", SAMPLERS),
    ):
        assert sorted(p.cls.name for p in registry.providers(kind)) == sorted(names)


def _points() -> Any:
    """A task of somebody else that no built-in detector does."""
    import types

    from gtloop_plugins.tasks.bbox import BBox

    class Points(BBox):
        name = "points"

    module = types.ModuleType("points")

    def gtloop_tasks() -> list[type]:
        return [Points]

    module.gtloop_tasks = gtloop.hookimpl(gtloop_tasks)  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("detector", [*LIGHT, *HEAVY])
def test_a_detector_that_does_not_do_the_task_is_refused_before_anything_is_written(
    sources: dict[str, tuple[Path, Path]], tmp_path: Path, detector: str
) -> None:
    settings = given(sources["bbox"], "points", "synthetic", detector, "random")
    with pytest.raises(Unsupported) as e:
        run_or_resume(tmp_path / "run", settings, Registry.load(extra_modules=[_points()]))
    assert f"detector '{detector}' does not do task 'points' (it does: bbox, classification, segmentation)" in str(
        e.value
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", TASKS)
def test_swapping_is_one_word_in_the_config_file(
    sources: dict[str, tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    """The file of two runs differs in the detector's and the sampler's name only."""
    images, truth = sources[task]
    monkeypatch.chdir(tmp_path)
    found = {}
    for detector, sampler in (("stub", "uncertainty"), ("predictions", "diverse")):
        sizes = "\n".join(f"{k.partition('.')[2]} = {v}" for k, v in SIZES.items())
        (tmp_path / "gtloop.toml").write_text(
            f'[run]\nsource = "{images}"\ntruth = "{truth}"\ntask = "{task}"\nclasses = {list(CATEGORIES)}\n'
            f'annotator = "synthetic"\ndetector = "{detector}"\nsampler = "{sampler}"\n'
            f'[detectors.predictions]\npath = "{truth}"\n[sizes]\n{sizes}\n'
        )
        run_or_resume(tmp_path / detector, config.load(tmp_path / "gtloop.toml", {}), Registry.load())
        found[detector] = gtloop.open(tmp_path / detector).status()
        assert (found[detector]["detector"], found[detector]["sampler"]) == (detector, sampler)
        assert found[detector]["items"]["pool"] == 0
