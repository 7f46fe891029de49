"""What models said, read back from their shards: features, scores, raw predictions, embeddings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtloop.errors import PluginFault, blame
from gtloop.interfaces import Detector, Hint, Rows
from gtloop.job import Job
from gtloop.records import Raw
from gtloop.state import TRAIN
from gtloop.store import Store

NO_ROWS: Rows = np.zeros(0, np.int32)


def score(
    job: Job, columns: dict[str, NDArray[np.float32]], fitted: Mapping[str, Any] | None = None
) -> NDArray[np.float64]:
    """Image confidence, (n,) in [0, 1], checked; ``fitted`` is what the score has learnt, if anything.

    Raises:
        PluginFault: The score is not of that shape or range.
    """
    name, n = job.plugins.score.name, len(next(iter(columns.values())))
    with blame("score", name, "score"):
        plugin = job.plugins.score
        values = np.asarray(plugin.fitted(columns, fitted) if fitted else plugin.score(columns), np.float64)
    if values.shape != (n,) or not np.isfinite(values).all() or values.min(initial=0) < 0 or values.max(initial=1) > 1:
        raise PluginFault(f"score {name!r} must return {n} values in [0, 1]; see: gtloop plugins check {name}")
    return values


def read_predictions(job: Job, path: str, rows: Rows) -> tuple[Rows, dict[str, NDArray[np.float32]], NDArray[np.str_]]:
    """Rows (sorted) that have a prediction among ``rows``, their feature columns and slices."""
    found: list[Rows] = []
    features: list[NDArray[np.float32]] = []
    slices: list[str] = []
    for part in parts(job.store, path):
        t = job.store.read_path(part, ["row", "features", "slice"])
        keep = np.isin(t["row"], rows)
        found.append(np.asarray(t["row"], np.int32)[keep])
        features.append(np.asarray(t["features"], np.float32)[keep])
        slices += [name for name, k in zip(t["slice"], keep, strict=True) if k]
    names = job.plugins.task.feature_names
    all_rows = np.concatenate(found) if found else NO_ROWS
    order = np.argsort(all_rows, kind="stable")
    matrix = np.concatenate(features)[order] if features else np.zeros((0, len(names)), np.float32)
    columns = {name: matrix[:, k] for k, name in enumerate(names)}
    return all_rows[order], columns, np.array(slices, dtype=np.str_)[order]


def embedding_space(detector: Detector) -> str:
    """A name for a detector with its options: embeddings of two such spaces can't be compared."""
    options = json.dumps(detector.options.model_dump(mode="json"), sort_keys=True)
    return f"{detector.name}-{hashlib.sha256(options.encode()).hexdigest()[:12]}"


def read_embeddings(job: Job, rows: Rows) -> tuple[Rows, NDArray[np.float32]]:
    """Rows (sorted) that have an embedding among ``rows``, and (n, d) of them."""
    embedded = job.state.facts.embedded.get(embedding_space(job.plugins.detector))
    found: list[Rows] = []
    vectors: list[NDArray[np.float32]] = []
    for path in embedded.paths if embedded else ():
        for part in parts(job.store, path):
            t = job.store.read_path(part)
            keep = np.isin(t["row"], rows)
            if keep.any():
                found.append(np.asarray(t["row"], np.int32)[keep])
                vectors.append(np.asarray(t["embedding"])[keep].astype(np.float32))
    if not found:
        return NO_ROWS, np.zeros((0, 1), np.float32)
    all_rows = np.concatenate(found)
    order = np.argsort(all_rows, kind="stable")
    return all_rows[order], np.concatenate(vectors)[order]


def raws(job: Job, path: str, rows: Rows) -> Iterator[tuple[int, Raw]]:
    """Stream (row, raw prediction) of some rows."""
    for part in parts(job.store, path):
        wanted = np.isin(job.store.read_path(part, ["row"])["row"], rows)
        if wanted.any():
            t = job.store.read_path(part, ["row", "raw_json"])
            yield from ((int(r), raw) for r, raw, w in zip(t["row"], t["raw_json"], wanted, strict=True) if w)


def hints_of(job: Job, rows: list[int]) -> list[Hint]:
    """What the model of now, which never saw their labels, predicts of items that train and never validate.

    Random training items validate through cross-fitting: a label with a model's vote in it would favour models. Nor
    does a model vote where people label again what may have been its own label.
    """
    model = job.state.facts.model
    if model is None or model.predicted is None:
        return [Hint()] * len(rows)
    s, random = job.state, job.state.columns["random"]
    again = [n for n, b in s.facts.batches.items() if b.phase == "relabel"]
    free = ~random & ~np.isin(s.columns["iteration"], again)
    training = np.array([r for r in rows if s.role[r] == TRAIN and free[r]], np.int32)
    found, name = dict(raws(job, model.predicted, training)), f"{job.plugins.detector.name}.{s.facts.generation}"
    return [Hint(raw=found[row], model=name) if row in found else Hint() for row in rows]


def parts(store: Store, path: str) -> list[str]:
    """Shards of a prediction folder, in order."""
    return sorted(str(p.relative_to(store.root)) for p in (store.root / path).glob("part-*.parquet"))
