"""A model's vote on boxes: earned by how people took its boxes before, never more, and nothing about people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtloop.interfaces import Context, Hint
from gtloop.records import Answer, Item, Payload, Raw
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.bbox.voter import LEAST, MEMORY, MODEL, Model

NAMES = ("bird", "cat", "dog")
TASK = BBox(BBox.Options(), Context(categories=NAMES))
ITEM = Item(row=0, id="i", name="a.jpg", uri="a.jpg", width=1000, height=800)
XYXY = [300.0, 300.0, 500.0, 450.0]
Rng = np.random.Generator


class World(NamedTuple):
    truths: list[Payload]
    answers: list[list[Answer]]
    """Three for each image."""


def answer(worker: str, boxes: Sequence[Mapping[str, Any]]) -> Answer:
    payload = {"boxes": list(boxes)} if boxes else None
    outcome = "label" if boxes else "empty"
    return Answer(id=worker, request="r", worker=worker, outcome=outcome, payload=payload, at="t")


def box(xyxy: Sequence[float] = XYXY, category: str = "bird") -> dict[str, Any]:
    return {"category": category, "xyxy": [float(v) for v in xyxy]}


def raw(*boxes: tuple[Sequence[float], float, str]) -> Raw:
    kept = sorted(boxes, key=lambda b: -b[1])
    return {
        "xyxy": [[float(v) for v in xyxy] for xyxy, _, _ in kept],
        "scores": [float(score) for _, score, _ in kept],
        "categories": [NAMES.index(c) for _, _, c in kept],
    }


@cache
def world(images: int = 240, seed: int = 0, b: float = 0.1) -> World:
    """Two objects an image, apart from each other; people of the task's simulation, none a spammer."""
    rng = np.random.default_rng(seed)
    crowd = [TASK.worker(rng) | {"spammer": False, "profile": "crowd"} for _ in range(8)]
    for person in crowd:
        person |= {"bias": rng.uniform(-b, b, 4).tolist(), "spread": rng.uniform(0, b, 4).tolist(), "miss": 0.15}
    truths, answers = [], []
    for _ in range(images):
        boxes = []
        for left in (50.0, 550.0):
            x, y, w, h = left + rng.uniform(0, 100), rng.uniform(50, 400), *rng.uniform(150, 250, 2)
            boxes.append(box([x, y, x + w, y + h], NAMES[int(rng.integers(3))]))
        truths.append({"boxes": boxes})
        who = rng.choice(8, 3, replace=False).tolist()
        said = [(k, TASK.simulate(truths[-1], crowd[k], ITEM, rng)) for k in who]
        answers.append([answer(f"w{k}", (s.payload or {"boxes": []})["boxes"]) for k, s in said])
    return World(truths, answers)


def detector(
    seed: int = 0, spread: float = 0.05, miss: float = 0.15, blind: str = "", shift: float = 0.0
) -> Callable[[Payload], Raw]:
    """Finds most objects, sure or not, and as often things that are none, mostly unsure."""
    rng = np.random.default_rng(seed)

    def says(truth: Payload) -> Raw:
        made = []
        for true in truth["boxes"]:
            if true["category"] == blind or rng.random() < miss:
                continue
            x1, y1, x2, y2 = true["xyxy"]
            e = shift + spread * rng.standard_normal(4)
            moved = np.array([x1, y1, x2, y2]) + e * (x2 - x1)
            made.append((moved.tolist(), rng.beta(6, 1), true["category"]))
        if rng.random() < 0.5:
            x, y = rng.uniform(0, 700, 2)
            made.append(([x, y, x + 120, y + 90], rng.beta(1, 2), "bird"))
        return raw(*made)

    return says


def labelled(of: World, raws: Sequence[Raw | None], people: int = 2) -> list[Payload]:
    """By batches of 40, as in a run."""
    skills: dict[str, Any] = {}
    made = []
    given = [a[:people] for a in of.answers]
    for n in range(0, len(given), 40):
        part = slice(n, n + 40)
        skills = TASK.skills(given[part], skills, [Hint(raw=r) for r in raws[part]])
        for a, r in zip(given[part], raws[part], strict=True):
            label = (TASK.consolidate(a, skills) if r is None else TASK.assist(a, skills, r)).payload
            assert label is not None
            made.append(label)
    return made


@cache
def alone(people: int = 2) -> list[Payload]:
    return labelled(world(), [None] * len(world().truths), people)


def quality(labels: Sequence[Payload], truths: Sequence[Payload]) -> float:
    return float(np.mean([1 - TASK.error(a, b) for a, b in zip(labels, truths, strict=True)]))


def taught(says: Callable[[Payload], Raw], images: int = 240, people: int = 3) -> dict[str, Any]:
    of = world()
    hints = [Hint(raw=says(t)) for t in of.truths[:images]]
    return TASK.skills([a[:people] for a in of.answers[:images]], {}, hints)


@cache
def known() -> dict[str, Any]:
    """Skills after 240 images with a good model."""
    return taught(detector())


# ------------------------------------------------------------------------------------------ what it does


@pytest.mark.parametrize(("people", "gain"), [(2, 0.03), (3, 0.01)])
def test_a_good_model_makes_better_labels(people: int, gain: float) -> None:
    of, says = world(), detector()
    voted = labelled(of, [says(t) for t in of.truths], people)
    assert quality(voted, of.truths) > quality(alone(people), of.truths) + gain


@pytest.mark.parametrize("kind", ["chance", "blind", "shifted", "sloppy", "sure of nothing"])
def test_a_bad_model_does_no_harm(kind: str) -> None:
    of = world()
    says = {
        "blind": detector(blind="cat"),
        "shifted": detector(shift=0.15),
        "sloppy": detector(spread=0.25),
    }.get(kind, detector())
    raws = [says(t) for t in of.truths]
    if kind == "chance":
        raws = raws[1:] + raws[:1]
    elif kind == "sure of nothing":
        raws = [raw(([10.0, 10.0, 60.0, 60.0], 0.99, "bird"), (t["boxes"][0]["xyxy"], 0.3, "dog")) for t in of.truths]
    voted = labelled(of, raws)
    assert quality(voted, of.truths) > quality(alone(), of.truths) - 0.004
    cats = [n for n, t in enumerate(of.truths) if any(b["category"] == "cat" for b in t["boxes"])]
    ours, theirs = ([labels[n] for n in cats] for labels in (voted, alone()))
    truths = [of.truths[n] for n in cats]
    assert quality(ours, truths) > quality(theirs, truths) - 0.006


def test_it_settles_what_one_of_two_drew() -> None:
    two = [answer("new", [box()]), answer("other", [])]
    there, not_there = raw((XYXY, 0.95, "bird")), raw()
    exists = {}
    for name, says in (("there", there), ("not there", not_there)):
        made = TASK.assist(two, known(), says)
        assert made.payload is not None
        exists[name] = len(made.payload["boxes"]), TASK.sure(two, known(), Hint(raw=says), 3)
    assert exists["there"][0] == 1
    assert exists["not there"][0] == 0
    assert exists["there"][1] > TASK.sure(two, known(), Hint(), 3) + 0.02, "it agrees with one of them"


def test_what_it_alone_sees_is_asked_about_and_is_no_part_of_a_label() -> None:
    two = [answer("new", [box()]), answer("other", [box()])]
    more = raw((XYXY, 0.95, "bird"), ([700.0, 100.0, 900.0, 300.0], 0.95, "cat"))
    made = TASK.assist(two, known(), more)
    assert made.payload is not None
    assert [b["category"] for b in made.payload["boxes"]] == ["bird"]
    less = raw((XYXY, 0.95, "bird"))
    assert TASK.sure(two, known(), Hint(raw=more), 3) < TASK.sure(two, known(), Hint(raw=less), 3) - 0.02
    empty = [answer("new", []), answer("other", [])]
    assert TASK.assist(empty, known(), more).payload == {"boxes": []}
    assert TASK.sure(empty, known(), Hint(raw=more), 3) < TASK.sure(empty, known(), Hint(raw=raw()), 3)


def test_one_object_shown_twice_is_nothing_new() -> None:
    two = [answer("new", [box()]), answer("other", [box()])]
    again = [v + 20 for v in XYXY]
    once, twice = raw((XYXY, 0.95, "bird")), raw((XYXY, 0.95, "bird"), (again, 0.9, "bird"))
    assert TASK.sure(two, known(), Hint(raw=twice), 3) == TASK.sure(two, known(), Hint(raw=once), 3)
    assert TASK.assist(two, known(), twice) == TASK.assist(two, known(), once)


def test_it_breaks_a_tie_of_two_categories() -> None:
    two = [answer("new", [box(category="cat")]), answer("other", [box(category="dog")])]
    for category in ("cat", "dog"):
        made = TASK.assist(two, known(), raw((XYXY, 0.95, category)))
        assert made.payload is not None
        assert [b["category"] for b in made.payload["boxes"]] == [category]


# --------------------------------------------------------------------------------------- what it has earned


@settings(deadline=None, max_examples=10)
@given(st.integers(0, LEAST - 1), st.integers(0, 10_000))
def test_with_few_earlier_items_it_has_no_vote(images: int, seed: int) -> None:
    says = detector(seed)
    skills = taught(says, images)
    of = world()
    given_, hint = of.answers[-1][:2], says(of.truths[-1])
    assert TASK.assist(given_, skills, hint) == TASK.consolidate(given_, skills)
    assert TASK.sure(given_, skills, Hint(raw=hint), 3) == TASK.sure(given_, skills, Hint(), 3)


def moved(skills: Mapping[str, Any], by: float = 20.0) -> float:
    """How far a model that is off by so many pixels moves the box of two new people who agree."""
    two = [answer("new", [box()]), answer("other", [box()])]
    label = TASK.assist(two, skills, raw(([v + by for v in XYXY], 0.95, "bird"))).payload
    before = TASK.consolidate(two, skills).payload
    assert label is not None
    assert before is not None
    return float(np.abs(np.subtract(label["boxes"][0]["xyxy"], before["boxes"][0]["xyxy"])).max())


def test_edges_go_by_its_errors_so_far() -> None:
    exact, sloppy = moved(taught(detector(spread=0.02))), moved(taught(detector(spread=0.2)))
    assert sloppy < exact / 3
    assert moved(taught(detector(spread=0.02), images=25)) < exact, "trust grows with what is known"


def test_a_bias_of_its_own_is_taken_off() -> None:
    """A model whose boxes are all .1 of a width too far right and down agrees with people where it is off by that."""
    skills = taught(detector(spread=0.02, shift=0.1))
    assert moved(skills, 20.0) < moved(skills, 0.0), "20 px is a tenth of the width"


def test_it_never_counts_as_more_exact_than_half_its_distance_to_people() -> None:
    """Where it is as near to people as people to each other, that is no proof that it is exact."""
    n = 300.0
    square = [0.01 * n] * 4
    kept = taught(detector())[MODEL] | {"boxes": n, "error": [0.0] * 4, "square": square, "blur": square}
    assert Model(kept).variance.min() > 0.005


def test_a_category_that_it_never_sees_is_not_voted_away() -> None:
    skills = taught(detector(blind="cat"))
    two = [answer("new", [box(category="cat")]), answer("other", [])]
    bird = [answer("new", [box(category="bird")]), answer("other", [])]
    assert TASK.assist(bird, skills, raw()).payload == {"boxes": []}
    voted = TASK.assist(two, skills, raw())
    assert voted.payload is not None
    assert len(voted.payload["boxes"]) == 1


def test_an_old_model_is_forgotten() -> None:
    skills: dict[str, Any] = {}
    of, says = world(), detector()
    for _ in range(4):
        skills = TASK.skills(of.answers, skills, [Hint(raw=says(t)) for t in of.truths])
    assert skills[MODEL]["images"] <= MEMORY + len(of.truths)
    kept = skills[MODEL]["object"], skills[MODEL]["other"]
    assert np.sum(kept) < 3 * (MEMORY + len(of.truths))
    assert TASK.skills(of.answers, skills)[MODEL] == skills[MODEL], "items without a model change nothing about it"


def test_what_is_known_of_one_model_says_nothing_of_another() -> None:
    of, says = world(), detector()
    one = TASK.skills(of.answers, {}, [Hint(raw=says(t), model="one.0") for t in of.truths])
    few = of.answers[:5]
    same = TASK.skills(few, one, [Hint(raw=says(t), model="one.0") for t in of.truths[:5]])
    other = TASK.skills(few, one, [Hint(raw=says(t), model="two.0") for t in of.truths[:5]])
    assert same[MODEL]["images"] == len(of.truths) + 5
    assert other[MODEL]["images"] == 5
    alone = [Hint(raw=says(of.truths[0]), model="two.0")]
    assert MODEL not in TASK.skills([of.answers[0][:1]], one, alone), "nor where its first item teaches nothing"


# ------------------------------------------------------------------------------------------- what it never does


predictions = st.lists(
    st.tuples(st.integers(0, 700), st.integers(0, 500), st.floats(0.01, 1.0), st.sampled_from(NAMES)), max_size=4
)


@settings(deadline=None, max_examples=12)
@given(st.lists(predictions, min_size=LEAST, max_size=LEAST), st.integers(1, 3), st.randoms(use_true_random=False))
def test_it_changes_nothing_about_people_and_nothing_depends_on_the_order(
    drawn: list[list[tuple[int, int, float, str]]], people: int, random: Any
) -> None:
    of = world()
    given_ = [a[:people] for a in of.answers[: len(drawn)]]
    raws = [raw(*(([x, y, x + 200, y + 150], s, c) for x, y, s, c in boxes)) for boxes in drawn]
    hints = [Hint(raw=r) for r in raws]
    skills, without = TASK.skills(given_, {}, hints), TASK.skills(given_, {})
    assert {k: v for k, v in skills.items() if k != MODEL} == without
    assert (MODEL in skills) == (people > 1), "what one person says tells nothing of a model"
    assert json.loads(json.dumps(skills)) == skills
    mixed = [random.sample(a, len(a)) for a in given_]
    assert TASK.skills(mixed, {}, hints) == skills
    for a, other, hint in list(zip(given_, mixed, hints, strict=True))[:6]:
        assert TASK.consolidate(a, skills) == TASK.consolidate(a, without)
        made = TASK.assist(a, skills, hint.raw or {})
        assert made == TASK.assist(other, skills, hint.raw or {})
        assert made.payload is not None
        assert 0 <= made.confidence <= 1
        assert len(made.payload["boxes"]) <= sum(len((x.payload or {"boxes": []})["boxes"]) for x in a)
        assert 0 <= TASK.sure(a, skills, hint, 2) <= 1
