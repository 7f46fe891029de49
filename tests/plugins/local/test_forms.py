"""Answers that fit their form, and those that do not, for every kind of primitive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gtloop import masks
from gtloop.errors import BadAnswer
from gtloop.interfaces import Context, Form, Primitive
from gtloop.records import Item, Payload, Request
from gtloop.testing.fakes import tiny_items, tiny_truth
from gtloop_plugins.annotators.local.forms import Checker
from gtloop_plugins.annotators.local.pictures import sized
from gtloop_plugins.annotators.local.refused import Refused
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.classification import Classification
from gtloop_plugins.tasks.segmentation import Segmentation

TWO = ("a", "b")
SPOT = {"category": "a", "xy": [1, 2.5]}
LINE = {"category": "b", "xy": [[1, 2], [3, 4], [5, 6]]}


def form(*primitives: Primitive, **more: Any) -> Form:
    return Form(task="t", instructions="", primitives=primitives, **more)


def one(kind: Any, multiple: bool = True, categories: tuple[str, ...] = TWO) -> Form:
    return form(Primitive(kind=kind, name="x", categories=categories, multiple=multiple))


@pytest.fixture(scope="module")
def item(tmp_path_factory: pytest.TempPathFactory) -> Item:
    return tiny_items(tmp_path_factory.mktemp("images"))[0]


def check(form: Form, payload: Any, item: Item) -> Payload | None:
    return Checker(form, None, sized)(Request(id="r", item=item, answers=1), "label", payload)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (one("choice", False), "a"),
        (one("choice"), ["a", "b"]),
        (one("choice", False, ()), "anything"),
        (one("box"), [{"category": "a", "xyxy": [0, 1, 2, 3]}]),
        (one("box"), []),
        (one("point"), [SPOT]),
        (one("polyline"), [{**LINE, "xy": LINE["xy"][:2]}]),
        (one("polygon", False), [LINE]),
        (one("text", False), "é\n" * 99),
        (form(Primitive(kind="html", name="x", html="<p>"), Primitive(kind="text", name="y")), {"free": [1]}),
    ],
)
def test_what_fits(form: Form, value: Any, item: Item) -> None:
    payload = {"x": value, **{p.name: "text" for p in form.primitives[1:]}}
    assert check(form, payload, item) == payload


@pytest.mark.parametrize(
    ("form", "value", "where"),
    [
        (one("choice", False), "c", "x"),
        (one("choice", False), ["a"], "x"),
        (one("choice"), "a", "x"),
        (one("box"), [{"category": "c", "xyxy": [0, 1, 2, 3]}], "x.0.category"),
        (one("box"), [{"category": "a", "xyxy": [0, 1, 2]}], "x.0.xyxy"),
        (one("box"), [{"category": "a", "xyxy": [0, 1, 2, float("nan")]}], "x.0.xyxy.3"),
        (one("box"), [{"category": "a", "xyxy": [0, 1, 2, "3px"]}], "x.0.xyxy.3"),
        (one("box"), [{"category": "a", "xyxy": [0, 1, 2, 3], "more": 1}], "x.0.more"),
        (one("point", False), [SPOT, SPOT], "x"),
        (one("point"), [{"category": "a", "xy": [[1, 2]]}], "x.0.xy"),
        (one("polygon"), [{**LINE, "xy": LINE["xy"][:2]}], "x.0.xy"),
        (one("polyline"), [{**LINE, "xy": [[0, 0]] * 30_000}], "x.0.xy"),
        (one("text", False), "x" * 30_000, "x"),
        (one("text", False), None, "x"),
    ],
)
def test_what_does_not_fit(form: Form, value: Any, where: str, item: Item) -> None:
    with pytest.raises(Refused, match=rf"^{where}[.:]") as refused:
        check(form, {"x": value}, item)
    assert refused.value.status == 422
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("payload", [{}, {"x": "a", "y": 1}, {"y": "a"}])
def test_missing_and_other_names(payload: Any, item: Item) -> None:
    with pytest.raises(Refused):
        check(one("choice", False), payload, item)


def test_masks_have_the_size_of_the_image_as_it_is_displayed(item: Item) -> None:
    truth = (tiny_truth("segmentation") or [])[0]
    shown = form(Primitive(kind="mask", name="regions", categories=("crate", "drum"), multiple=True))
    unknown = item.model_copy(update={"width": None, "height": None})
    assert check(shown, truth, unknown) == truth
    for wrong in ([96, 64], [10**9, 10**9], [0, 0], [64]):
        with pytest.raises(Refused, match=r"^size"):
            check(shown, {**truth, "size": wrong}, unknown)
    for counts in ("~", "é", '"'):
        region = {"category": "crate", "counts": counts}
        with pytest.raises(Refused, match=r"^regions\.0\.counts"):
            check(shown, {**truth, "regions": [region]}, item)


@pytest.mark.parametrize("cls", [BBox, Classification, Segmentation])
def test_the_task_has_the_last_word(cls: Any, item: Item, tmp_path: Path) -> None:
    task = cls(cls.Options(), Context(categories=("crate", "drum")))
    checker = Checker(task.form(), task, sized)
    request = Request(id="r", item=item, answers=1)
    truth = (tiny_truth(task.name) or [])[0]
    assert checker(request, "label", truth) == task.parse(truth, item)
    if task.name == "bbox":
        box = {"category": "crate", "xyxy": [0, 0, 96.5, 64], "confidence": 0.5}
        assert checker(request, "label", {"boxes": [box]}) == {
            "boxes": [{"category": "crate", "xyxy": [0.0, 0.0, 96.0, 64.0]}]
        }
    if task.name == "segmentation":
        everywhere = masks.encode(masks.dense([0, 96 * 64], (64, 96)))
        regions = [{"category": c, "counts": everywhere} for c in ("crate", "drum")]
        with pytest.raises(Refused, match="two"):
            checker(request, "label", {"size": [64, 96], "regions": regions})


def test_a_task_that_breaks_at_an_answer_is_no_fault_of_the_server(
    item: Item, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(BBox):
        def parse(self, payload: Payload, item: Item) -> Payload:
            raise (KeyError("x") if payload["boxes"] else BadAnswer("no\nboxes"))

    task = Broken(Broken.Options(), Context(categories=("crate",)))
    checker = Checker(task.form(), task, sized)
    request = Request(id="r", item=item, answers=1)
    with pytest.raises(Refused, match=r"can't read this answer \(KeyError\)"):
        checker(request, "label", {"boxes": [{"category": "crate", "xyxy": [0, 0, 1, 1]}]})
    assert "KeyError" in caplog.text
    with pytest.raises(Refused, match=r"^no boxes$"):
        checker(request, "label", {"boxes": []})


def test_verify_says_yes_or_no_and_changes_nothing(item: Item) -> None:
    proposal = {"x": "a"}
    checker = Checker(one("choice", False), None, sized)
    request = Request(id="r", item=item, answers=1, mode="verify", proposal=proposal)
    assert checker(request, "label", None) == checker(request, "label", proposal) == proposal
    assert checker(request, "wrong", None) is None
    for outcome, payload in (("label", {"x": "b"}), ("empty", None), ("wrong", proposal)):
        with pytest.raises(Refused):
            checker(request, outcome, payload)
    adjust = request.model_copy(update={"mode": "adjust"})
    assert checker(adjust, "label", {"x": "b"}) == {"x": "b"}
    with pytest.raises(Refused, match="needs a payload"):
        checker(adjust, "label", None)


def test_empty_only_where_the_form_allows_it(item: Item) -> None:
    request = Request(id="r", item=item, answers=1)
    assert Checker(one("box"), None, sized)(request, "empty", None) is None
    with pytest.raises(Refused, match="none of label, cannot_tell, declined"):
        Checker(form(Primitive(kind="choice", name="x"), empty_allowed=False), None, sized)(request, "empty", None)
