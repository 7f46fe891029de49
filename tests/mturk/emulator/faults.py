"""What goes wrong on the way: drawn from a seed and the number of the call, so that a plan can be run again."""

from __future__ import annotations

import random
from typing import Literal

Fault = Literal["", "throttle", "fault", "gateway", "reset", "reset-after", "timeout-after", "twice"]
WEIGHTS: dict[Fault, float] = {
    "throttle": 5,
    "fault": 3,
    "gateway": 1,
    "reset": 2,
    "reset-after": 3,
    "timeout-after": 1,
    "twice": 4,
}


def draw(seed: int, number: int, share: float) -> Fault:
    """What goes wrong with a call; nothing in all but ``share`` of them."""
    rng = random.Random(f"{seed}:{number}")
    if rng.random() >= share:
        return ""
    return rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
