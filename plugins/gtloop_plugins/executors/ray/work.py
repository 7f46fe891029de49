"""What runs in Ray's processes: a worker that predicts blocks of items, and a fit."""

from __future__ import annotations

import queue
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gtloop.errors import PluginFault, blame
from gtloop.inference import decode, predict_decoded
from gtloop.interfaces import Detector, Example, Predicted, Progress
from gtloop.records import Item
from gtloop_plugins.executors.ray.parcels import loads, pack, unpack

GRACE_S = 10.0
"""Seconds before a fault in a fit together is reported: where a fellow's death is the cause, that is known by then."""


class Worker:
    """Holds one model ready. Decodes a block while another one is predicted, if it is given two.

    Args:
        detector: As ``parcels.dumps`` gives it.
        name: Of the detector.
        model: As ``parcels.pack`` gives it.
        decoders: Threads that decode.
        folder: Where to write, if it is told.
    """

    def __init__(self, detector: bytes, name: str, model: bytes | None, decoders: int, folder: str | None) -> None:
        self._given = detector, name, model
        self._detector: Detector
        self._model: Any = None
        self._one_at_a_time = threading.Lock()
        self._decoders = ThreadPoolExecutor(decoders, "gtloop-decode")
        self._folder = tempfile.TemporaryDirectory(prefix="gtloop-model-", dir=folder)

    def ready(self) -> bool:
        """Load the model. Apart from the constructor, so that what goes wrong arrives as the error that it is."""
        detector, name, model = self._given
        self._detector = loads(detector, name)
        if model is not None:
            unpack(model, Path(self._folder.name))
        with blame("detector", name, "load"):
            self._model = self._detector.load(None if model is None else Path(self._folder.name))
        return True

    def alive(self) -> bool:
        return True

    def predict(self, items: Sequence[Item]) -> list[Predicted]:
        decoded = list(self._decoders.map(lambda item: decode(self._detector, item), items))
        with self._one_at_a_time:
            return predict_decoded(self._detector, self._model, decoded)

    def close(self) -> None:
        """Remove what it wrote."""
        self._folder.cleanup()


class Job(NamedTuple):
    """A fit: detector and ``init`` as ``parcels`` gives them, seed and effort, and where to write, if it is told."""

    detector: bytes
    name: str
    examples: Sequence[Example]
    init: bytes | None
    arguments: Mapping[str, Any]
    folder: str | None


class Step(NamedTuple):
    """What a fit says on its way: progress (arguments of ``Progress``), or figures with the packed model."""

    kind: Literal["progress", "done"]
    value: Any


def fit(job: Job) -> Iterator[Step]:
    """Run a detector's ``fit``; the first step says so, the last holds the model."""
    yield Step("progress", ("fit", 0, None))
    steps: queue.SimpleQueue[Step | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            steps.put(_fitted(job, lambda *step: steps.put(Step("progress", step))))
        except BaseException as e:
            steps.put(e)

    threading.Thread(target=run, daemon=True).start()
    while isinstance(step := steps.get(), Step):
        yield step
        if step.kind == "done":
            return
    raise step


def member(given: Mapping[str, Any]) -> None:
    """What each of several processes does that fit together (``job``); the first puts its steps into ``news``."""
    from ray import train

    first = train.get_context().get_world_rank() == 0

    def tell(step: Step) -> None:
        if first:
            given["news"].put(step)

    tell(Step("progress", ("fit", 0, None)))
    try:
        done = _fitted(given["job"], lambda *step: tell(Step("progress", step)))
    except PluginFault:
        time.sleep(GRACE_S)
        raise
    tell(done)


def _fitted(job: Job, progress: Progress) -> Step:
    made: Detector = loads(job.detector, job.name)
    with tempfile.TemporaryDirectory(prefix="gtloop-fit-", dir=job.folder) as folder:
        workdir, start = Path(folder, "model"), Path(folder, "init")
        workdir.mkdir()
        if job.init is not None:
            unpack(job.init, start)
        with blame("detector", job.name, "fit"):
            init = None if job.init is None else start
            figures = made.fit(job.examples, workdir, init=init, progress=progress, **job.arguments)
        return Step("done", (figures, pack(workdir)))
