"""What a run did, from one walk through its ledger: models, batches that a sampler picked, looks, and when people came.

State changes as events are folded in; what is kept here is what was true at the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtloop import events as ev
from gtloop.interfaces import Rows
from gtloop.job import make_promise
from gtloop.predictions import NO_ROWS, parts
from gtloop.records import Raw
from gtloop.settings import Settings
from gtloop.state import HUMAN, State
from gtloop.store import Store

if TYPE_CHECKING:
    from gtloop.interfaces import Task
    from gtloop.opened import Run


@dataclass
class Fit:
    """A model that labels (those of folds are left out).

    Attributes:
        model: Its name.
        iteration: Batches that people had been given by then, plus one.
        examples: Labels of people that it was fitted on.
        figures: What the detector said of the fit.
        predictions: Folder of what it predicted; None where it predicted nothing.
        validation: Rows that validated when it predicted.
        looked: Whether a look tested it.
        out_of_fold: 1 - mean loss of random training images under models that never saw them; None where not weighed.
    """

    model: str
    iteration: int
    examples: int
    figures: dict[str, float]
    predictions: str | None = None
    validation: Rows = field(default_factory=lambda: NO_ROWS)
    looked: bool = False
    out_of_fold: float | None = None


@dataclass(frozen=True)
class Picked:
    """A batch that a sampler picked, with its blind random slice.

    Attributes:
        iteration: Of the batch.
        predictions: Folder of what the model that the sampler went by had predicted; None where it had none.
        picked: Rows that the sampler picked out of the pool.
        control: Random rows of what it had left.
    """

    iteration: int
    predictions: str | None
    picked: Rows
    control: Rows


@dataclass(frozen=True)
class Look:
    """What a look risked.

    Attributes:
        number: Of the look, from 1.
        stage: Images that were added later get a validation set, and a delta, of their own.
        spent: Error probability that its tests spent.
        allowed: What it might have spent.
        labels: Labels of people by then.
        accepted: Machine labels that it made final.
    """

    number: int
    stage: int
    spent: float
    allowed: float
    labels: int
    accepted: int


@dataclass
class History:
    """All of it, in the order of the ledger; ``answers``: worker to the sorted times of what they answered, hours."""

    fits: list[Fit] = field(default_factory=list)
    picks: list[Picked] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    answers: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def history(run: Run, task: Task) -> History:
    """Walk through the ledger of a run.

    Raises:
        RunError: A file that an event names is gone or was changed.
    """
    found, state = History(), State()
    for entry in run.events():
        _see(found, state, entry.event, run.store, task)
        state.apply(entry.event, run.store, entry.seq)
    found.answers = _times(run)
    return found


def _see(found: History, before: State, event: ev.AnyEvent, store: Store, task: Task) -> None:
    """Note what an event tells, with the state just before it."""
    f = before.facts
    match event:
        case ev.ModelFitted() if event.fold is None and not event.fault:
            found.fits.append(Fit(event.model, event.iteration, event.examples, event.metrics))
        case ev.ItemsPredicted():
            for fit in found.fits:
                if fit.model == event.model:
                    fit.predictions, fit.validation = event.path, before.validation_rows()
        case ev.Considered() if found.fits:
            found.fits[-1].out_of_fold = 1 - event.loss
        case ev.BatchCommitted() if event.phase == "active":
            t = store.read(event.requests, ["row", "purpose"])
            rows, purpose = np.asarray(t["row"], np.int32), np.asarray(t["purpose"], object)
            by = None if f.model is None else f.model.chosen_from
            found.picks.append(Picked(event.iteration, by, rows[purpose == "train"], rows[purpose == "control"]))
        case ev.Looked():
            for fit in found.fits:
                fit.looked = fit.looked or fit.model == event.model
            promise = make_promise(Settings.model_validate(f.settings), task)
            accepted = 0 if event.labels is None else event.labels.rows
            allowed = promise.delta_of(event.look - f.stage.looks)
            spent = 0.0 if promise.rule == "empirical" else event.delta
            found.looks.append(Look(event.look, f.stage.number, spent, allowed, before.count(HUMAN), accepted))


def _times(run: Run) -> dict[str, NDArray[np.float64]]:
    """Worker to the sorted times of their answers, in hours since the first one of all; nothing where all are at once.

    Declined answers are left out.
    """
    by: dict[str, list[float]] = {}
    for ref in run.state.facts.answer_files:
        t: Any = run.store.read(ref, ["worker", "at", "outcome"])
        for worker, at, outcome in zip(t["worker"], t["at"], t["outcome"], strict=True):
            if outcome != "declined":
                by.setdefault(str(worker), []).append(datetime.fromisoformat(str(at)).timestamp() / 3600)
    first = min((min(times) for times in by.values()), default=0.0)
    return {worker: np.sort(np.array(times)) - first for worker, times in by.items()}


def predicted(store: Store, path: str, rows: Rows) -> Iterator[tuple[int, Raw]]:
    """(row, raw prediction) of those of ``rows``, sorted, that a folder of predictions has."""
    for part in parts(store, path):
        for t in store.stream_path(part, ["row", "raw_json"], rows):
            yield from zip(np.asarray(t["row"]).tolist(), t["raw_json"], strict=True)


def features(store: Store, path: str, rows: Rows, names: tuple[str, ...]) -> tuple[Rows, dict[str, NDArray[Any]]]:
    """Those of ``rows``, sorted, that a folder of predictions has, and the columns that a score goes by."""
    tables = [t for part in parts(store, path) for t in store.stream_path(part, ["row", "features"], rows)]
    if not tables:
        return NO_ROWS, {}
    matrix = np.concatenate([np.asarray(t["features"], np.float32).reshape(-1, len(names)) for t in tables])
    every = np.concatenate([np.asarray(t["row"], np.int32) for t in tables])
    return every, {name: matrix[:, k] for k, name in enumerate(names)}
