"""A job of 1,000 images on the MTurk emulator: without faults, with them, and killed 200 times on the way.

    python benchmarks/mturk.py
    python benchmarks/mturk.py --images 200 --kills 20 --faults 0.1

Every run has to give the same labels and the same dollars, and the emulator's books those of the ledger. One JSON line
a run; it ends with an error where anything differs. The emulator answers at once, so that time is that of the calls.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE / "tests" / "mturk"), str(HERE / "tests" / "e2e")]

import jobs  # noqa: E402
import runs  # noqa: E402

SIZES = {"probe": 10, "validation": 200, "train": 100, "batch": 100, "look_at": 400}


def measure(
    folder: Path, images: Path, name: str, args: argparse.Namespace, faults: float, kills: int
) -> dict[str, Any]:
    """One job; with ``kills``, drivers and now and then the emulator are killed."""
    emulator = jobs.Process(folder / f"emulator-{name}", **jobs.plan(args.task, args.images, faults))
    sizes = {f"sizes__{key}": value * args.images // 1000 or 1 for key, value in SIZES.items()}
    given = jobs.settings(images, emulator, args.task, **sizes)
    began = time.monotonic()
    try:
        done = jobs.kill_often(folder / name, given, kills, random.Random(name), args.between)
        seconds = time.monotonic() - began
        emulator.kill()
        emulator.start()
        jobs.check_books(emulator, folder / name)
        calls = emulator.ask("books")["calls"]
    finally:
        emulator.kill()
    human, fees = jobs.dollars(folder / name)
    labels = jobs.said(folder / name)
    return {
        "job": name,
        "seconds": round(seconds),
        "kills": done,
        "calls": sum(calls.values()),
        "repeated_posts": calls.get("CreateHITWithHITType AWS.MechanicalTurk.HitAlreadyExists", 0),
        "labels": len(labels),
        "machine": sum(label["source"] == "machine" for label in labels),
        "workers_usd": human / 1e6,
        "fees_usd": fees / 1e6,
        "result": labels,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--task", default="bbox")
    parser.add_argument("--faults", type=float, default=0.05, help="share of calls that go wrong")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--between", type=float, default=2.0, help="most seconds between two kills")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        images, _ = runs.make_images(folder, args.images, args.task)
        plain = measure(folder, images, "plain", args, 0.0, 0)
        report(plain, plain)
        report(measure(folder, images, "faults", args, args.faults, 0), plain)
        kills = 0
        while kills < args.kills:  # a job ends some time, however often it is killed: then another
            found = measure(folder, images, f"killed-{kills}", args, args.faults, args.kills - kills)
            report(found, plain)
            kills += found["kills"]


def report(found: dict[str, Any], plain: dict[str, Any]) -> None:
    """Print what was found, and stop where it differs."""
    same = all(found[key] == plain[key] for key in ("result", "workers_usd", "fees_usd"))
    print(json.dumps({k: v for k, v in found.items() if k != "result"} | {"same": same}), flush=True)
    if not same:
        raise SystemExit(f"{found['job']}: other labels or dollars than without faults")


if __name__ == "__main__":
    main()
