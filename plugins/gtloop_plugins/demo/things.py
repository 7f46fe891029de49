"""What else is in the demo's pictures: distractors that resemble birds, and things that hide them.

Drawn like the birds: about 1 long, y down; things that stand have their foot at the origin.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gtloop_plugins.demo.paint import Colour, Part, Rng, curve, ellipse, jitter, mix, moved, tube

Thing = list[Part]

GREENS: tuple[Colour, ...] = ((70, 110, 46), (96, 128, 54), (48, 88, 46), (120, 134, 62), (84, 98, 44))
GREYS: tuple[Colour, ...] = ((128, 126, 122), (104, 100, 96), (150, 142, 130), (92, 94, 100), (186, 182, 174))
GAUDY: tuple[Colour, ...] = (
    (216, 52, 44),
    (240, 190, 40),
    (48, 110, 200),
    (230, 110, 36),
    (60, 160, 80),
    (244, 244, 240),
)


def pick(colours: tuple[Colour, ...], rng: Rng, amount: float = 0.12) -> Colour:
    """One of ``colours``, slightly changed."""
    return jitter(colours[int(rng.integers(len(colours)))], rng, amount)


def leaf(rng: Rng, colour: Colour | None = None) -> Thing:
    """A leaf with its midrib; autumn colours are as likely as green."""
    base = colour or (
        pick(GREENS, rng) if rng.random() < 0.5 else pick(((190, 96, 36), (206, 150, 44), (150, 62, 40)), rng)
    )
    w = rng.uniform(0.16, 0.3)
    shape = curve([(-0.5, 0), (-0.2, -w), (0.2, -w * 0.8), (0.5, 0), (0.2, w * 0.8), (-0.2, w)], steps=4)
    rib = tube([(-0.6, 0.03), (0, 0.0), (0.4, 0)], (0.05, 0.03, 0.015), 2)
    return [Part(shape, base, 0.5, 0.08), Part(rib, mix(base, (30, 26, 10), 0.35), 0)]


def stone(rng: Rng) -> Thing:
    """A stone lying on the ground."""
    n = 9
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    r = 0.5 * rng.uniform(0.78, 1.0, n)
    flat = rng.uniform(0.45, 0.75)
    pts = np.stack([r * np.cos(angles), (r * np.sin(angles) - 0.4) * flat], axis=1)
    return [Part(curve(pts, steps=4), pick(GREYS, rng, 0.18), 1.0, 0.16)]


def bird_like_rock(rng: Rng) -> Thing:
    """Two stones, a small one on a large one: a body and a head at first sight."""
    tone = pick((*GREYS, (60, 58, 60), (214, 212, 206)), rng)
    body = curve([(-0.5, -0.02), (-0.3, -0.3), (0.1, -0.42), (0.42, -0.3), (0.46, 0.0), (0, 0.04)], steps=4)
    x, r = rng.uniform(0.1, 0.34), rng.uniform(0.13, 0.2)
    knob = ellipse(x, -0.36 - r * 0.6, r * 1.2, r, rng.uniform(-0.3, 0.3))
    return [Part(knob, mix(tone, (0, 0, 0), 0.08), 0.9, 0.16), Part(body, tone, 1.0, 0.16)]


def stump(rng: Rng) -> Thing:
    """A broken stump whose splinters look like a beak or a tail."""
    bark = pick(((92, 70, 52), (112, 92, 72), (70, 58, 50)), rng)
    jag = [(-0.2, 0), (-0.16, -0.5), (-0.26, -0.72), (-0.06, -0.6), (0.08, -0.95), (0.14, -0.6), (0.34, -0.7)]
    return [Part(np.array([*jag, (0.17, -0.4), (0.22, 0)], np.float32), bark, 0.9, 0.22)]


def plane(rng: Rng) -> Thing:
    """An aeroplane from the side, with one wing towards the viewer."""
    hull = pick(((226, 228, 232), (200, 204, 210), (236, 236, 236), (70, 74, 84)), rng, 0.05)
    mark = pick(GAUDY, rng)
    fuselage = tube([(-0.5, 0.0), (0.0, 0.02), (0.5, 0.03)], (0.03, 0.1, 0.12, 0.11, 0.05), 5)
    fin = np.array([(-0.5, -0.02), (-0.56, -0.2), (-0.44, -0.2), (-0.34, -0.03)], np.float32)
    wing = np.array([(0.1, 0.04), (-0.16, 0.34), (-0.26, 0.34), (-0.1, 0.04)], np.float32)
    far = np.array([(0.1, 0.0), (-0.08, -0.2), (-0.16, -0.2), (-0.06, 0.0)], np.float32)
    dark = mix(hull, (40, 40, 50), 0.25)
    return [Part(far, dark, 0.2), Part(fuselage, hull, 0.8, 0.02), Part(fin, mark, 0.2), Part(wing, dark, 0.3)]


def kite(rng: Rng) -> Thing:
    """A paper kite with a tail of bows."""
    one, two = pick(GAUDY, rng), pick(GAUDY, rng)
    corners = [(0, -0.5), (0.32, -0.12), (0, 0.4), (-0.32, -0.12)]
    parts = [Part(np.array(corners, np.float32), one, 0.2)]
    for i in (0, 2):
        quarter = np.array([corners[i], corners[i + 1], (0, -0.12)], np.float32)
        parts.append(Part(quarter, two, 0.2))
    string = [(0, 0.4), (0.08, 0.6), (-0.06, 0.8), (0.05, 1.0)]
    parts.append(Part(tube(string, (0.015, 0.015), 4), (70, 70, 70), 0))
    for x, y in string[1:]:
        bow = np.array([(x - 0.08, y - 0.04), (x + 0.08, y + 0.04), (x + 0.08, y - 0.04), (x - 0.08, y + 0.04)])
        parts.append(Part(bow.astype(np.float32), two, 0.1))
    return moved(parts, angle=float(rng.normal(0, 0.5)))


def butterfly(rng: Rng) -> Thing:
    """A butterfly with open wings, seen aslant."""
    tone = pick(((236, 140, 40), (240, 226, 120), (90, 140, 220), (246, 246, 240), (180, 60, 40)), rng)
    edge = mix(tone, (20, 16, 20), 0.75)
    parts: Thing = []
    for side, squeeze in ((-1, 0.7), (1, 1.0)):
        for shape in (
            [(0, 0), (0.12, -0.4), (0.48, -0.46), (0.46, -0.1)],
            [(0, 0.02), (0.4, 0.06), (0.36, 0.36), (0.1, 0.34)],
        ):
            pts = np.array(shape, np.float32) * np.array([side * squeeze, 1], np.float32)
            middle = pts.mean(axis=0)
            parts.append(Part(curve(pts, steps=4), edge, 0.2))
            parts.append(Part(curve((pts - middle) * 0.72 + middle, steps=4), tone, 0.2, 0.1))
    parts.append(Part(tube([(0, -0.22), (0, 0.1), (0, 0.3)], (0.05, 0.06, 0.03), 2), (40, 34, 32), 0.3))
    return moved(parts, angle=float(rng.normal(0, 0.5)))


def balloon(rng: Rng) -> Thing:
    """A toy balloon on its string."""
    tone = pick(GAUDY, rng)
    skin = curve([(0, -0.5), (0.34, -0.3), (0.3, 0.05), (0, 0.3), (-0.3, 0.05), (-0.34, -0.3)], steps=5)
    string = tube([(0, 0.3), (0.06, 0.6), (-0.03, 0.95)], (0.014, 0.014), 5)
    shine = Part(ellipse(-0.13, -0.26, 0.06, 0.09), (255, 255, 255), 0, 0, soft=0.03, alpha=0.7)
    return [Part(string, (90, 90, 90), 0), Part(skin, tone, 0.9, 0.02), shine]


def cat(rng: Rng) -> Thing:
    """A sitting cat."""
    fur = pick(((60, 56, 56), (196, 132, 70), (140, 134, 128), (226, 220, 210), (110, 84, 62)), rng)
    dark = mix(fur, (0, 0, 0), 0.3)
    body = curve([(-0.3, 0), (-0.34, -0.25), (-0.14, -0.58), (0.1, -0.6), (0.24, -0.3), (0.24, 0)], steps=5)
    ears = [np.array([(x, -0.82), (x + 0.02, -1.04), (x + 0.14, -0.86)], np.float32) for x in (-0.1, 0.12)]
    parts = [Part(tube([(-0.25, -0.05), (-0.5, -0.1), (-0.58, -0.36)], (0.1, 0.08, 0.06), 4), dark, 0.5)]
    parts += [Part(body, fur, 0.8, 0.14), *(Part(e, dark, 0.2) for e in ears)]
    parts.append(Part(ellipse(0.08, -0.74, 0.19, 0.16), fur, 0.7, 0.1))
    parts += [Part(ellipse(x, -0.76, 0.026, 0.03), (176, 190, 60), 0, 0) for x in (0.05, 0.16)]
    parts.append(Part(np.array([(0.09, -0.69), (0.14, -0.69), (0.115, -0.66)], np.float32), (150, 80, 80), 0))
    return parts


def buoy(rng: Rng) -> Thing:
    """A buoy afloat."""
    tone = pick(((220, 70, 40), (236, 180, 40), (240, 240, 236)), rng)
    hull = curve([(-0.4, 0.05), (-0.36, -0.3), (0, -0.42), (0.36, -0.3), (0.4, 0.05)], steps=5)
    return [Part(tube([(0.05, -0.3), (0.1, -0.8)], (0.08, 0.06), 2), (70, 70, 74), 0.4), Part(hull, tone, 0.9)]


def bottle(rng: Rng) -> Thing:
    """A floating bottle or piece of driftwood."""
    tone = pick(((60, 110, 70), (120, 96, 70), (196, 206, 206), (88, 76, 66)), rng)
    return [Part(tube([(-0.5, -0.06), (0.1, -0.1), (0.5, -0.2)], (0.2, 0.22, 0.2, 0.08), 5), tone, 0.8, 0.12)]


def pot(rng: Rng) -> Thing:
    """A flower pot with a red or orange bloom."""
    clay = jitter((186, 100, 66), rng)
    parts: Thing = [Part(np.array([(-0.28, -0.5), (0.28, -0.5), (0.2, 0), (-0.2, 0)], np.float32), clay, 0.8, 0.1)]
    for _ in range(7):
        x, y = rng.normal(0, 0.16), -0.62 - abs(rng.normal(0, 0.16))
        parts += moved(leaf(rng, pick(GREENS, rng)), x, y, rng.uniform(0, 6.3), 0.5)
    tone = pick(GAUDY, rng)
    parts += [Part(ellipse(rng.normal(0, 0.15), -0.8 + rng.normal(0, 0.1), 0.09, 0.08), tone, 0.6) for _ in range(4)]
    return parts


def fruit(rng: Rng) -> Thing:
    """A fruit between leaves: a robin's breast or a parrot's head at first sight."""
    parts = moved(leaf(rng, pick(GREENS, rng)), -0.2, -0.2, 0.6, 0.8)
    tone = pick(((226, 106, 38), (206, 44, 40), (226, 186, 50)), rng)
    parts.append(Part(ellipse(0, 0.05, 0.28, 0.27), tone, 0.9, 0.04))
    return parts + moved(leaf(rng, pick(GREENS, rng)), 0.25, -0.22, -0.5, 0.7)


DISTRACTORS: dict[str, tuple[Callable[[Rng], Thing], ...]] = {
    "air": (plane, plane, kite, butterfly, balloon),
    "wall": (butterfly, balloon, leaf),
    "ground": (stone, bird_like_rock, stump, cat, leaf, stone),
    "paved": (pot, cat, leaf, stone, pot),
    "water": (buoy, bottle, bird_like_rock, stone),
    "perch": (fruit, leaf, fruit, butterfly),
}
"""What may be found where; the same thing may stand twice to be more frequent."""


def foliage(rng: Rng, tone: Colour) -> Thing:
    """A spray of leaves about 1 wide, centred at the origin."""
    parts: Thing = []
    twig = [(-0.5, 0.3), (0.0, 0.0), (0.45, -0.2)]
    parts.append(Part(tube(twig, (0.04, 0.025, 0.01), 4), (84, 66, 50), 0.3))
    for _ in range(int(rng.integers(8, 15))):
        x, y = rng.normal(0, 0.26), rng.normal(0, 0.2)
        colour = jitter(tone, rng, 0.16)
        parts += moved(leaf(rng, colour), x, y, rng.uniform(-1.2, 1.2), rng.uniform(0.26, 0.42))
    return parts


def reeds(rng: Rng, tone: Colour) -> Thing:
    """Upright blades, 1 high, standing at the origin."""
    parts: Thing = []
    for _ in range(int(rng.integers(6, 13))):
        x, lean, high = rng.normal(0, 0.16), rng.normal(0, 0.14), rng.uniform(0.55, 1.0)
        blade = tube([(x, 0.03), (x + lean * 0.3, -high * 0.5), (x + lean, -high)], (0.035, 0.032, 0.006), 4)
        parts.append(Part(blade, jitter(tone, rng, 0.16), 0.3))
        if rng.random() < 0.25:
            head = tube([(x + lean * 0.75, -high * 0.8), (x + lean, -high)], (0.05, 0.05), 2)
            parts.append(Part(head, jitter((98, 66, 42), rng), 0.6))
    return parts


def post(rng: Rng, tone: Colour) -> Thing:
    """A wooden post, 1 high."""
    w = rng.uniform(0.07, 0.13)
    wood = mix(pick(((122, 104, 84), (146, 132, 114), (92, 78, 64)), rng), tone, 0.1)
    top = rng.uniform(-0.04, 0.04)
    return [Part(np.array([(-w, 0.04), (-w, -1), (w, -1 + top), (w, 0.04)], np.float32), wood, 0.8, 0.2)]


def boulder(rng: Rng, tone: Colour) -> Thing:
    """A stone large enough to hide behind."""
    return moved(stone(rng), 0, 0.06, 0, 0.95)


OCCLUDERS: dict[str, tuple[Callable[[Rng, Colour], Thing], ...]] = {
    "wall": (foliage,),
    "ground": (reeds, reeds, post, boulder, foliage),
    "paved": (post, foliage),
    "water": (reeds, reeds, post),
    "perch": (foliage, foliage, foliage),
}
