"""Fixtures: a small world without a network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before any library of Hugging Face is imported

pytest_plugins = ["gtloop.testing.pytest_plugin"]
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small tensors gain nothing from threads, and lose a lot where the cores are shared."""
    import torch

    torch.set_num_threads(1)
