"""What a small real run tells its observers: every event with the state after it."""

from __future__ import annotations

import copy
import json
import tempfile
import types
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import gtloop
from gtloop import config
from gtloop.events import Event
from gtloop.registry import Registry
from gtloop.state import State
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth

TASK = "bbox"
"""The task of the run."""
ITEMS = 40
SIZES = {"probe": 5, "validation": 10, "train": 10, "batch": 10}


class Told(NamedTuple):
    """One event, and the state after it."""

    event: Event
    state: State


@cache
def history() -> Sequence[Told]:
    """Of a run that is paused, stopped by its budget, given more, and finished; made once a process.

    The built-in plugins do the run, whatever else is installed.
    """
    told: list[Told] = []

    @gtloop.hookimpl
    def gtloop_event(event: Event, state: State) -> None:
        told.append(Told(event, copy.deepcopy(state)))

    watcher = types.ModuleType("history")
    watcher.gtloop_event = gtloop_event  # type: ignore[attr-defined]
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins", watcher])
    with tempfile.TemporaryDirectory(prefix="gtloop-check-") as folder:
        _run(Path(folder), registry)
    return told


def _run(folder: Path, registry: Registry) -> None:
    from gtloop.run import run_or_resume

    root, truth = folder / "run", folder / "truth.jsonl"
    labels = zip(tiny_items(folder / "images", ITEMS), tiny_truth(TASK, ITEMS) or (), strict=True)
    truth.write_text("".join(json.dumps({"name": item.name, "payload": label}) + "\n" for item, label in labels))
    flags: dict[str, Any] = {
        "run.source": str(folder / "images"),
        "run.truth": str(truth),
        "run.task": TASK,
        "run.classes": CATEGORIES,
        "run.annotator": "synthetic",
        "run.detector": "stub",
        "run.sampler": "random",
        "prices.answer_usd": "0.01",
        **{f"sizes.{key}": n for key, n in SIZES.items()},
    }
    run_or_resume(root, config.load(None, flags | {"run.budget_usd": 0.5}), registry)
    gtloop.open(root).pause("to be looked at")
    more = config.load(None, flags | {"run.budget_usd": 50.0})
    for _ in range(2):  # the second goes on after the pause
        run_or_resume(root, more, registry)
