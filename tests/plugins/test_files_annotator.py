from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gtloop.interfaces import Collected, Context
from gtloop.records import Item, Request
from gtloop_plugins.annotators.files import Files
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.classification import Classification

TASK = BBox(BBox.Options(), Context(categories=("bird", "cat")))
BOXES = {"boxes": [{"category": "bird", "xyxy": [1.0, 2.0, 30.0, 40.0]}]}


def build(tmp_path: Path, **options: Any) -> Files:
    context = Context(
        categories=("bird", "cat"), workdir=tmp_path / "work", task=TASK, form=TASK.form(), price_per_answer=50_000
    )
    return Files(Files.Options(folder=tmp_path / "box", **options), context)


def request(n: int, answers: int = 2, **changes: Any) -> Request:
    item = Item(row=n, id=f"i{n}", name=f"{n}.jpg", uri=f"/data/{n}.jpg", width=64, height=48, orientation=6)
    return Request(id=f"r{n}", item=item, answers=answers, **changes)


def say(tmp_path: Path, *lines: Any, end: str = "\n") -> None:
    with (tmp_path / "box" / "answers.jsonl").open("a") as f:
        f.write("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines) + end)


def line(n: int, worker: str, outcome: str = "label", **rest: Any) -> dict[str, Any]:
    payload = {"payload": BOXES} if outcome == "label" else {}
    return {"request": f"r{n}", "worker": worker, "outcome": outcome, **payload, **rest}


def rejects(tmp_path: Path) -> list[dict[str, str]]:
    path = tmp_path / "box" / "answers.rejected.jsonl"
    return [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []


def who(got: Collected) -> list[tuple[str, str]]:
    return [(a.request, a.worker) for a in got.answers]


def ends(got: Collected) -> list[tuple[str, int, str]]:
    return [(c.request, c.delivered, c.reason) for c in got.closed]


def asked(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(x) for x in (tmp_path / "box" / "requests.jsonl").read_text().splitlines()]


def test_requests_are_written_once_and_grow(tmp_path: Path) -> None:
    build(tmp_path).submit([request(0), request(1, exclude_workers=("eve",))])
    build(tmp_path).submit([request(0, 3), request(1, 1)])
    first, second = asked(tmp_path)
    assert first == {
        "id": "r0",
        "image": "/data/0.jpg",
        "width": 48,
        "height": 64,
        "task": "bbox",
        "categories": ["bird", "cat"],
        "instructions": TASK.form().instructions,
        "answers": 3,
        "mode": "draw",
        "proposal": None,
        "exclude_workers": [],
    }
    assert (second["answers"], second["exclude_workers"]) == (2, ["eve"])


def test_requests_file_comes_back_after_a_crash_in_between(tmp_path: Path) -> None:
    build(tmp_path).submit([request(0)])
    (tmp_path / "box" / "requests.jsonl").unlink()
    build(tmp_path).submit([request(0)])
    assert [r["id"] for r in asked(tmp_path)] == ["r0"]


def test_answers_come_back_and_close_the_request(tmp_path: Path) -> None:
    build(tmp_path).submit([request(0), request(1)])
    assert build(tmp_path).collect("", 1).answers == []
    say(tmp_path, line(0, "ann", active_seconds=12.5), line(1, "ann", "declined"), line(0, "bob", "empty"))
    got = build(tmp_path).collect("", 1)
    assert who(got) == [("r0", "ann"), ("r1", "ann"), ("r0", "bob")]
    assert [a.price for a in got.answers] == [50_000, 0, 50_000]
    assert (got.answers[0].payload, got.answers[0].active_seconds) == (BOXES, 12.5)
    assert ends(got) == [("r0", 2, "complete")]
    say(tmp_path, line(1, "bob", "cannot_tell"), line(1, "cat"))
    more = build(tmp_path).collect(got.cursor, 1)
    assert who(more) == [("r1", "bob"), ("r1", "cat")]
    assert ends(more) == [("r1", 2, "complete")]
    assert build(tmp_path).collect(more.cursor, 1) == ([], [], more.cursor)
    again = build(tmp_path).collect("", 1)
    assert {a.id for a in again.answers} == {a.id for a in got.answers + more.answers}


def test_an_extension_needs_one_more(tmp_path: Path) -> None:
    build(tmp_path).submit([request(0, 1)])
    say(tmp_path, line(0, "ann"))
    got = build(tmp_path).collect("", 1)
    build(tmp_path).submit([request(0, 2)])
    say(tmp_path, line(0, "bob"))
    more = build(tmp_path).collect(got.cursor, 1)
    assert who(more) == [("r0", "bob")]
    assert ends(more) == [("r0", 2, "complete")]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("{not json", "JSON"),
        ("[1, 2]", "line"),
        ({"request": "r0", "worker": "ann"}, "outcome"),
        (line(0, "ann", "maybe"), "outcome"),
        (line(7, "ann"), "'r7' is unknown"),
        (line(0, "eve"), "may not answer"),
        ({**line(0, "ann"), "payload": None}, "needs a payload"),
        (
            {**line(0, "ann"), "payload": {"boxes": [{"category": "dog", "xyxy": [0, 0, 1, 1]}]}},
            "'dog' is not declared",
        ),
        (
            {**line(0, "ann"), "payload": {"boxes": [{"category": "bird", "xyxy": [0, 0, 60, 10]}]}},
            "48 x 64 pixels by 12",
        ),
        (line(0, "ann", active_seconds=-1), "active_seconds"),
        (line(0, "ann", active_seconds=float("nan")), "active_seconds"),
        ("\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), "JSON"),
    ],
)
def test_bad_lines_are_quarantined_and_hold_up_nothing(tmp_path: Path, bad: Any, why: str) -> None:
    annotator = build(tmp_path)
    annotator.submit([request(0, exclude_workers=("eve",))])
    say(tmp_path, line(0, "zoe"), bad, line(0, "bob"))
    got = annotator.collect("", 1)
    assert who(got) == [("r0", "zoe"), ("r0", "bob")]
    assert ends(got) == [("r0", 2, "complete")]
    (reject,) = rejects(tmp_path)
    assert why in reject["reason"]
    assert reject["line"] == (bad if isinstance(bad, str) else json.dumps(bad))
    assert len(build(tmp_path).collect("", 1).answers) == 2
    assert len(rejects(tmp_path)) == 1


def test_a_rejected_answer_can_be_given_again(tmp_path: Path) -> None:
    build(tmp_path).submit([request(0, 1)])
    say(tmp_path, {**line(0, "ann"), "payload": {"boxen": []}})
    got = build(tmp_path).collect("", 1)
    assert got.answers == []
    say(tmp_path, line(0, "ann"))
    more = build(tmp_path).collect(got.cursor, 1)
    assert who(more) == [("r0", "ann")]
    assert ends(more) == [("r0", 1, "complete")]


def test_duplicates_and_surplus(tmp_path: Path) -> None:
    build(tmp_path).submit([request(0), request(1)])
    say(tmp_path, line(0, "ann", id="x"), line(0, "ann"), line(1, "ann", id="x"), line(0, "bob"), line(0, "cat"))
    got = build(tmp_path).collect("", 1)
    assert who(got) == [("r0", "ann"), ("r0", "bob")]
    assert got.answers[0].id == "x"
    assert ["is taken" in r["reason"] or "already has the 2" in r["reason"] for r in rejects(tmp_path)] == [True, True]


def test_half_a_line_waits_for_the_rest(tmp_path: Path) -> None:
    annotator = build(tmp_path)
    annotator.submit([request(0)])
    text = json.dumps(line(0, "ann"))
    say(tmp_path, line(0, "bob"), text[:20], end="")
    got = annotator.collect("", 1)
    assert who(got) == [("r0", "bob")]
    say(tmp_path, text[20:])
    assert who(annotator.collect(got.cursor, 1)) == [("r0", "ann")]
    assert rejects(tmp_path) == []


def test_a_whole_last_line_needs_no_newline(tmp_path: Path) -> None:
    annotator = build(tmp_path)
    annotator.submit([request(0)])
    say(tmp_path, line(0, "ann"), end="")
    got = annotator.collect("", 1)
    assert who(got) == [("r0", "ann")]
    say(tmp_path, "", line(0, "bob"))
    assert who(build(tmp_path).collect(got.cursor, 1)) == [("r0", "bob")]


@pytest.mark.parametrize("same_object", [True, False])
def test_a_file_written_anew_is_read_again(tmp_path: Path, same_object: bool) -> None:
    annotator = build(tmp_path)
    annotator.submit([request(0), request(1)])
    say(tmp_path, line(0, "ann"), line(0, "bob"))
    got = annotator.collect("", 1)
    (tmp_path / "box" / "answers.jsonl").unlink()
    say(tmp_path, line(1, "dan", note="long " * 100), line(0, "bob"), line(0, "ann"), line(1, "cat"))
    more = (annotator if same_object else build(tmp_path)).collect(got.cursor, 1)
    assert {("r1", "dan"), ("r1", "cat")} <= set(who(more))
    assert {a.id for a in got.answers} <= {a.id for a in more.answers}
    assert ("r1", 2, "complete") in ends(more)


def test_cancel_and_expiry_close(tmp_path: Path) -> None:
    annotator = build(tmp_path)
    annotator.submit([request(0), request(1, deadline_s=0.0), request(2)])
    say(tmp_path, line(1, "ann"))
    annotator.cancel(["r0", "r9"])
    got = build(tmp_path).collect("", 1)
    assert who(got) == [("r1", "ann")]  # in time, though nobody looked before the deadline
    assert ends(got) == [("r0", 0, "cancelled")]
    more = build(tmp_path).collect(got.cursor, 1)
    assert ends(more) == [("r1", 1, "expired")]
    assert [r["id"] for r in asked(tmp_path)] == ["r2"]
    say(tmp_path, line(1, "bob"))
    late = build(tmp_path).collect(more.cursor, 1)
    assert (late.answers, late.closed) == ([], [])
    assert "expired" in rejects(tmp_path)[0]["reason"]
    build(tmp_path).submit([request(1, 3)])
    assert [r["id"] for r in asked(tmp_path)] == ["r1", "r2"]
    say(tmp_path, line(1, "cat"), line(1, "dan"))
    assert ends(build(tmp_path).collect(late.cursor, 1)) == [("r1", 3, "complete")]


def test_an_image_of_a_class_is_never_empty(tmp_path: Path) -> None:
    task = Classification(Classification.Options(), Context(categories=("bird", "cat")))
    context = Context(categories=("bird", "cat"), workdir=tmp_path / "box", task=task, form=task.form())
    annotator = Files(Files.Options(), context)
    annotator.submit([request(0)])
    say(tmp_path, line(0, "ann", "empty"), {**line(0, "ann"), "payload": {"category": "cat"}})
    assert [a.payload for a in annotator.collect("", 1).answers] == [{"category": "cat"}]
    assert "never empty" in rejects(tmp_path)[0]["reason"]


def test_where_names_both_files(tmp_path: Path) -> None:
    said = build(tmp_path).where()
    assert str(tmp_path / "box" / "requests.jsonl") in said
    assert str(tmp_path / "box" / "answers.jsonl") in said
