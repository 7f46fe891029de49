"""Random views of training images: one affine map (scale, aspect, place, flip), then colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gtloop.masks import VOID, IndexMap
from gtloop_plugins.detectors.torchvision.images import ImageArray

FloatArray = NDArray[np.float64]

GREY = (127, 127, 127)
MIN_VISIBLE = 0.3
"""Share of a box that has to be left in a view for it to stay an object."""


def warp(image: ImageArray, size: tuple[int, int], matrix: FloatArray) -> ImageArray:
    """Draw ``image`` on a grey canvas.

    Args:
        image: (H, W, 3) uint8.
        size: (width, height) of the canvas.
        matrix: (2, 3) affine map from image to canvas pixels.
    """
    from PIL import Image

    inverse = np.linalg.inv(np.vstack([matrix, [0.0, 0.0, 1.0]]))[:2]
    canvas = Image.fromarray(image).transform(
        size, Image.Transform.AFFINE, tuple(inverse.ravel()), Image.Resampling.BILINEAR, fillcolor=GREY
    )
    return np.asarray(canvas, dtype=np.uint8)


def _place(
    image: ImageArray, size: tuple[int, int], rng: np.random.Generator, fit: float, zoom: float, flip: bool
) -> FloatArray:
    """(2, 3) random map without rotation from ``image`` to a canvas of ``size``, scaled by ``fit`` times the zoom."""
    width, height = size
    scale = fit * zoom ** rng.uniform(-1, 1)
    stretch = 1.1 ** rng.uniform(-0.5, 0.5)
    sx, sy = scale * stretch, scale / stretch
    # Anywhere inside a larger canvas, any crop out of a smaller one.
    dx = rng.uniform(*sorted((0.0, width - sx * image.shape[1])))
    dy = rng.uniform(*sorted((0.0, height - sy * image.shape[0])))
    matrix = np.array([[sx, 0.0, dx], [0.0, sy, dy]])
    if flip and rng.random() < 0.5:
        matrix[0] = [-sx, 0.0, width - dx]
    return matrix


def box_view(
    image: ImageArray, boxes: FloatArray, size: tuple[int, int], rng: np.random.Generator, *, zoom: float, flip: bool
) -> tuple[ImageArray, FloatArray, NDArray[np.bool_]]:
    """One random view for boxes.

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4) ``xyxy`` in its pixels.
        size: (width, height) of the view.
        rng: Source of the randomness.
        zoom: Largest change of scale, as a factor.
        flip: Whether to mirror half of the views.

    Returns:
        The view; (N, 4) boxes in its pixels, clipped; (N,) which of them are still to be found.
    """
    width, height = size
    fit = np.sqrt(width * height / (image.shape[0] * image.shape[1]))
    matrix = _place(image, size, rng, float(fit), zoom, flip)
    x = boxes[:, 0::2] * matrix[0, 0] + matrix[0, 2]
    y = boxes[:, 1::2] * matrix[1, 1] + matrix[1, 2]
    moved = np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], axis=1)
    clipped = np.clip(moved, 0.0, [width, height, width, height])
    left = np.prod(np.clip(clipped[:, 2:] - clipped[:, :2], 0, None), axis=1)
    kept = left >= np.maximum(MIN_VISIBLE * np.prod(moved[:, 2:] - moved[:, :2], axis=1), 4.0)
    return warp(image, size, matrix), clipped, kept


def mask_view(
    image: ImageArray,
    index: IndexMap,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    zoom: float,
    flip: bool,
    stride: int,
) -> tuple[ImageArray, IndexMap]:
    """One random view for masks: a crop, where ``size`` is smaller than the image.

    Args:
        image: (H, W, 3) uint8.
        index: (H, W) values of its pixels.
        size: (width, height) of the view.
        rng: Source of the randomness.
        zoom: Largest change of scale, as a factor.
        flip: Whether to mirror half of the views.
        stride: Pixels of the view for one value of its map.

    Returns:
        The view; (height / stride, width / stride) values, ``VOID`` where the view shows no image.
    """
    matrix = _place(image, size, rng, 1.0, zoom, flip)
    return warp(image, size, matrix), sample(index, size, matrix, stride)


def sample(index: IndexMap, size: tuple[int, int], matrix: FloatArray, stride: int) -> IndexMap:
    """Values of ``index`` under the middles of the cells of a canvas; arguments as for ``mask_view`` and ``warp``."""
    at, inside = [], []
    for axis, (side, length) in enumerate(zip(size, index.shape[::-1], strict=True)):
        cells = (np.arange(side // stride) + 0.5) * stride
        place = np.floor((cells - matrix[axis, 2]) / matrix[axis, axis]).astype(np.int64)
        inside.append((place >= 0) & (place < length))
        at.append(place.clip(0, length - 1))
    found = index[np.ix_(at[1], at[0])]
    found[~(inside[1][:, None] & inside[0])] = VOID
    return found


def class_view(image: ImageArray, rng: np.random.Generator, *, flip: bool) -> ImageArray:
    """One random view for classes: small rotation, scale, shear and shift, in the size of ``image``."""
    height, width = image.shape[:2]
    angle = np.deg2rad(rng.uniform(-12, 12))
    shear = rng.uniform(-0.1, 0.1)
    scale = 1.2 ** rng.uniform(-1, 1, size=2)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.array(
        [[scale[0], shear], [0.0, scale[1]]]
    )
    if flip and rng.random() < 0.5:
        linear[:, 0] *= -1
    centre = np.array([width / 2, height / 2])
    shift = centre - linear @ centre + rng.uniform(-0.08, 0.08, size=2) * [width, height]
    return warp(image, (width, height), np.column_stack([linear, shift]))


def recolour(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Random brightness, contrast and saturation, and now and then no colour at all."""
    x = image.astype(np.float32)
    grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.6, 1.4)
    x = grey[..., None] + saturation * (x - grey[..., None])
    mean = float(grey.mean())
    x = mean + rng.uniform(0.7, 1.3) * (x - mean) + rng.uniform(-32, 32)
    return np.clip(x, 0, 255).astype(np.uint8)
