"""Are the bounds of an audit valid however often one looks, and how wide are they? By simulation.

    python benchmarks/audit.py --reps 1000 --json audit.json

A region of P machine labels is audited one by one, in a random order, and both bounds are read after *every* audit. A
*violation* is a region in which a bound was wrong at any time. Beside it what looking after every audit does to the
usual interval (mean +- z s sqrt(1/n - 1/P)), and widths at 100 audits: of the bounds, of the usual interval, of the
prediction-powered one for the labels that are left, with its misses at that one moment. Then how many audits it takes
until the bounds say whether a target is kept. Exits with 1 if the bounds are violated in more than delta + 2 standard
errors of the regions.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np

from gtloop.running import prediction_powered, running_bounds, wealth

DELTA = 0.1
AT = 100
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def beta(mean: float, spread: float) -> Draw:
    """Qualities as mean IoUs are, and a score that correlates with them (about .6)."""
    k = mean * (1 - mean) / spread**2 - 1

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.beta(mean * k, (1 - mean) * k, n)
        return y, (y - mean) / spread + rng.normal(0, 4 / 3, n)

    return draw


def binary(mean: float) -> Draw:
    """Right or wrong, and a score that is lower where it is wrong."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        y = (rng.random(n) < mean).astype(float)
        return y, y + rng.normal(0, 0.5, n)

    return draw


POPULATIONS: dict[str, Draw] = {
    "mean IoU .75 (s .22)": beta(0.75, 0.22),
    "mean IoU .60 (s .27)": beta(0.60, 0.27),
    "accuracy .95": binary(0.95),
    "accuracy .80": binary(0.80),
    "accuracy .50": binary(0.50),
}
SIZES = (60, 200, 1000)


@dataclass(frozen=True)
class Cell:
    """One population: shares of regions in which something was wrong, and mean widths at 100 audits."""

    population: str
    size: int
    violated: float
    peeked: float
    width: float | None
    usual: float | None
    powered: float | None
    missed: float | None


def usual_ever_wrong(y: np.ndarray, size: int) -> bool:
    """Whether the interval of a fixed number of audits was wrong after any number from 10 on."""
    n = np.arange(1, len(y) + 1)
    mean = np.cumsum(y) / n
    variance = np.maximum(np.cumsum(y * y) / n - mean**2, 0) * n / np.maximum(n - 1, 1)
    half = NormalDist().inv_cdf(1 - DELTA / 2) * np.sqrt(variance * np.maximum(1 / n - 1 / size, 0))
    return bool((np.abs(mean - y.mean()) > half + 1e-9)[9:-1].any())


def cell(name: str, size: int, reps: int, seed: int) -> Cell:
    """Simulate regions of one population."""
    rng, goal = np.random.default_rng(seed), math.log(2 / DELTA)
    violated = peeked = missed = powered_n = 0
    widths, usual, powered = [], [], []
    for _ in range(reps):
        y, f = POPULATIONS[name](rng, size)
        mean = float(y.mean())
        # a bound is wrong at some time exactly if a bettor at the true mean has reached 2 / delta
        up, down = wealth(y, size, mean, DELTA / 2), wealth(1 - y, size, 1 - mean, DELTA / 2)
        violated += bool((np.maximum(up, down) >= goal).any())
        peeked += usual_ever_wrong(y, size)
        if size <= AT:
            continue
        (bounds,) = running_bounds(y[:AT], y[:AT], size, DELTA)
        widths.append(bounds.upper - bounds.lower)
        half = NormalDist().inv_cdf(1 - DELTA / 2) * float(y[:AT].std(ddof=1)) * math.sqrt(1 / AT - 1 / size)
        usual.append(2 * half)
        found = prediction_powered(y[:AT], f[:AT], f[AT:], DELTA)
        if found is not None:
            powered_n += 1
            powered.append(found.upper - found.lower)
            missed += not found.lower <= y[AT:].mean() <= found.upper
    return Cell(
        name,
        size,
        violated / reps,
        peeked / reps,
        float(np.mean(widths)) if widths else None,
        float(np.mean(usual)) if usual else None,
        float(np.mean(powered)) if powered else None,
        missed / powered_n if powered_n else None,
    )


CASES = (
    ("mean IoU", beta(0.70, 0.24), 0.60),
    ("mean IoU", beta(0.65, 0.26), 0.60),
    ("mean IoU", beta(0.55, 0.27), 0.60),
    ("mean IoU", beta(0.50, 0.27), 0.60),
    ("accuracy", binary(0.98), 0.95),
    ("accuracy", binary(0.90), 0.95),
    ("accuracy", binary(0.85), 0.95),
)
"""Quality, how it is drawn, and the target that it is held against."""


@dataclass(frozen=True)
class Needed:
    """Audits of 1,000 labels until the bounds say on which side of the target the mean is: median and 90 % quantile."""

    quality: str
    mean: float
    target: float
    median: float
    most: float
    wrong: float


def needed(case: tuple[str, Draw, float], reps: int, seed: int) -> Needed:
    """Simulate audits until the target is outside the bounds; all 1,000 where it never is before."""
    name, draw, target = case
    rng, goal, size = np.random.default_rng(seed), math.log(2 / DELTA), 1000
    counts, means, wrong = [], [], 0
    for _ in range(reps):
        y, _ = draw(rng, size)
        above = np.flatnonzero(wealth(y, size, target, DELTA / 2) >= goal)
        below = np.flatnonzero(wealth(1 - y, size, 1 - target, DELTA / 2) >= goal)
        first = [int(at[0]) + 1 if len(at) else size for at in (above, below)]
        counts.append(min(first))
        means.append(float(y.mean()))
        wrong += min(first) < size and (first[0] < first[1]) != (means[-1] > target)
    return Needed(
        name, float(np.mean(means)), target, float(np.median(counts)), float(np.quantile(counts, 0.9)), wrong / reps
    )


def show(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json")
    args = parser.parse_args()
    allowed = DELTA + 2 * math.sqrt(DELTA * (1 - DELTA) / args.reps)
    print(f"delta {DELTA}, {args.reps} regions a cell, allowed {allowed:.3f}")
    print("| quality | labels | violated | usual, if one peeks | width | usual | prediction-powered | its misses |")
    print("|---|---|---|---|---|---|---|---|")
    cells = []
    for i, (name, size) in enumerate((n, s) for n in POPULATIONS for s in SIZES):
        found = cell(name, size, args.reps, args.seed + i)
        cells.append(found)
        numbers = (found.violated, found.peeked, found.width, found.usual, found.powered, found.missed)
        print(f"| {name} | {size} | {' | '.join(map(show, numbers))} |", flush=True)
    print("\n| quality | true mean | target | audits, median | 90 % | wrong side |")
    print("|---|---|---|---|---|---|")
    power = [needed(case, args.reps, args.seed + i) for i, case in enumerate(CASES)]
    for p in power:
        print(f"| {p.quality} | {p.mean:.2f} | {p.target:.2f} | {p.median:.0f} | {p.most:.0f} | {p.wrong:.3f} |")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"cells": [asdict(c) for c in cells], "power": [asdict(p) for p in power]}, file, indent=1)
    if worst := [c for c in cells if c.violated > allowed]:
        raise SystemExit(f"violated too often: {worst}")


if __name__ == "__main__":
    main()
