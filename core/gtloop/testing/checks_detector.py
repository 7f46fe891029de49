"""What a detector promises: one sane prediction for every image, the same for the same seed."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from gtloop.errors import NotEnoughData
from gtloop.interfaces import Detector
from gtloop.labels import RawBoxes, RawClasses
from gtloop.records import Item, Raw
from gtloop.testing.case import Case, CheckSkipped, require

TOLERANCE = 1e-3
"""Relative difference of numbers that still counts as the same prediction."""
RAW_SHAPES: dict[str, type[BaseModel]] = {"bbox": RawBoxes, "classification": RawClasses}


def check_order_and_count_are_kept(case: Case) -> None:
    """One prediction for each input, in order: reversed inputs give reversed predictions."""
    detector, model = _fitted(case)
    forth = _predict(detector, model, case.items)
    back = _predict(detector, model, case.items[::-1])
    require(len(forth) == len(case.items), f"{len(forth)} predictions for {len(case.items)} images")
    require(len(back) == len(case.items), f"{len(back)} predictions for {len(case.items)} images")
    wrong = [i.name for i, a, b in zip(case.items, forth, back[::-1], strict=True) if not _close(a, b)]
    require(not wrong, f"predictions depend on the order of the inputs: {', '.join(wrong)}")
    alone = _predict(detector, model, case.items[:1])
    require(len(alone) == 1, f"{len(alone)} predictions for 1 image")


def check_scores_are_in_range(case: Case) -> None:
    """Raw predictions are plain JSON of the task's shape; scores lie in [0, 1], best first."""
    detector, model = _fitted(case)
    shape = RAW_SHAPES.get(case.task_name)
    for raw in _predict(detector, model, case.items):
        require(json.loads(json.dumps(raw)) == raw, f"a raw prediction is not plain JSON: {str(raw)[:200]}")
        if shape is not None:
            try:
                shape.model_validate(raw)
            except ValidationError as e:
                require(False, f"a raw prediction is no {shape.__name__}: {e.errors()[0]['msg']}")
        scores = np.array(raw.get("scores", raw.get("probabilities", [])), dtype=np.float64)
        require(np.isfinite(scores).all(), f"scores are not finite: {scores}")
        require(((scores >= 0) & (scores <= 1)).all(), f"scores are outside [0, 1]: {scores}")
        if "probabilities" in raw:
            count = len(case.context.categories)
            require(len(scores) == count, f"{len(scores)} probabilities for {count} categories")
            require(abs(scores.sum() - 1) < TOLERANCE, f"probabilities sum to {scores.sum()}")
        elif "scores" in raw:
            require((np.diff(scores) <= 0).all(), f"scores are not sorted, best first: {scores}")
            require(
                len(scores) == len(raw["xyxy"]) == len(raw["categories"]), "xyxy, scores, categories differ in length"
            )
        features = case.task.features(raw, 0.5)
        require(np.isfinite(features).all(), f"features of a prediction are not finite: {features}")


def check_labels_fit_the_image(case: Case) -> None:
    """Even the least confident objects lie inside the image and have a declared category."""
    detector, model = _fitted(case)
    for item, raw in zip(case.items, _predict(detector, model, case.items), strict=True):
        width, height = item.display_size or (0, 0)
        for x1, y1, x2, y2 in raw.get("xyxy", []):
            inside = 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
            require(inside, f"box {[x1, y1, x2, y2]} is not inside the image of {width} x {height} pixels")
        indices = raw.get("categories", [])
        bad = [i for i in indices if not 0 <= i < len(case.context.categories)]
        require(not bad, f"category index {bad[:1]} of {len(case.context.categories)} categories")
        case.task.parse(case.task.label(raw, 0.01), item)


def check_same_seed_same_result(case: Case) -> None:
    """Fitting twice with one seed on the same images gives the same predictions."""
    detector, model = _fitted(case)
    if not case.cls.trainable:
        raise CheckSkipped("nothing to fit")
    again = _fit(case, "fit-again")
    first, second = (_predict(detector, m, case.items) for m in (model, detector.load(again)))
    require(all(_close(a, b) for a, b in zip(first, second, strict=True)), "one seed gives two different models")


def check_model_reloads_from_its_folder(case: Case) -> None:
    """A new object loads the model from a moved copy of its folder and predicts the same."""
    detector, model = _fitted(case)
    if not case.cls.trainable:
        raise CheckSkipped("nothing to fit")
    moved = case.path("moved")
    shutil.copytree(case.memory["fitted"], moved, dirs_exist_ok=True)
    other = case.build("other")
    first, second = _predict(detector, model, case.items), _predict(other, other.load(moved), case.items)
    require(all(_close(a, b) for a, b in zip(first, second, strict=True)), "a reloaded model predicts otherwise")


def check_no_examples_is_not_enough(case: Case) -> None:
    """Fitting on nothing raises NotEnoughData."""
    if not case.cls.trainable:
        raise CheckSkipped("nothing to fit")
    folder = _empty(case, "fit-nothing")
    try:
        case.build().fit([], folder, seed=0)
    except NotEnoughData:
        return
    except Exception as e:
        require(False, f"fit([]) raised {type(e).__name__}, not NotEnoughData: {e}")
    require(False, "fit([]) raised nothing, NotEnoughData was due")


def check_fit_reports(case: Case) -> None:
    """``fit`` calls progress, returns finite numbers, and leaves a model in its folder only."""
    if not case.cls.trainable:
        raise CheckSkipped("nothing to fit")
    _fitted(case)
    figures = case.memory["figures"]
    bad = {k: v for k, v in figures.items() if not np.isfinite(v)}
    require(not bad, f"fit returned figures that are not finite: {bad}")
    require(case.memory["progress"], "fit never called progress")
    require(any(case.memory["fitted"].iterdir()), "fit left nothing in its folder")


def check_prepared_is_picklable(case: Case) -> None:
    """What ``prepare`` returns can be sent to another process."""
    detector, model = _fitted(case)
    direct = _predict(detector, model, case.items[:2])
    sent = [pickle.loads(pickle.dumps(p)) for p in _prepare(detector, case.items[:2])]
    require(
        all(_close(a, b) for a, b in zip(direct, detector.predict_batch(model, sent), strict=True)),
        "a prepared image that was pickled predicts otherwise",
    )


def check_images_of_any_size(case: Case) -> None:
    """Small, wide and tall images in one batch each get a prediction inside themselves."""
    if not case.cls.opens_images:
        raise CheckSkipped("opens no images")
    from PIL import Image

    detector, model = _fitted(case)
    prepared, sizes = [], ((16, 16), (200, 20), (20, 200), (96, 64))
    for row, (width, height) in enumerate(sizes):
        item = Item(row=row, id=str(row), name=f"{row}.png", uri="", width=width, height=height)
        pixels = case.rng(row).integers(0, 255, (height, width, 3), dtype=np.uint8)
        prepared.append(detector.prepare(Image.fromarray(pixels), item))
    raws = detector.predict_batch(model, prepared)
    require(len(raws) == len(sizes), f"{len(raws)} predictions for {len(sizes)} images")
    for raw, (width, height) in zip(raws, sizes, strict=True):
        boxes = np.array(raw.get("xyxy", [])).reshape(-1, 4)
        inside = (boxes >= 0).all() and (boxes[:, [0, 2]] <= width).all() and (boxes[:, [1, 3]] <= height).all()
        require(inside, f"boxes outside an image of {width} x {height} pixels")


def _fitted(case: Case) -> tuple[Detector, Any]:
    """A detector with its model; fitted once for all checks of a case."""
    if not case.task_name:
        raise CheckSkipped(f"no installed task is among {', '.join(sorted(case.cls.tasks))}")
    detector: Detector = case.build()
    if not case.cls.trainable:
        return detector, detector.load(None)
    if "fitted" not in case.memory:
        case.memory["fitted"] = _fit(case, "fit", case.memory)
    return detector, detector.load(case.memory["fitted"])


def _fit(case: Case, name: str, memory: dict[str, Any] | None = None) -> Path:
    folder = _empty(case, name)
    calls: list[str] = []

    def progress(step: str, done: int, total: int | None, note: str = "") -> None:
        calls.append(step)

    figures = case.build().fit(case.examples, folder, seed=3, progress=progress)
    if memory is not None:
        memory.update(figures=figures, progress=calls)
    return folder


def _empty(case: Case, name: str) -> Path:
    folder = case.path(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _prepare(detector: Detector, items: Sequence[Item]) -> list[Any]:
    from gtloop.images import open_image

    return [detector.prepare(open_image(i.uri) if detector.opens_images else None, i) for i in items]


def _predict(detector: Detector, model: Any, items: Sequence[Item]) -> list[Raw]:
    return detector.predict_batch(model, _prepare(detector, items))


def _close(a: Any, b: Any) -> bool:
    """Equal structure, and numbers equal up to TOLERANCE."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_close(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_close(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b))
    return bool(a == b)


DETECTOR_CHECKS = (
    check_order_and_count_are_kept,
    check_scores_are_in_range,
    check_labels_fit_the_image,
    check_same_seed_same_result,
    check_model_reloads_from_its_folder,
    check_no_examples_is_not_enough,
    check_fit_reports,
    check_prepared_is_picklable,
    check_images_of_any_size,
)
