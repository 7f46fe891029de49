"""Synthetic people who choose a category (``reference/statistics.md`` 5.4 and 5.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtloop.interfaces import Simulated
from gtloop.records import Payload

PROFILES = {"expert": (0.25, 0.95), "crowd": (0.6, 0.85), "poor": (0.15, 0.7)}
"""Name to (share, mean accuracy)."""

SPAMMERS = 0.06


def worker(rng: np.random.Generator) -> dict[str, Any]:
    """Draw a persona.

    Returns:
        ``profile``; ``confusion`` probability of a wrong category; ``speed`` factor of time, log-normal;
        ``spammer`` (answers at random). The caller may change ``noise``, which multiplies errors (0: always
        right, spammers included), and ``spammer``.
    """
    names = list(PROFILES)
    profile = names[int(rng.choice(len(names), p=[PROFILES[n][0] for n in names]))]
    return {
        "profile": profile,
        "confusion": float(np.clip(1 - rng.normal(PROFILES[profile][1], 0.05), 0, 1)),
        "speed": float(rng.lognormal(0, 0.4)),
        "spammer": bool(rng.random() < SPAMMERS),
        "noise": 1.0,
    }


def simulate(truth: Payload, persona: Mapping[str, Any], names: Sequence[str], rng: np.random.Generator) -> Simulated:
    """What that person chooses, in 3 s (median); three quarters of the errors go to the next category declared.

    Args:
        truth: The true category.
        persona: See ``worker``.
        names: The run's categories.
        rng: Keyed by request and worker.
    """
    true, noise = str(truth["category"]), float(persona["noise"])
    seconds = float(3 * persona["speed"] * rng.lognormal(0, 0.6))
    others = [c for c in names if c != true]
    if persona["spammer"] and noise > 0:
        return Simulated("label", {"category": names[int(rng.integers(len(names)))]}, float(rng.lognormal(0, 0.3)))
    if not others or rng.random() >= min(0.9, persona["confusion"] * noise):
        return Simulated("label", {"category": true}, seconds)
    if true in names and rng.random() < 0.75:
        return Simulated("label", {"category": names[(names.index(true) + 1) % len(names)]}, seconds)
    return Simulated("label", {"category": others[int(rng.integers(len(others)))]}, seconds)
