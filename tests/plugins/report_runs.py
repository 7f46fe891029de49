"""A small run for tests of the report that has something to show in nearly every section."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gtloop import config
from gtloop.registry import Registry
from gtloop.run import run_or_resume
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth


def make_run(base: Path, registry: Registry, n: int = 200, **flags: Any) -> Path:
    """A run of boxes whose sampler picks three batches before its one look."""
    tiny_items(base / "images", n)
    lines = ({"name": f"tiny_{i:03d}.png", "payload": p} for i, p in enumerate(tiny_truth("bbox", n) or []))
    known = base / "truth.jsonl"
    known.write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = {
        "run.source": str(base / "images"),
        "run.classes": CATEGORIES,
        "run.detector": "stub",
        "run.annotator": "synthetic",
        "run.truth": str(known),
        "run.sampler": "uncertainty",
        "promise.target": 0.4,
        "sizes.validation": 50,
        "sizes.train": 15,
        "sizes.batch": 15,
        "sizes.look_at": 110,
        **flags,
    }
    run_or_resume(base / "run", config.load(None, given), registry)
    return base / "run"
