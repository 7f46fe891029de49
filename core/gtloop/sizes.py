"""How many items people see at first: from the settings, or from the size of the data set."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from gtloop.promise import Promise, first_rung_items, items_needed
from gtloop.settings import Settings

RANDOM_LOW, RANDOM_HIGH = 60, 400
"""Bounds of the default number of random labels for bounded quality; about a third of the items between."""
FIRST_COVERAGE = 0.2
"""Share of the validation items in the first rung of the ladder."""
VALIDATION_SHARE = 0.2
"""Of the random labels where the training labels are to validate too (cross-fitting); else a half."""

MOST_VALIDATION, SPARE = 0.75, 1.5
"""Where training labels don't validate: at most that share of the random labels validates, and it is to be that many
times the first rung's items, as not all of them score high."""


class Plan(BaseModel):
    """Sizes of a run, fixed when it starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probe: int
    validation: int = Field(description="blind random items, the probe included")
    train: int = Field(description="random training items")
    batch: int = Field(description="items given to people in each later iteration")
    look_at: tuple[int, ...] = Field(description="human labels at which each look falls due")


def make_plan(
    settings: Settings, promise: Promise, n: int, trainable: bool = True, *, known: int = 0, asked: int = 0
) -> Plan:
    """Sizes for ``n`` items that can be labelled.

    Args:
        settings: Of the run.
        promise: What is promised.
        n: Items in the pool.
        trainable: Whether the detector learns from labels.
        known: Human labels that there are already: the model needs fewer random ones.
        asked: Items that people were asked about before.
    """
    s = settings.sizes
    validation, train = _random_sizes(settings, promise, n, trainable, known)
    probe = min(s.probe, n)
    validation = min(max(validation, probe), n)
    train = min(train, n - validation)
    batch = s.batch or min(200, max(10, round(n / 5)))
    # a tenth of a large set is labelled before the promise is tested; then equal steps
    first = s.look_at or max(validation + train, _labels_before_look(settings, n))
    looks = min(settings.promise.looks, 3)
    return Plan(
        probe=probe,
        validation=validation,
        train=train,
        batch=batch,
        look_at=tuple(asked + first + k * 2 * batch for k in range(looks)),
    )


def shortfall(plan: Plan, settings: Settings, promise: Promise, n: int, trainable: bool) -> str:
    """Why none of ``n`` items can get a machine label by this plan; empty where some may (``remedies``: what to do)."""
    first, random = plan.look_at[0], plan.validation + plan.train
    if settings.loop.certify != "late":
        return ""
    if first >= n:
        return f"people label all {n} images, as the first look is due after {first} labels: no machine labels"
    if promise.kind != "selective" or promise.rule == "empirical":
        return ""
    validating = random if cross_fits(settings, trainable, first, random) else plan.validation
    needed = items_needed(promise, promise.target, promise.delta)
    if validating >= needed:
        return ""
    return (
        f"{validating} validation images can't show {promise.metric} {promise.target:g}, {needed} are needed: "
        "no machine labels"
    )


def cross_fits(settings: Settings, trainable: bool, first: int, random: int) -> bool:
    """Whether random training labels validate at a first look after that many of them.

    Not once the sampler has picked (``looking.cross_fitting``).
    """
    return settings.promise.cross_fit > 0 and trainable and first <= random and settings.loop.start == "random"


def _alone(total: int, promise: Promise) -> int:
    """Validation items that no training items help: half, but more of a few, else not even one rung can be tested."""
    rung = items_needed(promise, promise.target, promise.delta)
    return round(max(total / 2, min(MOST_VALIDATION * total, SPARE * rung)))


def _labels_before_look(settings: Settings, n: int) -> int:
    return settings.sizes.look_at or min(n // 10, 2000)


def _random_sizes(settings: Settings, promise: Promise, n: int, trainable: bool, known: int) -> tuple[int, int]:
    """(validation, train) before they are fitted to the number of items."""
    s = settings.sizes
    validation, train = s.validation, s.train
    if s.validation_share is not None and validation is None:
        validation = round(n * next(share for under, share in s.validation_share if under == 0 or n < under))
    if validation is not None and train is not None:
        return validation, train
    high = RANDOM_HIGH
    if promise.binary:
        needed = round(first_rung_items(promise.target, promise.delta, True) / FIRST_COVERAGE)
        high = max(high, 2 * needed)
    total = min(n, max(RANDOM_LOW, min(high, round(n / 3))))
    # labels from elsewhere train as well as random ones, but can't validate
    crossed = known < total * (1 - VALIDATION_SHARE)
    crossed = crossed and cross_fits(settings, trainable, _labels_before_look(settings, n), total)
    if validation is None:
        validation = round(total * VALIDATION_SHARE) if crossed else _alone(total, promise)
    return validation, max(0, total - validation - known) if train is None else train
