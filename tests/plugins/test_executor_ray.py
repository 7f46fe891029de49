"""Executor ``ray`` in real processes: predictions are those of ``local``, and what dies is done again."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gtloop.errors import ConfigError, NotEnoughData, PluginFault, Unreachable
from gtloop.interfaces import Context, Example
from gtloop.records import Item, Raw
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES, EchoDetector, endless, tiny_items, tiny_truth
from gtloop_plugins.detectors.torchvision import TorchvisionDetector
from gtloop_plugins.executors.local import Local
from gtloop_plugins.executors.ray import Ray, RayOptions, cluster
from gtloop_plugins.executors.ray.crew import AHEAD


@pytest.fixture(autouse=True, scope="module")
def detectors_of_this_file() -> Iterator[None]:
    """Workers can't import it."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


class Mortal(EchoDetector):
    """Kills its own process where there is a file ``die``, which it takes away before unless ``again``."""

    name = "mortal"
    again = False

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        self._die()
        return [raw | {"pid": os.getpid()} for raw in super().predict_batch(model, prepared)]

    def fit(self, examples: Sequence[Example], workdir: Path, **given: Any) -> dict[str, float]:
        (workdir / "half").touch()
        self._die()
        assert sorted(p.name for p in workdir.iterdir()) == ["half"], "the folder was not empty"
        return super().fit(examples, workdir, **given)

    def _die(self) -> None:
        mark = self.context.workdir / "die"
        if mark.exists():
            if not self.again:
                mark.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


class Immortal(Mortal):
    """Dies whenever it is asked to."""

    again = True


def ray(**options: Any) -> Ray:
    return Ray(RayOptions(**{"min_actors": 2, "max_actors": 2} | options), Context())


def mortal(folder: Path, cls: type[Mortal] = Mortal) -> Mortal:
    detector = cls(cls.Options(), Context(workdir=folder))
    model = folder / "model"
    model.mkdir()
    detector.fit([], model, seed=1)
    return detector


def test_predictions_are_those_of_local(registry: Registry, tmp_path: Path, one_thread: None) -> None:
    items, truth = tiny_items(tmp_path / "images", 12), tiny_truth("bbox", 12)
    assert truth is not None
    context = Context(categories=CATEGORIES, task=registry.build("task", "bbox", {}, Context(categories=CATEGORIES)))
    options = TorchvisionDetector.Options(image_size=64, channels=8, min_steps=2, max_steps=2, device="cpu")
    detector, model = TorchvisionDetector(options, context), tmp_path / "model"
    local = Local(Local.Options(batch_size=4), Context())
    local.fit(detector, [Example(i, t) for i, t in zip(items, truth, strict=True)], model, seed=0)
    here = list(local.predict(detector, model, items))
    there = list(ray(batch_size=4).predict(detector, model, items))
    assert [p.item for p in there] == [p.item for p in here]
    for a, b in zip(here, there, strict=True):
        assert a.raw is not None
        assert b.raw is not None
        assert b.raw["categories"] == a.raw["categories"]
        assert len(a.raw["scores"]) > 0
        assert b.raw["scores"] == pytest.approx(a.raw["scores"], abs=1e-5)
        assert np.array(b.raw["xyxy"]) == pytest.approx(np.array(a.raw["xyxy"]), abs=1e-5)


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    items = tiny_items(tmp_path / "images", 10)
    detector = mortal(tmp_path)
    only = ray(batch_size=1, min_actors=1, max_actors=1)
    stream = only.predict(detector, tmp_path / "model", islice(endless(items), 60))
    got = []
    for p in stream:
        got.append(p)
        if len(got) == 20:
            (tmp_path / "die").touch()
    assert [p.raw["row"] for p in got if p.raw] == list(range(60))
    assert not (tmp_path / "die").exists()
    assert len({p.raw["pid"] for p in got if p.raw}) == 2, "another one took its place"


@pytest.mark.slow
def test_images_that_kill_every_worker_are_named(tmp_path: Path) -> None:
    items = tiny_items(tmp_path / "images", 3)
    detector = mortal(tmp_path, Immortal)
    (tmp_path / "die").touch()
    with pytest.raises(PluginFault, match=r"'mortal': 3 workers died as they predicted tiny_000\.png to tiny_002\.png"):
        list(ray().predict(detector, tmp_path / "model", items))


def test_a_fit_whose_process_dies_starts_anew(tmp_path: Path) -> None:
    detector, work = mortal(tmp_path), tmp_path / "work"
    (tmp_path / "die").touch()
    assert ray(fit_cpus=1).fit(detector, [], work, seed=3) == {"examples": 0.0}
    assert detector.load(work)["seed"] == 3


def test_what_a_fit_raises_arrives_as_it_is(tmp_path: Path, registry: Registry) -> None:
    context = Context(categories=CATEGORIES, task=registry.build("task", "bbox", {}, Context(categories=CATEGORIES)))
    detector = TorchvisionDetector(TorchvisionDetector.Options(device="cpu"), context)
    with pytest.raises(NotEnoughData, match="needs 2 labelled images to fit, got 0"):
        ray(fit_cpus=1).fit(detector, [], tmp_path, seed=0)


def test_it_reads_no_more_items_than_its_actors_need(tmp_path: Path) -> None:
    items = tiny_items(tmp_path / "images", 10)
    asked = 0

    def counted() -> Iterator[Item]:
        nonlocal asked
        for item in endless(items):
            asked += 1
            yield item

    stream = ray(batch_size=2).predict(mortal(tmp_path), tmp_path / "model", counted())
    for got, _ in zip(range(1, 100), stream, strict=False):
        assert asked <= got + 2 * (2 * AHEAD + 2)
    stream.close()  # type: ignore[attr-defined]


def test_it_works_from_another_thread_and_leaves_sigterm_alone(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    items, detector, found = tiny_items(tmp_path / "images", 5), mortal(tmp_path), []
    thread = threading.Thread(target=lambda: found.extend(ray().predict(detector, tmp_path / "model", items)))
    thread.start()
    thread.join()
    list(ray().predict(detector, tmp_path / "model", items))
    assert len(found) == 5
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("address", "error", "says"),
    [
        ("127.0.0.1:1", Unreachable, r"answers at 127\.0\.0\.1:1 .*; start one with: ray start --head, or leave"),
        ("somewhere", ConfigError, r"executors\.ray\.address=somewhere: give host:port"),
        ("ray://127.0.0.1:10001", ConfigError, "give host:port"),
        ("[::1]:99999", Unreachable, r"answers at \[::1\]:99999"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(address: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as e:
        ray(address=address).check(EchoDetector(EchoDetector.Options(), Context()))
    assert "\n" not in str(e.value)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    dead, alive, other = (tmp_path / f"{cluster.PREFIX}{name}" for name in ("dead", "alive", "other"))
    for folder in (dead, alive, other):
        folder.mkdir()
    (dead / "lock").touch()
    with (alive / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        cluster._sweep(tmp_path)
    assert not dead.exists()
    assert alive.exists()
    assert other.exists()
