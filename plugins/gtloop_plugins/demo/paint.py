"""Drawing for the demo's pictures: noise, smooth outlines, shaded and antialiased sprites.

Coordinates of outlines are in units of the drawn thing (a bird's body is 1 long), x to the right, y
down; ``render`` scales them to pixels. Colours are RGB floats in [0, 255].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]
Rng = np.random.Generator
Points = Sequence[Sequence[float]] | Sequence[Sequence[int]] | Sequence[Array] | Array
"""(n, 2) vertices."""


def noise(rng: Rng, width: int, height: int, cell: tuple[float, float], octaves: int = 3, fall: float = 0.5) -> Array:
    """Multi-octave value noise.

    Args:
        rng: Source of randomness.
        width: Pixels.
        height: Pixels.
        cell: Size of the coarsest cell, (x, y) in pixels; unequal values give streaks.
        octaves: Each has cells half as large as the one before.
        fall: Amplitude of an octave relative to the one before.

    Returns:
        (height, width) float32 of mean about 0 and standard deviation about 0.5.
    """
    out = np.zeros((height, width), np.float32)
    amplitude, total = 1.0, 0.0
    for octave in range(octaves):
        nx = min(width, max(2, round(width * 2**octave / cell[0])))
        ny = min(height, max(2, round(height * 2**octave / cell[1])))
        grid = rng.standard_normal((ny + 2, nx + 2), dtype=np.float32)
        big = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=(1, 1, nx + 1, ny + 1))
        out += amplitude * np.asarray(big)
        total += amplitude**2
        amplitude *= fall
    return out * np.float32(0.62 / np.sqrt(total))


def curve(points: Points, closed: bool = True, steps: int = 6) -> Array:
    """Catmull-Rom spline through ``points``: (n, 2) vertices of a smooth outline or line."""
    p = np.asarray(points, np.float32)
    if closed:
        p0, p1, p2, p3 = np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)
    else:
        q = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
        p0, p1, p2, p3 = q[:-3], q[1:-2], q[2:-1], q[3:]
    t = (np.arange(steps, dtype=np.float32) / steps)[None, :, None]
    a, b, c, d = (x[:, None, :] for x in (p0, p1, p2, p3))
    s = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    out = s.reshape(-1, 2)
    return out if closed else np.concatenate([out, p[-1:]])


def tube(points: Points, widths: Sequence[float], steps: int = 6) -> Array:
    """Outline of a line of varying width with round ends; ``widths`` are spread evenly along it."""
    line = curve(points, closed=False, steps=steps)
    at = np.linspace(0, 1, len(line))
    half = np.interp(at, np.linspace(0, 1, len(widths)), widths).astype(np.float32)[:, None] / 2
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    side = np.stack([-along[:, 1], along[:, 0]], axis=1)
    turn = np.linspace(0, np.pi, 7)[1:-1, None]
    cap_end = line[-1] + half[-1] * (side[-1] * np.cos(turn) + along[-1] * np.sin(turn))
    cap_start = line[0] - half[0] * (side[0] * np.cos(turn) + along[0] * np.sin(turn))
    return np.concatenate([line + half * side, cap_end, (line - half * side)[::-1], cap_start]).astype(np.float32)


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0, n: int = 20) -> Array:
    """Outline of an ellipse; ``angle`` in radians, clockwise on the screen."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    px, py = rx * np.cos(t), ry * np.sin(t)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([x + px * c - py * s, y + px * s + py * c], axis=1).astype(np.float32)


def disc(centre: Array, rx: float, ry: float, angle: float = 0.0) -> Array:
    """``ellipse`` about a point."""
    return ellipse(float(centre[0]), float(centre[1]), rx, ry, angle)


@dataclass(frozen=True)
class Part:
    """One filled outline.

    Attributes:
        outline: (n, 2) vertices.
        colour: RGB in [0, 255].
        relief: Strength of the shading that makes it look round; 0 is flat.
        texture: Strength of the mottling.
        name: What later parts may name in ``clip``.
        clip: Draw only inside the part of that name.
        soft: Width of a feathered edge, in units of the outline.
        alpha: Opacity.
    """

    outline: Array
    colour: Colour
    relief: float = 0.5
    texture: float = 0.06
    name: str = ""
    clip: str = ""
    soft: float = 0.0
    alpha: float = 1.0


@dataclass(frozen=True)
class Sprite:
    """A rendered thing.

    Attributes:
        rgb: (h, w, 3) float32 in [0, 255].
        alpha: (h, w) float32 in [0, 1].
        anchor: Pixel (x, y) in the sprite of the outline's origin.
    """

    rgb: Array
    alpha: Array
    anchor: tuple[float, float]


def moved(parts: Sequence[Part], dx: float = 0.0, dy: float = 0.0, angle: float = 0.0, zoom: float = 1.0) -> list[Part]:
    """Turn (radians, clockwise), zoom and then shift parts about their origin."""
    c, s = np.cos(angle) * zoom, np.sin(angle) * zoom
    turn = np.array([[c, s], [-s, c]], np.float32)
    return [replace(p, outline=p.outline @ turn + np.array([dx, dy], np.float32)) for p in parts]


def bounds(parts: Sequence[Part]) -> tuple[float, float, float, float]:
    """Extent (x1, y1, x2, y2) of all outlines together."""
    points = np.concatenate([p.outline for p in parts])
    lo, hi = points.min(axis=0), points.max(axis=0)
    return float(lo[0]), float(lo[1]), float(hi[0]), float(hi[1])


def _mask(outline: Array, width: int, height: int, blur: float) -> Array:
    image = Image.new("L", (width, height), 0)
    ImageDraw.Draw(image).polygon(outline.ravel().tolist(), fill=255)
    if blur > 0.4:
        image = image.filter(ImageFilter.GaussianBlur(float(blur)))
    return np.asarray(image, np.float32) / np.float32(255)


def _shade(mask: Array, light: tuple[float, float], reach: float) -> Array:
    """Brightness in about [-1, 1] of a rounded body of this silhouette, lit from direction ``light``."""
    image = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(float(reach)))
    height = np.asarray(image, np.float32) / 255
    gy, gx = (np.asarray(g, np.float32) for g in np.gradient(height))
    return -(gx * light[0] + gy * light[1]) * (reach * 1.9)


def render(
    parts: Sequence[Part],
    scale: float,
    rng: Rng,
    light: tuple[float, float] = (-0.4, -0.9),
    flip: bool = False,
    cut: float | None = None,
) -> Sprite:
    """Draw parts, first to last, into a sprite.

    Args:
        parts: What to draw.
        scale: Pixels per unit.
        rng: For the mottling.
        light: Unit vector on the screen towards the light.
        flip: Mirror left and right.
        cut: Drop everything below this y (units), with a slightly wavy edge, as a waterline does.
    """
    x1, y1, x2, y2 = bounds(parts)
    over = 4 if scale * max(x2 - x1, y2 - y1) < 60 else 3 if scale * max(x2 - x1, y2 - y1) < 120 else 2
    if flip:
        x1, x2 = -x2, -x1
    w = int(np.ceil((x2 - x1) * scale)) + 4
    h = int(np.ceil((y2 - y1) * scale)) + 4
    k = scale * over
    shift = np.array([2 * over - x1 * k, 2 * over - y1 * k], np.float32)
    sign = np.array([-1 if flip else 1, 1], np.float32)
    wide, high = w * over, h * over
    rgb = np.zeros((high, wide, 3), np.float32)
    alpha = np.zeros((high, wide), np.float32)
    grain = noise(rng, wide, high, (0.22 * k, 0.09 * k), 2, 0.8)
    kept: dict[str, tuple[Array, int, int]] = {}
    named = {p.clip for p in parts if p.clip}
    for part in parts:
        pts = part.outline * sign * np.float32(k) + shift
        pad = int(np.ceil(part.soft * k * 2)) + 1
        ax, ay = np.maximum(np.floor(pts.min(axis=0)).astype(int) - pad, 0)
        bx, by = np.ceil(pts.max(axis=0)).astype(int) + pad + 1
        bx, by = min(int(bx), wide), min(int(by), high)
        if bx <= ax or by <= ay:
            continue
        m = _mask(pts - np.array([ax, ay], np.float32), bx - ax, by - ay, part.soft * k)
        if part.clip:
            other, ox, oy = kept[part.clip]
            limit = np.zeros_like(m)
            cx1, cy1 = max(ax, ox), max(ay, oy)
            cx2, cy2 = min(bx, ox + other.shape[1]), min(by, oy + other.shape[0])
            if cx2 > cx1 and cy2 > cy1:
                limit[cy1 - ay : cy2 - ay, cx1 - ax : cx2 - ax] = other[cy1 - oy : cy2 - oy, cx1 - ox : cx2 - ox]
            m = m * limit
        if part.name in named:
            kept[part.name] = (m, int(ax), int(ay))
        tone = part.texture * grain[ay:by, ax:bx]
        if part.relief and not part.clip:
            reach = max(1.0, 0.16 * float(min(bx - ax, by - ay)))
            tone = tone + 0.34 * part.relief * _shade(m, light, reach)
        colour = np.asarray(part.colour, np.float32) * (1 + tone)[..., None] + 26 * tone[..., None]
        a = (m * part.alpha)[..., None]
        window = (slice(ay, by), slice(ax, bx))
        rgb[window] = rgb[window] * (1 - a) + colour * a
        alpha[window] = alpha[window] + a[..., 0] * (1 - alpha[window])
    if cut is not None:
        edge = cut * k + shift[1] + np.sin(np.arange(wide) / (0.08 * k) + rng.uniform(0, 6)) * 0.012 * k
        alpha *= np.arange(high)[:, None] < edge[None, :]
    rgb = rgb.clip(0, 255) * (alpha > 0)[..., None]
    # Colour under a partly transparent edge is already premultiplied: parts are laid over black.
    small_rgb = rgb.reshape(h, over, w, over, 3).mean(axis=(1, 3))
    small_alpha = alpha.reshape(h, over, w, over).mean(axis=(1, 3))
    small_rgb = small_rgb / np.maximum(small_alpha, 1e-3)[..., None]
    return Sprite(small_rgb.clip(0, 255), small_alpha, (float(shift[0]) / over, float(shift[1]) / over))


def jitter(colour: Sequence[float], rng: Rng, amount: float = 0.08) -> Colour:
    """A colour near ``colour``: brightness and each channel vary."""
    c = np.asarray(colour, np.float64) * (1 + amount * rng.normal()) * (1 + 0.4 * amount * rng.normal(size=3))
    r, g, b = (float(v) for v in c.clip(0, 255))
    return r, g, b


def mix(a: Sequence[float], b: Sequence[float], share: float) -> Colour:
    """``a`` moved towards ``b``."""
    x = [float(p) * (1 - share) + float(q) * share for p, q in zip(a, b, strict=True)]
    return x[0], x[1], x[2]


def stroke_layer(width: int, height: int, over: int = 2) -> tuple[Any, Any]:
    """An RGBA image ``over`` times as large, and its ImageDraw, for many thin strokes."""
    image = Image.new("RGBA", (width * over, height * over), (0, 0, 0, 0))
    return image, ImageDraw.Draw(image)


def lay(canvas: Array, layer: Any) -> Array:
    """Shrink an RGBA stroke layer onto ``canvas`` in place; returns its alpha (h, w)."""
    h, w = canvas.shape[:2]
    small = np.asarray(layer.convert("RGBa").resize((w, h), Image.Resampling.BOX), np.float32)
    alpha = small[..., 3] / 255
    canvas *= (1 - alpha)[..., None]
    canvas += small[..., :3]
    out: Array = alpha
    return out
