"""An annotator of a run of tiny images, and what it collects."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gtloop.interfaces import Context
from gtloop.records import Answer, Closed, Item, Request
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES, SIZE, tiny_items

from gtloop_labelstudio import writing
from gtloop_labelstudio.annotator import LabelStudio
from gtloop_labelstudio.options import LabelStudioOptions

PATIENCE_S = 120.0
WEB = "http://127.0.0.1:1/{name}"
BOX = {"boxes": [{"category": "drum", "xyxy": [10.0, 20.0, 30.0, 44.0]}]}


class Desk:
    """One run: its folder, its annotator, what came so far."""

    def __init__(self, folder: Path, task: str = "bbox", **options: Any) -> None:
        self.folder = folder
        made = Registry.load(discover=False, extra_modules=["gtloop_plugins"]).build(
            "task", task, {}, Context(categories=CATEGORIES)
        )
        work = folder / "work"
        self.context = Context(
            categories=CATEGORIES, workdir=work, form=made.form(), task=made, run=f"tests {folder.name}"[:40]
        )
        self.options = {"poll_s": 0, "image_url": WEB, **options}
        self.items: list[Item] = tiny_items(folder / "images", 6)
        self.answers: dict[str, Answer] = {}
        self.closed: dict[str, Closed] = {}
        self.cursor = ""
        self.annotator = self.again()

    def again(self, **options: Any) -> LabelStudio:
        """A new object, as a new process makes it."""
        given = LabelStudioOptions.model_validate({**self.options, **options})
        self.annotator = LabelStudio(given, self.context)
        return self.annotator

    def request(self, row: int, answers: int = 1, **more: Any) -> Request:
        return Request(id=f"request-{row}", item=self.items[row], answers=answers, **more)

    def ask(self, *requests: Request) -> None:
        self.annotator.submit(requests)

    @property
    def project(self) -> int:
        found = self.annotator._books.project
        assert found is not None
        return found

    def task(self, row: int) -> int:
        found = self.annotator._books.asked[f"request-{row}"].task
        assert found is not None
        return found

    def look(self, *closed: int) -> None:
        """Collect until the requests of these rows are closed."""
        wanted = {f"request-{row}" for row in closed}
        self._until(lambda: wanted <= self.closed.keys(), f"{closed} are not closed: {self.closed}")

    def look_for(self, answers: int) -> None:
        """Collect until there are so many answers in all."""
        self._until(lambda: len(self.answers) >= answers, f"{len(self.answers)} of {answers} answers came")

    def look_once(self) -> None:
        """Collect what there is now: until a whole look has brought nothing."""
        end = time.monotonic() + PATIENCE_S
        quiet = 0
        while quiet < 2 and time.monotonic() < end:
            before = self.annotator._collecting._since
            while self.annotator._collecting._since == before and time.monotonic() < end:
                self._collect(0.3)
            quiet += 1

    def _until(self, done: Any, what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < end, what
            self._collect(0.5)

    def _collect(self, limit_s: float) -> None:
        got = self.annotator.collect(self.cursor, limit_s)
        self.cursor = got.cursor
        self.answers.update((a.id, a) for a in got.answers)
        self.closed.update((c.request, c) for c in got.closed)

    def of(self, row: int) -> list[Answer]:
        return [a for a in self.answers.values() if a.request == f"request-{row}"]


def drawn(desk: Desk, payload: Any = None) -> list[dict[str, Any]]:
    """What Label Studio's page sends for a label; of none, for ``BOX``."""
    assert desk.context.form is not None
    return writing.write(BOX if payload is None else payload, desk.context.form, SIZE)
