"""What scripts in docs/.site write is what the code of now gives."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from pages import ROOT, blocks, rows, section

import gtloop

SITE = ROOT / "docs" / ".site"


def _check(script: str) -> None:
    done = subprocess.run([sys.executable, str(SITE / script), "--check"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_of_the_python_interface_is_that_of_the_code() -> None:
    """Signatures of what a run offers, and the tables of all public modules."""
    _check("api.py")
    page = ROOT / "docs" / "api.md"
    assert {name.removeprefix("gtloop.").partition("(")[0] for name in rows(section(page, "## What is stable"))} == set(
        gtloop.__all__
    )


def test_all_that_is_public_is_on_that_page() -> None:
    listed = (ROOT / "docs" / "plugins" / "hooks.md").read_text().split("## What is public")[1]
    modules = {
        name for name in re.findall(r"`(gtloop\.[a-z]+)`", listed) if name.removeprefix("gtloop.") not in gtloop.__all__
    }
    text = (ROOT / "docs" / "api.md").read_text()
    assert len(modules) >= 9
    assert [name for name in sorted(modules) if f"`{name}`" not in text] == []


@pytest.mark.slow
def test_the_pictures_of_the_promise_are_those_of_the_code() -> None:
    """A hundred simulated jobs under each rule give what the pictures show."""
    _check("pictures.py")


def test_the_text_beside_the_pictures_says_what_they_show() -> None:
    text = (ROOT / "docs" / "promise-in-pictures.md").read_text()
    assert not list(blocks(ROOT / "docs" / "promise-in-pictures.md")), "its figures come from pictures.py"
    drawn = {p.stem: p.read_text() for p in (ROOT / "docs" / "img").glob("promise-*.svg")}
    assert set(re.findall(r"\(img/(promise-\w+)\.svg\)", text)) == set(drawn)
    for words in ("estimated 0.655", "certified 0.607"):
        assert words in text, words
        assert words in drawn["promise-three"], words
    assert ">10 of 100 break the promise<" in drawn["promise-runs"]
    assert ">100 of 100 break the promise<" in drawn["promise-blind"]
