"""The figures of merit against pycocotools, which the field's published figures come from."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gtloop import masks
from gtloop.interfaces import Context
from gtloop.records import Payload
from gtloop_plugins.tasks.bbox import BBox, evaluation
from gtloop_plugins.tasks.segmentation import Segmentation

CATEGORIES = ("bird", "cat", "dog")
BOXES = BBox(BBox.Options(), Context(categories=CATEGORIES))
MASKS = Segmentation(Segmentation.Options(), Context(categories=CATEGORIES))
FIGURES = ("ap", "ap50", "ap75")

Pairs = Sequence[tuple[Payload, Payload]]


def peer(pairs: Pairs) -> list[float]:
    """pycocotools' AP, AP50 and AP75."""
    true, found = [], []
    for n, (label, truth) in enumerate(pairs):
        for b in truth["boxes"]:
            true.append({**coco(b, n), "id": len(true) + 1, "area": 1.0, "iscrowd": 0})
        found += [{**coco(b, n), "score": b.get("confidence", 1.0)} for b in label["boxes"]]
    images = [{"id": n} for n in range(len(pairs))]
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {"info": {}, "images": images, "annotations": true}
        known.dataset["categories"] = [{"id": n} for n in range(len(CATEGORIES))]
        known.createIndex()
        made = COCOeval(known, known.loadRes(found) if found else COCO(), "bbox")
        made.params.imgIds = [i["id"] for i in images]
        made.evaluate()
        made.accumulate()
        made.summarize()
    return [float(v) for v in made.stats[:3]]


def coco(box: dict[str, Any], image: int) -> dict[str, Any]:
    x1, y1, x2, y2 = box["xyxy"]
    return {"image_id": image, "category_id": CATEGORIES.index(box["category"]), "bbox": [x1, y1, x2 - x1, y2 - y1]}


def ours(pairs: Pairs) -> list[float]:
    figures = BOXES.evaluate(pairs)
    return [figures[name] for name in FIGURES]


# Few places, sizes and confidences, so that boxes often share an object, an IoU or a confidence; thirds round.
sides = st.sampled_from([1.0, 2.0, 10 / 3, 4.0, 20 / 3])
places = st.sampled_from([0.0, 0.5, 1.0, 1 / 3, 2.0])
sure = st.sampled_from([0.2, 0.5, 0.9, 1.0])


@st.composite
def boxes(draw: st.DrawFn, scored: bool) -> dict[str, Any]:
    x, y = draw(places), draw(places)
    box: dict[str, Any] = {
        "category": draw(st.sampled_from(CATEGORIES)),
        "xyxy": [x, y, x + draw(sides), y + draw(sides)],
    }
    return {**box, "confidence": draw(sure)} if scored and draw(st.booleans()) else box


def labels(scored: bool, most: int) -> st.SearchStrategy[Payload]:
    return st.lists(boxes(scored), max_size=most).map(lambda found: {"boxes": found})


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(labels(True, 8), labels(False, 5)), min_size=1, max_size=4), st.sampled_from([1, 40, 10**6]))
def test_average_precision_is_pycocotools(pairs: Pairs, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "PAIRS", at_once)
        found = ours(pairs)
    if not any(truth["boxes"] for _, truth in pairs):
        assert np.isnan(found).all()
        return
    np.testing.assert_allclose(found, peer(pairs), rtol=0, atol=1e-12)


def crowded(rng: np.random.Generator, objects: int, found: int, categories: int) -> tuple[Payload, Payload]:
    """An image with more boxes of a category than count, near the objects and not."""

    def box(corner: Any, side: Any, category: int, **rest: float) -> dict[str, Any]:
        return {"category": CATEGORIES[category], "xyxy": [*corner.tolist(), *(corner + side).tolist()], **rest}

    corner, side = rng.uniform(0, 300, (objects, 2)), rng.uniform(8, 90, (objects, 2))
    category = rng.integers(0, categories, objects)
    true = [box(*row) for row in zip(corner, side, category, strict=True)]
    near = rng.integers(0, objects, found)
    moved = corner[near] + side[near] * rng.normal(0, 0.1, (found, 2))
    named = np.where(rng.random(found) < 0.9, category[near], rng.integers(0, categories, found))
    score = np.round(rng.random(found), 2)
    rows = zip(moved, side[near] * rng.uniform(0.8, 1.2, (found, 2)), named, score, strict=True)
    return {"boxes": [box(*row[:3], confidence=float(row[3])) for row in rows]}, {"boxes": true}


@pytest.mark.parametrize(("objects", "found", "categories"), [(12, 30, 3), (30, 260, 1), (3, 120, 2)])
def test_average_precision_of_crowded_images_is_pycocotools(objects: int, found: int, categories: int) -> None:
    rng = np.random.default_rng(objects)
    pairs = [crowded(rng, objects, found, categories) for _ in range(6)]
    made = ours(pairs)
    np.testing.assert_allclose(made, peer(pairs), rtol=0, atol=1e-12)
    assert 0 < made[0] < made[1] < 1


def test_a_category_that_nobody_finds_counts_and_one_that_is_not_there_does_not() -> None:
    bird, cat, dog = ({"category": name, "xyxy": [0.0, 0.0, 4.0, 4.0]} for name in CATEGORIES)
    pairs = [({"boxes": [bird, dog]}, {"boxes": [bird, cat]})]
    assert ours(pairs) == pytest.approx([0.5] * 3)
    assert ours(pairs) == pytest.approx(peer(pairs), abs=1e-12)
    assert ours([({"boxes": []}, {"boxes": [cat]})]) == [0.0] * 3


# --------------------------------------------------------------------------------------------- masks


maps = arrays(np.int16, (5, 6), elements=st.integers(-1, 2))


@settings(deadline=None, max_examples=60)
@given(maps, maps)
def test_iou_of_masks_is_pycocotools(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> None:
    figures = MASKS.evaluate([(mask_payload(a), mask_payload(b))])
    theirs = {}
    for n, name in enumerate(CATEGORIES):
        codes = [mask_utils.encode(np.asfortranarray(x == n, np.uint8)) for x in (a, b)]
        if sum(mask_utils.area(codes)):
            theirs[name] = float(mask_utils.iou(codes[:1], codes[1:], [0])[0, 0])
    assert {k.removeprefix("iou."): v for k, v in figures.items() if k.startswith("iou.")} == pytest.approx(theirs)
    if theirs:
        assert [figures["miou"], figures["mean"]] == pytest.approx([np.mean(list(theirs.values()))] * 2)


def test_iou_over_a_data_set_is_that_of_one_tall_image() -> None:
    rng = np.random.default_rng(3)
    pairs = [(rng.integers(-1, 3, (5, 6)), rng.integers(-1, 3, (5, 6))) for _ in range(4)]
    label, truth = (np.vstack(column) for column in zip(*pairs, strict=True))
    figures = MASKS.evaluate([(mask_payload(a), mask_payload(b)) for a, b in pairs])
    for n, name in enumerate(CATEGORIES):
        codes = [mask_utils.encode(np.asfortranarray(x == n, np.uint8)) for x in (label, truth)]
        assert figures[f"iou.{name}"] == pytest.approx(mask_utils.iou(codes[:1], codes[1:], [0])[0, 0], abs=1e-15)
    assert figures["miou"] != pytest.approx(figures["mean"], abs=1e-6)


def mask_payload(index: Any) -> Payload:
    return masks.from_map(index.astype(np.int16), CATEGORIES).model_dump(mode="json", exclude_none=True)
