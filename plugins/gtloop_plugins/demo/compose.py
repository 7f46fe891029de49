"""Putting one of the demo's pictures together: birds, distractors and what hides them, far to near."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gtloop_plugins.demo.backgrounds import HABITATS, STAGES, Stage
from gtloop_plugins.demo.birds import Bird, make_bird
from gtloop_plugins.demo.paint import Array, Rng, Sprite, bounds, render
from gtloop_plugins.demo.species import BIRDS, Pose
from gtloop_plugins.demo.things import DISTRACTORS, OCCLUDERS, leaf


@dataclass
class Drawn:
    """A bird on the canvas: where it is, and how much of each pixel shows it."""

    species: str
    alpha: Array
    whole: float


class Painter:
    """Composes one picture: lays sprites over each other and keeps track of what still shows."""

    def __init__(self, stage: Stage, rng: Rng) -> None:
        self.stage = stage
        self.rng = rng
        self.canvas = stage.canvas
        self.birds: list[Drawn] = []
        side = rng.uniform(-0.8, 0.8)
        self.light = (float(side), float(-np.sqrt(1 - side**2)))

    def lay(self, sprite: Sprite, x: float, y: float, opacity: float = 1.0) -> Array | None:
        """Put the sprite's anchor at (x, y); returns its alpha on the canvas, None if outside."""
        h, w = self.canvas.shape[:2]
        sh, sw = sprite.alpha.shape
        left, top = round(x - sprite.anchor[0]), round(y - sprite.anchor[1])
        x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + sw, w), min(top + sh, h)
        if x2 <= x1 or y2 <= y1:
            return None
        part = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
        a = sprite.alpha[part] * opacity
        window = self.canvas[y1:y2, x1:x2]
        window += a[..., None] * (sprite.rgb[part] - window)
        alpha = np.zeros((h, w), np.float32)
        alpha[y1:y2, x1:x2] = a
        for bird in self.birds:
            bird.alpha *= 1 - alpha
        return alpha

    def overlap(self, sprite: Sprite, x: float, y: float) -> float:
        """Share of the most hidden bird's visible pixels in the box that the sprite would cover at (x, y)."""
        sh, sw = sprite.alpha.shape
        left, top = max(round(x - sprite.anchor[0]), 0), max(round(y - sprite.anchor[1]), 0)
        right, bottom = max(round(x - sprite.anchor[0]) + sw, 0), max(round(y - sprite.anchor[1]) + sh, 0)
        shares = [float(b.alpha[top:bottom, left:right].sum() / max(b.alpha.sum(), 1)) for b in self.birds]
        return max(shares, default=0.0)

    def shadow(self, x: float, y: float, wide: float) -> None:
        """Darken the ground under something ``wide`` pixels across."""
        h, w = self.canvas.shape[:2]
        rx, ry = max(wide * 0.5, 2), max(wide * 0.12, 1)
        x1, x2 = max(int(x - 2 * rx), 0), min(int(x + 2 * rx) + 1, w)
        y1, y2 = max(int(y - 2 * ry), 0), min(int(y + 2 * ry) + 1, h)
        if x2 <= x1 or y2 <= y1:
            return
        dx = (np.arange(x1, x2, dtype=np.float32) - x) / rx
        dy = (np.arange(y1, y2, dtype=np.float32) - y) / ry
        dark = 0.5 * np.exp(-1.6 * (dx[None, :] ** 2 + dy[:, None] ** 2))
        self.canvas[y1:y2, x1:x2] *= (1 - dark)[..., None]

    def reflect(self, sprite: Sprite, x: float, y: float) -> None:
        """A faint, rippled mirror image below the waterline at row ``y``."""
        ripple = np.sin(np.arange(sprite.alpha.shape[0]) * 1.1)[::-1, None]
        alpha = sprite.alpha[::-1] * (0.75 + 0.25 * ripple)
        mirrored = Sprite(sprite.rgb[::-1] * 0.8, alpha.astype(np.float32), (sprite.anchor[0], 2.0))
        self.lay(mirrored, x, y, 0.33)

    def blend(self, sprite: Sprite, x: float, y: float, share: float) -> Sprite:
        """Move a sprite's colours towards what is behind it: haze, shade, camouflage."""
        h, w = self.canvas.shape[:2]
        sh, sw = sprite.alpha.shape
        left, top = round(x - sprite.anchor[0]), round(y - sprite.anchor[1])
        window = self.canvas[max(top, 0) : max(min(top + sh, h), 0), max(left, 0) : max(min(left + sw, w), 0)]
        if not window.size:
            return sprite
        behind = window.reshape(-1, 3).mean(axis=0)
        return replace(sprite, rgb=(sprite.rgb * (1 - share) + behind * share).astype(np.float32))


def compose(rng: Rng, place: str, main: str, wanted: int, size: tuple[int, int], among: tuple[str, ...]) -> Painter:
    """Paint one attempt at a picture of ``place`` with ``wanted`` birds, the first of species ``main``.

    Fewer come out where a bird finds no room; ``Painter.birds`` holds those that did.
    """
    stage = STAGES[place](rng, *size)
    painter = Painter(stage, rng)
    unit = min(size) / 240
    flock = rng.random() < 0.5
    typical = float(np.exp(rng.normal(np.log(38), 0.5)))
    locals_here = [s for s in among if place in HABITATS[s]]
    jobs: list[tuple[float, int, str, str]] = []
    for i in range(wanted):
        name = main if i == 0 or flock else locals_here[int(rng.integers(len(locals_here)))]
        jobs.append((_depth(rng), i, "bird", name))
    for i in range(int(rng.poisson(3))):
        jobs.append((_depth(rng), i, "thing", ""))
    # Far things first; a depth is a share of the way from the horizon to the viewer.
    for depth, _, kind, name in sorted(jobs):
        if kind == "bird":
            _place_bird(painter, rng, name, depth, typical * unit)
        else:
            _place_thing(painter, rng, depth, unit)
    if rng.random() < 0.25 and stage.name in ("lake", "meadow", "beach"):
        _occlude(painter, rng, rng.uniform(0, size[0]), size[1] * rng.uniform(0.7, 1.0), 90 * unit, "water")
    return painter


def _depth(rng: Rng) -> float:
    return float(rng.beta(1.6, 1.6))


def _spot(painter: Painter, rng: Rng, zone: str, depth: float, margin: float) -> tuple[float, float]:
    """A place for feet (or for the body, in the air) in a zone."""
    w = painter.canvas.shape[1]
    x = float(rng.uniform(margin, w - margin)) if w > 2 * margin else w / 2
    if zone == "perch":
        lines = painter.stage.perches
        x1, y1, x2, y2 = lines[int(rng.integers(len(lines)))]
        lo, hi = max(min(x1, x2) + 4, margin * 0.6), min(max(x1, x2) - 4, w - margin * 0.6)
        x = float(rng.uniform(lo, hi)) if hi > lo else (x1 + x2) / 2
        return x, y1 + (y2 - y1) * (x - x1) / (x2 - x1)
    top, bottom = painter.stage.zones[zone]
    return x, top + (bottom - top) * (depth if zone != "air" else float(rng.random()))


def _free_spot(
    painter: Painter, rng: Rng, zone: str, depth: float, margin: float, sprite: Sprite
) -> tuple[float, float]:
    """A spot where the sprite hides little of the birds behind it; birds still overlap now and then."""
    worst = float(rng.choice([0.05, 0.05, 0.45]))
    spots = [_spot(painter, rng, zone, depth, margin) for _ in range(8)]
    hidden = [painter.overlap(sprite, x, y) for x, y in spots]
    for spot, share in zip(spots, hidden, strict=True):
        if share <= worst:
            return spot
    return spots[int(np.argmin(hidden))]


def _place_bird(painter: Painter, rng: Rng, name: str, depth: float, typical: float) -> None:
    stage = painter.stage
    poses = [p for p in BIRDS[name].poses if stage.zone_of(p)]
    if name == "heron" and "water" in stage.zones:
        poses.append("stand")
    if not poses:
        return
    pose: Pose = poses[int(rng.integers(len(poses)))]
    zone = stage.zone_of(pose)
    if name == "heron" and pose == "stand" and "water" in stage.zones and (zone is None or rng.random() < 0.7):
        zone = "water"
    assert zone is not None
    bird = make_bird(name, pose, rng)
    x1, y1, x2, y2 = bounds(bird.parts)
    near = (0.55 + 0.85 * depth) if zone in ("ground", "water") else 1.0
    extent = typical * near * BIRDS[name].size * 1.45 * float(np.exp(rng.normal(0, 0.18)))
    extent = float(np.clip(extent, 15, 0.72 * min(painter.canvas.shape[:2])))
    scale = extent / max(x2 - x1, y2 - y1)
    _lay_bird(painter, rng, name, bird, zone, depth, scale, extent)


def _lay_bird(
    painter: Painter, rng: Rng, name: str, bird: Bird, zone: str, depth: float, scale: float, extent: float
) -> None:
    flip = bool(rng.random() < 0.5)
    cut = bird.cut
    wading = zone == "water" and cut is None
    if wading:
        cut = bird.foot[1] - 0.35 * BIRDS[name].leg[0] * float(rng.uniform(0.5, 1.2))
    sprite = render(bird.parts, scale, rng, painter.light, flip, cut)
    dx = bird.foot[0] * (-1 if flip else 1)
    dy = cut if cut is not None else bird.foot[1]
    sprite = replace(sprite, anchor=(sprite.anchor[0] + dx * scale, sprite.anchor[1] + dy * scale))
    x, y = _free_spot(painter, rng, zone, depth, extent * 0.45, sprite)
    if cut is not None:
        bottom = int(np.ceil(sprite.anchor[1])) + 2
        sprite = replace(sprite, rgb=sprite.rgb[:bottom], alpha=sprite.alpha[:bottom])
        painter.reflect(sprite, x, y)
    elif zone == "ground":
        painter.shadow(x, y, extent * 0.5)
    if rng.random() < 0.6:
        sprite = painter.blend(sprite, x, y, float(rng.beta(1.5, 3)) * 0.9)
    alpha = painter.lay(sprite, x, y)
    if alpha is None:
        return
    # Birds cut by the picture's edge count what is outside as hidden.
    whole = float((sprite.alpha > 0.5).sum())
    painter.birds.append(Drawn(name, alpha, whole))
    if rng.random() < 0.45:
        cover = _kind_of(painter.stage, zone)
        centre_y = y - sprite.anchor[1] + sprite.alpha.shape[0] / 2
        hidden_y = centre_y if zone in ("air", "perch") else y + 0.1 * extent
        _occlude(painter, rng, x + extent * float(rng.normal(0, 0.22)), hidden_y, extent, cover)


def _kind_of(stage: Stage, zone: str) -> str:
    """Which distractors and occluders belong in a zone."""
    if zone == "ground" and stage.paved:
        return "paved"
    return "wall" if zone == "air" and stage.name in ("town", "forest") else zone


def _occlude(painter: Painter, rng: Rng, x: float, y: float, extent: float, zone: str) -> None:
    """Put something in front of the place (x, y)."""
    if zone == "air":
        return
    kinds = OCCLUDERS[zone]
    parts = kinds[int(rng.integers(len(kinds)))](rng, painter.stage.leaf_tone)
    scale = extent * float(rng.uniform(0.55, 1.05))
    painter.lay(render(parts, scale, rng, painter.light), x, y)


def _place_thing(painter: Painter, rng: Rng, depth: float, unit: float) -> None:
    zones = list(painter.stage.zones) + (["perch"] if painter.stage.perches else [])
    zone = zones[int(rng.integers(len(zones)))]
    kinds = DISTRACTORS[_kind_of(painter.stage, zone)]
    make = kinds[int(rng.integers(len(kinds)))]
    near = (0.5 + 0.9 * depth) if zone in ("ground", "water") else 1.0
    scale = float(np.exp(rng.normal(np.log(34), 0.4))) * unit * near * (0.55 if make is leaf else 1.0)
    x, y = _spot(painter, rng, zone, depth, scale * 0.5)
    if zone == "ground":
        painter.shadow(x, y, scale * 0.7)
    painter.lay(render(make(rng), scale, rng, painter.light, bool(rng.random() < 0.5)), x, y)
