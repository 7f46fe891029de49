"""The documentation builds as a site, strictly and offline, and its links work there too."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pages import PAGES, ROOT

OUTSIDE = {"README.md": "index.html", "CHANGELOG.md": "changelog.html", "CONTRIBUTING.md": "contributing.html"}


class Page(HTMLParser):
    """What a page of the site links to, loads, and offers as anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.headings: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value for key, value in attrs if value}
        if "id" in given:
            self.anchors.add(str(given["id"]))
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        if tag == "a" and "href" in given:
            self.links.append(str(given["href"]))
        if tag in ("script", "img") and "src" in given:
            self.loads.append(str(given["src"]))
        if tag == "link" and given.get("rel") != "canonical" and "href" in given:
            self.loads.append(str(given["href"]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning of mkdocs fails the build."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def _place(page: Path) -> str:
    """Where a page of the repository is on the site."""
    name = str(page.relative_to(ROOT))
    if name in OUTSIDE:
        return OUTSIDE[name]
    return name.removeprefix("docs/").removesuffix(".md").replace("README", "index") + ".html"


def test_every_page_is_on_the_site(site: Path, pages: dict[Path, Page]) -> None:
    for page in PAGES:
        built = site / _place(page)
        assert built in pages, f"{page} is not on the site"
        written = sum(line.startswith(("# ", "## ", "### ")) for line in _prose(page))
        assert len(pages[built].headings) == written, f"{page}: headings differ"


def test_lists_and_tables_are_not_run_into_paragraphs() -> None:
    """GitHub makes a list or a table where there is no empty line before it; the site does not."""
    for page in PAGES:
        before = ""
        for line in _prose(page):
            starts = line.startswith(("- ", "1. ", "| "))
            inside = not before.strip() or before.startswith(("- ", "  ", "|", "#")) or before[:1].isdigit()
            assert not starts or inside, f"{page.relative_to(ROOT)}: put an empty line before {line!r}"
            before = line


def _prose(page: Path) -> list[str]:
    lines, code = [], False
    for line in page.read_text("utf-8").splitlines():
        code ^= line.startswith("```")
        if not code and not line.startswith("```"):
            lines.append(line)
    return lines


def test_links_work_on_the_site(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if "://" in target or path.name in ("404.html", "search.html"):
                continue
            there = (path.parent / target).resolve() if target else path
            assert there.is_file(), f"{path.relative_to(site)} links to {link}"
            if anchor and there in pages:
                assert anchor in pages[there].anchors, f"{path.relative_to(site)} links to {link}"


def test_the_site_loads_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    loads = {load for page in pages.values() for load in page.loads}
    assert loads, "the pages have no style"
    assert [load for load in loads if "//" in load] == []
