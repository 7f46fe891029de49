"""What went wrong once where people work: letters that cross, people who are late, a kill, another annotator."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
from test_crew import Agency, Desk, _events, _gold, _module, _no_page, _run

import gtloop
from gtloop.errors import ConfigError, RunError
from gtloop.events import (
    BatchCommitted,
    BatchSubmitted,
    LetterRefused,
    ModelFitted,
    RequestsWithdrawn,
    ReviewConcluded,
    SettingsChanged,
)
from gtloop.interfaces import Collected
from gtloop.money import micro
from gtloop.registry import Registry
from gtloop_plugins.annotators.synthetic import Synthetic
from gtloop_plugins.detectors.stub import Stub


@pytest.fixture
def source(tmp_path: Path) -> tuple[Path, Path]:
    Agency.heard, Agency.away = {}, False
    return runs.make_images(tmp_path, 120)


@pytest.fixture
def finished(source: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Any]:
    given = runs.settings(*source, run__annotator="agency", run__budget_usd=100.0, annotators__agency__noise=0.5)
    assert _run(tmp_path / "run", given)[0] == "finished"
    return tmp_path / "run", given


def _rows(root: Path, source: str) -> list[int]:
    return [label.row for label in gtloop.open(root).labels() if label.source == source]


# ------------------------------------------------------------------------------------------- review


def test_a_review_whose_labels_are_gone_is_not_a_spent_budget(finished: tuple[Path, Any]) -> None:
    root, given = finished
    opened, rows = gtloop.open(root), _rows(root, "human")[:5]
    opened.review(rows)
    opened.relabel(rows)
    assert _run(root, given)[0] == "finished"


@pytest.mark.parametrize("wish", [{"answers": 0}, {"answers": 101}, {"blind": 2.0}])
def test_a_review_that_nobody_can_do_is_refused(finished: tuple[Path, Any], wish: dict[str, Any]) -> None:
    from gtloop.run import take_in

    root, given = finished
    letter = gtloop.open(root).review(_rows(root, "human")[:5], **wish)
    with pytest.raises(RunError, match="review: "):
        take_in(root, Registry.load(extra_modules=[_module(Agency)]), letter)
    assert _run(root, given)[0] == "finished"


def test_a_review_reserves_the_fee_for_as_many_people_as_look(finished: tuple[Path, Any]) -> None:
    """The agency's fee grows with the number of people: $.025 for each of five."""
    root, given = finished
    gtloop.open(root).review(_rows(root, "human")[:4], answers=5)
    _run(root, given)
    assert _events(root, BatchCommitted)[-1].reserved == 4 * 5 * (40_000 + 25_000)


def test_a_verdict_on_a_label_that_was_replaced_meanwhile_does_nothing(
    finished: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, given = finished
    every = Agency.collect
    monkeypatch.setattr(Agency, "collect", lambda self, cursor, limit_s: every(self, cursor, 0.0))  # one at a time
    opened, rows = gtloop.open(root), _rows(root, "machine")
    opened.review(rows, mode="adjust", blind=0.0)
    opened.review(rows, mode="adjust", blind=0.0)
    _run(root, given)
    run = gtloop.open(root)
    said: dict[int, list[str]] = {}
    for e in _events(root, ReviewConcluded):
        t = run.store.read(e.labels)
        for row, verdict in zip(t["row"], t["verdict"], strict=True):
            said.setdefault(int(row), []).append(verdict)
    assert {"changed", "kept"} <= {first for first, _ in said.values()}
    assert all(second == "unsure" for first, second in said.values() if first == "changed"), "they saw the old label"
    assert all(second != "unsure" for first, second in said.values() if first == "kept")


def test_random_training_images_are_not_shown_while_they_may_validate(finished: tuple[Path, Any]) -> None:
    from gtloop.review import write_wish
    from gtloop.state import HUMAN, POOL, TRAIN

    run = gtloop.open(finished[0])
    random = run.state.rows(HUMAN, TRAIN)
    random = random[run.state.columns["random"][random]]

    def modes() -> set[str]:
        return set(run.store.read(write_wish(run.store, run.state, 0, 1, random, "adjust", 0.0))["mode"])

    assert len(random)
    assert modes() == {"adjust"}, "there has been a look"
    run.state.facts.looks, run.state.status[random[0]] = 0, POOL
    assert modes() == {"draw"}


# ------------------------------------------------------------------------------------ late and at work


class Tardy(Desk):
    """One image of the first training batch is answered only while folds are fitted."""

    name = "tardy"
    summary = "simulated people, one of whom is late"
    let_go = False

    def collect(self, cursor: str, limit_s: float) -> Collected:
        got = super().collect(cursor, limit_s)
        entries = [e["request"]["id"] for e in self._journal.entries() if "request" in e]
        late = entries[79] if len(entries) > 79 else None  # the last of probe, validation and training
        if type(self).let_go or not any(a.request == late for a in got.answers):
            return got
        return Collected([], [c for c in got.closed if c.request != late], cursor)


@pytest.mark.slow
def test_who_answers_while_folds_are_fitted_changes_no_fold(
    source: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a fold's model would be tested on images that it was trained on."""
    from gtloop import ahead, run

    Tardy.let_go = False
    seen: dict[str, set[int]] = {}
    fit = Stub.fit

    def watched(self: Any, examples: Any, workdir: Path, **options: Any) -> Any:
        name = workdir.name.removeprefix(".").removesuffix(".partial")
        examples = list(examples)
        seen[name] = {e.item.row for e in examples}
        Tardy.let_go = Tardy.let_go or ".f" in name
        for k in range(9):
            options["progress"]("fit", k, 9)
        return fit(self, examples, workdir, **options)

    monkeypatch.setattr(Stub, "fit", watched)
    monkeypatch.setattr(ahead, "EVERY_S", 0.0)
    monkeypatch.setattr(run, "page_beside", _no_page)
    given = runs.settings(*source, run__annotator="tardy", people__ahead=0, sizes__look_at=80)
    registry = Registry.load(extra_modules=[_module(Tardy)])
    assert run.run_or_resume(tmp_path / "run", given, registry, wait=True)[0] == "finished"
    assert Tardy.let_go
    opened = gtloop.open(tmp_path / "run")
    folds = [e.model for e in _events(tmp_path / "run", ModelFitted) if e.fold is not None]
    assert len(folds) == 3
    asked = set().union(*(opened.store.read(b.requests)["row"] for n, b in opened.state.facts.batches.items() if n < 4))
    for name in folds:
        predicted = set().union(
            *(opened.store.read_path(str(p.relative_to(opened.root)), ["row"])["row"].tolist()
              for p in (opened.root / "predictions" / name).glob("part-*"))
        )  # fmt: skip
        assert predicted & asked, "held out"
        assert not predicted & seen[name]


@pytest.mark.slow
def test_people_are_judged_while_a_model_trains(
    source: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit takes hours; a cap on answers that nobody looks at meanwhile is none."""
    from gtloop import ahead, run

    class Capped(Desk):
        name = "capped"
        gives = frozenset({"serve", "block"})

        def block(self, workers: Any) -> None:
            told.append(sorted(workers))

    told: list[list[str]] = []
    during: list[int] = []
    fit = Stub.fit

    def slow(self: Any, *args: Any, progress: Any, **options: Any) -> Any:
        before = len(told)
        for k in range(8):
            progress("fit", k, 8)
        during.append(len(told) - before)
        return fit(self, *args, progress=progress, **options)

    monkeypatch.setattr(Stub, "fit", slow)
    monkeypatch.setattr(ahead, "EVERY_S", 0.0)
    monkeypatch.setattr(run, "page_beside", _no_page)
    given = runs.settings(
        *source, run__annotator="capped", people__ahead=8, people__most_answers=20, sizes__validation=20,
        sizes__look_at=40,
    )  # fmt: skip
    run.run_or_resume(tmp_path / "run", given, Registry.load(extra_modules=[_module(Capped)]), wait=True)
    assert sum(during)


@pytest.mark.slow
def test_shards_of_a_killed_prediction_fit_the_pool_that_people_have_thinned(
    source: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gtloop import ahead, run, vision

    write, left = vision._write_shard, [5]

    def dies(*args: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        write(*args)

    monkeypatch.setattr(vision, "SHARD", 10)
    monkeypatch.setattr(ahead, "EVERY_S", 0.0)
    monkeypatch.setattr(run, "page_beside", _no_page)
    given = runs.settings(*source, run__annotator="desk", people__ahead=4, sizes__validation=20, sizes__look_at=40)
    registry = Registry.load(extra_modules=[_module(Desk)])
    monkeypatch.setattr(vision, "_write_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        run.run_or_resume(tmp_path / "run", given, registry, wait=True)
    monkeypatch.setattr(vision, "_write_shard", write)
    assert run.run_or_resume(tmp_path / "run", given, registry, wait=True)[0] == "finished"


# --------------------------------------------------------------------------------- tests, money, change


ODD = {"synthetic-000": float("nan"), "synthetic-001": -7200.0, "synthetic-002": float("inf")}
"""Worker to seconds that are no time."""


class Untimed(Synthetic):
    """A service with broken clocks for some."""

    name = "untimed"

    def collect(self, cursor: str, limit_s: float) -> Collected:
        got = super().collect(cursor, limit_s)
        said = [a.model_copy(update={"active_seconds": ODD.get(a.worker, a.active_seconds)}) for a in got.answers]
        return Collected(said, got.closed, got.cursor)


def test_seconds_that_are_no_time_are_in_no_sum(source: tuple[Path, Path], tmp_path: Path) -> None:
    """The answers count, by the hour they cost nothing; nothing that is added up is NaN, negative or endless."""
    from gtloop.run import run_or_resume

    given = runs.settings(*source, run__annotator="untimed", prices__hour_usd=6, prices__seconds_most=60)
    heard: list[str] = []
    outcome, found = run_or_resume(
        tmp_path / "run",
        given,
        Registry.load(extra_modules=[_module(Untimed)]),
        progress=lambda step, done, total, note="": heard.append(f"{step}: {note}"),
    )
    assert outcome == "finished"
    run = gtloop.open(tmp_path / "run")
    answers = [a for _, _, given in run.answers() for a in given]
    assert {a.worker for a in answers} >= ODD.keys(), "nobody's answers are lost"
    assert all(a.active_seconds == 0 for a in answers if a.worker in ODD)
    others = sum(a.active_seconds for a in answers if a.worker not in ODD)
    assert found["hours"]["human"] == pytest.approx(others / 3600)
    raw = np.concatenate([run.store.read(ref)["active_seconds"] for ref in run.state.facts.answer_files])
    assert np.isfinite(raw).all()
    assert raw.min() == 0
    assert any("time not known: synthetic-001: annotator says -7200" in line for line in heard)
    by_price = {a.worker: a.price for a in answers if a.worker in ODD and a.outcome != "declined"}
    assert set(by_price.values()) == {micro(given.prices.answer_usd)}


class Shy(Agency):
    """Nobody answers the last request of a batch, unless it is withdrawn."""

    name = "shy"

    def collect(self, cursor: str, limit_s: float) -> Collected:
        got = super().collect(cursor, limit_s)
        gone = self._cancelled()
        hidden = {e["request"]["id"] for e in self._journal.entries() if "request" in e and e["request"]["id"] in tests}
        return Collected(
            [a for a in got.answers if a.request not in hidden],
            [c for c in got.closed if c.request not in hidden or c.request in gone],
            got.cursor if not hidden - gone else "",
        )


tests: set[str] = set()


def test_open_tests_are_withdrawn_when_the_budget_is_spent(source: tuple[Path, Path], tmp_path: Path) -> None:
    from gtloop.keyed import digest
    from gtloop.run import run_or_resume

    given = runs.settings(
        *source,
        run__annotator="shy",
        run__budget_usd=6.0,
        people__gold=str(_gold(source[1], 10)),
        people__gold_share=0.2,
    )
    from gtloop.items import Items, list_items
    from gtloop.store import Store

    store = Store(tmp_path / "look")
    items = Items.read(list_items(str(source[0]), 0, store, lambda *a, **k: None), store)
    tests.clear()
    tests.update(digest(0, i, "gold", k, length=32) for i in items.id for k in range(1, 9))
    outcome, found = run_or_resume(tmp_path / "run", given, Registry.load(extra_modules=[_module(Shy)]))
    assert outcome == "budget"
    assert _events(tmp_path / "run", RequestsWithdrawn)
    assert found["cost_usd"]["reserved"] == 0


def test_another_annotator_takes_over_what_is_open(source: tuple[Path, Path], tmp_path: Path) -> None:
    """It has never heard of these requests, keeps other books, and is not asked to pay what others did."""
    files = runs.settings(*source, run__annotator="files")
    assert _run(tmp_path / "run", files, wait=False)[0] == "waiting"
    outcome, found = _run(tmp_path / "run", runs.settings(*source, run__annotator="agency"))
    assert outcome == "finished"
    assert found["cost_usd"]["reserved"] == 0
    assert [e.handover for e in _events(tmp_path / "run", BatchSubmitted) if e.batch == 1] == [0, 1]
    assert _run(tmp_path / "run", runs.settings(*source, run__annotator="agency"))[0] == "finished"


def test_a_dearer_annotator_does_not_break_the_cap(source: tuple[Path, Path], tmp_path: Path) -> None:
    """Five images are open at $.036 x 3; the agency takes $.055 an answer."""
    files = runs.settings(*source, run__annotator="files", run__budget_usd=0.6)
    assert _run(tmp_path / "run", files, wait=False)[0] == "waiting"
    dearer = runs.settings(*source, run__annotator="agency", run__budget_usd=0.6)
    with pytest.raises(ConfigError, match=r"'agency' is dearer: .* comes to \$0\.8\d; raise --budget"):
        _run(tmp_path / "run", dearer)
    assert not _events(tmp_path / "run", SettingsChanged), "refused before it is written down"
    assert _run(tmp_path / "run", files, wait=False)[0] == "waiting", "and the run goes on as before"
    _, found = _run(tmp_path / "run", runs.settings(*source, run__annotator="agency", run__budget_usd=2))
    assert 0 < found["cost_usd"]["total"] <= 2


def test_a_letter_with_a_price_that_the_annotator_makes_dearer_is_refused(
    source: tuple[Path, Path], tmp_path: Path
) -> None:
    """5.1 cents an answer come to 7.5 at the agency, which rounds up and takes a fee; five images are committed."""
    from gtloop.run import run_or_resume

    root = tmp_path / "run"
    given = runs.settings(*source, run__annotator="agency", run__budget_usd=0.9)

    @gtloop.hookimpl
    def gtloop_event(event: Any) -> None:
        if isinstance(event, BatchCommitted) and not asked:
            asked.append(gtloop.open(root).change(**{"prices.answer_usd": 0.051}))

    asked: list[int] = []
    module = types.ModuleType("dearer")
    module.gtloop_event = gtloop_event  # type: ignore[attr-defined]
    outcome, _ = run_or_resume(root, given, Registry.load(extra_modules=[_module(Agency), module]))
    assert asked
    assert outcome in ("budget", "finished"), "the driver goes on"
    assert not _events(root, SettingsChanged)
    (refused,) = _events(root, LetterRefused)
    assert "'agency' is dearer" in refused.why
    assert _run(root, given)[0] == outcome, "and so does the next"


def test_no_answers_of_another_annotator_are_settled(source: tuple[Path, Path], tmp_path: Path) -> None:
    from gtloop.run import take_in

    _run(tmp_path / "run", runs.settings(*source))
    letter = gtloop.open(tmp_path / "run").relabel(list(range(5)))
    take_in(tmp_path / "run", Registry.load(extra_modules=[_module(Agency)]), letter)
    assert _run(tmp_path / "run", runs.settings(*source, run__annotator="agency"))[0] == "finished"
    assert len(Agency.heard) == 15
