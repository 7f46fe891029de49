"""What models said, read back from their shards: features, scores, raw predictions, embeddings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.errors import PluginFault, blame
from gtloop.interfaces import Detector, Hint, Rows
from gtloop.job import Job
from gtloop.records import Raw
from gtloop.slices import Slices
from gtloop.state import TRAIN
from gtloop.store import BLOCK, Store, among, in_order

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


class Predictions(NamedTuple):
    """Rows (sorted) that have a prediction, their feature columns and slices."""

    rows: Rows
    columns: dict[str, NDArray[np.float32]]
    slices: Slices


class Scored(NamedTuple):
    """Rows (sorted) that have a prediction, their scores and slices."""

    rows: Rows
    score: NDArray[np.float64]
    slices: Slices


def read_predictions(job: Job, path: str, rows: Rows) -> Predictions:
    """What there is of ``rows``, which are sorted."""
    names = job.plugins.task.feature_names
    found = [_part(job, part, rows) for part in parts(job.store, path)]
    matrix = np.concatenate([f[1] for f in found]) if found else np.zeros((0, len(names)), np.float32)
    every = np.concatenate([f[0] for f in found]) if found else NO_ROWS
    return Predictions(every, _columns(names, matrix), Slices.joined(f[2] for f in found))


def scores(job: Job, path: str, rows: Rows, cut: float, fitted: Mapping[str, Any] | None = None) -> Scored:
    """Scores of what there is of ``rows``, which are sorted, by features and slices at a cut.

    Features are read, made where the cut is not that which they were written with, and scored a block at a time.
    """
    read = _part if cut == job.cut else partial(_remade, cut=cut)
    names, blocks = job.plugins.task.feature_names, [Scored(NO_ROWS, np.zeros(0), Slices((), np.zeros(0, np.uint8)))]
    for several in _blocks(read(job, part, rows) for part in parts(job.store, path)):
        matrix = np.concatenate([features for _, features, _ in several])
        every, slices = np.concatenate([row for row, _, _ in several]), Slices.joined(name for _, _, name in several)
        blocks.append(Scored(every, score(job, _columns(names, matrix), fitted), slices))
    columns = list(zip(*blocks, strict=True))
    return Scored(np.concatenate(columns[0]), np.concatenate(columns[1]), Slices.joined(columns[2]))


_Part = tuple[Rows, NDArray[np.float32], Slices]


def _part(job: Job, part: str, rows: Rows) -> _Part:
    """Rows of a shard that are among ``rows``, (n, k) features and slices, as they were written."""
    t = job.store.read_path(part, ["row", "features", "slice"])
    keep = among(np.asarray(t["row"]), rows)
    return (
        np.asarray(t["row"], np.int32)[keep],
        np.asarray(t["features"], np.float32)[keep],
        Slices.of(t["slice"])[keep],
    )


def _remade(job: Job, part: str, rows: Rows, cut: float) -> _Part:
    """As ``_part``, from the raw predictions, at another cut."""
    task, found = job.plugins.task, list(_raws(job, part, rows))
    with blame("task", task.name, "features"):
        made = np.array([task.features(raw, cut) for _, raw in found], np.float32)
    features = made.reshape(len(found), len(task.feature_names))
    slices = Slices.of([task.slice(raw, cut) for _, raw in found])
    return np.array([row for row, _ in found], np.int32), features, slices


def _blocks(shards: Iterable[_Part]) -> Iterator[list[_Part]]:
    """Shards of about ``BLOCK`` rows at a time."""
    several: list[_Part] = []
    for shard in shards:
        several.append(shard)
        if sum(len(row) for row, _, _ in several) >= BLOCK:
            yield several
            several = []
    if several:
        yield several


def _columns(names: Sequence[str], matrix: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    return {name: matrix[:, k] for k, name in enumerate(names)}


def embedding_space(detector: Detector) -> str:
    """A name for a detector with its options: embeddings of two such spaces can't be compared."""
    options = json.dumps(detector.options.model_dump(mode="json"), sort_keys=True)
    return f"{detector.name}-{hashlib.sha256(options.encode()).hexdigest()[:12]}"


def read_embeddings(job: Job, rows: Rows) -> tuple[Rows, NDArray[np.float32]]:
    """Rows (sorted) that have an embedding among ``rows``, which are sorted, and (n, d) of them."""
    embedded = job.state.facts.embedded.get(embedding_space(job.plugins.detector))
    found: list[Rows] = []
    vectors: list[NDArray[np.float32]] = []
    for path in embedded.paths if embedded else ():
        for part in parts(job.store, path):
            t = job.store.read_path(part)
            keep = among(np.asarray(t["row"]), rows)
            if keep.any():
                found.append(np.asarray(t["row"], np.int32)[keep])
                vectors.append(np.asarray(t["embedding"])[keep].astype(np.float32))
    if not found:
        return NO_ROWS, np.zeros((0, 1), np.float32)
    all_rows = np.concatenate(found)
    order = np.argsort(all_rows, kind="stable")
    return all_rows[order], np.concatenate(vectors)[order]


def raws(job: Job, path: str, rows: Rows) -> Iterator[tuple[int, Raw]]:
    """Stream (row, raw prediction) of some rows, in order."""
    wanted = in_order(rows)
    if len(wanted):
        for part in parts(job.store, path):
            yield from _raws(job, part, wanted)


def _raws(job: Job, part: str, rows: Rows) -> Iterator[tuple[int, Raw]]:
    """(row, raw prediction) of those in a shard that are among ``rows``, which are sorted."""
    for t in job.store.stream_path(part, ["row", "raw_json"], rows):
        yield from zip(np.asarray(t["row"]).tolist(), t["raw_json"], strict=True)


def hints_of(job: Job, rows: list[int]) -> list[Hint]:
    """What the model of now, which never saw their labels, predicts of items that train and never validate.

    Random training items validate through cross-fitting: a label with a model's vote in it would favour models. Nor
    does a model vote where people label again what may have been its own label.
    """
    model = job.state.facts.model
    if model is None or model.chosen_from is None:
        return [Hint()] * len(rows)
    s, random = job.state, job.state.columns["random"]
    again = [n for n, b in s.facts.batches.items() if b.phase == "relabel"]
    free = ~random & ~np.isin(s.columns["iteration"], again)
    training = np.array([r for r in rows if s.role[r] == TRAIN and free[r]], np.int32)
    found, name = dict(raws(job, model.chosen_from, training)), f"{job.plugins.detector.name}.{s.facts.generation}"
    return [Hint(raw=found[row], model=name) if row in found else Hint() for row in rows]


def parts(store: Store, path: str) -> list[str]:
    """Shards of a prediction folder, in order."""
    return sorted(str(p.relative_to(store.root)) for p in (store.root / path).glob("part-*.parquet"))
