"""A pool that is larger than what a sampler chooses from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs

import gtloop
from gtloop.opened import Run

SMALL = {"run__sampler": "uncertainty", "loop__candidates": 50}


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Any]:
    """A finished run of 180 images whose sampler chooses from 50 at a time, and its settings."""
    folder = tmp_path_factory.mktemp("sampled")
    given = runs.settings(*runs.make_images(folder, 180), **SMALL)
    assert runs.run_here(folder / "run", given)[0] == "finished"
    return gtloop.open(folder / "run"), given


def test_a_sampler_chooses_from_a_random_part_and_a_look_sees_all(sampled: tuple[Run, Any]) -> None:
    run, _ = sampled
    events = [e.event for e in run.events()]
    predicted = [e for e in events if e.type == "items-predicted" and ".f" not in e.model]
    picked = next(e for e in events if e.type == "batch-committed" and e.phase == "active")
    first, last = predicted[0], predicted[-1]
    assert [e.sample for e in predicted] == [True, False]
    assert first.rows == 50
    assert last.rows == len(run.store.read_path(next(iter(_certificates(run))).evidence)["row"]) - _crossed(run)
    shown = np.concatenate([run.store.read_path(p)["row"] for p in _parts(run, first.path)])
    asked = run.store.read(picked.requests)
    train = [row for row, why in zip(asked["row"].tolist(), asked["purpose"], strict=True) if why == "train"]
    assert train
    assert set(train) <= set(shown.tolist())
    validation = {
        row
        for e in events
        if e.type == "batch-committed" and e.phase in ("probe", "validation")
        for row in run.store.read(e.requests, ["row"])["row"].tolist()
    }
    assert 5 <= len(validation & set(shown.tolist())) <= 40, "what validates is among them as often as the rest"
    assert picked.moved is None or set(run.store.read(picked.moved)["row"].tolist()) <= validation & set(shown.tolist())


def _certificates(run: Run) -> list[Any]:
    return run.state.facts.certificates


def _crossed(run: Run) -> int:
    """Rows of a look's evidence that are training items."""
    return int((~np.asarray(run.store.read_path(_certificates(run)[0].evidence)["exact"])).sum())


def _parts(run: Run, folder: str) -> list[str]:
    return sorted(str(p.relative_to(run.root)) for p in (run.root / folder).glob("part-*.parquet"))


@pytest.mark.slow
def test_killed_between_sample_and_look_it_goes_on_the_same(sampled: tuple[Run, Any], tmp_path: Path) -> None:
    run, given = sampled
    at = [n for n, e in enumerate(run.events(), 1) if e.event.type == "items-predicted" and ".f" not in e.event.model]
    for n, before in zip(at, [0, *at], strict=False):
        child = runs.spawn(tmp_path / "run", given, kill_at=n - before)
        child.join()
        assert child.exitcode == -9
    runs.run_here(tmp_path / "run", given)
    assert runs.facts(tmp_path / "run") == runs.facts(run.root)


def test_where_all_are_few_nothing_changes(sampled: tuple[Run, Any], tmp_path: Path) -> None:
    _, given = sampled
    found = []
    for n in (180, 100_000):
        loop = given.loop.model_copy(update={"candidates": n})
        runs.run_here(tmp_path / str(n), given.model_copy(update={"loop": loop}))
        found.append(runs.facts(tmp_path / str(n)))
        assert not any(getattr(e.event, "sample", False) for e in gtloop.open(tmp_path / str(n)).events())
    assert found[0] == found[1]
