"""A fit's examples as the files that the library trains on; they live as long as the fit.

Layout: ``images/PART/N.jpg`` with ``labels/PART/N.txt`` (boxes) or ``masks/PART/N.png`` (segmentation), and
``PART/CATEGORY/N.jpg`` for classification, PART being ``train`` or ``val``. Images are in the display frame and shrunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtloop import masks
from gtloop.interfaces import Example
from gtloop.labels import BoxesLabel, ClassLabel, SegmentationLabel, clip_box
from gtloop_plugins.detectors.ultralytics.images import stored
from gtloop_plugins.detectors.ultralytics.networks import Kind

LEAST_TO_HOLD_OUT = 60
"""Examples from which some are held out; with fewer each of them is worth more as a lesson."""
LEAST_HELD_OUT = 8
IGNORED = 255
"""Value of mask pixels that count in no loss (``ultralytics.utils.loss.SemanticSegmentationLoss``)."""
BACKGROUND = "background (in no category)"
"""Name of the class behind the categories of a segmentation network."""


def hold_out(n: int, share: float, seed: int) -> NDArray[np.bool_]:
    """(n,) which examples only say when to stop; none of fewer than ``LEAST_TO_HOLD_OUT``."""
    held = np.zeros(n, bool)
    if share > 0 and n >= LEAST_TO_HOLD_OUT:
        order = np.random.default_rng([seed, 4]).permutation(n)
        held[order[: max(LEAST_HELD_OUT, round(share * n))]] = True
    return held


def names(kind: Kind, categories: Sequence[str]) -> tuple[str, ...]:
    """Names of a network's outputs: the categories, and behind them the background of a segmentation."""
    return (*categories, BACKGROUND) if kind.task == "semantic" else tuple(categories)


def write(
    folder: Path, examples: Sequence[Example], held: NDArray[np.bool_], kind: Kind, categories: Sequence[str], side: int
) -> dict[str, Any]:
    """Write the files; returns what the library's trainers call ``data``."""
    index = {name: i for i, name in enumerate(categories)}
    folders = [f"{i:05d}" for i in range(len(categories))]
    outputs = folders if kind.task == "classify" else list(names(kind, categories))
    data: dict[str, Any] = {"nc": len(outputs), "names": dict(enumerate(outputs)), "channels": 3, "path": str(folder)}
    for part, flag in (("train", False), ("val", True)):
        top = folder / part if kind.task == "classify" else folder / "images" / part
        data[part] = str(top)
        for name in folders if kind.task == "classify" else ():
            (top / name).mkdir(parents=True, exist_ok=True)
        for row in np.flatnonzero(held == flag):
            example = examples[int(row)]
            if kind.task == "classify":
                place = top / folders[index[ClassLabel.model_validate(example.payload).category]]
            else:
                place = top
            _write_one(folder, place / f"{row:07d}.jpg", part, example, kind, index, side)
    if kind.task == "semantic":
        data["masks_dir"] = "masks"
    if not held.any():
        data["val"] = data["train"]
    return data


def _write_one(
    folder: Path, path: Path, part: str, example: Example, kind: Kind, index: dict[str, int], side: int
) -> None:
    image = example.open()
    # Long side for boxes, short side for the others: that is what their augmentations begin with.
    small = stored(image, None, side) if kind.task == "detect" else stored(image, round(1.5 * side), 6 * side)
    path.parent.mkdir(parents=True, exist_ok=True)
    small.save(path, quality=95, subsampling=0)
    if kind.task == "detect":
        label = folder / "labels" / part / f"{path.stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(_lines(example, index, *image.size)), encoding="utf-8")
    elif kind.task == "semantic":
        mask = folder / "masks" / part / f"{path.stem}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        _mask(example, list(index), small.size).save(mask)


def _lines(example: Example, index: dict[str, int], width: int, height: int) -> list[str]:
    """One line an object: category, centre and sides as shares of the image."""
    lines = []
    for box in BoxesLabel.model_validate(example.payload).boxes:
        inside = clip_box(box.xyxy, width, height)
        if inside is not None:
            x1, y1, x2, y2 = inside[0] / width, inside[1] / height, inside[2] / width, inside[3] / height
            shape = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
            lines.append(" ".join([str(index[box.category]), *(f"{v:.8f}" for v in shape)]) + "\n")
    return lines


def _mask(example: Example, categories: list[str], size: tuple[int, int]) -> Any:
    from PIL import Image

    found = masks.to_map(SegmentationLabel.model_validate(example.payload), categories)
    values = np.where(found == masks.VOID, IGNORED, np.where(found == masks.BACKGROUND, len(categories), found))
    return Image.fromarray(values.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
