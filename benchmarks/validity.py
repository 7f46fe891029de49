"""Is the promise kept in whole runs? Against what people would have said of each machine label, and against the truth.

    python benchmarks/validity.py --runs 50 --json validity.json

Whole runs of the real loop on photographs of digits (``shared/data``), drawn anew for each run, with simulated people
and a model that fits in a second. The last sampler works against the promise: it takes the digits that are easy for any
model, whatever their score. Exits with 1 if a promise is broken in more than delta + 2 standard errors of the runs.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from planning import digits, source

import gtloop
from gtloop import config
from gtloop.interfaces import Pick, PoolView, Sampler
from gtloop.registry import Registry
from gtloop.run import run_or_resume
from gtloop_plugins.commands.planning.counterfactual import outcome

DELTA = 0.1
IMAGES = 1200
EASY: set[int] = set()
"""Rows of easy digits of the run that this process is at: what the adversary knows."""

LATE = {"sizes.look_at": 500, "sizes.batch": 60}
"""A look after two batches of a sampler."""
DATASET = {"promise.kind": "dataset", "promise.target": None, "promise.max_loss": 0.05}
CELLS: dict[str, dict[str, Any]] = {
    "mean": {"run.score": "mean"},
    "learned": {"run.score": "learned"},
    "learned, no cross-fit": {"run.score": "learned", "promise.cross_fit": 0},
    "learned, 3 looks": {"run.score": "learned", "promise.looks": 3, "sizes.batch": 60, "run.sampler": "uncertainty"},
    "learned, sampler": {"run.score": "learned", "run.sampler": "uncertainty", **LATE},
    "learned, adversary": {"run.score": "learned", "run.sampler": "adversary", **LATE},
    "dataset, learned": {"run.score": "learned", **DATASET},
    "dataset, adversary": {"run.score": "learned", "run.sampler": "adversary", **LATE, **DATASET},
}


class Adversary(Sampler):
    """Takes what is easy out of the pool, so that what stays is worse than it was."""

    name = "adversary"
    summary = "takes easy digits first"

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        easy = np.isin(view.rows, list(EASY)).astype(float)
        return Pick(view.highest(easy, n, rng), "easy for any model")


@gtloop.hookimpl
def gtloop_samplers() -> list[type[Sampler]]:
    return [Adversary]


@dataclass
class Cell:
    """One line of the table: shares of runs, and means over those that labelled something by machine."""

    name: str
    runs: int = 0
    labelling: int = 0
    machine_share: list[float] = field(default_factory=list)
    broken_people: int = 0
    broken_truth: int = 0
    quality_people: list[float] = field(default_factory=list)

    @property
    def limit(self) -> float:
        return DELTA + 2 * math.sqrt(DELTA * (1 - DELTA) / max(1, self.runs))

    def add(self, share: float, found: dict[str, Any]) -> None:
        self.runs += 1
        self.machine_share.append(share)
        self.labelling += found["people"] is not None
        self.broken_people += found["kept_people"] is False
        self.broken_truth += found["kept_truth"] is False
        if found["people"] is not None:
            self.quality_people.append(found["people"])

    @property
    def ok(self) -> bool:
        return self.broken_people <= self.limit * self.runs


def measure(job: tuple[str, int, str]) -> tuple[str, float, dict[str, Any]]:
    """One whole run: cell, share labelled by machine, and how good that was."""
    name, seed, scratch = job
    folder = Path(tempfile.mkdtemp(dir=scratch))
    flags, labelled = digits(folder, 10_000 + seed, IMAGES)
    flags |= {"run.annotator": "synthetic", "run.seed": seed, **CELLS[name]}
    flags |= source(folder, "job", labelled)
    registry = Registry.load(extra_modules=["planning", "validity"])
    import validity

    validity.EASY = {row for row, label in enumerate(labelled.values()) if label["category"] in "016"}
    run_or_resume(folder / "run", config.load(None, flags), registry)
    run = gtloop.open(folder / "run")
    promise = run.status(registry)["promise"]
    found = outcome(run, registry, promise)
    share = run.status(registry)["saving_items"]
    shutil.rmtree(folder)
    return name, share, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--only", default="", help="cells whose name holds this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    began, cells = time.perf_counter(), {n: Cell(n) for n in CELLS if args.only in n}
    with tempfile.TemporaryDirectory(prefix="gtloop-validity-") as scratch, ProcessPoolExecutor(args.jobs) as workers:
        jobs = [(n, s, scratch) for s in range(args.first, args.first + args.runs) for n in cells]
        for name, share, found in workers.map(measure, jobs):
            cells[name].add(share, found)
    print(f"{'cell':<24}{'runs':>5}{'labelled':>9}{'share':>8}{'quality':>9}{'broken':>8}{'truth':>7}{'limit':>7}")
    for c in cells.values():
        quality = f"{np.mean(c.quality_people):.3f}" if c.quality_people else ""
        print(
            f"{c.name:<24}{c.runs:>5}{c.labelling:>9}{np.mean(c.machine_share):>8.3f}{quality:>9}"
            f"{c.broken_people / c.runs:>8.2f}{c.broken_truth / c.runs:>7.2f}{c.limit:>7.2f}"
            f"{'' if c.ok else '  MISSED'}"
        )
    print(f"{time.perf_counter() - began:.0f} s")
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(c) | {"ok": c.ok} for c in cells.values()], indent=1))
    return 0 if all(c.ok for c in cells.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
