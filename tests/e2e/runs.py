"""Whole runs on tiny generated images with the stub detector, in processes that can be killed."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import signal
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import gtloop
from gtloop import config
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth

SIZES = {"probe": 5, "validation": 60, "train": 20, "batch": 20, "look_at": 92}
"""Every phase occurs on 180 images: probe, validation, train, one active batch, a look, the rest."""

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["gtloop.run", "gtloop.registry", "gtloop_plugins", "sqlalchemy", "pyarrow.parquet"])


def make_images(folder: Path, n: int, task: str = "bbox", seed: int = 0) -> tuple[Path, Path]:
    """Images and a truth file."""
    items = tiny_items(folder / "images", n, seed)
    truth = tiny_truth(task, n, seed)
    assert truth is not None
    path = folder / "truth.jsonl"
    path.write_text(
        "".join(json.dumps({"name": i.name, "payload": p}) + "\n" for i, p in zip(items, truth, strict=True))
    )
    return folder / "images", path


def settings(images: Path, truth: Path, task: str = "bbox", **changes: Any) -> config.Settings:
    """Settings of a small run; ``changes`` by dotted key with ``__`` for the dot."""
    flags: dict[str, Any] = {
        "run.source": str(images),
        "run.truth": str(truth),
        "run.task": task,
        "run.classes": CATEGORIES,
        "run.annotator": "synthetic",
        "run.detector": "stub",
        "promise.kind": "dataset",
        "promise.max_loss": 0.06,
    }
    flags |= {f"sizes.{k}": v for k, v in SIZES.items()}
    return config.load(None, flags | {k.replace("__", "."): v for k, v in changes.items()})


def _killer(n: int) -> types.ModuleType:
    """An observer that kills its process after the n-th event of this process."""
    left = [n]

    @gtloop.hookimpl
    def gtloop_event(event: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    module = types.ModuleType("killer")
    module.gtloop_event = gtloop_event  # type: ignore[attr-defined]
    return module


def run_here(
    root: Path, given: config.Settings, kill_at: int | None = None, **options: Any
) -> tuple[str, dict[str, Any]]:
    """Start or resume in this process."""
    from gtloop.registry import Registry
    from gtloop.run import run_or_resume

    registry = Registry.load(extra_modules=[] if kill_at is None else [_killer(kill_at)])
    return run_or_resume(root, given, registry, **options)


def spawn(root: Path, given: config.Settings, kill_at: int | None = None) -> multiprocessing.process.BaseProcess:
    """Start or resume in a process of its own."""
    child = context.Process(target=run_here, args=(root, given, kill_at))
    child.start()
    return child


def facts(root: Path) -> Mapping[str, Any]:
    """What must not depend on interruptions: requests, answers, dollars, labels, certificates."""
    run = gtloop.open(root)
    f = run.state.facts
    requests = [
        list(zip(*(run.store.read(b.requests)[c] for c in ("request", "row", "purpose", "answers")), strict=True))
        for b in f.batches.values()
    ]
    answers = [
        (rid, worker, outcome, json.dumps(payload), int(price), float(seconds))
        for ref in f.answer_files
        for rid, worker, outcome, payload, price, seconds in zip(
            *(run.store.read(ref)[c] for c in ("id", "worker", "outcome", "payload_json", "price", "active_seconds")),
            strict=True,
        )
    ]
    return {
        "finished": f.finished,
        "requests": [[(r, int(row), p, int(n)) for r, row, p, n in batch] for batch in requests],
        "answers": sorted(answers),
        "bill": f.bill.model_dump(),
        "labels": [label.model_dump() for label in run.labels()],
        "status": run.state.columns["status"].tolist(),
        "certificates": [c.model_dump(exclude={"sha256"}) for c in f.certificates],
    }


class Ended(NamedTuple):
    """How a command ended, and what its user saw."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of an error."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("error: ")


def cli(*args: object, modules: Sequence[types.ModuleType] = ()) -> Ended:
    """Run ``gtloop ARGS`` in this process, as ``main`` does, with more plugins installed."""
    from gtloop import cli as program
    from gtloop.registry import Registry

    def load(extra_modules: Sequence[types.ModuleType | str] = (), **options: Any) -> Registry:
        return registry(extra_modules=[*modules, *extra_modules], **options)

    registry, out, err = Registry.load, io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), patch.object(Registry, "load", load):
        try:
            program.main([str(a) for a in args])
        except SystemExit as e:
            code = e.code
    ended = Ended(int(code or 0), out.getvalue(), err.getvalue())
    assert "Traceback" not in ended.out + ended.err, ended.err
    assert "a fault in gtloop" not in ended.err, ended.err
    return ended


def small(images: Path, root: Path, *more: object, truth: Path | None = None, classes: str = "crate,drum") -> tuple:
    """The arguments of a run with small sizes and the stub detector."""
    truth = truth or images.parent / "truth.jsonl"
    sizes = {"probe": 5, "validation": 10, "train": 10, "batch": 10}
    given = [x for k, v in sizes.items() for x in ("-o", f"sizes.{k}={v}")]
    fixed = ("run", images, "--run", root, "--truth", truth, "--classes", classes, "--detector", "stub")
    return (*fixed, "--annotator", "synthetic", *given, *more)


def status(root: Path) -> dict[str, Any]:
    """What ``gtloop status RUN --json`` prints."""
    found: dict[str, Any] = json.loads(cli("status", root, "--json").out)
    return found


def exported(root: Path, *more: object) -> dict[str, dict[str, Any]]:
    """Image name to row of a lossless export."""
    out = root.parent / f"{root.name}-out.jsonl"
    ended = cli("export", root, "--out", out, *more)
    assert ended.code == 0, ended.err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return {row["name"]: row for row in rows if "name" in row}
