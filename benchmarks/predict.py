"""How fast a pool is predicted, against what one writes by hand with the same model.

    python benchmarks/predict.py --task bbox --images 400
    python benchmarks/predict.py --size 1920x1080 --images 60 --ways run,bare,loader,ray
    python benchmarks/predict.py --executor ray --ways run,ray
    python benchmarks/predict.py --detector ultralytics -o detectors.ultralytics.scratch=true --ways run,ultralytics

Ways over the same images with the same fitted model and batch size (``--ways``):

- ``run``: ``gtloop.vision.predict_rows``: executor, the task's features and slices, shards synced to disk;
- ``bare``: what one writes by hand: threads decode and prepare ahead, a loop over batches, results in a list;
- ``one``: no threads, no batches: open, prepare and predict an image, then the next;
- ``loader``: a torch DataLoader whose ``--workers`` processes decode and prepare, a loop over its batches;
- ``ray``: Ray Data by hand: ``map_batches`` over the paths with ``--workers`` actors, results taken as they come;
- ``ultralytics``: that library's own ``predict(source=folder, stream=True)``; with its detector only.

They take turns, ``--rounds`` times, after one turn that is not counted (Ray starts in it); ratios are of median
throughputs. The goal is 0.95 or more of the best of the others. Pictures are generated JPEGs (``--size``).
What is written by hand decodes whole images, as one does; ``--reduced`` has it decode large JPEGs at the scale that the
detector asks for, as gtloop does.
"""

from __future__ import annotations

import argparse
import json
import os
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
from gtloop_plugins.executors.ray import cluster

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
        "run.executor": a.executor,
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


class ByHand:
    """The ways that a person writes, on one job with one model."""

    def __init__(self, job: Job, model: str, a: argparse.Namespace) -> None:
        self.detector, self.folder = job.plugins.detector, job.root / model
        self.items = [job.items[row] for row in range(len(job.items))]
        self.source = str(job.settings.run.source)
        self.batch, self.workers, self.reduced = self.detector.batch_size, a.workers, a.reduced

    def prepared(self, item: Item) -> Any:
        least = self.detector.least_size(*item.display_size) if self.reduced and item.display_size else None
        return self.detector.prepare(open_image(item.uri, least=least), item)

    def bare(self) -> int:
        """Threads decode two batches ahead."""
        loaded, batch, items = self.detector.load(self.folder), self.batch, self.items
        found: list[Any] = []
        with ThreadPoolExecutor() as pool:
            ahead = [pool.submit(self.prepared, i) for i in items[: 2 * batch]]
            for start in range(0, len(items), batch):
                prepared = [f.result() for f in ahead[:batch]]
                more = items[start + 2 * batch : start + 3 * batch]
                ahead = ahead[batch:] + [pool.submit(self.prepared, i) for i in more]
                found += self.detector.predict_batch(loaded, prepared)
        return len(found)

    def one(self) -> int:
        """Image after image."""
        loaded = self.detector.load(self.folder)
        return sum(len(self.detector.predict_batch(loaded, [self.prepared(i)])) for i in self.items)

    def loader(self) -> int:
        """A DataLoader: the model computes in this process."""
        from torch.utils.data import DataLoader

        loaded = self.detector.load(self.folder)
        batches: Any = DataLoader(
            Prepared(self),  # type: ignore[arg-type]
            batch_size=self.batch,
            num_workers=self.workers,
            collate_fn=list,
        )
        return sum(len(self.detector.predict_batch(loaded, prepared)) for prepared in batches)

    def ray(self) -> int:
        """Ray Data: each actor decodes and predicts."""
        import ray

        cluster.join(cluster.LOCAL)
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = ray.data.from_items([{"at": at} for at in range(len(self.items))], override_num_blocks=4 * self.workers)
        pool = ray.data.ActorPoolStrategy(size=self.workers)
        made = rows.map_batches(Predictor, fn_constructor_args=(self,), batch_size=self.batch, compute=pool, num_cpus=1)
        return sum(len(batch["raw"]) for batch in made.iter_batches(batch_size=self.batch))

    def ultralytics(self) -> int:
        """The library's own stream, at the same size, with the same network."""
        from ultralytics import YOLO

        yolo = YOLO("yolo26n.yaml", verbose=False)
        yolo.model = self.detector.load(self.folder).net
        size = self.detector.options.imgsz
        return sum(1 for _ in yolo.predict(self.source, stream=True, batch=self.batch, imgsz=size, verbose=False))


class Prepared:
    """A data set of prepared images."""

    def __init__(self, by_hand: ByHand) -> None:
        self.by_hand = by_hand

    def __len__(self) -> int:
        return len(self.by_hand.items)

    def __getitem__(self, at: int) -> Any:
        return self.by_hand.prepared(self.by_hand.items[at])


class Predictor:
    """What Ray Data's actors do."""

    def __init__(self, by_hand: ByHand) -> None:
        self.by_hand = by_hand
        self.loaded = by_hand.detector.load(by_hand.folder)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        prepared = [self.by_hand.prepared(self.by_hand.items[at]) for at in batch["at"]]
        return {"raw": [json.dumps(raw) for raw in self.by_hand.detector.predict_batch(self.loaded, prepared)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("bbox", "classification", "segmentation"), default="bbox")
    parser.add_argument("--detector", default="torchvision")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", default="320x240", help="width x height of the pictures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--executor", default="local", help="of run")
    parser.add_argument("--ways", default="run,bare,one", help="run first, then those that it is compared with")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes of loader, actors of ray")
    parser.add_argument("--reduced", action="store_true", help="all decode large JPEGs at reduced scale")
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
        rows = np.arange(len(job.items), dtype=np.int32)
        by_hand = ByHand(job, model, a)
        ways: dict[str, Callable[[int], Any]] = {
            "run": lambda k: predict_rows(job, f"bench{k}", model, rows),
            "bare": lambda _: by_hand.bare(),
            "one": lambda _: by_hand.one(),
            "loader": lambda _: by_hand.loader(),
            "ray": lambda _: by_hand.ray(),
            "ultralytics": lambda _: by_hand.ultralytics(),
        }
        ways = {way: ways[way] for way in a.ways.split(",")}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for k in range(a.rounds + 1):
            for way, work in ways.items():
                started = time.perf_counter()
                work(k)
                if k:
                    seconds[way].append(time.perf_counter() - started)
        job.ledger.close()
    speed = {way: len(rows) / statistics.median(s) for way, s in seconds.items()}
    print(
        json.dumps(
            {
                "task": a.task,
                "detector": a.detector,
                "executor": a.executor,
                "size": a.size,
                "images": len(rows),
                "batch": by_hand.batch,
                "images_per_second": {way: round(v, 2) for way, v in speed.items()},
                **{f"run/{way}": round(speed["run"] / speed[way], 3) for way in ways if "run" in ways and way != "run"},
                "seconds": {way: [round(s, 2) for s in of] for way, of in seconds.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
