"""Bad images, bad files, bad settings, bad plugins: one line that says what to do, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
import tempfile
import types
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
from PIL import Image
from runs import cli, small

import gtloop
from gtloop.errors import ConfigError
from gtloop.interfaces import Pick, Sampler, Score
from gtloop.state import State
from gtloop.testing.fakes import CATEGORIES
from gtloop_plugins.detectors.stub import Stub
from gtloop_plugins.tasks.bbox import BBox

NOBODY = 65534


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 sound images, with ``truth.jsonl`` beside their folder; not to be changed."""
    images, _ = runs.make_images(tmp_path_factory.mktemp("source"), 40)
    return images


@pytest.fixture
def images(source: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(source.parent, tmp_path / "data")
    return tmp_path / "data" / "images"


def bomb(path: Path) -> None:
    """A PNG of a few hundred bytes whose header claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")))


def truncated(path: Path) -> None:
    Image.effect_noise((96, 64), 80).convert("RGB").save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:900])


BAD: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "bad_empty.jpg": ("empty", lambda p: p.write_bytes(b"")),
    "bad_truncated.jpg": ("truncated", truncated),
    "bad_text.jpg": ("not an image", lambda p: p.write_text("hello, this is a text\n")),
    "bad_bomb.png": ("too large", bomb),
    "bad_link.jpg": ("no such file", lambda p: p.symlink_to("nowhere.jpg")),
}


@contextmanager
def somebody_else(images: Path) -> Iterator[Path]:
    """A folder with a copy of ``images``, and a user whom permissions bind (root is not bound; others are already)."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    shutil.copytree(images.parent, folder / "data")
    root = os.geteuid() == 0
    if root:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
            path.chmod(0o755)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
            path.chmod(0o755)
        shutil.rmtree(folder)


# -------------------------------------------------------------------------------------------- images


def test_bad_images_are_quarantined_with_a_reason_and_the_run_goes_on(images: Path, tmp_path: Path) -> None:
    for name, (_, make) in BAD.items():
        make(images / name)
    ended = cli(*small(images, tmp_path / "run", "-o", "run.probe_failures=0.9"))
    assert ended.code == 0, ended.err
    found = runs.exported(tmp_path / "run")
    assert len(found) == 40 + len(BAD)
    for name, (reason, _) in BAD.items():
        row = found[name]
        assert (row["status"], row["payload"]) == ("quarantined", None)
        assert reason in row["reason"].lower(), (name, row["reason"])
    assert all(row["payload"] is not None for name, row in found.items() if name not in BAD)
    items = runs.status(tmp_path / "run")["items"]
    assert items["quarantined"] == len(BAD)
    assert items.pop("total") == sum(items.values()) == len(found)


def test_images_without_permission_are_quarantined(source: Path, finished: Path) -> None:
    with somebody_else(source) as folder:
        (folder / "data" / "images" / "tiny_007.png").chmod(0)
        ended = cli(*small(folder / "data" / "images", folder / "run", "-o", "run.probe_failures=0.9"))
        assert ended.code == 0, ended.err
        row = runs.exported(folder / "run")["tiny_007.png"]
    assert row["status"] == "quarantined"
    assert "permission denied" in row["reason"]


def test_many_unreadable_probe_images_stop_the_run_before_anything_is_asked(images: Path, tmp_path: Path) -> None:
    spoiled = sorted(images.iterdir())[:30]
    kept = [p.read_bytes() for p in spoiled]
    for path in spoiled:
        path.write_bytes(b"spoiled")
    command = small(images, tmp_path / "run", "--budget", "100")
    ended = cli(*command)
    assert ended.code == 1
    assert "random images can't be read" in ended.error
    assert "mend or remove them" in ended.error
    assert not list((tmp_path / "run").glob("requests/*"))
    assert not (tmp_path / "run" / "annotator").exists()
    for path, data in zip(spoiled[:20], kept[:20], strict=True):
        path.write_bytes(data)
    for path in spoiled[20:]:
        path.unlink()
    assert cli("status", tmp_path / "run").error.endswith("never started; run it again")
    kept_names = {p.name for p in images.iterdir()}
    truth = images.parent / "truth.jsonl"
    lines = [line for line in truth.read_text().splitlines() if json.loads(line)["name"] in kept_names]
    truth.write_text("\n".join(lines))
    ended = cli(*command)
    assert ended.code == 0, ended.err
    assert runs.status(tmp_path / "run")["items"] | {"human": 0, "machine": 0, "pool": 0} == {
        "total": 30, "human": 0, "machine": 0, "pool": 0, "quarantined": 0, "unlabelable": 0, "aliases": 0
    }  # fmt: skip


def test_a_source_that_goes_away_stops_the_run_instead_of_emptying_it(images: Path, tmp_path: Path) -> None:
    command = small(images, tmp_path / "run", "--budget", "1.1", "-o", "prices.answer_usd=0.036")
    assert cli(*command).code == 4
    more = small(images, tmp_path / "run", "--budget", "100", "-o", "prices.answer_usd=0.036")
    images.rename(images.with_name("away"))
    ended = cli(*more)
    assert ended.code == 1
    assert "can be read any more" in ended.error
    assert runs.status(tmp_path / "run")["items"]["quarantined"] == 0
    images.with_name("away").rename(images)
    assert cli(*more).code == 0


def test_duplicates_are_labelled_once_and_exported_for_each(images: Path, tmp_path: Path) -> None:
    (images / "sub").mkdir()
    for k in range(4):
        shutil.copy(images / f"tiny_{k:03d}.png", images / "sub" / f"copy_{k}.png")
    shutil.copy(images / "tiny_000.png", images / "a_first.png")  # sorts before what the truth names
    assert cli(*small(images, tmp_path / "run")).code == 0
    found, status = runs.exported(tmp_path / "run"), runs.status(tmp_path / "run")
    assert status["items"]["aliases"] == 5
    assert len(found) == status["items"]["total"] == 45
    assert all(row["payload"] is not None for row in found.values())
    for k in range(4):
        assert found[f"sub/copy_{k}.png"]["payload"] == found[f"tiny_{k:03d}.png"]["payload"]
    assert found["a_first.png"]["status"] != "alias"
    assert found["tiny_000.png"]["status"] == "alias"
    requests = [r for batch in runs.facts(tmp_path / "run")["requests"] for r in batch]
    assert len({row for _, row, _, _ in requests}) == len(requests) <= 40


def test_every_exif_orientation_from_truth_to_export_and_back(images: Path, tmp_path: Path) -> None:
    """The truth is drawn in the display frame; ``--frame stored`` must fit the pixels as they are in the file."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what turns the display frame into the stored one
    for row in range(40):
        path, orientation = images / f"tiny_{row:03d}.png", row % 8 + 1
        with Image.open(path) as shown:
            stored = shown.copy() if orientation == 1 else shown.transpose(Image.Transpose(back[orientation]))
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored.save(path, exif=exif)
    options = ("-o", "annotators.synthetic.noise=0", "-o", "annotators.synthetic.spammers=0")
    assert cli(*small(images, tmp_path / "run", *options)).code == 0
    truth = {r["name"]: r["payload"] for r in map(json.loads, (images.parent / "truth.jsonl").open())}
    shown, stored = runs.exported(tmp_path / "run"), runs.exported(tmp_path / "run", "--frame", "stored")
    checked = set()
    for name, row in shown.items():
        assert (row["width"], row["height"]) == (96, 64)
        with Image.open(images / name) as raw:
            assert (stored[name]["width"], stored[name]["height"]) == raw.size
            orientation = raw.getexif()[0x0112]
            pixels = np.asarray(raw.convert("RGB"), float).max(axis=2)
        if row["source"] == "human":
            boxes = [{k: v for k, v in b.items() if k != "confidence"} for b in row["payload"]["boxes"]]
            assert boxes == truth[name]["boxes"]
        for box in stored[name]["payload"]["boxes"]:
            x1, y1, x2, y2 = (round(v) for v in box["xyxy"])
            assert pixels[y1:y2, x1:x2].mean() > 150, (name, orientation, box)
            checked.add(orientation)
            pixels[y1:y2, x1:x2] = 0
        assert pixels.max() < 150, f"{name}, orientation {orientation}: the boxes leave a bright object out"
    assert checked == set(range(1, 9))


def test_a_mended_image_has_its_size_in_the_export(images: Path, tmp_path: Path) -> None:
    path = images / "tiny_003.png"
    good = path.read_bytes()
    path.write_bytes(b"")
    command = small(images, tmp_path / "run", "--budget", "0", "-o", "run.probe_failures=1")
    assert cli(*command).code == 4
    path.write_bytes(good)
    more = small(images, tmp_path / "run", "--budget", "100", "-o", "run.probe_failures=1")
    assert cli(*more).code == 0
    row = runs.exported(tmp_path / "run")["tiny_003.png"]
    assert (row["width"], row["height"]) == (96, 64)
    assert row["payload"] is not None


@pytest.mark.parametrize("n", [1, 3])
def test_very_few_images(source: Path, tmp_path: Path, n: int) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for k in range(n):
        shutil.copy(source / f"tiny_{k:03d}.png", few)
    lines = (source.parent / "truth.jsonl").read_text().splitlines()[:n]
    (tmp_path / "truth.jsonl").write_text("\n".join(lines))
    ended = cli(*small(few, tmp_path / "run"), "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["state"], found["items"]["human"]) == ("finished", n)


def test_only_empty_images_end_with_people(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = [f"i{k:02d}.png" for k in range(30)]
    for name in names:
        Image.fromarray(rng.integers(0, 60, (48, 64, 3), np.uint8)).save(folder / name)
    (tmp_path / "truth.jsonl").write_text(
        "".join(json.dumps({"name": n, "payload": {"boxes": []}}) + "\n" for n in names)
    )
    ended = cli(*small(folder, tmp_path / "run", "-o", "annotators.synthetic.noise=0"))
    assert ended.code == 0, ended.err
    assert runs.status(tmp_path / "run")["items"]["human"] == 30
    assert all(row["payload"] == {"boxes": []} for row in runs.exported(tmp_path / "run").values())


def test_more_classes_than_training_sees(images: Path, tmp_path: Path) -> None:
    for task in ("bbox", "classification"):
        folder = tmp_path / task
        made, _ = runs.make_images(folder, 40, task)
        root = tmp_path / f"run-{task}"
        assert cli(*small(made, root, "--task", task, classes="crate,drum,never,nor this")).code == 0


def test_odd_category_names_survive_every_format(images: Path, tmp_path: Path) -> None:
    odd = {"crate": 'big "box", 12″', "drum": "Fässer & Tonnen/木桶 <1>"}
    truth = images.parent / "truth.jsonl"
    lines = []
    for record in map(json.loads, truth.read_text().splitlines()):
        for box in record["payload"]["boxes"]:
            box["category"] = odd[box["category"]]
        lines.append(json.dumps(record))
    truth.write_text("\n".join(lines))
    config = tmp_path / "odd.toml"
    config.write_text(f"[run]\nclasses = {json.dumps(list(odd.values()))}\n", "utf-8")
    command = [x for x in small(images, tmp_path / "run") if x not in ("--classes", "crate,drum")]
    ended = cli(*command, "--config", config, "-o", "annotators.synthetic.noise=0")
    assert ended.code == 0, ended.err
    seen = {b["category"] for row in runs.exported(tmp_path / "run").values() for b in row["payload"]["boxes"]}
    assert seen == set(odd.values())
    ended = cli("export", tmp_path / "run", "--format", "coco", "--out", tmp_path / "out-coco")
    assert ended.code == 0, ended.err
    coco = json.loads((tmp_path / "out-coco").read_text("utf-8"))
    assert [c["name"] for c in coco["categories"]] == list(odd.values())


# ------------------------------------------------------------------------------------ files, settings


def edit_truth(images: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    truth = images.parent / "truth.jsonl"
    records = [json.loads(line) for line in truth.read_text().splitlines()]
    change(records)
    truth.write_text("".join(json.dumps(r) + "\n" for r in records))


def test_a_truth_that_does_not_fit(images: Path, tmp_path: Path) -> None:
    edit_truth(images, lambda r: r.append({"name": "absent.png", "payload": {"boxes": []}}))
    ended = cli(*small(images, tmp_path / "run"))
    assert (ended.code, "absent.png" in ended.error) == (1, True)
    edit_truth(images, lambda r: r.pop())
    edit_truth(images, lambda r: r[0]["payload"]["boxes"][0].update(category="barrel"))
    ended = cli(*small(images, tmp_path / "run"))
    assert ended.code == 1
    assert "'barrel' is not declared" in ended.error
    assert "tiny_000.png" in ended.error, "the error must say which image"
    edit_truth(images, lambda r: r[0]["payload"]["boxes"][0].update(category="drum"))
    assert cli(*small(images, tmp_path / "run")).code == 0


def usage(images: Path, tmp_path: Path) -> dict[str, tuple[tuple[Any, ...], str, int]]:
    """Name to arguments, words of the error, exit code; each before anything is written."""
    empty = tmp_path / "empty"
    empty.mkdir()
    run = ("run", images, "--run", tmp_path / "run")
    whole = small(images, tmp_path / "run")
    file = tmp_path / "file"
    file.write_text("x")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "holiday.txt").write_text("x")
    without = [x for x in whole if x not in ("--classes", "crate,drum")]
    few = tmp_path / "few.jsonl"
    few.write_text("".join((images.parent / "truth.jsonl").read_text().splitlines(keepends=True)[:10]))

    def predicted(path: Path) -> tuple[Any, ...]:
        return (*whole, "--detector", "predictions", "-o", f"detectors.predictions.path={path}")

    return {
        "empty folder": ((*small(empty, tmp_path / "run", truth=images.parent / "truth.jsonl"),), "no images in", 1),
        "no folder": ((*small(tmp_path / "nope", tmp_path / "run", truth=file),), "no such file or folder", 1),
        "detector": ((*whole, "--detector", "stubb"), "Did you mean 'stub'", 2),
        "option": ((*whole, "-o", "annotators.synthetic.nois=1"), "did you mean noise?", 2),
        "option of no plugin": ((*whole, "-o", "annotators.syntetic.noise=1"), "'synthetic'", 2),
        "table": ((*whole, "-o", "annotatorz.synthetic.noise=1"), "did you mean annotators?", 2),
        "too deep": ((*whole, "-o", "run.task.name=1"), "run.task", 2),
        "no value": ((*whole, "-o", "promise.target"), "write it as", 2),
        "budget": ((*whole, "--budget", "inf"), "run.budget_usd", 2),
        "no number": ((*whole, "-o", "run.seed=many"), "run.seed", 2),
        "loss": ((*whole, "--promise", "dataset"), "max_loss", 2),
        "no truth": ((*run, "--classes", "a", "--detector", "stub", "--annotator", "synthetic"), "--truth", 2),
        "truth is not there": ((*whole, "--truth", tmp_path / "none.json"), "no such label file", 1),
        "predictions are not there": (predicted(tmp_path / "none.jsonl"), "does not exist", 2),
        "predictions lack images": (predicted(few), "has no prediction for 30 of 40 images", 1),
        "no classes": (tuple(without), "--classes", 2),
        "empty classes": ((*without, "--classes", " , "), "--classes", 2),
        "class twice": ((*without, "--classes", "a,a"), "twice", 2),
        "preset": ((*whole, "--preset", "groundtruth"), "ground-truth", 2),
        "run is a file": ((*small(images, file),), "is a file", 1),
        "folder of something else": ((*small(images, tmp_path / "taken"),), "not empty", 1),
        "below a file": ((*small(images, file / "run"),), "--run", 1),
    }


CASES = [
    "empty folder",
    "no folder",
    "detector",
    "option",
    "option of no plugin",
    "table",
    "too deep",
    "no value",
    "budget",
    "no number",
    "loss",
    "no truth",
    "truth is not there",
    "predictions are not there",
    "predictions lack images",
    "no classes",
    "empty classes",
    "class twice",
    "preset",
    "run is a file",
    "folder of something else",
    "below a file",
]


@pytest.mark.parametrize("case", CASES)
def test_usage_errors_are_one_line(source: Path, tmp_path: Path, case: str) -> None:
    arguments, words, code = usage(source, tmp_path)[case]
    ended = cli(*arguments)
    assert words in ended.error
    assert ended.code == code
    assert not list(tmp_path.glob("**/requests")), "people were asked"


MISTYPED = {
    "plan --itms 3": "no such option: --itms",
    "statu": "no such command 'statu'",
    "plugins chek bbox": "no such command 'chek'",
    "export --format": "option '--format' requires an argument",
    "relabel": "missing argument 'RUN'",
    "audit RUN --n 0": "invalid value for '--n'",
    "run --seed x": "invalid value for '--seed'",
    "--bloc x": "no such option: --bloc",
    "status RUN more": "unexpected extra argument",
}


@pytest.mark.parametrize("typed", MISTYPED)
def test_what_is_mistyped_is_one_line_too(typed: str) -> None:
    """Nothing else on stderr, no box; the line names the help of the command that was meant."""
    ended = cli(*typed.split())
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 1
    assert MISTYPED[typed] in ended.error
    command = ended.error.rpartition("see: ")[2]
    assert cli(*command.removeprefix("gtloop ").split()).out.split()[:2] == ["Usage:", "gtloop"], "that is a help"


def test_no_command_shows_the_help() -> None:
    ended = cli()
    assert (ended.code, "Usage: gtloop" in ended.out + ended.err) == (2, True)


TOML = {
    "[run]\ndetectr = 'stub'\n": "did you mean detector?",
    "[runs]\ntask = 'bbox'\n": "did you mean run?",
    "run = 3\n": "run",
    "[run]\ntask = 3\n": "run.task",
    "[run\n": "not valid TOML",
    "[run]\nclasses = ['a', 'a']\n": "distinct",
    "[annotators]\nsynthetic = 3\n": "annotators.synthetic",
    "[prices]\nanswer_usd = -1\n": "prices.answer_usd",
    "[run]\npreset = ['a']\n": "preset",
}


@pytest.mark.parametrize("text", TOML)
def test_faults_in_the_settings_file(source: Path, tmp_path: Path, text: str) -> None:
    config = tmp_path / "gtloop.toml"
    config.write_text(text)
    ended = cli("run", source, "--run", tmp_path / "run", "--config", config)
    assert ended.code == 2
    assert TOML[text] in ended.error
    assert "gtloop.toml" in ended.error or "preset" in ended.error
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests that change it copy it."""
    root = tmp_path_factory.mktemp("finished") / "run"
    assert cli(*small(source, root)).code == 0
    runs.exported(root)
    runs.status(root)
    return root


def test_frozen_settings_and_other_sources_are_refused(source: Path, finished: Path, tmp_path: Path) -> None:
    before = len(list(gtloop.open(finished).events()))
    for more, key in (
        (("--seed", "1"), "run.seed is frozen"),
        (("--classes", "crate"), "run.classes is frozen"),
        (("--target", "0.9"), "promise.target is frozen"),
        (("-o", "sizes.validation=12"), "sizes.validation is frozen"),
        (("--task", "classification", "--truth", str(source.parent / "truth.jsonl")), "run.task is frozen"),
    ):
        ended = cli(*small(source, finished), *more)
        assert (ended.code, key in ended.error) == (2, True), ended.err
    other, _ = runs.make_images(tmp_path / "other", 5)
    ended = cli(*small(other, finished))
    assert ended.code == 1
    assert "another folder" in ended.error
    assert len(list(gtloop.open(finished).events())) == before


def test_ledgers_that_cannot_be_read(source: Path, finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    with sqlite3.connect(root / "ledger.sqlite") as db:
        db.execute("UPDATE event SET body = '{}' WHERE seq = 3")
    (root / "snapshot.npz").unlink(missing_ok=True)
    ended = cli("status", root)
    assert (ended.code, "event 3" in ended.error) == (1, True)
    with sqlite3.connect(root / "ledger.sqlite") as db:
        db.execute("UPDATE schema_version SET version = 99")
    for command in (("status", root), ("export", root), small(source, root)):
        ended = cli(*command)
        assert (ended.code, "another version of gtloop" in ended.error) == (1, True)
    (root / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    (root / "ledger.sqlite-wal").unlink(missing_ok=True)
    for command in (("status", root), ("export", root), small(source, root)):
        ended = cli(*command)
        assert (ended.code, "not a gtloop ledger" in ended.error) == (1, True)


def test_files_of_a_run_that_are_lost_or_changed_are_named(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    (root / "snapshot.npz").write_bytes(b"PK\x03\x04 torn")
    assert cli("status", root).code == 0, "a torn snapshot is only a slower start"
    state = gtloop.open(root).state
    state.save(root / "snapshot.npz")
    with np.load(root / "snapshot.npz") as z:
        parts = dict(z)
    facts = parts["facts"].tobytes().replace(b'"human_cost":', b'"cost":')
    np.savez(root / "snapshot.npz", **{**parts, "facts": np.frombuffer(facts, np.uint8)})
    assert State.load(root / "snapshot.npz") is None, "one of an older layout does not fit"
    assert gtloop.open(root).state.facts.rounds == state.facts.rounds
    path = next((root / "labels").glob("human-*.parquet"))
    path.write_bytes(path.read_bytes() + b"x")
    assert "was changed" in cli("export", root).error
    path.unlink()
    assert "is missing" in cli("export", root).error


def test_an_export_takes_options_of_its_format_only(finished: Path, tmp_path: Path) -> None:
    before = gtloop.open(finished).settings
    for one_based in (False, True):
        options = ("-o", f"formats.voc.one_based={str(one_based).lower()}")
        assert cli("export", finished, "--format", "voc", "--out", tmp_path / str(one_based), *options).code == 0
    plain, shifted = ((tmp_path / name / "Annotations/tiny_000.xml").read_text() for name in ("False", "True"))
    assert plain != shifted
    assert gtloop.open(finished).settings == before, "options of an export stay with it"
    for bad, said in {
        "formats.coco.frame=stored": "options of its format only, -o formats.voc.KEY=VALUE",
        "detectors.stub.speed=1": "options of its format only",
        "formats.voc.speed=1": "speed",
        "formats.voc.one_based": "kind.plugin.key=value",
        "formats.voc.one_based=maybe": "one_based",
    }.items():
        ended = cli("export", finished, "--format", "voc", "--out", tmp_path / "bad", "-o", bad)
        assert (ended.code, said in ended.error) == (2, True), ended.err
    assert not (tmp_path / "bad").exists()


def test_what_is_no_run(source: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "file"
    file.write_text("x")
    for folder in (tmp_path, file, tmp_path / "nope"):
        for command in ("status", "export"):
            ended = cli(command, folder)
            assert (ended.code, "holds no run" in ended.error) == (1, True)
    assert cli("status").code == 2
    ended = cli("export", finished, "--format", "cocoo")
    assert (ended.code, "coco" in ended.error) == (2, True)
    ended = cli("export", finished, "--frame", "upside-down")
    assert (ended.code, "display" in ended.error) == (2, True)
    for out in (file / "a.jsonl", tmp_path):
        assert cli("export", finished, "--out", out).code in (1, 2)


def test_a_second_driver_is_refused(source: Path, tmp_path: Path) -> None:
    from gtloop.locks import Lock

    (tmp_path / "run").mkdir()
    with Lock(tmp_path / "run"):
        ended = cli(*small(source, tmp_path / "run"))
    assert ended.code == 1
    assert f"driven by another process (pid {os.getpid()})" in ended.error
    assert cli(*small(source, tmp_path / "run")).code == 0


def test_a_killed_run_does_not_look_like_one_that_runs(source: Path, tmp_path: Path) -> None:
    from gtloop.locks import Lock

    root = tmp_path / "run"
    child = runs.spawn(root, runs.settings(source, source.parent / "truth.jsonl"), kill_at=4)
    child.join(60)
    found = runs.status(root)
    assert (found["state"], found["driven"]) == ("running", False)
    assert f"stopped (no process drives it; go on with: gtloop run --run {root})" in cli("status", root).out
    with Lock(root):
        assert runs.status(root)["driven"] is True
        assert "stopped" not in cli("status", root).out


def test_a_folder_that_cannot_be_written(source: Path, finished: Path) -> None:
    with somebody_else(source) as folder:
        images, made = folder / "data" / "images", folder / "made"
        assert cli(*small(images, made, "--budget", "0")).code == 4
        (folder / "out").mkdir(mode=0o555)
        made.chmod(0o555)
        folder.chmod(0o555)
        ended = cli(*small(images, folder / "new"))
        assert (ended.code, "--run" in ended.error) == (1, True)
        ended = cli("export", made, "--out", folder / "out" / "labels.jsonl")
        assert (ended.code, "cannot write" in ended.error) == (2, True)
        (made / "driver.lock").chmod(0o444)
        ended = cli(*small(images, made, "--budget", "10"))
        assert (ended.code, "can't be written" in ended.error) == (1, True)
        assert cli("status", made, "--json").code == 0


# --------------------------------------------------------------------------------------------- plugins


class Twice(Sampler):
    name = "twice"
    summary = "picks the first row for every place"

    def select(self, view: Any, n: int, rng: Any) -> Pick:
        return Pick(np.repeat(view.rows[:1], n), "again and again")


class Lazy(Twice):
    name = "lazy"

    def select(self, view: Any, n: int, rng: Any) -> Pick:
        return Pick(view.rows[:0], "nothing today")


class Angry(Twice):
    name = "angry"

    def select(self, view: Any, n: int, rng: Any) -> Pick:
        raise ZeroDivisionError("on\npurpose")


class NanScore(Score):
    name = "nan-score"
    summary = "knows nothing"

    def score(self, columns: Any) -> Any:
        return np.full(len(columns["n_objects"]), np.nan)


class AngryScore(NanScore):
    name = "angry-score"

    def score(self, columns: Any) -> Any:
        return columns["no such column"]


class NanDetector(Stub):
    name = "nan-detector"

    def predict_batch(self, model: Any, prepared: Any) -> Any:
        return [
            {**raw, "scores": [float("nan")] * len(raw["scores"])} for raw in super().predict_batch(model, prepared)
        ]


class StrangeDetector(Stub):
    name = "strange-detector"

    def predict_batch(self, model: Any, prepared: Any) -> Any:
        return [{"labels": "cat"} for _ in prepared]


class AngryDetector(Stub):
    name = "angry-detector"

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        raise MemoryError("out of everything")


class AngryTask(BBox):
    name = "bbox"

    def consolidate(self, answers: Any, skills: Any) -> Any:
        raise IndexError("list index out of range")


class NanTask(BBox):
    name = "bbox"

    def error(self, a: Any, b: Any) -> float:
        return float("nan")


def plugins(**classes: Any) -> types.ModuleType:
    """A module that provides classes: hook to class."""
    module = types.ModuleType("faulty")
    for hook, cls in classes.items():
        setattr(module, hook, gtloop.hookimpl(lambda cls=cls: [cls]))
        getattr(module, hook).__name__ = hook
    return module


FAULTY: list[tuple[str, type, tuple[str, ...], str]] = [
    ("gtloop_samplers", Twice, ("--sampler", "twice"), "sampler 'twice'"),
    ("gtloop_samplers", Lazy, ("--sampler", "lazy"), "sampler 'lazy'"),
    ("gtloop_samplers", Angry, ("--sampler", "angry"), "sampler 'angry': select raised ZeroDivisionError: on purpose"),
    ("gtloop_scores", NanScore, ("--score", "nan-score"), "score 'nan-score'"),
    ("gtloop_scores", AngryScore, ("--score", "angry-score"), "score 'angry-score': score raised KeyError"),
    ("gtloop_detectors", NanDetector, ("--detector", "nan-detector"), "detector 'nan-detector'"),
    ("gtloop_detectors", StrangeDetector, ("--detector", "strange-detector"), "detector 'strange-detector'"),
    ("gtloop_detectors", AngryDetector, ("--detector", "angry-detector"), "'angry-detector': fit raised MemoryError"),
    ("gtloop_tasks", AngryTask, ("--task", "bbox@module faulty"), "task 'bbox': consolidate raised IndexError"),
    ("gtloop_tasks", NanTask, ("--task", "bbox@module faulty"), "task 'bbox': error must lie in [0, 1]"),
]


@pytest.mark.parametrize(("hook", "cls", "choose", "words"), FAULTY, ids=[f[1].__name__ for f in FAULTY])
def test_a_plugin_that_breaks_its_contract_is_named_and_the_run_goes_on_when_it_is_mended(
    source: Path, tmp_path: Path, hook: str, cls: type, choose: tuple[str, ...], words: str
) -> None:
    faulty = plugins(**{hook: cls})
    more = ("-o", "sizes.look_at=30", "--sampler", "uncertainty")
    ended = cli(*small(source, tmp_path / "run", *more, *choose), modules=[faulty])
    assert words in ended.error
    assert ended.code == 1
    assert cls.name in ended.error
    mended = plugins(**{hook: type("Mended", (cls.__mro__[2 if cls.__mro__[1] is Twice else 1],), {"name": cls.name})})
    if hook in ("gtloop_samplers", "gtloop_scores"):
        from gtloop_plugins.samplers.random import Random
        from gtloop_plugins.scores.mean import Mean

        base = Random if hook == "gtloop_samplers" else Mean
        mended = plugins(**{hook: type("Mended", (base,), {"name": cls.name})})
    ended = cli(*small(source, tmp_path / "run", *more, *choose), modules=[mended])
    assert ended.code == 0, ended.err
    found = runs.status(tmp_path / "run") if hook != "gtloop_tasks" else None
    if found:
        assert found["state"] == "finished"
        assert found["items"]["human"] + found["items"]["machine"] == 40


def test_an_angry_observer_hurts_nobody(source: Path, tmp_path: Path) -> None:
    @gtloop.hookimpl
    def gtloop_event(event: Any) -> None:
        raise RuntimeError("I am watching")

    module = types.ModuleType("watcher")
    module.gtloop_event = gtloop_event  # type: ignore[attr-defined]
    ended = cli(*small(source, tmp_path / "run"), modules=[module])
    assert ended.code == 0, ended.err
    assert "observer of plugin 'watcher'" in ended.err
    assert "RuntimeError: I am watching" in ended.err


def test_change_refuses_what_cannot_change(finished: Path) -> None:
    run = gtloop.open(finished)
    assert set(CATEGORIES) == set(run.settings.run.classes)
    for key, value in {"run.seed": 3, "promise.delta": 0.5, "run.budgt": 3, "run.budget_usd": "much"}.items():
        with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
            run.change(**{key: value})
