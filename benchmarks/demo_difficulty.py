"""How hard the demo's pictures are for the detector ``torchvision``: one JSON line.

    python benchmarks/demo_difficulty.py --train 200 --test 400 --seed 0

Fits on ``train`` pictures, predicts ``test`` others, and ranks these by image confidence: the mean of the
box scores of at least ``--cut`` (0 where there is none). *Oracle coverage* is the largest share of the
ranked test pictures whose mean quality is at least the target: what a rule that knew the truth could label
by machine. Quality of a picture is its mean IoU after one-to-one (Hungarian) matching; unmatched boxes
count 0, two empty labels 1.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from gtloop.interfaces import Context, Example
from gtloop.labels import iou_matrix
from gtloop.records import Item
from gtloop_plugins.demo.scenes import write_dataset
from gtloop_plugins.detectors.torchvision import TorchvisionDetector

Floats = NDArray[np.float64]


def quality(found: Floats, true: Floats) -> float:
    """Mean IoU of one picture: (P, 4) and (G, 4) boxes ``xyxy``; sum of matched IoU / (P + G - M)."""
    if not len(found) or not len(true):
        return float(len(found) == len(true))
    iou = iou_matrix(found, true)
    rows, columns = linear_sum_assignment(-iou)
    matched = iou[rows, columns]
    matched = matched[matched > 0]
    return float(matched.sum() / (len(found) + len(true) - len(matched)))


def oracle_coverage(confidence: Floats, qualities: Floats, target: float) -> float:
    """Largest share of the pictures, most confident first, whose mean quality reaches the target."""
    ranked = qualities[np.argsort(-confidence, kind="stable")]
    mean = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    good = np.nonzero(mean >= target)[0]
    return float(good[-1] + 1) / len(ranked) if len(good) else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=200, help="pictures to fit on")
    parser.add_argument("--test", type=int, default=400, help="pictures to measure on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=float, default=12)
    parser.add_argument("--target", type=float, default=0.6, help="mean IoU")
    parser.add_argument("--cut", type=float, default=0.4, help="least score of a box")
    parser.add_argument("--folder", type=Path, help="keep the pictures here")
    parser.add_argument("--out", type=Path, help="write each test picture's confidence and quality here (JSON)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch) / "data"
        write_dataset(folder, args.train + args.test, args.seed)
        lines = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
        images = folder / "images"
        examples = [
            Example(
                Item(row=i, id=f"{i:05d}", name=line["name"], uri=str(images / line["name"])),
                line["payload"],
            )
            for i, line in enumerate(lines)
        ]
        train, test = examples[: args.train], examples[args.train : args.train + args.test]
        context = Context(categories=("bird",), workdir=Path(scratch), seed=args.seed)
        detector = TorchvisionDetector(TorchvisionDetector.Options(epochs=args.epochs), context)
        model_dir = Path(scratch) / "model"
        model_dir.mkdir()
        began = time.monotonic()
        detector.fit(train, model_dir, seed=args.seed)
        fitted = time.monotonic()
        model = detector.load(model_dir)
        confidence, qualities, counts = [], [], []
        for i in range(0, len(test), detector.batch_size):
            batch = test[i : i + detector.batch_size]
            raws = detector.predict_batch(model, [detector.prepare(e.open(), e.item) for e in batch])
            for example, raw in zip(batch, raws, strict=True):
                scores = np.array(raw["scores"], np.float64)
                found = np.array(raw["xyxy"], np.float64).reshape(-1, 4)[scores >= args.cut]
                true = np.array([b["xyxy"] for b in example.payload["boxes"]], np.float64).reshape(-1, 4)
                sure = scores[scores >= args.cut]
                confidence.append(float(sure.mean()) if len(sure) else 0.0)
                qualities.append(quality(found, true))
                counts.append(len(true))
    q, c, n = np.array(qualities), np.array(confidence), np.array(counts)
    if args.out:
        args.out.write_text(json.dumps({"confidence": confidence, "quality": qualities, "birds": counts}))
    result = {
        "train": args.train, "test": args.test, "seed": args.seed, "target": args.target, "cut": args.cut,
        "oracle_coverage": round(oracle_coverage(c, q, args.target), 3),
        "mean_quality": round(float(q.mean()), 3),
        "mean_quality_by_birds": {str(k): round(float(q[n == k].mean()), 3) for k in np.unique(n)},
        "fit_seconds": round(fitted - began, 1), "predict_seconds": round(time.monotonic() - fitted, 1),
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
