"""A report in a real browser: nothing broken, nothing beside the page, nothing fetched, on screens and on paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from report_runs import make_run

import gtloop
from gtloop.registry import Registry
from gtloop_plugins.commands.reporting.measure import gather
from gtloop_plugins.commands.reporting.page import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREENS = {"desktop": (1280, 800), "tablet": (820, 1180), "phone": (390, 844)}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of boxes that has something to show in nearly every section."""
    base = tmp_path_factory.mktemp("report")
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    run = gtloop.open(make_run(base, registry))
    return write_report(gather(run, registry), run, run.task(registry), base / "page")


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Any]:
    """Opens the page; whatever it asks for but itself fails the test, and so does an error in its console."""
    asked: list[str] = []
    faults: list[str] = []
    contexts = []

    def go(screen: str = "desktop", **context: Any) -> Page:
        width, height = SCREENS[screen]
        made = browser.new_context(viewport={"width": width, "height": height}, **context)
        contexts.append(made)
        page = made.new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda r: None if r.url.startswith("data:") else asked.append(r.url))
        page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
        page.goto(report.as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert set(asked) == {report.as_uri()}, "a request left the page"
    assert not faults


BROKEN = """
() => [...document.images].filter(i => !i.complete || !i.naturalWidth || !i.getBoundingClientRect().width)
    .map(i => i.alt)
"""
BEYOND = """
() => [...document.querySelectorAll("body *")].filter(e => !e.closest(".wide") || e.matches(".wide")).filter(e => {
    const box = e.getBoundingClientRect();
    return box.width && (box.right > document.documentElement.clientWidth + 1 || box.left < -1);
}).map(e => `${e.tagName}.${e.className}: ${e.textContent.slice(0, 40)}`)
"""


@pytest.mark.parametrize("screen", SCREENS)
def test_no_picture_is_broken_and_nothing_sticks_out(opened: Any, screen: str) -> None:
    page = opened(screen)
    assert page.evaluate("document.images.length") > 50
    assert page.evaluate(BROKEN) == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert page.evaluate(BEYOND) == []


def test_a_phone_says_that_plots_scroll_and_shows_all_of_them(opened: Any) -> None:
    page = opened("phone")
    hint = "[...document.querySelectorAll('.plot')].map(p => getComputedStyle(p, '::before').content)"
    assert all("swipe" in said for said in page.evaluate(hint))
    unread = """[...document.querySelectorAll('.wide')].filter(p => {
        p.scrollLeft = 9999;  // the last pixels come to stand before the part that fades
        return p.querySelector('img, table').getBoundingClientRect().right > p.getBoundingClientRect().right - 20;
    }).length"""
    assert page.evaluate(unread) == 0
    banded = """[...document.querySelectorAll('.grid img')].filter(i =>
        i.clientHeight < 260 && Math.abs(i.clientWidth / i.clientHeight - i.naturalWidth / i.naturalHeight) > 0.1)"""
    assert page.evaluate(f"{banded}.length") == 0
    assert "none" in opened("desktop").evaluate(hint)


def test_dark_pages_have_dark_plots(opened: Any) -> None:
    """The same picture element shows another file, and text stays readable on its ground."""
    light, dark = (opened(color_scheme=scheme) for scheme in ("light", "dark"))
    chosen = "[...document.querySelectorAll('.plot img')].map(i => i.currentSrc)"
    assert not set(light.evaluate(chosen)) & set(dark.evaluate(chosen))
    ground, ink = dark.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert _contrast(ground, ink) > 7
    assert dark.evaluate(BROKEN) == []


def test_contents_lead_to_every_section(opened: Any) -> None:
    page = opened()
    links = page.evaluate("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))")
    ids = page.evaluate("[...document.querySelectorAll('h2')].map(h => '#' + h.id)")
    assert links == ids
    assert len(set(ids)) == len(ids)
    page.click("nav a >> nth=-1")
    assert page.evaluate("window.scrollY") > 1000


def test_paper_has_all_of_it(opened: Any, tmp_path: Path) -> None:
    page = opened(color_scheme="dark")
    page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    pdf = (tmp_path / "report.pdf").read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 5
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 900})  # the width of A4 within its margins
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(BROKEN) == []
    sticks_out = "[...document.querySelectorAll('table, img, h1, h2, p')].filter(e => e.scrollWidth > 690)"
    assert page.evaluate(f"{sticks_out}.map(e => e.tagName)") == []
    assert not page.is_visible("nav")


def _contrast(a: str, b: str) -> float:
    """Of two colours ``rgb(r, g, b)``, as WCAG has it."""

    def luminance(colour: str) -> float:
        parts = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)
