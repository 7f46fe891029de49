"""The documentation, opened from its folder: no server, no network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[2]
NARROW, WIDE = 420, 1400
PAGES = (
    "index.html",
    "promise-in-pictures.html",
    "comparison.html",
    "measured.html",
    "tutorials/boxes.html",
    "api.html",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return folder


def test_the_search_works_from_a_folder(browser: Browser, site: Path) -> None:
    page = browser.new_page()
    page.goto(f"file://{site}/search.html?q=quarantine")
    page.wait_for_selector("#mkdocs-search-results article a")
    link = page.get_attribute("#mkdocs-search-results article a", "href")
    page.goto(f"file://{site}/{link}")
    assert "quarantine" in page.inner_text("body").lower()
    page.close()


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_pages_fit_and_show_their_pictures(browser: Browser, site: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    missing: list[str] = []
    page.on("requestfailed", lambda request: missing.append(request.url))
    for name in PAGES:
        page.goto(f"file://{site}/{name}")
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)"), name
        body = "document.querySelector('.wy-nav-content')"
        assert page.evaluate(f"{body}.scrollWidth <= {body}.clientWidth + 1"), f"{name} is wider than {width}"
    assert [url for url in missing if "/search/" not in url] == []  # a browser allows the theme's own search no worker
    page.close()
