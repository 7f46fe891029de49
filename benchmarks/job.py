"""A whole job on generated pictures: time, gtloop's own share of it, people's answers, dollars, true quality.

    python benchmarks/job.py --images 1000 --presets default,ground-truth --seed 0 --folder /tmp/job

Prints one JSON line a preset. ``own_share`` is the share of the run's wall time that is not fitting or
predicting (as the run's events record them); making the pictures is not part of the run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gtloop_plugins.demo.scenes import write_dataset

MACHINE = ("fit", "predict", "cross_fit")


def gtloop(*args: str) -> str:
    """Run the program and return what it prints."""
    done = subprocess.run([sys.executable, "-m", "gtloop", *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"gtloop {' '.join(args)}\n{done.stderr}")
    return done.stdout


def job(folder: Path, preset: str, seed: int, extra: list[str]) -> dict[str, Any]:
    """One run and its report."""
    run = folder / f"run-{preset}-{seed}"
    started = time.monotonic()
    source = ["--run", str(run), "--truth", str(folder / "truth.jsonl"), "--classes", "bird", "--preset", preset]
    people = ["--annotator", "synthetic", "-o", "annotators.synthetic.noise=0.5"]  # as in gtloop demo
    gtloop("run", str(folder / "images"), *source, "--seed", str(seed), "--json", *people, *extra)
    wall = time.monotonic() - started
    report = json.loads(gtloop("report", str(run), "--json"))
    seconds: dict[str, float] = {}
    for i in report["iterations"]:
        for step, value in i["seconds"].items():
            seconds[step] = seconds.get(step, 0.0) + value
    machine = sum(seconds.get(step, 0.0) for step in MACHINE)
    promise = report["promise"]
    return {
        "preset": preset,
        "seed": seed,
        "seconds": round(wall, 1),
        "steps": {k: round(v, 1) for k, v in seconds.items()},
        "own_share": round((wall - machine) / wall, 4),
        "items": report["items"],
        "annotations": report["annotations"],
        "cost_usd": report["cost_usd"],
        "saving": report["saving"],
        "saving_items": report["saving_items"],
        "promise": {k: promise[k] for k in ("target", "rule", "certified", "estimated", "true", "kept", "why")},
        "quality": report["quality"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--presets", default="default,ground-truth")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep pictures and runs here")
    parser.add_argument("-o", dest="options", action="append", default=[], help="passed on to gtloop run")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="gtloop-job-"))
    write_dataset(folder, args.images, args.seed)
    extra = [part for option in args.options for part in ("-o", option)]
    for preset in args.presets.split(","):
        print(json.dumps(job(folder, preset, args.seed, extra)), flush=True)


if __name__ == "__main__":
    main()
