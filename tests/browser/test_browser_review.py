"""Review in a real browser: verify with one key, adjust a label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from desks import Desk, paint

OpenDesk = Callable[..., Desk]
WHOLE = {
    "boxes": [{"category": "fox", "xyxy": [30, 20, 110, 80]}, {"category": "raccoon", "xyxy": [150, 90, 220, 170]}]
}


def propose(path: Path) -> Any:
    return WHOLE


def test_verify_boxes_with_one_key_each(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_desk(task="bbox", classes=["raccoon", "fox"])
    desk.submit(paint(desk.folder / "images", 4), propose, mode="verify")
    desk.serve()
    rita = visit(desk.links["Rita"])
    for key in ("y", "n", "s"):
        task = rita.ready()
        rita.page.get_by_text("2 boxes. Is everything there, and all of it right?").wait_for()
        rita.drag((5, 5), (100, 100))  # nothing can be drawn here
        rita.press(key)
        rita.next_after(task)
    task = rita.ready()
    rita.page.get_by_role("button", name="Yes").click()
    rita.next_after(task)
    rita.send()
    found = desk.wait(4)
    assert [a.outcome for a in found] == ["label", "wrong", "cannot_tell", "label"]
    assert found[0].payload == WHOLE
    assert found[3].payload == WHOLE


def test_verify_a_category_and_take_a_slip_back(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_desk(task="classification", classes=["cat", "dog"])
    desk.submit(paint(desk.folder / "images", 2), lambda path: {"category": "dog"}, mode="verify")
    desk.serve()
    rita = visit(desk.links["Rita"], tablet=True)
    task = rita.ready()
    with rita.unhurried():
        rita.page.get_by_role("button", name="Yes").tap()
        rita.next_after(task)
        rita.page.get_by_role("button", name="Undo").tap()
    assert rita.ready() == task
    assert rita.page.locator(".shown-label").inner_text() == "dog"
    rita.page.get_by_role("button", name="No", exact=True).tap()
    rita.next_after(task)
    rita.send()
    assert desk.wait(1)[0].outcome == "wrong"


def test_adjust_opens_the_editor_with_the_label(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_desk(task="bbox", classes=["raccoon", "fox"])
    desk.submit(paint(desk.folder / "images", 2), propose, mode="adjust")
    desk.serve()
    rita = visit(desk.links["Rita"])
    task = rita.ready()
    assert rita.objects() == WHOLE["boxes"]
    rita.click(60, 50)
    rita.drag((110, 80), (130, 100))
    rita.press("1", "Enter")
    rita.next_after(task)
    task = rita.ready()
    rita.press("Enter")  # as it is
    rita.next_after(task)
    rita.send()
    first, second = desk.wait(2)
    assert first.payload["boxes"][0]["category"] == "raccoon"
    assert abs(first.payload["boxes"][0]["xyxy"][2] - 130) < 1.5
    assert first.payload["boxes"][1] == WHOLE["boxes"][1]
    assert second.payload == WHOLE
