"""A server for each test; properties are checked without a clock, as a busy machine is no fault."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from emulator import TOKEN, Emulator
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    made = Emulator()
    yield made
    made.stop()
