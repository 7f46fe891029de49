"""The demo's places: sky, lake, meadow, forest, beach and town, painted with noise and strokes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter

from gtloop_plugins.demo.paint import Array, Colour, Rng, jitter, lay, mix, noise, stroke_layer
from gtloop_plugins.demo.species import Pose

SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((92, 150, 214), (196, 218, 234)),
    ((130, 160, 188), (214, 218, 220)),
    ((70, 110, 176), (240, 196, 150)),
    ((168, 176, 184), (206, 208, 210)),
    ((110, 140, 190), (236, 214, 206)),
)


@dataclass
class Stage:
    """A place, and where on it birds can be.

    Attributes:
        name: Of the place.
        canvas: (h, w, 3) float32 in [0, 255]; what is drawn next goes over it.
        zones: Zone to its pixel rows (top, bottom); for ``ground`` and ``water`` where feet can be.
        perches: Lines (x1, y1, x2, y2) to sit on.
        leaf_tone: Colour of plants in the foreground.
        paved: Whether the ground is built on.
    """

    name: str
    canvas: Array
    zones: dict[str, tuple[float, float]] = field(default_factory=dict)
    perches: list[tuple[float, float, float, float]] = field(default_factory=list)
    leaf_tone: Colour = (90, 120, 60)
    paved: bool = False

    def zone_of(self, pose: Pose) -> str | None:
        """The zone where a bird in that pose belongs, or None where there is no such place here."""
        zone = {"fly": "air", "swim": "water", "stand": "ground", "perch": "perch"}[pose]
        if zone == "perch":
            return zone if self.perches else None
        return zone if zone in self.zones else None


def _rows(height: int) -> Array:
    return np.linspace(0, 1, height, dtype=np.float32)[:, None, None]


def _mean(rows: Array) -> Colour:
    r, g, b = (float(v) for v in rows.reshape(-1, 3).mean(axis=0))
    return r, g, b


def _blur(canvas: Array, radius: float) -> Array:
    image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.array(image, np.float32)


def _gradient(top: Colour, bottom: Colour, width: int, height: int) -> Array:
    t = _rows(height)
    column = np.array(top, np.float32) * (1 - t) + np.array(bottom, np.float32) * t
    return np.repeat(column, width, axis=1).astype(np.float32)


def _sky(rng: Rng, w: int, h: int) -> Array:
    top, low = SKIES[int(rng.integers(len(SKIES)))]
    out = _gradient(jitter(top, rng), jitter(low, rng, 0.04), w, max(h, 2))
    cover = rng.uniform(-0.3, 0.55)
    puff = noise(rng, w, max(h, 2), (w * 0.5, max(h, 2) * 0.3 + 12), 5, 0.55)
    amount = (((puff + cover - 0.25) * 1.8).clip(0, 1) * rng.uniform(0.5, 0.95))[..., None]
    lit = 226 + 24 * np.roll(puff, 4, axis=0)[..., None]
    return np.asarray(out * (1 - amount) + lit * amount, np.float32)


def _treeline(canvas: Array, rng: Rng, base: float, height: float, tone: Colour) -> None:
    """Far trees: a dark ragged band whose foot is at row ``base``."""
    h, w = canvas.shape[:2]
    top = base - height * (0.6 + 0.5 * noise(rng, w, 2, (w * 0.2, 2), 5, 0.6)[0].clip(-1, 1))
    yy = np.arange(h, dtype=np.float32)[:, None]
    band = ((yy - top[None, :]).clip(0, 1) * (yy <= base))[..., None]
    bush = noise(rng, w, h, (18, 12), 3, 0.7)[..., None]
    canvas += band * (np.array(tone, np.float32) * (1 + 0.3 * bush) - canvas)


def _texture(
    rng: Rng, tone: Colour, w: int, h: int, cell: tuple[float, float], amount: float, octaves: int = 4
) -> Array:
    base = np.array(tone, np.float32)
    tint = noise(rng, w, h, (w * 0.4, h * 0.4 + 8), 2)[..., None] * np.array([0.1, 0.03, -0.08], np.float32)
    return np.asarray(base * (1 + amount * noise(rng, w, h, cell, octaves, 0.75)[..., None] + tint), np.float32)


def _blades(canvas: Array, rng: Rng, tone: Colour, top: float, n: int, length: float) -> None:
    """Grass: many short strokes, longer towards the viewer."""
    h, w = canvas.shape[:2]
    image, draw = stroke_layer(w, h)
    ys = np.sort(top + (h * 1.05 - top) * rng.random(n))
    for y in ys:
        near = (y - top) / max(h - top, 1)
        x, long = rng.uniform(0, w), length * (0.25 + near) * rng.uniform(0.5, 1.3)
        r, g, b = (int(v) for v in jitter(tone, rng, 0.2))
        lean = rng.normal(0, 0.35) * long
        ends = (2 * x, 2 * y, 2 * (x + lean), 2 * (y - long))
        draw.line(ends, fill=(r, g, b, 210), width=1 + int(near * 2))
    lay(canvas, image)


def _branches(canvas: Array, rng: Rng, n: int, tone: Colour, thick: float) -> list[tuple[float, float, float, float]]:
    """Boughs across the picture; returns the lines along their upper edges."""
    h, w = canvas.shape[:2]
    lines = []
    image, draw = stroke_layer(w, h)
    for i in range(n):
        y1 = h * (0.3 + 0.6 * (i + rng.uniform(0.1, 0.9)) / n)
        y2 = y1 + rng.normal(0, 0.1) * h
        x1, x2 = (-5.0, w * rng.uniform(0.6, 1.1)) if rng.random() < 0.5 else (w * rng.uniform(-0.1, 0.4), w + 5.0)
        wide = max(2.0, thick * rng.uniform(0.6, 1.4) * h / 240)
        for layer, share in ((0.0, 1.0), (-0.25, 0.55)):
            colour = tuple(int(v) for v in mix(tone, (200, 190, 170), 0.0 if share == 1 else 0.22))
            off = layer * wide
            draw.line(
                (2 * x1, 2 * (y1 + off), 2 * x2, 2 * (y2 + off)),
                fill=(*colour, 255),
                width=max(1, int(2 * wide * share)),
            )
        for _ in range(int(rng.integers(2, 6))):
            t, long = rng.uniform(0.1, 0.9), rng.uniform(0.06, 0.2) * h
            x, y, slope = x1 + (x2 - x1) * t, y1 + (y2 - y1) * t, rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.4)
            ends = (2 * x, 2 * y, 2 * (x + long), 2 * (y + slope * long))
            draw.line(ends, fill=(*(int(v) for v in tone), 255), width=max(2, int(wide * 0.7)))
        lines.append((x1, y1 - wide * 0.5, x2, y2 - wide * 0.5))
    lay(canvas, image)
    return lines


def sky(rng: Rng, w: int, h: int) -> Stage:
    """Open sky, with wires or a few bare boughs or a far treeline."""
    canvas = _sky(rng, w, h)
    stage = Stage("sky", canvas, {"air": (0.08 * h, 0.9 * h)})
    if rng.random() < 0.5:
        _treeline(canvas, rng, h, h * rng.uniform(0.08, 0.25), jitter((70, 90, 76), rng, 0.15))
        stage.zones["air"] = (0.08 * h, 0.75 * h)
    if rng.random() < 0.6:
        tone = jitter((74, 60, 50), rng)
        stage.perches = _branches(canvas, rng, int(rng.integers(1, 4)), tone, rng.choice([1.4, 6.0]))
    return stage


def lake(rng: Rng, w: int, h: int) -> Stage:
    """Water under a strip of sky, with a far shore."""
    shore = h * rng.uniform(0.12, 0.38)
    canvas = np.empty((h, w, 3), np.float32)
    canvas[:] = 0
    air = _sky(rng, w, int(shore) + 1)
    canvas[: len(air)] = air
    deep = jitter(((66, 104, 128), (84, 112, 104), (120, 144, 164), (60, 84, 96))[int(rng.integers(4))], rng)
    n = h - int(shore)
    mirror = _gradient(_mean(air[-3:]), _mean(air[:3]), w, n)
    water = _gradient(mix(deep, (220, 226, 230), 0.25), deep, w, n) * 0.72 + mirror * 0.28
    streaks = noise(rng, w, n, (w * 0.16, 7), 3, 0.8) * 0.7 + noise(rng, w, n, (w * 0.6, 26), 2) * 0.6
    near = np.linspace(0.35, 1, n, dtype=np.float32)[:, None]
    water = water * (1 + rng.uniform(0.07, 0.2) * (streaks * near)[..., None])
    glints = (noise(rng, w, n, (14, 4), 2, 0.9) > rng.uniform(1.1, 1.6)) * near
    canvas[int(shore) :] = water + 60 * glints[..., None]
    _treeline(canvas, rng, shore + 1, h * rng.uniform(0.04, 0.14), jitter((66, 92, 66), rng, 0.2))
    stage = Stage("lake", canvas, {"air": (0.08 * h, shore + 0.08 * h), "water": (shore + 0.1 * h, 0.97 * h)})
    stage.leaf_tone = jitter((124, 132, 66), rng, 0.15)
    if rng.random() < 0.45:
        bank = h * rng.uniform(0.78, 0.9)
        stage.zones["water"] = (shore + 0.08 * h, bank - 0.02 * h)
        edge = bank + 4 * noise(rng, w, 2, (w * 0.2, 2), 3)[0]
        inside = (np.arange(h, dtype=np.float32)[:, None] - edge[None, :]).clip(0, 1)[..., None]
        tone = jitter(((118, 108, 84), (92, 112, 60))[int(rng.integers(2))], rng)
        canvas += inside * (_texture(rng, tone, w, h, (24, 10), 0.28) - canvas)
        stage.zones["ground"] = (bank + 0.04 * h, h)
    return stage


def meadow(rng: Rng, w: int, h: int) -> Stage:
    """Grass with flowers under a strip of sky and hills."""
    horizon = h * rng.uniform(0.0, 0.42)
    canvas = np.empty((h, w, 3), np.float32)
    air = _sky(rng, w, int(horizon) + 2)
    canvas[: len(air)] = air
    tone = jitter(((104, 138, 62), (130, 142, 74), (150, 142, 84), (84, 122, 58))[int(rng.integers(4))], rng)
    canvas[int(horizon) :] = _texture(rng, tone, w, h - int(horizon), (26, 9), 0.2)
    if horizon > 0.1 * h:
        _treeline(
            canvas, rng, horizon + 1, h * rng.uniform(0.05, 0.18), mix(jitter((70, 104, 66), rng), (190, 205, 215), 0.3)
        )
    _blades(canvas, rng, tone, horizon, int(700 * w * h / 76800), 0.07 * h)
    image, draw = stroke_layer(w, h)
    petals = [tuple(int(v) for v in jitter(c, rng)) for c in ((240, 214, 60), (244, 244, 240), (196, 70, 90))]
    for _ in range(int(rng.integers(0, 50))):
        x, y = rng.uniform(0, 2 * w), 2 * (horizon + (h - horizon) * rng.random())
        r = 1 + 3.2 * (y / 2 - horizon) / h
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(*petals[int(rng.integers(3))], 235))
    lay(canvas, image)
    stage = Stage("meadow", canvas, {"ground": (horizon + 0.16 * h, 0.98 * h)}, leaf_tone=tone)
    if horizon > 0.22 * h:
        stage.zones["air"] = (0.05 * h, horizon + 0.1 * h)
    if rng.random() < 0.35:
        stage.perches = _fence(canvas, rng, h * rng.uniform(0.4, 0.65))
    return stage


def _fence(canvas: Array, rng: Rng, y: float) -> list[tuple[float, float, float, float]]:
    h, w = canvas.shape[:2]
    image, draw = stroke_layer(w, h)
    tone = jitter((136, 116, 94), rng)
    wood, dark = (tuple(int(v) for v in mix(tone, (30, 24, 20), s)) for s in (0.0, 0.35))
    gap, thick = w * rng.uniform(0.2, 0.34), h * 0.022
    slope = rng.normal(0, 0.03) * h
    for off in (0.0, 0.13 * h):
        draw.line((0, 2 * (y + off), 2 * w, 2 * (y + off + slope)), fill=(*wood, 255), width=int(2 * thick))
        low = y + off + thick * 0.5
        draw.line((0, 2 * low, 2 * w, 2 * (low + slope)), fill=(*dark, 255), width=2)
    x = rng.uniform(0, gap)
    while x < w:
        top = y - 0.05 * h + slope * x / w
        draw.rectangle((2 * (x - thick), 2 * top, 2 * (x + thick), 2 * (top + 0.34 * h)), fill=(*wood, 255))
        draw.rectangle((2 * (x + thick * 0.5), 2 * top, 2 * (x + thick), 2 * (top + 0.34 * h)), fill=(*dark, 255))
        x += gap
    lay(canvas, image)
    return [(0.0, y - thick, float(w), y - thick + slope)]


def forest(rng: Rng, w: int, h: int) -> Stage:
    """Blurred greenery with spots of light, trunks, and boughs to sit on."""
    tone = jitter(((58, 88, 48), (84, 104, 56), (96, 82, 50), (48, 72, 60))[int(rng.integers(4))], rng)
    canvas = _texture(rng, tone, w, h, (60, 60), 0.55, 4)
    image, draw = stroke_layer(w, h)
    for _ in range(int(rng.integers(15, 60))):
        x, y, r = rng.uniform(0, 2 * w), rng.uniform(0, 1.6 * h), rng.uniform(4, 26) * h / 240
        glow = tuple(int(v) for v in mix(jitter(tone, rng, 0.2), (246, 240, 190), rng.uniform(0.2, 0.6)))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(*glow, int(rng.integers(40, 120))))
    bark = jitter((74, 60, 50), rng, 0.15)
    for _ in range(int(rng.integers(1, 5))):
        x, half = rng.uniform(0, 2 * w), rng.uniform(6, 34) * h / 240
        lean = rng.normal(0, 20)
        colour = tuple(int(v) for v in mix(bark, tone, rng.uniform(0, 0.6)))
        draw.polygon((x - half, 0, x + half, 0, x + half + lean, 2 * h, x - half + lean, 2 * h), fill=(*colour, 255))
    lay(canvas, image)
    canvas = _blur(canvas, rng.uniform(1.2, 4.0) * h / 240)
    canvas *= 1 + 0.1 * noise(rng, w, h, (5, 5), 2)[..., None]
    perches = _branches(canvas, rng, int(rng.integers(2, 5)), bark, 6.5)
    _sprays(canvas, rng, tone, int(rng.integers(20, 110)))
    return Stage("forest", canvas, {"air": (0.1 * h, 0.85 * h)}, perches, leaf_tone=mix(tone, (140, 190, 80), 0.4))


def _sprays(canvas: Array, rng: Rng, tone: Colour, n: int) -> None:
    """Leaves of clumped twigs, as strokes."""
    h, w = canvas.shape[:2]
    image, draw = stroke_layer(w, h)
    centres = rng.uniform(0, 1, (6, 2)) * (2 * w, 2 * h)
    for _ in range(n):
        x, y = centres[int(rng.integers(6))] + rng.normal(0, 0.14, 2) * h * 2
        long, turn = rng.uniform(6, 16) * h / 240, rng.uniform(0, 6.28)
        dx, dy = long * np.cos(turn), long * np.sin(turn) * 0.6
        colour = tuple(int(v) for v in jitter(mix(tone, (150, 190, 80), 0.35), rng, 0.2))
        shape = (x - dx, y - dy, x - dy * 0.4, y + dx * 0.35, x + dx, y + dy, x + dy * 0.4, y - dx * 0.35)
        draw.polygon(shape, fill=(*colour, 255))
    lay(canvas, image)


def beach(rng: Rng, w: int, h: int) -> Stage:
    """Sand with pebbles, the sea and its surf behind."""
    horizon, surf = h * rng.uniform(0.08, 0.26), h * rng.uniform(0.34, 0.52)
    canvas = np.empty((h, w, 3), np.float32)
    air = _sky(rng, w, int(horizon) + 2)
    canvas[: len(air)] = air
    sea = jitter(((62, 118, 146), (92, 132, 142), (70, 96, 120))[int(rng.integers(3))], rng)
    tone = jitter(((206, 186, 148), (184, 168, 140), (160, 150, 138))[int(rng.integers(3))], rng, 0.06)
    sand = _texture(rng, tone, w, h, (40, 12), 0.09, 5) * (1 + 0.05 * rng.standard_normal((h, w, 1), dtype=np.float32))
    water = _gradient(mix(sea, (20, 40, 60), 0.15), mix(sea, (230, 240, 236), 0.2), w, h)
    water *= 1 + 0.12 * noise(rng, w, h, (w * 0.25, 6), 3, 0.8)[..., None]
    edge = surf + 7 * noise(rng, w, 2, (w * 0.4, 2), 3)[0]
    yy = np.arange(h, dtype=np.float32)[:, None]
    on_sand = (yy - edge[None, :]).clip(0, 1)[..., None]
    body = water * (1 - on_sand) + sand * on_sand
    foam = np.exp(-(((yy - edge[None, :] + 3) / 4.0) ** 2)) + 0.6 * np.exp(-(((yy - edge[None, :] + 17) / 3.0) ** 2))
    foam = (foam * (0.75 + 0.6 * noise(rng, w, h, (9, 5), 2))).clip(0, 1)[..., None]
    wet = (np.exp(-((yy - edge[None, :]).clip(0) / 14)) * 0.22)[..., None] * on_sand
    body = body * (1 - wet) * (1 - foam) + 246 * foam
    canvas[int(horizon) :] = body[int(horizon) :]
    image, draw = stroke_layer(w, h)
    for _ in range(int(rng.integers(10, 90))):
        y = 2 * (surf + (h - surf) * rng.random() + 6)
        x, r = rng.uniform(0, 2 * w), (1 + 4 * (y / 2 - surf) / h) * rng.uniform(0.5, 1.4)
        colour = tuple(int(v) for v in jitter(mix(tone, (70, 64, 60), rng.uniform(0.2, 0.8)), rng))
        draw.ellipse((x - r, y - r * 0.6, x + r, y + r * 0.6), fill=(*colour, 255))
    lay(canvas, image)
    zones = {
        "air": (0.08 * h, horizon + 0.12 * h),
        "water": (horizon + 0.1 * h, surf - 0.04 * h),
        "ground": (surf + 0.1 * h, 0.98 * h),
    }
    return Stage("beach", canvas, zones, leaf_tone=jitter((150, 156, 96), rng))


def town(rng: Rng, w: int, h: int) -> Stage:
    """A brick or plaster wall with a ledge, over pavement."""
    floor = h * rng.uniform(0.6, 0.8)
    wall = jitter(
        ((158, 92, 72), (176, 168, 156), (132, 128, 126), (198, 184, 150), (110, 74, 62))[int(rng.integers(5))], rng
    )
    canvas = _texture(rng, wall, w, h, (70, 50), 0.12, 5)
    if rng.random() < 0.65:
        _bricks(canvas, rng, wall, floor)
    if rng.random() < 0.6:
        _window(canvas, rng, floor)
    ground = jitter(((140, 138, 134), (112, 110, 110), (168, 160, 148))[int(rng.integers(3))], rng)
    pavement = _texture(rng, ground, w, h - int(floor), (30, 8), 0.12, 5)
    canvas[int(floor) :] = pavement
    canvas[int(floor) - 2 : int(floor) + 2] *= 0.55
    image, draw = stroke_layer(w, h)
    middle = rng.uniform(0.3, 0.7) * w
    for i in range(-6, 7):
        ends = (2 * (middle + i * w * 0.09), 2 * floor, 2 * (middle + i * w * 0.34), 2 * h)
        draw.line(ends, fill=(40, 40, 40, 90), width=2)
    for row in (0.3, 0.75):
        y = 2 * (floor + (h - floor) * row)
        draw.line((0, y, 2 * w, y), fill=(40, 40, 40, 90), width=2)
    y, thick = h * rng.uniform(0.3, 0.5), h * 0.03
    slab = tuple(int(v) for v in mix(wall, (220, 216, 206), 0.55))
    draw.rectangle((0, 2 * y, 2 * w, 2 * (y + thick)), fill=(*slab, 255))
    draw.rectangle((0, 2 * (y + thick), 2 * w, 2 * (y + thick * 1.7)), fill=(20, 18, 18, 110))
    lay(canvas, image)
    zones = {"ground": (floor + 0.08 * h, 0.98 * h), "air": (0.1 * h, floor - 0.1 * h)}
    return Stage("town", canvas, zones, [(0.0, y + 1, float(w), y + 1)], jitter((96, 116, 64), rng), True)


def _bricks(canvas: Array, rng: Rng, wall: Colour, floor: float) -> None:
    h, w = canvas.shape[:2]
    image, draw = stroke_layer(w, h)
    high = h * rng.uniform(0.035, 0.06)
    wide, mortar = high * rng.uniform(2.0, 2.8), tuple(int(v) for v in mix(wall, (206, 200, 190), 0.5))
    for row in range(int(floor / high) + 1):
        y = 2 * row * high
        x = -2 * wide * (0.5 if row % 2 else 0.0)
        while x < 2 * w:
            colour = tuple(int(v) for v in jitter(wall, rng, 0.09))
            draw.rectangle((x, y, x + 2 * wide, y + 2 * high), fill=(*colour, 150), outline=(*mortar, 230))
            x += 2 * wide
    lay(canvas, image)


def _window(canvas: Array, rng: Rng, floor: float) -> None:
    h, w = canvas.shape[:2]
    image, draw = stroke_layer(w, h)
    x, y = rng.uniform(0.05, 0.6) * w * 2, rng.uniform(0.0, 0.15) * h * 2
    wide, high = rng.uniform(0.2, 0.34) * w * 2, (floor * 2 - y) * rng.uniform(0.5, 0.8)
    glass = tuple(int(v) for v in jitter((74, 92, 108), rng, 0.2))
    frame = tuple(int(v) for v in jitter((226, 222, 212), rng))
    draw.rectangle((x, y, x + wide, y + high), fill=(*glass, 255), outline=(*frame, 255), width=6)
    draw.polygon(
        (x + 6, y + high * 0.6, x + wide * 0.6, y + 6, x + wide * 0.85, y + 6, x + 6, y + high * 0.9), fill=(*frame, 40)
    )
    draw.line((x + wide / 2, y, x + wide / 2, y + high), fill=(*frame, 255), width=5)
    draw.line((x, y + high / 2, x + wide, y + high / 2), fill=(*frame, 255), width=5)
    lay(canvas, image)


STAGES: dict[str, Callable[[Rng, int, int], Stage]] = {
    "sky": sky,
    "lake": lake,
    "meadow": meadow,
    "forest": forest,
    "beach": beach,
    "town": town,
}

HABITATS: dict[str, tuple[str, ...]] = {
    "heron": ("lake", "lake", "meadow", "beach", "sky"),
    "duck": ("lake", "lake", "meadow", "beach", "sky"),
    "gull": ("beach", "beach", "lake", "sky", "town", "meadow"),
    "robin": ("forest", "forest", "meadow", "town", "meadow", "sky"),
    "crow": ("meadow", "town", "sky", "forest", "beach"),
    "parrot": ("forest", "forest", "sky", "town"),
}
"""Where a species is found; a place that stands twice is twice as likely."""
