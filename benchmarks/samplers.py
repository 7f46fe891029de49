"""Samplers against random: what a model learns from what each picks; a Markdown table, differences paired by seed.

    python benchmarks/samplers.py digits --seeds 10
    python benchmarks/samplers.py birds --seeds 3 --samplers most-objects,diverse

``digits`` (4,000 real images in ``--data``, 1,000 of them for the test): 50 random labels, then batches of 50 up to
400. The model is a logistic regression on the frozen embeddings of detector ``torchvision``; it is fitted anew each
time. ``birds`` (generated, 160x120; 300 in the pool, 150 for the test): 60 random labels, then batches of 40 up to 180,
with the whole detector ``torchvision`` fitted anew each time, on the pictures in their own size. Labels are the truth:
people's errors would only blur. The first labels and the test are the same for all samplers of a seed. A gain is
claimed where the mean difference to random is more than two of its standard errors (over seeds) away from 0.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gtloop.images import open_image
from gtloop.interfaces import Context, Example, PoolView, Sampler, Task
from gtloop.keyed import rng
from gtloop.records import Item
from gtloop.registry import Registry
from gtloop_plugins.demo.scenes import write_dataset
from gtloop_plugins.detectors.torchvision import TorchvisionDetector
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.classification import Classification

SHARED = Path("/work/shared/data")
VARIANTS = ("uncertainty:least-confidence", "uncertainty:margin", "uncertainty:entropy", "diverse", "coreset")
Columns = dict[str, NDArray[np.float32]]
Rows = NDArray[np.int32]
Learnt = tuple[float, Callable[[Rows], Columns]]
"""The quality on the test, and what predicts columns of rows."""
Learn = Callable[[Rows, int], Learnt]
"""From rows to train on and a seed."""


def sampler(registry: Registry, name: str) -> Sampler:
    name, _, measure = name.partition(":")
    options = registry.options("sampler", name, {"measure": measure} if measure else {})
    found = registry.build("sampler", name, options, Context())
    assert isinstance(found, Sampler)
    return found


def detector_for(kind: type[Task], categories: tuple[str, ...], **options: Any) -> tuple[TorchvisionDetector, Task]:
    task = kind(kind.Options(), Context(categories=categories))
    context = Context(categories=categories, task=task, form=task.form())
    return TorchvisionDetector(TorchvisionDetector.Options(**options), context), task


def curve(
    pick: Sampler, learn: Learn, first: Learnt, start: Rows, pool: Rows, steps: Sequence[int], vectors: Any, seed: int
) -> list[float]:
    """Quality on the test at each number of labels; ``first`` is what was learnt from ``start``."""
    labelled = start
    quality, predict = first
    found = [quality]
    for n in steps[1:]:
        rest = np.setdiff1d(pool, labelled).astype(np.int32)
        view = PoolView(rest, {**predict(rest), "embedding": vectors[rest]}, {"embedding": vectors[labelled]})
        chosen = pick.select(view, n - len(labelled), rng(seed, "pick", str(n))).rows
        labelled = np.sort(np.concatenate([labelled, chosen]).astype(np.int32))
        quality, predict = learn(labelled, seed)
        found.append(quality)
    return found


# ------------------------------------------------------------------------------------------- digits


def embeddings(detector: TorchvisionDetector, items: Sequence[Item]) -> NDArray[np.float32]:
    network, found = detector.embedder(), []
    for k in range(0, len(items), 16):
        found.append(detector.embed_batch(network, [detector.prepare(open_image(i.uri), i) for i in items[k : k + 16]]))
    return np.concatenate(found)


def probe(vectors: NDArray[np.float32], labels: NDArray[np.int64], test: Rows) -> Learn:
    """Logistic regression with weight decay, fitted by L-BFGS to convergence."""
    x = torch.from_numpy((vectors - vectors.mean(0)) / (vectors.std(0) + 1e-6))
    y, classes = torch.from_numpy(labels), int(labels.max()) + 1

    def learn(rows: Rows, seed: int) -> tuple[float, Callable[[Rows], Columns]]:
        at = torch.from_numpy(rows.astype(np.int64))
        layer = torch.nn.Linear(x.shape[1], classes)
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            found = torch.nn.functional.cross_entropy(layer(x[at]), y[at]) + 1e-3 * layer.weight.square().sum()
            found.backward()
            return found

        optimizer.step(loss)

        def columns(wanted: Rows) -> Columns:
            with torch.inference_mode():
                p = layer(x[torch.from_numpy(wanted.astype(np.int64))]).softmax(1)
            top = p.topk(2).values
            entropy = -(p * p.clamp_min(1e-12).log()).sum(1)
            return {"score": top[:, 0].numpy(), "margin": (top[:, 0] - top[:, 1]).numpy(), "entropy": entropy.numpy()}

        with torch.inference_mode():
            right = layer(x[torch.from_numpy(test.astype(np.int64))]).argmax(1).numpy() == labels[test]
        return float(right.mean()), columns

    return learn


def digits(a: Any, folder: Path) -> tuple[Callable[[int], tuple[Learn, Rows, Rows, Any]], list[int]]:
    paths = sorted((a.data / "digits").glob("*/*.png"))
    labels = np.array([int(p.parent.name) for p in paths])
    items = [Item(row=k, id=str(k), name=p.name, uri=str(p)) for k, p in enumerate(paths)]
    vectors = embeddings(detector_for(Classification, tuple("0123456789"))[0], items)

    def at(seed: int) -> tuple[Learn, Rows, Rows, Any]:
        order = np.random.default_rng(seed).permutation(len(paths)).astype(np.int32)
        test, pool = order[:1000], np.sort(order[1000:])
        return probe(vectors, labels, test), pool, np.sort(order[1000:1050]), vectors

    return at, list(range(50, 401, 50))


# -------------------------------------------------------------------------------------------- birds


def birds(a: Any, folder: Path) -> tuple[Callable[[int], tuple[Learn, Rows, Rows, Any]], list[int]]:
    size, tested, first = 450, 150, 60
    detector, task = detector_for(BBox, ("bird",), image_size=160)

    def at(seed: int) -> tuple[Learn, Rows, Rows, Any]:
        root = folder / f"birds-{seed}"
        write_dataset(root, size, seed=2000 + seed, size=(160, 120))
        truth = [json.loads(line) for line in (root / "truth.jsonl").read_text().splitlines()]
        items = [
            Item(row=k, id=str(k), name=t["name"], uri=str(root / "images" / t["name"]), width=160, height=120)
            for k, t in enumerate(truth)
        ]
        examples = [Example(i, t["payload"]) for i, t in zip(items, truth, strict=True)]
        vectors = embeddings(detector, items)

        def learn(rows: Rows, seed: int) -> tuple[float, Callable[[Rows], Columns]]:
            with tempfile.TemporaryDirectory(dir=folder) as model_folder:
                detector.fit([examples[r] for r in rows], Path(model_folder), seed=seed)
                model = detector.load(Path(model_folder))

            def raws(wanted: Rows) -> list[Any]:
                found: list[Any] = []
                for k in range(0, len(wanted), 8):
                    some = [items[r] for r in wanted[k : k + 8]]
                    found += detector.predict_batch(model, [detector.prepare(open_image(i.uri), i) for i in some])
                return found

            def columns(wanted: Rows) -> Columns:
                table = np.stack([task.features(raw, 0.3) for raw in raws(wanted)])
                named = {name: table[:, k] for k, name in enumerate(task.feature_names)}
                return {**named, "score": named[a.score]}

            tests = np.arange(tested, dtype=np.int32)
            quality = [
                1 - task.error(task.label(raw, 0.3), examples[r].payload)
                for r, raw in zip(tests, raws(tests), strict=True)
            ]
            return float(np.mean(quality)), columns

        pool = np.arange(tested, size, dtype=np.int32)
        return learn, pool, pool[:first], vectors

    return at, [60, 100, 140, 180]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_set", choices=["digits", "birds"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--samplers", default=",".join(VARIANTS))
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/gtloop-samplers"))
    parser.add_argument("--score", default="confidence_mean", help="bbox feature that stands for the score (birds)")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    at, steps = {"digits": digits, "birds": birds}[a.data_set](a, a.folder)
    names = ["random", *a.samplers.split(",")]
    curves: dict[str, list[list[float]]] = {name: [] for name in names}
    for seed in range(a.seeds):
        learn, pool, start, vectors = at(seed)
        first = learn(start, seed)
        for name in names:
            began = time.monotonic()
            curves[name].append(curve(sampler(registry, name), learn, first, start, pool, steps, vectors, seed))
            line = {"seed": seed, "sampler": name, "quality": [round(v, 4) for v in curves[name][-1]]}
            print(json.dumps({**line, "seconds": round(time.monotonic() - began, 1)}), flush=True)
    print(f"| sampler | {' | '.join(f'at {n}' for n in steps)} | mean difference to random, points | claimed |")
    print("|---" * (len(steps) + 3) + "|")
    base = np.array(curves["random"])
    for name in names:
        got = np.array(curves[name])
        gain = 100 * (got - base)[:, 1:].mean(axis=1)
        error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else float("nan")
        claimed = "–" if name == "random" else "yes" if abs(gain.mean()) > 2 * error else "no"
        cells = [f"{v:.3f}" for v in got.mean(axis=0)]
        print(f"| {name} | {' | '.join(cells)} | {gain.mean():+.2f} ± {error:.2f} | {claimed} |")


if __name__ == "__main__":
    main()
