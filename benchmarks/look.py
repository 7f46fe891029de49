"""When to look: does the run that chooses by itself cost much more than the best fixed plan in hindsight?

    python benchmarks/look.py --seeds 10 --json look.json
    python benchmarks/look.py --seeds 10 --ridge 100

Whole runs on photographs of digits (``shared/data``), simulated people, a model that fits in a second, three answers of
$.036 and a fee of $.08 an image, by people or machine. Fixed plans look after so many labels; the other weighs that
each round (``loop.look = "cheapest"``), and may wait a batch longer than the last of them. All start from the same
random labels. Costs are shares of what people alone would cost; each run says what it cost, and what it had weighed.

With the usual ridge of 1 the model is at its worst in mid-run, where it has as many labels as features (double
descent).
With 100 it only gets better.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import planning
from planning import digits, source

import gtloop
from gtloop import config
from gtloop.caching import FOLDER
from gtloop.events import Considered
from gtloop.registry import Registry
from gtloop.run import run_or_resume

IMAGES, RANDOM = 2000, 300
FIXED = (300, 500, 700, 900, 1200)
"""Labels at which a fixed plan looks; the first does so as soon as it can, with cross-fitting."""
JOBS: dict[str, dict[str, Any]] = {
    "selective .9": {"promise.target": 0.9},
    "selective .97": {"promise.target": 0.97},
    "dataset .02": {"promise.kind": "dataset", "promise.target": None, "promise.max_loss": 0.02},
}
PRICES = {"prices.answer_usd": "0.036", "prices.item_fee_usd": "0.08", "prices.machine_fee_usd": "0.08"}
SIZES = {"sizes.validation": 150, "sizes.train": 150, "sizes.batch": 100, "run.sampler": "uncertainty"}


def plans() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {f"at {n}": {"sizes.look_at": n} for n in FIXED}
    return {**found, "cheapest": {"sizes.look_at": 900, "loop.look": "cheapest", "loop.explore": 0.2}}


class Measured(NamedTuple):
    """One whole run: cost as a share of people's alone, share labelled by machine, labels of people before the look."""

    name: str
    plan: str
    seed: int
    cost: float
    machine: float
    looked_at: int
    weighed: str
    """A round each: labels so far, expected cost of looking now and of the best later look (shares of all-human)."""


def measure(job: tuple[str, str, int, float, str]) -> Measured:
    name, plan, seed, ridge, scratch = job
    planning.RIDGE = ridge
    os.environ[FOLDER] = f"{scratch}/fits-{seed}"  # equal fits are made once for all plans
    folder = Path(tempfile.mkdtemp(dir=scratch))
    flags, labelled = digits(folder, 20_000 + seed, IMAGES)
    flags |= {"run.annotator": "synthetic", "run.seed": seed, "annotators.synthetic": {"noise": 0.2, "spammers": 0.0}}
    flags |= JOBS[name] | PRICES | SIZES | plans()[plan] | source(folder, "job", labelled)
    registry = Registry.load(extra_modules=["planning"])
    _, found = run_or_resume(folder / "run", config.load(None, flags), registry)
    asked, looked_at, weighed, alone = 0, 0, [], found["cost_usd"]["if_all_human"]
    for entry in gtloop.open(folder / "run").events():
        e = entry.event
        if e.type == "looked":
            looked_at = asked
        asked += e.requests.rows if e.type == "batch-committed" else 0
        if isinstance(e, Considered) and e.plans:
            now, *later = (round((p.cost / 1e6 + alone * asked / IMAGES) / alone, 3) for p in e.plans)
            weighed.append(f"{asked}: {now} / {min(later, default=now)}")
    shutil.rmtree(folder)
    cost = found["cost_usd"]["total"] / alone
    return Measured(name, plan, seed, cost, found["saving_items"], looked_at, "; ".join(weighed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--ridge", type=float, default=planning.RIDGE, help="of the model: how much it smooths")
    parser.add_argument("--only", default="", help="jobs whose name holds this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    began, cost = time.perf_counter(), {}
    with tempfile.TemporaryDirectory(prefix="gtloop-look-") as scratch, ProcessPoolExecutor(args.jobs) as workers:
        todo = [(n, p, s, args.ridge, scratch) for s in seeds for n in JOBS if args.only in n for p in plans()]
        for m in workers.map(measure, todo):
            cost[m.name, m.plan, m.seed] = m.cost
            told = f"; weighed {m.weighed}" if m.weighed else ""
            print(f"seed {m.seed}, {m.name}, {m.plan}: {m.cost:.3f}, looked at {m.looked_at}{told}", flush=True)
    ok, shown = True, []
    for name in dict.fromkeys(n for n, _, _ in cost):
        table = {p: np.array([cost[name, p, s] for s in seeds]) for p in plans()}
        fixed = np.array([table[p] for p in table if p != "cheapest"])
        ratio = table["cheapest"] / fixed.min(axis=0)
        best = min((p for p in table if p != "cheapest"), key=lambda p: float(table[p].mean()))
        print(f"{name}: " + ", ".join(f"{p} {v.mean():.3f} +- {v.std():.3f}" for p, v in table.items()))
        print(
            f"  cheapest / best of each run in hindsight {ratio.mean():.3f} (worst {ratio.max():.3f}); "
            f"/ best fixed plan on average ({best}) {table['cheapest'].mean() / table[best].mean():.3f}; "
            f"most of all-human {table['cheapest'].max():.3f}",
            flush=True,
        )
        ok &= ratio.mean() <= 1.15 and table["cheapest"].max() <= 1.10
        shown.append({"job": name, **{p: v.tolist() for p, v in table.items()}, "ratio": ratio.tolist()})
    print(f"{time.perf_counter() - began:.0f} s")
    if args.json:
        Path(args.json).write_text(json.dumps(shown, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
