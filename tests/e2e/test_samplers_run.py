"""Samplers in whole runs: embeddings are made once and shown, cold starts, the model as one more voter."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
from pydantic import Field
from runs import make_images, settings

import gtloop
from gtloop.interfaces import Consolidated, Hint, Pick, PoolView, Sampler
from gtloop.records import Answer, Raw
from gtloop.registry import Registry
from gtloop.run import run_or_resume
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.classification import Classification

SIZES = {"sizes__look_at": 200}  # no look: the sampler picks until the end


class Far(Sampler):
    """Takes what is farthest from the mean of what is labelled; remembers what it was shown."""

    name = "far"
    summary = "farthest from what is labelled"
    needs = frozenset({"embedding"})
    seen: list[PoolView] = []

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        self.seen.append(view)
        labelled = view.labelled["embedding"]
        centre = labelled.mean(axis=0) if len(labelled) else 0.0
        far = np.linalg.norm(view.columns["embedding"] - centre, axis=1)
        return Pick(view.rows[np.argsort(-far, kind="stable")][:n], "far away")


class Voting(BBox):
    """Notes what it is told of the model."""

    name = "voting"
    hints: list[tuple[str, Hint]] = []
    assisted: list[str] = []

    def skills(
        self, answers: Sequence[Sequence[Answer]], previous: Mapping[str, Any], hints: Sequence[Hint] = ()
    ) -> dict[str, Any]:
        self.hints.extend((a[0].request, h) for a, h in zip(answers, hints, strict=True))
        return super().skills(answers, previous, hints)

    def assist(self, answers: Sequence[Answer], skills: Mapping[str, Any], raw: Raw) -> Consolidated:
        assert set(raw) >= {"xyxy", "scores"}
        self.assisted.append(answers[0].request)
        return super().assist(answers, skills, raw)


def _module(**hooks: Any) -> types.ModuleType:
    module = types.ModuleType("mine")
    for name, classes in hooks.items():
        setattr(module, name, gtloop.hookimpl(_named(name, classes)))
    return module


def _named(name: str, classes: list[type]) -> Any:
    def hook() -> list[type]:
        return classes

    hook.__name__ = name
    return hook


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path]:
    return make_images(tmp_path, 180)


def run(root: Path, images: tuple[Path, Path], module: types.ModuleType, **changes: Any) -> Any:
    given = settings(*images, **SIZES, **changes)
    outcome, status = run_or_resume(root, given, Registry.load(extra_modules=[module]))
    assert outcome == "finished"
    return gtloop.open(root), status


def test_a_sampler_that_goes_by_embeddings_gets_them_from_the_detector_once(
    tmp_path: Path, images: tuple[Path, Path]
) -> None:
    Far.seen.clear()
    found, _ = run(tmp_path / "run", images, _module(gtloop_samplers=[Far]), run__sampler="far")
    events = [e.event for e in found.events()]
    embedded = [e for e in events if e.type == "items-embedded"]
    assert [(e.detector, e.upto, e.rows) for e in embedded] == [("stub", 180, 180)]
    first = Far.seen[0]
    assert first.columns["embedding"].shape == (len(first.rows), 48)
    assert len(first.labelled["embedding"]) == 20, "the training batch; validation is not among what is labelled"
    assert len(first.rows) == 160, "pool and validation alike"
    assert not any(e.type == "model-fitted" for e in events[: events.index(embedded[0])]), "it needs no predictions"
    assert {b.reason for b in events if b.type == "batch-committed" and b.phase == "active"} == {"far away"}


def test_the_sampler_may_pick_the_first_training_images_too(tmp_path: Path, images: tuple[Path, Path]) -> None:
    Far.seen.clear()
    module = _module(gtloop_samplers=[Far])
    found, _ = run(tmp_path / "run", images, module, run__sampler="far", loop__start="sampler")
    batches = [e.event for e in found.events() if e.event.type == "batch-committed"]
    assert [b.phase for b in batches[:4]] == ["probe", "validation", "active", "active"]
    assert batches[2].reason == "far away"
    assert Far.seen[0].labelled["embedding"].shape == (0, 48)
    assert not any(e.event.type == "model-fitted" and e.event.fold is not None for e in found.events())


@pytest.mark.slow
def test_a_sampler_that_needs_what_nobody_gives_picks_at_random_and_says_so(
    tmp_path: Path, images: tuple[Path, Path]
) -> None:
    Far.seen.clear()

    class Blind(gtloop_stub()):  # type: ignore[misc]
        name = "blind"
        gives: Any = frozenset()

    module = _module(gtloop_samplers=[Far], gtloop_detectors=[Blind])
    found, _ = run(tmp_path / "run", images, module, run__sampler="far", run__detector="blind")
    reasons = {
        e.event.reason for e in found.events() if e.event.type == "batch-committed" and e.event.phase == "active"
    }
    assert reasons == {"at random, as there is no embedding to go by"}
    assert not Far.seen


def gtloop_stub() -> type:
    from gtloop_plugins.detectors.stub import Stub

    return Stub


def able(task: str, as_task: str) -> type:
    """The stub for another task, which it takes for one of its own."""

    class Able(gtloop_stub()):  # type: ignore[misc]
        name = "able"
        tasks = frozenset({task})

        @property
        def _task(self) -> str:
            return as_task

    return Able


@pytest.mark.slow
def test_the_model_votes_on_training_items_that_it_never_saw_and_on_no_others(
    tmp_path: Path, images: tuple[Path, Path]
) -> None:
    Voting.hints.clear()
    Voting.assisted.clear()

    module = _module(gtloop_tasks=[Voting], gtloop_detectors=[able("voting", "bbox")])
    found, _ = run(tmp_path / "run", images, module, run__task="voting", run__detector="able")
    purposes = {}
    from gtloop.store import Store

    for entry in found.events():
        if entry.event.type == "batch-committed":
            t = Store(tmp_path / "run").read(entry.event.requests, ["request", "purpose"])
            purposes |= {r: (p, entry.event.phase) for r, p in zip(t["request"], t["purpose"], strict=True)}
    hinted = {rid for rid, hint in Voting.hints if hint.raw is not None}
    assert len(Voting.hints) == 180
    assert hinted == set(Voting.assisted)
    assert {purposes[r][0] for r in hinted} == {"train"}
    assert {purposes[r][1] for r in hinted} == {"active"}
    assert hinted == {r for r, (p, phase) in purposes.items() if p == "train" and phase == "active"}


@pytest.mark.slow
def test_a_run_that_embeds_survives_a_kill_after_every_event(tmp_path: Path, images: tuple[Path, Path]) -> None:
    """Embeddings, a cold start and picks by distance: requests, labels and dollars are those of the unbroken run."""
    given = settings(*images, run__sampler="coreset", loop__start="sampler")
    runs.run_here(tmp_path / "unbroken", given)
    expected = runs.facts(tmp_path / "unbroken")
    events = [e.event.type for e in gtloop.open(tmp_path / "unbroken").events()]
    assert "items-embedded" in events
    for kill_at in range(1, len(events)):
        root = tmp_path / f"killed-{kill_at}"
        child = runs.spawn(root, given, kill_at)
        child.join()
        assert child.exitcode != 0
        runs.run_here(root, given)
        assert runs.facts(root) == expected, f"killed after event {kill_at}, {events[kill_at - 1]}"


def test_no_random_training_item_is_labelled_with_a_vote_of_a_model(tmp_path: Path) -> None:
    """A budget that ends early forces a look, so that a model is there before the random training batch is labelled."""
    images = make_images(tmp_path, 200, "classification")
    assisted: list[str] = []

    class Assisted(Classification):
        name = "assisted"

        def assist(self, answers: Sequence[Answer], skills: Mapping[str, Any], raw: Raw) -> Consolidated:
            assisted.append(answers[0].request)
            return super().assist(answers, skills, raw)

    sizes = {"sizes__validation": 30, "sizes__train": 60, "sizes__look_at": 90}
    promise = {"promise__kind": "selective", "promise__max_loss": None, "run__sampler": "uncertainty"}
    named = {"run__task": "assisted", "run__detector": "able", "prices__answer_usd": 0.1}
    registry = Registry.load(
        extra_modules=[_module(gtloop_tasks=[Assisted], gtloop_detectors=[able("assisted", "classification")])]
    )
    for budget in (12, 1000):
        given = settings(*images, **sizes, **promise, **named, run__budget_usd=budget)
        run_or_resume(tmp_path / "run", given, registry, yes=True)
    found = gtloop.open(tmp_path / "run")
    events = [e.event for e in found.events()]
    assert next(n for n, e in enumerate(events) if e.type == "model-fitted") < max(
        n for n, e in enumerate(events) if e.type == "batch-committed" and e.phase == "train"
    ), "the model came first, else this shows nothing"
    random_rows = set(np.flatnonzero(found.state.columns["random"]).tolist())
    rows: dict[str, int] = {}
    for batch in found.state.facts.batches.values():
        t = found.store.read(batch.requests, ["request", "row"])
        rows.update(zip(t["request"], (int(r) for r in t["row"]), strict=True))
    assert assisted, "training items that the sampler picked have its vote"
    assert not {rows[r] for r in assisted} & random_rows


@pytest.mark.slow
def test_other_options_of_a_detector_make_new_embeddings_of_all(tmp_path: Path) -> None:
    class SizedOptions(gtloop_stub().Options):  # type: ignore[misc,name-defined]
        dims: int = Field(4, description="numbers in an embedding")

    class Sized(gtloop_stub()):  # type: ignore[misc]
        name = "sized"
        Options = SizedOptions

        def embed_batch(self, network: Any, prepared: Sequence[Any]) -> Any:
            return np.random.default_rng(0).normal(size=(len(prepared), self.options.dims)).astype(np.float32)

    first, second = make_images(tmp_path / "a", 60), make_images(tmp_path / "b", 80, seed=5)
    for path in second[0].rglob("*.png"):
        path.rename(path.with_name(f"b_{path.name}"))
    second[1].write_text(second[1].read_text().replace('"name": "', '"name": "b_'))
    sizes = {"sizes__validation": 20, "sizes__train": 20, "sizes__look_at": 1000}
    registry = Registry.load(extra_modules=[_module(gtloop_detectors=[Sized])])
    named = {"run__detector": "sized", "run__sampler": "coreset"}
    given = settings(*first, **sizes, **named)
    assert run_or_resume(tmp_path / "run", given, registry, yes=True)[0] == "finished"
    found = gtloop.open(tmp_path / "run")
    found.change(**{"detectors.sized.dims": 8})
    found.add(str(second[0]), str(second[1]))
    assert run_or_resume(tmp_path / "run", given, registry, yes=True)[0] == "finished"
    embedded = [e.event for e in gtloop.open(tmp_path / "run").events() if e.event.type == "items-embedded"]
    assert [(e.upto, e.rows) for e in embedded] == [(60, 60), (140, 140)]
    assert len({e.space for e in embedded}) == 2
