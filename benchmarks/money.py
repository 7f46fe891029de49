"""What a job of 1,000 pictures costs, and whether its promise is kept: the demo's job at Ground Truth's prices.

    python benchmarks/money.py --presets default,ground-truth --seeds 0,1,2 --folder /tmp/money

Each seed has pictures, people and a run of its own; a folder that holds a finished run is not run again. After it, the
run's simulated people are asked about *every* picture that a look predicted (``counterfactual``), so that the look can
be taken again with other splits: its stored predictions are kept, and who validates is drawn anew, validation among
all that the model predicted, the held-out part of a fold among its own and the reference sample, none of which that
fold's model has seen; what is drawn twice is left out. A replay labels the same share of the pool as its look did, and
the rest goes to people. It is *broken* where its machine labels are, against the people's labels, worse than promised.

Prices are Ground Truth's: people's label of an image is $.08 and five answers of $.036, so that people alone cost $260
for 1,000 images. Its fee of $.08 for a machine label is nobody's where gtloop runs; savings are given without and with.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import gtloop
from gtloop.crossfit import reference_rows
from gtloop.gathering import calibrated_folds, quantile, scored
from gtloop.job import Job
from gtloop.keyed import rng
from gtloop.opened import Run
from gtloop.predictions import raws
from gtloop.promise import Evidence, certify
from gtloop.recheck import Look, PastLook, past_looks
from gtloop.records import Payload
from gtloop.registry import Registry
from gtloop.state import POOL
from gtloop_plugins.commands.planning.counterfactual import kept, outcome, people_say
from gtloop_plugins.demo.scenes import write_dataset

DELTA = 0.1
PRICES = {"run.workers": "5", "prices.answer_usd": "0.036", "prices.item_fee_usd": "0.08"}
WITH_FEE = 1 - 0.08 / 0.26
"""What a machine label saves of people's price where it costs a fee too."""
Floats = NDArray[np.float64]


def run_job(home: Path, images: int, preset: str, seed: int, options: list[str]) -> tuple[Path, float]:
    """The folder of a finished run, and the seconds that it took; 0 where it was there already."""
    run, began = home / f"run-{preset}", time.monotonic()
    if not (home / "truth.jsonl").exists():
        write_dataset(home, images, seed)
    source = [str(home / "images"), "--run", str(run), "--truth", str(home / "truth.jsonl"), "--classes", "bird"]
    people = ["--annotator", "synthetic", "-o", "annotators.synthetic.noise=0.5"]  # as in gtloop demo
    given = [f"{key}={value}" for key, value in PRICES.items()] + ["prices.machine_fee_usd=0", *options]
    extra = [part for option in given for part in ("-o", option)]
    named = [*source, "--preset", preset, "--seed", str(seed), *people, *extra]
    state = gtloop.open(run).status()["state"] if (run / "ledger.sqlite").exists() else ""
    if state != "finished":
        args = ["run", "--run", str(run)] if state else ["run", *named]
        subprocess.run([sys.executable, "-m", "gtloop", *args, "--json"], check=True, stdout=subprocess.DEVNULL)
    return run, time.monotonic() - began


class Block(NamedTuple):
    """What one model says of items that it never saw: (m,) rows, scores, slices, quality against people's labels."""

    rows: NDArray[np.int32]
    score: Floats
    slices: NDArray[np.str_]
    quality: Floats
    drawn: int
    """How many of them validate."""


def blocks(look: Look, said: dict[int, Payload | None]) -> tuple[Block, list[Block]]:
    """The model that labels, with pool and validation; each fold's, with its held-out items and the reference."""
    job, evidence, rows = look.job, look.gathered.evidence, look.gathered.rows
    calibration, folds = calibrated_folds(job)
    exact = evidence.exact
    validating = int((~np.isnan(evidence.quality[exact])).sum())
    quality = _quality(job, look.predicted, rows[exact], calibration.cut, said)
    labels = Block(rows[exact], evidence.score[exact], evidence.slice[exact].astype(np.str_), quality, validating)
    found = []
    for model, held, own in folds if not exact.all() else []:
        predicted, reference = str(model.predicted), reference_rows(job)
        _, of_reference, _ = scored(job, predicted, reference, own)
        known, raw, slices = scored(job, predicted, np.union1d(held, reference).astype(np.int32), own)
        drawn = int(np.isin(known, held).sum())
        ranked = quantile(raw, of_reference)
        found.append(Block(known, ranked, slices, _quality(job, predicted, known, own.cut, said), drawn))
    return labels, found


def _quality(job: Job, predicted: str, rows: NDArray[np.int32], cut: float, said: dict[int, Payload | None]) -> Floats:
    """(m,) quality of a model's labels against people's; 0 where people would give none."""
    task, found = job.plugins.task, dict(raws(job, predicted, rows))
    labels = [(task.label(found[int(row)], cut), said[int(row)]) for row in rows]
    return np.array([0.0 if human is None else 1 - float(task.error(label, human)) for label, human in labels])


class Replayed(NamedTuple):
    share: float
    """Of the pool, by machine."""
    broken: bool
    quality: float


def replay(look: Look, labels: Block, folds: list[Block], draw: int) -> Replayed:
    """The look with another split."""
    chance = rng(0, "money", draw, look.past.event.look)
    taken: set[int] = set()
    parts = []
    for block in (labels, *folds):
        order = chance.permutation(len(block.rows))
        free = np.array([i for i in order if int(block.rows[i]) not in taken], np.intp)
        chosen = free[: block.drawn]
        taken |= set(block.rows[chosen].tolist())
        parts.append((block, chosen))
    validating = parts[0][1]
    pool = np.setdiff1d(np.flatnonzero(~np.isin(labels.rows, list(taken))), validating)
    score = np.concatenate([labels.score[pool], *(b.score[i] for b, i in parts)])
    truth = np.concatenate([labels.quality[pool], *(b.quality[i] for b, i in parts)])
    slices = np.concatenate([labels.slices[pool], *(b.slices[i] for b, i in parts)])
    quality = truth.copy()
    quality[: len(pool)] = np.nan
    exact = np.arange(len(score)) < len(pool) + len(validating)
    evidence = Evidence(score, quality, chance.permutation(len(score)), slices, exact, 1 - chance.random())
    accepted = certify(evidence, look.promise, look.delta, look.past.total)[1][: len(pool)]
    said = truth[: len(pool)][accepted].tolist()
    promise = {"kind": "selective", "target": look.promise.target}
    return Replayed(float(accepted.mean()), kept(said, promise, 0) is False, float(np.mean(said)) if said else math.nan)


def first_look(run: Run, registry: Registry) -> tuple[PastLook, Look]:
    past = next(p for p in past_looks(run) if p.event.model)
    return past, Look(run, past, registry, {})


def measure(home: Path, images: int, preset: str, seed: int, draws: int, options: list[str]) -> dict[str, Any]:
    """One run with its replays."""
    folder, seconds = run_job(home, images, preset, seed, options)
    registry, run = Registry.load(), gtloop.open(folder)
    status = run.status(registry)
    promise, machine = status["promise"], status["items"]["machine"]
    found = outcome(run, registry, promise)
    past, look = first_look(run, registry)
    rows = np.union1d(look.gathered.rows, reference_rows(look.job)).astype(np.int32)
    labels, folds = blocks(look, people_say(run, registry, rows))
    replays = [replay(look, labels, folds, seed * draws + k) for k in range(draws)]
    pool = past.before.count(POOL)
    return {
        "preset": preset,
        "seed": seed,
        "minutes": round(seconds / 60, 1),
        "items": {k: status["items"][k] for k in ("human", "machine")},
        "answers": status["annotations"],
        "cost_usd": {k: status["cost_usd"][k] for k in ("total", "if_all_human")},
        "saving": round(machine / images, 4),
        "saving_with_fee": round(machine / images * WITH_FEE, 4),
        "certified": promise["certified"],
        **{k: found[k] for k in ("people", "truth", "kept_people", "kept_truth")},
        "out_of_fold": [round(float(b.quality.mean()), 3) for b in (labels, *folds)],
        "replays": {
            "labelled": int(sum(r.share > 0 for r in replays)),
            "broken": int(sum(r.broken for r in replays)),
            "saving": [round(r.share * pool / images, 4) for r in replays],
            "quality": [round(r.quality, 4) for r in replays],
        },
    }


def summary(found: list[dict[str, Any]], preset: str) -> str:
    """One line about the replays of a preset."""
    some = [f["replays"] for f in found if f["preset"] == preset]
    saving = np.array([s for r in some for s in r["saving"]])
    n, broken = len(saving), sum(r["broken"] for r in some)
    low, half, high = np.quantile(saving, (0.1, 0.5, 0.9))
    limit = DELTA + 2 * math.sqrt(DELTA * (1 - DELTA) / n)
    return (
        f"{preset}: {n} replays, saving {half:.1%} (10 % to 90 %: {low:.1%} to {high:.1%}), with the fee "
        f"{half * WITH_FEE:.1%}; broken {broken / n:.3f} (limit {limit:.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--presets", default="default,ground-truth")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--replays", type=int, default=200, help="in all, over the seeds of a preset")
    parser.add_argument("--folder", type=Path, required=True, help="keeps pictures and runs")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("-o", dest="options", action="append", default=[], help="passed on to gtloop run")
    args = parser.parse_args()
    seeds, presets, found = [int(s) for s in args.seeds.split(",")], args.presets.split(","), []
    for preset in presets:
        for seed in seeds:
            home = args.folder / f"seed-{seed}"
            draws = math.ceil(args.replays / len(seeds))
            found.append(measure(home, args.images, preset, seed, draws, args.options))
            shown = {k: v for k, v in found[-1].items() if k != "replays"}
            print(json.dumps(shown), flush=True)
            if args.json:
                args.json.write_text(json.dumps(found, indent=1))
        print(summary(found, preset), flush=True)


if __name__ == "__main__":
    main()
