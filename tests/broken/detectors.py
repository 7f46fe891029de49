"""Broken detectors, made of the built-in ``stub``."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from broken.row import Row
from gtloop.errors import NotEnoughData
from gtloop.interfaces import Example, quiet
from gtloop.records import Item, Raw
from gtloop_plugins.detectors.stub import MODEL, Stub


class Boxes(Stub):
    tasks: ClassVar[frozenset[str]] = frozenset({"bbox"})
    gives: ClassVar[frozenset[str]] = frozenset()


class FitRaises(Boxes):
    """Detector whose fit raises."""

    def fit(self, examples: Sequence[Example], workdir: Path, **given: Any) -> dict[str, float]:
        figures = super().fit(examples, workdir, **given)
        raise RuntimeError(f"loss is nan after {len(figures)} steps")


class Reorders(Boxes):
    """Detector that reorders its inputs."""

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        return super().predict_batch(model, sorted(prepared, key=lambda pixels: (pixels.size, int(pixels.sum()))))


class BatchNorm(Boxes):
    """Detector whose results change with the batch's composition."""

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        raws = super().predict_batch(model, prepared)
        best = max([s for raw in raws for s in raw["scores"]], default=1.0)
        return [{**raw, "scores": [s / best for s in raw["scores"]]} for raw in raws]


class EmbedsTheBatch(Boxes):
    """Detector whose embeddings depend on the batch."""

    gives: ClassVar[frozenset[str]] = frozenset({"embedding"})

    def embed_batch(self, embedder: None, prepared: Sequence[Any]) -> Any:
        found = super().embed_batch(embedder, prepared)
        return found - found.mean(axis=0)


class AbsolutePaths(Boxes):
    """Detector whose model can't be moved: it holds absolute paths."""

    def fit(self, examples: Sequence[Example], workdir: Path, **given: Any) -> dict[str, float]:
        figures = super().fit(examples, workdir, **given)
        (workdir / "weights").write_text((workdir / MODEL).read_text())
        (workdir / MODEL).write_text(json.dumps({"weights": str(workdir / "weights")}))
        return figures

    def load(self, workdir: Path | None) -> Any:
        return json.loads(Path(super().load(workdir)["weights"]).read_text())


class KeepsInObject(Boxes):
    """Detector that keeps a part of its model in the object."""

    serial = itertools.count(2)

    def __init__(self, options: Any, context: Any) -> None:
        super().__init__(options, context)
        self.temperature = float(next(self.serial))

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        raws = super().predict_batch(model, prepared)
        return [{**raw, "scores": [s / self.temperature for s in raw["scores"]]} for raw in raws]


class Percent(Boxes):
    """Detector with scores outside [0, 1]."""

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        return [{**raw, "scores": [100 * s for s in raw["scores"]]} for raw in super().predict_batch(model, prepared)]


class Logits(Stub):
    """Detector whose probabilities do not sum to 1."""

    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        raws = super().predict_batch(model, prepared)
        return [{"probabilities": [p**0.5 for p in raw["probabilities"]]} for raw in raws]


class WorstFirst(Boxes):
    """Detector that gives boxes worst first."""

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        return [{key: values[::-1] for key, values in raw.items()} for raw in super().predict_batch(model, prepared)]


class CornerAndSize(Boxes):
    """Detector that gives boxes as x, y, width, height."""

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        raws = super().predict_batch(model, prepared)
        return [{**raw, "xyxy": [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in raw["xyxy"]]} for raw in raws]


class CountsBackground(Boxes):
    """Detector whose category indices start at 1."""

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        return [{**r, "categories": [c + 1 for c in r["categories"]]} for r in super().predict_batch(model, prepared)]


class Unseeded(Boxes):
    """Detector that is not deterministic for a seed."""

    def fit(self, examples: Sequence[Example], workdir: Path, **given: Any) -> dict[str, float]:
        figures = super().fit(examples, workdir, **given)
        model = json.loads((workdir / MODEL).read_text())
        model["bright"] += np.random.default_rng().uniform(5, 50)
        (workdir / MODEL).write_text(json.dumps(model))
        return figures


class Memorises(Boxes):
    """Detector that looks up the labels it was trained on."""

    def fit(self, examples: Sequence[Example], workdir: Path, **given: Any) -> dict[str, float]:
        figures = super().fit(examples, workdir, **given)
        task = self.context.task
        assert task is not None
        known = {e.item.id: task.raw(e.payload) for e in examples}
        (workdir / "known.json").write_text(json.dumps(known))
        return figures

    def load(self, workdir: Path | None) -> Any:
        assert workdir is not None
        return {**super().load(workdir), "known": json.loads((workdir / "known.json").read_text())}

    def prepare(self, image: Any, item: Item) -> Any:
        return item.id, super().prepare(image, item)

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        seen = super().predict_batch(model, [pixels for _, pixels in prepared])
        return [model["known"].get(name, raw) for (name, _), raw in zip(prepared, seen, strict=True)]


class FitsNothing(Boxes):
    """Detector that fits on nothing without a word."""

    def fit(self, examples: Sequence[Example], workdir: Path, **given: Any) -> dict[str, float]:
        try:
            return super().fit(examples, workdir, **given)
        except NotEnoughData:
            return {}


class Silent(Boxes):
    """Detector whose fit reports no progress."""

    def fit(self, examples: Sequence[Example], workdir: Path, **given: Any) -> dict[str, float]:
        return super().fit(examples, workdir, **{**given, "progress": quiet})


class Lambdas(Boxes):
    """Detector whose prepared images can't go to another process."""

    def prepare(self, image: Any, item: Item) -> Any:
        pixels = super().prepare(image, item)
        return lambda: pixels

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        return super().predict_batch(model, [read() for read in prepared])


class OneSize(Boxes):
    """Detector that expects images of one size."""

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        return super().predict_batch(model, list(np.stack(prepared)))


ROWS = [
    Row(FitRaises, "check_fits_and_predicts", "fit on 10 images raised RuntimeError: loss is nan"),
    Row(Reorders, "check_order_and_count_are_kept", "not in the order of the inputs"),
    Row(BatchNorm, "check_batch_does_not_matter", "depend on the other images of the batch"),
    Row(EmbedsTheBatch, "check_embeddings_are_vectors", "another embedding alone than together"),
    Row(AbsolutePaths, "check_model_folder_can_be_moved", "after the model's folder was moved"),
    Row(KeepsInObject, "check_model_reloads_from_its_folder", "a new object that loads the model predicts otherwise"),
    Row(Percent, "check_scores_are_in_range", "scores are outside [0, 1]"),
    Row(Logits, "check_scores_are_in_range", "probabilities sum to"),
    Row(WorstFirst, "check_scores_are_in_range", "not sorted, best first"),
    Row(CornerAndSize, "check_labels_fit_the_image", "is it x, y, width, height?"),
    Row(CountsBackground, "check_labels_fit_the_image", "category index [2] of 2 categories"),
    Row(Unseeded, "check_same_seed_same_result", "fitted twice on the same images with seed 3"),
    Row(Memorises, "check_only_the_image_counts", "under another row, id and name"),
    Row(FitsNothing, "check_no_examples_is_not_enough", "raised nothing, NotEnoughData was due"),
    Row(Silent, "check_fit_reports", "never called progress"),
    Row(Lambdas, "check_prepared_is_picklable", "pickling what prepare returns"),
    Row(OneSize, "check_images_of_any_size", "16 x 16, 200 x 20"),
]
