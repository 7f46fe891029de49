"""kill -9 at any moment loses nothing and pays nothing twice."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import runs

import gtloop
from gtloop.settings import Settings


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, int, float]:
    """A run that nobody interrupts: its settings, its facts, its number of events, its seconds."""
    folder = tmp_path_factory.mktemp("unbroken")
    images, truth = runs.make_images(folder, 180)
    given = runs.settings(images, truth)
    child = runs.spawn(folder / "warm-up", given)  # starts the server that forks the others
    child.join()
    started = time.monotonic()
    child = runs.spawn(folder / "run", given)
    child.join()
    assert child.exitcode == 0
    seconds = time.monotonic() - started
    found = runs.facts(folder / "run")
    phases = [b.phase for b in gtloop.open(folder / "run").state.facts.batches.values()]
    assert phases == ["probe", "validation", "train", "active", "rest"]
    assert found["finished"]
    assert {"human", "machine"} == {label["source"] for label in found["labels"]}, "the run must have both to lose"
    return given, found, len(list(gtloop.open(folder / "run").events())), seconds


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(unbroken: tuple, tmp_path: Path) -> None:
    given, expected, _, _ = unbroken
    runs.run_here(tmp_path / "run", given)
    assert runs.facts(tmp_path / "run") == expected


def test_another_seed_gives_another_run(unbroken: tuple, tmp_path: Path) -> None:
    given, expected, _, _ = unbroken
    other = given.model_copy(update={"run": given.run.model_copy(update={"seed": 1})})
    runs.run_here(tmp_path / "run", other)
    assert runs.facts(tmp_path / "run")["requests"] != expected["requests"]


slow = pytest.mark.slow


@pytest.fixture
def given(unbroken: tuple, request: pytest.FixtureRequest) -> Settings:
    """The settings of the unbroken run, with the ledger in a file or a server, as the parameter says."""
    if request.param == "file":
        return unbroken[0]
    url = request.getfixturevalue("postgres").url()
    return unbroken[0].model_copy(update={"run": unbroken[0].run.model_copy(update={"ledger": url})})


@pytest.mark.parametrize(
    ("given", "every"), [("file", 1), ("server", 8), pytest.param("server", 1, marks=slow)], indirect=["given"]
)
def test_killed_at_event_boundaries(unbroken: tuple, given: Settings, every: int, tmp_path: Path) -> None:
    """One run, killed after each single event that it commits, or now and then."""
    _, expected, events, _ = unbroken
    kills = 0
    for _ in range(events + 1):
        child = runs.spawn(tmp_path / "run", given, kill_at=every)
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -9
        kills += 1
    assert kills >= (events - 1) // every, "every event after the first was followed by a kill"
    assert runs.facts(tmp_path / "run") == expected


@pytest.mark.parametrize(
    ("given", "part"),
    [
        *(pytest.param("file", k, marks=slow) for k in (0, 1, 2, 3)),
        *(pytest.param("server", k, marks=slow) for k in (0, 1)),
    ],
    indirect=["given"],
)
def test_killed_at_random_moments(unbroken: tuple, given: Settings, tmp_path: Path, part: int) -> None:
    """50 kills a part, 15 in the first one, anywhere: in a write, in a fit, between an event and its files."""
    _, expected, _, seconds = unbroken
    rng = random.Random(part)
    kills, attempt = 0, 0
    while kills < (50 if part else 15):
        root = tmp_path / f"run{attempt}"
        attempt += 1
        while True:
            child = runs.spawn(root, given)
            child.join(rng.uniform(0.1, 0.6) * seconds)
            if child.exitcode is None:
                child.kill()
                kills += 1
            child.join()
            if child.exitcode == 0:
                break
            assert child.exitcode == -9, "a resumed run must never fail"
        assert runs.facts(root) == expected
