"""Plans that can't end with a machine label, and the settings that would change that."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from gtloop.promise import Promise
from gtloop.settings import Settings
from gtloop.sizes import Plan, make_plan, shortfall

DELTAS = (0.15, 0.2, 0.3)
MOST_BEFORE = 0.8
"""Of the items, those that people may have labelled by the first look: a plan that leaves less is no help."""
STEPS = 200
"""Sizes of each kind that are tried."""


def hopeless(plan: Plan, settings: Settings, promise: Promise, n: int, trainable: bool, known: int = 0) -> str:
    """Why none of ``n`` items can get a machine label by a plan, and what would help; empty where some may.

    Args:
        plan: Of the run.
        settings: That it is made from.
        promise: What is promised.
        n: Items in the pool.
        trainable: Whether the detector learns from labels.
        known: Human labels that there are already (``sizes.make_plan``).
    """
    why = shortfall(plan, settings, promise, n, trainable)
    if not why:
        return ""

    def helps(tried: Settings, changed: Promise) -> bool:
        made = make_plan(tried, changed, n, trainable, known=known)
        first = max(made.look_at[0], made.validation + made.train)  # random labels come before any look
        return first <= MOST_BEFORE * n and not shortfall(made, tried, changed, n, trainable)

    found = [
        text
        for options in _options(plan, settings, promise, n)
        if (text := next((text for text, tried, changed in options if helps(tried, changed)), None)) is not None
    ]
    helping = f"each of these would do: {', '.join(found)}" if found else "no single setting helps, more images would"
    return f"{why}; {helping}"


Option = tuple[str, Settings, Promise]
"""What is typed, and what it leads to."""


def _options(plan: Plan, settings: Settings, promise: Promise, n: int) -> Iterator[Iterator[Option]]:
    """Of each kind of change, those to try, from the least to the largest."""
    step = max(1, n // STEPS)

    def sized(name: str, values: Iterable[int]) -> Iterator[Option]:
        for value in values:
            sizes = settings.sizes.model_copy(update={name: value})
            yield f"-o sizes.{name}={value}", settings.model_copy(update={"sizes": sizes}), promise

    yield sized("validation", range(plan.validation + 1, n, step))
    yield sized("validation", range(plan.validation - 1, plan.probe - 1, -step))
    yield sized("train", range(plan.train - 1, -1, -step))
    yield sized("look_at", range(min(n, plan.look_at[0]) - 1, 0, -step))
    if promise.kind == "selective":
        targets = (round(promise.target - k / 100, 4) for k in range(1, int(100 * promise.target)))
        yield ((f"--target {t:g}", settings, dataclasses.replace(promise, target=t)) for t in targets)
        deltas = (d for d in DELTAS if d > promise.delta)
        yield ((f"--delta {d:g}", settings, dataclasses.replace(promise, delta=d)) for d in deltas)
