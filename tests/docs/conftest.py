"""What the tests of the documentation share: tiny images, and a run that is finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pages import PHOTOS

from gtloop import config
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``photos/`` and ``truth.jsonl``: tiny generated images with known boxes."""
    folder = tmp_path_factory.mktemp("photos")
    items, truth = tiny_items(folder / "photos", PHOTOS), tiny_truth("bbox", PHOTOS)
    assert truth is not None
    lines = (json.dumps({"name": i.name, "payload": p}) + "\n" for i, p in zip(items, truth, strict=True))
    (folder / "truth.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with human and machine labels, some of these audited."""
    from gtloop.run import run_or_resume

    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    root = tmp_path_factory.mktemp("finished") / "run"
    flags: dict[str, Any] = {
        "run.source": str(photos / "photos"),
        "run.truth": str(photos / "truth.jsonl"),
        "run.classes": CATEGORIES,
        "run.annotator": "synthetic",
        "run.detector": "stub",
        "run.sampler": "uncertainty",
        "promise.audit_rate": 0.1,
    }
    run_or_resume(root, config.load(None, flags), registry)
    return root
