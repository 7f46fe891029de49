"""Changing one's mind: each wish is an event, answered at once or by the driver, and survives a kill."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
import runs

import gtloop
from gtloop.recheck import _led
from gtloop.registry import Registry
from gtloop.testing.fakes import tiny_items, tiny_truth


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_images(tmp_path_factory.mktemp("change"), 60)[0]


def events(root: Path) -> list[str]:
    return [e.event.type for e in gtloop.open(root).events()]


def more_images(folder: Path, n: int, seed: int = 5) -> tuple[Path, Path]:
    """Other images, whose names are those of the first ones, with their truth."""
    return runs.make_images(folder, n, seed=seed)


def finished(images: Path, root: Path, *more: object) -> dict:
    ended = runs.cli(*runs.small(images, root, *more))
    assert ended.code == 0, ended.err
    return runs.status(root)


def test_relabel_by_name_and_by_condition(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    before = finished(images, root)
    name = next(iter(runs.exported(root)))
    assert runs.cli("relabel", root, name, "--why", "looks wrong").code == 0
    waiting = runs.status(root)
    assert waiting["state"] == "running"
    assert waiting["items"]["pool"] == 1
    row = runs.exported(root)[name]
    assert row["payload"] is None
    assert row["reason"] == "to be labelled again"
    ended = runs.cli("run", "--run", root)
    assert ended.code == 0, ended.err
    after = runs.status(root)
    assert after["annotations"] == before["annotations"] + 3
    assert after["iterations"][-1]["phase"] == "relabel"
    assert after["items"] == before["items"]
    again = runs.exported(root)[name]
    assert again["source"] == "human"
    assert again["iteration"] == after["iterations"][-1]["n"]
    assert events(root).count("run-finished") == 2
    crates = [n for n, r in runs.exported(root).items() if "crate" in json.dumps(r["payload"])]
    assert runs.cli("relabel", root, "--category", "crate").code == 0
    assert runs.status(root)["items"]["pool"] == len(crates)


def test_relabelled_machine_labels_become_human(images: Path, tmp_path: Path) -> None:
    root, given = tmp_path / "run", runs.settings(*runs.make_images(tmp_path / "more", 180))
    runs.run_here(root, given)
    machine = [n for n, r in runs.exported(root).items() if r["source"] == "machine"]
    assert len(machine) > 3
    again = [label.row for label in gtloop.open(root).labels() if label.source == "machine"][:3]
    gtloop.open(root).relabel(again)
    outcome, found = runs.run_here(root, given)
    run = gtloop.open(root)
    tables = [run.store.read(ref, ["row", "voted"]) for ref in run.state.facts.human_files]
    voted = {int(row): bool(v) for t in tables for row, v in zip(t["row"], t["voted"], strict=True)}
    assert any(voted.values()), "a model votes on training items"
    assert not any(voted[row] for row in again), "but not where it may be its own label"
    assert {row for row, v in voted.items() if v} <= set(_led(run).tolist())
    assert outcome == "finished"
    assert found["items"]["machine"] == len(machine) - 3
    assert sum(r["source"] == "machine" for r in runs.exported(root).values()) == len(machine) - 3


def test_pause_stops_a_driver_and_run_goes_on(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    slow = runs.small(images, root, "--annotator", "files")
    assert runs.cli(*slow).code == 3
    assert runs.cli("pause", root, "--why", "holiday").code == 0
    assert runs.status(root)["state"] == "paused: asked"
    refused = runs.cli("pause", root)
    assert refused.code == 1
    assert "paused already" in refused.error
    assert runs.cli(*slow).code == 3
    assert runs.status(root)["state"] == "waiting"
    assert events(root)[-1] == "run-resumed"


def test_pause_is_read_by_the_process_that_drives(tmp_path: Path) -> None:
    images, truth = runs.make_images(tmp_path / "more", 180)
    given, root = runs.settings(images, truth), tmp_path / "run"
    ended: list[str] = []
    driver = threading.Thread(target=lambda: ended.append(runs.run_here(root, given)[0]))
    driver.start()
    while not (root / "requests").is_dir():
        time.sleep(0.01)
    said = runs.cli("pause", root)
    driver.join()
    assert said.code == 0
    assert ended in (["paused"], ["finished"])
    assert runs.run_here(root, given)[0] == "finished"


def test_cancel_withdraws_and_ends(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    files = runs.small(images, root, "--annotator", "files")
    assert runs.cli(*files).code == 3
    open_requests = (root / "annotator/files/requests.jsonl").read_text().splitlines()
    assert len(open_requests) == 5
    ended = runs.cli("cancel", root, "--why", "no money")
    assert ended.code == 0, ended.err
    assert "cancelled" in ended.out
    found = runs.status(root)
    assert found["state"] == "cancelled"
    assert found["cost_usd"]["reserved"] == 0
    assert (root / "annotator/files/requests.jsonl").read_text() == ""
    assert {r["reason"] for r in runs.exported(root).values()} == {"the run was cancelled"}
    assert runs.cli(*files).code == 0
    assert "cancelled" in runs.cli("cancel", root).error
    for wish in (
        ("add", root, images),
        ("relabel", root, "tiny_000.png"),
        ("import", root, images.parent / "truth.jsonl"),
    ):
        refused = runs.cli(*wish)
        assert refused.code == 1
        assert "--labels" in refused.error


def test_added_images_get_their_own_validation(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    before = finished(images, root)
    folder, truth = more_images(tmp_path / "second", 40)
    assert runs.cli("add", root, folder, "--truth", truth).code == 0
    found = runs.status(root)
    assert found["items"]["total"] == 100
    assert found["items"]["pool"] == 40
    ended = runs.cli("run", "--run", root)
    assert ended.code == 0, ended.err
    after = runs.status(root)
    assert after["stage"] == 2
    assert after["items"]["human"] + after["items"]["machine"] == 100
    assert [i["phase"] for i in after["iterations"][len(before["iterations"]) :]][:2] == ["probe", "validation"]
    opened = gtloop.open(root)
    assert (opened.state.role[:60] != 2).all(), "old validation items train"
    assert (opened.state.role[60:] == 2).any(), "new images validate"
    rows = runs.exported(root)
    assert {"tiny_000.png", "images/tiny_000.png"} <= rows.keys(), "a name that is taken is preceded by the folder's"
    report = json.loads(runs.cli("report", root, "--json").out)
    assert report["quality"]["all"]["count"] == 100
    refused = runs.cli("add", root, folder, "--truth", truth)
    assert refused.code == 1
    assert "in the run already" in refused.error


def test_images_added_in_the_middle_wait_for_their_turn(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    files = runs.small(images, root, "--annotator", "files")
    assert runs.cli(*files).code == 3
    folder, _ = more_images(tmp_path / "second", 10)
    assert runs.cli("add", root, folder).code == 0
    rows = runs.exported(root)
    assert {r["status"] for n, r in rows.items() if n.startswith("images/")} == {"later"}
    assert runs.status(root)["stage"] == 1


def test_added_images_need_their_truth(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    finished(images, root)
    folder, truth = more_images(tmp_path / "second", 10)
    assert "--truth" in runs.cli("add", root, folder).error
    empty = tmp_path / "none"
    empty.mkdir()
    assert runs.cli("add", root, empty, "--truth", truth).code == 1
    assert runs.status(root)["items"]["total"] == 60
    assert events(root).count("letter-refused") == 2


def test_rename_and_merge_categories(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    finished(images, root)
    before = runs.exported(root)
    assert runs.cli("categories", root).out.split() == ["crate", "drum"]
    assert runs.cli("categories", root, "--rename", "crate=box").code == 0
    after = runs.exported(root)
    assert {n: json.dumps(r["payload"]).replace("crate", "box") for n, r in before.items()} == {
        n: json.dumps(r["payload"]) for n, r in after.items()
    }
    report = json.loads(runs.cli("report", root, "--json").out)
    assert report["quality"]["all"]["mean"] > 0.5, "the truth is renamed too"
    for wrong, words in (
        (("--rename", "crate=x"), "no category is named 'crate'"),
        (("--rename", "box=drum"), "--merge box=drum"),
        (("--merge", "box=barrel"), "no category is named 'barrel'"),
        (("--rename", "drum=crate"), "was the name of another category"),
        (("--rename", "drum"), "OLD=NEW"),
    ):
        refused = runs.cli("categories", root, *wrong)
        assert refused.code == 2, refused.out
        assert words in refused.error
    assert runs.cli("categories", root, "--merge", "box=drum").code == 0
    assert runs.cli("categories", root).out.split() == ["drum"]
    assert all("box" not in json.dumps(r["payload"]).replace("boxes", "") for r in runs.exported(root).values())
    ended = runs.cli(*runs.small(images, root))
    assert ended.code == 0, ended.err
    assert runs.cli(*runs.small(images, root, classes="drum")).code == 0


def test_a_run_goes_on_after_a_rename_in_its_middle(tmp_path: Path) -> None:
    images, truth = runs.make_images(tmp_path / "more", 180)
    given, root = runs.settings(images, truth), tmp_path / "run"
    child = runs.spawn(root, given, kill_at=14)
    child.join()
    assert runs.cli("categories", root, "--rename", "drum=barrel").code == 0
    outcome, found = runs.run_here(root, given)
    assert outcome == "finished"
    assert found["items"]["human"] + found["items"]["machine"] == 180
    named = {c for r in runs.exported(root).values() for c in [b["category"] for b in r["payload"]["boxes"]]}
    assert named == {"crate", "barrel"}


def test_a_chained_job_asks_only_for_what_is_missing(images: Path, tmp_path: Path) -> None:
    first, second, labels = tmp_path / "first", tmp_path / "second", tmp_path / "labels.jsonl"
    finished(images, first)
    rows = list(runs.exported(first).values())
    people = [r for r in rows if r["source"] == "human"][:25]
    labels.write_text("".join(json.dumps(r) + "\n" for r in people))
    found = finished(images, second, "--labels", labels)
    assert found["imported"] == 25
    requests = {
        int(row)
        for b in gtloop.open(second).state.facts.batches.values()
        for row in gtloop.open(second).store.read(b.requests, ["row"])["row"]
    }
    known = {r["row"] for r in people}
    assert not requests & known
    assert len(requests) == found["items"]["human"] - 25
    assert found["cost_usd"]["if_all_human"] == pytest.approx(35 * 3 * 0.036)
    mine = runs.exported(second)
    assert all(mine[r["name"]]["payload"] == r["payload"] for r in people)
    assert {mine[r["name"]]["consolidation"] for r in people} == {"imported"}


def test_machine_labels_are_no_human_labels(images: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    entry = {"name": "tiny_000.png", "payload": {"boxes": []}, "source": "machine"}
    labels.write_text(json.dumps(entry) + "\n")
    refused = runs.cli(*runs.small(images, tmp_path / "run", "--labels", labels))
    assert refused.code == 1, refused.err
    assert "1 made by a machine" in refused.error
    assert not (tmp_path / "run" / "ledger.sqlite").exists() or runs.cli("status", tmp_path / "run").code != 0


def test_labels_imported_in_the_middle_begin_a_new_stage(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    files = runs.small(images, root, "--annotator", "files")
    assert runs.cli(*files).code == 3
    asked = {
        int(r)
        for b in gtloop.open(root).state.facts.batches.values()
        for r in gtloop.open(root).store.read(b.requests)["row"]
    }
    truth = tiny_truth("bbox", 60)
    names = [i.name for i in tiny_items(tmp_path / "scratch", 60)]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps({"name": n, "payload": p}) + "\n" for n, p in zip(names, truth, strict=True)))
    assert runs.cli("import", root, f"jsonl:{labels}").code == 0
    found = runs.status(root)
    assert found["imported"] == 60 - len(asked)
    assert found["stage"] == 2, "validation is drawn anew from what is left"
    assert events(root)[-2:] == ["labels-imported", "stage-started"]
    refused = runs.cli("import", root, labels)
    assert "no human label that is missing" in refused.error


def test_a_model_is_exported_predicts_and_starts_another_run_warm(images: Path, tmp_path: Path) -> None:
    root, model = tmp_path / "run", tmp_path / "model"
    finished(images, root)
    assert runs.cli("export", root, "--format", "model", "--out", model).code == 0
    assert runs.cli("export", root, "--format", "model", "--out", model).code == 0, "an earlier export is replaced"
    card = json.loads((model / "gtloop-model.json").read_text())
    assert card["categories"] == ["crate", "drum"]
    out = tmp_path / "predicted.jsonl"
    ended = runs.cli("predict", model, images, "--out", out)
    assert ended.code == 0, ended.err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 60
    assert {r["source"] for r in rows} == {"machine"}
    coco = tmp_path / "predicted.json"
    assert runs.cli("predict", root, images, "--out", coco, "--format", "coco").code == 0
    assert len(json.loads(coco.read_text())["images"]) == 60
    found = finished(images, tmp_path / "warm", "--warm-from", model)
    assert found["state"] == "finished"
    opened = gtloop.open(tmp_path / "warm")
    assert (opened.root / opened.state.facts.warm).is_dir()
    first = {int(r) for r in gtloop.open(root).store.read(gtloop.open(root).state.facts.batches[1].requests)["row"]}
    other = {int(r) for r in opened.store.read(opened.state.facts.batches[1].requests)["row"]}
    assert first != other, "what a model may have seen must not tell what validates"
    refused = runs.cli(*runs.small(images, tmp_path / "x", "--warm-from", model, classes="crate,drum,tin"))
    assert refused.code == 2
    assert "categories" in refused.error
    assert "neither a run nor" in runs.cli("predict", tmp_path, images).error


def test_a_run_without_a_model_has_none_to_give(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert runs.cli(*runs.small(images, root, "--annotator", "files")).code == 3
    refused = runs.cli("export", root, "--format", "model")
    assert refused.code == 1
    assert "no model yet" in refused.error


@pytest.mark.slow
def test_killed_at_every_event_of_an_addition_and_a_relabelling(tmp_path: Path) -> None:
    """The same letters, taken in and worked off without a kill, and with one after every event."""
    images, truth = runs.make_images(tmp_path / "first", 40)
    folder, more = more_images(tmp_path / "second", 40)
    sizes = {"sizes__validation": 10, "sizes__train": 10, "sizes__batch": 10, "sizes__look_at": 20}
    given = runs.settings(images, truth, promise__cross_fit=0, **sizes)

    def prepared(root: Path) -> Path:
        runs.run_here(root, given)
        opened = gtloop.open(root)
        opened.relabel([0, 1, 2])
        opened.add(str(folder), str(more))
        opened.rename_categories({"crate": "box"})
        return root

    whole = prepared(tmp_path / "whole")
    before = len(events(whole))
    runs.run_here(whole, given)
    expected, total = runs.facts(whole), len(events(whole)) - before
    broken = prepared(tmp_path / "broken")
    for _ in range(total + 1):
        child = runs.spawn(broken, given, kill_at=1)
        child.join()
        if child.exitcode == 0:
            break
    assert child.exitcode == 0
    assert runs.facts(broken) == expected
    assert len(events(broken)) - before == total
    assert Registry.load().failed == []
