"""The budget is a hard cap at every event; money and settings follow from the ledger."""

from __future__ import annotations

import json
import threading
import time
import types
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import runs
from hypothesis import given as sampled
from hypothesis import strategies as st
from runs import cli, small

import gtloop
from gtloop import accounts, config
from gtloop.errors import ConfigError
from gtloop.events import BatchCommitted, FileRef, LetterRefused, SettingsChanged
from gtloop.facts import Facts
from gtloop.money import micro
from gtloop.picking import asked
from gtloop.state import MACHINE, State
from gtloop.stopping import before_look
from gtloop.store import Store

PAID = ("-o", "prices.answer_usd=0.036", "-o", "prices.item_fee_usd=0.08", "-o", "prices.machine_fee_usd=0.08")
ITEM = 3 * 0.036 + 0.08
LOOSE = ("-o", "sizes.validation=25")
"""Enough validation for the machine to label (and cost) something."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found, _ = runs.make_images(tmp_path_factory.mktemp("source"), 80)
    return found


def folded(root: Path) -> list[tuple[Any, State]]:
    """Each event with the bill after it, checked against the cap of that moment."""
    run, state = gtloop.open(root), State()
    seen = []
    for entry in run.events():
        state.apply(entry.event, Store(root), entry.seq)
        cap = state.facts.settings["run"]["budget_usd"]
        bill = state.facts.bill
        if cap is not None:
            assert bill.total + bill.reserved <= micro(cap), entry
        assert bill.reserved == sum(r.reserved for r in state.facts.open.values()), entry
        assert min(bill.human, bill.fees, bill.machine, bill.reserved) >= 0, entry
        seen.append((entry.event, bill.model_copy()))
    return seen


def human(root: Path) -> int:
    """Answers that the ledger holds, by their own price."""
    run = gtloop.open(root)
    return sum(int(run.store.read(ref)["price"].sum()) for ref in run.state.facts.answer_files)


@pytest.mark.parametrize("usd", [0, 0.1, ITEM, 1, 4.4, 9.3])
def test_the_budget_is_never_exceeded_and_a_higher_one_goes_on(images: Path, tmp_path: Path, usd: float) -> None:
    root = tmp_path / "run"
    ended = cli(*small(images, root, *PAID, *LOOSE, "--budget", usd))
    assert ended.code == 4, ended.err
    assert "Raise --budget" in ended.out
    last = folded(root)[-1][1]
    assert last.total <= micro(usd)
    assert last.reserved == 0
    status = runs.status(root)
    assert status["state"] == "paused: budget"
    assert status["items"]["pool"] > 0
    again = cli(*small(images, root, *PAID, *LOOSE, "--budget", usd))
    assert again.code == 4
    assert folded(root)[-1][1] == last
    ended = cli(*small(images, root, *PAID, *LOOSE, "--budget", 1000))
    assert ended.code == 0, ended.err
    found = runs.status(root)
    events = folded(root)
    assert any(isinstance(e, SettingsChanged) and e.changes == {"run.budget_usd": 1000} for e, _ in events)
    assert found["items"]["pool"] == 0
    assert found["cost_usd"]["human"] == pytest.approx(human(root) / 1e6)
    assert found["cost_usd"]["fees"] == pytest.approx(0.08 * found["items"]["human"])
    assert found["cost_usd"]["machine"] == pytest.approx(0.08 * found["items"]["machine"])
    assert found["cost_usd"]["total"] == pytest.approx(sum(r["cost_usd"] for r in found["iterations"]))


@pytest.mark.parametrize(
    "more", [(), ("-o", "prices.machine_fee_usd=0"), ("-o", "prices.answer_usd=0.0333", "-o", "sizes.look_at=41")]
)
def test_a_stop_before_the_look_says_how_much_reaches_it(images: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    """The budget that it names is enough, and a cent less is not."""
    root = tmp_path / "run"
    command = small(images, root, *PAID, *LOOSE, *more)
    ended = cli(*command, "--budget", 2)
    assert ended.code == 4, ended.err
    found = runs.status(root)
    lacking = found["lacking"]
    assert lacking["look"] == 1
    assert lacking["labels"] == gtloop.open(root).state.facts.plan["look_at"][0]
    assert lacking["budget_usd"] == pytest.approx(2 + lacking["usd"])
    said = f"${lacking['usd']:.2f} more reaches the first look at {lacking['labels']} labels"
    assert said in found["summary"]
    assert f"no further item; {said}" in ended.err, "the stop says it, too"
    assert f"Raise --budget, to {lacking['budget_usd']:.2f} for the next look," in ended.out
    cli(*command, "--budget", f"{lacking['budget_usd'] - 0.01:.2f}")
    run = gtloop.open(root)
    early = run.state.facts.looks == 1 and asked(run.state) < lacking["labels"]  # a look with what there was
    assert early or run.state.facts.looks == 0
    cli(*command, "--budget", f"{lacking['budget_usd']:.2f}")
    run = gtloop.open(root)
    assert run.state.facts.looks == 1
    assert early or asked(run.state) == lacking["labels"]
    assert runs.status(root)["lacking"]["usd"] == 0


def test_what_somebody_wants_first_is_lacking_too(images: Path, tmp_path: Path) -> None:
    """Relabelled items, reviews and audits are paid before a look is reached: the budget that is named reaches it."""
    root = tmp_path / "run"
    command = small(images, root, *PAID, *LOOSE)
    assert cli(*command, "--budget", 2).code == 4
    before = runs.status(root)["lacking"]["usd"]
    rows = [label.row for label in gtloop.open(root).labels() if label.source == "human"][:5]
    gtloop.open(root).relabel(rows)
    take_in(root)
    lacking = runs.status(root)["lacking"]
    assert lacking["usd"] == pytest.approx(before + len(rows) * ITEM, abs=0.011)
    run = gtloop.open(root)
    state = run.state
    state.facts.reviews = [Facts.Review(rows=FileRef(path="r", rows=3, sha256=""), answers=2, others=False)]
    state.facts.audits_asked = [4, 1]
    more = before_look(state, run.settings)
    assert more is not None
    added = 3 * (2 * 0.036 + 0.08) + 5 * ITEM
    assert more.more / 1e6 == pytest.approx(lacking["usd"] + added, abs=0.011)
    cli(*command, "--budget", f"{lacking['budget_usd']:.2f}")
    assert gtloop.open(root).state.facts.looks == 1


def take_in(root: Path) -> None:
    from gtloop import run
    from gtloop.registry import Registry

    run.take_in(root, Registry.load(), 0)


@sampled(left=st.integers(0, 400), gold=st.integers(0, 60), share=st.floats(0.001, 1.0), price=st.integers(1, 90_000))
def test_as_many_items_as_the_budget_pays_with_their_tests(left: int, gold: int, share: float, price: int) -> None:
    """The largest number that fits: one more, with the tests that it brings, does not."""
    settings = config.load(
        None,
        {"run.workers": 1, "people.gold_share": share, "prices.answer_usd": str(price / 1e6), "run.budget_usd": 0},
    )
    state = State()
    state.facts.settings = settings.model_dump(mode="json")
    settings = settings.model_copy(update={"run": settings.run.model_copy(update={"budget_usd": left * price / 1e6})})
    state.facts.gold = FileRef(path="gold.parquet", rows=gold, sha256="")
    found = accounts.affordable(state, settings)
    assert found is not None
    assert found + accounts.tests_among(state, settings, found) <= left
    assert found + 1 + accounts.tests_among(state, settings, found + 1) > left


def test_no_budget_pays_all(images: Path, tmp_path: Path) -> None:
    assert cli(*small(images, tmp_path / "run", *PAID, *LOOSE)).code == 0
    found = runs.status(tmp_path / "run")
    assert found["items"]["machine"] > 0, "the run must have machine labels to pay for"
    assert found["cost_usd"]["if_all_human"] == pytest.approx(80 * ITEM)
    assert found["saving"] == pytest.approx(1 - found["cost_usd"]["total"] / (80 * ITEM), abs=1e-5)


@pytest.mark.parametrize("usd", [9.0, 10.0, 11.0, 12.0])
def test_the_machine_fee_counts_against_the_budget(images: Path, tmp_path: Path, usd: float) -> None:
    """Ground Truth's prices: $0.26 by five people with the fee, $0.08 by machine."""
    root = tmp_path / "run"
    sizes = [x for k, v in {"validation": 20, "train": 10, "batch": 10}.items() for x in ("-o", f"sizes.{k}={v}")]
    ended = cli(*small(images, root, "--preset", "ground-truth", *sizes, "--budget", usd))
    assert ended.code in (0, 4), ended.err
    folded(root)
    found = runs.status(root)
    assert found["cost_usd"]["total"] <= usd
    assert found["cost_usd"]["machine"] == pytest.approx(0.08 * found["items"]["machine"])
    assert found["items"]["machine"] > 0, "the budget must be spent on machine labels too"
    assert found["cost_usd"]["human"] + found["cost_usd"]["fees"] == pytest.approx(0.26 * found["items"]["human"])
    assert 0 <= found["saving"] <= 1


@pytest.mark.slow
def test_a_region_whose_fees_are_paid_in_part_says_so(images: Path, tmp_path: Path) -> None:
    """What is certified is about the whole region; its certificate, status and explain say which part has labels."""
    root = tmp_path / "run"
    command = small(images, root, *PAID, *LOOSE, "-o", "prices.machine_fee_usd=0.5")
    assert cli(*command, "--budget", 2).code == 4
    assert cli(*command, "--budget", runs.status(root)["lacking"]["budget_usd"] + 2).code == 4
    found = runs.status(root)
    (c,) = found["promise"]["certificates"]
    assert c["labelled"] == found["items"]["machine"] == 5 < c["pool"]
    assert f"a random 5 of these {c['pool']} are labelled, as the budget pays no more fees" in c["why"]
    assert c["why"] in found["promise"]["why"]
    assert found["promise"]["certified"] == c["bound"]
    run = gtloop.open(root)
    accepted = pq.read_table(root / c["evidence"]).to_pydict()
    pool = [r for r, q, a in zip(*(accepted[n] for n in ("row", "quality", "accepted")), strict=True) if a and q != q]
    assert len(pool) == c["pool"]
    machine = run.state.rows(MACHINE)
    for row in pool:
        told = json.loads(cli("explain", root, row, "--json").out)
        (look,) = [x for x in told["looks"] if x["role"] == "pool"]
        assert (look["accepted"], look["labelled"]) == (True, row in machine)
        assert f"the budget paid the fees of a random 5 of the {c['pool']} images there" in " ".join(told["why"])


def test_changed_workers_are_an_event_and_count_from_the_next_batch(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert cli(*small(images, root, *PAID, "--budget", 5)).code == 4
    before = len(gtloop.open(root).state.facts.batches)
    assert cli(*small(images, root, *PAID, "--budget", 1000, "--workers", 5)).code == 0
    run = gtloop.open(root)
    changed = [e.event.changes for e in run.events() if isinstance(e.event, SettingsChanged)]
    assert changed == [{"run.workers": 5, "run.budget_usd": 1000}]
    for number, batch in run.state.facts.batches.items():
        want = 3 if number <= before else 5
        assert set(run.store.read(batch.requests)["answers"].tolist()) == {want}
    folded(root)
    assert 0 <= runs.status(root)["saving"] <= 1


def test_fewer_workers_later_leave_a_saving_between_0_and_1(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    fixed = (*PAID, "--target", 0.999)  # so that people label all
    assert cli(*small(images, root, *fixed, "--budget", 20, "--workers", 7)).code == 4
    assert cli(*small(images, root, *fixed, "--budget", 1000, "--workers", 1)).code == 0
    assert runs.status(root)["cost_usd"]["total"] > runs.status(root)["cost_usd"]["if_all_human"]
    assert runs.status(root)["saving"] == 0


def files(images: Path, root: Path, *more: object) -> runs.Ended:
    command = ["run", images, "--run", root, "--classes", "crate,drum", "--detector", "stub", "--annotator", "files"]
    return cli(*command, "-o", "sizes.probe=5", "-o", "sizes.validation=10", *PAID, *more)


def test_a_budget_or_a_price_below_what_is_promised_is_refused(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert files(images, root, "--budget", 2).code == 3
    reserved = gtloop.open(root).state.facts.bill.reserved
    assert reserved == micro(5 * ITEM)
    ended = files(images, root, "--budget", 0.5)
    assert (ended.code, "give $0.94 or more" in ended.error) == (2, True)
    ended = files(images, root, "--budget", 2, "-o", "prices.answer_usd=0.36")
    assert (ended.code, "$5.80 promised" in ended.error) == (2, True)
    assert gtloop.open(root).state.facts.bill.reserved == reserved
    assert files(images, root, "--budget", 6, "-o", "prices.answer_usd=0.36").code == 3
    assert gtloop.open(root).state.facts.bill.reserved == micro(5 * (3 * 0.36 + 0.08))
    folded(root)


# ---------------------------------------------------------------------------------------------- letters


def test_another_process_changes_the_budget_of_a_waiting_run(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert files(images, root, "--budget", 2).code == 3
    gtloop.open(root).change(**{"run.budget_usd": 3, "run.workers": 5})
    gtloop.open(root).change(**{"run.budget_usd": 0.1})  # less than is promised: refused by the driver, once
    gtloop.open(root)._ledger.post("settings", "k1", "no json")
    gtloop.open(root)._ledger.post("settings", "k2", '["run.budget_usd"]')
    gtloop.open(root)._ledger.post("settings", "k3", '{"run.seed": 4}')
    gtloop.open(root)._ledger.post("settings", "k4", '{"run.detector": "no-such"}')
    ended = files(images, root, "--budget", 2)  # the same command: what the letter said stays
    assert ended.code == 3, ended.err
    assert "refused: settings" in ended.err
    run = gtloop.open(root)
    letters = [e.event for e in run.events() if isinstance(e.event, SettingsChanged)]
    assert [(e.letter, e.changes) for e in letters] == [(1, {"run.workers": 5, "run.budget_usd": 3})]
    assert [e.event.letter for e in run.events() if isinstance(e.event, LetterRefused)] == [2, 3, 4, 5, 6]
    assert (run.settings.run.budget_usd, run.settings.run.workers) == (3, 5)
    assert files(images, root, "--budget", 2).code == 3
    answered = [e for e in run.events() if isinstance(e.event, SettingsChanged | LetterRefused)]
    assert len(answered) == 6, "no letter is read twice"
    assert files(images, root, "--budget", 4).code == 3
    run = gtloop.open(root)
    assert (run.settings.run.budget_usd, run.settings.run.workers) == (4, 5), "a command changes what it says anew"
    folded(root)


def _awaiting_a_letter(root: Path, given: Any) -> None:
    """Drive a run, but go on after a batch only once there is a letter, or a minute has passed."""
    from gtloop.registry import Registry
    from gtloop.run import run_or_resume

    @gtloop.hookimpl
    def gtloop_event(event: Any) -> None:
        if isinstance(event, BatchCommitted):
            ledger, end = gtloop.open(root)._ledger, time.monotonic() + 60
            while not ledger.letters() and time.monotonic() < end:
                time.sleep(0.01)

    module = types.ModuleType("awaiting")
    module.gtloop_event = gtloop_event  # type: ignore[attr-defined]
    run_or_resume(root, given, Registry.load(extra_modules=[module]))


def test_a_letter_to_a_run_that_is_under_way(images: Path, tmp_path: Path) -> None:
    """A driver in another process; this one raises its workers, and the next batch asks for as many.

    The driver waits for it after its first batch, or on a busy machine it may have asked for all before.
    """
    root = tmp_path / "run"
    given = runs.settings(
        images, images.parent / "truth.jsonl", sizes__validation=20, sizes__batch=5, sizes__look_at=70
    )
    child = runs.context.Process(target=_awaiting_a_letter, args=(root, given))
    child.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            run = gtloop.open(root)
            if any(isinstance(e.event, BatchCommitted) for e in run.events()):
                break
        except Exception:
            time.sleep(0.01)
    run.change(**{"run.workers": 2})
    child.join(120)
    assert child.exitcode == 0
    run = gtloop.open(root)
    assert [e.event.letter for e in run.events() if isinstance(e.event, SettingsChanged)] == [1]
    asked = [set(run.store.read(b.requests)["answers"].tolist()) for b in run.state.facts.batches.values()]
    assert asked[0] == {3}
    assert asked[-1] == {2}


def test_status_and_export_while_another_process_drives(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    given = runs.settings(
        images, images.parent / "truth.jsonl", sizes__validation=20, sizes__batch=2, sizes__look_at=70
    )
    child, threads = runs.spawn(root, given), threading.active_count()
    states, rows = [], set()
    while child.is_alive() or not states:
        ended = cli("status", root, "--json")
        if ended.code:
            assert "holds no run" in ended.error or "never started" in ended.error
            continue
        states.append(json.loads(ended.out))
        rows.add(len(runs.exported(root)))
    child.join()
    assert child.exitcode == 0
    assert rows == {80}
    assert len(states) > 2
    for found in states:
        items = dict(found["items"])
        assert items.pop("total") == sum(items.values())
    assert runs.status(root)["state"] == "finished"
    assert threading.active_count() < threads + 20


def test_change_is_checked_before_it_is_posted(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert files(images, root, "--budget", 2).code == 3
    run = gtloop.open(root)
    for key, value in {"run.seed": 3, "promise.delta": 0.5, "run.budgt": 3, "run.budget_usd": "much"}.items():
        with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
            run.change(**{key: value})
    assert run._ledger.letters() == []


@pytest.mark.parametrize("usd", [1, 2.5, 4.4])
def test_a_budget_raised_later_buys_the_same_as_one_raised_at_once(images: Path, tmp_path: Path, usd: float) -> None:
    """What a small budget cut short is made up: the validation images, the training images, and the look."""
    assert cli(*small(images, tmp_path / "whole", *PAID, *LOOSE)).code == 0
    assert cli(*small(images, tmp_path / "run", *PAID, *LOOSE, "--budget", usd)).code == 4
    assert cli(*small(images, tmp_path / "run", *PAID, *LOOSE, "--budget", 1000)).code == 0
    whole, found = runs.status(tmp_path / "whole"), runs.status(tmp_path / "run")
    assert whole["items"]["machine"] > 0
    assert found["items"] == whole["items"]
    assert found["cost_usd"] == whole["cost_usd"]
    # Batches are cut elsewhere, so that labels are made with other knowledge of the workers.
    assert found["promise"]["certified"] == pytest.approx(whole["promise"]["certified"], abs=0.03)


@pytest.mark.parametrize("change", [("--detector", "predictions"), ("-o", "detectors.stub.min_area=4")])
def test_another_detector_or_other_options_of_it_fit_anew(
    images: Path, tmp_path: Path, change: tuple[str, ...]
) -> None:
    root, late = tmp_path / "run", ("-o", "sizes.look_at=70")
    path = ("-o", f"detectors.predictions.path={images.parent / 'truth.jsonl'}")
    assert cli(*small(images, root, *PAID, *late, *path, "--budget", 8)).code == 4
    assert [m for m in _models(root) if ".g" not in m], "it had a model"
    ended = cli(*small(images, root, *PAID, *late, *path, "--budget", 50, *change))
    assert ended.code == 0, ended.err
    assert [m for m in _models(root) if m.endswith(".g1")], "the old model is of no use to it"


# ---------------------------------------------------------------------------------------------- price models


def test_objects_time_and_fees_are_in_the_bill_and_in_what_people_alone_would_cost(
    images: Path, tmp_path: Path
) -> None:
    """Recomputed from each answer: $0.01, $0.02 a box up to two, $36 an hour up to a minute, a fifth on top."""
    root = tmp_path / "run"
    model = {"answer_usd": 0.01, "object_usd": 0.02, "objects_most": 2, "hour_usd": 36, "seconds_most": 60}
    model |= {"fee_share": 0.2, "fee_min_usd": 0.01, "compute_usd_hour": 1}
    given = [x for k, v in model.items() for x in ("-o", f"prices.{k}={v}")]
    assert cli(*small(images, root, *LOOSE, *given, "--budget", 900)).code == 0
    folded(root)
    run, found = gtloop.open(root), runs.status(root)
    pay, fees, seconds, blind = 0.0, 0.0, 0.0, []
    for _, purpose, answers in run.answers():
        for a in answers:
            boxes = len(a.payload["boxes"]) if a.outcome == "label" else 0
            due = 0.01 + 0.02 * min(2, boxes) + 0.01 * min(60.0, a.active_seconds)
            assert (a.price, a.fee) == pytest.approx((due * 1e6, max(0.01, 0.2 * due) * 1e6), abs=1)
            pay, fees, seconds = pay + due, fees + max(0.01, 0.2 * due), seconds + a.active_seconds
            if purpose in ("validation", "control"):
                blind.append((due + max(0.01, 0.2 * due), a.active_seconds))
    assert found["cost_usd"]["human"] == pytest.approx(pay, abs=1e-3)
    assert found["cost_usd"]["fees"] == pytest.approx(fees, abs=1e-3)
    times = [s for e in run.events() if (s := getattr(e.event, "seconds", None))]
    assert found["cost_usd"]["compute"] == pytest.approx(sum(times) / 3600, abs=1e-4)
    cost, pace = (sum(x) / len(blind) for x in zip(*blind, strict=True))
    assert found["cost_usd"]["if_all_human"] == pytest.approx(80 * 3 * cost, rel=1e-4)
    assert found["hours"]["human"] == pytest.approx(seconds / 3600)
    assert found["hours"]["if_all_human"] == pytest.approx(80 * 3 * pace / 3600)
    assert found["wage_usd_hour"] == pytest.approx(pay / (seconds / 3600), rel=1e-3)
    assert "paid" in found["summary"]


def test_hours_where_nobody_is_paid(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert cli(*small(images, root, *LOOSE, "-o", "prices.answer_usd=0")).code == 0
    found = runs.status(root)
    assert found["items"]["machine"] > 0
    assert (found["saving"], found["wage_usd_hour"], found["cost_usd"]["if_all_human"]) == (None, None, 0)
    hours = found["hours"]
    assert hours["saving"] == pytest.approx(1 - hours["human"] / hours["if_all_human"])
    assert f"of people's time, {hours['saving']:.0%} saved" in found["summary"]


def test_answers_that_never_come_are_no_saving(images: Path, tmp_path: Path) -> None:
    """People label everything; a third of the requests expire early, and so they would for people alone."""
    root, expire = tmp_path / "run", ("-o", "annotators.synthetic.expire=0.3")
    assert cli(*small(images, root, "-o", "prices.answer_usd=0.1", *expire, "--target", 0.999)).code == 0
    found = runs.status(root)
    assert found["items"]["machine"] == 0
    assert found["annotations"] < 0.9 * 3 * found["items"]["human"]
    assert found["saving"] < 0.03


def test_computing_stops_between_steps_and_says_by_how_much_it_overran(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    dear = ("-o", "prices.compute_usd_hour=1e9")
    ended = cli(*small(images, root, *PAID, *LOOSE, *dear, "--budget", 9))
    assert ended.code == 4, ended.err
    run, bill = gtloop.open(root), gtloop.open(root).state.facts.bill
    steps = [e.event for e in run.events() if getattr(e.event, "seconds", 0)]
    assert len(steps) == 1, "one step spent it all"
    assert bill.total - bill.compute <= micro(9) < bill.total
    why = [e.event.why for e in run.events() if e.event.type == "run-paused"]
    assert f"the last step took ${(bill.total - micro(9)) / 1e6:,.2f} more than was left" in why[-1]
    assert cli(*small(images, root, *PAID, *LOOSE, *dear, "--budget", 9)).code == 4
    assert gtloop.open(root).state.facts.bill == bill
    assert cli(*small(images, root, *PAID, *LOOSE, "-o", "prices.compute_usd_hour=0", "--budget", 1e9)).code == 0


def test_a_budget_below_the_minimum_is_refused(images: Path, tmp_path: Path) -> None:
    least = ("-o", "prices.minimum_usd=25")
    ended = cli(*small(images, tmp_path / "run", *PAID, *least, "--budget", 20))
    assert (ended.code, "give $25.00 or more" in ended.error) == (2, True)
    assert not (tmp_path / "run").exists()
    assert cli(*small(images, tmp_path / "run", *PAID, *least, "--budget", 25)).code in (0, 4)
    folded(tmp_path / "run")


def test_a_waiting_run_counts_the_answers_that_came(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert files(images, root).code == 3
    assert "answer" not in runs.status(root)["summary"]
    request = json.loads(next(root.rglob("requests.jsonl")).read_text().splitlines()[1])
    rid = request.get("request") or request["id"]
    line = {"request": rid, "worker": "ann", "outcome": "empty"}
    (next(root.rglob("requests.jsonl")).parent / "answers.jsonl").write_text(json.dumps(line) + "\n")
    assert files(images, root).code == 3
    assert "; 1 answer so far" in runs.status(root)["summary"]


def _models(root: Path) -> list[str]:
    return [e.event.model for e in gtloop.open(root).events() if e.event.type == "model-fitted"]
