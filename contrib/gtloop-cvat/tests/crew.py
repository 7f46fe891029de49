"""People who work in CVAT and know the truth of the tiny images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cvat_sdk.masks import encode_mask
from emulator import Emulator
from gtloop import masks
from gtloop.images import open_image
from gtloop.interfaces import Context
from gtloop.records import Answer, Closed, Item, Request
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth

from gtloop_cvat.annotator import Cvat

FAST: dict[str, Any] = {"frames": 3, "poll_s": 0, "timeout_s": 10, "patience_s": 30}


def build(folder: Path, emulator: Emulator, task: str = "bbox", **options: Any) -> Cvat:
    """An annotator on a folder."""
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    made: Any = registry.build("task", task, registry.options("task", task, {}, "test"), Context(categories=CATEGORIES))
    folder.mkdir(parents=True, exist_ok=True)
    context = Context(categories=CATEGORIES, workdir=folder, task=made, form=made.form())
    return Cvat(Cvat.Options(**{**FAST, "url": emulator.url, **options}), context)


def requests(folder: Path, n: int, answers: int = 1, **more: Any) -> list[Request]:
    return [Request(id=f"r{i.row}", item=i, answers=answers, **more) for i in tiny_items(folder / "images", n)]


class Crew:
    """Everybody who is at the server."""

    def __init__(self, emulator: Emulator, items: Sequence[Item], task: str = "bbox", name: str = "") -> None:
        truths = tiny_truth(task, max(i.row for i in items) + 1)
        assert truths is not None
        self.emulator, self.truths, self._name = emulator, truths, name
        self._rows = {open_image(i.uri).tobytes(): i.row for i in items}

    def work(self, user: str | None = None) -> int:
        """Complete every job that is open; returns how many that were."""
        found = self.emulator.open_tasks(self._name)
        for task in found:
            shapes, tags = self.drawn(task)
            self.emulator.complete(task, shapes, tags, user)
        return len(found)

    def drawn(self, task: dict[str, Any]) -> tuple[list[Any], list[Any]]:
        ids = {x["name"]: x["id"] for x in task["labels"]}
        shapes: list[Any] = []
        tags: list[Any] = []
        for frame, image in enumerate(self.emulator.images(task)):
            truth = self.truths[self._rows[image.tobytes()]]
            if "category" in truth:
                tags.append({"frame": frame, "label_id": ids[truth["category"]]})
            for b in truth.get("boxes", ()):
                points = [float(v) for v in b["xyxy"]]
                shapes.append({"frame": frame, "type": "rectangle", "label_id": ids[b["category"]], "points": points})
            for r in truth.get("regions", ()):
                points = [float(v) for v in encode_mask(np.array(masks.decode(r["counts"], tuple(truth["size"]))))]
                shapes.append({"frame": frame, "type": "mask", "label_id": ids[r["category"]], "points": points})
        return shapes, tags


class Driver:
    """What core does with an annotator: asks and collects."""

    def __init__(self, annotator: Cvat) -> None:
        self.annotator, self.cursor = annotator, ""
        self.answers: dict[str, Answer] = {}
        self.closed: dict[str, Closed] = {}

    def look(self, times: int = 1) -> None:
        """Whole looks, at least so many."""
        for _ in range(times + 1):
            got = self.annotator.collect(self.cursor, 30.0)
            self.answers.update((a.id, a) for a in got.answers)
            self.closed.update((c.request, c) for c in got.closed)
            self.cursor = got.cursor
