"""The birds of the demo, drawn from their proportions in any pose.

A bird is drawn facing right, its body 1 long and centred at the origin, y down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gtloop_plugins.demo.paint import Array, Colour, Part, Rng, curve, disc, ellipse, jitter, mix, tube
from gtloop_plugins.demo.species import BIRDS, Plumage, Pose, Species


@dataclass(frozen=True)
class Bird:
    """A posed bird.

    Attributes:
        parts: What to draw.
        foot: Point (units) that stands on the ground or branch; the body's centre in flight.
        cut: Waterline (units) below which nothing is drawn, for a swimming bird.
    """

    parts: tuple[Part, ...]
    foot: tuple[float, float]
    cut: float | None = None


def _wing(s: Species, look: Plumage, root: Array, along: Array, chord: Array, far: bool, tag: str) -> list[Part]:
    """An open wing: ``along`` points to its tip (length = span), ``chord`` forward (length = chord)."""
    shade = 0.72 if far else 1.0

    def at(pairs: list[tuple[float, float]]) -> Array:
        return np.array([root + u * along + v * chord for u, v in pairs], np.float32)

    front = [(0.0, 0.55), (0.2, 0.62), (0.42, 0.74), (0.62, 0.58), (0.84, 0.2)]
    if s.fingers:
        tips: list[tuple[float, float]] = []
        for i in range(s.fingers):
            f = i / max(s.fingers - 1, 1)
            reach, back = 1.0 - 0.14 * f, -0.02 - 0.5 * f
            tips += [(reach, back + 0.04), (reach - 0.015, back - 0.06), (reach - 0.15, back - 0.06)]
        outline = at([*front, *tips, (0.5, -0.58), (0.3, -0.6), (0.12, -0.55), (0.0, -0.45)])
    else:
        outline = curve(at([*front, (1.0, -0.36), (0.8, -0.3), (0.58, -0.42), (0.34, -0.5), (0.0, -0.48)]), steps=4)

    def dim(name: str) -> Colour:
        return mix((0, 0, 0), look[name], shade)

    parts = [Part(outline, dim("flight"), 0.45, 0.1, name=tag)]
    parts.append(Part(at([(0.62, 1.0), (1.2, 1.0), (1.2, -1.2), (0.74, -1.2)]), dim("tip"), 0, clip=tag, soft=0.02))
    cover = [(-0.05, 0.9), (0.42, 1.0), (0.72, 0.6), (0.66, 0.18), (0.4, 0.08), (0.15, -0.02), (-0.05, -0.1)]
    parts.append(Part(curve(at(cover), steps=4), dim("wing"), 0, 0.12, clip=tag, soft=0.015))
    if "patch" in look:
        band = [(0.1, -0.1), (0.42, -0.02), (0.44, -0.26), (0.1, -0.34)]
        parts.append(Part(at(band), dim("patch"), 0, clip=tag))
    line = mix(look["flight"], (0, 0, 0), 0.45 if sum(look["flight"]) > 150 else 0.0)
    for u in np.linspace(0.14, 0.86, 8):
        ends = at([(float(u) * 0.92, 0.05), (float(u) * 1.06, -0.9)])
        parts.append(Part(tube(ends, (0.012, 0.012), 1), line, 0, clip=tag, alpha=0.4))
    return parts


def _bill(s: Species, look: Plumage, tip_of_head: Array, aim: float, rng: Rng) -> list[Part]:
    length, depth = s.bill
    f = np.array([np.cos(aim), np.sin(aim)], np.float32)
    d = np.array([-f[1], f[0]], np.float32)

    def at(pairs: list[tuple[float, float]]) -> Array:
        return np.array([tip_of_head + u * length * f + v * depth * d for u, v in pairs], np.float32)

    dark = mix(look["bill"], (20, 16, 14), 0.45)
    if s.bill_kind == "flat":
        shape = curve(at([(-0.3, -0.6), (0.3, -0.15), (0.85, -0.2), (1.05, 0.1), (0.8, 0.36), (-0.3, 0.5)]), steps=4)
        return [Part(shape, look["bill"], 0.5), Part(at([(0, 0.1), (0.95, 0.14), (0, 0.2)]), dark, 0, alpha=0.7)]
    if s.bill_kind == "hook":
        upper = [(-0.35, -0.55), (0.3, -0.6), (0.85, -0.2), (0.95, 0.4), (0.72, 0.85), (0.62, 0.3), (-0.3, 0.3)]
        lower = [(-0.2, 0.15), (0.5, 0.3), (0.4, 0.62), (-0.2, 0.6)]
        return [Part(curve(at(lower), steps=4), dark, 0.3), Part(curve(at(upper), steps=4), look["bill"], 0.5)]
    if s.bill_kind == "stout":
        shape = curve(at([(-0.3, -0.5), (0.35, -0.48), (0.8, -0.3), (1.02, 0.2), (0.6, 0.38), (-0.3, 0.5)]), steps=4)
        parts = [Part(shape, look["bill"], 0.5), Part(at([(-0.1, 0.02), (0.9, 0.12), (-0.1, 0.1)]), dark, 0)]
        if look["bill"][0] > 200:
            spot = at([(0.75, 0.25)])[0]
            parts.append(Part(ellipse(float(spot[0]), float(spot[1]), 0.018, 0.014), (196, 48, 36), 0))
        return parts
    gape = 0.28 if rng.random() < 0.2 else 0.0
    upper_thin = at([(-0.3, -0.5), (0.3, -0.35), (1.0, 0.0 - gape), (-0.2, 0.06)])
    lower_thin = at([(-0.3, 0.5), (0.3, 0.36), (0.97, 0.02 + gape), (-0.2, -0.04)])
    return [Part(lower_thin, dark, 0.2), Part(upper_thin, look["bill"], 0.3)]


def _legs(s: Species, look: Plumage, hip: Array, lean: float, rng: Rng, perched: bool) -> tuple[list[Part], Array]:
    """Both legs, and the point on the ground between the feet."""
    length, width = s.leg
    parts, feet = [], []
    stride = 0.0 if perched else rng.uniform(0.03, 0.16) * (1 if length > 0.2 else 0.5)
    for side in (-1, 1):
        far = side < 0
        colour = mix(look["leg"], (0, 0, 0), 0.35 if far else 0.0)
        top = hip + np.array([0.03 * side, -0.06], np.float32)
        foot = hip + np.array([lean + side * stride, length], np.float32)
        knee = (top + foot) / 2 + np.array([-0.1 * length, 0.0], np.float32)
        parts.append(Part(tube([top, knee, foot], (width * 2.4, width, width), 4), colour, 0.3))
        reach = 0.07 if perched else 0.16
        toes = ((1.0, 0.1), (0.9, 0.25), (-0.5, 0.1)) if not perched else ((0.5, 0.6), (-0.3, 0.7))
        for dx, dy in toes:
            toe = foot + np.array([dx * reach, dy * reach * 0.6], np.float32)
            parts.append(Part(tube([foot, toe], (width, width * 0.7), 1), colour, 0.2))
        if s.bill_kind == "flat" and not perched:
            web = np.array([(0, 0), (0.17, 0.02), (0.12, 0.06), (-0.02, 0.03)], np.float32) + foot
            parts.append(Part(web, colour, 0.2))
        feet.append(foot)
    return parts, (feet[0] + feet[1]) / 2


def make_bird(name: str, pose: Pose, rng: Rng) -> Bird:
    """Draw one bird: form, colours, build and posture are varied by ``rng``."""
    s = BIRDS[name]
    look = _plumage(s, rng)
    flying, swimming = pose == "fly", pose == "swim"
    depth = s.depth * rng.uniform(0.92, 1.1)
    tilt = rng.normal(6, 9) if flying else (rng.normal(0, 2) if swimming else rng.normal(s.pitch, 5))
    down = (not flying) and rng.random() < (0.12 if pose == "perch" else 0.24)
    if down and not swimming:
        tilt -= 0.55 * s.pitch + 8
    a = np.radians(tilt)
    f = np.array([np.cos(a), -np.sin(a)], np.float32)
    d = np.array([np.sin(a), np.cos(a)], np.float32)

    def body(x: float, y: float) -> Array:
        """Point at ``x`` body lengths forward and ``y`` body depths below the centre."""
        return np.asarray(x * f + y * depth * d, np.float32)

    # Posture of neck and head.
    length, rise, base, top = s.neck
    rise += rng.normal(0, 7)
    length *= rng.uniform(0.85, 1.12)
    bend = s.bend * rng.uniform(0.5, 1.3)
    aim = np.radians(rng.normal(4, 7))
    if down:
        rise -= rng.uniform(45, 75)
        aim += np.radians(rng.uniform(15, 45))
    elif flying:
        rise, aim = (24, np.radians(rng.normal(2, 4))) if s.bend < 0.1 else (14, np.radians(2))
        length *= 0.95 if s.bend < 0.1 else 0.42
    elif s.bend > 0.1 and rng.random() < 0.3:
        length *= 0.6
        bend *= 1.7
    way = np.array([np.cos(np.radians(rise)), -np.sin(np.radians(rise))], np.float32)
    across = np.array([-way[1], way[0]], np.float32)
    shoulder = body(0.34, -0.16)
    head = shoulder + way * length
    spine = [body(0.2, 0.02), shoulder, shoulder + way * length * 0.4 + across * bend]
    spine += [shoulder + way * length * 0.75 - across * bend * 0.8, head]

    parts: list[Part] = []
    stroke = _stroke(rng) if flying else None
    if stroke is not None:
        parts += _open_wing(s, look, body(0.12, -0.2), f, stroke[1], stroke[2], far=True)
    foot = np.zeros(2, np.float32)
    if flying and s.leg[0] > 0.5:
        for off in (-0.02, 0.02):
            trail = [body(-0.3, 0.2 + off), body(-0.7, 0.2 + off), body(-1.05, 0.12 + off)]
            parts.append(Part(tube(trail, (0.06, 0.035, 0.05), 3), look["leg"], 0.2))
    elif not flying and not swimming:
        legs, foot = _legs(s, look, body(-0.04, 0.34), 0.05, rng, pose == "perch")
        parts += legs

    # Tail, body, breast.
    t_len, t_wide = s.tail
    droop = rng.normal(0, 0.12)
    tail_mid, tail_end = body(-0.5 - t_len * 0.5, 0.05 + droop * 0.4), body(-0.5 - t_len, 0.1 + droop)
    spread = 1.7 if flying else 1.0
    parts.append(
        Part(
            tube([body(-0.34, -0.04), tail_mid, tail_end], (depth * 0.5, t_wide, t_wide * spread), 4), look["tail"], 0.4
        )
    )
    spine_body = [body(-0.46, -0.02), body(-0.2, 0.04), body(0.12, 0.05), body(0.42, -0.04)]
    girth = np.array([0.3, 0.78, 0.98, 1.0, 0.86, 0.5]) * depth * (0.86 if flying else 1.0)
    parts.append(Part(tube(spine_body, tuple(girth), 6), look["back"], 0.8, 0.1, name="body"))
    belly = [(-0.5, 0.22), (-0.2, 0.12), (0.2, 0.16), (0.7, 0.3), (0.6, 0.9), (-0.2, 0.9)]
    breast = [(0.1, 0.75), (0.06, 0.2), (0.2, -0.1), (0.34, -0.42), (0.9, -0.5), (0.9, 0.5)]
    parts.append(Part(curve([body(x, y) for x, y in belly], steps=4), look["belly"], 0, 0.08, clip="body", soft=0.04))
    parts.append(Part(curve([body(x, y) for x, y in breast], steps=4), look["breast"], 0, 0.08, clip="body", soft=0.04))

    # Neck and head.
    parts.append(Part(tube(spine, (base, base * 0.85, (base + top) / 2, top, top), 6), look["neck"], 0.6, 0.06))
    if name == "robin":
        bib = [body(0.3, 0.3), shoulder + way * length * 0.5, head]
        parts.append(Part(tube(bib, (0.3, 0.44, 0.34), 4), look["breast"], 0.2, 0.08))
    if "ring" in look:
        at = shoulder + way * length * 0.45
        parts.append(Part(tube([at - across * top * 0.5, at + across * top * 0.5], (0.04, 0.04), 2), look["ring"], 0.2))
    r = s.head
    ha = float(aim)
    hf = np.array([np.cos(ha), np.sin(ha)], np.float32)
    hd = np.array([-hf[1], hf[0]], np.float32)
    parts += _bill(s, look, head + hf * r * 0.85, ha, rng)
    parts.append(Part(disc(head, r * 1.12, r, ha), look["head"], 0.55, 0.05, name="head"))
    if "face" in look:
        cheek = head + hf * r * (0.55 if name == "parrot" else 0.45) + hd * r * (0.1 if name == "parrot" else 0.4)
        size = (0.5, 0.5) if name == "parrot" else (0.85, 0.75)
        parts.append(Part(disc(cheek, r * size[0], r * size[1], ha), look["face"], 0, clip="head", soft=0.02))
    if "cap" in look:
        if s.bend > 0.1:
            crest = [head + hf * r * 0.6 - hd * r * 0.45, head - hf * r * 0.5 - hd * r * 0.55]
            parts.append(
                Part(tube([*crest, head - hf * r * 3.0 + hd * r * 0.2], (0.05, 0.07, 0.012), 4), look["cap"], 0.2)
            )
        else:
            crown = head - hd * r * 0.75 + hf * r * 0.3
            parts.append(Part(disc(crown, r * 0.9, r * 0.5, ha), look["cap"], 0, clip="head", soft=0.02))
    eye = head + hf * r * 0.38 - hd * r * 0.22
    er = max(0.026, r * 0.17)
    if sum(look["head"]) < 150:
        parts.append(Part(disc(eye, er * 1.3, er * 1.3), (120, 116, 110), 0, 0))
    parts.append(Part(disc(eye, er, er), (16, 14, 14), 0, 0))
    glint = eye + np.array([er * 0.3, -er * 0.35], np.float32)
    parts.append(Part(disc(glint, er * 0.35, er * 0.35), (250, 250, 250), 0, 0))

    if stroke is not None:
        parts += _open_wing(s, look, body(0.1, -0.1), f, stroke[0], stroke[2], far=False)
    else:
        parts += _folded_wing(look, body, rng)
    if swimming:
        return Bird(tuple(parts), (0.0, float(body(0, 0.34)[1])), float(body(0, 0.34)[1]))
    return Bird(tuple(parts), (float(foot[0]), float(foot[1])))


def _plumage(s: Species, rng: Rng) -> dict[str, Colour]:
    raw = s.plumages[int(rng.integers(len(s.plumages)))]
    amount = 0.09
    look = {key: jitter(value, rng, amount) for key, value in raw.items()}
    defaults = {"breast": "back", "belly": "breast", "neck": "breast" if "head" not in look else "head", "head": "back"}
    for key, source in (*defaults.items(), ("tail", "flight"), ("tip", "flight")):
        look.setdefault(key, look[source])
    return look


def _stroke(rng: Rng) -> tuple[float, float, float]:
    """Angles (radians above the horizontal) of the near and the far wing, and foreshortening."""
    kind = rng.random()
    if kind < 0.45:
        near, far = rng.uniform(95, 130), rng.uniform(60, 88)
    elif kind < 0.75:
        near, far = rng.uniform(-125, -80), rng.uniform(62, 110)
    else:
        near, far = rng.uniform(-120, -70), rng.uniform(-85, -55)
    return float(np.radians(near)), float(np.radians(far)), float(rng.uniform(0.75, 1.05))


def _open_wing(s: Species, look: Plumage, root: Array, f: Array, angle: float, stretch: float, far: bool) -> list[Part]:
    along = np.array([np.cos(angle), -np.sin(angle)], np.float32) * s.span * stretch * (0.9 if far else 1.0)
    return _wing(s, look, root, along, f * s.chord, far, "far" if far else "near")


def _folded_wing(look: Plumage, at: Callable[[float, float], Array], rng: Rng) -> list[Part]:
    """The near wing laid against the body: coverts, dark primaries, feather edges."""
    lift = rng.normal(0, 0.02)
    shape = [(0.3, -0.2), (0.1, -0.44), (-0.25, -0.36), (-0.56, -0.1), (-0.74, 0.04), (-0.4, 0.2), (-0.05, 0.26)]
    shape += [(0.22, 0.16)]

    def points(pairs: list[tuple[float, float]]) -> Array:
        return np.array([at(x, y + lift) for x, y in pairs], np.float32)

    parts = [Part(curve(points(shape), steps=5), look["wing"], 0.5, 0.12, name="wing")]
    rear = [(-0.12, 0.5), (-0.22, 0.1), (-0.4, -0.02), (-0.5, -0.4), (-1.0, -0.3), (-1.0, 0.4)]
    parts.append(Part(points(rear), look["flight"], 0, 0.1, clip="wing", soft=0.02))
    parts.append(
        Part(points([(-0.5, -0.4), (-0.52, 0.4), (-1, 0.4), (-1, -0.4)]), look["tip"], 0, clip="wing", soft=0.015)
    )
    if "patch" in look:
        parts.append(
            Part(points([(-0.1, 0.02), (-0.32, 0.02), (-0.36, 0.16), (-0.14, 0.18)]), look["patch"], 0, clip="wing")
        )
    dark = mix(look["flight"], (0, 0, 0), 0.4)
    for y in (-0.12, 0.0, 0.1):
        line = curve(points([(0.1, y), (-0.3, y + 0.06), (-0.66, 0.03)]), closed=False, steps=4)
        parts.append(Part(tube(line, (0.012, 0.018, 0.01), 1), dark, 0, clip="wing", alpha=0.5))
    return parts
