"""The contract that every annotator keeps, with people who complete the jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from crew import FAST, Crew, Driver
from emulator import TOKEN, Emulator
from gtloop.interfaces import Annotator
from gtloop.records import Request
from gtloop.testing import AnnotatorContract, checks_annotator

from gtloop_cvat.annotator import Cvat

_RUNNING: list[Emulator] = []


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVAT_ACCESS_TOKEN", TOKEN)
        patch.setattr(checks_annotator, "PATIENCE_S", 120.0)  # a busy machine is no fault
        _RUNNING.append(Emulator())
        yield
    _RUNNING.pop().stop()


class TestCvat(AnnotatorContract):
    plugin = Cvat

    def options_for(self, folder: Path, task: str) -> Mapping[str, Any]:
        return {**FAST, "url": _RUNNING[0].url}

    def play_people(self, annotator: Annotator, requests: Sequence[Request], workdir: Path) -> None:
        assert isinstance(annotator, Cvat)
        assert annotator.context.task is not None
        name = annotator._parts.books.namespace
        crew = Crew(_RUNNING[0], [r.item for r in requests], annotator.context.task.name, name)
        driver = Driver(annotator)
        driver.look()
        while crew.work():
            driver.look()


def test_gtloop_finds_it() -> None:
    (point,) = entry_points(group="gtloop", name="cvat")
    assert Cvat in point.load().gtloop_annotators()
