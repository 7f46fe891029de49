"""What runs in Ray's processes: a worker that predicts blocks of items, and a fit."""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gtloop.errors import blame
from gtloop.inference import decode, predict_decoded
from gtloop.interfaces import Detector, Example, Predicted
from gtloop.records import Item
from gtloop_plugins.executors.ray.parcels import loads, pack, unpack


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


class Step(NamedTuple):
    """What a fit says on its way: progress (arguments of ``Progress``), or figures with the packed model."""

    kind: Literal["progress", "done"]
    value: Any


def fit(
    detector: bytes,
    name: str,
    examples: Sequence[Example],
    init: bytes | None,
    arguments: Mapping[str, Any],
    parent: str | None,
) -> Iterator[Step]:
    """Run a detector's ``fit`` in a new folder below ``parent``; the first step says so, the last holds the model."""
    yield Step("progress", ("fit", 0, None))
    made: Detector = loads(detector, name)
    steps: queue.SimpleQueue[Step | BaseException] = queue.SimpleQueue()

    with tempfile.TemporaryDirectory(prefix="gtloop-fit-", dir=parent) as folder:
        workdir, start = Path(folder, "model"), Path(folder, "init")
        workdir.mkdir()
        if init is not None:
            unpack(init, start)

        def run() -> None:
            try:
                with blame("detector", name, "fit"):
                    figures = made.fit(
                        examples,
                        workdir,
                        init=None if init is None else start,
                        progress=lambda *step: steps.put(Step("progress", step)),
                        **arguments,
                    )
                steps.put(Step("done", (figures, pack(workdir))))
            except BaseException as e:
                steps.put(e)

        threading.Thread(target=run, daemon=True).start()
        while isinstance(step := steps.get(), Step):
            yield step
            if step.kind == "done":
                return
        raise step
