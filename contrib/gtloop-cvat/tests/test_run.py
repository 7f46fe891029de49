"""A whole run of gtloop's loop over HTTP, killed and resumed, and its labels as CVAT's XML."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gtloop
from crew import Crew
from emulator import TOKEN, Emulator
from gtloop import config
from gtloop.interfaces import Context
from gtloop.testing.fakes import CATEGORIES, tiny_items

from gtloop_cvat.xml import CvatXml

N = 24
SIZES = {"probe": 4, "validation": 8, "train": 6, "batch": 6}
spawning = multiprocessing.get_context("spawn")
PATIENCE_S = 900.0
"""How long half a run may take on a busy machine."""


def flags(folder: Path, emulator: Emulator) -> dict[str, Any]:
    items = tiny_items(folder / "images", N)
    mine = {"url": emulator.url, "frames": 5, "poll_s": 0.1, "assignees": ("anna", "ben")}
    return {
        "run.source": str(items[0].uri.rsplit("/", 1)[0]), "run.task": "bbox", "run.classes": CATEGORIES,
        "run.annotator": "cvat", "run.detector": "stub", "run.workers": 2, "promise.kind": "selective",
        **{f"sizes.{k}": v for k, v in SIZES.items()}, **{f"annotators.cvat.{k}": v for k, v in mine.items()},
    }  # fmt: skip


def drive(root: Path, given: dict[str, Any]) -> None:
    """Start or resume, to the end."""
    from gtloop.registry import Registry
    from gtloop.run import run_or_resume

    outcome, _ = run_or_resume(root, config.load(None, given), Registry.load(), wait=True, yes=True)
    assert outcome == "finished", outcome


def spawn(root: Path, given: dict[str, Any]) -> Any:
    child = spawning.Process(target=drive, args=(root, given))
    child.start()
    return child


def people(emulator: Emulator, items: Any, stop: threading.Event) -> threading.Thread:
    """They do whatever is assigned to them."""
    crew = Crew(emulator, items)

    def work() -> None:
        while not stop.is_set():
            for task in [t for t in emulator.open_tasks() if t["assignee"] is not None]:
                emulator.complete(task, *crew.drawn(task))
            time.sleep(0.05)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_whole_run_with_a_kill(emulator: Emulator, tmp_path: Path) -> None:
    given, root, stop = flags(tmp_path, emulator), tmp_path / "run", threading.Event()
    thread = people(emulator, tiny_items(tmp_path / "images", N), stop)
    child, end = spawn(root, given), time.monotonic() + PATIENCE_S
    try:
        while child.is_alive() and emulator.completed() < 2:
            assert time.monotonic() < end, "nobody completes anything"
            time.sleep(0.02)
        child.kill()
        child.join()
        child = spawn(root, given)
        child.join(PATIENCE_S)
        assert child.exitcode == 0
    finally:
        child.kill()
        stop.set()
        thread.join()
    run = gtloop.open(root)
    assert len(list(run.labels())) == N
    assert max(Counter(t["name"] for t in emulator.tasks.values()).values()) == 1, "no job was made twice"
    answers = sum(ref.rows for ref in run.state.facts.answer_files)
    assert answers == sum(len(t["images"]) for t in emulator.tasks.values()), "every image of every job is an answer"
    assert not [p for p in root.rglob("*") if p.is_file() and TOKEN.encode() in p.read_bytes()], "the token is nowhere"
    out = tmp_path / "labels.xml"
    subprocess.run([sys.executable, "-m", "gtloop", "export", root, "--format", "cvat", "--out", out], check=True)
    form = CvatXml(CvatXml.Options(), Context(categories=CATEGORIES))
    found = {e.name: e.payload for e in form.read(out, "bbox", CATEGORIES)}
    assert found == {run.items[label.row].name: label.payload for label in run.labels()}
