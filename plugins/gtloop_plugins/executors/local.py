"""Executor ``local``: this machine; threads decode ahead while the main thread predicts."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import Field

from gtloop.errors import BadImage, GtloopError, PluginFault
from gtloop.interfaces import Detector, Example, Executor, Options, Predicted, Progress, quiet
from gtloop.records import Item

T = TypeVar("T")


class Decoded(NamedTuple):
    """One item made ready to predict, or the reason why it can't be."""

    item: Item
    prepared: Any
    fault: str


class LocalOptions(Options):
    """Options of ``local``."""

    decoders: int = Field(0, ge=0, description="threads that decode images; 0: one per processor, at most 8")
    batch_size: int = Field(0, ge=0, description="images predicted at once; 0: what the detector suggests")


class Local(Executor):
    """Decodes in threads (Pillow releases the interpreter's lock), predicts in the calling thread.

    At most three batches of prepared images are in memory, however long the stream of items.
    """

    name = "local"
    summary = "fits and predicts on this machine, decoding in threads"

    Options = LocalOptions

    def fit(
        self,
        detector: Detector,
        examples: Sequence[Example],
        workdir: Path,
        *,
        seed: int,
        init: Path | None = None,
        effort: float = 1.0,
        progress: Progress = quiet,
    ) -> dict[str, float]:
        return _guarded(
            detector,
            "fit",
            lambda: detector.fit(examples, workdir, seed=seed, init=init, effort=effort, progress=progress),
        )

    def predict(
        self, detector: Detector, model: Path | None, items: Iterable[Item], progress: Progress = quiet
    ) -> Iterator[Predicted]:
        """Raises PluginFault naming the detector where it breaks; an unreadable image never ends the stream."""
        loaded = _guarded(detector, "load", lambda: detector.load(model))
        size = self.options.batch_size or detector.batch_size
        done = 0
        for batch in self._batches(detector, items, size):
            yield from _predict(detector, loaded, batch)
            done += len(batch)
            progress("predict", done, None)

    def _batches(self, detector: Detector, items: Iterable[Item], size: int) -> Iterator[list[Decoded]]:
        """Batches in order; while one is worked on, the next two are being decoded."""
        stream = iter(items)
        ahead: deque[Future[Decoded]] = deque()
        pool = ThreadPoolExecutor(self.options.decoders or min(8, os.cpu_count() or 1), "gtloop-decode")
        try:
            while True:
                ahead.extend(pool.submit(_decode, detector, item) for item in islice(stream, 2 * size - len(ahead)))
                batch = [ahead.popleft().result() for _ in range(min(size, len(ahead)))]
                if not batch:
                    return
                ahead.extend(pool.submit(_decode, detector, item) for item in islice(stream, 2 * size - len(ahead)))
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _decode(detector: Detector, item: Item) -> Decoded:
    if not detector.opens_images:
        return Decoded(item, _guarded(detector, "prepare", lambda: detector.prepare(None, item)), "")
    from gtloop.images import header, open_image

    try:
        if item.width is None:
            width, height, orientation, _ = header(item.uri)
            item = item.model_copy(update={"width": width, "height": height, "orientation": orientation})
        image = open_image(item.uri)
        return Decoded(item, _guarded(detector, "prepare", lambda: detector.prepare(image, item)), "")
    except BadImage as e:
        return Decoded(item, None, str(e) or "unreadable")


def _predict(detector: Detector, model: Any, batch: Sequence[Decoded]) -> Iterator[Predicted]:
    good = [d for d in batch if not d.fault]
    raws = (
        _guarded(detector, "predict_batch", lambda: detector.predict_batch(model, [d.prepared for d in good]))
        if good
        else []
    )
    if len(raws) != len(good):
        raise PluginFault(
            f"detector {detector.name!r}: predict_batch returned {len(raws)} results for {len(good)} images"
        )
    results = iter(raws)
    for d in batch:
        yield Predicted(d.item, None, d.fault) if d.fault else Predicted(d.item, next(results))


def _guarded(detector: Detector, step: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except GtloopError:
        raise
    except Exception as e:
        raise PluginFault(f"detector {detector.name!r}: {step} raised {type(e).__name__}: {e}") from e
