"""From a decoded image to what a network looks at, and back to pixels of the image as displayed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

ImageArray = NDArray[np.uint8]

GRID = 32
"""Sides of a letterboxed image are multiples of it."""
GREY = 114
"""What the library pads with (``ultralytics.data.augment.LetterBox``)."""


def letterbox(image: Image.Image, side: int) -> dict[str, Any]:
    """Resize so that the long side is ``side`` pixels, and pad both sides to multiples of ``GRID``, image centred.

    Returns:
        ``image`` (H, W, 3) uint8 RGB; ``place`` (left, top, width, height) of the picture in it; ``size`` (width,
        height) of the image as displayed.
    """
    width, height = image.size
    scale = side / max(width, height)
    w, h = (max(1, round(v * scale)) for v in (width, height))
    small = _resize(image, (w, h))
    boxed: ImageArray = np.full((-(-h // GRID) * GRID, -(-w // GRID) * GRID, 3), GREY, np.uint8)
    left, top = (boxed.shape[1] - w) // 2, (boxed.shape[0] - h) // 2
    boxed[top : top + h, left : left + w] = small
    return {"image": boxed, "place": (left, top, w, h), "size": (width, height)}


def centre(image: Image.Image, side: int) -> dict[str, Any]:
    """The central square, ``side`` pixels long: what the library's classifiers look at in a prediction."""
    from PIL import Image as pil

    width, height = image.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    box = (left, top, left + short, top + short)
    small = image.convert("RGB").resize((side, side), pil.Resampling.BILINEAR, box=box, reducing_gap=3.0)
    return {"image": np.asarray(small, dtype=np.uint8), "size": (width, height)}


def stored(image: Image.Image, short: int | None, long: int) -> Image.Image:
    """A training image as it is kept for a fit: shrunk, if larger than sides of ``short`` and ``long`` pixels.

    No side is below 10 pixels, for the library leaves out smaller images.
    """
    width, height = image.size
    scale = min(1.0, long / max(width, height), *([short / min(width, height)] if short else []))
    size = tuple(max(10, round(v * scale)) for v in (width, height))
    return image.convert("RGB") if size == image.size else _pil(image, (size[0], size[1]))


def to_tensor(arrays: list[ImageArray], device: Any, stride: int = GRID) -> Any:
    """(N, 3, H, W) float32 in [0, 1], channels last, of images of one size; padded to multiples of ``stride``."""
    import torch
    from torch.nn.functional import pad

    batch = torch.from_numpy(np.ascontiguousarray(np.stack(arrays))).to(device)
    tensor = batch.permute(0, 3, 1, 2).to(torch.float32).div_(255)
    more = [-side % stride for side in tensor.shape[2:]]
    return pad(tensor, (0, more[1], 0, more[0]), value=GREY / 255) if any(more) else tensor


def by_size(arrays: list[ImageArray], limit: int) -> list[list[int]]:
    """Indices of images of one size each, at most ``limit`` together, in order of first appearance."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, array in enumerate(arrays):
        groups.setdefault(array.shape, []).append(index)
    return [group[i : i + limit] for group in groups.values() for i in range(0, len(group), limit)]


def _resize(image: Image.Image, size: tuple[int, int]) -> ImageArray:
    return np.asarray(_pil(image, size), dtype=np.uint8)


def _pil(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    from PIL import Image as pil

    return image.convert("RGB").resize(size, pil.Resampling.BILINEAR, reducing_gap=3.0)
