"""The contract that every annotator keeps, with participants who come by the studies' URLs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from crew import FAST, Crew, Driver, served
from emulator import TOKEN, Emulator
from gtloop.interfaces import Annotator
from gtloop.records import Request
from gtloop.testing import AnnotatorContract, checks_annotator

from gtloop_prolific.annotator import Prolific

_RUNNING: dict[Path, Emulator] = {}


@pytest.fixture(scope="module", autouse=True)
def _emulators() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROLIFIC_TOKEN", TOKEN)
        patch.setattr(checks_annotator, "PATIENCE_S", 120.0)  # a busy machine is no fault
        yield
    for emulator in _RUNNING.values():
        emulator.stop()


class TestProlific(AnnotatorContract):
    plugin = Prolific

    def options_for(self, folder: Path, task: str) -> Mapping[str, Any]:
        if folder not in _RUNNING:
            _RUNNING[folder] = Emulator()
        return {**FAST, "endpoint": _RUNNING[folder].url}

    def play_people(self, annotator: Annotator, requests: Sequence[Request], workdir: Path) -> None:
        assert isinstance(annotator, Prolific)
        assert annotator.context.task is not None
        emulator = next(e for e in _RUNNING.values() if e.url == annotator.options.endpoint)
        task = annotator.context.task.name
        prefix, name = f"{len(emulator.submissions):x}", annotator._parts.books.namespace
        crew = Crew(emulator, [r.item for r in requests], task, prefix, name)
        driver = Driver(annotator)
        with served(annotator) as browser:
            driver.look()
            while crew.work(browser):
                driver.look()


def test_gtloop_finds_it() -> None:
    (point,) = entry_points(group="gtloop", name="prolific")
    assert Prolific in point.load().gtloop_annotators()
