"""The demo's six species: proportions and plumages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gtloop_plugins.demo.paint import Colour

Pose = Literal["stand", "swim", "fly", "perch"]
Plumage = Mapping[str, Colour]


@dataclass(frozen=True)
class Species:
    """Proportions, in body lengths, and plumages of a species.

    Attributes:
        size: Length of the body relative to the other species in a picture.
        pitch: Degrees by which a standing body points up.
        depth: Height of the body.
        neck: Length, angle above the horizontal (degrees), width at the base and at the head.
        bend: How much the neck is S-shaped.
        head: Radius.
        bill: Length and depth at the base.
        bill_kind: Its shape.
        tail: Length and width at its end.
        leg: Length and width of what shows below the body.
        span: Length of one wing.
        chord: Width of a wing at its root.
        fingers: Spread feathers at the tip of an open wing; 0 for a pointed wing.
        poses: What it does.
        plumages: Some forms (sexes, ages, kinds); keys missing in one fall back on ``back``.
    """

    size: float
    pitch: float
    depth: float
    neck: tuple[float, float, float, float]
    bend: float
    head: float
    bill: tuple[float, float]
    bill_kind: Literal["dagger", "flat", "hook", "thin", "stout"]
    tail: tuple[float, float]
    leg: tuple[float, float]
    span: float
    chord: float
    fingers: int
    poses: tuple[Pose, ...]
    plumages: tuple[Plumage, ...] = field(default=())


BIRDS: dict[str, Species] = {
    "heron": Species(
        size=1.0, pitch=28, depth=0.38, neck=(0.82, 72, 0.24, 0.1), bend=0.16, head=0.1, bill=(0.42, 0.085),
        bill_kind="dagger", tail=(0.2, 0.16), leg=(0.86, 0.045), span=1.15, chord=0.5, fingers=4,
        poses=("stand", "fly"),
        plumages=(
            {"back": (128, 142, 156), "breast": (206, 210, 212), "neck": (216, 218, 216), "head": (238, 238, 234),
             "cap": (36, 40, 50), "wing": (134, 148, 162), "flight": (62, 68, 82), "bill": (226, 160, 60),
             "leg": (128, 108, 74)},
            {"back": (238, 238, 232), "breast": (244, 244, 240), "neck": (242, 242, 238), "head": (244, 244, 240),
             "wing": (240, 240, 236), "flight": (222, 222, 220), "bill": (232, 180, 52), "leg": (44, 42, 40)},
        ),
    ),
    "duck": Species(
        size=0.8, pitch=2, depth=0.46, neck=(0.3, 62, 0.26, 0.2), bend=0.03, head=0.155, bill=(0.23, 0.09),
        bill_kind="flat", tail=(0.2, 0.12), leg=(0.16, 0.06), span=0.85, chord=0.36, fingers=0,
        poses=("swim", "swim", "stand", "fly"),
        plumages=(
            {"back": (154, 148, 140), "breast": (104, 60, 40), "belly": (204, 200, 192), "neck": (28, 92, 62),
             "head": (22, 98, 64), "ring": (236, 236, 230), "wing": (142, 134, 124), "flight": (88, 82, 82),
             "patch": (56, 84, 168), "tail": (40, 38, 40), "bill": (222, 186, 62), "leg": (230, 122, 44)},
            {"back": (132, 102, 70), "breast": (150, 112, 74), "belly": (172, 140, 102), "head": (148, 116, 80),
             "cap": (84, 62, 44), "wing": (116, 88, 62), "flight": (86, 70, 56), "patch": (64, 90, 160),
             "bill": (196, 122, 52), "leg": (220, 118, 48)},
        ),
    ),
    "gull": Species(
        size=0.8, pitch=8, depth=0.38, neck=(0.17, 48, 0.27, 0.2), bend=0.0, head=0.145, bill=(0.19, 0.062),
        bill_kind="stout", tail=(0.18, 0.12), leg=(0.28, 0.04), span=1.3, chord=0.34, fingers=0,
        poses=("stand", "swim", "fly", "fly", "perch"),
        plumages=(
            {"back": (160, 170, 180), "breast": (246, 246, 244), "belly": (244, 244, 242), "neck": (248, 248, 246),
             "head": (248, 248, 246), "wing": (164, 174, 184), "flight": (178, 186, 194), "tip": (30, 32, 38),
             "tail": (246, 246, 246), "bill": (236, 188, 50), "leg": (232, 164, 118)},
            {"back": (168, 176, 184), "breast": (246, 246, 244), "belly": (244, 244, 242), "neck": (246, 246, 244),
             "head": (62, 44, 40), "wing": (172, 180, 188), "flight": (186, 192, 198), "tip": (34, 34, 38),
             "tail": (246, 246, 246), "bill": (168, 40, 40), "leg": (176, 44, 44)},
        ),
    ),
    "robin": Species(
        size=0.5, pitch=34, depth=0.66, neck=(0.1, 52, 0.5, 0.42), bend=0.0, head=0.26, bill=(0.17, 0.075),
        bill_kind="thin", tail=(0.42, 0.15), leg=(0.36, 0.035), span=0.8, chord=0.5, fingers=0,
        poses=("stand", "perch", "perch", "fly"),
        plumages=(
            {"back": (122, 102, 76), "breast": (222, 104, 36), "belly": (226, 218, 204), "face": (226, 106, 38),
             "head": (124, 104, 78), "wing": (110, 90, 66), "flight": (88, 72, 56), "bill": (52, 44, 40),
             "leg": (110, 74, 56)},
            {"back": (112, 98, 80), "breast": (206, 86, 34), "belly": (220, 214, 206), "face": (208, 90, 36),
             "head": (108, 98, 84), "wing": (104, 88, 70), "flight": (80, 68, 56), "bill": (60, 50, 44),
             "leg": (98, 70, 56)},
        ),
    ),
    "crow": Species(
        size=0.75, pitch=16, depth=0.42, neck=(0.2, 42, 0.32, 0.24), bend=0.0, head=0.16, bill=(0.24, 0.11),
        bill_kind="stout", tail=(0.42, 0.2), leg=(0.32, 0.055), span=1.12, chord=0.46, fingers=5,
        poses=("stand", "perch", "fly"),
        plumages=(
            {"back": (32, 34, 42), "wing": (36, 38, 50), "flight": (28, 30, 40), "bill": (40, 40, 44),
             "leg": (36, 34, 36)},
            {"back": (152, 148, 142), "breast": (154, 150, 144), "belly": (150, 146, 142), "neck": (44, 44, 50),
             "head": (34, 34, 42), "wing": (34, 36, 46), "flight": (28, 30, 38), "tail": (32, 32, 40),
             "bill": (36, 36, 40), "leg": (36, 34, 36)},
        ),
    ),
    "parrot": Species(
        size=0.7, pitch=58, depth=0.44, neck=(0.16, 62, 0.36, 0.33), bend=0.0, head=0.205, bill=(0.17, 0.16),
        bill_kind="hook", tail=(0.85, 0.1), leg=(0.12, 0.07), span=0.98, chord=0.42, fingers=0,
        poses=("perch", "perch", "fly", "stand"),
        plumages=(
            {"back": (206, 38, 34), "breast": (214, 44, 36), "belly": (206, 40, 34), "head": (216, 44, 38),
             "face": (240, 232, 222), "wing": (228, 178, 40), "flight": (38, 82, 176), "tail": (192, 36, 40),
             "bill": (232, 220, 196), "leg": (88, 80, 78)},
            {"back": (46, 156, 62), "breast": (96, 182, 70), "belly": (120, 192, 80), "head": (50, 164, 66),
             "cap": (214, 48, 42), "wing": (40, 142, 58), "flight": (30, 96, 120), "patch": (214, 52, 44),
             "tail": (42, 134, 70), "bill": (222, 176, 96), "leg": (110, 100, 92)},
            {"back": (34, 102, 190), "breast": (236, 176, 34), "belly": (238, 182, 40), "neck": (236, 176, 40),
             "head": (40, 110, 196), "face": (244, 240, 232), "wing": (36, 106, 194), "flight": (28, 66, 150),
             "tail": (32, 82, 172), "bill": (36, 34, 36), "leg": (70, 66, 66)},
        ),
    ),
}  # fmt: skip
SPECIES: tuple[str, ...] = tuple(BIRDS)
