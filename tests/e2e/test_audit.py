"""Audits in whole runs: whose turn it is, what it costs, what it shows, what is demoted, and what may cross it."""

from __future__ import annotations

import json
import re
import shutil
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
from hypothesis import given as sampled
from hypothesis import strategies as st

import gtloop
from gtloop.errors import ConfigError, RunError, SourceError
from gtloop.events import AuditAsked, AuditConcluded, BatchCommitted, BatchSubmitted, RegionDemoted
from gtloop.money import micro
from gtloop.regions import Region, in_order, qualities, regions, shares
from gtloop.running import running_bounds
from gtloop.state import State
from gtloop.store import Store
from gtloop.testing.fakes import CATEGORIES
from gtloop_plugins.commands.reporting.audits import trails

PAID = {"prices__answer_usd": "0.036", "prices__item_fee_usd": "0.08", "prices__machine_fee_usd": "0.01"}
ITEM = 3 * 36_000 + 80_000
PROMISED = {"promise__kind": "selective", "promise__max_loss": None, "promise__target": 0.8, "promise__delta": 0.2}

Given = Callable[..., Any]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return runs.make_images(tmp_path_factory.mktemp("audited"), 180, "classification")


def predicted(source: tuple[Path, Path], path: Path, wrong: Any, **changes: Any) -> Any:
    """Settings of a run with a model that is right about all rows but those in ``wrong``."""
    with path.open("w") as file:
        for row, line in enumerate(source[1].read_text().splitlines()):
            entry = json.loads(line)
            true = CATEGORIES.index(entry["payload"]["category"])
            category = CATEGORIES[(true + (row in wrong)) % 2]
            entry["payload"] = {"category": category, "confidence": 0.5 + row % 50 / 100}
            file.write(json.dumps(entry) + "\n")
    changes = PROMISED | PAID | {"annotators__synthetic__noise": 0.0} | changes
    options = {"run__detector": "predictions", "detectors__predictions__path": str(path)}
    return runs.settings(*source, "classification", **options, **changes)


@pytest.fixture
def given(source: tuple[Path, Path], tmp_path: Path) -> Given:
    """``predicted`` with a file of its own."""

    def make(wrong: Any = (), **changes: Any) -> Any:
        path = tmp_path / f"predictions-{len(list(tmp_path.iterdir()))}.jsonl"
        return predicted(source, path, wrong, **changes)

    return make


def run(root: Path, settings: Any, *modules: types.ModuleType) -> tuple[str, dict[str, Any]]:
    from gtloop.registry import Registry
    from gtloop.run import run_or_resume

    return run_or_resume(root, settings, Registry.load(extra_modules=modules))


def finish(root: Path, settings: Any, *modules: types.ModuleType) -> dict[str, Any]:
    outcome, found = run(root, settings, *modules)
    assert outcome == "finished", found["summary"]
    return found


def of(root: Path, kind: type) -> list[Any]:
    return [e.event for e in gtloop.open(root).events() if isinstance(e.event, kind)]


def machine(root: Path) -> set[int]:
    return {label.row for label in gtloop.open(root).labels() if label.source == "machine"}


def orders(root: Path) -> list[Region]:
    opened = gtloop.open(root)
    return regions(opened.store, opened.state, opened.settings.run.seed)


def audited(root: Path) -> list[int]:
    opened = gtloop.open(root)
    files = [opened.store.read(e.labels) for e in of(root, AuditConcluded)]
    return [int(row) for t in files for row in t["row"]]


def when_asked(do: Callable[[], object]) -> types.ModuleType:
    """A plugin that does something once, as soon as the annotator has the requests of an audit."""
    done: list[object] = []

    @gtloop.hookimpl
    def gtloop_event(event: Any, state: Any) -> None:
        if isinstance(event, BatchSubmitted) and state.facts.batches[event.batch].phase == "audit" and not done:
            done.append(do())

    module = types.ModuleType("crossing")
    module.gtloop_event = gtloop_event  # type: ignore[attr-defined]
    return module


# ------------------------------------------------------------------------------------------- asking


@sampled(st.integers(0, 60), st.lists(st.integers(0, 20), min_size=1, max_size=5))
def test_a_number_is_shared_in_proportion(n: int, sizes: list[int]) -> None:
    found, total = shares(n, sizes), sum(sizes)
    assert sum(found) == min(n, total)
    for share, size in zip(found, sizes, strict=True):
        assert 0 <= share <= size
        assert abs(share - n * size / total) < 1 if n < total else share == size


@pytest.mark.slow
def test_audits_take_the_next_of_one_order_blind_and_leave_the_claim(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    before = finish(root, settings)
    labelled = machine(root)
    assert before["promise"]["measured"] is None
    assert before["promise"]["audit"] is None
    order = orders(root)
    assert {row for r in order for row in r.rows.tolist()} == labelled
    gtloop.open(root).audit(10)
    finish(root, settings)
    gtloop.open(root).audit(7)
    found = finish(root, settings)
    (one,) = order
    assert set(audited(root)[:10]) == set(one.rows[:10].tolist())
    assert set(audited(root)) == set(one.rows[:17].tolist())
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(order, orders(root), strict=True)), "fixed for ever"
    assert machine(root) == labelled - set(audited(root))
    assert {lab.source for lab in gtloop.open(root).labels() if lab.row in set(audited(root))} == {"human"}
    batches = [e for e in of(root, BatchCommitted) if e.phase == "audit"]
    asked = gtloop.open(root).store.read(batches[0].requests)
    assert "mode" not in asked
    assert "exclude_json" not in asked
    assert set(asked["answers"]) == {settings.run.workers}
    promise = found["promise"]
    assert promise["measured"] == 1.0
    assert promise["certified"] == before["promise"]["certified"]
    assert promise["audit"]["audited"] == 17
    assert sum(r["labels"] for r in promise["audit"]["regions"]) == len(labelled)
    assert "measured 1.000 by an audit of 17" in found["summary"]


def test_what_an_audit_costs_and_that_the_machine_label_stays_paid(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    finish(root, settings)
    before, imported = gtloop.open(root).state.facts.bill, gtloop.open(root).status()["imported"]
    gtloop.open(root).audit(5)
    finish(root, settings)
    after = gtloop.open(root).state.facts.bill
    assert after.total - before.total == 5 * ITEM
    assert after.machine == before.machine
    assert after.reserved == 0
    assert gtloop.open(root).status()["imported"] == imported == 0


def test_an_audit_that_no_budget_pays_is_refused_and_one_that_is_raised_pays(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    finish(root, settings)
    paid = gtloop.open(root).state.facts.bill.total
    gtloop.open(root).change(**{"run.budget_usd": (paid + ITEM - 1) / 1e6})
    finish(root, settings)
    for more in ((), ("--dry-run",), ("--json",)):
        ended = runs.cli("audit", root, "--n", 10, *more)
        assert (ended.code, ended.out) == (1, "")
        assert "pays for no check of a machine label" in ended.error
    assert gtloop.open(root).state.facts.finished, "the run was not opened again"
    assert not of(root, AuditAsked)
    said = re.search(r"--budget ([\d.]+)$", ended.error)
    assert said is not None
    least = (paid + 10 * ITEM) / 1e6
    assert least <= float(said[1]) < least + 0.01
    assert runs.cli("run", "--run", root, "--budget", said[1]).code == 0
    assert runs.cli("audit", root, "--n", 10).code == 0
    assert runs.cli("run", "--run", root).code == 0
    assert len(audited(root)) == 10


def test_a_finished_run_takes_no_other_change_and_no_smaller_budget(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given(run__budget_usd=1000)
    finish(root, settings)
    for more in (("--budget", 999), ("--workers", 1), ("--budget", 999, "--workers", 1)):
        assert runs.cli("run", "--run", root, *more).code == 0
    now = gtloop.open(root).settings.run
    assert (now.budget_usd, now.workers) == (1000, settings.run.workers)
    assert runs.cli("run", "--run", root, "--budget", 1001, "--workers", 1).code == 0
    now = gtloop.open(root).settings.run
    assert (now.budget_usd, now.workers) == (1001, settings.run.workers)


def test_a_cancelled_run_is_refused_before_any_cost_is_told(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    finish(root, settings)
    gtloop.open(root).relabel([next(iter(machine(root)))])
    gtloop.open(root).cancel()
    assert run(root, settings)[0] == "cancelled"
    for more in ((), ("--dry-run",)):
        ended = runs.cli("audit", root, "--n", 5, *more)
        assert (ended.code, ended.out) == (1, "")
        assert "the run was cancelled" in ended.error


def test_an_audit_beyond_earlier_wishes_says_that_they_cover_all(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    finish(root, settings)
    left = len(machine(root))
    assert runs.cli("audit", root, "--n", left + 5).code == 0
    ended = runs.cli("audit", root, "--n", 1)
    assert ended.code == 1
    assert f"earlier wishes cover all {left} machine labels" in ended.error
    assert runs.cli("run", "--run", root).code == 0
    assert "there is no machine label left to check" in runs.cli("audit", root, "--n", 1).error


def test_a_finished_run_with_a_new_wish_wants_to_go_on(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    assert finish(root, settings)["reopened"] is False
    assert runs.cli("audit", root, "--n", 3).code == 0
    assert runs.status(root)["reopened"] is True
    said = runs.cli("status", root).out
    assert f"wants to go on (it had finished; more was asked; go on with: gtloop run --run {root})" in said
    assert "stopped" not in said


def test_labels_and_costs_of_audits_stand_in_their_own_iterations(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    before = {i["n"]: i for i in finish(root, settings)["iterations"]}  # the last has the look, and no batch yet
    gtloop.open(root).audit(5)
    gtloop.open(root).audit(3)
    found = finish(root, settings)
    audits = {i["n"]: i for i in found["iterations"] if i["phase"] == "audit"}
    more = [(i["human"], i["cost_usd"] - before.get(n, {"cost_usd": 0})["cost_usd"]) for n, i in audits.items()]
    assert more == [(5, pytest.approx(5 * ITEM / 1e6)), (3, pytest.approx(3 * ITEM / 1e6))]
    assert [i for i in found["iterations"] if i["n"] not in audits] == [before[n] for n in before if n not in audits]
    assert found["cost_usd"]["total"] == pytest.approx(sum(i["cost_usd"] for i in found["iterations"]))
    for source in ("human", "machine"):
        assert sum(i[source] for i in found["iterations"]) == found["items"][source], "each label once"


def test_an_audit_asks_no_more_than_the_budget_pays(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    finish(root, settings)
    paid = gtloop.open(root).state.facts.bill.total
    for left, n in ((3.5 * ITEM, 3), (0.5 * ITEM, 0)):
        cap = (gtloop.open(root).state.facts.bill.total + left) / 1e6
        gtloop.open(root).change(**{"run.budget_usd": cap})
        gtloop.open(root).audit(10)
        outcome, _ = runs.run_here(root, settings)
        assert outcome == ("finished" if n else "budget")
    assert len(audited(root)) == 3
    assert gtloop.open(root).state.facts.bill.total == paid + 3 * ITEM
    assert "the budget pays 3 of 10" in next(e for e in of(root, BatchCommitted) if e.phase == "audit").reason
    gtloop.open(root).change(**{"run.budget_usd": 1000})
    finish(root, settings)
    assert len(audited(root)) == 13, "the wish that had to wait was kept"
    state = State()
    for entry in gtloop.open(root).events():
        state.apply(entry.event, Store(root), entry.seq)
        bill, cap = state.facts.bill, state.facts.settings["run"]["budget_usd"]
        assert cap is None or bill.total + bill.reserved <= micro(cap), entry
        assert bill.reserved == sum(r.reserved for r in state.facts.open.values()), entry


def cost(root: Path, n: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(runs.cli("audit", root, "--n", n, "--dry-run", "--json").out)
    return found


def test_what_it_costs_is_told_beforehand(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    finish(root, settings)
    before, labelled = gtloop.open(root), len(machine(root))
    told = cost(root, 5)
    assert told == {
        **{"items": 5, "tests": 0, "answers": 15, "usd_most": 5 * ITEM / 1e6},
        **{"budget_left_usd": None, "short": 0},
    }
    assert (
        f"5 machine labels to check: at most 15 answers, ${5 * ITEM / 1e6:.2f}"
        in runs.cli("audit", root, "--n", 5, "--dry-run").out
    )
    assert cost(root, 10_000)["items"] == labelled
    after = gtloop.open(root)
    assert after.state.seq == before.state.seq, "nothing was asked"
    assert not after._ledger.letters(after.state.facts.letter)
    posted = json.loads(runs.cli("audit", root, "--n", 5, "--json").out)
    assert posted["cost"] == told
    assert cost(root, 10_000)["items"] == labelled - 5, "an earlier wish comes first"
    finish(root, settings)
    (batch,) = [e for e in of(root, BatchCommitted) if e.phase == "audit"]
    assert batch.reserved / 1e6 == told["usd_most"]
    assert runs.cli("audit", root, "--dry-run").code == 2


def test_what_the_budget_does_not_pay_is_told_beforehand(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    finish(root, settings)
    gtloop.open(root).change(**{"run.budget_usd": (gtloop.open(root).state.facts.bill.total + 3.5 * ITEM) / 1e6})
    finish(root, settings)
    told = cost(root, 10)
    assert (told["items"], told["short"], told["usd_most"]) == (3, 7, 3 * ITEM / 1e6)
    assert told["budget_left_usd"] == pytest.approx(3.5 * ITEM / 1e6)
    assert "which does not pay for 7 more" in runs.cli("audit", root, "--n", 10, "--dry-run").out
    gtloop.open(root).audit(10)
    finish(root, settings)
    assert len(audited(root)) == 3


def test_test_images_are_mixed_in_here_too(given: Given, source: tuple[Path, Path], tmp_path: Path) -> None:
    """Else people could tell an audit by their lack. They are no part of what is measured, and are paid for."""
    gold = tmp_path / "gold.jsonl"
    gold.write_text("".join(source[1].read_text().splitlines(keepends=True)[:20]))
    root, settings = tmp_path / "run", given(people__gold=str(gold), people__gold_share=0.2)
    finish(root, settings)
    told, order = cost(root, 10), orders(root)
    assert (told["items"], told["tests"], told["usd_most"]) == (10, 2, 12 * ITEM / 1e6)
    before = gtloop.open(root).state.facts.bill.total
    gtloop.open(root).change(**{"run.budget_usd": (before + 12 * ITEM) / 1e6})
    gtloop.open(root).audit(10)
    found = finish(root, settings)
    opened = gtloop.open(root)
    (batch,) = [e for e in of(root, BatchCommitted) if e.phase == "audit"]
    purposes = opened.store.read(batch.requests)["purpose"]
    assert (purposes.count("audit"), purposes.count("gold"), batch.reserved) == (10, 2, 12 * ITEM)
    assert purposes != sorted(purposes), "they don't stand out by their place"
    assert set(audited(root)) == {row for r in order for row in r.rows[:10].tolist()}
    assert int(opened.state.columns["audited"].sum()) == found["promise"]["audit"]["audited"] == 10
    assert {"imported"} == {x.consolidation for x in opened.labels() if x.row < 20}, "no test changes a label"
    assert found["crew"]["tests"] > 0
    assert opened.state.facts.bill.reserved == 0


@pytest.mark.parametrize("n", [0, -1, "ten", 2.5, None])
def test_no_number_of_labels_is_refused(given: Given, tmp_path: Path, n: Any) -> None:
    from gtloop.registry import Registry
    from gtloop.run import take_in

    root = tmp_path / "run"
    finish(root, given())
    letter = gtloop.open(root).audit(n)
    with pytest.raises(RunError, match="give a number from 1 on"):
        take_in(root, Registry.load(), letter)


def test_a_run_without_machine_labels_has_nothing_to_check(given: Given, tmp_path: Path) -> None:
    root = tmp_path / "run"
    finish(root, given(wrong=range(180)))
    assert not machine(root)
    ended = runs.cli("audit", root, "--n", 5)
    assert ended.code == 1
    assert "no machine label left to check" in ended.error


def test_a_cancelled_run_is_not_audited(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    finish(root, settings)
    gtloop.open(root).audit(40)
    gtloop.open(root).cancel()
    outcome, _ = runs.run_here(root, settings)
    assert outcome == "cancelled"
    assert not audited(root)
    with pytest.raises(RunError, match="cancelled"):
        gtloop.open(root).audit(5)


# -------------------------------------------------------------------------------------- what it shows


def test_a_region_that_breaks_the_promise_is_demoted(given: Given, tmp_path: Path) -> None:
    """The model was right wherever validation looked, and is wrong about half of what it labelled."""
    finish(tmp_path / "scout", given())
    labelled = sorted(machine(tmp_path / "scout"))
    wrong = set(labelled[::2])
    root, settings = tmp_path / "run", given(wrong=wrong)
    before = finish(root, settings)
    assert sorted(machine(root)) == labelled
    assert before["promise"]["certified"] >= 0.8
    gtloop.open(root).audit(60)
    found = finish(root, settings)
    promise = found["promise"]
    assert promise["measured"] == pytest.approx(1 - len(wrong & set(audited(root))) / len(audited(root)))
    assert of(root, RegionDemoted)
    assert not machine(root), "what was left was withdrawn"
    assert found["items"]["human"] == found["items"]["total"], "and labelled by people"
    assert promise["certified"] is None
    assert all(c["void"] for c in promise["certificates"] if c["threshold"] is not None)
    assert "an audit of" in promise["why"]
    assert all(r["demoted"] for r in promise["audit"]["regions"])
    assert all(r["remaining_lower"] is None for r in promise["audit"]["regions"]), "nothing is left to speak of"
    truth = [json.loads(line)["payload"]["category"] for line in (Path(settings.run.truth)).read_text().splitlines()]
    assert [label.payload["category"] for label in gtloop.open(root).labels()] == truth


def test_a_dataset_promise_is_broken_by_the_summed_loss(given: Given, tmp_path: Path) -> None:
    kind = {"promise__kind": "dataset", "promise__target": None, "promise__max_loss": 0.06, "promise__delta": 0.2}
    finish(tmp_path / "scout", given(**kind))
    labelled = sorted(machine(tmp_path / "scout"))
    few, many = labelled[:1], labelled
    for name, wrong, stays in (("kept", few, True), ("broken", many, False)):
        root, settings = tmp_path / name, given(wrong=set(wrong), **kind)
        finish(root, settings)
        gtloop.open(root).audit(len(labelled) - 2)
        found = finish(root, settings)
        assert bool(of(root, RegionDemoted)) != stays
        assert bool(machine(root)) == stays
        if not stays:
            assert found["promise"]["measured"] == pytest.approx(1 - len(labelled) / 180)
            assert "summed loss" in found["promise"]["why"]


def test_a_bound_never_rests_on_a_label_that_was_withdrawn(given: Given, tmp_path: Path) -> None:
    """Who takes out what is next in the order leaves a gap: 0 below, 1 above."""
    root, settings = tmp_path / "run", given()
    finish(root, settings)
    order = orders(root)[0]
    gtloop.open(root).relabel(order.rows[:4].tolist())
    finish(root, settings)
    gtloop.open(root).audit(10)
    found = finish(root, settings)["promise"]["audit"]["regions"][0]
    opened = gtloop.open(root)
    values = in_order(order, opened.state, qualities(opened.store, opened.state))
    assert np.isnan(values[:4]).all()
    assert not np.isnan(values[4:]).any()
    assert (found["unknown"], found["mean"]) == (4, 1.0)
    assert found["upper"] == 1.0
    assert found["lower"] < 0.8


@pytest.mark.parametrize("lost", ["next", "last"])
def test_an_image_that_is_gone_is_passed_over(tmp_path: Path, lost: str) -> None:
    images = runs.make_images(tmp_path / "own", 180, "classification")
    root, settings = tmp_path / "run", predicted(images, tmp_path / "p.jsonl", (), promise__audit_rate=0.1)
    finish(root, settings)
    order, before = orders(root)[0], len(audited(root))
    at = {"next": range(before, before + 3), "last": range(len(order.rows) - 3, len(order.rows))}[lost]
    for i in at:
        Path(gtloop.open(root).items.uri[int(order.rows[i])]).unlink()
    gtloop.open(root).change(**{"promise.audit_rate": 1.0})
    gtloop.open(root).audit(5)
    found = finish(root, settings)["promise"]["audit"]["regions"][0]
    assert (found["audited"], found["unknown"]) == (len(order.rows) - 3, 3)
    assert set(order.rows[list(at)].tolist()) == machine(root), "it keeps its label"
    assert found["upper"] == 1.0
    assert found["lower"] >= 1 - 3 / len(order.rows) - 1e-4


def test_a_source_that_is_away_stops_an_audit(tmp_path: Path) -> None:
    images = runs.make_images(tmp_path / "own", 180, "classification")
    root, settings = tmp_path / "run", predicted(images, tmp_path / "p.jsonl", ())
    finish(root, settings)
    before = machine(root)
    images[0].rename(tmp_path / "away")
    gtloop.open(root).audit(20)
    with pytest.raises(SourceError, match="can be read any more"):
        finish(root, settings)
    (tmp_path / "away").rename(images[0])
    finish(root, settings)
    assert len(audited(root)) == 20
    assert machine(root) == before - set(audited(root))


@pytest.mark.parametrize("option", ["cannot_tell", "expire"])
def test_where_people_bring_no_label_the_quality_is_0_and_they_are_asked_again(
    given: Given, tmp_path: Path, option: str
) -> None:
    root, settings = tmp_path / "run", given(promise__target=0.3)
    before = finish(root, settings)
    rows = orders(root)[0].rows[:3].tolist()
    gtloop.open(root).audit(3)
    gtloop.open(root).change(**{f"annotators.synthetic.{option}": 1.0})
    found = finish(root, settings)
    seen = gtloop.open(root).store.read(of(root, AuditConcluded)[0].labels)
    empty = [int(r) for r, what in zip(seen["row"], seen["outcome"], strict=True) if what == "requeued"]
    assert empty if option == "expire" else sorted(empty) == sorted(rows)
    assert {float(seen["quality"][list(seen["row"]).index(row)]) for row in empty} == {0.0}
    assert not set(rows) & machine(root)
    if option == "cannot_tell":
        assert found["items"]["unlabelable"] == before["items"]["unlabelable"] + 3
        assert found["promise"]["measured"] == 0.0


@pytest.mark.slow
def test_bounds_of_whole_runs_hold(source: tuple[Path, Path], tmp_path: Path) -> None:
    """Against what the same people would have said of every machine label, at every number of audits."""
    wrong, runs_made, delta = 0, 40, 0.2
    for seed in range(runs_made):
        root = tmp_path / f"run{seed}"
        chance = np.random.default_rng(seed).random(180) < 0.15
        changes = {"run__seed": seed, "promise__audit_rate": 0.6, "promise__target": 0.75}
        spammers = {"annotators__synthetic__spammers": 0.0}
        settings = predicted(source, tmp_path / f"{seed}.jsonl", np.flatnonzero(chance), **changes, **spammers)
        finish(root, settings)
        for region in orders(root):
            truth = np.array([float(not chance[row]) for row in region.rows])
            opened = gtloop.open(root)
            values = in_order(region, opened.state, qualities(opened.store, opened.state))
            assert np.array_equal(values, truth[: len(values)]), "simulated people are faultless here"
            bounds = running_bounds(values, values, len(truth), delta, range(1, len(values) + 1))
            wrong += any(not b.lower - 1e-9 <= truth.mean() <= b.upper + 1e-9 for b in bounds)
    assert wrong / runs_made <= delta + 2 * np.sqrt(delta * (1 - delta) / runs_made)


# ----------------------------------------------------------------------------------------- always on


@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_a_rate_audits_without_being_asked(given: Given, tmp_path: Path, rate: float) -> None:
    root, settings = tmp_path / "run", given(promise__audit_rate=rate)
    found = finish(root, settings)
    for region in orders(root):
        n = int(np.ceil(rate * len(region.rows)))
        assert set(region.rows[:n].tolist()) <= set(audited(root))
        assert not set(region.rows[n:].tolist()) & set(audited(root))
    assert found["promise"]["measured"] == 1.0
    assert found["items"]["machine"] == len(machine(root))
    assert bool(machine(root)) == (rate < 1)


def test_the_rate_may_change_during_a_run(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given(promise__audit_rate=0.05)
    finish(root, settings)
    first = len(audited(root))
    gtloop.open(root).change(**{"promise.audit_rate": 0.3})
    gtloop.open(root).audit(1)  # opens the run again
    finish(root, settings)
    assert len(audited(root)) > first + 1
    with pytest.raises(ConfigError, match="frozen"):
        gtloop.open(root).change(**{"promise.delta": 0.3})


# ------------------------------------------------------------------------------------------- crossing


def test_a_label_that_is_withdrawn_while_people_check_it_counts_and_stays_with_people(
    given: Given, tmp_path: Path
) -> None:
    root, settings = tmp_path / "run", given()
    finish(root, settings)
    rows = orders(root)[0].rows[:3].tolist()
    gtloop.open(root).audit(10)
    found = finish(root, settings, when_asked(lambda: gtloop.open(root).relabel(rows)))
    t = gtloop.open(root).store.read(of(root, AuditConcluded)[0].labels)
    outcome = dict(zip(t["row"].tolist(), t["outcome"], strict=True))
    assert {outcome[row] for row in rows} == {"measured"}
    assert found["promise"]["audit"]["audited"] == 10
    assert found["items"]["total"] == found["items"]["human"] + found["items"]["machine"]
    assert not set(rows) & machine(root)


def test_categories_that_are_renamed_while_people_check(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    finish(root, settings)
    gtloop.open(root).audit(10)
    rename = when_asked(lambda: gtloop.open(root).rename_categories({CATEGORIES[0]: "box"}))
    found = finish(root, settings, rename)
    assert found["promise"]["measured"] == 1.0
    assert {label.payload["category"] for label in gtloop.open(root).labels()} == {"box", *CATEGORIES[1:]}


def test_a_run_that_is_cancelled_while_people_check_keeps_what_they_said(given: Given, tmp_path: Path) -> None:
    root, settings = tmp_path / "run", given()
    finish(root, settings)
    before = machine(root)
    gtloop.open(root).audit(10)
    crossing = when_asked(lambda: gtloop.open(root).cancel())
    assert run(root, settings, crossing)[0] == "cancelled"
    assert machine(root) == before - set(audited(root))
    assert not gtloop.open(root).state.facts.open
    assert gtloop.open(root).state.facts.bill.reserved == 0


@pytest.mark.parametrize("start", ["finished", pytest.param("nothing", marks=pytest.mark.slow)])
def test_killed_after_every_event_it_ends_as_an_unbroken_one(given: Given, tmp_path: Path, start: str) -> None:
    """A rate, a wish, and a region that fails."""
    finish(tmp_path / "scout", given())
    wrong = set(sorted(machine(tmp_path / "scout"))[::2])
    settings = given(wrong=wrong, promise__audit_rate=0.1)

    def known(root: Path) -> dict[str, Any]:
        f = gtloop.open(root).state.facts
        return runs.facts(root) | {"audited": f.audited, "demoted": f.demoted, "rounds": _rounds(f)}

    unbroken, root = tmp_path / "unbroken", tmp_path / "run"
    finish(unbroken, settings)
    kills = 0
    if start == "finished":
        shutil.copytree(unbroken, root)
    else:
        kills = _killed(root, settings, kills)
    for folder in (unbroken, root):
        gtloop.open(folder).audit(50)
    finish(unbroken, settings)
    assert of(unbroken, RegionDemoted)
    kills = _killed(root, settings, kills)
    assert kills >= 9, "asked, committed, submitted, collected, concluded and demoted, and what came of that"
    assert known(root) == known(unbroken)


def _killed(root: Path, settings: Any, kills: int) -> int:
    """Go on with a run that is killed after every event that it commits; how often it was, with those before."""
    while True:
        child = runs.spawn(root, settings, kill_at=1)
        child.join()
        if child.exitcode == 0:
            return kills
        assert child.exitcode == -9
        kills += 1
        assert kills < 100


def _rounds(f: Any) -> dict[int, int]:
    return {n: r.cost for n, r in f.rounds.items()}


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(k, marks=pytest.mark.slow) for k in range(2, 30))])
def test_whatever_is_asked_in_whatever_order(given: Given, tmp_path: Path, seed: int) -> None:
    """Audits, relabelling, reviews, budgets and rates, some of them while people are at an audit."""
    rng, root = np.random.default_rng(seed), tmp_path / "run"
    finish(tmp_path / "scout", given())
    settings = given(wrong=set(sorted(machine(tmp_path / "scout"))[:: int(rng.integers(3, 30))]))
    finish(root, settings)
    accepted = {row for r in orders(root) for row in r.rows.tolist()}

    def ask() -> None:
        opened, rows = gtloop.open(root), sorted(accepted)
        paid = opened.state.facts.bill
        some = rng.choice(rows, 3, replace=False).tolist()
        cap = (paid.total + paid.reserved) / 1e6 + float(rng.choice([0.5, 4.5, 100.0])) * ITEM / 1e6
        wishes: list[Callable[[], object]] = [
            lambda: opened.audit(int(rng.integers(1, 20))),
            lambda: opened.relabel(some),
            lambda: opened.review(some, mode="adjust", blind=0.5),
            lambda: opened.change(**{"run.budget_usd": round(cap, 6)}),
            lambda: opened.change(**{"promise.audit_rate": float(rng.choice([0.0, 0.1, 0.5]))}),
        ]
        for i in rng.integers(0, len(wishes), 2):
            wishes[i]()

    for _ in range(3):
        ask()
        assert run(root, settings, when_asked(ask))[0] in ("finished", "budget")
    gtloop.open(root).change(**{"run.budget_usd": 1000.0})
    finish(root, settings)
    seen = audited(root)
    assert len(seen) == len(set(seen)), "nobody is asked twice"
    assert not set(seen) & machine(root)
    assert set(seen) <= accepted
    state = State()
    for entry in gtloop.open(root).events():
        state.apply(entry.event, Store(root), entry.seq)
        bill, limit = state.facts.bill, state.facts.settings["run"]["budget_usd"]
        assert limit is None or bill.total + bill.reserved <= micro(limit), entry
        assert bill.reserved == sum(r.reserved for r in state.facts.open.values()), entry
        assert len(state.status) == 180
    assert not state.facts.audits_asked
    assert not state.facts.checked
    for region in state.facts.audited:
        assert region.mean is None or region.lower <= region.upper
        assert region.audited + region.unknown <= region.labels


# ------------------------------------------------------------------------------------------- command


def test_the_command_asks_and_tells(given: Given, tmp_path: Path) -> None:
    root = tmp_path / "run"
    settings = given()
    finish(root, settings)
    assert "no audit yet" in runs.cli("audit", root).out
    assert json.loads(runs.cli("audit", root, "--json").out) == {"measured": None, "audit": None}
    assert "go on with: gtloop run" in runs.cli("audit", root, "--n", 20, "--why", "to be sure").out
    assert runs.cli("audit", root, "--n", 5, "--json").code == 0
    assert runs.cli("run", "--run", root).code == 0
    told = json.loads(runs.cli("audit", root, "--json").out)
    assert told["audit"]["audited"] == 25
    text = runs.cli("audit", root).out
    assert "machine labels checked" in text
    assert "80% sure" in text
    assert runs.cli("audit", root, "--n", 0).code == 2


# -------------------------------------------------------------------------------------------- report


@pytest.mark.slow
def test_the_report_draws_what_the_status_says(given: Given, tmp_path: Path) -> None:
    root = tmp_path / "run"
    finish(tmp_path / "scout", given())
    finish(root, given(wrong=set(sorted(machine(tmp_path / "scout"))[::7]), promise__audit_rate=0.4))
    gtloop.open(root).relabel(orders(root)[0].rows[40:44].tolist())  # some whose turn has not come
    gtloop.open(root).audit(20)
    found = finish(root, gtloop.open(root).settings)["promise"]["audit"]["regions"][0]
    (trail,) = trails(gtloop.open(root))
    assert trail.n[-1] == found["audited"] + found["unknown"]
    assert trail.mean[-1] == pytest.approx(found["mean"])
    assert trail.lower[-1] == pytest.approx(found["lower"], abs=2e-5)
    assert trail.upper[-1] == pytest.approx(found["upper"], abs=2e-5)
    assert (np.diff(trail.lower) >= 0).all()
    assert runs.cli("report", root).code == 0
    assert (root / "report" / "audit.png").stat().st_size > 1000
    assert "Audited" in (root / "report" / "index.html").read_text()


@pytest.mark.slow
def test_the_report_says_that_a_promise_was_broken(given: Given, tmp_path: Path) -> None:
    finish(tmp_path / "scout", given())
    root = tmp_path / "run"
    finish(root, given(wrong=machine(tmp_path / "scout"), promise__audit_rate=0.2))
    assert runs.cli("report", root).code == 0
    page = (root / "report" / "index.html").read_text()
    assert "Broken, and withdrawn: an audit of" in page
    assert "Void, its labels are withdrawn" in page
