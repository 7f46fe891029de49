"""How good and how fast the detector ``torchvision`` is: one JSON line.

    python benchmarks/detector.py --data scenes --train 200 --seed 0
    python benchmarks/detector.py --data raccoons --train 66 -o epochs=12
    python benchmarks/detector.py --data digits --train 400 -o classes=linear
    python benchmarks/detector.py --data streets --train 100 --seed 0
    python benchmarks/detector.py --data scenes --task segmentation --train 100

Fits on ``train`` random images, predicts up to ``test`` others. Images are ranked by confidence: the mean score
of the boxes of at least ``cut`` (0 where there is none), the mean expected IoU of such regions, or the largest
probability. *Coverage* is the largest
share of the ranked images whose mean quality is at least the target: what a rule that knew the truth could label
by machine; ``rank`` is Spearman's correlation of confidence and quality. Raccoons, digits and streets are
real images in ``--images``; scenes are generated.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from gtloop import masks
from gtloop.images import open_image
from gtloop.interfaces import Context, Example, Task
from gtloop.maskfiles import read_index
from gtloop.records import Item
from gtloop_plugins.demo.scenes import write_dataset
from gtloop_plugins.detectors.torchvision import TorchvisionDetector
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.classification import Classification
from gtloop_plugins.tasks.segmentation import Segmentation

SHARED = Path("/work/shared/data")
TARGETS = {"bbox": 0.6, "classification": 0.95, "segmentation": 0.7}
STREETS = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist")
Labelled = list[tuple[Path, dict[str, Any]]]


def raccoons(images: Path, folder: Path, n: int, seed: int, task: str) -> Labelled:
    found = []
    for path in sorted((images / "raccoons" / "annotations").glob("*.xml")):
        root = ET.parse(path).getroot()
        boxes = [
            [float(o.findtext(f"bndbox/{side}", "nan")) for side in ("xmin", "ymin", "xmax", "ymax")]
            for o in root.findall("object")
        ]
        payload = {"boxes": [{"category": "raccoon", "xyxy": box} for box in boxes]}
        found.append((images / "raccoons" / "images" / f"{path.stem}.jpg", payload))
    return found


def digits(images: Path, folder: Path, n: int, seed: int, task: str) -> Labelled:
    return [(path, {"category": path.parent.name}) for path in sorted((images / "digits").glob("*/*.png"))]


def streets(images: Path, folder: Path, n: int, seed: int, task: str) -> Labelled:
    return [
        (images / "streets" / "images" / f"{path.stem}.jpg", _painted(read_index(path), STREETS))
        for path in sorted((images / "streets" / "masks").glob("*.png"))
    ]


def scenes(images: Path, folder: Path, n: int, seed: int, task: str) -> Labelled:
    # Other seeds are other pictures, not other splits of the same.
    write_dataset(folder, n, seed=1000 + seed, task=task)
    lines = (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    truth = {row["name"]: row["payload"] for row in map(json.loads, lines)}
    if task == "segmentation":
        # Bird is 1 in the files, its position is 0.
        truth = {name: _painted(read_index(folder / p["mask"]) - 1, ("bird",)) for name, p in truth.items()}
    return [(folder / "images" / name, payload) for name, payload in truth.items()]


def _painted(index: NDArray[np.integer], categories: tuple[str, ...]) -> dict[str, Any]:
    return masks.from_map(index, categories).model_dump(mode="json", exclude_none=True)


DATA: dict[str, tuple[Callable[[Path, Path, int, int, str], Labelled], tuple[str, ...], tuple[str, ...]]] = {
    "raccoons": (raccoons, ("bbox",), ("raccoon",)),
    "digits": (digits, ("classification",), tuple("0123456789")),
    "streets": (streets, ("segmentation",), STREETS),
    "scenes": (scenes, ("bbox", "segmentation"), ("bird",)),
}
"""Name to what finds the labelled images, the tasks that it has labels of, and the categories."""


def coverage(confidence: NDArray[np.float64], quality: NDArray[np.float64], target: float) -> float:
    """Largest share of the images, most confident first, whose mean quality reaches the target."""
    ranked = quality[np.argsort(-confidence, kind="stable")]
    good = np.nonzero(np.cumsum(ranked) / np.arange(1, len(ranked) + 1) >= target)[0]
    return float(good[-1] + 1) / len(ranked) if len(good) else 0.0


def confidence_of(raw: dict[str, Any], cut: float) -> float:
    if "probabilities" in raw:
        return float(max(raw["probabilities"]))
    expected = raw.get("expected") or raw["scores"]
    scores = [value for value, score in zip(expected, raw["scores"], strict=True) if score >= cut]
    return float(np.mean(scores)) if scores else 0.0


def measure(detector: TorchvisionDetector, task: Task, train: list[Example], test: list[Example], a: Any) -> Any:
    """Fit, predict, and compare; the figures."""
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        figures = detector.fit(train, Path(folder), seed=a.seed)
        fit_s, fit_cpu = time.perf_counter() - wall, time.process_time() - cpu
        model = detector.load(Path(folder))
    wall, cpu = time.perf_counter(), time.process_time()
    raws: list[dict[str, Any]] = []
    for i in range(0, len(test), detector.batch_size):
        some = test[i : i + detector.batch_size]
        raws += detector.predict_batch(model, [detector.prepare(e.open(), e.item) for e in some])
    predict_s, predict_cpu = time.perf_counter() - wall, time.process_time() - cpu
    if a.out:
        a.out.write_text(json.dumps([[raw, e.payload] for raw, e in zip(raws, test, strict=True)]), encoding="utf-8")
    quality = np.array([1 - task.error(task.label(raw, a.cut), e.payload) for raw, e in zip(raws, test, strict=True)])
    confidence = np.array([confidence_of(raw, a.cut) for raw in raws])
    target = TARGETS[task.name]
    passes = len(train) * figures.get("epochs", 1.0)
    return {
        "quality": round(float(quality.mean()), 4),
        "coverage": round(coverage(confidence, quality, target), 3),
        "target": target,
        "rank": round(float(spearmanr(confidence, quality).statistic), 3),
        "confidence": round(float(confidence.mean()), 4),
        "seconds": {
            "fit": round(fit_s, 1),
            "per_image_and_epoch": round(fit_s / passes, 4),
            "cpu_per_image_and_epoch": round(fit_cpu / passes, 4),
            "per_prediction": round(predict_s / len(test), 4),
            "cpu_per_prediction": round(predict_cpu / len(test), 4),
        },
        "fit": {name: round(value, 4) for name, value in figures.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(DATA), default="scenes")
    parser.add_argument("--task", choices=sorted(TARGETS), help="where the data have labels of several tasks")
    parser.add_argument("--train", type=int, default=200, help="images to fit on")
    parser.add_argument("--test", type=int, default=400, help="images to measure on, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the fit")
    parser.add_argument("--cut", type=float, default=0.5, help="least score of a box or region")
    parser.add_argument("--images", type=Path, default=SHARED, help="folder with raccoons/, digits/ and streets/")
    parser.add_argument("--out", type=Path, help="write each test image's raw prediction and truth here (JSON)")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="KEY=VALUE", help="option")
    a = parser.parse_args()
    source, tasks, categories = DATA[a.data]
    task_name = a.task or tasks[0]
    if task_name not in tasks:
        parser.error(f"--data {a.data} has labels of {' and '.join(tasks)} only")
    if a.data != "scenes" and not (a.images / a.data).is_dir():
        parser.error(f"no {a.data} in {a.images}; name their folder with --images, or use --data scenes")
    with tempfile.TemporaryDirectory() as folder:
        found = source(a.images, Path(folder), a.train + a.test, a.seed, task_name)
        order = np.random.default_rng(a.seed).permutation(len(found))[: a.train + a.test]
        examples = []
        for row, i in enumerate(order):
            path, payload = found[int(i)]
            width, height = open_image(str(path)).size
            item = Item(row=row, id=str(row), name=path.name, uri=str(path), width=width, height=height)
            examples.append(Example(item, payload))
        kinds: dict[str, type[Task]] = {"bbox": BBox, "classification": Classification, "segmentation": Segmentation}
        task = kinds[task_name](kinds[task_name].Options(), Context(categories=categories))
        context = Context(categories=categories, task=task, form=task.form(), seed=a.seed)
        options = TorchvisionDetector.Options.model_validate(dict(pair.split("=", 1) for pair in a.options))
        figures = measure(TorchvisionDetector(options, context), task, examples[: a.train], examples[a.train :], a)
    print(
        json.dumps(
            {"data": a.data, "task": task.name, "train": a.train, "seed": a.seed, "options": a.options, **figures}
        )
    )


if __name__ == "__main__":
    main()
