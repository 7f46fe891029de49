"""When to look: does the run that chooses by itself cost much more than the best fixed plan in hindsight?

    python benchmarks/look.py --seeds 10 --json look.json

Whole runs on photographs of digits (``shared/data``), simulated people, a model that fits in a second, three answers of
$.036 and a fee of $.08 an image, by people or machine. Fixed plans look after so many labels; the other weighs that
each round (``loop.look = "cheapest"``). All start from the same random labels. Costs are shares of what people alone
would cost.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from planning import digits, source

from gtloop import config
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
    return {**found, "cheapest": {"sizes.look_at": 900, "loop.look": "cheapest", "loop.explore": 0.1}}


def measure(job: tuple[str, str, int, str]) -> tuple[str, str, int, float, float]:
    """One whole run: its cost as a share of people's alone, and the share labelled by machine."""
    name, plan, seed, scratch = job
    folder = Path(tempfile.mkdtemp(dir=scratch))
    flags, labelled = digits(folder, 20_000 + seed, IMAGES)
    flags |= {"run.annotator": "synthetic", "run.seed": seed, "annotators.synthetic": {"noise": 0.2, "spammers": 0.0}}
    flags |= JOBS[name] | PRICES | SIZES | plans()[plan] | source(folder, "job", labelled)
    registry = Registry.load(extra_modules=["planning"])
    _, found = run_or_resume(folder / "run", config.load(None, flags), registry)
    shutil.rmtree(folder)
    cost = found["cost_usd"]
    return name, plan, seed, cost["total"] / cost["if_all_human"], found["saving_items"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", default="", help="jobs whose name holds this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    began, cost = time.perf_counter(), {}
    with tempfile.TemporaryDirectory(prefix="gtloop-look-") as scratch, ProcessPoolExecutor(args.jobs) as workers:
        todo = [(n, p, s, scratch) for n in JOBS if args.only in n for s in range(args.seeds) for p in plans()]
        for name, plan, seed, share, _ in workers.map(measure, todo):
            cost[name, plan, seed] = share
    ok, shown = True, []
    for name in dict.fromkeys(n for n, _, _ in cost):
        table = {p: np.array([cost[name, p, s] for s in range(args.seeds)]) for p in plans()}
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
