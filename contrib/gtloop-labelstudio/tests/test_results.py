"""Payloads become Label Studio's results and come back; what can't be read says why, and never stops anything."""

from __future__ import annotations

from typing import Any

import pytest
from gtloop.errors import Unsupported
from gtloop.interfaces import Form, Primitive
from gtloop.testing.fakes import CATEGORIES, SIZE, tiny_truth
from hypothesis import given, settings
from hypothesis import strategies as st

from gtloop_labelstudio import forms, results, writing

NAMES = {"box": "boxes", "choice": "category", "mask": "regions"}


def form(kind: str, multiple: bool = True, categories: tuple[str, ...] = CATEGORIES) -> Form:
    p = Primitive(kind=kind, name=NAMES.get(kind, kind), categories=categories, multiple=multiple)
    return Form(task="any", instructions="Draw <all> of it.", primitives=(p,), empty_allowed=kind in ("box", "polygon"))


BOXES = form("box")


def one_box(**changes: Any) -> dict[str, Any]:
    (made,) = writing.write({"boxes": [{"category": "crate", "xyxy": [10, 20, 30, 40]}]}, BOXES, (200, 100))
    value = {**made["value"], **{k: v for k, v in changes.items() if k in made["value"] or k == "rotation"}}
    return {**made, **{k: v for k, v in changes.items() if k not in value}, "value": value}


side = st.floats(0, 1, allow_nan=False)


@given(
    st.lists(st.tuples(side, side, side, side, st.sampled_from(CATEGORIES)), max_size=8),
    st.integers(1, 9000),
    st.integers(1, 9000),
)
@settings(max_examples=60, deadline=None)
def test_boxes_come_back(drawn: list[tuple[float, float, float, float, str]], width: int, height: int) -> None:
    boxes = [
        {"category": c, "xyxy": [min(x, u) * width, min(y, v) * height, max(x, u) * width, max(y, v) * height]}
        for x, y, u, v, c in drawn
        if abs(x - u) * width > 0.01 and abs(y - v) * height > 0.01
    ]
    said = results.read(writing.write({"boxes": boxes}, BOXES, (width, height)), BOXES, (width, height))
    if not boxes:
        assert said == results.Said("empty", None)
        return
    assert said.outcome == "label"
    assert said.payload is not None
    for before, after in zip(boxes, said.payload["boxes"], strict=True):
        assert after["category"] == before["category"]
        assert after["xyxy"] == pytest.approx(before["xyxy"], abs=1e-6 * max(width, height))


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_tiny_labels_come_back(task: str) -> None:
    asked = form("choice", multiple=False) if task == "classification" else form("mask")
    for payload in tiny_truth(task, 12) or []:
        said = results.read(writing.write(payload, asked, SIZE), asked, SIZE)
        assert said.outcome == "label"
        assert said.payload is not None
        assert {**payload, "regions": _sorted(payload)} == {**said.payload, "regions": _sorted(said.payload)}


def _sorted(payload: dict[str, Any]) -> list[Any]:
    return sorted(payload.get("regions", []), key=lambda r: str(r["category"]))


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("polygon", {"polygon": [{"category": "drum", "xy": [[1.0, 2.0], [30.0, 4.0], [5.0, 60.0]]}]}),
        ("point", {"point": [{"category": "crate", "xy": [12.5, 50.0]}]}),
        ("choice", {"category": ["crate", "drum"]}),
        ("text", {"text": "two\nlines"}),
    ],
)
def test_other_parts_come_back(kind: str, payload: dict[str, Any]) -> None:
    asked = form(kind)
    said = results.read(writing.write(payload, asked, (100, 100)), asked, (100, 100))
    assert said == results.Said("label", payload)


def test_a_smaller_copy_makes_no_difference() -> None:
    drawn = one_box(original_width=100, original_height=50)
    said = results.read([drawn], BOXES, (200, 100))
    assert said.payload == {"boxes": [{"category": "crate", "xyxy": [10.0, 20.0, 30.0, 40.0]}]}


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ([one_box(rotation=30)], "turned by 30 degrees"),
        ([one_box(original_width=100, original_height=200)], "drawn on 100 x 200 pixels, but the image has 200 x 100"),
        ([one_box(image_rotation=90)], "the image was turned"),
        ([one_box(from_name="other")], "'other' was not asked for"),
        ([one_box(type="ellipselabels")], "no rectanglelabels"),
        ([one_box(x="far")], "is no number"),
        ([{**one_box(), "value": {**one_box()["value"], "rectanglelabels": []}}], "without a category"),
        ("[]", "no list"),
    ],
)
def test_what_cant_be_read_says_why(result: Any, why: str) -> None:
    said = results.read(result, BOXES, (200, 100))
    assert said.outcome == "label"
    assert said.payload is not None
    assert why in said.payload["unreadable"]


def test_a_slip_of_the_mouse_is_no_box() -> None:
    said = results.read([one_box(), one_box(width=0)], BOXES, (200, 100))
    assert said.payload is not None
    assert len(said.payload["boxes"]) == 1


def test_one_thing_is_not_two() -> None:
    assert "2 objects instead of one" in str(
        results.read([one_box(), one_box()], form("box", multiple=False), (200, 100))
    )
    assert "0 choices instead of one" in str(results.read([], form("choice", multiple=False), None))


json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["boxes", "rectanglelabels"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["from_name", "type", "value", "x", "points", "rle", "y"]), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(json_like, st.sampled_from(["box", "choice", "mask", "polygon", "point", "text"]))
@settings(max_examples=150, deadline=None)
def test_rubbish_stops_nothing(result: Any, kind: str) -> None:
    assert results.read(result, form(kind), (20, 10)).outcome in ("label", "empty")


def test_configuration_of_a_form() -> None:
    made = forms.configuration(form("box", categories=('a "b" & <c>', "d")))
    assert '<RectangleLabels name="boxes" toName="image" canRotate="false">' in made
    assert '<Label value=\'a "b" &amp; &lt;c&gt;\'/><Label value="d"/>' in made
    assert forms.instructions(BOXES) == "Draw &lt;all&gt; of it."


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (form("polyline"), "can't ask for a polyline"),
        (form("html"), "can't ask for a html"),
        (form("box", categories=("$money",)), "can't show category '\\$money'"),
        (form("box", categories=(" crate",)), "can't show category ' crate'"),
        (form("mask", categories=("void",)), "needs 'void'"),
        (None, "a task with a form"),
    ],
)
def test_what_cant_be_shown_is_refused(asked: Form | None, said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        forms.check(asked)
