"""How often does a job come out between the 10th and the 90th percentile of its plan? With and without a pilot.

    python benchmarks/planning.py digits --pairs 20 --json planning.json
    python benchmarks/planning.py tiny --pairs 30

Each pair is a pilot on some images and a job on others of the same kind, both whole runs with simulated people and a
small model that fits in a second. The plan is made before the job, from the pilot or without one. A share of .8 is
what the percentiles say; the standard error of a share over 20 pairs is .09.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import gtloop
from gtloop import config
from gtloop.interfaces import Detector
from gtloop.registry import Registry
from gtloop.run import run_or_resume
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth
from gtloop_plugins.commands.planning.advice import compare
from gtloop_plugins.commands.planning.forecast import forecast, percentiles
from gtloop_plugins.commands.planning.plan import make_job

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FIGURES = ("people_items", "machine_share", "cost_usd", "answers", "hours")
FEATURES, WIDTH, RIDGE = 600, 6.0, 1.0


class Fourier(Detector):
    """Ridge regression on random Fourier features of 28 x 28 pixels (Rahimi and Recht, 2007): fits in a second."""

    name = "fourier"
    summary = "random Fourier features of small grey images, ridge regression"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    batch_size = 500

    def prepare(self, image: Any, item: Any) -> Any:
        return np.asarray(image.convert("L"), np.float32).ravel() / 255

    def _features(self, pixels: np.ndarray) -> np.ndarray:
        chance = np.random.default_rng(0)
        wave = chance.standard_normal((pixels.shape[1], FEATURES)) / WIDTH
        return np.cos(pixels @ wave + chance.uniform(0, 2 * np.pi, FEATURES))

    def fit(self, examples: Any, workdir: Path, **_: Any) -> dict[str, float]:
        x = self._features(np.array([self.prepare(e.open(), e.item) for e in examples]))
        y = np.array([[e.payload["category"] == c for c in self.context.categories] for e in examples], float)
        weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(FEATURES), x.T @ (2 * y - 1))
        np.save(workdir / "weights.npy", weights)
        return {}

    def load(self, workdir: Path | None) -> Any:
        assert workdir is not None
        return np.load(workdir / "weights.npy")

    def predict_batch(self, model: Any, prepared: Any) -> list[Any]:
        margin = 4 * (self._features(np.array(prepared)) @ model)
        p = np.exp(margin - margin.max(axis=1, keepdims=True))
        return [{"probabilities": row.tolist()} for row in p / p.sum(axis=1, keepdims=True)]


@gtloop.hookimpl
def gtloop_detectors() -> list[type[Detector]]:
    return [Fourier]


Labelled = dict[str, dict[str, Any]]
"""Path of an image to its label."""


def digits(folder: Path, pair: int, n: int) -> tuple[dict[str, Any], Labelled]:
    """Flags of a run on digits, and ``n`` of them."""
    every = sorted((SHARED / "digits").glob("*/*.png"))
    drawn = np.random.default_rng(pair).permutation(len(every))[:n]
    flags = {
        "run.task": "classification",
        "run.classes": tuple("0123456789"),
        "run.detector": "fourier",
        "promise.target": 0.9,
        "annotators.synthetic": {"noise": 0.5},
    }
    return flags, {str(every[r]): {"category": every[r].parent.name} for r in drawn}


def tiny(folder: Path, pair: int, n: int) -> tuple[dict[str, Any], Labelled]:
    """Flags of a run on generated crates and drums, and ``n`` of them."""
    items, truth = tiny_items(folder / f"tiny-{pair}", n, pair), tiny_truth("bbox", n, pair)
    assert truth is not None
    flags = {"run.task": "bbox", "run.classes": CATEGORIES, "run.detector": "stub", "promise.target": 0.78}
    return flags, {i.uri: p for i, p in zip(items, truth, strict=True)}


def source(folder: Path, name: str, labelled: Labelled) -> dict[str, Any]:
    """Flags that name images and their truth, from files that are written here."""
    images, truth = folder / f"{name}.txt", folder / f"{name}.jsonl"
    images.write_text("".join(f"{path}\n" for path in labelled))
    truth.write_text("".join(json.dumps({"name": path, "payload": p}) + "\n" for path, p in labelled.items()))
    return {"run.source": str(images), "run.truth": str(truth)}


KINDS = {"digits": (digits, 600, 2000), "tiny": (tiny, 180, 500)}


def measure(kind: str, pair: int, folder: Path, draws: int, other: int) -> dict[str, Any]:
    """One pilot, one plan of each sort, one job; the seed makes the people, and ``other`` is added to the pilot's."""
    make, small, large = KINDS[kind]
    flags, labelled = make(folder, pair, small + large)
    every = list(labelled.items())
    registry = Registry.load(extra_modules=["planning"])
    roots = []
    for name, part, seed in (("pilot", every[:small], pair + other), ("job", every[small:], pair)):
        roots.append(folder / f"{kind}-{pair}-{name}")
        given = {**flags, **source(folder, roots[-1].name, dict(part)), "run.annotator": "synthetic", "run.seed": seed}
        run_or_resume(roots[-1], config.load(None, given), registry)
    pilot, job = (gtloop.open(r) for r in roots)
    found: dict[str, Any] = {"pair": pair}
    for name, told in (("pilot", pilot), ("none", None)):
        ranges = percentiles(forecast(make_job(job.settings, large, registry, told), draws))
        compared = compare(job, registry, ranges)
        found[name] = {"range": ranges, "inside": compared["inside"]}
        found["actual"] = compared["actual"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--other-people", action="store_true", help="others work on the job than on the pilot")
    parser.add_argument("--folder", type=Path, help="keep runs here")
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="gtloop-planning-"))
    folder.mkdir(parents=True, exist_ok=True)
    done = []
    for pair in range(args.pairs):
        began = time.perf_counter()
        done.append(measure(args.kind, pair, folder, args.draws, 1000 if args.other_people else 0))
        told, actual = done[-1]["pilot"]["range"]["machine_share"], done[-1]["actual"]["machine_share"]
        print(
            f"pair {pair}: machine share {actual:.2f}, plan {told['p10']:.2f} / {told['p50']:.2f} / {told['p90']:.2f}, "
            f"{time.perf_counter() - began:.0f} s",
            flush=True,
        )
    for name in ("pilot", "none"):
        for figure in FIGURES:
            inside = [d[name]["inside"][figure] for d in done if d[name]["inside"][figure] is not None]
            if inside:
                print(f"{name:<6} {figure:<14} inside {np.mean(inside):.2f} of {len(inside)}")
    if args.json:
        Path(args.json).write_text(json.dumps(done, indent=1))


if __name__ == "__main__":
    main()
