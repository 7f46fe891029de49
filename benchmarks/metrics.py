"""Figures of merit: gtloop's against pycocotools' and faster-coco-eval's, by equality and time.

    pip install 'gtloop[bench]'
    python benchmarks/metrics.py --images 2000 --seed 0

Boxes: average precision (``ap``, ``ap50``, ``ap75``) of detections that are random, and of some that are like a
detector's: near objects, with duplicates, wrong names and false alarms, confidences of three decimals so that many are
equal. gtloop's time is from labels and truth to these three figures; the others' are without making their JSON:
``load`` (``createIndex`` and ``loadRes``) and ``evaluate`` with ``accumulate``.

Masks: IoU of pairs of masks, gtloop's task error of one category against ``pycocotools.mask.iou``, both from
run-length codes.

All in one process, CPU time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtloop import masks
from gtloop.interfaces import Context
from gtloop.records import Payload
from gtloop_plugins.tasks.bbox import evaluation
from gtloop_plugins.tasks.segmentation import Segmentation

Pairs = Sequence[tuple[Payload, Payload]]
FIGURES = ("ap", "ap50", "ap75")


def made(images: int, found: int, categories: int, rng: np.random.Generator, *, realistic: bool) -> Pairs:
    """(label, truth) of images of 640 x 480 pixels, with ``found`` detections each."""

    def boxes(corner: Any, side: Any, category: Any, score: Any = None) -> Payload:
        rows = zip(np.concatenate([corner, corner + side], axis=1).tolist(), category.tolist(), strict=True)
        plain: list[dict[str, Any]] = [{"xyxy": xyxy, "category": f"c{c}"} for xyxy, c in rows]
        if score is None:
            return {"boxes": plain}
        return {"boxes": [{**b, "confidence": s} for b, s in zip(plain, score.tolist(), strict=True)]}

    pairs = []
    for _ in range(images):
        n = max(1, int(rng.poisson(8)))
        corner, side = rng.uniform(0, (500, 340), (n, 2)), rng.lognormal(3.8, 0.6, (n, 2))
        category = rng.integers(0, categories, n)
        at, size = rng.uniform(0, (500, 340), (found, 2)), rng.lognormal(3.8, 0.6, (found, 2))
        name, score = rng.integers(0, categories, found), rng.random(found)
        if realistic:
            near, hit = rng.integers(0, n, found), rng.random(found) < 0.5
            moved = corner[near] + side[near] * rng.normal(0, 0.08, (found, 2))
            at = np.where(hit[:, None], moved, at)
            size = np.where(hit[:, None], side[near] * rng.lognormal(0, 0.1, (found, 2)), size)
            name = np.where(hit & (rng.random(found) < 0.9), category[near], name)
            score = np.round(np.where(hit, rng.beta(4, 2, found), rng.beta(1.5, 5, found)), 3)
        pairs.append((boxes(at, size, name, score), boxes(corner, side, category)))
    return pairs


def ours(pairs: Pairs) -> tuple[list[float], dict[str, float]]:
    started = time.process_time()
    curves = evaluation.AveragePrecision()
    for label, truth in pairs:
        curves.add(label, truth)
    figures = curves.figures()
    return [figures[name] for name in FIGURES], {"all": time.process_time() - started}


def coco(pairs: Pairs, categories: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The truth as COCO's JSON, and the detections."""

    def row(box: Any, image: int) -> dict[str, Any]:
        x1, y1, x2, y2 = box["xyxy"]
        bbox = [x1, y1, x2 - x1, y2 - y1]
        return {"image_id": image + 1, "category_id": int(box["category"][1:]) + 1, "bbox": bbox}

    found = [{**row(b, n), "score": b["confidence"]} for n, (label, _) in enumerate(pairs) for b in label["boxes"]]
    true = [row(b, n) for n, (_, truth) in enumerate(pairs) for b in truth["boxes"]]
    extra = [{"id": k + 1, "area": b["bbox"][2] * b["bbox"][3], "iscrowd": 0} for k, b in enumerate(true)]
    known = {
        "info": {},
        "images": [{"id": n + 1, "width": 640, "height": 480} for n in range(len(pairs))],
        "annotations": [{**b, **e} for b, e in zip(true, extra, strict=True)],
        "categories": [{"id": n + 1, "name": f"c{n}"} for n in range(categories)],
    }
    return known, found


def peer(pairs: Pairs, categories: int, name: str) -> tuple[list[float], dict[str, float]]:
    if name == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluation
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluation
    known, found = coco(pairs, categories)
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.process_time()
        truth = COCO()
        truth.dataset = known
        truth.createIndex()
        evaluated = Evaluation(truth, truth.loadRes(found), "bbox")
        loaded = time.process_time()
        # Only what is compared: all areas and at most 100 detections.
        evaluated.params.areaRng, evaluated.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluated.params.maxDets = [100]
        evaluated.evaluate()
        evaluated.accumulate()
        done = time.process_time()
    precision = np.asarray(evaluated.eval["precision"]).reshape(10, 101, categories)
    precision = precision[:, :, (precision > -1).all(axis=(0, 1))]
    values = [precision.mean(), precision[0].mean(), precision[5].mean()]
    return [float(v) for v in values], {"load": loaded - started, "evaluate": done - loaded}


def mask_pairs(n: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Codes of overlapping ellipses on 480 x 640 pixels."""
    y, x = np.mgrid[:480, :640]

    def drawn(cy: float, cx: float, a: float, b: float) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1
        return inside

    found = []
    for _ in range(n):
        shape = rng.uniform((100, 100, 20, 20), (380, 540, 150, 150))
        found.append((masks.encode(drawn(*shape)), masks.encode(drawn(*(shape + rng.normal(0, 8, 4))))))
    return found


def compare_masks(pairs: list[tuple[str, str]]) -> tuple[float, float, float]:
    """Largest difference of the IoU, and seconds a pair of gtloop and of pycocotools."""
    from pycocotools import mask as mask_utils

    task = Segmentation(Segmentation.Options(), Context(categories=("a",)))
    labels = [[{"size": [480, 640], "regions": [{"category": "a", "counts": c}]} for c in p] for p in pairs]
    codes = [[{"size": [480, 640], "counts": c} for c in p] for p in pairs]
    started = time.process_time()
    mine = [1 - task.error(a, b) for a, b in labels]
    between = time.process_time()
    theirs = [mask_utils.iou([a], [b], [0])[0, 0] for a, b in codes]
    done = time.process_time()
    worst = float(np.abs(np.array(mine) - theirs).max())
    return worst, (between - started) / len(pairs), (done - between) / len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--found", type=int, default=50, help="detections an image")
    parser.add_argument("--categories", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        import faster_coco_eval  # noqa: F401
        import pycocotools  # noqa: F401
    except ImportError as e:
        raise SystemExit(f"{e.name} is not installed; pip install 'gtloop[bench]'") from None
    print("| detections | by | AP | AP50 | AP75 | largest difference | seconds |")
    print("|---|---|--:|--:|--:|--:|---|")
    settings = [("random", args.categories), ("realistic", args.categories), ("realistic", 1)]
    for kind, categories in settings:
        rng = np.random.default_rng([args.seed, categories])
        pairs = made(args.images, args.found, categories, rng, realistic=kind == "realistic")
        figures, seconds = ours(pairs)
        rows = {"gtloop": (figures, seconds)}
        rows |= {name: peer(pairs, categories, name) for name in ("pycocotools", "faster-coco-eval")}
        for name, (values, took) in rows.items():
            off = max(abs(a - b) for a, b in zip(values, figures, strict=True))
            numbers = " | ".join(f"{v:.6f}" for v in values)
            spent = " + ".join(f"{v:.2f} {step}" for step, v in took.items())
            what = f"{kind}, {categories} categories" if categories > 1 else f"{kind}, 1 category"
            print(f"| {what} | {name} | {numbers} | {'' if name == 'gtloop' else f'{off:.0e}'} | {spent} |", flush=True)
    worst, mine, theirs = compare_masks(mask_pairs(300, np.random.default_rng([args.seed, 3])))
    print(f"\nMasks: IoU of 300 pairs of 640 x 480: largest difference {worst:.0e};", end=" ")
    print(f"gtloop {1e6 * mine:.0f} us a pair, pycocotools {1e6 * theirs:.0f} us.")


if __name__ == "__main__":
    main()
