"""Plans that can't end with a machine label, and the settings that would change that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gtloop.promise import Promise
from gtloop.settings import Settings
from gtloop.sizes import Plan, make_plan, shortfall

DELTAS = (0.15, 0.2, 0.3)
MOST_BEFORE = 0.8
"""Of the items, those that people may have labelled by the first look: a plan that leaves less is no help."""
STEPS = 200
"""Sizes of each kind that are tried, before the last step is halved."""
DOUBLINGS = 25
"""How often the images are doubled to see whether more of them would do."""


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

    def helps(option: Option) -> bool:
        _, tried, changed = option
        made = make_plan(tried, changed, n, trainable, known=known)
        first = max(made.look_at[0], made.validation + made.train)  # random labels come before any look
        return first <= MOST_BEFORE * n and not shortfall(made, tried, changed, n, trainable)

    kinds = _kinds(plan, settings, promise, n)
    found = [text for values, change in kinds if (text := _least(values, change, helps))]
    if found:
        return f"{why}; each of these would do: {', '.join(found)}"

    def enough(m: int) -> bool:
        made = make_plan(settings, promise, m, trainable, known=known)
        return not shortfall(made, settings, promise, m, trainable)

    more = any(enough(n * 2**k) for k in range(1, DOUBLINGS))
    return f"{why}; no single setting helps, {'more images would' if more else 'nor would more images'}"


Option = tuple[str, Settings, Promise]
"""What is typed, and what it leads to."""
Change = Callable[[Any], Option]


def _least(values: Sequence[Any], change: Change, helps: Callable[[Option], bool]) -> str:
    """What is typed for the first value that helps: large steps find one, halves of the last step the first."""
    step = max(1, len(values) // STEPS)
    at = next((at for at in range(0, len(values), step) if helps(change(values[at]))), None)
    if at is None:
        return ""
    before = max(-1, at - step)
    while at - before > 1:
        middle = (before + at) // 2
        before, at = (before, middle) if helps(change(values[middle])) else (middle, at)
    return change(values[at])[0]


def _kinds(plan: Plan, settings: Settings, promise: Promise, n: int) -> Iterator[tuple[Sequence[Any], Change]]:
    """Of each kind of change, the values to try, from the least change to the largest."""

    def sized(name: str) -> Change:
        def change(value: int) -> Option:
            sizes = settings.sizes.model_copy(update={name: value})
            return f"-o sizes.{name}={value}", settings.model_copy(update={"sizes": sizes}), promise

        return change

    def promised(name: str) -> Change:
        return lambda value: (f"--{name} {value:g}", settings, dataclasses.replace(promise, **{name: value}))

    yield range(plan.validation + 1, n), sized("validation")
    yield range(plan.validation - 1, plan.probe - 1, -1), sized("validation")
    yield range(plan.train - 1, -1, -1), sized("train")
    yield range(min(n, plan.look_at[0]) - 1, 0, -1), sized("look_at")
    if promise.kind == "selective":
        yield [round(promise.target - k / 100, 4) for k in range(1, int(100 * promise.target))], promised("target")
        yield [d for d in DELTAS if d > promise.delta], promised("delta")
