"""Consolidation of boxes against what else there is: one label of 3 and of 5 people's answers, against the truth.

    pip install 'gtloop[bench]'
    python benchmarks/consolidate_boxes.py --seeds 3

Images hold 1 to 4 objects of three categories, a third of them right next to another one. ``--pool`` simulated people
(``reference/statistics.md`` 5.4: bias and spread of size b in place and size, Beta(2, 18) misses, Poisson(.1) boxes of
nothing, 15 % wrong categories) answer, drawn anew for each image. Four scenes:

- ``clean``: nothing else;
- ``bad``: one of each image's people is off by .35 of a width and height in every direction, with a spread of .3;
- ``merge``: one of each image's people draws one box around two near objects; most objects are near another one;
- ``crowd``: people as the task draws them: experts, crowd, poor and 6 % spammers.

Every method gets the same answers. ``gtloop`` is asked without and with history; with it, ``skills`` sees the answers
of these images first, as in a run, and no truth. Mean and median have our matching, and keep what half of the people
drew. Of weighted boxes fusion (``ensemble-boxes``) and of ``panoptes-aggregation`` several settings are run, without
regard to categories, which are voted on apart; the one with the best image mIoU in that very row counts. Panoptes
clusters by DBSCAN: in pixels, with the mean, or by IoU, with the box nearest to all others; its third way, the box of
least squared IoU distance, takes seconds an object (a global optimiser) and is left out.

Columns: IoU of found objects (one-to-one, at least .3), share of objects found, share of boxes that find one, share of
found ones with the right category, image mIoU (the task's quality), and seconds for 1,000 images.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from gtloop.interfaces import Context
from gtloop.labels import iou_matrix
from gtloop.records import Answer, Item, Payload
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.bbox.linking import MIN_IOU, link
from gtloop_plugins.tasks.bbox.matching import match

NAMES = ("bird", "cat", "dog")
WIDTH, HEIGHT = 640, 480
FOUND = 0.3
TASK = BBox(BBox.Options(), Context(categories=NAMES))
ITEM = Item(row=0, id="0", name="0", uri="0", width=WIDTH, height=HEIGHT)

Rng = np.random.Generator
Said = Sequence[Payload]
Method = Callable[[Said], Payload]
Box = dict[str, Any]
World = list[tuple[Payload, list[Answer]]]


def truth(rng: Rng, near: float) -> Payload:
    """1 to 4 boxes that overlap by .2 at most; each further one right next to another with probability ``near``."""
    boxes: list[Box] = []
    many = int(rng.integers(1, 5))
    for _ in range(200):
        if len(boxes) == many:
            break
        if boxes and rng.random() < near:
            x1, y1, x2, y2 = boxes[int(rng.integers(len(boxes)))]["xyxy"]
            w, h = (x2 - x1) * rng.uniform(0.8, 1.2), (y2 - y1) * rng.uniform(0.8, 1.2)
            gap = rng.uniform(0, 0.1) * w
            x, y = (x2 + gap if rng.random() < 0.5 else x1 - gap - w), y1 + rng.uniform(-0.1, 0.1) * h
        else:
            w, h = rng.uniform(60, 200, 2)
            x, y = rng.uniform(0, WIDTH - w), rng.uniform(0, HEIGHT - h)
        box = np.array([x, y, x + w, y + h])
        outside = min(x, y) < 0 or box[2] > WIDTH or box[3] > HEIGHT
        if not outside and iou_matrix(box[None], _xyxy(boxes)).max(initial=0) <= 0.2:
            boxes.append({"category": NAMES[int(rng.integers(len(NAMES)))], "xyxy": box.tolist()})
    return {"boxes": boxes}


def person(rng: Rng, b: float) -> dict[str, Any]:
    """A persona with errors of size ``b``; ``b`` 0: of any profile, maybe a spammer."""
    if b == 0:
        return TASK.worker(rng)
    errors = {"bias": rng.uniform(-b, b, 4).tolist(), "spread": rng.uniform(0, b, 4).tolist()}
    confusion = float(np.clip(rng.normal(0.15, 0.05), 0, 1))
    return {**TASK.worker(rng), **errors, "spammer": False, "confusion": confusion}


def merged(boxes: list[Box]) -> list[Box]:
    """The same with one box around the first two that fill three quarters of it."""
    for i, a in enumerate(boxes):
        for j, b in enumerate(boxes[:i]):
            both = _xyxy([a, b])
            hull = [*both[:, :2].min(axis=0).tolist(), *both[:, 2:].max(axis=0).tolist()]
            areas = np.prod(both[:, 2:] - both[:, :2], axis=1).sum()
            if areas > 0.75 * (hull[2] - hull[0]) * (hull[3] - hull[1]):
                rest = [box for k, box in enumerate(boxes) if k not in (i, j)]
                return [{"category": a["category"], "xyxy": hull}, *rest]
    return boxes


def world(scene: str, n: int, b: float, seed: int, images: int, pool: int) -> World:
    """(truth, answers) of each image."""
    rng = np.random.default_rng([seed, n, round(1000 * b), sum(map(ord, scene))])
    crowd = [person(rng, b) for _ in range(pool)]
    off = {"bias": rng.choice([-0.35, 0.35], 4).tolist(), "spread": [0.3] * 4}
    odd = {**person(rng, b or 0.1), **(off if scene == "bad" else {})}
    found: World = []
    for k in range(images):
        true = truth(rng, 0.8 if scene == "merge" else 0.3)
        answers = []
        for m, i in enumerate(rng.choice(pool, n, replace=False).tolist()):
            strange = m == 0 and scene in ("bad", "merge")
            seen = {"boxes": merged(true["boxes"])} if strange and scene == "merge" else true
            said = TASK.simulate(seen, odd if strange else crowd[i], ITEM, rng)
            who = "odd" if strange else f"w{i}"
            answers.append(
                Answer(id=f"{k}-{who}", request=f"{k}", worker=who, outcome=said.outcome, payload=said.payload, at="")
            )
        found.append((true, answers))
    return found


# --------------------------------------------------------------------------------------------- methods


def _xyxy(boxes: Sequence[Box]) -> Any:
    return np.array([box["xyxy"] for box in boxes], dtype=np.float64).reshape(-1, 4)


def _voted(names: Sequence[str]) -> str:
    votes = Counter(names)
    return min(votes, key=lambda name: (-votes[name], name))


def matched(middle: Callable[..., Any]) -> Method:
    """Coordinates by ``middle`` of the boxes that we match, where half of the people drew one."""

    def method(said: Said) -> Payload:
        rows = sorted((b["xyxy"], b["category"], k) for k, label in enumerate(said) for b in label["boxes"])
        boxes, names = np.array([r[0] for r in rows]).reshape(-1, 4), [r[1] for r in rows]
        groups = [g for g in link(boxes, names, [r[2] for r in rows], MIN_IOU) if 2 * len(g) >= len(said)]
        return {
            "boxes": [
                {"category": _voted([names[i] for i in g]), "xyxy": middle(boxes[g], axis=0).tolist()} for g in groups
            ]
        }

    return method


def single(said: Said) -> Payload:
    """What the last of them said: in scenes with an odd person, that is another one."""
    return said[-1]


def weighted_boxes_fusion(iou: float) -> Method:
    """``ensemble_boxes``: everybody scores 1; a box is kept where its score says that half of the people have it."""
    from ensemble_boxes import weighted_boxes_fusion as fuse

    size = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], dtype=np.float64)

    def method(said: Said) -> Payload:
        drawn = [_xyxy(label["boxes"]) / size for label in said]
        ones = [np.ones(len(d)) for d in drawn]
        boxes, scores, _ = fuse([d.tolist() for d in drawn], ones, [np.zeros(len(d)) for d in drawn], iou_thr=iou)
        kept = boxes[scores >= 0.5 - 1e-6] * size
        every = [box for label in said for box in label["boxes"]]
        overlap = iou_matrix(kept, _xyxy(every))
        return {
            "boxes": [
                {"category": _voted([e["category"] for e, o in zip(every, near, strict=True) if o >= iou] or ["?"])}
                | {"xyxy": box.tolist()}
                for box, near in zip(kept, overlap, strict=True)
            ]
        }

    return method


def panoptes(metric: str, eps: float) -> Method:
    """``panoptes_aggregation``: DBSCAN, where half of the people make a cluster."""
    from panoptes_aggregation.reducers.shape_reducer_dbscan import shape_reducer_dbscan

    def method(said: Said) -> Payload:
        extracts = []
        for label in said:
            rows = _xyxy(label["boxes"])
            columns = {"x": rows[:, 0], "y": rows[:, 1]}
            columns |= {"width": rows[:, 2] - rows[:, 0], "height": rows[:, 3] - rows[:, 1]}
            extracts.append(
                {"frame0": {f"T0_toolIndex0_{k}": v.tolist() for k, v in columns.items()}} if len(rows) else {}
            )
        made = shape_reducer_dbscan(
            extracts,
            user_id=list(range(len(said))),
            shape="rectangle",
            metric_type=metric,
            estimate_average=True,
            eps=eps,
            min_samples=math.ceil(len(said) / 2),
        ).get("frame0", {})
        labels = made.get("T0_toolIndex0_cluster_labels", [])
        names = [box["category"] for label in said for box in label["boxes"]]
        corner = [made.get(f"T0_toolIndex0_clusters_{k}", []) for k in ("x", "y", "width", "height")]
        order = [k for k in set(labels) if k > -1]  # as the reducer goes through its clusters
        return {
            "boxes": [
                {"category": _voted([n for n, of in zip(names, labels, strict=True) if of == k])}
                | {"xyxy": [x, y, x + max(w, 1e-3), y + max(h, 1e-3)]}
                for k, x, y, w, h in zip(order, *corner, strict=True)
            ]
        }

    return method


def peers(without: bool) -> dict[str, list[Method]]:
    """Name to settings of which the best counts."""
    found: dict[str, list[Method]] = {
        "one person": [single],
        "mean of matched": [matched(np.mean)],
        "median of matched": [matched(np.median)],
    }
    if without:
        return found
    missing = [m for m in ("ensemble_boxes", "panoptes_aggregation") if find_spec(m) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} not installed: pip install 'gtloop[bench]', or leave them out: --no-peers")
    found["ensemble-boxes WBF"] = [weighted_boxes_fusion(iou) for iou in (0.2, 0.4, 0.55)]
    found["panoptes DBSCAN"] = [
        panoptes(*setting) for setting in (("euclidean", 40.0), ("euclidean", 80.0), ("IoU", 0.4), ("IoU", 0.6))
    ]
    return found


# ---------------------------------------------------------------------------------------------- figures


def figures(made: Sequence[Payload], truths: Sequence[Payload]) -> list[float]:
    """Matched IoU, recall, precision, right categories, image mIoU."""
    ious: list[float] = []
    right = objects = boxes = 0
    for label, true in zip(made, truths, strict=True):
        pairs = match(_xyxy(label["boxes"]), _xyxy(true["boxes"]))
        objects, boxes = objects + len(true["boxes"]), boxes + len(label["boxes"])
        for i, j, iou in zip(pairs.left.tolist(), pairs.right.tolist(), pairs.iou.tolist(), strict=True):
            if iou >= FOUND:
                ious.append(iou)
                right += label["boxes"][i]["category"] == true["boxes"][j]["category"]
    quality = [1 - TASK.error(a, b) for a, b in zip(made, truths, strict=True)]
    n = max(1, len(ious))
    return [float(np.mean(ious)), len(ious) / objects, len(ious) / max(1, boxes), right / n, float(np.mean(quality))]


def methods_on(of: World, others: dict[str, list[Method]]) -> Iterator[tuple[str, list[list[float]]]]:
    """Name, and for each setting its figures with the seconds for 1,000 images."""
    truths, answers = [t for t, _ in of], [a for _, a in of]
    said = [[a.payload or {"boxes": []} for a in given] for given in answers]
    start = time.perf_counter()
    skills = TASK.skills(answers, {})
    learning = time.perf_counter() - start
    for name, known, spent in (("gtloop, no history", {}, 0.0), ("gtloop, with history", skills, learning)):
        start = time.perf_counter()
        made = [TASK.consolidate(a, known) for a in answers]
        spent += time.perf_counter() - start
        labels = [m.payload or {"boxes": []} for m in made]
        yield name, [[*figures(labels, truths), spent / len(of) * 1000]]
    for name, settings in others.items():
        rows = []
        for method in settings:
            start = time.perf_counter()
            labels = [method(s) for s in said]
            rows.append([*figures(labels, truths), (time.perf_counter() - start) / len(of) * 1000])
        yield name, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=190)
    parser.add_argument("--pool", type=int, default=12, help="people in the crowd")
    parser.add_argument("--scenes", default="clean,bad,merge,crowd")
    parser.add_argument("--people", default="3,5", help="answers to an image")
    parser.add_argument("--no-peers", action="store_true", help="leave ensemble-boxes and panoptes out")
    a = parser.parse_args()
    others = peers(a.no_peers)
    print("| scene | people | b | method | IoU | found | precision | category | image mIoU | s / 1,000 |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    spread = []
    for scene in a.scenes.split(","):
        for n in map(int, a.people.split(",")):
            for b in (0.0,) if scene == "crowd" else (0.05, 0.1, 0.2):
                rows: dict[str, list[list[list[float]]]] = defaultdict(list)
                for seed in range(a.seeds):
                    for name, settings in methods_on(world(scene, n, b, seed, a.images, a.pool), others):
                        rows[name].append(settings)
                for name, by_seed in rows.items():
                    values = np.array(by_seed)  # (seeds, settings, figures)
                    best = values[:, values[:, :, 4].mean(axis=0).argmax()]
                    spread.append(best[:, 4].std(ddof=1) if len(best) > 1 else 0.0)
                    shown = " | ".join(f"{v:.3f}" for v in best[:, :5].mean(axis=0))
                    print(f"| {scene} | {n} | {b or '-'} | {name} | {shown} | {best[:, 5].mean():.1f} |", flush=True)
    print(
        f"\n{a.seeds} seeds x {a.images} images; standard deviation of image mIoU over seeds: {max(spread):.3f} at most"
    )


if __name__ == "__main__":
    main()
