"""Fitting on what people labelled, through the executor, atomically and resumably."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gtloop import caching
from gtloop.errors import BadImage, NotEnoughData, blame
from gtloop.files import sync_dir
from gtloop.images import open_image
from gtloop.interfaces import Example, Rows
from gtloop.job import Job
from gtloop.keyed import rng
from gtloop.picking import check_gone
from gtloop.state import HUMAN, TRAIN
from gtloop.wording import counted


class Fitted(NamedTuple):
    """A fit that is over.

    ``path``: of the model, relative to the run; None for a detector that is not trainable. ``examples``: images that
    it was fitted on. ``bad``: images that were left out as they can't be read, with reasons, where not said before.
    """

    path: str | None
    metrics: dict[str, float]
    examples: int
    bad: dict[int, str]


def training_rows(job: Job) -> Rows:
    """All that a model may learn from; validation items are never among them."""
    return job.state.rows(HUMAN, TRAIN)


def check_training(job: Job) -> None:
    """See that a fit will find an image that it can read, before a stage pays people for more.

    Raises:
        SourceError: None of many can be read.
    """
    if job.state.stage_batches or not job.plugins.detector.trainable:
        return
    bad: dict[int, str] = {}
    for item in job.items.some(training_rows(job)):
        if why := _fault(item.uri):
            bad[item.row] = why
        else:
            return
    _check_some_left(job, bad)


def fit_model(job: Job, name: str, rows: Rows, effort: float = 1.0) -> Fitted:
    """Fit on the human labels of ``rows`` into ``models/<name>``, which appears whole or not at all.

    Images that can't be read are left out. They are looked for where one is known, or where a fit stumbles.

    Args:
        job: The run.
        name: Of the model, and key of its randomness.
        rows: Training items.
        effort: Share of the normal schedule.

    Raises:
        NotEnoughData: The detector can't do with so little.
        SourceError: Not one of many images can be read.
    """
    if not job.plugins.detector.trainable:
        return Fitted(None, {}, len(rows), {})
    told = _told(job)
    suspects = rows[np.isin(rows, list(told)) | (job.items.width[rows] == 0)]
    bad = _unreadable(job, suspects)
    while True:
        good = np.setdiff1d(rows, list(bad)).astype(np.int32)
        if bad and not len(good):
            _check_some_left(job, bad)
            first = min(bad)
            few = counted(len(bad), "training image")
            raise NotEnoughData(f"none of {few} can be read, for example {job.items.name[first]} ({bad[first]})")
        try:
            path, metrics = _fit(job, name, good, effort)
        except BadImage:
            if not (more := _unreadable(job, good)):
                raise
            bad |= more
        else:
            return Fitted(path, metrics, len(good), {row: why for row, why in bad.items() if row not in told})


def _fit(job: Job, name: str, rows: Rows, effort: float) -> tuple[str, dict[str, float]]:
    detector = job.plugins.detector
    if not len(rows):
        raise NotEnoughData("no training image has a human label")
    payloads = job.human_labels(rows)
    examples = [Example(item, payloads[item.row]) for item in job.items.some(rows)]
    final = job.root / "models" / name
    work = final.with_name(f".{name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    seed = int(rng(job.seed, "fit", name).integers(2**31))
    init = _init(job)

    def make() -> dict[str, float]:
        with blame("detector", detector.name, "fit"):
            return job.plugins.executor.fit(
                detector, examples, work, seed=seed, init=init, effort=effort, progress=job.progress
            )

    metrics = caching.fitted(job, work, rows, [e.payload for e in examples], seed, init, effort, make)
    shutil.rmtree(final, ignore_errors=True)
    work.rename(final)
    sync_dir(final.parent)
    return str(final.relative_to(job.root)), {k: float(v) for k, v in metrics.items()}


def _init(job: Job) -> Path | None:
    """The model of another run that a fit starts from; of no use to another detector."""
    f = job.state.facts
    return job.root / f.warm if f.warm and f.warm_detector == job.settings.run.detector else None


# ------------------------------------------------------------------------------- images that can't be read


def _told(job: Job) -> set[int]:
    """Rows of which the run has said that their images can't be read; they may have been mended since."""
    return {row for ref in job.state.facts.reasons for row in np.asarray(job.store.read(ref, ["row"])["row"]).tolist()}


def _unreadable(job: Job, rows: Rows) -> dict[int, str]:
    """Those of ``rows`` whose images can't be read now, with reasons."""
    return {item.row: why for item in job.items.some(rows) if (why := _fault(item.uri))}


def _fault(uri: str) -> str:
    """Why an image can't be read; empty where it can."""
    try:
        open_image(uri)
    except BadImage as e:
        return str(e)
    return ""


def _check_some_left(job: Job, bad: dict[int, str]) -> None:
    """``check_gone`` where no training image can be read; nothing to see where there is none."""
    if bad:
        first = min(bad)
        check_gone(job, len(bad), job.items.name[first], bad[first])
