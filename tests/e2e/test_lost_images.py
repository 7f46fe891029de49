"""Images that people have labelled and that can't be read any more: nothing is learned from them, and all goes on."""

from __future__ import annotations

import shutil
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs

import gtloop
from gtloop.errors import BadImage
from gtloop.interfaces import Example
from gtloop.records import Item


class Lost:
    """Tears two images of the first training batch, and mends one of them before the next batch."""

    def __init__(self, root: Path, images: Path) -> None:
        self.root, self.kept = root, images.with_name("kept")
        shutil.copytree(images, self.kept)
        self.images, self.names = images, list[str]()

    def module(self) -> types.ModuleType:
        module = types.ModuleType("lost")

        @gtloop.hookimpl
        def gtloop_event(event: Any) -> None:
            if event.type == "batch-committed" and event.phase == "train":
                self._tear(event.requests)
            elif event.type == "batch-committed" and event.phase == "active" and self.names:
                shutil.copy(self.kept / self.names[0], self.images)

        module.gtloop_event = gtloop_event  # type: ignore[attr-defined]
        return module

    def _tear(self, requests: Any) -> None:
        run = gtloop.open(self.root)
        rows = np.asarray(run.store.read(requests)["row"])
        self.names = [run.items.name[int(row)] for row in rows[:2]]
        for name in self.names:
            (self.images / name).write_bytes((self.kept / name).read_bytes()[:200])


def test_what_is_lost_is_left_out_and_what_is_mended_is_learned_from(tmp_path: Path) -> None:
    images, _ = runs.make_images(tmp_path, 60)
    root = tmp_path / "run"
    lost = Lost(root, images)
    ended = runs.cli(*runs.small(images, root, "-o", "sizes.look_at=40"), modules=[lost.module()])
    assert ended.code == 0, ended.err
    assert ended.err.count("left out of training") == 1, "once for each image"
    run = gtloop.open(root)
    fits = [e.event for e in run.events() if e.event.type == "model-fitted" and e.event.fold is None]
    assert [fit.examples for fit in fits[:2]] == [10 - 2, 20 - 1]
    said = next(e.event for e in run.events() if e.event.type == "items-quarantined")
    assert said.training
    assert sorted(lost.names)[0] in said.example
    rows = runs.exported(root)
    assert all(rows[name]["source"] == "human" for name in lost.names), "labels stay"
    assert runs.status(root)["items"]["quarantined"] == 0


def test_an_example_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    item = Item(row=0, id="i", name="sub/a.png", uri=str(tmp_path / "a.png"))
    with pytest.raises(BadImage, match=r"sub/a\.png: cannot be read: no such file"):
        Example(item, {"boxes": []}).open()
