"""Does the promise hold, and what does it cost? Coverage and violations of every rule, by simulation.

    python benchmarks/promise.py --reps 500 --json promise.json

Items have a score and a quality in [0, 1] whose marginal is a Beta distribution; a Gaussian copula ties
them together. Mean, spread and correlation are set so that oracle coverage, the plug-in rule, the t rule and the
dataset promise match ``statistics.md`` sections 3.5 and 3.6 (target .6: oracle .85 / .59 / .23 for a strong, a medium
and a weak model). A *violation* is a run whose machine-labelled pool items break the promise. Exits with
1 if a rule that must hold is violated in more than delta + 2 standard errors of the runs, or a coverage
goal is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
from scipy.stats import beta, norm

from gtloop.promise import Evidence, Promise, certify, look_deltas, symmetric_batch

DELTA = 0.1
TARGET = 0.6
SPREAD = 0.27
TIE = 0.134  # covariance of quality and standardised score, the same for all models
MEAN = {"strong": 0.563, "medium": 0.514, "weak": 0.425}
ACCURACY = {"strong": 0.93, "medium": 0.88, "weak": 0.75}


@cache
def _quantiles(mean: float) -> np.ndarray:
    k = mean * (1 - mean) / SPREAD**2 - 1
    return beta.ppf(np.linspace(0, 1, 20001), mean * k, (1 - mean) * k)


def qualities(model: str, z: np.ndarray) -> np.ndarray:
    """Beta qualities at standard normal latents ``z``."""
    return np.interp(norm.cdf(z), np.linspace(0, 1, 20001), _quantiles(MEAN[model]))


def draw(
    rng: np.random.Generator, model: str, m: int, skill: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and qualities of m items; ``skill`` is the part of the latent that stays between models."""
    rho = TIE / SPREAD
    score = rng.standard_normal(m)
    noise = rng.standard_normal(m)
    if skill is not None:
        score = 0.8 * skill[0] + 0.6 * score
        noise = 0.8 * skill[1] + 0.6 * noise
    return score, qualities(model, rho * score + math.sqrt(1 - rho * rho) * noise)


def draw_binary(rng: np.random.Generator, model: str, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and 0/1 qualities: right with probability rising in the score, ACCURACY on average."""
    score = rng.standard_normal(m)
    latent = 0.7 * score + math.sqrt(1 - 0.49) * rng.standard_normal(m)
    return score, (latent > norm.ppf(1 - ACCURACY[model])).astype(float)


def evidence(score: np.ndarray, y: np.ndarray, val: np.ndarray, rng: np.random.Generator) -> Evidence:
    """A look at items of which ``val`` marks the validation ones."""
    m = len(y)
    exact = np.ones(m, dtype=bool)
    return Evidence(score, np.where(val, y, np.nan), rng.permutation(m), np.full(m, "all"), exact, 1 - rng.random())


def oracle(score: np.ndarray, y: np.ndarray, target: float) -> float:
    """Widest share of items, by score, whose mean quality reaches the target."""
    means = np.cumsum(y[np.argsort(-score)]) / np.arange(1, len(y) + 1)
    reach = np.flatnonzero(means >= target)
    return (reach[-1] + 1) / len(y) if len(reach) else 0.0


@dataclass
class Cell:
    """One line of the table; ``limit`` and ``goal`` are None where the figure is only shown."""

    cell: str
    model: str
    n: int
    pool: int
    reps: int
    coverage: float = 0.0
    violation: float = 0.0
    oracle: float = 0.0
    limit: float | None = None
    goal: float | None = None
    share: float | None = None  # of the oracle's coverage, a goal
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return (self.limit is None or self.violation <= self.limit) and (
            max(self.goal or 0.0, (self.share or 0.0) * self.oracle) <= self.coverage
        )


Run = Callable[[np.random.Generator], tuple[float, bool, float]]


def measure(cell: Cell, seed: int, run: Run) -> Cell:
    began = time.perf_counter()
    outcomes = np.array([run(np.random.default_rng((seed, r))) for r in range(cell.reps)], dtype=float)
    cell.coverage, cell.violation, cell.oracle = (float(v) for v in outcomes.mean(axis=0))
    cell.seconds = time.perf_counter() - began
    return cell


def one_look(promise: Promise, model: str, n: int, pool: int) -> Run:
    """Random validation, one look."""

    def run(rng: np.random.Generator) -> tuple[float, bool, float]:
        maker = draw_binary if promise.binary else draw
        score, y = maker(rng, model, n + pool)
        val = np.arange(n + pool) < n
        _, accepted = certify(evidence(score, y, val, rng), promise, promise.delta, n + pool)
        mine = accepted & ~val
        return (
            float(mine[~val].mean()),
            bool(mine.any() and y[mine].mean() < promise.target),
            oracle(score, y, promise.target),
        )

    return run


def dataset(max_loss: float, rule: str, model: str, n: int, pool: int) -> Run:
    """Mean loss over all items, labels of people counting 0."""
    promise = Promise("dataset", "mean IoU", TARGET, DELTA, rule, max_loss=max_loss)

    def run(rng: np.random.Generator) -> tuple[float, bool, float]:
        score, y = draw(rng, model, n + pool)
        val = np.arange(n + pool) < n
        _, accepted = certify(evidence(score, y, val, rng), promise, DELTA, n + pool)
        mine = accepted & ~val
        loss = np.cumsum((1 - y[~val])[np.argsort(-score[~val])]) / (n + pool)
        best = np.count_nonzero(loss <= max_loss) / pool
        return float(mine[~val].mean()), bool((1 - y[mine]).sum() > max_loss * (n + pool)), best

    return run


def several_looks(promise: Promise, n: int, pool: int, batch: int) -> Run:
    """Three looks with a better model each time; what is accepted leaves validation and pool.

    Before every look a batch goes to people, picked where the model is least sure, symmetrically.
    """

    def run(rng: np.random.Generator) -> tuple[float, bool, float]:
        m = n + pool
        skill = rng.standard_normal((2, m))
        val = rng.permutation(m) < n
        left = np.ones(m, dtype=bool)
        labelled, broken, best = np.full(m, np.nan), False, 0.0
        for model, share in zip(("weak", "medium", "strong"), look_deltas(promise.delta, promise.looks), strict=True):
            score, y = draw(rng, model, m, skill)
            left, val = pick(left, val, score, batch, rng)
            rows = np.flatnonzero(left)
            _, accepted = certify(evidence(score[rows], y[rows], val[rows], rng), promise, share, m)
            mine = rows[accepted & ~val[rows]]
            labelled[mine] = y[mine]
            broken |= bool(len(mine) and y[mine].mean() < promise.target)
            left[rows[accepted]] = False
            best = oracle(score, y, promise.target)
        return float(np.mean(~np.isnan(labelled[~val]))), broken, best

    return run


def pick(
    left: np.ndarray, val: np.ndarray, rank: np.ndarray, batch: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric picking, lowest ``rank`` first; returns what is left, and which of it is validation."""
    left, val = left.copy(), val.copy()
    rows = np.flatnonzero(left)
    prefix, refill = symmetric_batch(int((left & ~val).sum()), int((left & val).sum()), batch)
    left[rows[np.argsort(rank[rows])[:prefix]]] = False
    val &= left
    fresh = rng.permutation(np.flatnonzero(left & ~val))[:refill]
    val[fresh] = True
    return left, val


def adversary(promise: Promise, model: str, n: int, pool: int, batch: int, symmetric: bool) -> Run:
    """A sampler that takes items which are better than their score, four batches before the look."""

    def run(rng: np.random.Generator) -> tuple[float, bool, float]:
        m = n + pool
        score, y = draw(rng, model, m)
        rank = -(y - TIE * score)  # the worst it can do: it sees the true quality
        left, val = np.ones(m, dtype=bool), rng.permutation(m) < n
        for _ in range(4):
            if symmetric:
                left, val = pick(left, val, rank, batch, rng)
            else:
                rows = np.flatnonzero(left & ~val)
                left[rows[np.argsort(rank[rows])[:batch]]] = False
        rows = np.flatnonzero(left)
        _, accepted = certify(evidence(score[rows], y[rows], val[rows], rng), promise, promise.delta, m)
        mine = rows[accepted & ~val[rows]]
        rest = rows[~val[rows]]
        best = oracle(score[rest], y[rest], promise.target)
        return len(mine) / len(rest), bool(len(mine) and y[mine].mean() < promise.target), best

    return run


def cells(reps: int) -> list[tuple[Cell, Run]]:
    """Every cell with its run."""
    limit = DELTA + 2 * math.sqrt(DELTA * (1 - DELTA) / reps)
    out: list[tuple[Cell, Run]] = []

    def add(
        name: str, model: str, n: int, pool: int, run: Run, holds: bool = True, goal: float | None = None,
        share: float | None = None,
    ) -> None:  # fmt: skip
        cell = Cell(name, model, n, pool, reps, limit=limit if holds else None, goal=goal, share=share)
        out.append((cell, run))

    rules = {r: Promise("selective", "mean IoU", TARGET, DELTA, r) for r in ("exact", "ttest", "empirical")}
    goals = {(200, "strong"): 0.60, (200, "medium"): 0.33, (400, "strong"): 0.69, (400, "medium"): 0.41}
    for n, pool in ((200, 600), (200, 300), (200, 150), (200, 60), (400, 1200)):
        for model in MEAN:
            goal = goals.get((n, model)) if pool >= 600 else None
            add("exact", model, n, pool, one_look(rules["exact"], model, n, pool), goal=goal)
    for rule in ("ttest", "empirical"):
        for n, pool in ((200, 600), (200, 150), (400, 1200)):
            for model in MEAN:
                add(rule, model, n, pool, one_look(rules[rule], model, n, pool), holds=False)
    looks = Promise("selective", "mean IoU", TARGET, DELTA, looks=3)
    add("3 looks", "improving", 200, 1000, several_looks(looks, 200, 1000, 100))
    for model in ("strong", "medium"):
        add("adversary, symmetric", model, 200, 1000, adversary(rules["exact"], model, 200, 1000, 100, True))
        add("adversary, naive", model, 200, 1000, adversary(rules["exact"], model, 200, 1000, 100, False), holds=False)
    for n, pool in ((200, 600), (200, 150), (400, 1200)):
        for model in MEAN:
            binary = Promise("selective", "accuracy", 0.95, DELTA, binary=True)
            add("binary .95", model, n, pool, one_look(binary, model, n, pool))
    for max_loss in (0.1, 0.2):
        for model in MEAN:
            run = dataset(max_loss, "exact", model, 200, 600)
            add(f"dataset {max_loss}", model, 200, 600, run, share=0.9)
    add("dataset 0.2, empirical", "medium", 200, 600, dataset(0.2, "empirical", "medium", 200, 600), holds=False)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cells whose name starts with this")
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    print(
        f"{'cell':<24}{'model':<11}{'n':>5}{'pool':>6}{'coverage':>10}{'oracle':>8}{'violated':>10}{'limit':>7}{'goal':>6}"
    )
    done = []
    for cell, run in cells(args.reps):
        if not cell.cell.startswith(args.only):
            continue
        measure(cell, args.seed, run)
        done.append(cell)
        limit = "" if cell.limit is None else f"{cell.limit:.3f}"
        goal = "" if cell.goal is None else f"{cell.goal:.2f}"
        print(
            f"{cell.cell:<24}{cell.model:<11}{cell.n:>5}{cell.pool:>6}{cell.coverage:>10.3f}{cell.oracle:>8.3f}"
            f"{cell.violation:>10.3f}{limit:>7}{goal:>6}{'' if cell.ok else '  MISSED'}",
            flush=True,
        )
    if args.json:
        with open(args.json, "w") as f:
            json.dump([asdict(c) | {"ok": c.ok} for c in done], f, indent=1)
    return 0 if all(c.ok for c in done) else 1


if __name__ == "__main__":
    raise SystemExit(main())
