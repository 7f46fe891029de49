"""Task ``segmentation``: its arithmetic against dense masks, its consolidation and people, its predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gtloop import masks
from gtloop.errors import BadAnswer, BadLabels, ConfigError
from gtloop.interfaces import Context, Hint
from gtloop.labels import RawMasks, SegmentationLabel
from gtloop.masks import BACKGROUND, VOID
from gtloop.records import Answer, Item, Payload
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES as TINY
from gtloop.testing.fakes import SIZE, tiny_truth
from gtloop_plugins.tasks.segmentation import Segmentation, tiling

calm = settings(deadline=None, max_examples=60)

CATEGORIES = ("sky", "road", "car")
H, W = 6, 7
TASK = Segmentation(Segmentation.Options(), Context(categories=CATEGORIES))
GROUNDED = Segmentation(Segmentation.Options(background="sky"), Context(categories=CATEGORIES))
ITEM = Item(row=0, id="i", name="a.jpg", uri="a.jpg", width=W, height=H)

maps = arrays(np.int16, (H, W), elements=st.integers(-2, 2))
plain_maps = arrays(np.int16, (H, W), elements=st.integers(-1, 2))


def label(index: NDArray[Any], categories: Sequence[str] = CATEGORIES) -> Payload:
    return masks.from_map(np.asarray(index), categories).model_dump(mode="json", exclude_none=True)


def dense(payload: Payload | None, categories: Sequence[str] = CATEGORIES) -> NDArray[np.int16]:
    assert payload is not None
    return masks.to_map(SegmentationLabel.model_validate(payload), categories)


def full(value: int) -> NDArray[np.int16]:
    return np.full((H, W), value, np.int16)


def box(value: int, x1: int, y1: int, x2: int, y2: int, on: NDArray[np.int16] | None = None) -> NDArray[np.int16]:
    index = full(BACKGROUND) if on is None else on.copy()
    index[y1:y2, x1:x2] = value
    return index


def answer(worker: str, payload: Payload | None, outcome: str = "label", **more: Any) -> Answer:
    return Answer.model_validate(
        {
            "id": f"a-{worker}",
            "request": "r",
            "worker": worker,
            "outcome": outcome,
            "payload": payload,
            "at": "t",
            **more,
        }
    )


def answers(*indices: NDArray[Any]) -> list[Answer]:
    return [answer(f"w{n}", label(index)) for n, index in enumerate(indices)]


# --------------------------------------------------------------------------------------------- error


def dense_iou(a: NDArray[Any], b: NDArray[Any], skip: tuple[int, ...] = ()) -> float:
    """The definition, pixel by pixel."""
    counts = (a != VOID) & (b != VOID)
    some = (counts | (a >= 0) | (b >= 0)).any()
    if not counts.any():
        return float(not some or (not (a >= 0).any() and not (b >= 0).any()))
    values = [v for v in range(3) if v not in skip and (((a == v) | (b == v)) & counts).any()]
    found = [((a == v) & (b == v) & counts).sum() / (((a == v) | (b == v)) & counts).sum() for v in values]
    return float(np.mean(found)) if found else 1.0


@calm
@given(maps, maps)
def test_error_is_that_of_dense_masks(a: NDArray[Any], b: NDArray[Any]) -> None:
    there, back = TASK.error(label(a), label(b)), TASK.error(label(b), label(a))
    assert there == back
    assert 0 <= there <= 1
    if not (a == b).all():
        assert there == pytest.approx(1 - dense_iou(a, b))
    assert TASK.error(label(a), label(a)) == 0


@calm
@given(plain_maps, plain_maps)
def test_background_is_in_no_metric(a: NDArray[Any], b: NDArray[Any]) -> None:
    assert GROUNDED.error(label(a), label(b)) == pytest.approx(1 - dense_iou(a, b, skip=(0,)))
    # Without a category or in the background's region is the same.
    parsed = GROUNDED.parse(label(a), ITEM)
    assert GROUNDED.error(parsed, label(b)) == GROUNDED.error(label(a), label(b))
    assert (dense(parsed) == np.where(a == BACKGROUND, 0, a)).all()


def test_error_by_hand() -> None:
    truth = box(1, 0, 0, 4, 6, on=box(2, 4, 0, 6, 6))
    # road: 18 of 24 + 6 pixels; car missed: mean of 18/30 and 0.
    ours = box(1, 1, 0, 4, 6, on=box(1, 6, 0, 7, 6))
    assert TASK.error(label(ours), label(truth)) == pytest.approx(1 - (18 / 30 + 0) / 2)
    assert TASK.error(label(full(BACKGROUND)), label(truth)) == 1
    assert TASK.error(label(full(BACKGROUND)), label(full(BACKGROUND))) == 0


def test_void_forgives_pixels_but_not_everything() -> None:
    truth = box(1, 0, 0, 4, 6)
    unsure = box(VOID, 2, 0, 7, 6, on=box(1, 0, 0, 2, 6))
    assert TASK.error(label(unsure), label(truth)) == 0
    assert TASK.error(label(full(VOID)), label(truth)) == 1, "who calls everything void is not right"
    assert TASK.error(label(truth), label(full(VOID))) == 1
    assert TASK.error(label(full(VOID)), label(full(VOID))) == 0
    assert TASK.error(label(full(VOID)), label(full(BACKGROUND))) == 0


def test_labels_of_two_sizes_have_nothing_in_common() -> None:
    assert TASK.error(label(full(1)), label(full(1).T)) == 1
    assert TASK.evaluate([(label(full(1)), label(full(1).T))])["mean"] == 0


def test_a_4k_image() -> None:
    rng = np.random.default_rng(0)
    categories = [f"c{n}" for n in range(11)]
    coarse = np.kron(rng.integers(-2, 11, (27, 48)), np.ones((80, 80), np.int64)).astype(np.int16)
    task = Segmentation(Segmentation.Options(), Context(categories=tuple(categories)))
    a, b = label(coarse, categories), label(np.roll(coarse, 7, axis=1), categories)
    item = Item(row=0, id="i", name="a.jpg", uri="a.jpg", width=3840, height=2160)
    assert task.parse(a, item) == task.parse(task.parse(a, item), item)
    assert 0.1 < task.error(a, b) < 0.4


@calm
@given(maps)
def test_runs_are_what_masks_decode(index: NDArray[Any]) -> None:
    payload = label(index)
    found = tiling.read(payload, CATEGORIES, "")
    assert tiling.overlap(found) is None
    values = tiling.values_at(found, np.arange(H * W), len(CATEGORIES)).reshape((H, W), order="F")
    assert (values == np.select([index == BACKGROUND, index == VOID], [3, 4], index)).all()
    for region in payload["regions"]:
        assert tiling.encode(tiling.decode(region["counts"], (H, W)), (H, W)) == region["counts"]


# --------------------------------------------------------------------------------------------- parse


@calm
@given(maps)
def test_parse_is_canonical(index: NDArray[Any]) -> None:
    payload = label(index)
    parsed = TASK.parse({**payload, "regions": payload["regions"][::-1]}, ITEM)
    assert parsed == payload
    assert TASK.parse(parsed, ITEM) == parsed
    whole = GROUNDED.parse(payload, ITEM)
    assert GROUNDED.parse(whole, ITEM) == whole


def region(category: str, mask: NDArray[Any], **rest: Any) -> dict[str, Any]:
    return {"category": category, "counts": masks.encode(np.asarray(mask, bool)), **rest}


LEFT, RIGHT = box(1, 0, 0, 3, 6) == 1, box(1, 3, 0, 7, 6) == 1


def test_regions_of_one_category_become_one() -> None:
    parts = [region("car", LEFT, confidence=0.5), region("sky", RIGHT[:] & False), region("car", RIGHT)]
    parsed = TASK.parse({"size": [H, W], "regions": parts, "void": masks.encode(full(0) > 0)}, ITEM)
    everything = masks.encode(full(0) == 0)
    sure = (0.5 * 3 + 1.0 * 4) / 7  # a region without a confidence counts as 1
    assert parsed == {"size": [H, W], "regions": [{"category": "car", "counts": everything, "confidence": sure}]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": [W, H]}, rf"^masks of {H} x {W} pixels, but a.jpg is {W} x {H} as displayed"),
        ({"regions": [region("cra", LEFT)]}, "'cra' is not declared; use one of: sky, road, car"),
        ({"regions": [region("car", LEFT.T[:, :3])]}, r"regions.0: .* in a mask of 7 x 6"),
        ({"regions": [{"category": "car", "counts": "no code!"}]}, "regions.0: .*run-length"),
        ({"regions": [{"category": "car", "counts": ""}]}, "regions.0: 0 pixels in a mask"),
        ({"regions": [region("car", LEFT, confidence=2)]}, "regions.0.confidence"),
        ({"regions": [{"category": "car"}]}, "regions.0.counts"),
        ({"regions": [region("car", LEFT), region("road", full(0) == 0)]}, r"road and car have both pixel \(0, 0\)"),
        ({"regions": [region("car", LEFT)], "void": masks.encode(LEFT)}, r"car and void .* 18 pixels in all"),
        ({"size": [0, 7], "regions": []}, "size"),
        ({"boxes": []}, "boxes"),
    ],
)
def test_parse_refuses(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadAnswer, match=says) as e:
        TASK.parse({"size": [H, W], "regions": [], **change}, ITEM)
    assert "\n" not in str(e.value)


def test_an_image_of_unknown_size_takes_any() -> None:
    item = Item(row=0, id="i", name="a.jpg", uri="a.jpg")
    assert TASK.parse(label(full(1).T), item)["size"] == [W, H]
    with pytest.raises(BadAnswer, match="holds no pixel"):
        TASK.parse({"size": [0, 0], "regions": []}, item)


# --------------------------------------------------------------------------------------- consolidation


@calm
@given(st.lists(maps, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_consolidation_ignores_the_order(indices: list[NDArray[Any]], random: Any) -> None:
    given_answers = answers(*indices)
    skills = {"workers": {"w0": {"items": 30, "iou": 27.0}, "w1": {"items": 9, "iou": 1.0}}}
    for known in ({}, skills):
        made = TASK.consolidate(given_answers, known)
        assert made == TASK.consolidate(random.sample(given_answers, len(indices)), known)
        assert 0 <= made.confidence <= 1
        assert 0 <= made.agreement <= 1
        assert made.payload is not None
        parsed = TASK.parse(made.payload, ITEM)
        assert parsed == made.payload
    # Nor does it matter who said what, as long as nobody is known.
    assert TASK.consolidate(answers(*random.sample(indices, len(indices))), {}) == TASK.consolidate(given_answers, {})


@calm
@given(maps, st.integers(1, 4))
def test_unanimous_answers_are_the_label(index: NDArray[Any], workers: int) -> None:
    made = TASK.consolidate(answers(*[index] * workers), {})
    assert (dense(made.payload) == index).all()
    assert made.agreement == 1
    assert made.confidence == pytest.approx(1 / (1 + (0.3 / 0.7) ** workers))


@calm
@given(st.lists(maps, min_size=3, max_size=5))
def test_a_majority_always_wins(indices: list[NDArray[Any]]) -> None:
    made = dense(TASK.consolidate(answers(*indices), {}).payload)
    stack = np.stack(indices)
    for value in range(-2, 3):
        sure = 4 * (stack == value).sum(axis=0) > 3 * len(indices)
        assert (made[sure] == value).all()
    assert all(made[at] in stack[(slice(None), *at)] for at in np.ndindex(H, W))


def test_two_of_three_by_hand() -> None:
    a, b, c = box(1, 0, 0, 4, 6), box(1, 0, 0, 4, 6), box(1, 0, 0, 2, 6, on=box(2, 5, 0, 7, 6))
    made = TASK.consolidate(answers(a, b, c), {})
    assert (dense(made.payload) == a).all()
    q = 0.7 / 0.3
    agreed, contested = q**3 / (q**3 + 1), q**2 / (q**2 + q)
    # 12 pixels of road by all, 12 by two of three; 12 of background that one calls a car.
    assert made.confidence == pytest.approx((12 * agreed + 24 * contested) / 36)
    assert made.payload is not None
    assert made.payload["regions"][0]["confidence"] == pytest.approx((agreed + contested) / 2)
    # Road: 1 between the first two, 12/24 with the third, who has a car as well.
    assert made.agreement == pytest.approx((1 + 2 * (0.5 + 0) / 2) / 3)


def test_the_neighbourhood_decides_a_tie() -> None:
    tall = (15, 15)
    index = np.full(tall, BACKGROUND, np.int16)
    road, car = index.copy(), index.copy()
    road[:, :8], car[:, :8] = 1, 1
    road[:, 8:], car[:, 8:] = 2, 2
    car[7, 3], road[7, 12] = 2, 1  # one speck each, in what both call otherwise
    made = dense(TASK.consolidate(answers(road, car), {}).payload)
    assert made[7, 3] == 1
    assert made[7, 12] == 2


def test_void_needs_more_than_half() -> None:
    road, void, car = full(1), full(VOID), full(2)
    assert (dense(TASK.consolidate(answers(road, void, void), {}).payload) == VOID).all()
    assert (dense(TASK.consolidate(answers(road, void), {}).payload) == 1).all()
    assert set(np.unique(dense(TASK.consolidate(answers(road, void, car), {}).payload))) <= {1, 2}
    assert TASK.consolidate(answers(road, void), {}).agreement == 0, "nobody agrees by calling everything void"


def test_who_cannot_tell_does_not_count_and_empty_is_background() -> None:
    unsure = [answer(w, None, "cannot_tell") for w in ("x", "y", "z")]
    nothing = [answer(w, None, "empty") for w in ("e", "f")]
    seen = answer("w", label(full(1)))
    assert (dense(TASK.consolidate([*unsure, seen], {}).payload) == 1).all()
    assert (dense(TASK.consolidate([*nothing, seen], {}).payload) == BACKGROUND).all()
    assert TASK.consolidate(unsure, {}).payload is None
    assert TASK.consolidate(nothing, {}).payload is None, "nobody says how large the image is"
    assert TASK.form().empty_allowed is False
    blank = {"size": [H, W], "regions": []}
    assert TASK.consolidate([answer("w", blank)], {}).payload == blank


def test_one_worker_has_one_vote_and_one_size_counts() -> None:
    twice = [answer("w", label(full(2)), id="1"), answer("w", label(full(2)), id="2"), answer("v", label(full(1)))]
    again = [*twice, answer("u", label(full(1)))]
    assert (dense(TASK.consolidate(again, {}).payload) == 1).all()
    other = [*answers(full(1), full(1)), answer("t", label(full(2).T))]
    assert TASK.consolidate(other, {}).payload == TASK.consolidate(other[:2], {}).payload


def test_background_by_name_and_by_silence_is_one_vote() -> None:
    made = GROUNDED.consolidate(answers(full(BACKGROUND), full(0), full(1)), {})
    assert (dense(made.payload) == 0).all(), "the category that is background gets the pixels"
    assert made.payload is not None
    assert GROUNDED.count(made.payload) == 0


# --------------------------------------------------------------------------------------------- skills


def test_skills_tell_the_good_from_the_bad() -> None:
    truth = box(1, 0, 0, 4, 6)
    near, far = box(1, 0, 0, 4, 5), box(2, 0, 0, 7, 6)
    said = {"good": truth, "same": truth, "fair": near, "bad": far}
    item = [answer(worker, label(index)) for worker, index in said.items()]
    skills: dict[str, Any] = {}
    for _ in range(8):
        skills = TASK.skills([item, item[::-1]], skills)
    assert json.loads(json.dumps(skills)) == skills
    assert {s["items"] for s in skills["workers"].values()} == {16}
    found = TASK.skill(skills)
    assert found["good"] == found["same"] > found["fair"] > found["bad"]
    assert 0.8 < found["good"] <= 1
    assert found["bad"] < 0.2
    # Alone against two whom nobody trusts, the good one is believed.
    known = {**skills["workers"], "worse": skills["workers"]["bad"]}
    against = [item[0], answer("bad", label(far)), answer("worse", label(far))]
    made = TASK.consolidate(against, {"workers": known})
    assert (dense(made.payload) == truth).all()


def test_skills_need_two_people_and_do_not_reward_void() -> None:
    assert TASK.skills([answers(full(1)), []], {}) == {}
    assert TASK.skills([[answer("a", None, "empty"), answer("b", None, "empty")]], {}) == {}
    assert TASK.skill({}) == {}
    lazy = TASK.skills([answers(full(VOID), full(1), full(1))], {})["workers"]
    assert lazy["w0"]["iou"] == 0
    # What the others leave void is nobody's fault; and nobody is judged by who says void only.
    shy = TASK.skills([answers(full(1), box(VOID, 0, 0, 3, 6, on=full(1)))] * 30, {})
    found = TASK.skill(shy)
    assert found["w0"] > found["w1"] + 0.2
    assert set(TASK.skills([answers(full(VOID), full(1))], {})["workers"]) == {"w0"}


def test_skills_do_not_sink_with_the_company() -> None:
    """Who meets careless people looks no worse than who meets careful ones."""
    truth = np.kron(np.random.default_rng(0).integers(0, 3, (8, 8)), np.ones((8, 8), np.int64))

    def copied(wrong: float, *seed: int) -> Payload:
        own = np.random.default_rng(seed)
        return label(np.where(own.random(truth.shape) < wrong, own.integers(0, 3, truth.shape), truth))

    wrong = {"one": 0.1, "other": 0.1, "a": 0.05, "b": 0.05, "c": 0.5, "d": 0.5}
    company = ["one a b", "other c d", "a b c", "a b d"]
    items = [
        [answer(w, copied(wrong[w], n, m, k)) for k, w in enumerate(names.split())]
        for n in range(12)
        for m, names in enumerate(company)
    ]
    found = TASK.skill(TASK.skills(items, {}))
    assert found["one"] == pytest.approx(found["other"], abs=0.07)
    assert found["a"] > found["other"] > found["c"] + 0.2


def test_a_known_truth_judges_alone() -> None:
    truth, wrong = full(1), full(2)
    item = answers(truth, wrong, wrong)
    told = TASK.skills([item] * 20, {}, [Hint(gold=label(truth))] * 20)
    assert told["workers"]["w0"] == {"items": 20, "weight": 20.0, "iou": 20.0}
    assert told["workers"]["w1"]["iou"] == told["workers"]["w2"]["iou"] == 0
    assert (dense(TASK.consolidate(item, told).payload) == truth).all(), "one who is known to be right beats two"
    assert (dense(TASK.consolidate(item, TASK.skills([item] * 20, {}, [Hint()] * 20)).payload) == wrong).all()
    alone = TASK.skills([[answer("w", None, "empty")]], {}, [Hint(gold=label(full(BACKGROUND)))])
    assert alone["workers"]["w"]["iou"] == 1, "a truth says how large the image is"
    assert TASK.skills([item], {}, [Hint(gold=label(full(VOID)))]) == {}, "a truth that is all void says nothing"


def test_skills_of_a_run_that_began_with_the_first_version_are_read() -> None:
    skills = {"workers": {"w0": {"items": 9, "iou": 6.3}}}
    assert TASK.skill(skills)["w0"] == pytest.approx(0.7)
    assert TASK.skills([answers(full(1), full(1))], skills)["workers"]["w0"]["items"] == 10


def test_the_best_of_three_does_not_decide_alone() -> None:
    good = {"items": 200, "weight": 200.0, "iou": 200.0}
    known = {"workers": {"w0": good}}
    made = TASK.consolidate(answers(full(1), full(2), full(2)), known)
    assert (dense(made.payload) == 2).all(), "two people of the usual skill outvote any one"


# --------------------------------------------------------------------------------------------- people


def scene(height: int = 90, width: int = 120) -> NDArray[np.int16]:
    index = np.full((height, width), 0, np.int16)
    index[height // 2 :] = 1
    index[50:80, 20:60] = 2
    index[40:44, 90:94] = 2
    index[:, :2] = VOID
    return index


def crowd(profile: str | None = None, n: int = 60, **changes: Any) -> list[dict[str, Any]]:
    found = [TASK.worker(np.random.default_rng([7, k])) for k in range(8 * n)]
    kept = [w for w in found if profile in (None, w["profile"])]
    return [{**w, "spammer": False, **changes} for w in kept[:n]]


def quality(people: Sequence[dict[str, Any]], truth: Payload) -> list[float]:
    said = [TASK.simulate(truth, w, ITEM, np.random.default_rng([3, k])) for k, w in enumerate(people)]
    return [1 - TASK.error(s.payload or {}, truth) for s in said]


def test_people_are_as_good_as_their_profile() -> None:
    truth = label(scene())
    expert, poor = (np.mean(quality(crowd(p, 25), truth)) for p in ("expert", "poor"))
    assert 0.7 < expert < 0.98
    assert 0.2 < poor < expert - 0.1
    spam = np.mean(quality(crowd(None, 25, spammer=True), truth))
    assert spam < 0.3
    assert np.mean(quality(crowd("crowd", 25, noise=0.3), truth)) > np.mean(quality(crowd("crowd", 25), truth))


def test_outlines_move_and_small_parts_are_missed() -> None:
    truth = label(scene())
    careful = crowd("crowd", 40, confusion=0.0, gives_up=0.0, miss=0.0)
    found = quality(careful, truth)
    assert 0.75 < np.mean(found) < 0.99
    assert np.std(found) > 0.005
    blind = crowd("crowd", 40, confusion=0.0, gives_up=0.0, miss=0.4)
    said = [TASK.simulate(truth, w, ITEM, np.random.default_rng([4, k])) for k, w in enumerate(blind)]
    small = [(dense(s.payload)[38:46, 88:96] == 2).any() for s in said]
    assert 0.05 < np.mean(small) < 0.5, "a small part is missed with twice the probability"
    assert all((dense(s.payload)[60:70, 30:50] == 2).all() for s in said), "a large one never"


def test_the_lazy_paint_one_region_only() -> None:
    truth = label(scene())
    lazy = crowd("poor", 40, gives_up=0.5)
    regions = [
        len(s.payload["regions"])
        for k, w in enumerate(lazy)
        if (s := TASK.simulate(truth, w, ITEM, np.random.default_rng([5, k]))).payload
    ]
    assert 8 <= regions.count(1) <= 32


@calm
@given(maps, st.integers(0, 1000))
def test_whatever_people_say_is_a_label(index: NDArray[Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    persona = TASK.worker(rng)
    said = TASK.simulate(label(index), persona, ITEM, np.random.default_rng([seed, 1]))
    assert said == TASK.simulate(label(index), persona, ITEM, np.random.default_rng([seed, 1]))
    assert said.outcome == "label"
    assert said.payload is not None
    assert TASK.parse(said.payload, ITEM) == said.payload
    assert said.seconds > 0
    copied = TASK.simulate(label(index), {**persona, "noise": 0.0, "spammer": True}, ITEM, rng)
    assert copied.payload == label(index)


def test_masks_take_their_time() -> None:
    people = crowd(None, 300, speed=1.0)
    said = [
        TASK.simulate(label(full(1)), {**w, "noise": 0.0}, ITEM, np.random.default_rng([6, k]))
        for k, w in enumerate(people)
    ]
    assert np.median([s.seconds for s in said]) == pytest.approx(79, rel=0.15)
    blank = [
        TASK.simulate(label(full(BACKGROUND)), w, ITEM, np.random.default_rng([6, k])) for k, w in enumerate(people)
    ]
    assert np.median([s.seconds for s in blank]) == pytest.approx(3, rel=0.15)


def test_three_people_are_better_than_one() -> None:
    truths = [t for t in tiny_truth("segmentation", 20) or [] if t["regions"]]
    task = Segmentation(Segmentation.Options(), Context(categories=TINY))
    item = Item(row=0, id="i", name="a.png", uri="a.png", width=SIZE[0], height=SIZE[1])
    people = crowd(None, 30)
    one, three = [], []
    for row, truth in enumerate(truths):
        said = [task.simulate(truth, people[(row + k) % 30], item, np.random.default_rng([row, k])) for k in range(3)]
        one += [1 - task.error(s.payload or {}, truth) for s in said]
        made = task.consolidate([answer(f"w{k}", s.payload) for k, s in enumerate(said)], {})
        three.append(1 - task.error(made.payload or {}, truth))
    assert np.mean(three) > np.mean(one) + 0.03


# ---------------------------------------------------------------------------------------- predictions


def named(raw: Any, cut: float = 0.5, task: Segmentation = TASK) -> dict[str, float]:
    return dict(zip(task.feature_names, task.features(raw, cut).tolist(), strict=True))


def test_raw_masks_by_hand() -> None:
    p = np.zeros((4, 2, 4))
    p[1, :, :2], p[2, :, :2] = 0.9, 0.1  # road, left half
    p[3, :, 2:], p[2, :, 2:] = 0.6, 0.4  # nothing, right half; perhaps a car
    raw = masks.raw_masks(p, 3)
    assert raw.size == (2, 4)
    assert raw.categories == (1,)
    assert raw.scores == (pytest.approx(0.9),)
    assert raw.expected == (pytest.approx(0.9),)
    assert raw.missed == (pytest.approx(0.4),)
    assert raw.margin == pytest.approx((0.8 + 0.2) / 2)
    two = [-sum(q * np.log(q) for q in pair) for pair in ((0.9, 0.1), (0.6, 0.4))]
    assert raw.entropy == pytest.approx(np.mean(two) / np.log(4))
    assert (masks.decode(raw.counts[0], (2, 4)) == [[1, 1, 0, 0]] * 2).all()
    p[1, :, 2:], p[3, :, 2:] = 0.3, 0.3
    p[2, :, 2:] = 0.4
    spilt = masks.raw_masks(p, 3)
    assert spilt.categories == (1, 2)
    assert spilt.expected[0] == pytest.approx(0.9 * 4 / (4 + 0.3 * 4)), "what may lie outside counts"


@calm
@given(arrays(np.float64, (4, H, W), elements=st.floats(0.01, 1)), st.floats(0, 1))
def test_features_of_any_probabilities(weights: NDArray[Any], cut: float) -> None:
    raw = masks.raw_masks(weights / weights.sum(axis=0), 3).model_dump(mode="json")
    assert RawMasks.model_validate(raw)
    f = named(raw, cut)
    made = TASK.label(raw, cut)
    assert TASK.parse(made, ITEM) == made
    assert f["n_objects"] == TASK.count(made) == len(made["regions"])
    assert TASK.slice(raw, cut) == ("objects" if made["regions"] else "empty")
    bounded = (
        "confidence_mean",
        "confidence_min",
        "confidence_product",
        "below_cut_max",
        "entropy",
        "margin",
        "covered",
    )
    assert all(0 <= f[name] <= 1 + 1e-6 for name in bounded)


def test_features_by_hand() -> None:
    raw = {
        **TASK.raw(label(box(1, 0, 0, 4, 6, on=box(2, 5, 0, 7, 6)))),
        "scores": [0.9, 0.3],
        "expected": [0.8, 0.2],
        "missed": [0.1],
    }
    f = named(raw)
    assert f["n_objects"] == 1
    assert f["confidence_mean"] == f["confidence_min"] == f["confidence_product"] == pytest.approx(0.8)
    assert (f["below_cut_max"], f["below_cut_sum"], f["n_below_cut"]) == (pytest.approx(0.3), pytest.approx(0.4), 2)
    assert f["covered"] == f["area_min"] == f["area_max"] == pytest.approx(24 / 42)
    assert f["raggedness"] == pytest.approx(1 / 7), "four whole columns are one run"
    assert f["margin"] == pytest.approx((0.8 + 0.4) / 2)
    nothing = named({**raw, "scores": [0.3, 0.2]})
    assert nothing["n_objects"] == 0
    assert nothing["confidence_mean"] == nothing["confidence_product"] == pytest.approx(0.7)
    assert TASK.slice({**raw, "scores": [0.3, 0.2]}, 0.5) == "empty"
    assert named({**raw, "entropy": 0.25, "margin": 0.75})["entropy"] == 0.25


def test_the_background_is_no_object() -> None:
    raw = GROUNDED.raw(label(box(1, 0, 0, 4, 6)))
    assert sorted(raw["categories"]) == [0, 1]
    assert named(raw, task=GROUNDED)["n_objects"] == 1
    weak = {**raw, "scores": [0.3] * 2}
    assert GROUNDED.slice(weak, 0.5) == "empty"
    assert (dense(GROUNDED.label(weak, 0.5)) == 0).all(), "what is below the cut falls to the background"
    assert GROUNDED.error(GROUNDED.label(weak, 0.5), label(full(BACKGROUND))) == 0


@calm
@given(maps)
def test_raw_gives_the_label_back_but_no_void(index: NDArray[Any]) -> None:
    payload = label(index)
    for n, part in enumerate(payload["regions"]):
        part["confidence"] = 0.6 + n / 10
    back = TASK.label(TASK.raw(payload), 0.5)
    assert back["regions"] == payload["regions"]
    assert "void" not in back
    assert (dense(back) == np.where(index == VOID, BACKGROUND, index)).all()


def test_every_score_and_sampler_works_with_the_features() -> None:
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    sure = TASK.raw(label(box(1, 0, 0, 4, 6)))
    unsure = {**sure, "scores": [0.55], "missed": [0.4]}
    columns = {k: np.array([named(sure)[k], named(unsure)[k]], np.float32) for k in TASK.feature_names}
    asked = 0
    for name in registry.names("score"):
        if registry.get("score", name).needs <= set(columns):
            values = registry.build("score", name, {}, Context(categories=CATEGORIES)).score(columns)
            assert values[0] > values[1], name
            asked += 1
    assert asked >= 3
    assert {"margin", "entropy"} <= set(TASK.feature_names), "what the sampler uncertainty can rank by"


# ------------------------------------------------------------------------------- frames, names, figures


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reframe_is_what_exif_does(orientation: int) -> None:
    stored = np.random.default_rng(1).integers(-2, 3, (5, 8)).astype(np.int16)
    image = Image.fromarray((stored + 2).astype(np.uint8))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    displayed = np.asarray(ImageOps.exif_transpose(image)).astype(np.int16) - 2
    item = Item(row=0, id="i", name="a", uri="a", width=8, height=5, orientation=orientation)
    moved = TASK.reframe(label(stored), item, "display")
    assert (dense(moved) == displayed).all()
    assert TASK.parse(moved, item) == moved
    assert TASK.reframe(moved, item, "stored") == label(stored)


def test_categories_that_get_one_name_become_one_region() -> None:
    payload = label(box(1, 0, 0, 4, 6, on=box(2, 4, 0, 7, 6)))
    made = TASK.recategorize(payload, {"car": "road"})
    assert made == {"size": [H, W], "regions": [{"category": "road", "counts": masks.encode(full(0) == 0)}]}
    assert [r["category"] for r in TASK.recategorize(payload, {"car": "bus"})["regions"]] == ["road", "bus"]
    with pytest.raises(BadLabels, match="overlap"):
        TASK.recategorize({"size": [H, W], "regions": [region("car", LEFT), region("road", LEFT)]}, {})


def test_evaluate_pools_the_pixels() -> None:
    good = (label(box(1, 0, 0, 4, 6)), label(box(1, 0, 0, 4, 6)))
    poor = (label(box(1, 0, 0, 2, 6)), label(box(1, 0, 0, 4, 6, on=box(2, 5, 0, 6, 6))))
    figures = TASK.evaluate([good, poor])
    assert figures["count"] == 2
    assert figures["mean"] == pytest.approx((1 + 0.5 / 2) / 2)
    assert figures["iou.road"] == pytest.approx(36 / 48)
    assert figures["iou.car"] == 0
    assert "iou.sky" not in figures
    assert figures["miou"] == pytest.approx(36 / 48 / 2)
    assert figures["pixel_accuracy"] == pytest.approx((42 + 42 - 12 - 6) / 84)
    assert np.isnan(TASK.evaluate([])["mean"])


def test_form() -> None:
    form = TASK.form()
    assert form.primitives[0].kind == "mask"
    assert form.primitives[0].categories == CATEGORIES
    assert TASK.empty() is None


def test_the_background_is_one_of_the_categories() -> None:
    for name, says in [
        ("skyy", "'skyy' is none of the categories; did you mean 'sky'[?] there are: sky, road, car"),
        ("void", "'void' is none of the categories; there are: sky, road, car"),
    ]:
        with pytest.raises(ConfigError, match=rf"^tasks\.segmentation\.background: {says}$"):
            Segmentation(Segmentation.Options(background=name), Context(categories=CATEGORIES))
    Segmentation(Segmentation.Options(background="sky"), Context())  # without categories there is nothing to compare
