"""As many people as it takes, and the machine's label shown to them: whole runs, with kills, budgets and handovers."""

from __future__ import annotations

import json
import types
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import runs

import gtloop
from gtloop.events import AnswersExtended, BatchCommitted, LabelsConsolidated
from gtloop.interfaces import Collected, Context, Simulated
from gtloop.journal import Journal
from gtloop.money import micro
from gtloop.people import read_answers
from gtloop.records import Request
from gtloop.state import State
from gtloop.store import Store
from gtloop_plugins.annotators.synthetic import Synthetic
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.bbox.voter import MODEL

SIZES = {"sizes__validation": 20, "sizes__train": 16, "sizes__batch": 16, "sizes__look_at": 70, "sizes__probe": 5}
HARD = {"promise__max_loss": 0.001, **SIZES}
"""People label all: nothing can be certified."""


class Recorded(Synthetic):
    """Simulated people who write down what they are asked, word for word."""

    name = "recorded"
    summary = "simulated people, each request written down"

    def submit(self, requests: Sequence[Request]) -> None:
        Journal(self.context.workdir / "asked.jsonl").append([r.model_dump(mode="json") for r in requests])
        super().submit(requests)


class Judges(Recorded):
    """They can judge a label, and not correct one."""

    name = "judges"
    summary = "simulated people who draw or judge"
    modes = frozenset({"draw", "verify"})

    def _says(self, request: Request, worker: int, rng: np.random.Generator) -> Simulated:
        if request.mode == "verify" and request.item.row % 2:
            return Simulated("wrong", None, 2.0)
        return super()._says(request, worker, rng)


def _run(root: Path, given: Any, kill_at: int | None = None) -> tuple[str, dict[str, Any]]:
    from gtloop.registry import Registry
    from gtloop.run import run_or_resume

    @gtloop.hookimpl
    def gtloop_annotators() -> list[type]:
        return [Recorded, Judges, Dear]

    module = types.ModuleType("recorders")
    module.gtloop_annotators = gtloop_annotators  # type: ignore[attr-defined]
    return run_or_resume(root, given, Registry.load(extra_modules=[module]))


class Dear(Recorded):
    """They take twice what was agreed."""

    name = "dear"
    summary = "simulated people who take twice the price"

    def collect(self, cursor: str, limit_s: float) -> Collected:
        got = super().collect(cursor, limit_s)
        return got._replace(answers=[a.model_copy(update={"price": 2 * a.price}) for a in got.answers])


class Asked(NamedTuple):
    """A request of the ledger, with what came of it."""

    row: int
    purpose: str
    phase: str
    mode: str
    workers: list[str]


def requests(root: Path) -> dict[str, Asked]:
    run = gtloop.open(root)
    said: dict[str, list[str]] = defaultdict(list)
    for ref in run.state.facts.answer_files:
        t = run.store.read(ref)
        for rid, worker in zip(t["request"], t["worker"], strict=True):
            said[rid].append(worker)
    found = {}
    for batch in run.state.facts.batches.values():
        t = run.store.read(batch.requests)
        modes = t.get("mode", ["draw"] * len(t["row"]))
        for rid, row, purpose, mode in zip(t["request"], t["row"], t["purpose"], modes, strict=True):
            found[rid] = Asked(int(row), purpose, batch.phase, mode, said[rid])
    return found


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return runs.make_images(tmp_path_factory.mktemp("boxes"), 110)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return runs.make_images(tmp_path_factory.mktemp("classes"), 110, "classification")


# -------------------------------------------------------------------------------------- how many people


@pytest.fixture(scope="module")
def adaptive(boxes: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adaptive") / "run"
    given = runs.settings(
        *boxes, run__annotator="recorded", run__workers=4, people__first_answers=2, prices__answer_usd="0.04", **HARD
    )
    assert _run(root, given)[0] == "finished"
    return root


def test_only_training_items_that_never_validate_are_answered_by_fewer(adaptive: Path) -> None:
    numbers: dict[str, set[int]] = defaultdict(set)
    for asked in requests(adaptive).values():
        assert len(set(asked.workers)) == len(asked.workers), "nobody answers twice"
        numbers[f"{asked.phase} {asked.purpose}"].add(len(asked.workers))
    fixed = {"probe validation", "validation validation", "train train", "active control"}
    assert numbers.keys() == {*fixed, "active train", "rest train"}
    assert all(numbers[kind] == {4} for kind in fixed), "random training items may validate by cross-fitting"
    assert numbers["active train"] | numbers["rest train"] == {2, 3, 4}


def test_what_is_asked_first_tells_nobody_which_items_are_for_control(adaptive: Path) -> None:
    first: dict[str, int] = {}
    for entry in Journal(adaptive / "annotator" / "recorded" / "asked.jsonl").entries():
        first.setdefault(entry["id"], entry["answers"])
    by_phase: dict[str, set[int]] = defaultdict(set)
    for rid, asked in requests(adaptive).items():
        by_phase[asked.phase].add(first[rid])
    assert by_phase == {"probe": {4}, "validation": {4}, "train": {4}, "active": {2}, "rest": {2}}


def test_each_request_is_closed_where_its_answers_are_sure(adaptive: Path) -> None:
    run, asked = gtloop.open(adaptive), requests(adaptive)
    wanted: dict[str, int] = {}
    for entry in run.events():
        if isinstance(entry.event, AnswersExtended):
            t = run.store.read(entry.event.requests)
            assert entry.event.extended == int((~np.asarray(t["closed"])).sum())
            for rid, sure, answers, closed in zip(t["request"], t["sure"], t["answers"], t["closed"], strict=True):
                before = wanted.get(rid, 2)
                if asked[rid].purpose != "train":
                    assert (np.isnan(sure), answers, closed) == (True, 4, False), "control wants all at once"
                else:
                    assert closed == (sure >= 0.95)
                    assert answers == before + (not closed), "one more at a time"
                wanted[rid] = int(answers)
    assert {len(asked[rid].workers) for rid in wanted} == {2, 3, 4}
    assert all(len(asked[rid].workers) == n for rid, n in wanted.items())


def test_a_models_vote_never_reaches_what_it_is_judged_by(boxes: tuple[Path, Path], tmp_path: Path) -> None:
    """Every label but those of training items that may have a vote follows from people's answers alone."""
    gold = tmp_path / "gold.jsonl"
    gold.write_text("\n".join(boxes[1].read_text().splitlines()[:8]) + "\n")
    given = runs.settings(
        *boxes, run__annotator="recorded", run__workers=4, people__first_answers=2, people__gold=str(gold), **HARD
    )
    assert _run(tmp_path / "run", given)[0] == "finished"
    run, asked = gtloop.open(tmp_path / "run"), requests(tmp_path / "run")
    task = BBox(BBox.Options(), Context(categories=tuple(run.settings.run.classes)))
    said = read_answers(run.store, run.state.facts.answer_files)
    alone, voted = set(), 0
    for event in (e.event for e in run.events() if isinstance(e.event, LabelsConsolidated)):
        skills = run.store.read(event.skills)["skills_json"][0] if event.skills else {}
        people = {k: v for k, v in skills.items() if k != MODEL}
        t = run.store.read(event.labels)
        for rid, row, payload in zip(t["request"], t["row"], t["payload_json"], strict=True):
            made = task.consolidate(said[rid], people).payload
            same = made is not None and payload == task.clip(made, run.items[int(row)])
            if asked[rid].purpose == "train" and asked[rid].phase in ("active", "rest"):
                voted += not same
            else:
                assert same, asked[rid]
                assert len(asked[rid].workers) == 4
                alone.add(f"{asked[rid].phase} {asked[rid].purpose}")
    assert voted > 0, "else this shows nothing"
    assert alone >= {"probe validation", "validation validation", "train train", "active control"}


def test_status_says_how_many_people_it_took(adaptive: Path) -> None:
    found = runs.status(adaptive)
    few = [len(a.workers) for a in requests(adaptive).values() if a.purpose == "train" and a.phase != "train"]
    assert found["asked"]["adaptive"] == {"items": len(few), "answers": pytest.approx(np.mean(few))}
    assert found["asked"]["fixed"]["answers"] == 4
    assert found["cost_usd"]["if_all_human"] == pytest.approx(110 * 0.04 * np.mean(few), abs=1e-3), "its own policy"
    assert found["cost_usd"]["reserved"] == 0


@pytest.mark.parametrize("usd", [6.0, 7.7, 12.0])
def test_one_more_answer_never_needs_new_money(boxes: tuple[Path, Path], tmp_path: Path, usd: float) -> None:
    """The cap of answers is reserved from the start, and what is not used is released."""
    given = runs.settings(
        *boxes, run__annotator="recorded", run__workers=5, people__first_answers=2, run__budget_usd=usd,
        prices__answer_usd="0.036", prices__item_fee_usd="0.08", promise__cross_fit=0, **HARD,
    )  # fmt: skip
    _run(tmp_path / "run", given)
    run, state = gtloop.open(tmp_path / "run"), State()
    extended = 0
    for entry in run.events():
        state.apply(entry.event, Store(run.root), entry.seq)
        bill = state.facts.bill
        assert bill.total + bill.reserved <= micro(usd), entry
        assert bill.reserved == sum(r.reserved for r in state.facts.open.values()), entry
        extended += isinstance(entry.event, AnswersExtended)
    assert extended > 0
    assert state.facts.bill.reserved == 0


def test_nobody_more_is_asked_where_what_is_reserved_is_used_up(boxes: tuple[Path, Path], tmp_path: Path) -> None:
    given = runs.settings(
        *boxes, run__annotator="dear", run__workers=4, people__first_answers=2, prices__answer_usd="0.04",
        run__budget_usd=40, **HARD,
    )  # fmt: skip
    _run(tmp_path / "run", given)
    few = {len(a.workers) for a in requests(tmp_path / "run").values() if a.phase == "rest" and a.purpose == "train"}
    assert few == {2}, "four answers were reserved, and two have cost as much"
    assert runs.status(tmp_path / "run")["cost_usd"]["total"] <= 40


def test_a_fixed_policy_is_as_it_was(boxes: tuple[Path, Path], tmp_path: Path) -> None:
    given = runs.settings(*boxes, run__annotator="recorded", people__first_answers=3, **HARD)  # no fewer than all
    _run(tmp_path / "run", given)
    assert {len(a.workers) for a in requests(tmp_path / "run").values()} == {3}
    assert not any(isinstance(e.event, AnswersExtended) for e in gtloop.open(tmp_path / "run").events())


# ------------------------------------------------------------------------------ people outside this process


def _files(root: Path, source: tuple[Path, Path], *more: object) -> runs.Ended:
    fixed = ("run", source[0], "--run", root, "--classes", "crate,drum", "--detector", "stub", "--annotator", "files")
    sizes = ("-o", "sizes.probe=2", "-o", "sizes.validation=2", "-o", "sizes.train=6", "-o", "promise.cross_fit=0")
    policy = ("--workers", 4, "-o", "people.first_answers=2", "-o", "prices.answer_usd=0.1")
    return runs.cli(*fixed, *sizes, *policy, "--no-wait", *more)


def _tell(root: Path, worker: str, category: str | None = None) -> dict[str, int]:
    """One worker answers all that is open, copying the truth or naming one category; id to answers wanted."""
    folder = root / "annotator" / "files"
    truth = dict(
        (line["name"], line["payload"])
        for line in map(json.loads, (root.parent / "truth.jsonl").read_text().splitlines())
    )
    open_ = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    with (folder / "answers.jsonl").open("a") as f:
        for request in open_:
            payload = truth[Path(request["image"]).name]
            if category:
                payload = {"boxes": [{**b, "category": category} for b in payload["boxes"]]}
            line = {"request": request["id"], "worker": worker, "outcome": "label", "payload": payload}
            f.write(json.dumps(line) + "\n")
    return {r["id"]: r["answers"] for r in open_}


@pytest.fixture
def waiting(tmp_path: Path) -> tuple[Path, tuple[Path, Path]]:
    """A run whose training items two people have answered in different ways, and that waits for a third."""
    source = runs.make_images(tmp_path, 40)
    root = tmp_path / "run"
    assert _files(root, source).code == 3
    for worker in ("ann", "bob", "cec", "dan"):
        _tell(root, worker)
    assert _files(root, source).code == 3
    assert {b.phase for b in gtloop.open(root).state.facts.batches.values()} == {"probe", "train"}
    _tell(root, "ann", "crate")
    _tell(root, "bob", "drum")
    assert _files(root, source).code == 3
    return root, source


def test_people_who_disagree_are_joined_by_a_third(waiting: tuple[Path, tuple[Path, Path]]) -> None:
    root, source = waiting
    open_ = gtloop.open(root).state.facts.open
    assert {(r.want, r.most, r.got, r.full) for r in open_.values()} == {(3, 4, 2, False)}
    reserved = gtloop.open(root).state.facts.bill.reserved
    assert reserved == len(open_) * micro(0.2)
    assert set(_tell(root, "cec").values()) >= {3}
    _files(root, source)
    closed = [a for a in requests(root).values() if a.phase == "train" and len(a.workers) >= 3]
    assert closed
    assert all(a.workers[:2] == ["ann", "bob"] for a in closed)


def test_who_answers_again_is_not_counted(waiting: tuple[Path, tuple[Path, Path]]) -> None:
    root, source = waiting
    _tell(root, "ann", "drum")
    assert _files(root, source).code == 3
    assert {r.got for r in gtloop.open(root).state.facts.open.values()} == {2}


def test_a_cancelled_run_keeps_the_two_answers(waiting: tuple[Path, tuple[Path, Path]]) -> None:
    root, source = waiting
    assert runs.cli("cancel", root).code == 0
    _files(root, source)
    found = runs.status(root)
    assert found["state"] == "cancelled"
    assert found["cost_usd"]["reserved"] == 0
    assert found["items"]["human"] == len(requests(root)), "what two people have said makes a label"


def test_another_annotator_is_asked_for_what_is_lacking(waiting: tuple[Path, tuple[Path, Path]]) -> None:
    root, source = waiting
    before = set(gtloop.open(root).state.facts.open)
    ended = _files(root, source, "--annotator", "synthetic", "--truth", source[1], "-o", "people.sure=0.8")
    assert ended.code == 0, ended.err
    asked = requests(root)
    assert {len(asked[rid].workers) for rid in before} <= {3, 4}
    assert any(len(asked[rid].workers) == 3 for rid in before), "one more was enough"
    assert gtloop.open(root).state.facts.bill.reserved == 0


def test_a_lower_bar_takes_effect_at_the_next_weighing(waiting: tuple[Path, tuple[Path, Path]]) -> None:
    root, source = waiting
    _tell(root, "cec", "crate")
    _files(root, source, "-o", "people.sure=0")
    assert max(len(a.workers) for a in requests(root).values() if a.phase == "train") == 3


# ------------------------------------------------------------------------------------------- proposals


def _shown(root: Path, annotator: str) -> dict[str, Request]:
    entries = Journal(root / "annotator" / annotator / "asked.jsonl").entries()
    return {e["id"]: Request.model_validate(e) for e in entries}


@pytest.mark.parametrize("task", ["bbox", "classification"])
@pytest.mark.parametrize("proposals", ["auto", "always"])
def test_whatever_may_validate_is_asked_blind(
    task: str, proposals: str, boxes: tuple[Path, Path], classes: tuple[Path, Path], tmp_path: Path
) -> None:
    """By all requests, word for word, that people ever got."""
    source = boxes if task == "bbox" else classes
    gold = tmp_path / "gold.jsonl"
    gold.write_text("\n".join(source[1].read_text().splitlines()[:8]) + "\n")
    given = runs.settings(
        *source, task, run__annotator="recorded", people__proposals=proposals, people__first_answers=2,
        people__gold=str(gold), **HARD,
    )  # fmt: skip
    assert _run(tmp_path / "run", given)[0] == "finished"
    run, asked = gtloop.open(tmp_path / "run"), requests(tmp_path / "run")
    got = _shown(tmp_path / "run", "recorded")
    assert got.keys() == asked.keys()
    shown = {rid for rid, r in got.items() if r.mode != "draw"}
    assert all((r.proposal is not None) == (rid in shown) for rid, r in got.items()), "what is blind holds no label"
    assert {asked[rid].purpose for rid in shown} == {"train"}
    assert {asked[rid].phase for rid in shown} == {"active", "rest"}
    assert {a.purpose for rid, a in asked.items() if rid not in shown} >= {"validation", "control", "gold", "train"}
    random = run.state.columns["random"]
    assert not any(random[asked[rid].row] for rid in shown), "they never validate by cross-fitting either"
    labels = {label.row: label.source for label in run.labels()}
    for rid, a in asked.items():
        if a.purpose != "gold":
            assert labels.get(a.row) in ({"adjusted"} if rid in shown else {"human"}), a
    drawn = sum(len(a.workers) for rid, a in asked.items() if rid not in shown)
    assert sum(len(answers) for _, _, answers in run.answers(shown=False)) == drawn
    found = runs.status(tmp_path / "run")["proposals"]
    (mode,) = found.keys() - {"draw"}
    assert found[mode]["requests"] == len(shown)
    share = len(shown) / (len(shown) + found["draw"]["requests"])
    assert 0.6 < share < 0.95, "a fifth is drawn all the same"
    assert found[mode]["distance"] <= found["draw"]["distance"], "simulated people let pass what is about right"
    assert 0 < found[mode]["seconds"] < found["draw"]["seconds"]


def test_what_people_find_wrong_they_draw_anew(boxes: tuple[Path, Path], tmp_path: Path) -> None:
    given = runs.settings(*boxes, run__annotator="judges", people__proposals="always", **HARD)
    assert _run(tmp_path / "run", given)[0] == "finished"
    run, asked = gtloop.open(tmp_path / "run"), requests(tmp_path / "run")
    by_row: dict[int, list[Asked]] = defaultdict(list)
    for a in asked.values():
        by_row[a.row].append(a)
    again = [tries for tries in by_row.values() if len(tries) > 1]
    assert again, "they find every second label wrong"
    assert all([a.mode for a in tries] == ["verify", "draw"] for tries in again)
    assert {tries[1].phase for tries in again} == {"relabel"}
    found = runs.status(tmp_path / "run")
    assert found["proposals"]["verify"]["wrong"] == len(again)
    assert found["items"]["human"] == 110
    sources = {label.row: label.source for label in run.labels()}
    kept = [tries[0] for tries in by_row.values() if [a.mode for a in tries] == ["verify"]]
    assert {sources[a.row] for a in kept} <= {"adjusted"}
    assert {sources[tries[0].row] for tries in again} == {"human"}


def test_auto_says_by_which_times_it_decides(boxes: tuple[Path, Path], tmp_path: Path) -> None:
    given = runs.settings(*boxes, run__annotator="recorded", people__proposals="auto", **HARD)
    _run(tmp_path / "run", given)
    reasons = [e.event.reason for e in gtloop.open(tmp_path / "run").events() if isinstance(e.event, BatchCommitted)]
    said = [r for r in reasons if "the labels of the model (expected: draw " in r]
    assert len(said) == sum(a.phase in ("active", "rest") for a in _batches(tmp_path / "run"))
    assert all("adjust " in r and "verify " in r for r in said)


def _batches(root: Path) -> list[Any]:
    return list(gtloop.open(root).state.facts.batches.values())


def test_always_needs_an_annotator_that_shows_labels(boxes: tuple[Path, Path], tmp_path: Path) -> None:
    fixed = ("run", boxes[0], "--run", tmp_path / "run", "--classes", "crate,drum", "--detector", "stub")
    ended = runs.cli(*fixed, "--annotator", "files", "-o", "people.proposals=always")
    assert ended.code == 2
    assert "can't show people a label to correct" in ended.error


# ------------------------------------------------------------------------------------------------ kills


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_after_events_it_ends_the_same(boxes: tuple[Path, Path], tmp_path: Path, every: int) -> None:
    """Few answers first, the machine's labels shown: nothing is asked twice, and nothing depends on the kills."""
    given = runs.settings(
        *boxes, run__workers=4, people__first_answers=2, people__proposals="auto", prices__answer_usd="0.04",
        people__blind=0.5, **HARD,
    )  # fmt: skip
    runs.run_here(tmp_path / "whole", given)
    expected, events = runs.facts(tmp_path / "whole"), len(list(gtloop.open(tmp_path / "whole").events()))
    assert {"human", "adjusted"} == {label["source"] for label in expected["labels"]}
    assert any(isinstance(e.event, AnswersExtended) for e in gtloop.open(tmp_path / "whole").events())
    for _ in range(events + 1):
        child = runs.spawn(tmp_path / "run", given, kill_at=every)
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -9
    assert runs.facts(tmp_path / "run") == expected


def test_more_answers_at_first_than_at_most_are_refused(tmp_path: Path) -> None:
    images, _ = runs.make_images(tmp_path, 4)
    ended = runs.cli(*runs.small(images, tmp_path / "run", "--workers", 3, "-o", "people.first_answers=4"))
    assert (ended.code, "more than run.workers, 3" in ended.error) == (2, True)
