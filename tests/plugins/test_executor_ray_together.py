"""Executor ``ray`` with ``fit_workers``: one fit in two real processes, by Ray Train."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gtloop.errors import NotEnoughData, Unsupported
from gtloop.interfaces import Context, Example, Form
from gtloop.records import Item
from gtloop.testing.fakes import EchoDetector
from gtloop_plugins.detectors.torchvision import TorchvisionDetector
from gtloop_plugins.executors.ray import Ray, RayOptions, _most_cpus


@pytest.fixture(autouse=True, scope="module")
def detectors_of_this_file() -> Iterator[None]:
    """Workers can't import it."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def ray(**options: Any) -> Ray:
    return Ray(RayOptions(**{"fit_workers": 2, "fit_cpus": 1} | options), Context())


class Fellows(EchoDetector):
    """Counts who fits together, after the one of rank 1 has done what the file ``do`` says, once."""

    name = "fellows"
    gives: ClassVar[frozenset[str]] = frozenset({"data-parallel"})

    def fit(self, examples: Sequence[Example], workdir: Path, **given: Any) -> dict[str, float]:
        import torch

        rank = torch.distributed.get_rank()
        given["progress"]("fit", rank, 2)
        mark = self.context.workdir / "do"
        if rank == 1 and mark.exists():
            what = mark.read_text()
            mark.unlink()
            if what == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise NotEnoughData(what)
        total = torch.ones(())
        torch.distributed.all_reduce(total)
        super().fit(examples, workdir, **given)
        return {"fellows": float(total), "rank": float(rank)}


def test_a_detector_that_cannot_share_a_fit_is_refused_before_people_are_asked(tmp_path: Path) -> None:
    echo = EchoDetector(EchoDetector.Options(), Context())
    for refused in (lambda: ray().check(echo), lambda: ray().fit(echo, [], tmp_path, seed=0)):
        with pytest.raises(Unsupported, match=r"'echo' can't fit in several processes: leave executors\.ray\.fit_w"):
            refused()
    ray(fit_workers=1).check(echo)


@pytest.mark.slow
def test_processes_that_fit_together_are_one_group_and_what_dies_starts_anew(tmp_path: Path) -> None:
    detector, told = Fellows(Fellows.Options(), Context(workdir=tmp_path)), []
    (tmp_path / "do").write_text("die")
    figures = ray().fit(detector, [], tmp_path / "model", seed=3, progress=lambda *step: told.append(step[:3]))
    assert not (tmp_path / "do").exists(), "nobody died"
    assert figures == {"fellows": 2.0, "rank": 0.0}
    assert detector.load(tmp_path / "model")["seed"] == 3
    assert [step for step in told if step[2] == 2] == [("fit", 0, 2)] * 2, "the first tells, once for each attempt"


@pytest.mark.slow
def test_what_one_of_them_raises_arrives_as_it_is(tmp_path: Path) -> None:
    detector = Fellows(Fellows.Options(), Context(workdir=tmp_path))
    (tmp_path / "do").write_text("label more")
    with pytest.raises(NotEnoughData, match="label more"):
        ray().fit(detector, [], tmp_path / "model", seed=3)


@pytest.mark.slow
def test_a_follower_who_leaves_ends_the_fit(tmp_path: Path) -> None:
    """What is raised where progress is shown, such as an interrupt, is raised; the processors are free again."""
    detector = Fellows(Fellows.Options(), Context(workdir=tmp_path))

    def leaves(step: str, done: int, total: int | None, note: str = "") -> None:
        if total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ray().fit(detector, [], tmp_path / "left", seed=1, progress=leaves)
    assert ray().fit(detector, [], tmp_path / "model", seed=2)["fellows"] == 2


@pytest.mark.slow
def test_a_fit_in_two_processes_is_as_good_as_one_alone(tmp_path: Path, shared_data: Path) -> None:
    """Real digits; the fits differ in the random views of images, and in no step."""
    from gtloop_plugins.executors.local import Local

    names = tuple("0123456789")
    paths = [path for name in names for path in sorted((shared_data / "digits" / name).iterdir())[:24]]
    examples = [
        Example(Item(row=i, id=str(i), name=p.name, uri=str(p), width=28, height=28), {"category": p.parent.name})
        for i, p in enumerate(paths)
    ]
    learn = [e for i, e in enumerate(examples) if i % 2]
    test = [e for i, e in enumerate(examples) if not i % 2]
    context = Context(categories=names, form=Form(task="classification", instructions="", primitives=()))
    options = TorchvisionDetector.Options(class_size=64, min_steps=40, max_steps=60, epochs=1, hold_out=0, device="cpu")
    detector, right, steps = TorchvisionDetector(options, context), {}, {}
    for name, executor in (("alone", ray(fit_workers=1)), ("together", ray())):
        figures = executor.fit(detector, learn, tmp_path / name, seed=0)
        steps[name] = figures["steps"]
        found = Local(Local.Options(), Context()).predict(detector, tmp_path / name, [e.item for e in test])
        told = [p.raw["probabilities"] for p in found if p.raw]
        right[name] = sum(
            names[max(range(10), key=p.__getitem__)] == e.payload["category"] for p, e in zip(told, test, strict=True)
        )
    assert steps["together"] == steps["alone"]
    assert right["alone"] >= 0.75 * len(test)
    assert abs(right["together"] - right["alone"]) <= 0.06 * len(test)


@pytest.mark.parametrize(
    ("workers", "gpus", "machines", "cpus"),
    [
        (1, 0, [(2, 0)], 2),
        (2, 0, [(2, 0)], 1),
        (4, 0, [(2, 0)], 1),
        (4, 0, [(16, 0)] * 4, 16),
        (8, 0, [(16, 0)] * 4, 8),
        (3, 0, [(16, 0), (8, 0)], 8),
        (2, 1, [(64, 0), (16, 2)], 8),
        (2, 1, [(8, 1), (16, 1), (64, 0)], 8),
    ],
)
def test_processors_of_each_are_as_many_as_there_are_for_all(
    workers: int, gpus: float, machines: list[tuple[int, int]], cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": float(c), "GPU": float(g)}} for c, g in machines]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    assert _most_cpus(workers, gpus) == cpus
