"""The contract that every annotator keeps, with people who are played by the emulator's crew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from emulator.client import KEYS, Process
from mturkkit import FAST, crew

from gtloop.interfaces import Annotator
from gtloop.records import Request
from gtloop.testing import AnnotatorContract
from gtloop_plugins.annotators.mturk import Mturk

_RUNNING: dict[str, Process] = {}


@pytest.fixture(scope="module", autouse=True)
def _emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for key, value in KEYS.items():
            patch.setenv(key, value)
        for task in ("bbox", "classification", "segmentation"):
            _RUNNING[task] = Process(tmp_path_factory.mktemp(task), crew=crew(task))
        yield
        for process in _RUNNING.values():
            process.kill()


class TestMturk(AnnotatorContract):
    plugin = Mturk

    def options_for(self, folder: Path, task: str) -> Mapping[str, Any]:
        return {**FAST, "endpoint": _RUNNING[task].url}

    def play_people(self, annotator: Annotator, requests: Sequence[Request], workdir: Path) -> None:
        for process in _RUNNING.values():
            process.ask("work")
