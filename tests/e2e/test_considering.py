"""When to look, chosen by what is expected to be cheapest; never by what certifies."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import runs
from hypothesis import given as sampled
from hypothesis import strategies as st

import gtloop
from gtloop import considering
from gtloop.considering import SPREAD, USUAL, Curve, fitted_curve
from gtloop.events import Alternative, BatchCommitted, Considered, Looked
from gtloop.money import Rates
from gtloop.picking import asked
from gtloop.state import COLUMNS, HUMAN, MACHINE, State

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


@pytest.mark.slow
def test_a_run_that_is_killed_weighs_alike(images: tuple[Path, Path], unbroken: Path, tmp_path: Path) -> None:
    given = runs.settings(*images, **CHEAPEST)
    for at in (9, 5, 4, 3):
        child = runs.spawn(tmp_path / "run", given, kill_at=at)
        child.join()
    runs.run_here(tmp_path / "run", given)
    assert runs.facts(tmp_path / "run") == runs.facts(unbroken)


def test_the_cap_on_exploration_holds(images: tuple[Path, Path], tmp_path: Path) -> None:
    """Where nothing can be weighed, the look comes at the planned labels and the share beyond them."""
    given = runs.settings(*images, **{**CHEAPEST, "sizes__look_at": 70, "loop__explore": 0.1})
    with patch("gtloop.considering.FEWEST", 10**6):
        runs.run_here(tmp_path / "run", given)
    seen = events(tmp_path / "run", BatchCommitted, Looked)
    before = 0
    for event in seen:
        if isinstance(event, Looked):
            break
        before += event.requests.rows
    assert 70 + 20 <= before <= 70 + 20 + 10


@pytest.mark.slow
def test_a_look_that_would_label_nothing_waits(images: tuple[Path, Path], tmp_path: Path) -> None:
    """No such promise can be shown by 40 images: of equal plans, that which can't be taken back comes last."""
    given = runs.settings(*images, **{**CHEAPEST, "promise__max_loss": 0.0001})
    runs.run_here(tmp_path / "run", given)
    weighed = events(tmp_path / "run", Considered)
    assert weighed
    assert all(p.share == 0 for e in weighed for p in e.plans)
    assert {e.choice for e in weighed} == {"train"}


@pytest.mark.slow
def test_random_items_are_thinned_as_the_pool_is(images: tuple[Path, Path], tmp_path: Path) -> None:
    given = runs.settings(*images, **{**CHEAPEST, "run__sampler": "uncertainty", "promise__max_loss": 0.0001})
    root = tmp_path / "run"
    runs.run_here(root, given)
    opened, picked, before = gtloop.open(root), 0, set()
    for event in events(root, BatchCommitted, Considered):
        if isinstance(event, BatchCommitted):
            picked += (event.requests.rows) * (event.phase == "active")
            continue
        assert event.thinned is not None
        gone = set(opened.store.read(event.thinned)["row"])
        assert before <= gone
        # of 20 random training items and 180 others, alike shares
        assert abs(len(gone) / 20 - (picked + 10) / 180) < 0.5 / 20 + 1e-9
        before = gone
    assert before
    assert opened.state.columns["random"][sorted(before)].all()


def test_an_event_of_an_older_run_says_nothing_of_thinning() -> None:
    old = {"iteration": 4, "turn": 3, "examples": 30, "loss": 0.1, "choice": "train", "plans": [], "why": "so"}
    assert Considered.model_validate(old).thinned is None


def test_checks_of_an_audit_bring_no_look_forward() -> None:
    state = State()
    state.columns = {name: np.zeros(4, kind) for name, kind in COLUMNS.items()}
    state.columns["attempts"][:] = (1, 2, 1, 0)
    state.columns["audited"][2] = True
    state.status[:] = (HUMAN, HUMAN, HUMAN, MACHINE)
    assert asked(state) == 2


def test_one_round_says_nothing_of_the_curve() -> None:
    usual = Curve(USUAL, SPREAD)
    assert fitted_curve([(100, 0.4)], 50) == usual
    assert fitted_curve([(100, 0.4), (100, 0.3)], 50) == usual
    assert Curve(0.5, 0.1).left(100, 400) == pytest.approx(0.5)
    assert Curve(0.5, 0.1).left(100, 400, -9) == 1.0
    assert Curve(0.5, 0.1).left(100, 400, 9) == pytest.approx(0.25)


@sampled(
    st.floats(0, 1), st.integers(30, 100_000), st.sets(st.sampled_from(range(50, 5000, 50)), min_size=2, max_size=6)
)
def test_the_curve_lies_between_what_is_usual_and_what_was_seen(slope: float, n: int, sizes: set[int]) -> None:
    found = fitted_curve([(size, 0.5 * (size / 50) ** -slope) for size in sorted(sizes)], n)
    assert min(slope, USUAL) - 1e-9 <= found.slope <= max(slope, USUAL) + 1e-9
    assert 0 < found.spread <= SPREAD


def test_many_losses_outweigh_what_is_usual() -> None:
    sizes = (100, 200, 400, 800, 1600)
    assert fitted_curve([(n, 4 / n**0.7) for n in sizes], 20_000).slope == pytest.approx(0.7, abs=0.01)
    assert abs(fitted_curve([(n, 4 / n**0.7) for n in sizes[:2]], 30).slope - USUAL) < 0.2


def test_settings_that_do_not_choose_are_weighed_never(images: tuple[Path, Path], tmp_path: Path) -> None:
    for name, changes in (("planned", {"loop__look": "planned"}), ("cross-fit", {"sizes__look_at": 60})):
        runs.run_here(tmp_path / name, runs.settings(*images, **{**CHEAPEST, **changes}))
        assert not events(tmp_path / name, Considered)


@pytest.mark.parametrize(("plans", "says"), [(1, "no more training was weighed"), (2, "more training saves nothing")])
def test_what_was_not_weighed_is_not_said_to_save_nothing(plans: int, says: str) -> None:
    job: Any = SimpleNamespace(
        state=SimpleNamespace(rates=Rates(36_000, 0, 0, 0, 36_000)),
        settings=SimpleNamespace(run=SimpleNamespace(workers=1)),
    )
    weighed = [Alternative(labels=10 * k, share=0.5, cost=10**6 * (k + 1)) for k in range(plans)]
    told = considering._why(job, weighed, weighed[0])
    assert told.startswith("look now: expected $1.00 from here, 50% of the rest by machine; ")
    assert says in told
