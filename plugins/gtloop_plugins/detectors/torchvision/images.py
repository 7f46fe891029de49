"""From a decoded image to a small array of a size that the network takes without padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtloop_plugins.detectors.torchvision.devices import moved

if TYPE_CHECKING:
    from PIL import Image

ImageArray = NDArray[np.uint8]

GRID = 32
"""Sides are multiples of it: no padding, and predictions that don't depend on what else is in a batch."""
LONGEST = 1024
"""No side is longer, whatever the aspect ratio."""


def working_size(width: int, height: int, area: float) -> tuple[int, int]:
    """(width, height) in pixels at which an image is looked at.

    About ``area`` pixels in the original's aspect ratio, both sides rounded to multiples of ``GRID``.
    """
    scale = float(np.sqrt(area / (width * height)))
    sides = [min(max(GRID * round(side * scale / GRID), GRID), LONGEST) for side in (width, height)]
    return sides[0], sides[1]


def shrink(image: Image.Image, size: tuple[int, int]) -> ImageArray:
    """Resize to ``size`` (width, height), antialiased; (height, width, 3) uint8 RGB."""
    from PIL import Image

    small = image.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(small, dtype=np.uint8)


def to_tensor(arrays: list[ImageArray], device: Any) -> Any:
    """Stack (H, W, 3) uint8 images of one size into (N, 3, H, W) float32 in [-1, 1], channels last."""
    import torch

    batch = moved(np.ascontiguousarray(np.stack(arrays)), device)
    # A permuted NHWC tensor is already channels_last: no copy.
    return batch.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0)


def by_size(arrays: list[ImageArray], limit: int) -> list[list[int]]:
    """Indices of images of one size each, at most ``limit`` together, in order of first appearance."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, array in enumerate(arrays):
        groups.setdefault(array.shape, []).append(index)
    return [group[i : i + limit] for group in groups.values() for i in range(0, len(group), limit)]
