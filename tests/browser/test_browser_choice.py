"""Classification in a real browser: one key an image, search beyond nine, undo of a slip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from desks import Desk, paint

OpenDesk = Callable[..., Desk]
BREEDS = [f"breed {n:02d}" for n in range(40)]


def test_a_small_job_by_keys_and_buttons_to_the_end(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_desk(task="classification", classes=["cat", "dog", "emu"])
    desk.submit(paint(desk.folder / "images", 5))
    desk.serve()
    anna = visit(desk.links["Anna"])
    seen = set()
    for key in ("1", "3", "2"):
        task = anna.ready()
        seen.add(task)
        anna.press(key)
        anna.next_after(task)
    task = anna.ready()
    anna.page.get_by_role("button", name="emu").click()
    anna.next_after(task)
    task = anna.ready()
    anna.press("c")
    anna.next_after(task)
    anna.send()
    found = desk.wait(5)
    assert [(a.payload or {}).get("category") for a in found] == ["cat", "emu", "dog", "emu", None]
    assert found[-1].outcome == "cannot_tell"
    assert len(seen) == 3
    anna.state("wait")
    assert anna.page.get_by_text("Nothing to do right now").is_visible()


def test_a_slip_is_undone_also_after_the_last_image(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_desk(task="classification", classes=["cat", "dog"])
    desk.submit(paint(desk.folder / "images", 1))
    desk.serve()
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    with anna.unhurried():
        anna.press("1")
        anna.next_after(task)
        anna.page.get_by_role("button", name="Undo").click()
    assert anna.ready() == task
    assert desk.collect() == []
    anna.press("2")
    anna.next_after(task)
    anna.send()
    assert desk.wait(1)[0].payload == {"category": "dog"}


def test_search_beyond_nine(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_desk(task="classification", classes=BREEDS)
    desk.submit(paint(desk.folder / "images", 3))
    desk.serve()
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    anna.press("/")
    anna.page.keyboard.type("d 27")
    anna.press("Enter")
    anna.next_after(task)
    task = anna.ready()
    # Who searched is in the search field again, and letters that are keys elsewhere are text there.
    anna.page.keyboard.type("breed 3")
    anna.press("ArrowDown", "Enter")
    anna.next_after(task)
    task = anna.ready()
    anna.press("Escape", "5")
    anna.next_after(task)
    anna.send()
    assert [a.payload["category"] for a in desk.wait(3)] == ["breed 27", "breed 31", "breed 04"]
