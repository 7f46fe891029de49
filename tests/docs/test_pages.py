"""The pages do what they say: their commands run in order, their packages work, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docshell import Shell, fresh_programs, is_shell, not_shown, run_page
from gtjobs import job_of
from pages import PAGES, ROOT, SHELLS, anchors, blocks, links
from ports import free_port

from gtloop.interfaces import KINDS

EXAMPLES = ROOT / "docs" / "plugins" / "examples"
LONG = {
    *("adaptive", "audit", "consolidation", "explain", "formats", "loop"),
    *("migrating", "money", "operations", "planning", "report", "using"),
}
"""Pages whose commands take ten seconds or more of computing: they run with the slow tests."""


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _builds_a_package(page: Path) -> bool:
    return any("pip install" in b.text for b in blocks(page) if is_shell(b))


def _pages_to_run() -> Iterator[Any]:
    for page in PAGES:
        shell = [b for b in blocks(page) if is_shell(b)]
        if any(not b.slow for b in shell):
            late = _builds_a_package(page) or page.stem in LONG
            yield pytest.param(page, False, id=_name(page), marks=[pytest.mark.slow] if late else [])
        if any(b.slow for b in shell):
            yield pytest.param(page, True, id=f"{_name(page)}-slow", marks=pytest.mark.slow)


@pytest.mark.parametrize(("page", "slow"), list(_pages_to_run()))
def test_commands_run(page: Path, slow: bool, photos: Path, tmp_path: Path) -> None:
    """The blocks of a page, from the top, in a folder with ``photos/`` and ``truth.jsonl``.

    A page that builds a package gets an environment of its own to install it into. The page about coming from Ground
    Truth has a job's folder, too.
    """
    work = tmp_path / "work"
    shutil.copytree(photos, work)
    if page.name == "migrating.md":
        job_of(photos, work / "crates")
    programs, env = fresh_programs(tmp_path / "venv") if _builds_a_package(page) else (None, {})
    shell = Shell(work, programs, PORT=str(free_port()), **env)
    try:
        run_page(page, shell, slow)
    finally:
        shell.close()
    for name in re.findall(r'^name = "(gtloop-\w+)"', (page.read_text()), flags=re.M):
        code = f"import importlib.metadata as m; m.version({name!r})"
        here = subprocess.run([sys.executable, "-c", code], capture_output=True)
        assert here.returncode != 0, f"{name} was installed into the environment of these tests"


def test_skipped_blocks_are_few_and_their_make_targets_exist() -> None:
    skipped = [b for page in PAGES for b in blocks(page) if b.language in SHELLS and b.skipped]
    # installing everything (2), waiting for a person at a page (3), an AWS account and real money (2),
    # a database server (2), a cluster (1)
    assert len(skipped) <= 10, [b.where for b in skipped]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for block in skipped:
        assert len(block.marker.split()) > 3, f"{block.where}: skipped without a reason"
        missing = set(re.findall(r"^make ([a-z-]+)", block.text, flags=re.M)) - targets
        assert not missing, f"{block.where}: the Makefile has no {missing}"


def test_benchmarks_are_named_with_options_that_they_have() -> None:
    """They compute for minutes, so they are not run here: the file is there, and takes what the page passes."""
    measured = [b for page in PAGES for b in blocks(page) if b.benchmark]
    there = {_name(p) for p in (ROOT / "benchmarks").glob("*.py")}
    assert len(measured) >= 5, "the pages with figures name what measured them"
    for block in measured:
        lines = [shlex.split(line) for line in block.text.splitlines() if line.startswith("python ")]
        assert lines, f"{block.where} runs no benchmark"
        for _, path, *words in lines:
            assert path in there, f"{block.where}: there is no {path}"
            known = set(re.findall(r'add_argument\(\s*"(-[\w-]+)"', (ROOT / path).read_text()))
            unknown = {w.partition("=")[0] for w in words if w.startswith("-")} - known
            assert not unknown, f"{block.where}: {path} has no option {unknown}"


def test_there_is_an_example_for_every_kind() -> None:
    """... that installs its package, runs its tests, uses it in a run, and can be found from the tutorial."""
    assert {p.stem for p in EXAMPLES.glob("*.md")} == {*KINDS, "observer", "command"}
    for page in EXAMPLES.glob("*.md"):
        typed = "".join(b.text for b in blocks(page) if is_shell(b))
        assert all(part in typed for part in ("pip install --editable .", "pytest tests", "gtloop run ")), page.name
        assert f"examples/{page.name}" in links(ROOT / "docs" / "plugins" / "writing.md"), page.name
        files = {b.file: b.text for b in blocks(page) if b.file}
        (test,) = (text for path, text in files.items() if path.startswith("tests/"))
        if page.stem in KINDS:
            assert f"{page.stem.capitalize()}Contract" in test, f"{page.name}: its tests do not run the contract"


def test_examples_use_what_is_public_only() -> None:
    """A module that is not listed as public may change in any version."""
    listed = (ROOT / "docs" / "plugins" / "hooks.md").read_text().split("## What is public")[1]
    public = set(re.findall(r"`(gtloop[\w.]*)`", listed))
    for page in [*EXAMPLES.glob("*.md"), ROOT / "docs" / "plugins" / "writing.md"]:
        for block in blocks(page):
            modules = set(re.findall(r"^\s*(?:from|import) (gtloop\.\w+)", block.text, flags=re.M))
            assert modules <= public, f"{block.where} imports {modules - public}"


def test_the_terminal_of_these_tests_sees_faults(tmp_path: Path) -> None:
    """A command that fails in the middle, output that is missing, and a folder that stays changed."""
    shell = Shell(tmp_path)
    try:
        assert shell.run("false\ntrue")[0] == 1
        assert shell.run("mkdir there && cd there && echo one; echo two >&2") == (0, "one\ntwo\n")
        assert shell.run("pwd") == (0, f"{tmp_path / 'there'}\n")
    finally:
        shell.close()
    assert not_shown(["one", "...", "t...o"], "one\ntwo\n") is None
    assert not_shown(["two", "one"], "one\ntwo\n") == "one"


# --------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{_name(page)} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{_name(page)} links to {target}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        linked = ((page.parent / t.partition("#")[0]).resolve() for t in links(page) if t.partition("#")[0])
        todo += [p for p in linked if p.suffix == ".md"]
    assert {_name(p) for p in PAGES} - {_name(p) for p in seen} == set()
