"""Fixtures for tests of plugins; switch on with ``pytest_plugins = ["gtloop.testing.pytest_plugin"]``."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtloop.registry import Registry


@pytest.fixture
def registry() -> Registry:
    """The built-in plugins only: what else is installed here never changes a test."""
    return Registry.load(discover=False, extra_modules=["gtloop_plugins"])


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """An empty folder for a run."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder
