"""Predicting and embedding through the executor, atomically and resumably."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop import caching
from gtloop.errors import PluginFault, blame
from gtloop.events import ItemsEmbedded, ItemsPredicted, ItemsQuarantined
from gtloop.interfaces import Detector, Predicted, Rows
from gtloop.job import Job
from gtloop.picking import check_gone, quarantine
from gtloop.predictions import embedding_space
from gtloop.ranking import EMBEDDING
from gtloop.records import Item, Raw
from gtloop.slices import Slices
from gtloop.state import ALIAS, QUARANTINED

SHARD = 2048
"""Rows in a shard of predictions: what a kill can lose of a long prediction."""


def predict_rows(
    job: Job, name: str, model: str | None, rows: Rows, *, sample: bool = False
) -> tuple[ItemsPredicted, ItemsQuarantined | None]:
    """Predict ``rows`` into shards below ``predictions/<name>``; shards that are there are kept.

    Those of a ``sample`` of what there is to predict lie beside it.
    """
    started = time.monotonic()
    work = _Work("predict", job.plugins.detector, None if model is None else job.root / model, _prediction_columns)
    folder = f"predictions/{name}.sample" if sample else f"predictions/{name}"
    paths, bad = _write_shards(job, folder, rows, work)
    digest = hashlib.sha256(b"".join(hashlib.sha256(p.read_bytes()).digest() for p in paths)).hexdigest()
    event = ItemsPredicted(
        iteration=job.state.iteration,
        model=name,
        path=folder,
        sample=sample,
        rows=len(rows) - len(bad),
        parts=len(paths),
        sha256=digest,
        seconds=round(time.monotonic() - started, 3),
    )
    return event, quarantine(job, bad, folder.partition("/")[2]) if bad else None


def embed_rows(job: Job) -> tuple[ItemsEmbedded, ItemsQuarantined | None]:
    """Embed every item that has no embedding yet, into shards below ``embeddings/<space>/<first row>``."""
    started = time.monotonic()
    detector = job.plugins.detector
    space = embedding_space(detector)
    known, total = job.state.facts.embedded.get(space), len(job.items)
    first = known.rows if known else 0
    usable = ~np.isin(job.state.status[first:], (ALIAS, QUARANTINED))
    rows = (first + np.flatnonzero(usable)).astype(np.int32)
    folder = f"embeddings/{space}/{first:08d}"
    work = _Work("embed", Embedder(detector), None, _embedding_columns)
    paths, bad = _write_shards(job, folder, rows, work)
    event = ItemsEmbedded(
        iteration=job.state.iteration,
        detector=detector.name,
        space=space,
        path=folder,
        upto=total,
        rows=len(rows) - len(bad),
        parts=len(paths),
        seconds=round(time.monotonic() - started, 3),
    )
    return event, quarantine(job, bad, f"embed-{first:08d}") if bad else None


class Embedder(Detector):
    """A detector's embeddings, dressed as predictions, so that any executor can make them."""

    trainable = False
    tasks = frozenset({"*"})

    def __init__(self, detector: Detector) -> None:
        super().__init__(detector.options, detector.context)
        self.detector = detector
        self.name, self.opens_images, self.batch_size = detector.name, detector.opens_images, detector.batch_size  # type: ignore[misc]

    def load(self, workdir: Path | None) -> Any:
        return self.detector.embedder()

    def least_size(self, width: int, height: int) -> tuple[int, int] | None:
        return self.detector.least_size(width, height)

    def prepare(self, image: Any, item: Item) -> Any:
        return self.detector.prepare(image, item)

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        return [{EMBEDDING: vector} for vector in self.detector.embed_batch(model, prepared)]


class _Work(NamedTuple):
    """What fills shards: the step's name, who predicts with which model, and the columns made of it."""

    step: str
    detector: Detector
    model: Path | None
    columns: Callable[[Job, list[Predicted]], dict[str, Any]]


class _Shard(NamedTuple):
    """A file of predictions to write, and the rows that it is of."""

    path: str
    rows: Rows
    kept: Path | None
    """Where it is kept for other runs, too."""


def _write_shards(job: Job, folder: str, rows: Rows, work: _Work) -> tuple[list[Path], dict[int, str]]:
    """Paths of the shards of ``rows``, those that are there kept; unreadable rows with their reasons."""
    todo: list[_Shard] = []
    faults: dict[str, dict[int, str]] = {}
    for k, kept in enumerate(caching.predictions(job, work.detector, work.model, rows, SHARD)):
        shard = _Shard(f"{folder}/part-{k:05d}.parquet", rows[k * SHARD : (k + 1) * SHARD], kept)
        faults[shard.path] = found if (found := _there(job, shard)) is not None else {}
        if found is None and not caching.copied(kept, job.root / shard.path):
            todo.append(shard)
    predicted = _stream(job, work, [shard.rows for shard in todo], len(rows))
    for shard in todo:
        faults[shard.path] = _write_shard(job, shard.path, work, shard.rows, islice(predicted, len(shard.rows)))
        if shard.kept is not None and not faults[shard.path]:
            caching.copied(job.root / shard.path, shard.kept)
    next(predicted, None)  # so that it ends by itself
    paths = [job.root / path for path in faults]
    for old in set((job.root / folder).glob("part-*.parquet")) - set(paths):
        old.unlink()
    return paths, {row: why for bad in faults.values() for row, why in bad.items()}


def _there(job: Job, shard: _Shard) -> dict[int, str] | None:
    """The unreadable rows of a shard that is there; None where it is not, or not of these rows.

    People may have been asked for some since it was written.
    """
    if not (job.root / shard.path).exists():
        return None
    done = job.store.read_path(shard.path, ["row"])["row"]
    lacking = np.setdiff1d(shard.rows, done).tolist()
    if len(np.setdiff1d(done, shard.rows)):
        return None
    bad = _faults(job, shard.path) if lacking else {}
    return {row: bad[row] for row in lacking} if bad.keys() >= set(lacking) else None


def _faults(job: Job, path: str) -> dict[int, str]:
    """Rows of a shard that can't be read, with their reasons."""
    faults = path.replace("part-", "faults-")
    if not (job.root / faults).exists():
        return {}
    t = job.store.read_path(faults, ["row", "reason"])
    return {int(r): why for r, why in zip(t["row"], t["reason"], strict=True)}


def _write_shard(job: Job, path: str, work: _Work, shard: Rows, predicted: Iterable[Predicted]) -> dict[int, str]:
    """One shard; the images that can't be read go to a file beside it, and are returned with their reasons."""
    with blame("detector", job.plugins.detector.name, work.step):
        found = list(predicted)
    if [p.item.row for p in found] != shard.tolist():
        name = job.plugins.executor.name
        raise PluginFault(f"executor {name!r} must predict every item, in order; see: gtloop plugins check {name}")
    good, bad = [p for p in found if p.raw is not None], [p for p in found if p.raw is None]
    if bad and not good:
        check_gone(job, len(bad), bad[0].item.name, bad[0].fault)
    if bad:
        columns: dict[str, Any] = {
            "row": np.array([p.item.row for p in bad], np.int32),
            "reason": [p.fault for p in bad],
        }
        job.store.write(path.replace("part-", "faults-"), columns)
    rows = np.array([p.item.row for p in good], np.int32)
    job.store.write(path, {"row": rows, **work.columns(job, good)})
    return {p.item.row: p.fault for p in bad}


def _prediction_columns(job: Job, good: list[Predicted]) -> dict[str, Any]:
    """Raw predictions with the features and slice that the task sees in them."""
    task, cut = job.plugins.task, job.cut
    features = _every_features(job, good)
    return {
        "slice": Slices.of([task.slice(p.raw, cut) for p in good if p.raw is not None]),
        "features": features,
        "raw_json": [p.raw for p in good],
    }


def _embedding_columns(job: Job, good: list[Predicted]) -> dict[str, Any]:
    """Raises PluginFault where embeddings are no finite vectors of one length."""
    with np.errstate(over="ignore"):  # what float16 can't hold is infinite, and refused
        vectors = [np.asarray(p.raw[EMBEDDING]).astype(np.float16) for p in good if p.raw is not None]
    if len({v.shape for v in vectors}) > 1 or not all(v.ndim == 1 and np.isfinite(v).all() for v in vectors):
        name = job.plugins.detector.name
        raise PluginFault(
            f"detector {name!r} must embed every image as a vector of one length of numbers that fit into float16; "
            f"see: gtloop plugins check {name}"
        )
    return {EMBEDDING: np.array(vectors, np.float16).reshape(len(vectors), -1 if vectors else 1)}


def _every_features(job: Job, good: list[Predicted]) -> NDArray[np.float32]:
    """(n, k) what the task sees in raw predictions; checked at once, and one by one only to say what is wrong."""
    task, shape = job.plugins.task, (len(good), len(job.plugins.task.feature_names))
    with suppress(Exception):
        found = np.array([task.features(p.raw, job.cut) for p in good if p.raw is not None], np.float32)
        if not good or (found.shape == shape and np.isfinite(found).all()):
            return found.reshape(shape)
    return np.array([_features(job, p.item.name, p.raw) for p in good if p.raw is not None], np.float32)


def _features(job: Job, name: str, raw: Raw) -> NDArray[np.float32]:
    """What the task sees in a raw prediction.

    Raises:
        PluginFault: It sees nothing, or something that is no number.
    """
    detector, task = job.plugins.detector.name, job.plugins.task
    with blame("detector", detector, f"task {task.name!r} can't use its prediction of {name}; features"):
        found = np.asarray(task.features(raw, job.cut), np.float32)
    if found.shape != (len(task.feature_names),) or not np.isfinite(found).all():
        raise PluginFault(
            f"detector {detector!r}: its prediction of {name} holds values that are no numbers (NaN or infinite); "
            f"see: gtloop plugins check {detector}"
        )
    return found


def _stream(job: Job, work: _Work, shards: Sequence[Rows], everything: int) -> Iterator[Predicted]:
    """Predictions of the rows of shards, one after the other: a model is loaded once for all of them."""
    there = everything - sum(map(len, shards))

    def progress(step: str, done: int, total: int | None, note: str = "") -> None:
        job.progress(work.step, there + done, everything, note)

    items = (item for rows in shards for item in job.items.some(rows))
    yield from job.plugins.executor.predict(work.detector, work.model, items, progress)
