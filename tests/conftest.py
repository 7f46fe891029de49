"""Shared fixtures: where the real images are, and a registry that nothing installed here changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from postgres import Server

if "PYTEST_XDIST_WORKER" in os.environ:  # the processes of `make test` share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["gtloop.testing.pytest_plugin"]

sys.path.insert(0, str(Path(__file__).parent / "e2e"))
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real images beside the checkout; tests that need them are skipped where they are not."""
    if not SHARED.is_dir():
        pytest.skip(f"no real images at {SHARED}")
    return SHARED


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads, and lose a lot where the cores are shared."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A real PostgreSQL server."""
    from postgres import server

    with server() as made:
        yield made


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real browser, the only one in this process: Playwright has one loop."""
    from chromium import CHROMIUM, FLAGS

    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("no browser tests without Playwright: pip install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip("no browser tests without Chromium: apt-get install chromium (or set GTLOOP_CHROMIUM)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """CI installs everything, so a test skipped there is a failure; a contract check that does not apply is none."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("GTLOOP_FORBID_SKIPS") or reporter is None:
        return
    skipped = [r for r in reporter.stats.get("skipped", []) if "does not apply" not in str(r.longrepr)]
    if skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"{len(skipped)} tests were skipped, which GTLOOP_FORBID_SKIPS forbids", red=True)
