"""Detector ``template``: connected regions that are brighter than a learnt threshold.

The threshold lies between the median brightness inside and outside of the boxes that people drew. A region gets the
category whose mean colour is nearest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gtloop.errors import NotEnoughData
from gtloop.interfaces import Detector, Example, Options, Progress, quiet
from gtloop.records import Item, Raw
from numpy.typing import NDArray
from pydantic import Field

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]
Model = dict[str, Any]
MODEL = "model.json"


class TemplateDetectorOptions(Options):
    """Options; each needs a description, because ``gtloop plugins show`` prints it."""

    min_pixels: int = Field(9, ge=1, description="pixels that a bright region needs to be an object")


class TemplateDetector(Detector):
    """Fitting has no randomness; ``init`` and ``effort`` change nothing."""

    name = "template"
    summary = "finds regions brighter than a learnt threshold"
    tasks: ClassVar[frozenset[str]] = frozenset({"bbox"})
    Options = TemplateDetectorOptions

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
        """Leave threshold, brightness and colours in ``workdir/model.json``.

        Raises:
            NotEnoughData: No example holds an object, or one is nothing but objects.
        """
        inside, outside = np.zeros(256), np.zeros(256)
        colours: dict[str, list[NDArray[np.float64]]] = {}
        for done, example in enumerate(examples, 1):
            pixels = np.asarray(example.open(), dtype=np.uint8)
            mask = np.zeros(pixels.shape[:2], dtype=bool)
            for box in example.payload["boxes"]:
                x1, y1, x2, y2 = (round(v) for v in box["xyxy"])
                mask[y1:y2, x1:x2] = True
                if y2 > y1 and x2 > x1:
                    colours.setdefault(box["category"], []).append(pixels[y1:y2, x1:x2].mean(axis=(0, 1)))
            grey = pixels.max(axis=2)
            inside += np.bincount(grey[mask], minlength=256)
            outside += np.bincount(grey[~mask], minlength=256)
            progress("fit", done, len(examples))
        if not colours or not inside.any() or not outside.any():
            raise NotEnoughData("detector 'template' needs at least one object and some ground")
        bright, dark = _median(inside), _median(outside)
        model = {
            "threshold": (bright + dark) / 2,
            "bright": bright,
            "colours": {name: np.mean(seen, axis=0).tolist() for name, seen in sorted(colours.items())},
        }
        (workdir / MODEL).write_text(json.dumps(model))
        return {"threshold": (bright + dark) / 2, "contrast": bright - dark}

    def load(self, workdir: Path | None) -> Model:
        """What ``fit`` left."""
        assert workdir is not None  # None only where a detector is not trainable
        model: Model = json.loads((workdir / MODEL).read_text())
        return model

    def prepare(self, image: Image.Image | None, item: Item) -> Pixels:
        """(H, W, 3) pixels; called in threads or other processes, so CPU only and picklable."""
        return np.asarray(image, dtype=np.uint8)

    def predict_batch(self, model: Model, prepared: Sequence[Any]) -> list[Raw]:
        """One raw prediction for each input: all boxes, best first, in pixels of the image as displayed."""
        return [self._predict(model, pixels) for pixels in prepared]

    def _predict(self, model: Model, pixels: Pixels) -> Raw:
        from scipy import ndimage  # type: ignore[import-untyped, unused-ignore]

        grey = pixels.max(axis=2)
        regions, _ = ndimage.label(grey > model["threshold"])
        found = []
        for number, (rows, columns) in enumerate(ndimage.find_objects(regions), 1):
            own = regions[rows, columns] == number
            if own.sum() < self.options.min_pixels:
                continue
            rise = grey[rows, columns][own].mean() - model["threshold"]
            contrast = rise / max(1.0, model["bright"] - model["threshold"])
            # A full box of full contrast is surely an object; keep all from .01 up, the run's cut decides.
            score = float(np.clip(contrast * own.mean(), 0.02, 0.99))
            box = [float(v) for v in (columns.start, rows.start, columns.stop, rows.stop)]
            found.append((score, box, self._category(model, pixels[rows, columns][own].mean(axis=0))))
        found.sort(key=lambda f: -f[0])
        return {
            "xyxy": [box for _, box, _ in found],
            "scores": [score for score, _, _ in found],
            "categories": [category for _, _, category in found],
        }

    def _category(self, model: Model, colour: NDArray[np.float64]) -> int:
        """Index of the category with the nearest mean colour among those that the examples had."""
        known: dict[str, list[float]] = model["colours"]
        nearest = min(known, key=lambda name: float(np.linalg.norm(colour - np.array(known[name]))))
        return self.context.categories.index(nearest)


def _median(counts: NDArray[np.float64]) -> float:
    """The median of grey levels, from how often each of the 256 occurs."""
    return float(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
