"""Every screen in both themes and sizes: contrast, size of targets, nothing cut off, names for screen readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from desks import Desk, paint

OpenDesk = Callable[..., Desk]

LOOKS = Path(__file__).with_name("looks.js").read_text().partition("\n")[2].strip().rstrip(";")


def see(visitor: Any, what: str) -> Any:
    """One of the functions in ``looks.js``."""
    return visitor.page.evaluate(f"() => {{ const looks = {LOOKS}; return looks.{what}() }}")


def look(visitor: Any, touch: bool) -> None:
    assert see(visitor, "faint") == []
    assert see(visitor, "nameless") == []
    assert not see(visitor, "wide")
    if touch:
        assert see(visitor, "small") == []


@pytest.mark.parametrize(
    ("scheme", "tablet"),
    [
        ("light", False),
        ("dark", True),
        pytest.param("light", True, marks=pytest.mark.slow),
        pytest.param("dark", False, marks=pytest.mark.slow),
    ],
)
def test_screens_can_be_read_and_hit(open_desk: OpenDesk, visit: Callable[..., Any], scheme: str, tablet: bool) -> None:
    desk = open_desk(task="bbox", classes=["raccoon", "fox"])
    whole = {"boxes": [{"category": "fox", "xyxy": [30, 20, 110, 80]}]}
    paths = paint(desk.folder / "images", 5)
    desk.submit(paths[:3])  # as many as Anna answers and holds, so that none of Rita's goes to her
    desk.submit(paths[3:], lambda path: whole, mode="verify")
    desk.serve()
    anna = visit(desk.links["Anna"], guide=True, tablet=tablet, color_scheme=scheme, reduced_motion="reduce")
    anna.ready()
    look(anna, tablet)
    anna.page.get_by_role("button", name="Got it").click()
    anna.drag((40, 40), (100, 100))
    look(anna, tablet)
    anna.page.click("#help-button")
    look(anna, tablet)
    with anna.unhurried():
        anna.press("Escape", "Enter")
        anna.page.locator(".toast").wait_for()
        look(anna, False)
    rita = visit(desk.links["Rita"], tablet=tablet, color_scheme=scheme, reduced_motion="reduce")
    rita.ready()
    look(rita, tablet)
    for key in "yy":
        task = rita.ready()
        rita.press(key)
        rita.next_after(task)
        rita.send()
    rita.state("wait")
    look(rita, tablet)
    owner = visit(desk.links["dashboard"], tablet=tablet, color_scheme=scheme, reduced_motion="reduce")
    owner.page.get_by_role("row", name="Anna").wait_for()
    look(owner, False)
    base = desk.links["Anna"].split("/join")[0]
    for path in ("/join/forged", "/nowhere"):
        anna.page.goto(base + path)
        look(anna, tablet)
    anna.page.goto(desk.links["Ben"])
    look(anna, tablet)
    anna.faults.clear()  # the refusals' statuses


def test_focus_is_seen(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_desk(task="bbox", classes=["raccoon"])
    desk.submit(paint(desk.folder / "images", 1))
    desk.serve()
    anna = visit(desk.links["Anna"])
    anna.ready()
    seen = set()
    for _ in range(14):
        anna.press("Tab")
        if found := see(anna, "focused"):
            name, style, width = found
            assert (style, width >= 2) == ("solid", True), f"{name}: {style} {width}"
            seen.add(name)
    assert "canvas" in seen
    assert len(seen) >= 8
