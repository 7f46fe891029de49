"""When to look, chosen by what is expected to be cheapest; never by what certifies."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import runs

import gtloop
from gtloop.considering import Curve, _fit
from gtloop.events import BatchCommitted, Considered, Looked

CHEAPEST = {
    "loop__look": "cheapest", "sizes__validation": 40, "sizes__train": 20, "sizes__batch": 10, "sizes__look_at": 110,
    "promise__max_loss": 0.1, "prices__answer_usd": 0.036, "run__sampler": "random",
}  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return runs.make_images(tmp_path_factory.mktemp("source"), 200)


@pytest.fixture(scope="module")
def unbroken(images: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cheapest") / "run"
    assert runs.run_here(root, runs.settings(*images, **CHEAPEST))[0] == "finished"
    return root


def events(root: Path, *kinds: type) -> list[Any]:
    return [e.event for e in gtloop.open(root).events() if isinstance(e.event, kinds)]


def test_each_round_is_weighed_once_and_the_look_follows_the_choice(unbroken: Path) -> None:
    seen = events(unbroken, Considered, Looked, BatchCommitted)
    weighed = [e for e in seen if isinstance(e, Considered)]
    assert weighed
    assert len({e.turn for e in weighed}) == len(weighed)
    assert weighed[0].choice == "train", "one round says nothing about how fast the model learns"
    for event, after in itertools.pairwise(seen):
        if isinstance(event, Considered):
            assert isinstance(after, Looked) == (event.choice == "look")
            assert (
                not event.plans
                or min(event.plans, key=lambda p: (p.cost, p.labels)).labels == 0
                or (event.choice == "train")
            )
    (looked,) = [e for e in seen if isinstance(e, Looked)]
    assert all(c.exact for c in looked.certificates)


def test_a_look_comes_before_the_planned_one_where_nothing_is_to_be_gained(
    images: tuple[Path, Path], tmp_path: Path
) -> None:
    """Of perfect people, the stub has learnt all that it can from a handful of images."""
    root = tmp_path / "run"
    runs.run_here(
        root, runs.settings(*images, **CHEAPEST, annotators__synthetic__noise=0, annotators__synthetic__spammers=0)
    )
    before = itertools.takewhile(lambda e: isinstance(e, BatchCommitted), events(root, BatchCommitted, Looked))
    assert sum(e.requests.rows for e in before) < 110
    assert gtloop.open(root).status()["items"]["machine"] > 0


def test_a_run_that_is_killed_weighs_alike(images: tuple[Path, Path], unbroken: Path, tmp_path: Path) -> None:
    given = runs.settings(*images, **CHEAPEST)
    for at in (9, 5, 4, 3):
        child = runs.spawn(tmp_path / "run", given, kill_at=at)
        child.join()
    runs.run_here(tmp_path / "run", given)
    assert runs.facts(tmp_path / "run") == runs.facts(unbroken)


def test_the_cap_on_exploration_holds(images: tuple[Path, Path], tmp_path: Path) -> None:
    """A curve that promises much for ever: the look comes at the planned labels and the share beyond them."""
    from unittest.mock import patch

    given = runs.settings(*images, **{**CHEAPEST, "sizes__look_at": 70, "loop__explore": 0.1})
    with patch("gtloop.considering._fit", lambda points: None):
        runs.run_here(tmp_path / "run", given)
    seen = events(tmp_path / "run", BatchCommitted, Looked)
    asked = 0
    for event in seen:
        if isinstance(event, Looked):
            break
        asked += event.requests.rows
    assert 70 + 20 <= asked <= 70 + 20 + 10


def test_the_curve_is_a_power_law_between_0_and_1() -> None:
    assert _fit([(100, 0.4)]) is None
    assert _fit([(100, 0.4), (100, 0.3)]) is None
    curve = _fit([(100, 0.4), (400, 0.2)])
    assert curve is not None
    assert curve.slope == pytest.approx(0.5)
    assert curve.left(100, 400) == pytest.approx(0.5)
    assert _fit([(100, 0.2), (400, 0.4)]) == Curve(0.0)
    assert _fit([(100, 0.9), (200, 0.1)]) == Curve(1.0)


def test_settings_that_do_not_choose_are_weighed_never(images: tuple[Path, Path], tmp_path: Path) -> None:
    for name, changes in (("planned", {"loop__look": "planned"}), ("cross-fit", {"sizes__look_at": 60})):
        runs.run_here(tmp_path / name, runs.settings(*images, **{**CHEAPEST, **changes}))
        assert not events(tmp_path / name, Considered)
