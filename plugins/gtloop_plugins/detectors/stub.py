"""Detector ``stub``: bright rectangles on a dark ground, learnt in a second without any library.

For tests and as the example of a whole detector. It really fits and predicts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gtloop import masks
from gtloop.errors import NotEnoughData
from gtloop.interfaces import Detector, Example, Options, Progress, quiet
from gtloop.records import Item, Raw

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]
Model = dict[str, Any]
MODEL = "model.json"
NOTHING = ""
"""What the pixels of no category are called."""


class StubOptions(Options):
    """Options of ``stub``."""

    min_area: int = Field(9, ge=1, description="pixels that a bright region needs to be an object")


class Stub(Detector):
    """Thresholds brightness (``bbox``) or takes the nearest mean colour (``classification``, ``segmentation``).

    Fitting has no randomness: the same examples give the same model whatever the seed, and
    ``effort`` and ``init`` change nothing.
    """

    name = "stub"
    summary = "finds bright rectangles on dark images; for tests and examples"
    tasks: ClassVar[frozenset[str]] = frozenset({"bbox", "classification", "segmentation"})
    gives: ClassVar[frozenset[str]] = frozenset({"embedding"})

    Options = StubOptions

    def fit(
        self,
        examples: Sequence[Example],
        workdir: Path,
        *,
        seed: int,
        init: Path | None = None,
        effort: float = 1.0,
        progress: Progress = quiet,
    ) -> dict[str, float]:
        if not examples:
            raise NotEnoughData("detector 'stub' needs at least one example")
        learner = LEARNERS[self._task]()
        for done, example in enumerate(examples, 1):
            learner.add(np.asarray(example.open(), dtype=np.uint8), example.payload)
            progress("fit", done, len(examples))
        model, figures = learner.model()
        (workdir / MODEL).write_text(json.dumps(model))
        return figures

    def load(self, workdir: Path | None) -> Model:
        assert workdir is not None
        model: Model = json.loads((workdir / MODEL).read_text())
        return model

    def prepare(self, image: Image.Image | None, item: Item) -> Pixels:
        return np.asarray(image, dtype=np.uint8)

    def predict_batch(self, model: Model, prepared: Sequence[Any]) -> list[Raw]:
        names, least = self.context.categories, self.options.min_area
        if self._task == "bbox":
            return [_find(model, pixels, names, least) for pixels in prepared]
        if self._task == "segmentation":
            return [_paint(model, pixels, names, least) for pixels in prepared]
        return [_classify(model, pixels, names) for pixels in prepared]

    def embedder(self) -> None:
        """Nothing: the embedding is the image made small."""

    def embed_batch(self, embedder: None, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """(n, 48) mean colours of a 4 x 4 grid, in [0, 1]."""
        return np.array([_grid(pixels, 4) for pixels in prepared], np.float32)

    @property
    def _task(self) -> str:
        return "classification" if self.context.task is None else self.context.task.name


def _grid(pixels: Pixels, n: int) -> NDArray[np.float64]:
    """(3 n n,) mean colours of the cells of an n x n grid over (H, W, 3) pixels; H and W may be less than n."""
    edges = [
        [(k * side // n, max((k + 1) * side // n, k * side // n + 1)) for k in range(n)] for side in pixels.shape[:2]
    ]
    means = [pixels[y1:y2, x1:x2].mean(axis=(0, 1)) for y1, y2 in edges[0] for x1, x2 in edges[1]]
    return np.concatenate(means) / 255


def _gray(pixels: Pixels) -> Pixels:
    """(H, W) brightest channel: a saturated colour counts as bright."""
    gray: Pixels = pixels.max(axis=2)
    return gray


class _Boxes:
    """Learns the brightness that separates the pixels in boxes from those outside."""

    def __init__(self) -> None:
        self.inside = np.zeros(256)
        self.outside = np.zeros(256)
        self.colours = _Centroids()

    def add(self, pixels: Pixels, payload: dict[str, Any]) -> None:
        """Add one image, (H, W, 3), with its boxes."""
        gray = _gray(pixels)
        mask = np.zeros(gray.shape, dtype=bool)
        for box in payload["boxes"]:
            x1, y1, x2, y2 = (round(v) for v in box["xyxy"])
            patch = pixels[y1:y2, x1:x2].reshape(-1, 3)
            if len(patch):
                mask[y1:y2, x1:x2] = True
                self.colours.add(box["category"], patch.mean(axis=0))
        self.inside += np.bincount(gray[mask], minlength=256)
        self.outside += np.bincount(gray[~mask], minlength=256)

    def model(self) -> tuple[Model, dict[str, float]]:
        """The threshold with the best balanced pixel accuracy, in the middle of a plateau."""
        if not self.inside.sum() or not self.outside.sum():
            raise NotEnoughData("detector 'stub' needs at least one object and some background in its examples")
        hit = 1 - np.cumsum(self.inside) / self.inside.sum()
        clear = np.cumsum(self.outside) / self.outside.sum()
        accuracy = (hit + clear) / 2
        threshold = float(np.median(np.flatnonzero(accuracy >= accuracy.max() - 1e-9)))
        bright = float(self.inside @ np.arange(256) / self.inside.sum())
        model = {"threshold": threshold, "bright": max(bright, threshold + 1), "colours": self.colours.means()}
        return model, {"pixel_accuracy": float(accuracy.max())}


class _Colours:
    """Learns the mean colour of every category."""

    def __init__(self) -> None:
        self.colours = _Centroids()

    def add(self, pixels: Pixels, payload: dict[str, Any]) -> None:
        """Add one image, (H, W, 3), with its category."""
        self.colours.add(payload["category"], pixels.reshape(-1, 3).mean(axis=0))

    def model(self) -> tuple[Model, dict[str, float]]:
        """Centroids, and the spread around them that turns distances into probabilities."""
        spread = self.colours.spread()
        return {"colours": self.colours.means(), "spread": max(spread, 1.0)}, {"spread": spread}


class _Pixels:
    """Learns the mean colour of the pixels of every category, and of those in none; void ones teach nothing."""

    def __init__(self) -> None:
        self.count: dict[str, int] = {}
        self.sum: dict[str, NDArray[np.float64]] = {}
        self.squares = 0.0

    def add(self, pixels: Pixels, payload: dict[str, Any]) -> None:
        """Add one image, (H, W, 3), with its masks."""
        free = np.ones(pixels.shape[:2], bool)
        size = (int(payload["size"][0]), int(payload["size"][1]))
        for region in payload["regions"]:
            own = masks.decode(region["counts"], size)
            free &= ~own
            self._add(region["category"], pixels[own])
        if payload.get("void") is not None:
            free &= ~masks.decode(payload["void"], size)
        self._add(NOTHING, pixels[free])

    def _add(self, name: str, colours: Pixels) -> None:
        if len(colours):
            values = colours.astype(np.float64)
            self.count[name] = self.count.get(name, 0) + len(values)
            self.sum[name] = self.sum.get(name, np.zeros(3)) + values.sum(axis=0)
            self.squares += float((values**2).sum())

    def model(self) -> tuple[Model, dict[str, float]]:
        """Means, and the root mean square distance to them."""
        means = {name: self.sum[name] / n for name, n in sorted(self.count.items())}
        if not means:
            raise NotEnoughData("detector 'stub' needs at least one pixel that is not void in its examples")
        within = self.squares - sum(self.count[name] * float(mean @ mean) for name, mean in means.items())
        spread = float(np.sqrt(max(0.0, within) / sum(self.count.values())))
        colours = {name: mean.tolist() for name, mean in means.items()}
        return {"colours": colours, "spread": max(spread, 1.0)}, {"spread": spread}


class _Centroids:
    """Running means of RGB values by category."""

    def __init__(self) -> None:
        self.seen: dict[str, list[NDArray[np.float64]]] = {}

    def add(self, category: str, colour: NDArray[np.float64]) -> None:
        self.seen.setdefault(category, []).append(colour)

    def means(self) -> dict[str, list[float]]:
        return {category: np.mean(values, axis=0).tolist() for category, values in sorted(self.seen.items())}

    def spread(self) -> float:
        """Root mean square distance to the own centroid, in grey levels."""
        squares = [np.sum((np.array(v) - np.mean(v, axis=0)) ** 2, axis=1) for v in self.seen.values()]
        return float(np.sqrt(np.mean(np.concatenate(squares))))


def _find(model: Model, pixels: Pixels, categories: Sequence[str], min_area: int) -> Raw:
    """Connected bright regions; the score is the region's share of the contrast learnt, and its fill."""
    from scipy import ndimage

    gray = _gray(pixels)
    regions, _ = ndimage.label(gray > model["threshold"])
    found = []
    for index, (rows, cols) in enumerate(ndimage.find_objects(regions), 1):
        own = regions[rows, cols] == index
        if own.sum() < min_area:
            continue
        contrast = (gray[rows, cols][own].mean() - model["threshold"]) / (model["bright"] - model["threshold"])
        score = float(np.clip(contrast * own.mean(), 0.02, 0.99))
        distance = _distances(model, pixels[rows, cols][own].mean(axis=0), categories)
        found.append((score, (cols.start, rows.start, cols.stop, rows.stop), int(distance.argmin())))
    found.sort(key=lambda f: -f[0])
    return {
        "xyxy": [[float(v) for v in box] for _, box, _ in found],
        "scores": [score for score, _, _ in found],
        "categories": [category for _, _, category in found],
    }


def _classify(model: Model, pixels: Pixels, categories: Sequence[str]) -> Raw:
    """Softmax over the squared distances to the mean colours; a category never seen gets 0."""
    distance = _distances(model, pixels.reshape(-1, 3).mean(axis=0), categories)
    logit = -0.5 * (distance / model["spread"]) ** 2
    weight = np.exp(logit - logit.max())
    return {"probabilities": (weight / weight.sum()).tolist()}


def _paint(model: Model, pixels: Pixels, categories: Sequence[str], min_area: int) -> Raw:
    """Softmax over the squared distances of every pixel to the mean colours; small regions are left out."""
    distance = np.full((len(categories) + 1, *pixels.shape[:2]), np.inf)
    for n, name in enumerate((*categories, NOTHING)):
        if name in model["colours"]:
            distance[n] = np.linalg.norm(pixels - np.array(model["colours"][name]), axis=2)
    logit = -0.5 * (distance / model["spread"]) ** 2
    weight = np.exp(logit - logit.max(axis=0))
    raw = masks.raw_masks(weight / weight.sum(axis=0), len(categories)).model_dump(mode="json")
    keep = [masks.area(code) >= min_area for code in raw["counts"]]
    for column in ("counts", "scores", "categories", "expected"):
        raw[column] = [value for value, kept in zip(raw[column], keep, strict=True) if kept]
    return raw


def _distances(model: Model, colour: NDArray[np.float64], categories: Sequence[str]) -> NDArray[np.float64]:
    """(K,) Euclidean distances in RGB; infinite for a category that the examples did not have."""
    known = model["colours"]
    return np.array([np.linalg.norm(colour - known[c]) if c in known else np.inf for c in categories])


LEARNERS: dict[str, type[_Boxes] | type[_Colours] | type[_Pixels]] = {
    "bbox": _Boxes,
    "classification": _Colours,
    "segmentation": _Pixels,
}
"""Task to what learns it: ``add`` an image with its label, then take the ``model``."""
