"""A real browser for tests that are driven as a person would: Playwright with Debian's Chromium."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from desks import Desk
    from playwright.sync_api import Browser
    from visitors import Visitor

LAPTOP = {"width": 1280, "height": 800}
TABLET = {"width": 820, "height": 1180}


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Makes desks; their servers are stopped in the end."""
    from desks import Desk

    made: list[Desk] = []

    def make(**spec: Any) -> Desk:
        folder = tmp_path / f"desk-{len(made)}"
        folder.mkdir()
        made.append(Desk(folder, **spec))
        return made[-1]

    yield make
    for desk in made:
        desk.stop()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Lets somebody in by a link, each in a browser profile of their own; their consoles have to stay clean.

    ``guide`` opens the instructions, ``tablet`` is a touch screen of 820 x 1180; the rest goes to the browser context.
    """
    from visitors import Visitor

    there: list[Visitor] = []

    def enter(link: str, *, guide: bool = False, tablet: bool = False, **context: Any) -> Visitor:
        look: dict[str, Any] = {"viewport": TABLET if tablet else LAPTOP, "has_touch": tablet, "is_mobile": tablet}
        made = browser.new_context(**{**look, **context})
        made.set_default_timeout(60_000)
        if not guide:
            made.add_init_script("try { localStorage.setItem('gtloop.guide', 'shut') } catch {}")
        visitor = Visitor(made)
        visitor.join(link)
        there.append(visitor)
        return visitor

    yield enter
    faults = [fault for visitor in there for fault in visitor.faults if "ERR_INTERNET_DISCONNECTED" not in fault]
    for visitor in there:
        visitor.context.close()
    assert not faults, "the browser's console: " + "\n".join(faults)
