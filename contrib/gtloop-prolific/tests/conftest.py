"""An emulator for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from emulator import TOKEN, Emulator
from hypothesis import settings

settings.register_profile("patient", deadline=None)  # a busy machine is no fault
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROLIFIC_TOKEN", TOKEN)


@pytest.fixture
def start() -> Iterator[Callable[..., Emulator]]:
    running: list[Emulator] = []

    def made(**plan: Any) -> Emulator:
        running.append(Emulator(**plan))
        return running[-1]

    yield made
    for emulator in running:
        emulator.stop()


@pytest.fixture
def emulator(start: Callable[..., Emulator]) -> Emulator:
    return start()
