"""``gtloop data openimages`` against a server on this machine with the layout of Open Images."""

from __future__ import annotations

import csv
import io
import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import runs
from oiserver import GONE, TORN, Published, served

from gtloop import remote, retrying
from gtloop_plugins.commands.data import streams


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Published, str]]:
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(streams, "BLOCK", 500)
    remote._forget()
    made = Published()
    with served(made) as url:
        yield made, url


def ask(url: str, out: Path, *more: object) -> runs.Ended:
    urls = ("--annotations-url", f"{url}/a", "--images-url", f"{url}/i")
    return runs.cli("data", "openimages", "--class", "Bird", "--out", out, *urls, *more)


def fetched(url: str, out: Path, *more: object) -> dict[str, Any]:
    ended = ask(url, out, "--json", *more)
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def labels(out: Path) -> dict[str, list[dict[str, Any]]]:
    lines = [json.loads(line) for line in (out / "labels.jsonl").read_text().splitlines()]
    return {line["name"].removesuffix(".jpg"): line["payload"]["boxes"] for line in lines}


def test_a_class_with_its_subclasses_and_all_boxes(published: tuple[Published, str], tmp_path: Path) -> None:
    made, url = published
    made.fails |= Counter({f"/i/test/{made.ids[0]}.jpg": 2, "/a/test/test-annotations-bbox.csv": 3})
    found = fetched(url, tmp_path / "birds")
    got = labels(tmp_path / "birds")
    wanted = {key for key, n in made.boxes.items() if n} - {GONE, TORN}
    assert got.keys() == wanted
    assert {key: len(boxes) for key, boxes in got.items()} == {key: made.boxes[key] for key in wanted}
    assert got[made.ids[0]][0] == {"category": "Bird", "xyxy": [8.0, 15.0, 48.0, 45.0]}
    assert {b["category"] for boxes in got.values() for b in boxes} == {"Bird"}
    assert [m["image"] for m in found["missing"]] == [GONE, TORN]
    assert found["images"] == len(wanted)
    assert made.ranges.count("/a/test/test-annotations-bbox.csv") > 3, "the table came in pieces"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "birds/attribution.csv").read_text("utf-8"), newline="")))
    assert {r["ImageID"] for r in rows} == wanted
    assert {(r["Author"], r["Title"], r["License"]) for r in rows} == {("Ann, B", "A\u2028title", "by/2.0")}
    assert "CC BY 2.0" in (tmp_path / "birds/LICENCE.txt").read_text()


def test_a_sample_is_distinct_whole_and_the_same_for_a_seed(published: tuple[Published, str], tmp_path: Path) -> None:
    made, url = published
    found = fetched(url, tmp_path / "one", "--max", 5)
    one = labels(tmp_path / "one")
    assert len(one) + len(found["missing"]) == 5
    assert {key: len(boxes) for key, boxes in one.items()} == {key: made.boxes[key] for key in one}
    fetched(url, tmp_path / "same", "--max", 5)
    assert labels(tmp_path / "same") == one
    fetched(url, tmp_path / "other", "--max", 5, "--seed", 1)
    assert labels(tmp_path / "other").keys() != one.keys()
    refused = ask(url, tmp_path / "one", "--max", 6)
    assert "holds another choice of images" in refused.error


def test_without_a_server_it_says_so_and_blocks_no_other_choice(
    published: tuple[Published, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 0.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        ended = ask(f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path / "one", "--max", 5)
    assert (ended.code, "can't be read now" in ended.error) == (1, True), ended.error
    assert "no such object" not in ended.error
    fetched(published[1], tmp_path / "one", "--max", 4)
    assert len(labels(tmp_path / "one")) <= 4


def test_it_goes_on_where_it_was_stopped(published: tuple[Published, str], tmp_path: Path) -> None:
    made, url = published
    broken = f"/i/test/{made.ids[12]}.jpg"
    made.fails[broken] = 1000
    stopped = ask(url, tmp_path / "birds")
    assert stopped.code == 1
    assert "run the same command again" in stopped.error
    before = {p.name for p in (tmp_path / "birds/images").iterdir()}
    assert before
    made.fails.clear()
    made.asked.clear()
    found = fetched(url, tmp_path / "birds")
    again = {Path(path).name for path in made.asked if path.startswith("/i/")}
    assert not again & before
    assert found["fetched"] == found["images"] - len(before - {f"{TORN}.jpg"})
    assert not [p for p in (tmp_path / "birds").rglob("*.tmp")]


def test_a_server_without_ranges(published: tuple[Published, str], tmp_path: Path) -> None:
    made, url = published
    made.known_ranges = False
    fetched(url, tmp_path / "birds")
    assert len(labels(tmp_path / "birds")) > 10
    assert not made.ranges


def test_tables_and_images_may_lie_in_folders(tmp_path: Path) -> None:
    made = Published()
    made.write(tmp_path / "mirror")
    found = fetched(str(tmp_path / "mirror"), tmp_path / "birds")
    assert found["images"] == len(labels(tmp_path / "birds")) > 10
    assert [m["image"] for m in found["missing"]] == [GONE, TORN]


def test_a_run_takes_it(published: tuple[Published, str], tmp_path: Path) -> None:
    _, url = published
    out = tmp_path / "birds"
    ended = ask(url, out)
    assert ended.code == 0, ended.err
    words = ended.out.split("Next: gtloop ")[1].replace("'", "").split()
    ended = runs.cli(*words, "--detector", "stub", "--run", tmp_path / "run")
    assert ended.code == 0, ended.err
    assert runs.status(tmp_path / "run")["state"] == "finished"


def test_what_is_wrong_is_one_line(published: tuple[Published, str], tmp_path: Path) -> None:
    made, url = published
    assert "did you mean Eagle" in ask(url, tmp_path / "a", "--class", "Eagel").error
    assert "share sub-classes" in ask(url, tmp_path / "a2", "--class", "Owl").error
    assert "choose train" in ask(url, tmp_path / "b", "--split", "all").error
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("")
    assert "was not made by this command" in ask(url, tmp_path / "full").error
    assert "there is no such object" in ask(url, tmp_path / "c", "--split", "validation").error
    made.files["/a/test/test-annotations-bbox.csv"] = b"a,b\n1,2\n"
    assert "has no column" in ask(url, tmp_path / "d").error
    local = ask(str(tmp_path), tmp_path / "e")
    assert "can't be read (No such file or directory)" in local.error
