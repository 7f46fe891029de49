"""Whole runs through the command line: outside tools, difficult people, the ground-truth preset, no network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import runs
from runs import cli, small

import gtloop
from gtloop.money import micro

PRICE = ("-o", "prices.answer_usd=0.036", "-o", "prices.item_fee_usd=0.08")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found, _ = runs.make_images(tmp_path_factory.mktemp("source"), 80)
    return found


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file of a run but the driver's lock and SQLite's side files."""
    skip = ("driver.lock", "ledger.sqlite-wal", "ledger.sqlite-shm")
    return {str(p): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file() and p.name not in skip}


# ------------------------------------------------------------------------------------- annotator files


class Tool:
    """An outside tool: reads ``requests.jsonl``, appends to ``answers.jsonl``; knows the truth."""

    def __init__(self, images: Path, root: Path) -> None:
        self.folder = root / "annotator" / "files"
        lines = (images.parent / "truth.jsonl").read_text().splitlines()
        self.truth = {r["name"]: r["payload"] for r in map(json.loads, lines)}

    def requests(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "requests.jsonl").read_text().splitlines()]

    def answers(self, request: dict[str, Any], n: int | None = None) -> list[str]:
        payload = self.truth[Path(request["image"]).name]
        outcome = "label" if payload["boxes"] else "empty"
        said = {"request": request["id"], "outcome": outcome, "payload": payload if payload["boxes"] else None}
        return [json.dumps({**said, "worker": f"w{k}"}) for k in range(n or request["answers"])]

    def write(self, lines: list[str]) -> None:
        with (self.folder / "answers.jsonl").open("a") as file:
            file.writelines(line + "\n" for line in lines)

    def rejected(self) -> list[dict[str, Any]]:
        path = self.folder / "answers.rejected.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def by_files(images: Path, root: Path, *more: object) -> runs.Ended:
    command = small(images, root, *PRICE, *more)
    at = command.index("--truth")
    return cli(*command[:at], *command[at + 2 :], "--annotator", "files")


def test_an_outside_tool_labels_over_many_runs_and_nothing_is_lost_or_paid_twice(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    ended = by_files(images, root, "--budget", 30)
    assert ended.code == 3, ended.err
    tool = Tool(images, root)
    assert str(tool.folder / "requests.jsonl") in ended.out, "a waiting run says where the work is"
    assert str(tool.folder / "answers.jsonl") in ended.out
    assert len(tool.requests()) == 5

    first = tool.requests()[0]
    bad = [
        "not json",
        json.dumps({"request": "unknown", "worker": "w", "outcome": "empty"}),
        json.dumps({"request": first["id"], "worker": "w", "outcome": "maybe"}),
        json.dumps({"request": first["id"], "worker": "w", "outcome": "label", "payload": {"boxes": [{"x": 1}]}}),
        json.dumps({"request": first["id"], "worker": "w", "outcome": "label"}),
    ]
    tool.write([bad[0], *tool.answers(first, 1), *bad[1:]])
    assert by_files(images, root, "--budget", 30).code == 3
    assert [e["line"] for e in tool.rejected()] == bad
    assert all(e["reason"] for e in tool.rejected())
    assert gtloop.open(root).state.facts.annotations == 1

    tool.write(tool.answers(first, 1) * 3)  # the same again: counts once
    assert by_files(images, root, "--budget", 30).code == 3
    state = gtloop.open(root).state
    assert (state.facts.annotations, state.facts.bill.human) == (1, micro(0.036))
    assert state.facts.bill.total + state.facts.bill.reserved == 5 * micro(3 * 0.036 + 0.08)

    calls, code = 0, 3
    while code == 3:
        for request in tool.requests():
            tool.write(tool.answers(request))
        code = by_files(images, root, "--budget", 30).code
        calls += 1
        assert calls < 20
    assert code == 0
    assert calls > 2
    found = runs.status(root)
    assert found["state"] == "finished"
    assert found["annotations"] == 3 * found["items"]["human"]
    assert found["cost_usd"]["human"] == pytest.approx(3 * 0.036 * found["items"]["human"])
    assert found["cost_usd"]["fees"] == pytest.approx(0.08 * found["items"]["human"])
    assert found["cost_usd"]["reserved"] == 0
    answers = runs.facts(root)["answers"]
    assert len({a[0] for a in answers}) == len(answers) == found["annotations"]
    assert len(tool.rejected()) == len(bad)
    rows = runs.exported(root)
    assert len(rows) == 80
    assert all(row["payload"] is not None for row in rows.values())


def test_a_tool_that_writes_its_file_anew_pays_nothing_twice(images: Path, tmp_path: Path) -> None:
    """More lines than one ``collect`` brings, so that what is known must be passed by."""
    root = tmp_path / "run"
    more = ("-o", "sizes.look_at=200", "--workers", "20")
    assert by_files(images, root, *more).code == 3
    tool = Tool(images, root)
    lines: list[str] = []
    code = 3
    while code == 3:
        lines = [*lines, *(a for r in tool.requests() for a in tool.answers(r) if a not in lines)]
        (tool.folder / "answers.jsonl").write_text("".join(f"{line}\n" for line in reversed(lines)))
        code = by_files(images, root, *more).code
    assert code == 0
    assert len(lines) > 1200
    found = runs.status(root)
    assert found["annotations"] == 20 * found["items"]["human"] == len(lines)
    assert found["cost_usd"]["human"] == pytest.approx(0.036 * len(lines))


# ------------------------------------------------------------------------------------ difficult people


@pytest.mark.parametrize(
    "options",
    [
        {"decline": 0.7, "workers": 6},
        {"expire": 0.6},
        {"cannot_tell": 0.8},
        {"cannot_tell": 1.0},
        {"expire": 1.0, "decline": 0.5, "cannot_tell": 0.5, "workers": 4},
        {"workers": 2},
    ],
    ids=lambda o: ",".join(f"{k}={v}" for k, v in o.items()),
)
def test_people_who_do_not_answer_end_the_run_all_the_same(
    images: Path, tmp_path: Path, options: dict[str, float]
) -> None:
    root = tmp_path / "run"
    given = [x for k, v in options.items() for x in ("-o", f"annotators.synthetic.{k}={v}")]
    ended = cli(*small(images, root, *PRICE, *given, "-o", "sizes.validation=30", "--budget", 1000))
    assert ended.code == 0, ended.err
    found, rows = runs.status(root), runs.exported(root)
    items = dict(found["items"])
    assert items.pop("total") == sum(items.values()) == len(rows) == 80
    assert items["pool"] == 0
    assert found["cost_usd"]["reserved"] == 0
    assert 0 <= found["saving"] <= 1
    unlabelled = [row for row in rows.values() if row["payload"] is None]
    assert len(unlabelled) == items["unlabelable"]
    assert all(row["status"] == "unlabelable" and row["reason"] for row in unlabelled)
    if options.get("cannot_tell", 0) >= 0.8:
        assert unlabelled, "the people of this case leave images without a label"


def test_validation_images_without_a_label_count_as_quality_0(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    more = ("-o", "annotators.synthetic.cannot_tell=0.7", "-o", "sizes.validation=40", "-o", "sizes.train=20")
    assert cli(*small(images, root, *more)).code == 0
    run = gtloop.open(root)
    look = next(p for p in (root / "looks").glob("look-*.parquet"))
    table = run.store.read_path(str(look.relative_to(root)))
    labelled = {label.row for label in run.labels() if label.source == "human"}
    quality = {
        int(r): q for r, q, e in zip(table["row"], table["quality"], table["exact"], strict=True) if q == q and e
    }
    without = [r for r in quality if r not in labelled]
    assert without, "the people of this run leave validation images without a label"
    assert all(quality[r] == 0 for r in without)
    assert sum(quality[r] > 0 for r in quality) > 0


# ---------------------------------------------------------------------------------- ground-truth, status

KEYS = {
    "run", "task", "annotator", "detector", "sampler", "preset", "state", "items", "annotations", "cost_usd", "saving",
    "saving_items", "promise", "iterations",
}  # fmt: skip


def check_status(found: dict[str, Any]) -> None:
    """What design section 4 says of ``gtloop status RUN --json``."""
    assert found.keys() >= KEYS
    items = dict(found["items"])
    assert items.keys() == {"total", "human", "machine", "pool", "quarantined", "unlabelable", "aliases"}
    assert items.pop("total") == sum(items.values())
    assert found["cost_usd"].keys() >= {"human", "machine", "fees", "total", "if_all_human"}
    assert found["saving"] is None or 0 <= found["saving"] <= 1
    assert 0 <= found["saving_items"] <= 1
    promise = {"kind", "metric", "target", "delta", "rule", "exact", "certified", "estimated", "measured"}
    assert found["promise"].keys() >= promise
    keys = {"n", "human", "machine", "threshold", "certified", "coverage", "cost_usd", "seconds", "objects"}
    for row in found["iterations"]:
        assert row.keys() >= keys
        assert row["objects"].keys() == {"human", "machine"}
    assert sum(r["human"] for r in found["iterations"]) == items["human"]
    assert sum(r["machine"] for r in found["iterations"]) == items["machine"]


@pytest.mark.parametrize("task", ["bbox", "classification"])
def test_preset_ground_truth_certifies_every_round_by_its_own_rule(tmp_path: Path, task: str) -> None:
    images, _ = runs.make_images(tmp_path / "source", 150, task)
    root = tmp_path / "run"
    sizes = [x for k, v in {"validation": 30, "train": 20, "batch": 20}.items() for x in ("-o", f"sizes.{k}={v}")]
    target = ("--target", "0.9999") if task == "bbox" else ()  # so that more than one round is needed
    ended = cli(*small(images, root, "--preset", "ground-truth", "--task", task, *sizes, *target), "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    check_status(found)
    assert found["outcome"] == "finished"
    assert (found["preset"], found["promise"]["rule"]) == ("ground-truth", "empirical")
    assert found["promise"]["certified"] is None
    run = gtloop.open(root)
    assert run.settings.run.workers == (5 if task == "bbox" else 3)
    events = [e.event for e in run.events()]
    batches = [e for e in events if e.type == "batch-committed"]
    looks = [e for e in events if e.type == "looked"]
    assert [b.phase for b in batches[:3]] == ["probe", "validation", "train"]
    assert {b.phase for b in batches[3:]} <= {"active"}, "no rest: every round is certified"
    assert all(b.moved is None for b in batches), "picking is not symmetric"
    fits = [e.model for e in events if e.type == "model-fitted"]
    assert [e.model for e in looks] == fits, "one look for each model"
    assert found["promise"]["looks"] == len(looks)
    cost = found["cost_usd"]
    assert cost["machine"] == pytest.approx(0.08 * found["items"]["machine"])
    if task == "bbox":
        assert len(looks) > 1
        assert cost["if_all_human"] == pytest.approx(150 * 0.26)
        assert cost["human"] + cost["fees"] == pytest.approx(0.26 * found["items"]["human"])


def test_status_before_and_after(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert cli(*small(images, root, "--budget", "2")).code == 4
    check_status(runs.status(root))
    shown = cli("status", root)
    assert shown.code == 0
    assert shown.out.strip()
    assert cli(*small(images, root, "--budget", "20")).code == 0
    check_status(runs.status(root))


def test_people_who_cost_nothing_have_no_saving(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert cli(*small(images, root, "-o", "prices.answer_usd=0")).code == 0
    found = runs.status(root)
    check_status(found)
    assert found["saving"] is None


# ------------------------------------------------------------------------------------------ run again


def test_a_finished_run_is_left_as_it_is(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    command = small(images, root)
    assert cli(*command).code == 0
    before = snapshot(root)
    ended = cli(*command, "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["outcome"] == "finished"
    assert cli("status", root).code == 0
    assert snapshot(root) == before


def test_settings_from_a_file_and_its_folder(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``init``, then ``run``, ``status`` and ``export`` without a word about where things are."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(images, tmp_path / "photos")
    shutil.copy(images.parent / "truth.jsonl", tmp_path)
    assert cli("init", "photos", "--classes", "crate,drum").code == 0
    assert cli("init", "photos").code == 2
    more = ("--detector", "stub", "--annotator", "synthetic", "--truth", "truth.jsonl")
    ended = cli("run", *more, "-o", "sizes.validation=20", "-o", "sizes.train=10")
    assert ended.code == 0, ended.err
    assert "Finished" in ended.out
    assert json.loads(cli("status", "--json").out)["items"]["total"] == 80
    assert "80 rows written" in cli("export", "--format", "coco").out


OFFLINE = """
import socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("the network was used")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from gtloop.cli import main
main(sys.argv[1:])
"""


def test_a_run_needs_no_network(images: Path, tmp_path: Path) -> None:
    command = [str(a) for a in small(images, tmp_path / "run")]
    ended = subprocess.run([sys.executable, "-c", OFFLINE, *command], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "Finished" in ended.stdout
