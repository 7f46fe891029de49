"""What gtloop itself takes as the pool grows: seconds, peak memory and disk of each step, where images cost nothing.

    python benchmarks/scale.py --items 10000,100000,1000000

Listing yields names, hashes and sizes without any file; the model knows the answers, and people give them. So all that
is left is gtloop's own work: a run of its own for each number of items, in a process of its own, to the end; then the
status and the export of it in two more. A step's memory is the most that its process held while it went on, everything
from before included. The exponent of growth is the slope, on logarithms, from one size to the next.

The run: ten random images, a validation set, a training set, one batch that the sampler ``uncertainty`` picks, a look
that labels nearly all of the pool, and the rest to people.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from unittest.mock import patch

import gtloop
from gtloop import config
from gtloop.images import Header
from gtloop.interfaces import Context, Detector, Options
from gtloop.listing import Listed
from gtloop.records import Item, Raw
from gtloop.registry import Registry
from gtloop_plugins.annotators.synthetic import Synthetic

CATEGORIES = ("cat", "dog")
SOURCE = "costless.txt"
WRONG = 0.01
"""Share of the items that the model gets wrong."""


def listed(n: int) -> Iterator[Listed]:
    """Names and addresses as long as usual ones, sorted."""
    for row in range(n):
        name = f"camera-{row // 1000:05d}/image-{row:09d}.jpg"
        yield Listed(name, f"/mnt/pictures/season-one/{name}", 100_000)


def chance(row: int) -> float:
    """A fixed number in [0, 1) of a row, that looks random."""
    return (row * 2654435761 % 2**32) / 2**32


def truth(item: Item) -> dict[str, Any]:
    return {"category": CATEGORIES[item.row * 40503 >> 4 & 1]}


class Costless(Detector):
    """Predicts from the row's number; a fit writes an empty file."""

    name = "costless"
    summary = "a model that costs nothing"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    opens_images = False
    batch_size = 1024
    Options = Options

    def fit(self, examples: Sequence[Any], workdir: Path, **_: Any) -> dict[str, float]:
        (workdir / "model").touch()
        return {}

    def load(self, workdir: Path | None) -> None:
        return None

    def prepare(self, image: Any, item: Item) -> Item:
        return item

    def predict_batch(self, model: Any, prepared: Sequence[Item]) -> list[Raw]:
        found = []
        for item in prepared:
            c = chance(item.row)
            right = CATEGORIES.index(truth(item)["category"])
            sure = 0.55 + 0.4 * c if c < WRONG else 0.6 + 0.4 * c
            at = 1 - right if c < WRONG else right
            found.append({"probabilities": [sure, 1 - sure] if at == 0 else [1 - sure, sure]})
        return found


class Knowing(Synthetic):
    """Simulated people who work the truth out instead of reading it from a file."""

    name = "knowing"
    needs = frozenset()

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, dataclasses.replace(context, truth=truth))


def plugins() -> ModuleType:
    module = ModuleType("scale_plugins")

    @gtloop.hookimpl
    def gtloop_detectors() -> list[type]:
        return [Costless]

    @gtloop.hookimpl
    def gtloop_annotators() -> list[type]:
        return [Knowing]

    module.gtloop_detectors, module.gtloop_annotators = gtloop_detectors, gtloop_annotators  # type: ignore[attr-defined]
    return module


# ------------------------------------------------------------------------------------------- measuring


def peak() -> float:
    """MiB that this process held at most since ``reset``."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def reset() -> None:
    """From here on, ``peak`` counts anew (``proc(5)``, clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


class Meter:
    """Seconds of the clock and of the processor, and peak MiB, by step; a step that comes again adds up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self.peak: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        reset()
        started, worked = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - worked
        self.peak[name] = max(self.peak.get(name, 0.0), peak())

    def found(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "cpu": self.cpu, "peak": self.peak}


# ------------------------------------------------------------------------------------------------ work


@contextmanager
def costless_images(n: int) -> Iterator[None]:
    """In the block, a source of ``n`` images that are nowhere; each can be hashed, measured and opened for nothing."""
    with (
        patch("gtloop.items.list_images", lambda *_: listed(n)),
        patch("gtloop.items.content_hash", lambda uri: hashlib.sha256(uri.encode()).hexdigest()),
        patch("gtloop.items.header", lambda _: Header(640, 480, 1, "JPEG")),
        patch("gtloop.items.open_image"),
        patch("gtloop.picking.open_image"),
    ):
        yield


def whole(n: int, root: Path, options: list[str]) -> dict[str, Any]:
    """A run to its end, step by step."""
    from gtloop import run
    from gtloop.job import Job
    from gtloop.loop import next_step, read_letters

    meter = Meter()

    def drive(job: Job, **_: Any) -> str:
        read_letters(job)
        while step := next_step(job):
            with meter.step(step.__name__.partition("_")[0]):
                events = step(job)
            with meter.step("commit"):
                job.commit(events)
        return "finished"

    def listing(*given: Any) -> Any:
        with meter.step("list"):
            return list_items(*given)

    list_items = run.list_items
    flags = {
        "run.source": SOURCE,
        "run.task": "classification",
        "run.classes": CATEGORIES,
        "run.annotator": Knowing.name,
        "run.detector": Costless.name,
        "run.sampler": "uncertainty",
        "run.workers": 1,
        "annotators.knowing.noise": 0,
        "annotators.knowing.spammers": 0,
        **{f"sizes.{k}": v for k, v in {"validation": 400, "train": 400, "batch": 200, "look_at": 1000}.items()},
    }
    settings = config.load(None, flags, tuple(options))
    with costless_images(n), patch("gtloop.run.drive", drive), patch("gtloop.run.list_items", listing):
        started = time.perf_counter()
        _, found = run.run_or_resume(root, settings, Registry.load(extra_modules=[plugins()]), yes=True)
        meter.seconds["whole run"] = time.perf_counter() - started
    meter.cpu["whole run"], meter.peak["whole run"] = time.process_time(), max(meter.peak.values())
    return meter.found() | {"items": found["items"], "summary": found["summary"]}


def again(root: Path, step: str) -> dict[str, Any]:
    """Open a run and say its status, or export it."""
    from gtloop.exporting import export_run
    from gtloop.opened import Run

    registry, meter = Registry.load(extra_modules=[plugins()]), Meter()
    with meter.step(step):
        run = Run.open(root)
        if step == "status":
            run.status(registry)
        else:
            export_run(run, registry, "jsonl", root / "export" / "all.jsonl")
    return meter.found()


STEPS = {"run": "the loop to its end", "status": "open the run, say its status", "export": "open it, write JSON Lines"}


def child(n: int, folder: Path, step: str, options: list[str]) -> dict[str, Any]:
    """A step in a process of its own."""
    command = [sys.executable, __file__, "--items", str(n), "--folder", str(folder), "--step", step]
    command += [part for option in options for part in ("-o", option)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def size_of(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def measured(n: int, folder: Path, options: list[str]) -> dict[str, Any]:
    """All steps of one size."""
    both: dict[str, dict[str, float]] = {"seconds": {}, "cpu": {}, "peak": {}, "items": {}}
    for step in STEPS:
        found = child(n, folder, step, options)
        for name, values in both.items():
            values |= found.get(name, {})
        if step == "status":
            disk = size_of(folder / "run")
    exported = size_of(folder / "run" / "export")
    return {"n": n, "disk": disk, "exported": exported, **both}


def table(results: list[dict[str, Any]], clock: str) -> str:
    """Markdown: a line a step, a column of seconds and one of memory a size, and exponents."""
    sizes = [r["n"] for r in results]
    head = ["step", *(f"{n:,} items, s" for n in sizes), "exponent", *(f"{n:,} items, MiB" for n in sizes)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for step in results[-1][clock]:
        took = [r[clock].get(step, 0.0) for r in results]
        row = [step, *(f"{s:.2f}" for s in took), _exponent(sizes, took)]
        lines.append("| " + " | ".join([*row, *(f"{r['peak'].get(step, 0):.0f}" for r in results)]) + " |")
    for name in ("disk", "exported"):
        row = [f"{name}, MB", *(f"{r[name] / 1e6:.1f}" for r in results), _exponent(sizes, [r[name] for r in results])]
        lines.append("| " + " | ".join([*row, *("" for _ in sizes)]) + " |")
    return "\n".join(lines)


def _exponent(sizes: list[int], values: list[float]) -> str:
    """Slope from the last but one size to the last; nothing where there is only one."""
    if len(sizes) < 2 or min(values[-2:]) <= 0:
        return ""
    return f"{math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2]):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="10000,100000", help="sizes, by commas")
    parser.add_argument("--folder", type=Path, help="keep the runs here, one folder a size")
    parser.add_argument("--step", choices=tuple(STEPS), help="only that, in this process; for --folder of one size")
    parser.add_argument("--clock", choices=("seconds", "cpu"), default="seconds", help="cpu: where others are at work")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="KEY=VALUE", help="any option")
    a = parser.parse_args()
    sizes = [int(n) for n in a.items.split(",")]
    if a.step:
        root = a.folder / "run"
        print(json.dumps(whole(sizes[0], root, a.options) if a.step == "run" else again(root, a.step)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        results = []
        for n in sizes:
            results.append(measured(n, (a.folder or Path(scratch)) / str(n), a.options))
            print(json.dumps(results[-1]), flush=True)
    print(f"\n{platform.machine()}, Python {platform.python_version()}, gtloop {gtloop.__version__}\n")
    print(table(results, a.clock))


if __name__ == "__main__":
    main()
