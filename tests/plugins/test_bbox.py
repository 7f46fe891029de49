from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gtloop.errors import BadAnswer, BadLabels
from gtloop.interfaces import Context
from gtloop.labels import BoxesLabel, RawBoxes, iou_matrix
from gtloop.records import Answer, Item, Payload
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.bbox.linking import link

calm = settings(deadline=None)

CATEGORIES = ("bird", "cat", "dog")
TASK = BBox(BBox.Options(), Context(categories=CATEGORIES))
ITEM = Item(row=0, id="i", name="a.jpg", uri="a.jpg", width=200, height=100)


def box(category: str, *xyxy: float, **rest: Any) -> dict[str, Any]:
    return {"category": category, "xyxy": list(xyxy), **rest}


def label(*boxes: dict[str, Any]) -> Payload:
    return {"boxes": list(boxes)}


def answer(worker: str, payload: Payload | None, outcome: str = "label") -> Answer:
    return Answer.model_validate(
        {"id": f"a-{worker}", "request": "r", "worker": worker, "outcome": outcome, "payload": payload, "at": "t"}
    )


def answers(*payloads: Payload) -> list[Answer]:
    return [answer(f"w{n}", p) if p["boxes"] else answer(f"w{n}", None, "empty") for n, p in enumerate(payloads)]


def plain(payload: Payload | None) -> list[tuple[Any, ...]]:
    assert payload is not None
    return sorted((b["category"], *b["xyxy"]) for b in payload["boxes"])


@st.composite
def boxes(draw: st.DrawFn) -> dict[str, Any]:
    x, y = draw(st.integers(0, 190)), draw(st.integers(0, 90))
    w, h = draw(st.integers(1, 200 - x)), draw(st.integers(1, 100 - y))
    return box(draw(st.sampled_from(CATEGORIES)), float(x), float(y), float(x + w), float(y + h))


labels = st.lists(boxes(), max_size=5).map(lambda b: {"boxes": b})


# --------------------------------------------------------------------------------------------- error


@calm
@given(labels)
def test_error_of_equal_labels_is_0(a: Payload) -> None:
    assert TASK.error(a, {"boxes": a["boxes"][::-1]}) == 0.0


@calm
@given(labels, labels)
def test_error_is_symmetric_and_in_range(a: Payload, b: Payload) -> None:
    assert 0.0 <= TASK.error(a, b) <= 1.0
    assert TASK.error(a, b) == TASK.error(b, a)


def test_error_by_hand() -> None:
    truth = label(box("bird", 0, 0, 10, 10), box("bird", 50, 50, 60, 60), box("cat", 20, 20, 30, 30))
    # bird: one pair of IoU .5, one miss: .5 / (1 + 2 - 1); cat: missed; dog: false. Mean of .25, 0, 0.
    ours = label(box("bird", 0, 0, 10, 5), box("dog", 20, 20, 30, 30))
    assert TASK.error(ours, truth) == pytest.approx(1 - 0.25 / 3)
    assert TASK.error(label(), label()) == 0.0
    assert TASK.error(label(), truth) == 1.0
    assert TASK.error(truth, label()) == 1.0


def test_matching_is_optimal_where_greedy_is_not() -> None:
    # Greedy takes the closest pair (IoU .6) and has nothing left; pairing crosswise gives .54 twice.
    a = label(box("bird", 3, 0, 13, 10), box("bird", 8.5, 0, 18.5, 10))
    b = label(box("bird", 5.5, 0, 15.5, 10), box("bird", 0, 0, 10, 10))
    iou = iou_matrix(np.array([x["xyxy"] for x in a["boxes"]]), np.array([x["xyxy"] for x in b["boxes"]]))
    best = max(iou[0, 0] + iou[1, 1], iou[0, 1] + iou[1, 0])
    assert iou[0, 0] == iou.max()
    assert best == iou[0, 1] + iou[1, 0]
    assert 1 - TASK.error(a, b) == pytest.approx(best / 2)


# --------------------------------------------------------------------------------------- consolidation


@calm
@given(st.lists(labels, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_consolidation_ignores_the_order(payloads: list[Payload], random: Any) -> None:
    given_answers = answers(*payloads)
    shuffled = [
        a if a.payload is None else a.model_copy(update={"payload": {"boxes": a.payload["boxes"][::-1]}})
        for a in random.sample(given_answers, len(given_answers))
    ]
    made = TASK.consolidate(given_answers, {})
    assert TASK.consolidate(shuffled, {}) == made
    # Nor does it matter who said what: ties are broken by content.
    assert TASK.consolidate(answers(*random.sample(payloads, len(payloads))), {}) == made


@calm
@given(labels, st.integers(1, 5))
def test_unanimous_answers_are_the_label(payload: Payload, workers: int) -> None:
    made = TASK.consolidate(answers(*[payload] * workers), {})
    assert plain(made.payload) == plain(payload)
    # Not 1: nobody is sure that all of a few people, who may err, did not err alike.
    assert 0.4 < made.confidence < 1
    assert made.agreement == 1


@calm
@given(st.lists(labels, min_size=1, max_size=5))
def test_consolidation_is_idempotent_and_valid(payloads: list[Payload]) -> None:
    made = TASK.consolidate(answers(*payloads), {})
    assert made.payload is not None
    assert 0 <= made.confidence <= 1
    assert 0 <= made.agreement <= 1
    assert all(
        0 <= b.confidence <= 1 for b in BoxesLabel.model_validate(made.payload).boxes if b.confidence is not None
    )
    again = TASK.consolidate(answers(made.payload, made.payload), {})
    assert plain(again.payload) == plain(made.payload)


@calm
@given(st.lists(st.tuples(boxes(), st.integers(0, 3)), max_size=12))
def test_an_object_holds_no_two_boxes_of_one_worker(drawn: list[tuple[dict[str, Any], int]]) -> None:
    xyxy = np.array([b["xyxy"] for b, _ in drawn], dtype=np.float64).reshape(-1, 4)
    owners = [who for _, who in drawn]
    groups = link(xyxy, [b["category"] for b, _ in drawn], owners, 0.01)
    assert sorted(n for g in groups for n in g) == list(range(len(drawn)))
    for group in groups:
        assert len({owners[n] for n in group}) == len(group)


def test_one_bad_worker_of_five_moves_little() -> None:
    rng = np.random.default_rng(0)
    found, mean = [], []
    truth = np.array([60.0, 30.0, 140.0, 80.0])
    for _ in range(100):
        good = [truth + rng.normal(0, 1.5, 4) for _ in range(4)]
        bad = truth + np.array([28.0, 15, 28, 15])
        made = TASK.consolidate(answers(*[label(box("bird", *map(float, b))) for b in [*good, bad]]), {}).payload
        assert made is not None
        assert len(made["boxes"]) == 1
        found.append(iou_matrix(np.array([made["boxes"][0]["xyxy"]]), truth[None])[0, 0])
        mean.append(iou_matrix(np.mean([*good, bad], axis=0)[None], truth[None])[0, 0])
    assert np.mean(found) > 0.94
    assert np.mean(found) > np.mean(mean) + 0.05


def test_quorum_is_half_and_the_confidence_shows_it() -> None:
    b = box("bird", 10, 10, 50, 50)
    for having, workers, kept in [(1, 2, True), (1, 3, False), (2, 3, True), (2, 4, True), (2, 5, False), (3, 5, True)]:
        made = TASK.consolidate(answers(*[label(b)] * having, *[label()] * (workers - having)), {})
        assert made.payload is not None
        assert bool(made.payload["boxes"]) is kept
    sure = [TASK.consolidate(answers(*[label(b)] * k, *[label()] * (3 - k)), {}).confidence for k in range(4)]
    assert sure[3] > sure[2] > 0.5
    assert sure[0] > sure[1] > 0.5, "one of three drew something: nothing is there, but less surely"
    half = TASK.consolidate(answers(label(b), label()), {})
    assert half.payload is not None
    assert 0.4 < half.payload["boxes"][0]["confidence"] < 0.6


def test_category_is_voted_apart_from_geometry() -> None:
    made = TASK.consolidate(
        answers(*[label(box(c, 10, 10, 50, 50 + n)) for n, c in enumerate(["cat", "bird", "cat"])]), {}
    )
    assert plain(made.payload) == [("cat", 10, 10, 50, 51)]
    tie = TASK.consolidate(answers(label(box("dog", 0, 0, 9, 9)), label(box("cat", 0, 0, 9, 9))), {})
    assert plain(tie.payload) == [("cat", 0, 0, 9, 9)]
    assert 0.2 < tie.confidence < 0.5, "each of two categories is as likely, and a third one possible"


def test_objects_of_two_categories_in_one_place_stay_apart() -> None:
    both = label(box("bird", 10, 10, 50, 50), box("dog", 10, 10, 50, 50))
    assert plain(TASK.consolidate(answers(both, both, both), {}).payload) == plain(both)


def test_close_objects_are_told_apart_by_category() -> None:
    # Each one's bird lies exactly where the other's dog is; by IoU alone both categories would be mixed up.
    one = label(box("bird", 10, 10, 50, 50), box("dog", 12, 12, 52, 52))
    two = label(box("dog", 10, 10, 50, 50), box("bird", 12, 12, 52, 52))
    made = TASK.consolidate(answers(one, two), {})
    assert plain(made.payload) == [("bird", 11, 11, 51, 51), ("dog", 11, 11, 51, 51)]
    assert made.confidence > 0.8


def test_who_cannot_tell_does_not_count() -> None:
    b = label(box("bird", 10, 10, 50, 50))
    unsure = [answer(w, None, "cannot_tell") for w in ("x", "y")]
    assert plain(TASK.consolidate([*answers(b), *unsure], {}).payload) == plain(b)
    assert TASK.consolidate(unsure, {}).payload is None
    assert TASK.consolidate([], {}).payload is None


def test_one_worker_has_one_vote() -> None:
    one, two = label(box("bird", 10, 10, 50, 50)), label()
    twice = [answer("w", one), answer("w", one).model_copy(update={"id": "b"}), *answers(two, two)]
    made = TASK.consolidate(twice, {})
    assert made.payload == {"boxes": []}


# ----------------------------------------------------------------------------------------------- parse


def test_parse_clips_a_pixel_and_keeps_the_rest() -> None:
    payload = label(box("bird", -0.5, 0, 200.9, 99, confidence=0.5), box("cat", 1, 2, 3, 4))
    assert TASK.parse(payload, ITEM) == label(
        box("bird", 0.0, 0.0, 200.0, 99.0, confidence=0.5), box("cat", 1.0, 2.0, 3.0, 4.0)
    )


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (label(box("bird", 0, 0, 203.5, 50)), r"boxes\.0: \[0, 0, 203\.5, 50\].*200 x 100.*3\.5 px"),
        (label(box("bird", 200.2, 0, 200.8, 50)), "200 x 100"),
        (label(box("brid", 0, 0, 10, 10)), r"'brid' is not declared; use one of: bird, cat, dog"),
        (label(box("bird", 10, 0, 10, 10)), "x2 > x1"),
        (label(box("bird", 0, float("nan"), 10, 10)), "finite"),
        (label(box("bird", 0, 0, 10)), "xyxy"),
        ({"boxen": []}, "boxen"),
        ({"boxes": 3}, "boxes"),
    ],
)
def test_parse_refuses(payload: Payload, says: str) -> None:
    with pytest.raises(BadAnswer, match=says) as e:
        TASK.parse(payload, ITEM)
    assert "\n" not in str(e.value)


def test_parse_uses_the_displayed_size_and_skips_an_unknown_one() -> None:
    tall = label(box("bird", 0, 0, 90, 190))
    turned = ITEM.model_copy(update={"orientation": 6})
    assert TASK.parse(tall, turned) == label(box("bird", 0.0, 0.0, 90.0, 190.0))
    unknown = ITEM.model_copy(update={"width": None, "height": None})
    assert TASK.parse(label(box("bird", 0, 0, 9e4, 9e4)), unknown)["boxes"][0]["xyxy"] == [0, 0, 9e4, 9e4]
    with pytest.raises(BadAnswer):
        TASK.parse(tall, ITEM)


# --------------------------------------------------------------------------------------------- reframe


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reframe_agrees_with_pixels(orientation: int) -> None:
    stored = np.zeros((7, 11), dtype=np.uint8)
    stored[1:4, 2:9] = 255
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    shown = np.asarray(ImageOps.exif_transpose(image))
    rows, columns = np.nonzero(shown)
    seen = label(box("bird", *map(float, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))))
    item = Item(row=0, id="i", name="a", uri="a", width=11, height=7, orientation=orientation)
    assert (shown.shape[1], shown.shape[0]) == item.display_size
    raw = label(box("bird", 2.0, 1.0, 9.0, 4.0))
    assert TASK.reframe(raw, item, "display") == seen
    assert TASK.reframe(seen, item, "stored") == raw


@calm
@given(labels, st.integers(1, 8))
def test_reframe_round_trip(payload: Payload, orientation: int) -> None:
    item = ITEM.model_copy(update={"orientation": orientation})
    assert TASK.reframe(TASK.reframe(payload, item, "display"), item, "stored") == payload


def test_reframe_needs_a_size() -> None:
    item = Item(row=0, id="i", name="pic.jpg", uri="a", orientation=6)
    with pytest.raises(BadLabels, match=r"pic\.jpg"):
        TASK.reframe(label(box("bird", 0, 0, 1, 1)), item, "stored")


# ------------------------------------------------------------------------------------- raw predictions

RAW = RawBoxes(
    xyxy=((0, 0, 10, 10), (0, 0, 10, 5), (50, 50, 60, 60), (0, 0, 5, 5)),
    scores=(0.9, 0.5, 0.3, 0.02),
    categories=(0, 1, 0, 2),
).model_dump(mode="json")
EMPTY_RAW = RawBoxes().model_dump(mode="json")


def columns(raw: dict[str, Any], cut: float) -> dict[str, float]:
    values = TASK.features(raw, cut)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    return dict(zip(TASK.feature_names, values.tolist(), strict=True))


def test_features() -> None:
    f = columns(RAW, 0.4)
    assert (f["n_objects"], f["n_categories"], f["n_below_cut"]) == (2, 2, 2)
    assert f["confidence_mean"] == pytest.approx(0.7)
    assert f["confidence_min"] == pytest.approx(0.5)
    assert f["confidence_product"] == pytest.approx(0.45)
    assert f["below_cut_max"] == pytest.approx(0.3)
    assert f["below_cut_sum"] == pytest.approx(0.32)
    assert f["entropy"] == pytest.approx(np.mean([0.468996, 1.0, 0.881291]), abs=1e-5)
    assert f["overlap_max"] == pytest.approx(0.5)
    assert (f["side_max"], f["side_min"]) == (10, pytest.approx(np.sqrt(50)))


def test_features_without_objects() -> None:
    f = columns(RAW, 0.95)
    assert f["n_objects"] == 0
    assert f["confidence_mean"] == f["confidence_min"] == f["confidence_product"] == pytest.approx(0.1)
    nothing = columns(EMPTY_RAW, 0.5)
    assert nothing["confidence_mean"] == 1
    assert nothing["below_cut_max"] == 0


def test_slice_label_raw() -> None:
    assert TASK.slice(RAW, 0.5) == "objects"
    assert TASK.slice(RAW, 0.95) == TASK.slice(EMPTY_RAW, 0.0) == "empty"
    made = TASK.label(RAW, 0.5)
    assert made == label(
        box("bird", 0.0, 0.0, 10.0, 10.0, confidence=0.9), box("cat", 0.0, 0.0, 10.0, 5.0, confidence=0.5)
    )
    assert TASK.label(TASK.raw(made), 0.0) == made
    assert TASK.raw(label(box("dog", 0, 0, 1, 1)))["scores"] == [1.0]
    RawBoxes.model_validate(TASK.raw(made))


@calm
@given(labels)
def test_raw_keeps_every_box(payload: Payload) -> None:
    assert plain(TASK.label(TASK.raw(payload), 1.0)) == plain(payload)
    assert TASK.count(payload) == len(payload["boxes"])


# ------------------------------------------------------------------------------------------ evaluation


def test_evaluate_by_hand() -> None:
    truth = label(box("bird", 0, 0, 10, 10), box("bird", 50, 50, 60, 60))
    ours = label(box("bird", 0, 0, 10, 8, confidence=0.9), box("bird", 20, 20, 30, 30, confidence=0.8))
    both = [(ours, truth), (label(), label())]
    figures = TASK.evaluate(both)
    assert figures["count"] == 2
    assert figures["mean"] == pytest.approx((0.8 / 3 + 1) / 2)
    assert figures["matched_iou"] == pytest.approx(0.8)
    assert figures["recall"] == figures["precision"] == 0.5
    assert figures["ap50"] == figures["ap75"] == pytest.approx(51 / 101), "of 101 recalls 51 are up to .5"
    assert figures["ap"] == pytest.approx(0.7 * 51 / 101), "an IoU of .8 is a hit at .5 to .8"
    assert (figures["recall.bird"], figures["precision.bird"]) == (0.5, 0.5)
    mixed = TASK.evaluate([(label(box("bird", 0, 0, 10, 10)), label(box("cat", 0, 0, 10, 10)))])
    assert (mixed["recall.cat"], mixed["precision.bird"]) == (0, 0)
    assert np.isnan(mixed["recall.bird"])
    assert TASK.evaluate([(truth, truth)])["ap50"] == 1.0
    assert np.isnan(TASK.evaluate([])["mean"])


def test_ap_counts_a_confident_mistake() -> None:
    truth = label(box("bird", 0, 0, 10, 10))
    wrong_first = label(box("bird", 0, 0, 10, 10, confidence=0.5), box("bird", 50, 50, 60, 60, confidence=0.9))
    right_first = label(box("bird", 0, 0, 10, 10, confidence=0.9), box("bird", 50, 50, 60, 60, confidence=0.5))
    assert TASK.evaluate([(wrong_first, truth)])["ap50"] == pytest.approx(0.5)
    assert TASK.evaluate([(right_first, truth)])["ap50"] == pytest.approx(1.0)


# -------------------------------------------------------------------------------------- synthetic people


def people(n: int, **changes: Any) -> list[dict[str, Any]]:
    return [{**TASK.worker(np.random.default_rng(k)), **changes} for k in range(n)]


@calm
@given(labels, st.integers(0, 1000))
def test_without_noise_people_copy_the_truth(truth: Payload, seed: int) -> None:
    rng = np.random.default_rng(seed)
    said = TASK.simulate(truth, {**TASK.worker(rng), "noise": 0.0}, ITEM, rng)
    assert said.outcome == ("label" if truth["boxes"] else "empty")
    assert (said.payload or label()) == truth


@calm
@given(labels, st.integers(0, 1000), st.booleans(), st.booleans())
def test_what_people_draw_can_be_parsed(truth: Payload, seed: int, spammer: bool, known: bool) -> None:
    rng = np.random.default_rng(seed)
    item = ITEM if known else ITEM.model_copy(update={"width": None, "height": None})
    persona = json.loads(json.dumps({**TASK.worker(rng), "spammer": spammer, "noise": 3.0}))
    said = TASK.simulate(truth, persona, item, rng)
    assert said.seconds > 0
    if said.payload is not None:
        assert TASK.parse(said.payload, ITEM) == said.payload
        assert said.payload["boxes"]


def test_population() -> None:
    crowd = people(2000)
    shares = {p: sum(w["profile"] == p for w in crowd) / 2000 for p in ("expert", "crowd", "poor")}
    assert shares == pytest.approx({"expert": 0.25, "crowd": 0.6, "poor": 0.15}, abs=0.04)
    assert np.mean([w["spammer"] for w in crowd]) == pytest.approx(0.06, abs=0.02)
    assert np.mean([w["miss"] for w in crowd]) == pytest.approx(0.1, abs=0.01)
    assert np.mean([w["confusion"] for w in crowd if w["profile"] == "poor"]) == pytest.approx(0.3, abs=0.02)
    assert max(max(map(abs, w["bias"])) for w in crowd if w["profile"] == "expert") <= 0.05


def test_drawing_has_the_specified_errors() -> None:
    item = Item(row=0, id="i", name="a", uri="a", width=1000, height=1000)
    large, tiny = label(box("bird", 300, 300, 700, 700)), label(box("bird", 500, 500, 520, 520))
    rng = np.random.default_rng(0)
    crowd = people(1500, spammer=False, false_boxes=0.0)
    drawn = [TASK.simulate(large, w, item, rng) for w in crowd]
    missed = np.mean([d.payload is None for d in drawn])
    assert missed == pytest.approx(0.1, abs=0.03)
    assert np.mean([TASK.simulate(tiny, w, item, rng).payload is None for w in crowd]) == pytest.approx(0.2, abs=0.04)
    times = [d.seconds for d in drawn if d.payload is not None]
    assert np.median(times) == pytest.approx(25, rel=0.15)
    extra = [
        len((TASK.simulate(label(), {**w, "false_boxes": 0.1}, item, rng).payload or label())["boxes"]) for w in crowd
    ]
    assert np.mean(extra) == pytest.approx(0.1, abs=0.03)


def persona_of(b: float, rng: np.random.Generator) -> dict[str, Any]:
    bias, spread = rng.uniform(-b, b, 4).tolist(), rng.uniform(0, b, 4).tolist()
    return {**TASK.worker(rng), "bias": bias, "spread": spread, "miss": 0.0, "false_boxes": 0.0, "spammer": False}


@pytest.mark.parametrize(
    ("b", "single", "median_of_5"), [(0.05, 0.869, 0.926), (0.1, 0.759, 0.861), (0.2, 0.584, 0.743)]
)
def test_iou_of_one_and_of_five_as_in_the_reference(b: float, single: float, median_of_5: float) -> None:
    """``reference/statistics.md`` 5.2, columns "single" and "median of 5"."""
    rng = np.random.default_rng(5)
    item = Item(row=0, id="i", name="a", uri="a", width=1000, height=1000)

    def quality(workers: int) -> float:
        made = TASK.consolidate(answers(*_drawn(truth, workers)), {}).payload
        assert made is not None
        xyxy = np.array([x["xyxy"] for x in made["boxes"]]).reshape(-1, 4)
        return float(iou_matrix(xyxy, np.array([truth["boxes"][0]["xyxy"]])).max(initial=0))

    def _drawn(truth: Payload, workers: int) -> Sequence[Payload]:
        said = [TASK.simulate(truth, persona_of(b, rng), item, rng).payload for _ in range(workers)]
        return [s or label() for s in said]

    ones, fives = [], []
    for _ in range(400):
        w, h = rng.uniform(150, 400, 2)
        truth = label(box("bird", 300, 300, 300 + float(w), 300 + float(h)))
        ones.append(quality(1))
        fives.append(quality(5))
    assert np.mean(ones) == pytest.approx(single, abs=0.025)
    assert np.mean(fives) == pytest.approx(median_of_5, abs=0.025)


def test_form_offers_the_categories() -> None:
    (primitive,) = TASK.form().primitives
    assert (primitive.kind, primitive.categories, primitive.multiple) == ("box", CATEGORIES, True)
