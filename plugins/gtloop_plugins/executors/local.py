"""Executor ``local``: this machine; threads decode ahead while the main thread predicts."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

from pydantic import Field

from gtloop.errors import blame
from gtloop.inference import Decoded, decode, predict_decoded
from gtloop.interfaces import Detector, Example, Executor, Options, Predicted, Progress, quiet
from gtloop.records import Item
from gtloop.urls import local_path

AT_URLS = 16
"""Threads where images lie behind URLs."""


class LocalOptions(Options):
    """Options of ``local``."""

    decoders: int = Field(
        0, ge=0, description="threads that open images; 0: one per processor, at most 8; 16 for images behind URLs"
    )
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
        with blame("detector", detector.name, "fit"):
            return detector.fit(examples, workdir, seed=seed, init=init, effort=effort, progress=progress)

    def predict(
        self, detector: Detector, model: Path | None, items: Iterable[Item], progress: Progress = quiet
    ) -> Iterator[Predicted]:
        """Raises PluginFault naming the detector where it breaks; an unreadable image never ends the stream."""
        with blame("detector", detector.name, "load"):
            loaded = detector.load(model)
        size = self.options.batch_size or detector.batch_size
        done = 0
        for batch in self._batches(detector, items, size):
            yield from predict_decoded(detector, loaded, batch)
            done += len(batch)
            progress("predict", done, None)

    def _batches(self, detector: Detector, items: Iterable[Item], size: int) -> Iterator[list[Decoded]]:
        """Batches in order; while one is worked on, the next two are being decoded."""
        stream = iter(items)
        if not detector.opens_images:
            while batch := [decode(detector, item) for item in islice(stream, size)]:
                yield batch
            return
        first = list(islice(stream, 1))
        stream = chain(first, stream)
        ahead: deque[Future[Decoded]] = deque()
        pool = ThreadPoolExecutor(self.options.decoders or _decoders(first), "gtloop-decode")
        try:
            while True:
                ahead.extend(pool.submit(decode, detector, item) for item in islice(stream, 2 * size - len(ahead)))
                batch = [ahead.popleft().result() for _ in range(min(size, len(ahead)))]
                if not batch:
                    return
                ahead.extend(pool.submit(decode, detector, item) for item in islice(stream, 2 * size - len(ahead)))
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _decoders(first: Sequence[Item]) -> int:
    """Threads for images such as these: those behind URLs are mostly waited for."""
    if any(local_path(item.uri) is None for item in first):
        return AT_URLS
    return min(8, os.cpu_count() or 1)
