"""An annotator that talks to an emulator, the people in it, and what both work on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from emulator.client import Process

from gtloop.interfaces import Context
from gtloop.records import Request
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES, SIZE, tiny_items, tiny_truth
from gtloop_plugins.annotators.mturk import Mturk

Start = Callable[..., Process]
"""Starts an emulator with a plan."""

FAST: dict[str, Any] = {
    "image_url": "https://images.example/{name}",
    "request_per_s": 2000,
    "poll_s": 0,
    "timeout_s": 30,
    "patience_s": 60,
}


def crew(task: str = "bbox", n: int = 12, seed: int = 0, workers: int = 20) -> dict[str, Any]:
    """The plan of a crew that knows the tiny images."""
    truth = tiny_truth(task, n, seed)
    assert truth is not None
    width, height = SIZE
    images = {f"tiny_{r:03d}.png": {"truth": t, "width": width, "height": height} for r, t in enumerate(truth)}
    return {"task": task, "classes": list(CATEGORIES), "seed": 1, "workers": workers, "images": images}


def build(workdir: Path, emulator: Process, task: str = "bbox", price: int = 60_000, **options: Any) -> Mturk:
    """An annotator on ``workdir``."""
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    made: Any = registry.build("task", task, registry.options("task", task, {}, "test"), Context(categories=CATEGORIES))
    context = Context(categories=CATEGORIES, workdir=workdir, task=made, form=made.form(), price_per_answer=price)
    workdir.mkdir(parents=True, exist_ok=True)
    return Mturk(Mturk.Options(**{**FAST, "endpoint": emulator.url, **options}), context)


def requests(folder: Path, n: int = 3, answers: int = 2, **changes: Any) -> list[Request]:
    """Requests for the first tiny images."""
    return [Request(id=f"r{i.row}", item=i, answers=answers, **changes) for i in tiny_items(folder / "images", n)]
