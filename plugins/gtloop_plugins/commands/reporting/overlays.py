"""Masks on pictures: shrunk while they are still run-length codes, so that large images cost no more than small ones.

A label is filled with the colours of its categories. Where the truth says otherwise, the fill has stripes of what is
true, so that both show in one picture.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gtloop.labels import SegmentationLabel
from gtloop.masks import BACKGROUND, VOID, IndexMap, Mask, counts, dense
from gtloop.records import Payload

if TYPE_CHECKING:
    from PIL import Image

PALETTE = (
    *("#e6194b", "#4363d8", "#ffe119", "#911eb4", "#f58231", "#42d4f4", "#f032e6", "#3cb44b", "#bfef45", "#469990"),
    *("#fabed4", "#9a6324", "#dcbeff", "#800000", "#aaffc3", "#000075", "#808000", "#ffd8b1", "#fffac8"),
)
"""Colours that are told apart on a photograph (Trubetskoy, 2017, without greys)."""
NOTHING = "#8a8f96"
"""Void."""
FILL, NOTHING_FILL = 0.5, 0.7
"""Opacity of a category and of void."""
STRIPE = 5
"""Width of a stripe, pixels of the picture."""


def colour(position: int) -> str:
    """The colour of a category by its position; behind ``PALETTE`` hues far from those just before."""
    if position < len(PALETTE):
        return PALETTE[position]
    rgb = colorsys.hsv_to_rgb(position * 0.618034 % 1, 0.55 + 0.4 * (position % 2), 0.95 - 0.15 * (position % 3))
    return "#" + "".join(f"{round(255 * v):02x}" for v in rgb)


def draw(
    image: Image.Image,
    label: Payload,
    truth: Payload | None,
    answers: Sequence[Payload],
    names: Sequence[str],
    line: str,
) -> bool:
    """Draw masks on an image, in place; False, and nothing drawn, where the label is no mask.

    Args:
        image: RGB, the whole image at any size.
        label: What is filled.
        truth: What stripes show where it differs; None where it is not known.
        answers: What the label was made of, each drawn as borders.
        names: All categories; a position is a colour.
        line: Colour of these borders.
    """
    from PIL import Image as Images

    size = (image.height, image.width)
    given = read(label, names, size)
    if given is None:
        return False
    true = None if truth is None else read(truth, names, size)
    pixels = _filled(np.asarray(image, np.float32), given if true is None else striped(given, true), names)
    edges = _borders(given)
    pixels[edges] = _rgb(names)[given[edges]]
    for answer in answers:
        said = read(answer, names, size)
        if said is not None:
            pixels[_borders(said)] = _components(line)
    image.paste(Images.fromarray(pixels.round().astype(np.uint8)))
    return True


def striped(given: IndexMap, true: IndexMap) -> IndexMap:
    """``given`` with stripes of ``true`` where they differ, and void where the truth is."""
    height, width = given.shape
    stripes = (np.arange(height)[:, None] + np.arange(width)) // STRIPE % 2 == 0
    return np.where(stripes | (true == VOID), true, given)


def _filled(pixels: NDArray[np.float32], index: IndexMap, names: Sequence[str]) -> NDArray[np.float32]:
    """(h, w, 3) pixels under the colours of their categories."""
    opacity = np.select([index == BACKGROUND, index == VOID], [0, NOTHING_FILL], FILL).astype(np.float32)[..., None]
    found: NDArray[np.float32] = (1 - opacity) * pixels + opacity * _rgb(names)[index]
    return found


def _rgb(names: Sequence[str]) -> NDArray[np.float32]:
    """(names + 2, 3) colours, so that ``VOID`` and ``BACKGROUND`` are positions too; the latter is never seen."""
    table = [*(colour(n) for n in range(len(names))), NOTHING, "#000000"]
    return np.array([_components(c) for c in table], np.float32)


def _components(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _borders(index: IndexMap) -> Mask:
    """Pixels that differ from the one above or to the left."""
    found = np.zeros(index.shape, bool)
    found[1:] = index[1:] != index[:-1]
    found[:, 1:] |= index[:, 1:] != index[:, :-1]
    return found


def has_masks(payload: Payload) -> bool:
    """Whether a payload has the shape of masks."""
    try:
        SegmentationLabel.model_validate(payload)
    except ValueError:
        return False
    return True


def read(payload: Payload, names: Sequence[str], size: tuple[int, int]) -> IndexMap | None:
    """(h, w) = ``size`` positions in ``names`` of what is in the middle of each pixel, ``BACKGROUND`` and ``VOID``.

    None where the payload holds no masks, or masks that can't be read.
    """
    try:
        label = SegmentationLabel.model_validate(payload)
        return _shrunk(label, names, size)
    except ValueError:
        return None


def _shrunk(label: SegmentationLabel, names: Sequence[str], size: tuple[int, int]) -> IndexMap:
    rows, columns = (_middles(n, of) for n, of in zip(size, label.size, strict=True))
    ys, xs = np.unique(rows), np.unique(columns)
    at = (xs[:, None] * label.size[0] + ys).ravel()
    found = np.full((len(ys), len(xs)), BACKGROUND, np.int16)
    for region in label.regions:
        found[_sampled(region.counts, at, label.size, found.shape)] = names.index(region.category)
    if label.void is not None:
        found[_sampled(label.void, at, label.size, found.shape)] = VOID
    return found[np.searchsorted(ys, rows)][:, np.searchsorted(xs, columns)]


def _middles(n: int, of: int) -> NDArray[np.int64]:
    """(n,) rising pixels out of ``of``."""
    return ((np.arange(n) + 0.5) * of / n).astype(np.int64)


def _sampled(code: str, at: NDArray[np.int64], size: tuple[int, int], to: tuple[int, ...]) -> Mask:
    """A mask of ``size`` at rising flat pixels, which make ``to``: its runs hold fewer of them, but are runs still."""
    ends = np.cumsum(counts(code))
    if not len(ends) or ends[-1] != size[0] * size[1]:
        raise ValueError("a mask of another size")
    return dense(np.diff(np.searchsorted(at, ends), prepend=0), (to[0], to[1]))
