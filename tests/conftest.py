"""Shared fixtures: where the real images are, and a registry that nothing installed here changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest_plugins = ["gtloop.testing.pytest_plugin"]

sys.path.insert(0, str(Path(__file__).parent / "e2e"))
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real images beside the checkout; tests that need them are skipped where they are not."""
    if not SHARED.is_dir():
        pytest.skip(f"no real images at {SHARED}")
    return SHARED
