"""Fits and predictions kept by their content, so that equal ones are made once: ``GTLOOP_CACHE`` names the folder.

For many runs on the same images, such as those of ``gtloop simulate``. Nothing is kept where the variable is not set.
What is there was written as a whole and is never changed; any number of processes may share a folder.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import gtloop
from gtloop.files import replacing_atomically, scratch
from gtloop.interfaces import Detector, Rows
from gtloop.job import Job
from gtloop.records import Payload

FOLDER = "GTLOOP_CACHE"


def folder() -> Path | None:
    """Where things are kept; None: nowhere."""
    named = os.environ.get(FOLDER)
    return Path(named) if named else None


def fitted(
    job: Job, work: Path, rows: Rows, labels: Sequence[Payload], seed: int, init: Path | None, effort: float,
    fit: Callable[[], dict[str, float]],
) -> dict[str, float]:  # fmt: skip
    """Fill the empty folder ``work`` with the model that ``fit`` would leave there; returns its metrics.

    The key holds the detector with its options, code and libraries, the task, the categories, the images by content,
    their labels, the seed, the model to start from, and the effort. The seed is one of them: other seeds fit anew.
    """
    kept = folder()
    if kept is None:
        return fit()
    start = None if init is None else _digest_of(init)
    key = _key("fit", *_who(job), list(job.items.hashes(rows)), list(labels), seed, start, effort)
    home = kept / "fits" / key
    if not home.is_dir():
        metrics = fit()
        (tmp := scratch(home)).mkdir(parents=True)
        _copy(work, tmp / "model")
        (tmp / "metrics.json").write_text(json.dumps(metrics, default=float))
        _publish(tmp, home)
        return metrics
    _copy(home / "model", work)
    found: dict[str, float] = json.loads((home / "metrics.json").read_text())
    return found


def predictions(job: Job, detector: Detector, model: Path | None, rows: Rows, size: int) -> Iterator[Path | None]:
    """The files that keep, or are to keep, predictions of a fitted model for each ``size`` of sorted ``rows``.

    None where none does: only what was fitted is kept, as a detector that does not train may read files that no key
    knows of. Model and images are read once for all of them.
    """
    starts = range(0, len(rows), size)
    kept = folder()
    if kept is None or model is None or not detector.trainable:
        yield from (None for _ in starts)
        return
    who, digest, hashes = _who(job), _digest_of(model), job.items.hashes(rows)
    for start in starts:
        some = rows[start : start + size]
        key = _key("predict", *who, digest, list(islice(hashes, len(some))), some.tolist(), job.cut)
        yield kept / "predictions" / f"{key}.parquet"


def copied(source: Path | None, to: Path) -> bool:
    """Whether there is a ``source``, which is ``to`` then, whole and safe."""
    if source is None:
        return False
    try:
        kept = source.open("rb")
    except FileNotFoundError:
        return False
    with kept, replacing_atomically(to) as file:
        shutil.copyfileobj(kept, file, 1 << 20)
    return True


def _who(job: Job) -> tuple[Any, ...]:
    """Who fits and predicts what: detector and task with options and code, and the categories."""
    plugins = job.plugins
    return (
        gtloop.__version__,
        *((p.name, p.options.model_dump(mode="json"), _code(type(p))) for p in (plugins.detector, plugins.task)),
        list(job.settings.run.classes),
        [(name, _version(name)) for name in plugins.detector.requires],
    )


@cache
def _code(cls: type) -> str:
    """Hash of the Python files beside the one that defines a class."""
    home = Path(inspect.getfile(cls)).parent
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(home.rglob("*.py")))).hexdigest()


@cache
def _version(module: str) -> str:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(module)
    return ""


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:40]


def _digest_of(model: Path) -> str:
    """Hash of a folder's files with their names."""
    found = hashlib.sha256()
    for path in sorted(p for p in model.rglob("*") if p.is_file()):
        found.update(str(path.relative_to(model)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def _copy(source: Path, to: Path) -> None:
    """Copy a folder; its files are shared where the file system can, as nobody changes them."""
    shutil.copytree(source, to, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, to: str) -> None:
    try:
        os.link(source, to)
    except OSError:
        shutil.copy2(source, to)


def _publish(tmp: Path, home: Path) -> None:
    """Name a finished folder, once its files are safe; where another process was first, its one stays."""
    for path in tmp.rglob("*"):
        if path.is_file():
            _sync(path)
    try:
        tmp.rename(home)
    except OSError:
        shutil.rmtree(tmp, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
