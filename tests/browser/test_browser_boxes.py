"""Boxes in a real browser: mouse, keys alone, touch; undo; the whole of a small job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from desks import Desk, paint

OpenDesk = Callable[..., Desk]


@pytest.fixture
def desk(open_desk: OpenDesk) -> Desk:
    desk = open_desk(task="bbox", classes=["raccoon", "fox"])
    desk.submit(paint(desk.folder / "images", 3))
    desk.serve()
    return desk


def near(box: dict[str, Any], xyxy: tuple[float, ...], by: float = 1.5) -> bool:
    return all(abs(a - b) <= by for a, b in zip(box["xyxy"], xyxy, strict=True))


def test_a_small_job_by_mouse_to_the_end(desk: Desk, visit: Callable[..., Any]) -> None:
    anna = visit(desk.links["Anna"])
    first = anna.ready()
    anna.drag((40, 30), (120, 90))
    anna.page.get_by_role("button", name="fox", exact=True).click()  # the selected box becomes a fox
    anna.drag((200, 100), (300, 200))
    anna.press("1", "Enter")
    anna.next_after(first)
    second = anna.ready()
    anna.press("e")
    anna.next_after(second)
    third = anna.ready()
    anna.drag((10, 10), (60, 60))
    anna.page.get_by_role("button", name="Submit").click()
    anna.next_after(third)
    anna.send()
    found = desk.wait(3)
    assert [a.outcome for a in found] == ["label", "empty", "label"]
    boxes = found[0].payload["boxes"]
    assert [b["category"] for b in boxes] == ["fox", "raccoon"]
    assert near(boxes[0], (40, 30, 120, 90))
    assert near(boxes[1], (200, 100, 300, 200))
    assert len({a.request for a in found}) == 3
    assert {c.reason for c in desk.closed.values()} == {"complete"}
    assert len(desk.closed) == 3
    assert all(0 < a.active_seconds < 30 for a in found)
    anna.state("wait")


def test_the_keyboard_alone(desk: Desk, visit: Callable[..., Any]) -> None:
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    anna.press("n", *["Shift+ArrowLeft"] * 5, *["Shift+ArrowUp"] * 3)
    anna.press("n", *["Shift+ArrowRight"] * 8, *["Shift+ArrowDown"] * 6, *["ArrowRight"] * 3, "n")
    (box,) = anna.objects()
    x1, y1, x2, y2 = box["xyxy"]
    assert (x2 - x1, y2 - y1) == (83, 60)
    anna.press("ArrowLeft", "Shift+ArrowDown", "Alt+ArrowRight", "Alt+Shift+ArrowUp")
    assert anna.objects()[0]["xyxy"] == [x1 - 1, y1 + 10, x2, y2]
    anna.press("Escape", "n", "Shift+ArrowUp", "n", "Shift+ArrowRight", "Shift+ArrowDown", "n")
    assert len(anna.objects()) == 2
    anna.press("Escape", "Tab", "2", "Tab", "Delete")  # the first becomes a fox, the second goes
    assert [o["category"] for o in anna.objects()] == ["fox"]
    anna.press("Control+z")
    assert len(anna.objects()) == 2
    anna.press("Control+Shift+z", "Enter")
    anna.next_after(task)
    anna.send()
    (answer,) = desk.wait(1)
    assert [b["category"] for b in answer.payload["boxes"]] == ["fox"]


def test_boxes_are_moved_resized_deleted_and_undone(desk: Desk, visit: Callable[..., Any]) -> None:
    anna = visit(desk.links["Anna"])
    anna.ready()
    anna.drag((100, 80), (180, 140))
    anna.drag((140, 110), (160, 120))  # inside the selected box: move
    assert near(anna.objects()[0], (120, 90, 200, 150))
    anna.drag((200, 150), (260, 200))  # its corner: resize
    assert near(anna.objects()[0], (120, 90, 260, 200))
    anna.drag((120, 145), (90, 145))  # its left side
    assert near(anna.objects()[0], (90, 90, 260, 200))
    anna.drag((20, 20), (500, 500))  # past the border of the image
    assert near(anna.objects()[1], (20, 20, 320, 240))
    anna.click(310, 230)
    anna.press("Delete")
    assert len(anna.objects()) == 1
    for _ in range(3):
        anna.press("Control+z")
    assert near(anna.objects()[0], (120, 90, 260, 200))
    anna.press("Control+y")
    assert near(anna.objects()[0], (90, 90, 260, 200))


def test_zoom_and_pan_keep_pixels(desk: Desk, visit: Callable[..., Any]) -> None:
    anna = visit(desk.links["Anna"])
    anna.ready()
    before = anna.at(100, 100)
    anna.page.mouse.move(*before)
    anna.page.mouse.wheel(0, -800)
    assert anna.at(100, 100) == pytest.approx(before, abs=1), "the wheel zooms about the pointer"
    assert anna.at(110, 100)[0] - anna.at(100, 100)[0] > 60
    anna.page.keyboard.down(" ")
    anna.page.mouse.down()
    anna.page.mouse.move(before[0] + 50, before[1] + 30)
    anna.page.mouse.up()
    anna.page.keyboard.up(" ")
    assert anna.at(100, 100) == pytest.approx((before[0] + 50, before[1] + 30), abs=1)
    assert anna.objects() == []
    anna.drag((90, 90), (120, 110))
    assert near(anna.objects()[0], (90, 90, 120, 110), by=0.3)
    anna.press("0")
    anna.click(105, 100)
    assert near(anna.objects()[0], (90, 90, 120, 110), by=0.3)


def test_touch_on_a_tablet(desk: Desk, visit: Callable[..., Any]) -> None:
    anna = visit(desk.links["Anna"], tablet=True)
    task = anna.ready()
    with anna.fingers() as touch:
        touch.drag((60, 60), (90, 80), (160, 150))
        assert near(anna.objects()[0], (60, 60, 160, 150))
        touch.drag((164, 154), (180, 160), (200, 190))  # beside the corner: handles are large for fingers
        assert near(anna.objects()[0], (60, 60, 196, 186), by=5)
        before = anna.at(110, 110)
        touch.pinch((110, 110), 60, 150)
        assert len(anna.objects()) == 1, "two fingers draw nothing"
        grown = anna.at(120, 110)[0] - anna.at(110, 110)[0]
        assert grown > 40
        assert anna.at(110, 110) == pytest.approx(before, abs=25)
    anna.page.get_by_role("button", name="Submit").tap()
    anna.next_after(task)
    anna.send()
    assert len(desk.wait(1)[0].payload["boxes"]) == 1


def test_a_slip_is_taken_back_before_it_is_sent(desk: Desk, visit: Callable[..., Any]) -> None:
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    anna.drag((40, 30), (120, 90))
    with anna.unhurried():
        anna.press("Enter")
        anna.next_after(task)
        anna.press("z")
    assert anna.ready() == task
    assert len(anna.objects()) == 1
    assert desk.collect() == []
    anna.press("Enter")
    anna.next_after(task)
    assert len(desk.wait(1)) == 1


def test_what_is_drawn_is_not_dropped_by_one_key(desk: Desk, visit: Callable[..., Any]) -> None:
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    anna.press("Enter")  # nothing drawn: asks instead of sending
    assert anna.ready() == task
    anna.drag((40, 30), (120, 90))
    with anna.unhurried():
        anna.press("s")
        assert anna.ready() == task
        anna.press("s")
    anna.next_after(task)
    anna.send()
    assert desk.wait(1)[0].outcome == "declined"
