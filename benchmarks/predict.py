"""Pool prediction as a run does it, against a bare loop of the same model, and against one image at a time.

    python benchmarks/predict.py --task bbox --images 400

Three ways over the same images with the same fitted model, decoder and batch size:

- ``run``: ``gtloop.vision.predict_rows``: executor ``local``, the task's features and slices, shards synced to disk;
- ``bare``: what one writes by hand: threads decode and prepare ahead, a loop over batches, results in a list;
- ``one``: no threads, no batches: open, prepare and predict an image, then the next.

They take turns, ``--rounds`` times, after one turn that is not counted; ratios are of median throughputs. The goal is
``run/bare`` of 0.95 or more. Pictures are generated JPEGs (320 x 240, or ``--size``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gtloop import config
from gtloop.images import open_image
from gtloop.interfaces import Example
from gtloop.job import Job, Plugins, fold_ledger
from gtloop.ledger import Ledger
from gtloop.records import Item
from gtloop.registry import Registry
from gtloop.run import run_or_resume
from gtloop.vision import predict_rows
from gtloop_plugins.demo.scenes import write_dataset
from gtloop_plugins.demo.species import SPECIES

LEDGER = "ledger.sqlite"
CLASSES = {"bbox": ("bird",), "classification": SPECIES, "segmentation": ("background", "bird")}


def job_of(folder: Path, a: argparse.Namespace) -> Job:
    """A run that has just started: items listed, nobody has answered yet."""
    flags: dict[str, Any] = {
        "run.source": str(folder / "images"),
        "run.truth": str(folder / ("masks" if a.task == "segmentation" else "truth.jsonl")),
        "run.task": a.task,
        "run.classes": CLASSES[a.task],
        "run.annotator": "files",
        "run.detector": a.detector,
    }
    if a.task == "segmentation":
        flags["tasks.segmentation"] = {"background": "background"}
    settings = config.load(None, flags, tuple(a.options))
    registry, root = Registry.load(), folder / "run"
    run_or_resume(root, settings, registry, yes=True)
    ledger = Ledger.open(root / LEDGER)
    state = fold_ledger(ledger, root)
    return Job(root, ledger, state, settings, registry, Plugins(settings, registry, root, state.facts))


def fitted(job: Job, examples: int) -> str:
    """A model after a short fit: what it learnt is not the point."""
    folder = job.root / "models" / "bench"
    folder.mkdir(parents=True)
    truth = job.plugins.truth
    chosen = [Example(job.items[row], truth[row]) for row in sorted(truth)[:examples]]
    job.plugins.detector.fit(chosen, folder, seed=0, effort=0.02)
    return "models/bench"


def bare(job: Job, model: str, items: list[Item], batch: int) -> int:
    """The loop that a person writes: threads decode two batches ahead."""
    detector = job.plugins.detector
    loaded = detector.load(job.root / model)
    found: list[Any] = []
    with ThreadPoolExecutor() as pool:
        ahead = [pool.submit(lambda i=i: detector.prepare(open_image(i.uri), i)) for i in items[: 2 * batch]]
        for start in range(0, len(items), batch):
            prepared = [f.result() for f in ahead[:batch]]
            more = items[start + 2 * batch : start + 3 * batch]
            ahead = ahead[batch:] + [pool.submit(lambda i=i: detector.prepare(open_image(i.uri), i)) for i in more]
            found += detector.predict_batch(loaded, prepared)
    return len(found)


def one(job: Job, model: str, items: list[Item]) -> int:
    """Image after image."""
    detector = job.plugins.detector
    loaded = detector.load(job.root / model)
    return sum(len(detector.predict_batch(loaded, [detector.prepare(open_image(i.uri), i)])) for i in items)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("bbox", "classification", "segmentation"), default="bbox")
    parser.add_argument("--detector", default="torchvision")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", default="320x240", help="width x height of the pictures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as it likes")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="KEY=VALUE", help="any option")
    a = parser.parse_args()
    if a.threads:
        import torch

        torch.set_num_threads(a.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        width, height = (int(v) for v in a.size.split("x"))
        write_dataset(folder, a.images, seed=7, size=(width, height), task=a.task)
        job = job_of(folder, a)
        model = fitted(job, 12)
        items = [job.items[row] for row in range(len(job.items))]
        rows = np.arange(len(job.items), dtype=np.int32)
        batch = job.plugins.detector.batch_size
        ways: dict[str, Callable[[int], Any]] = {
            "run": lambda k: predict_rows(job, f"bench{k}", model, rows),
            "bare": lambda k: bare(job, model, items, batch),
            "one": lambda k: one(job, model, items),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for k in range(a.rounds + 1):
            for way, work in ways.items():
                started = time.perf_counter()
                work(k)
                if k:
                    seconds[way].append(time.perf_counter() - started)
        job.ledger.close()
    speed = {way: len(items) / statistics.median(s) for way, s in seconds.items()}
    print(
        json.dumps(
            {
                "task": a.task,
                "detector": a.detector,
                "images": len(items),
                "batch": batch,
                "images_per_second": {way: round(v, 2) for way, v in speed.items()},
                "run/bare": round(speed["run"] / speed["bare"], 3),
                "run/one": round(speed["run"] / speed["one"], 3),
                "seconds": {way: [round(s, 2) for s in of] for way, of in seconds.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
