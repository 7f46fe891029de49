from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gtloop.errors import Unsupported
from gtloop.interfaces import Context
from gtloop.records import Answer, Closed, Item, Payload, Request
from gtloop_plugins.annotators.synthetic import Synthetic
from gtloop_plugins.tasks.bbox import BBox

TASK = BBox(BBox.Options(), Context(categories=("bird", "cat")))
TRUTH: Payload = {"boxes": [{"category": "bird", "xyxy": [100.0, 100.0, 300.0, 250.0]}]}


def item(n: int) -> Item:
    return Item(row=n, id=f"item-{n}", name=f"{n}.jpg", uri=f"{n}.jpg", width=640, height=480)


def request(n: int, answers: int = 3, **changes: Any) -> Request:
    return Request(id=f"r{n}", item=item(n), answers=answers, **changes)


def build(workdir: Path, seed: int = 1, **options: Any) -> Synthetic:
    context = Context(
        workdir=workdir, seed=seed, task=TASK, truth=lambda i: None if i.row == 99 else TRUTH, price_per_answer=36_000
    )
    return Synthetic(Synthetic.Options(**options), context)


def drain(workdir: Path, cursor: str = "", **options: Any) -> tuple[list[Answer], list[Closed], str]:
    """Collect to the end, with a new object for every call."""
    answers: list[Answer] = []
    closed: list[Closed] = []
    while True:
        got = build(workdir, **options).collect(cursor, 60)
        answers += got.answers
        closed += got.closed
        if got.cursor == cursor:
            return answers, closed, cursor
        cursor = got.cursor


def said(answers: list[Answer]) -> dict[str, Any]:
    return {a.id: a.model_dump(exclude={"at"}) for a in answers}


def test_everybody_answers_once_and_requests_close(tmp_path: Path) -> None:
    build(tmp_path).submit([request(n) for n in range(400)])
    answers, closed, _ = drain(tmp_path)
    assert len(answers) == len(said(answers)) == 1200
    assert all(len({a.worker for a in answers if a.request == f"r{n}"}) == 3 for n in range(0, 400, 20))
    assert [c.request for c in closed] == [f"r{n}" for n in range(400)]
    assert {(c.delivered, c.reason) for c in closed} == {(3, "complete")}
    assert {a.price for a in answers} == {36_000}


def test_at_most_500_answers_a_call_and_no_limit_blocks_progress(tmp_path: Path) -> None:
    build(tmp_path).submit([request(n) for n in range(400)])
    assert len(build(tmp_path).collect("", 60).answers) == 500
    assert len(build(tmp_path).collect("", -1).answers) == 1


def test_neither_batching_nor_order_matters(tmp_path: Path) -> None:
    requests = [request(n) for n in range(30)]
    build(tmp_path / "a").submit(requests)
    one, _, _ = drain(tmp_path / "a")
    other = build(tmp_path / "b")
    shuffled = random.Random(0).sample(requests, len(requests))
    for part in (shuffled[:7], shuffled[7:8], shuffled[8:]):
        other.submit(part)
        other.collect("", 1)
    two, _, _ = drain(tmp_path / "b")
    assert said(one) == said(two)


def test_another_seed_gives_other_answers(tmp_path: Path) -> None:
    for seed in (1, 2):
        build(tmp_path / str(seed), seed=seed).submit([request(n) for n in range(5)])
    assert said(drain(tmp_path / "1", seed=1)[0]) != said(drain(tmp_path / "2", seed=2)[0])


def test_submit_is_idempotent_and_a_higher_number_extends(tmp_path: Path) -> None:
    build(tmp_path).submit([request(0, 2), request(1, 2)])
    build(tmp_path).submit([request(0, 2), request(0, 1)])
    first, closed, cursor = drain(tmp_path)
    assert (len(first), len(closed)) == (4, 2)
    assert drain(tmp_path, cursor) == ([], [], cursor)
    build(tmp_path).submit([request(0, 5), request(1, 2)])
    more, closed, _ = drain(tmp_path, cursor)
    assert [c.delivered for c in closed] == [5]
    build(tmp_path / "at-once").submit([request(0, 5), request(1, 2)])
    assert said(first + more) == said(drain(tmp_path / "at-once")[0])


def test_a_torn_line_is_dropped_and_can_be_submitted_again(tmp_path: Path) -> None:
    build(tmp_path / "whole").submit([request(n) for n in range(4)])
    data = (tmp_path / "whole" / "requests.jsonl").read_bytes()
    start = data[:-1].rfind(b"\n") + 1
    for cut in (start + 1, start + 40, len(data) - 1):  # killed while the last line was written
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "requests.jsonl").write_bytes(data[:cut])
        assert len(drain(folder)[0]) == 9
        build(folder).submit([request(n) for n in range(4)])
        assert said(drain(folder)[0]) == said(drain(tmp_path / "whole")[0])
        assert len((folder / "requests.jsonl").read_text().splitlines()) == 4


def test_excluded_workers_do_not_answer(tmp_path: Path) -> None:
    build(tmp_path / "a").submit([request(0, 3)])
    first, _, _ = drain(tmp_path / "a")
    out = tuple(a.worker for a in first[:2])
    again = Request(id="again", item=item(0), answers=3, exclude_workers=out)
    build(tmp_path / "a").submit([again])
    second = [a.worker for a in drain(tmp_path / "a")[0] if a.request == "again"]
    assert not set(out) & set(second)
    assert second[0] == first[2].worker


def test_a_small_population_can_be_used_up(tmp_path: Path) -> None:
    build(tmp_path, workers=2).submit([request(0, 5)])
    answers, closed, _ = drain(tmp_path, workers=2)
    assert len(answers) == 2
    assert closed == [Closed(request="r0", delivered=2, reason="declined")]


def test_no_truth_is_cannot_tell(tmp_path: Path) -> None:
    build(tmp_path).submit([request(99)])
    assert {a.outcome for a in drain(tmp_path)[0]} == {"cannot_tell"}


def test_cancel_closes_what_is_not_delivered(tmp_path: Path) -> None:
    annotator = build(tmp_path)
    annotator.submit([request(0), request(1), request(2)])
    first = annotator.collect("", -1)
    assert len(first.answers) == 1
    annotator.cancel(["r0", "r2", "r2"])
    answers, closed, cursor = drain(tmp_path, first.cursor)
    assert {a.request for a in answers} == {"r1"}
    assert [(c.request, c.delivered, c.reason) for c in closed] == [
        ("r0", 1, "cancelled"),
        ("r1", 3, "complete"),
        ("r2", 0, "cancelled"),
    ]
    assert drain(tmp_path, cursor)[1] == []


def test_noise_0_copies_the_truth(tmp_path: Path) -> None:
    build(tmp_path, noise=0).submit([request(n) for n in range(50)])
    answers, _, _ = drain(tmp_path, noise=0)
    assert all(a.payload == TRUTH for a in answers)


def test_noise_scales_errors(tmp_path: Path) -> None:
    errors = []
    for noise in (0.25, 1.0, 2.0):
        folder = tmp_path / str(noise)
        build(folder, noise=noise, spammers=0).submit([request(n) for n in range(150)])
        answers, _, _ = drain(folder, noise=noise, spammers=0)
        errors.append(np.mean([TASK.error(a.payload or TASK.empty(), TRUTH) for a in answers]))
    assert errors[0] < 0.6 * errors[1] < 0.6 * errors[2]


def test_shares_are_as_asked(tmp_path: Path) -> None:
    options = {"decline": 0.2, "cannot_tell": 0.1, "expire": 0.3, "spammers": 0.25}
    build(tmp_path, **options).submit([request(n) for n in range(600)])
    answers, closed, _ = drain(tmp_path, **options)
    outcomes = Counter(a.outcome for a in answers)
    assert outcomes["declined"] / len(answers) == pytest.approx(0.2, abs=0.04)
    assert outcomes["cannot_tell"] / (len(answers) - outcomes["declined"]) == pytest.approx(0.1, abs=0.03)
    reasons = Counter(c.reason for c in closed)
    assert reasons["expired"] / 600 == pytest.approx(0.3, abs=0.06)
    assert {a.price for a in answers if a.outcome == "declined"} == {0}
    counted = Counter(a.request for a in answers if a.outcome != "declined")
    assert all(counted[c.request] == c.delivered for c in closed)


def test_declines_and_expiry_survive_an_extension(tmp_path: Path) -> None:
    options = {"decline": 0.3, "expire": 0.3}
    build(tmp_path / "a", **options).submit([request(n, 3) for n in range(60)])
    first, _, cursor = drain(tmp_path / "a", **options)
    build(tmp_path / "a", **options).submit([request(n, 5) for n in range(60)])
    more, closed, _ = drain(tmp_path / "a", cursor, **options)
    assert not said(first).keys() & said(more).keys()
    counted = Counter(a.request for a in first + more if a.outcome != "declined")
    assert all(counted[c.request] == c.delivered for c in closed)
    assert Counter(c.reason for c in closed).keys() == {"complete", "expired"}


def test_spammers_and_busy_workers(tmp_path: Path) -> None:
    build(tmp_path, spammers=0.1).submit([request(n, 2) for n in range(1500)])
    annotator = build(tmp_path, spammers=0.1)
    spammers = {f"synthetic-{w:03d}" for w, p in enumerate(annotator._personas) if p["spammer"]}
    assert len(spammers) == 4
    by_worker = Counter(a.worker for a in drain(tmp_path, spammers=0.1)[0])
    share = sum(by_worker[w] for w in spammers) / by_worker.total()
    assert share == pytest.approx(0.1, abs=0.03)
    assert max(by_worker.values()) > 10 * min(by_worker.values())  # a heavy tail


def test_without_truth_it_says_what_to_type(tmp_path: Path) -> None:
    annotator = Synthetic(Synthetic.Options(), Context(workdir=tmp_path, task=TASK))
    annotator.submit([request(0)])
    with pytest.raises(Unsupported, match="--truth"):
        annotator.collect("", 1)
