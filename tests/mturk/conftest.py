"""An emulator for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator.client import KEYS, Process
from mturkkit import Start


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in KEYS.items():
        monkeypatch.setenv(key, value)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an emulator: ``start(**plan)``; all are killed afterwards."""
    running: list[Process] = []

    def made(**plan: Any) -> Process:
        running.append(Process(tmp_path / f"emulator{len(running)}", **plan))
        return running[-1]

    yield made
    for process in running:
        process.kill()
