"""People in whole runs: test images, who is kept out, what is paid, reviews, work while a model trains."""

from __future__ import annotations

import json
import threading
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs

import gtloop
from gtloop.errors import Unreachable
from gtloop.events import AnswersSettled, BatchCommitted, PricesQuoted
from gtloop.interfaces import Collected, Quote
from gtloop.journal import Journal
from gtloop.records import Answer, Request, Settlement
from gtloop_plugins.annotators.synthetic import Synthetic


class Agency(Synthetic):
    """Simulated people behind a service that takes a fee, wants to hear what is paid, and can keep people out."""

    name = "agency"
    summary = "simulated people of a service with fees"
    gives = frozenset({"settle", "block"})
    modes = frozenset({"draw", "verify", "adjust"})
    heard: dict[str, Settlement] = {}
    away = False

    def quote(self, price: int, answers: int) -> Quote:
        return Quote(-(-price // 10_000) * 10_000, 5_000 * answers)

    def check(self, cost: int) -> None:
        if type(self).away:
            raise Unreachable("the agency does not answer")

    def settle(self, settlements: Sequence[Settlement]) -> None:
        for s in settlements:
            assert self.heard.setdefault(s.answer, s) == s, "a verdict must not change"

    def block(self, workers: Mapping[str, str]) -> None:
        Journal(self.context.workdir / "out.jsonl").append([{"worker": w, "why": why} for w, why in workers.items()])

    def collect(self, cursor: str, limit_s: float) -> Collected:
        """As simulated people answer, at the service's prices; one answers nonsense, reviewers see the proposal."""
        quote = self.quote(self.context.price_per_answer, 3)
        got = super().collect(cursor, limit_s)
        asked = {
            e["request"]["id"]: Request.model_validate(e["request"]) for e in self._journal.entries() if "request" in e
        }
        answers = [self._said(a, asked[a.request], quote) for a in got.answers]
        return Collected(answers, got.closed, got.cursor)

    def _said(self, a: Answer, request: Request, quote: Quote) -> Answer:
        a = a.model_copy(update={"price": quote.answer, "fee": quote.fee})
        if request.mode == "verify":
            truth = self.context.truth(request.item)
            right = self._task.error(truth, request.proposal) < 0.5
            return a.model_copy(
                update={"outcome": "label" if right else "wrong", "payload": request.proposal if right else None}
            )
        if a.worker == "synthetic-001":
            return a.model_copy(update={"outcome": "label", "payload": {"boxes": "nonsense"}})
        return a


def _module(*classes: type) -> types.ModuleType:
    @gtloop.hookimpl
    def gtloop_annotators() -> list[type]:
        return list(classes)

    module = types.ModuleType("agencies")
    module.gtloop_annotators = gtloop_annotators  # type: ignore[attr-defined]
    return module


def _run(root: Path, given: Any, **options: Any) -> tuple[str, dict[str, Any]]:
    from gtloop.registry import Registry
    from gtloop.run import run_or_resume

    return run_or_resume(root, given, Registry.load(extra_modules=[_module(Agency)]), **options)


@pytest.fixture
def source(tmp_path: Path) -> tuple[Path, Path]:
    Agency.heard, Agency.away = {}, False
    return runs.make_images(tmp_path, 120)


def _gold(truth: Path, n: int) -> Path:
    lines = truth.read_text().splitlines()
    path = truth.with_name("gold.jsonl")
    path.write_text("\n".join(lines[:n]) + "\n")
    return path


def _events(root: Path, kind: type) -> list[Any]:
    return [e.event for e in gtloop.open(root).events() if isinstance(e.event, kind)]


# ---------------------------------------------------------------------------------------------- gold


def test_gold_images_are_mixed_in_and_turn_people_away(source: tuple[Path, Path], tmp_path: Path) -> None:
    gold = _gold(source[1], 20)
    given = runs.settings(
        *source, run__annotator="agency", people__gold=str(gold), people__gold_share=0.3, people__gold_after=2,
        people__gold_quality=0.6,
    )  # fmt: skip
    outcome, found = _run(tmp_path / "run", given)
    assert outcome == "finished"
    run = gtloop.open(tmp_path / "run")
    purposes = [run.store.read(b.requests)["purpose"] for b in run.state.facts.batches.values()]
    first = purposes[0]
    assert 0 < first.count("gold") == int(np.ceil(0.3 * (len(first) - first.count("gold"))))
    out = found["crew"]["out"]
    assert "synthetic-001" in out, "nonsense on every test image"
    assert "test images" in out["synthetic-001"]
    told = Journal(tmp_path / "run" / "annotator" / "agency" / "out.jsonl").entries()
    assert {e["worker"] for e in told} == set(out)
    assert found["crew"]["tests"] > 5
    assert 0 < found["crew"]["quality"] < 1
    labels = {label.row: label for label in run.labels()}
    known = [json.loads(line)["name"] for line in gold.read_text().splitlines()]
    rows = [run.items.name.index(name) for name in known]
    assert all(labels[row].consolidation == "imported" for row in rows), "being a test changes no label"
    assert found["items"]["total"] == 120
    assert not run.state.facts.open


def test_nobody_sees_a_gold_image_twice(source: tuple[Path, Path], tmp_path: Path) -> None:
    given = runs.settings(
        *source, run__annotator="agency", people__gold=str(_gold(source[1], 3)), people__gold_share=0.2,
        people__gold_quality=0.0,
    )  # fmt: skip
    _run(tmp_path / "run", given)
    run = gtloop.open(tmp_path / "run")
    seen: dict[int, list[str]] = {}
    for row, purpose, answers in run.answers():
        if purpose == "gold":
            seen.setdefault(row, []).extend(a.worker for a in answers)
    assert max(map(len, seen.values())) > 3, "three images test many batches"
    assert all(len(set(workers)) == len(workers) for workers in seen.values())


def test_gold_teaches_skills(source: tuple[Path, Path], tmp_path: Path) -> None:
    given = runs.settings(*source, run__annotator="agency", people__gold=str(_gold(source[1], 20)))
    _run(tmp_path / "run", given)
    assert not gtloop.open(tmp_path / "run").state.facts.tested, "what was closed has been taken in"


def test_a_cap_for_each_person(source: tuple[Path, Path], tmp_path: Path) -> None:
    _, found = _run(tmp_path / "run", runs.settings(*source, run__annotator="agency", people__most_answers=15))
    assert found["crew"]["out"]
    assert all("as many as one person may" in why for why in found["crew"]["out"].values())
    people = gtloop.open(tmp_path / "run").state.facts.people
    assert all((p.answers >= 15) == bool(p.out) for p in people.values())


def test_a_cap_needs_an_annotator_that_keeps_people_out(source: tuple[Path, Path], tmp_path: Path) -> None:
    ended = runs.cli(*runs.small(source[0], tmp_path / "run", "-o", "people.most_answers=5"))
    assert ended.code == 2
    assert "can't keep anybody out" in ended.error


# --------------------------------------------------------------------------------------------- money


def test_prices_are_the_annotator_s(source: tuple[Path, Path], tmp_path: Path) -> None:
    """$.036 is rounded up to $.04, with a fee of $.015 for each of three answers; nothing is rounded twice."""
    _, found = _run(tmp_path / "run", runs.settings(*source, run__annotator="agency"))
    (quoted,) = _events(tmp_path / "run", PricesQuoted)
    assert (quoted.answer, quoted.fee) == (40_000, 15_000)
    n = sum(len(a) for _, _, a in gtloop.open(tmp_path / "run").answers())
    assert found["cost_usd"]["human"] == pytest.approx(0.04 * n)
    assert found["cost_usd"]["fees"] == pytest.approx(0.015 * n)
    assert found["cost_usd"]["if_all_human"] == pytest.approx(120 * 3 * 0.055)
    assert found["cost_usd"]["reserved"] == 0


@pytest.mark.parametrize("cents", [100, 333, 1000])
def test_fees_count_under_the_cap(source: tuple[Path, Path], tmp_path: Path, cents: int) -> None:
    given = runs.settings(
        *source, run__annotator="agency", run__budget_usd=cents / 100, people__gold=str(_gold(source[1], 20))
    )
    _, found = _run(tmp_path / "run", given)
    assert found["cost_usd"]["total"] <= cents / 100
    for event in _events(tmp_path / "run", BatchCommitted):
        assert event.reserved <= cents * 10_000


def test_every_answer_is_settled_once(source: tuple[Path, Path], tmp_path: Path) -> None:
    _run(tmp_path / "run", runs.settings(*source, run__annotator="agency"))
    given = {a.id for _, _, answers in gtloop.open(tmp_path / "run").answers() for a in answers}
    assert Agency.heard.keys() == given
    assert {s.verdict for s in Agency.heard.values()} == {"pay"}


def test_misfits_are_rejected_by_a_rule_and_cost_nothing(source: tuple[Path, Path], tmp_path: Path) -> None:
    given = runs.settings(*source, run__annotator="agency", people__reject=["misfits"])
    _, found = _run(tmp_path / "run", given)
    rejected = [s for s in Agency.heard.values() if s.verdict == "reject"]
    assert rejected
    assert {s.worker for s in rejected} == {"synthetic-001"}
    assert all(s.reason.startswith("The answer can't be used: ") for s in rejected), "a worker has to be told why"
    assert found["crew"]["rejected"] == len(rejected)
    iterations = found["iterations"]
    assert sum(i["cost_usd"] for i in iterations) == pytest.approx(found["cost_usd"]["total"])
    assert [i["n"] for i in iterations if i["cost_usd"] < 0] == []
    batches = set(gtloop.open(tmp_path / "run").state.facts.batches)
    assert {i["n"] for i in iterations if i["n"] not in batches} <= {1 + max(batches)}, "only the look has no batch"
    paid = len(Agency.heard) - len(rejected)
    assert found["cost_usd"]["human"] == pytest.approx(0.04 * paid)
    assert found["cost_usd"]["fees"] == pytest.approx(0.015 * paid)


def test_a_service_that_is_away_costs_nothing(source: tuple[Path, Path], tmp_path: Path) -> None:
    Agency.away = True
    given = runs.settings(*source, run__annotator="agency")
    with pytest.raises(
        Unreachable, match=r"the agency does not answer; nothing was asked or paid\. Other annotators .*files"
    ):
        _run(tmp_path / "run", given)
    Agency.away = False
    outcome, _ = _run(tmp_path / "run", given)
    assert outcome == "finished"


def test_settling_is_resumed(source: tuple[Path, Path], tmp_path: Path) -> None:
    """A process that dies after the service has heard, and before the ledger has, tells it the same again."""
    from gtloop import crew

    given = runs.settings(*source, run__annotator="agency")
    write, left = crew._write_verdicts, [2]

    def dies(*args: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return write(*args)

    crew._write_verdicts = dies
    try:
        with pytest.raises(KeyboardInterrupt):
            _run(tmp_path / "run", given)
    finally:
        crew._write_verdicts = write
    outcome, _ = _run(tmp_path / "run", given)
    assert outcome == "finished"
    settled = sum(e.verdicts.rows for e in _events(tmp_path / "run", AnswersSettled))
    assert settled == len(Agency.heard)


# -------------------------------------------------------------------------------------------- review


@pytest.fixture
def finished(source: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Any]:
    given = runs.settings(*source, run__annotator="agency", annotators__agency__noise=0.5)
    outcome, found = _run(tmp_path / "run", given)
    assert outcome == "finished"
    assert found["items"]["machine"]
    return tmp_path / "run", given


def _review(root: Path, given: Any, **wish: Any) -> dict[str, Any]:
    opened = gtloop.open(root)
    rows = [label.row for label in opened.labels() if label.source == "machine"]
    opened.review(rows, **wish)
    outcome, found = _run(root, given)
    assert outcome == "finished"
    return found


def test_verify_keeps_what_is_right_and_has_the_rest_labelled_anew(finished: tuple[Path, Any]) -> None:
    root, given = finished
    before = {label.row: label for label in gtloop.open(root).labels()}
    found = _review(root, given, mode="verify", blind=0.0, answers=3)
    after = {label.row: label for label in gtloop.open(root).labels()}
    review = found["review"]["verify"]
    assert review["requests"] == sum(label.source == "machine" for label in before.values())
    assert review["kept"] + review["wrong"] + review["unsure"] == review["requests"]
    again = [row for row in before if before[row].source != after[row].source]
    assert len(again) == review["wrong"]
    assert all(after[row].source == "human" for row in again)


def test_adjust_replaces_labels_and_measures_anchoring(finished: tuple[Path, Any]) -> None:
    root, given = finished
    machine = [label.row for label in gtloop.open(root).labels() if label.source == "machine"]
    found = _review(root, given, mode="adjust", blind=0.4)
    shown, blind = found["review"]["adjust"], found["review"]["draw"]
    assert shown["requests"] + blind["requests"] == len(machine)
    assert blind["requests"] > 0
    assert 0 <= shown["distance"] <= 1
    assert blind["distance"] > 0
    sources = {label.row: label.source for label in gtloop.open(root).labels()}
    assert {sources[row] for row in machine} <= {"adjusted", "human", "machine"}
    assert sum(sources[row] == "adjusted" for row in machine) == shown["changed"]


def test_proposals_are_shown_but_never_of_validation(finished: tuple[Path, Any]) -> None:
    root, given = finished
    opened = gtloop.open(root)
    validating = set(opened.state.validation_rows().tolist())
    opened.review([label.row for label in opened.labels()], mode="adjust", blind=0.0)
    _run(root, given)
    run = gtloop.open(root)
    batch = next(b for b in run.state.facts.batches.values() if b.phase == "review")
    t = run.store.read(batch.requests)
    for row, mode, proposal in zip(t["row"], t["mode"], t["proposal_json"], strict=True):
        assert (mode == "draw") == (int(row) in validating)
        assert (proposal is None) == (mode == "draw")


def test_others_leaves_out_who_made_a_label(finished: tuple[Path, Any]) -> None:
    root, given = finished
    opened = gtloop.open(root)
    rows = [label.row for label in opened.labels() if label.source == "human"][:10]
    opened.review(rows, mode="verify", blind=0.0, others=True)
    _run(root, given)
    by_row: dict[int, list[tuple[str, set[str]]]] = {}
    for row, purpose, answers in gtloop.open(root).answers():
        by_row.setdefault(row, []).append((purpose, {a.worker for a in answers}))
    for row in rows:
        made = set().union(*(w for p, w in by_row[row] if p != "review"))
        looked = set().union(*(w for p, w in by_row[row] if p == "review"))
        assert looked
        assert not made & looked


def test_an_annotator_that_shows_no_proposals_says_so(source: tuple[Path, Path], tmp_path: Path) -> None:
    class Blunt(Synthetic):
        name = "blunt"
        modes = frozenset({"draw"})

    module = _module(Blunt)
    runs.cli(*runs.small(source[0], tmp_path / "run", "--annotator", "blunt"), modules=[module])
    ended = runs.cli("review", tmp_path / "run", "--n", 5, modules=[module])
    assert ended.code == 1
    assert "can't show labels to verify" in ended.error


# --------------------------------------------------------------------------------------------- ahead


class Desk(Synthetic):
    """People at a page: they answer a little at a time, and never while nobody looks."""

    name = "desk"
    summary = "simulated people who answer one by one"
    gives = frozenset({"serve"})
    patient = True

    def collect(self, cursor: str, limit_s: float) -> Collected:
        got = super().collect(cursor, 0.0)
        few = {a.request for a in got.answers}
        return got if few or got.closed else Collected([], [], got.cursor)


@pytest.mark.slow
def test_people_find_work_while_a_model_trains(
    source: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stub reports progress as it fits; what people answer meanwhile is taken in, and more is asked."""
    from gtloop import ahead, run
    from gtloop.registry import Registry
    from gtloop_plugins.detectors.stub import Stub

    fit = Stub.fit

    def slow(self: Any, *args: Any, progress: Any, **options: Any) -> Any:
        for k in range(5):
            progress("fit", k, 5)
        return fit(self, *args, progress=progress, **options)

    monkeypatch.setattr(Stub, "fit", slow)
    monkeypatch.setattr(ahead, "EVERY_S", 0.0)
    monkeypatch.setattr(run, "page_beside", _no_page)
    given = runs.settings(*source, run__annotator="desk", people__ahead=4, sizes__validation=20, sizes__look_at=60)
    outcome, found = run.run_or_resume(tmp_path / "run", given, Registry.load(extra_modules=[_module(Desk)]), wait=True)
    assert outcome == "finished"
    phases = [b.phase for b in gtloop.open(tmp_path / "run").state.facts.batches.values()]
    assert phases.count("ahead") >= 3
    opened = gtloop.open(tmp_path / "run")
    for batch in opened.state.facts.batches.values():
        if batch.phase == "ahead":
            assert set(opened.store.read(batch.requests)["purpose"]) == {"train"}
            assert not opened.state.columns["random"][opened.store.read(batch.requests)["row"]].any(), (
                "they never validate"
            )
    assert found["items"]["human"] + found["items"]["machine"] == 120


class Far(Synthetic):
    """People at a service that is slow to tell what they have answered."""

    name = "far"
    summary = "simulated people behind a slow service"
    patient = True

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._here: Collected | None = None
        self._look: threading.Thread | None = None

    def collect(self, cursor: str, limit_s: float) -> Collected:
        if (got := self._here) is not None:
            self._look = self._here = None
            return got
        if self._look is None:
            self._look = threading.Thread(target=self._listen, args=(cursor,), daemon=True)
            self._look.start()
        return Collected([], [], cursor)

    def rest(self) -> None:
        if self._look is not None:
            self._look.join()

    def _listen(self, cursor: str) -> None:
        self._here = super().collect(cursor, 0.0)


def test_what_is_under_way_ends_before_the_process_does(source: tuple[Path, Path], tmp_path: Path) -> None:
    """Without ``--wait`` a command would else be gone before a slow service has told anything, each time anew."""
    given = ("--annotator", "far", "--no-wait", "--workers", 1, "--budget", 1)
    ended = runs.cli(*runs.small(source[0], tmp_path / "run", *given), modules=[_module(Far)])
    assert ended.code == 4, ended.err
    assert gtloop.open(tmp_path / "run").state.facts.annotations


class _no_page:
    """Nobody comes by a browser in this test."""

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: Any) -> None:
        return None


# ------------------------------------------------------------------------------------------- names


def test_no_export_names_who_labelled(finished: tuple[Path, Any], tmp_path: Path) -> None:
    """Worker ids are in the ledger, and in no format."""
    from gtloop.registry import Registry

    root, _ = finished
    assert any(a.worker == "synthetic-002" for _, _, answers in gtloop.open(root).answers() for a in answers)
    registry = Registry.load()
    written = [p.cls.name for p in registry.providers("format") if p.cls.writes and {"bbox", "*"} & p.cls.tasks]
    assert len(written) >= 5
    module = _module(Agency)
    for name in written:
        out = tmp_path / "out" / name
        ended = runs.cli("export", root, "--format", name, "--out", out, modules=[module])
        assert ended.code == 0, ended.err
        files = [out] if out.is_file() else [f for f in out.rglob("*") if f.is_file()]
        assert files
        for file in files:
            assert b"synthetic-0" not in file.read_bytes(), file


# ---------------------------------------------------------------------------------------------- kill


def _child(root: Path, given: Any, kill_at: int | None) -> None:
    from gtloop.registry import Registry
    from gtloop.run import run_or_resume

    modules = [_module(Agency), *([] if kill_at is None else [runs._killer(kill_at)])]
    run_or_resume(root, given, Registry.load(extra_modules=modules))


def _known(root: Path) -> dict[str, Any]:
    f = gtloop.open(root).state.facts
    people = {w: (p.answers, p.gold, round(p.quality, 9), p.out) for w, p in f.people.items()}
    return {**runs.facts(root), "people": people, "rejected": sorted(f.rejected), "quote": f.quote}


@pytest.mark.slow
def test_killed_after_every_event_nothing_is_lost_or_paid_twice(source: tuple[Path, Path], tmp_path: Path) -> None:
    """With test images, somebody turned away, answers rejected, fees, and a review at the end."""
    given = runs.settings(
        *source, run__annotator="agency", people__gold=str(_gold(source[1], 10)), people__gold_share=0.3,
        people__gold_after=2, people__gold_quality=0.6, people__reject=["misfits", "blocked"],
    )  # fmt: skip
    _child(tmp_path / "unbroken", given, None)
    kills = 0
    while True:
        child = runs.context.Process(target=_child, args=(tmp_path / "run", given, 1))
        child.start()
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -9
        kills += 1
        assert kills < 200
    expected = _known(tmp_path / "unbroken")
    assert kills > 15
    assert expected["people"]
    assert expected["rejected"]
    assert _known(tmp_path / "run") == expected
