"""Consolidation of boxes: robust, one-to-one, weighed by what is known of the workers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtloop.interfaces import Context, Hint
from gtloop.labels import iou_matrix
from gtloop.records import Answer, Item, Payload
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.bbox.fusion import errors, expected_iou, fuse
from gtloop_plugins.tasks.bbox.linking import MIN_IOU, link, objects

calm = settings(deadline=None, max_examples=40)
NAMES = ("bird", "cat", "dog")
TASK = BBox(BBox.Options(), Context(categories=NAMES))
ITEM = Item(row=0, id="i", name="a.jpg", uri="a.jpg", width=1000, height=1000)


def box(*xyxy: float, category: str = "bird") -> dict[str, Any]:
    return {"category": category, "xyxy": [float(v) for v in xyxy]}


def said(**boxes: Sequence[dict[str, Any]] | None) -> list[Answer]:
    """Worker to boxes; None: cannot tell."""
    return [
        Answer(
            id=w,
            request="r",
            worker=w,
            outcome="cannot_tell" if drawn is None else "label" if drawn else "empty",
            payload={"boxes": list(drawn)} if drawn else None,
            at="t",
        )
        for w, drawn in boxes.items()
    ]


def found(answers: Sequence[Answer], skills: dict[str, Any] | None = None) -> list[list[float]]:
    made = TASK.consolidate(answers, skills or {}).payload
    assert made is not None
    return [b["xyxy"] for b in made["boxes"]]


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    return float(iou_matrix(np.array([a], dtype=float), np.array([b], dtype=float))[0, 0])


@st.composite
def drawn_boxes(draw: st.DrawFn) -> dict[str, Any]:
    x, y = draw(st.integers(0, 190)), draw(st.integers(0, 90))
    w, h = draw(st.integers(1, 200 - x)), draw(st.integers(1, 100 - y))
    return box(x, y, x + w, y + h, category=draw(st.sampled_from(NAMES)))


people_boxes = st.lists(st.lists(drawn_boxes(), max_size=4), min_size=1, max_size=5)


def off(truth: Sequence[float], bias: Sequence[float], spread: float, rng: np.random.Generator) -> dict[str, Any]:
    x1, y1, x2, y2 = truth
    w, h = x2 - x1, y2 - y1
    e = np.array(bias) + spread * rng.standard_normal(4)
    cx, cy = (x1 + x2) / 2 + e[0] * w, (y1 + y2) / 2 + e[1] * h
    hw, hh = w * (1 + e[2]) / 2, h * (1 + e[3]) / 2
    return box(cx - hw, cy - hh, cx + hw, cy + hh)


def a_truth(rng: np.random.Generator) -> list[float]:
    w, h = rng.uniform(100, 300, 2)
    x, y = rng.uniform(200, 500, 2)
    return [float(v) for v in (x, y, x + w, y + h)]


def crowd(rng: np.random.Generator, items: int, ways: dict[str, tuple[Sequence[float], float]]) -> Any:
    """Truths, and answers of workers with given (bias, spread)."""
    truths = [a_truth(rng) for _ in range(items)]
    return truths, [said(**{w: [off(t, bias, spread, rng)] for w, (bias, spread) in ways.items()}) for t in truths]


FOUR = {f"w{k}": ((0.0,) * 4, 0.04) for k in range(4)}
OFF = ((0.35, -0.35, 0.35, -0.35), 0.3)


# ------------------------------------------------------------------------------------------- properties


@calm
@given(st.lists(people_boxes, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_order_of_answers_boxes_and_items_is_irrelevant_to_the_last_bit(of: Any, random: Any) -> None:
    items = [said(**{f"w{k}": b for k, b in enumerate(drawn)}) for drawn in of]
    mixed = [
        [
            a if a.payload is None else a.model_copy(update={"payload": {"boxes": a.payload["boxes"][::-1]}})
            for a in random.sample(answers, len(answers))
        ]
        for answers in random.sample(items, len(items))
    ]
    skills = TASK.skills(items, {})
    assert TASK.skills(mixed, {}) == skills
    for answers in items:
        assert TASK.consolidate(answers[::-1], skills) == TASK.consolidate(answers, skills)


@calm
@given(st.lists(st.tuples(drawn_boxes(), st.integers(0, 4)), max_size=14))
def test_no_object_has_two_boxes_of_a_person_and_no_box_is_lost(drawn: list[tuple[dict[str, Any], int]]) -> None:
    boxes = np.array([b["xyxy"] for b, _ in drawn]).reshape(-1, 4)
    owners = [w for _, w in drawn]
    made = objects(boxes, [b["category"] for b, _ in drawn], owners)
    assert sorted([n for g in made.groups for n in g] + list(made.aside)) == list(range(len(drawn)))
    for group in made.groups:
        assert len({owners[n] for n in group}) == len(group)


@calm
@given(people_boxes)
def test_without_history_boxes_lie_in_the_hull_of_the_answers(of: Any) -> None:
    every = np.array([b["xyxy"] for drawn in of for b in drawn]).reshape(-1, 4)
    for x1, y1, x2, y2 in found(said(**{f"w{k}": b for k, b in enumerate(of)})):
        assert x2 > x1
        assert y2 > y1
        assert (every.min(axis=0) - 1e-6 <= [x1, y1, x2, y2]).all()
        assert (every.max(axis=0) + 1e-6 >= [x1, y1, x2, y2]).all()


@calm
@given(st.lists(people_boxes, max_size=4), st.lists(people_boxes, max_size=4))
def test_skills_are_small_json_and_add_up(first: Any, second: Any) -> None:
    one, two = ([said(**{f"w{k}": b for k, b in enumerate(drawn)}) for drawn in of] for of in (first, second))
    skills = TASK.skills(two, TASK.skills(one, {}))
    assert json.loads(json.dumps(skills, allow_nan=False)) == skills
    answers = [a for item in one + two if len(item) > 1 for a in item]
    counted = {w: s["images"] for w, s in skills.get("workers", {}).items()}
    assert counted == {w: sum(a.worker == w for a in answers) for w in {a.worker for a in answers}}
    assert skills.get("all", {"images": 0})["images"] == sum(len(item) > 1 for item in one + two)
    assert all(0 <= q <= 1 for q in TASK.skill(skills).values())
    assert len(json.dumps(skills)) < 800 * (len(counted) + 1)
    assert TASK.skills([], skills) == skills


def test_skills_of_another_version_are_forgotten() -> None:
    items = [said(a=[box(0, 0, 9, 9)], b=[box(0, 0, 9, 8)])]
    assert TASK.skills(items, {"version": 1, "workers": {"a": {"misses": 3}}}) == TASK.skills(items, {})


# --------------------------------------------------------------------------------------------- objects


def test_a_chain_of_boxes_is_not_one_object() -> None:
    # Each overlaps the next by a third, the first does not touch the last: no pair of two people is one box apart.
    chain = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [15, 0, 25, 10]], dtype=float)
    groups = link(chain, ["bird"] * 4, [0, 1, 2, 3], MIN_IOU)
    assert sorted(map(len, groups)) == [2, 2]


def test_two_near_objects_are_matched_by_both_boxes_at_once() -> None:
    # The second person is off by half a width, so that their left box is nearest to the first one's right box, too.
    one, two = [box(0, 0, 10, 10), box(11, 0, 21, 10)], [box(5.6, 0, 15.6, 10), box(16.6, 0, 26.6, 10)]
    boxes = np.array([b["xyxy"] for b in one + two])
    assert link(boxes, ["bird"] * 4, [0, 0, 1, 1], MIN_IOU) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("splitting", [1, 2, 4])
def test_a_box_around_two_objects_destroys_neither(splitting: int) -> None:
    left, right, both = box(100, 100, 200, 200), box(205, 100, 305, 200), box(100, 100, 305, 200)
    made = found(said(x=[both], **{f"w{k}": [left, right] for k in range(splitting)}))
    assert made == [left["xyxy"], right["xyxy"]]


def test_a_majority_makes_two_things_one() -> None:
    left, right, both = box(100, 100, 200, 200), box(205, 100, 305, 200), box(100, 100, 305, 200)
    made = found(said(a=[both], b=[both], c=[both], d=[left, right], e=[left, right]))
    assert made == [both["xyxy"]]


def test_an_object_around_objects_is_kept_with_them() -> None:
    nested = [box(0, 0, 100, 40, category="dog"), box(2, 2, 48, 38), box(52, 2, 98, 38)]
    assert len(found(said(a=nested, b=nested, c=nested[1:]))) == 3


def test_who_cannot_tell_neither_votes_nor_is_counted() -> None:
    items = [said(a=[box(0, 0, 9, 9)], b=[box(0, 0, 9, 9)], c=None)]
    assert set(TASK.skills(items, {})["workers"]) == {"a", "b"}
    assert TASK.consolidate(items[0], {}) == TASK.consolidate(items[0][:2], {})


# -------------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("history", [False, True])
def test_one_bad_worker_of_five_does_little_harm(history: bool) -> None:
    rng = np.random.default_rng(1)
    truths, items = crowd(rng, 80, {**FOUR, "bad": OFF})
    skills = TASK.skills(items, {}) if history else {}
    quality = [max(iou(b, t) for b in found(a, skills)) for t, a in zip(truths, items, strict=True)]
    mean = [iou(np.mean([a.payload["boxes"][0]["xyxy"] for a in given], axis=0).tolist(), t)
            for t, given in zip(truths, items, strict=True)]  # fmt: skip
    assert np.mean(quality) > 0.91, "the mean of the four good ones has .93"
    assert np.mean(quality) > np.mean(mean) + 0.1
    if history:
        q = TASK.skill(skills)
        assert q["bad"] < 0.5 * min(q[w] for w in FOUR)


def test_history_finds_biases_and_precisions() -> None:
    ways = {"left": ((-0.12, 0, 0, 0), 0.02), "large": ((0, 0, 0.2, 0.2), 0.02), "shaky": ((0,) * 4, 0.12)}
    truths, items = crowd(np.random.default_rng(2), 150, {**FOUR, **ways})
    skills = TASK.skills(items, {})
    cold, warm = (np.mean([iou(found(a, s)[0], t) for t, a in zip(truths, items, strict=True)]) for s in ({}, skills))
    assert warm > cold + 0.02
    kept = skills["workers"]
    assert kept["left"]["error"][0] / kept["left"]["boxes"] == pytest.approx(-0.12, abs=0.03)
    assert kept["large"]["error"][2] / kept["large"]["boxes"] == pytest.approx(0.2, abs=0.05)
    q = TASK.skill(skills)
    assert min(q[w] for w in FOUR) > max(q["large"], q["shaky"])


def test_gold_tells_who_is_right_where_all_others_are_wrong() -> None:
    ways = {"good": ((0,) * 4, 0.02)} | {f"b{k}": ((0.2, 0.2, 0, 0), 0.02) for k in range(4)}
    truths, items = crowd(np.random.default_rng(3), 60, ways)
    hints = [Hint(gold={"boxes": [box(*t)]} if k < 15 else None) for k, t in enumerate(truths)]
    blind, told = TASK.skills(items, {}), TASK.skills(items, {}, hints)
    assert max(TASK.skill(told), key=TASK.skill(told).__getitem__) == "good"
    assert TASK.skill(told)["good"] > TASK.skill(blind)["good"] + 0.1
    later, unseen = crowd(np.random.default_rng(4), 20, ways)
    before, after = (
        np.mean([iou(found(a, s)[0], t) for t, a in zip(later, unseen, strict=True)]) for s in (blind, told)
    )
    assert before < 0.75
    assert after > 0.85


@pytest.mark.parametrize("spam", ["whole", "empty", "random"])
def test_spammers_fade(spam: str) -> None:
    rng = np.random.default_rng(5)
    persona = {**TASK.worker(rng), "spammer": True, "spam": spam}
    truths, items = [], []
    for _ in range(60):
        truth = a_truth(rng)
        answers = [
            a for w in ("a", "b") for a in said(**{w: [off(truth, (0,) * 4, 0.05, rng)] if rng.random() > 0.1 else []})
        ]
        drawn = TASK.simulate({"boxes": [box(*truth)]}, persona, ITEM, rng).payload or {"boxes": []}
        truths.append(truth)
        items.append([*answers, *said(spammer=drawn["boxes"])])
    skills = TASK.skills(items, {})
    q = TASK.skill(skills)
    assert q["spammer"] < 0.5 * min(q["a"], q["b"])

    def quality(s: dict[str, Any]) -> float:
        return float(
            np.mean(
                [
                    1 - TASK.error(TASK.consolidate(a, s).payload or {"boxes": []}, {"boxes": [box(*t)]})
                    for t, a in zip(truths, items, strict=True)
                ]
            )
        )

    assert quality(skills) >= quality({}) - 0.01


def test_category_is_voted_by_who_knows_them() -> None:
    rng = np.random.default_rng(6)
    items = []
    for _ in range(80):
        true = NAMES[int(rng.integers(3))]
        names = {w: true for w in ("a", "b", "c")} | {w: NAMES[int(rng.integers(3))] for w in ("x", "y")}
        items.append(said(**{w: [box(10, 10, 60, 60, category=n)] for w, n in names.items()}))
    skills = TASK.skills(items, {})
    contested = said(
        **{w: [box(10, 10, 60, 60, category=n)] for w, n in zip("axy", ("dog", "cat", "cat"), strict=True)}
    )
    categories = []
    for s in ({}, skills):
        made = TASK.consolidate(contested, s).payload
        assert made is not None
        categories.append(made["boxes"][0]["category"])
    assert categories == ["cat", "dog"]


def test_expected_iou_is_that_of_normal_errors() -> None:
    rng = np.random.default_rng(7)
    truth = np.tile([[100.0, 100, 200, 180]], (4000, 1))
    for bias, sd in [((0,) * 4, 0.03), ((0,) * 4, 0.1), ((0.1, 0, -0.1, 0), 0.05)]:
        e = np.array(bias) + sd * rng.standard_normal((4000, 4))
        centre, size = np.array([150.0, 140]) + e[:, :2] * [100, 80], np.array([100.0, 80]) * (1 + e[:, 2:])
        boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        assert errors(boxes, truth) == pytest.approx(e)
        true = np.mean([iou_matrix(b[None], truth[:1])[0, 0] for b in boxes])
        assert expected_iou(np.array([bias], dtype=float), np.full((1, 4), sd**2))[0] == pytest.approx(true, abs=0.03)


def test_error_against_the_others_is_not_against_oneself() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 10], [4, 0, 14, 10]])
    made = fuse(boxes, np.zeros(3, dtype=np.intp), np.zeros((3, 4)), np.full((3, 4), 0.01))
    assert made.error[2] == pytest.approx([0.4, 0, 0, 0])


# ---------------------------------------------------------------------------------- goals and calibration


def simulated(b: float, seed: int, images: int = 190) -> tuple[list[Payload], list[list[Answer]]]:
    rng = np.random.default_rng([seed, round(1000 * b)])
    crowd = [
        {**TASK.worker(rng), "spammer": False, "bias": rng.uniform(-b, b, 4).tolist()}
        | {"spread": rng.uniform(0, b, 4).tolist(), "confusion": 0.1}
        for _ in range(12)
    ]
    truths, items = [], []
    for k in range(images):
        corner = [(200 + 320 * i, 200 + 320 * j) for i in range(2) for j in range(2)][: 1 + k % 4]
        sizes = rng.uniform(100, 300, (len(corner), 2))
        true: Payload = {
            "boxes": [box(x, y, x + w, y + h, category=NAMES[int(rng.integers(3))])
                      for (x, y), (w, h) in zip(corner, sizes, strict=True)]
        }  # fmt: skip
        chosen = rng.choice(12, 5, replace=False)
        drawn = {f"w{i}": TASK.simulate(true, crowd[i], ITEM, rng).payload for i in chosen}
        truths.append(true)
        items.append(said(**{w: [] if p is None else p["boxes"] for w, p in drawn.items()}))
    return truths, items


@pytest.mark.parametrize(("b", "cold", "warm"), [(0.05, 0.93, 0.937), (0.1, 0.87, 0.885), (0.2, 0.74, 0.79)])
def test_five_people_reach_the_goals_and_confidence_is_quality(b: float, cold: float, warm: float) -> None:
    truths, items = simulated(b, 0)
    skills = TASK.skills(items, {})
    for known, goal in (({}, cold), (skills, warm)):
        made = [TASK.consolidate(a, known) for a in items]
        labels = [m.payload or {"boxes": []} for m in made]
        best = [
            iou_matrix(np.array([x["xyxy"] for x in label["boxes"]]), np.array([t["xyxy"]])).max(initial=0)
            for label, true in zip(labels, truths, strict=True)
            for t in true["boxes"]
            if label["boxes"]
        ]
        assert np.mean([v for v in best if v > 0.3]) > goal
        quality = np.array([1 - TASK.error(x, t) for x, t in zip(labels, truths, strict=True)])
        confidence = np.array([m.confidence for m in made])
        assert abs(quality.mean() - confidence.mean()) < 0.08
        low = confidence < np.median(confidence)
        assert quality[~low].mean() > quality[low].mean() + 0.02


def test_a_box_that_is_corrected_for_its_drawer_stays_in_the_image() -> None:
    rng = np.random.default_rng(0)
    items = []
    for _ in range(60):
        x, y, w, h = (float(v) for v in (*rng.uniform(50, 300, 2), *rng.uniform(80, 150, 2)))
        moved = {who: by for who, by in zip("abc", (0.12, *rng.normal(0, 0.01, 2)), strict=True)}
        items.append(said(**{k: [box(x + b * w, y + b * h, x + w + b * w, y + h + b * h)] for k, b in moved.items()}))
    skills = TASK.skills(items, {})
    made = TASK.consolidate(said(a=[box(0, 0, 100, 100)]), skills).payload
    assert made is not None
    assert min(made["boxes"][0]["xyxy"]) < -2, "else this shows nothing"
    inside = TASK.clip(made, ITEM)
    assert inside["boxes"][0]["xyxy"][:2] == [0, 0]
    assert TASK.parse(inside, ITEM) == inside
