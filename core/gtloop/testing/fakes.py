"""Small real data and parts for tests of plugins: generated images with known labels.

Every image is dark and holds up to three bright rectangles, *crates* (reddish) or *drums* (bluish), with
a ground tinted alike; every fifth image holds none. The same folder, count and seed give the same files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gtloop import masks
from gtloop.interfaces import Detector, Example, Progress, quiet
from gtloop.records import Item, Payload, Raw

if TYPE_CHECKING:
    from PIL import Image

CATEGORIES = ("crate", "drum")
SIZE = (96, 64)
"""Width and height of a tiny image, pixels."""
_COLOURS = {"crate": (230, 150, 120), "drum": (110, 150, 235)}
_GROUNDS = {"crate": (44, 24, 20), "drum": (20, 24, 44)}


def tiny_items(folder: Path, n: int = 10, seed: int = 0) -> list[Item]:
    """Write ``n`` PNG files of 96 x 64 pixels to ``folder`` and return their items, rows 0 to n - 1."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for row in range(n):
        path = folder / f"tiny_{row:03d}.png"
        Image.fromarray(_pixels(row, seed)).save(path)
        width, height = SIZE
        item = Item(row=row, id=f"tiny-{seed}-{row}", name=path.name, uri=str(path), width=width, height=height)
        items.append(item)
    return items


def tiny_truth(task: str, n: int = 10, seed: int = 0) -> list[Payload] | None:
    """The true labels of ``tiny_items(folder, n, seed)``; None for a task that has none here."""
    if task == "bbox":
        return [{"boxes": _boxes(row, seed)} for row in range(n)]
    if task == "classification":
        return [{"category": CATEGORIES[row % 2]} for row in range(n)]
    if task == "segmentation":
        return [_regions(row, seed) for row in range(n)]
    return None


def _regions(row: int, seed: int) -> Payload:
    """The boxes as masks; the last two columns of every third image are void."""
    width, height = SIZE
    index = np.full((height, width), masks.BACKGROUND, np.int16)
    for box in _boxes(row, seed):
        x1, y1, x2, y2 = (int(v) for v in box["xyxy"])
        index[y1:y2, x1:x2] = CATEGORIES.index(box["category"])
    if row % 3 == 0:
        index[:, -2:] = masks.VOID
    return masks.from_map(index, CATEGORIES).model_dump(mode="json", exclude_none=True)


def _boxes(row: int, seed: int) -> list[dict[str, Any]]:
    """Up to three boxes, one in each third of the image, so that none touch."""
    if row % 5 == 4:
        return []
    rng = np.random.default_rng([seed, row])
    boxes = []
    for third in range(1 + int(rng.integers(3))):
        x1, y1 = 32 * third + int(rng.integers(1, 8)), int(rng.integers(1, 24))
        x2, y2 = x1 + int(rng.integers(12, 23)), y1 + int(rng.integers(14, 38))
        boxes.append({"category": CATEGORIES[row % 2], "xyxy": [float(x1), float(y1), float(x2), float(y2)]})
    return boxes


def _pixels(row: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rng = np.random.default_rng([seed, row, 1])
    width, height = SIZE
    category = CATEGORIES[row % 2]
    image = np.broadcast_to(np.array(_GROUNDS[category], float), (height, width, 3)).copy()
    for box in _boxes(row, seed):
        x1, y1, x2, y2 = (int(v) for v in box["xyxy"])
        image[y1:y2, x1:x2] = _COLOURS[category]
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


class EchoDetector(Detector):
    """Predicts its own input: ``{"row": ..., "size": [width, height]}``; for tests of executors."""

    name = "echo"
    summary = "predicts the row and the size that it was given"
    tasks: ClassVar[frozenset[str]] = frozenset({"echo"})
    batch_size: ClassVar[int] = 3

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
        """Leave the seed and the number of examples in ``model.json``."""
        (workdir / "model.json").write_text(json.dumps({"seed": seed, "examples": len(examples)}))
        progress("fit", len(examples), len(examples))
        return {"examples": float(len(examples))}

    def load(self, workdir: Path | None) -> Any:
        assert workdir is not None
        return json.loads((workdir / "model.json").read_text())

    def prepare(self, image: Image.Image | None, item: Item) -> Any:
        assert image is not None
        return item.row, image.size

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        return [{"row": row, "size": list(size)} for row, size in prepared]


def endless(items: Sequence[Item]) -> Iterator[Item]:
    """The items, over and over, with rows that go on counting."""
    row = 0
    while True:
        for item in items:
            yield item.model_copy(update={"row": row})
            row += 1
