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
from gtloop.labels import RawBoxes, RawClasses, RawMasks
from gtloop.records import Item, Raw
from gtloop.testing.alike import TOLERANCE, alike, clipped, close, different
from gtloop.testing.case import Case, CheckSkipped, during, prepare, require
from gtloop.testing.checks_embedding import check_embeddings_are_vectors

SEED = 3
RAW_SHAPES: dict[str, type[BaseModel]] = {
    "bbox": RawBoxes,
    "classification": RawClasses,
    "segmentation": RawMasks,
}


def check_fits_and_predicts(case: Case) -> None:
    """It fits on ten labelled images, loads what it left, and predicts, without raising."""
    detector, model = _fitted(case)
    _predict(detector, model, case.items)


def check_order_and_count_are_kept(case: Case) -> None:
    """One prediction for each input, in order: reversed inputs give reversed predictions."""
    detector, model = _fitted(case)
    forth = _predict(detector, model, case.items)
    back = _predict(detector, model, case.items[::-1])
    require(len(forth) == len(case.items), f"{len(forth)} predictions for {len(case.items)} images")
    require(len(back) == len(case.items), f"{len(back)} predictions for {len(case.items)} images")
    wrong = [i.name for i, a, b in zip(case.items, forth, back[::-1], strict=True) if not close(a, b)]
    require(
        not wrong,
        f"predictions are not in the order of the inputs: with the images reversed, {len(wrong)} of {len(case.items)} "
        f"get another one's prediction, {wrong[:1]} first",
    )
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
                first = e.errors()[0]
                where = ".".join(map(str, first["loc"]))
                require(False, f"a raw prediction is no {shape.__name__}: {where}: {first['msg']}")
        scores = np.array(raw.get("scores", raw.get("probabilities", [])), dtype=np.float64)
        require(np.isfinite(scores).all(), f"scores are not finite: {scores[~np.isfinite(scores)][:3].tolist()}")
        outside = [float(f"{s:.4g}") for s in scores[(scores < 0) | (scores > 1)][:3]]
        require(not outside, f"scores are outside [0, 1]: {outside}")
        if "probabilities" in raw:
            count = len(case.context.categories)
            require(len(scores) == count, f"{len(scores)} probabilities for {count} categories")
            require(abs(scores.sum() - 1) < TOLERANCE, f"probabilities sum to {scores.sum():.3g}, not 1")
        elif "scores" in raw:
            require(
                (np.diff(scores) <= 0).all(),
                f"scores are not sorted, best first: {[float(f'{s:.4g}') for s in scores[:9]]}",
            )
            columns = [k for k in ("xyxy", "counts", "scores", "categories") if k in raw]
            require(len({len(raw[k]) for k in columns}) == 1, f"{', '.join(columns)} differ in length")


def check_labels_fit_the_image(case: Case) -> None:
    """Even the least confident objects lie inside the image and have a declared category."""
    detector, model = _fitted(case)
    for item, raw in zip(case.items, _predict(detector, model, case.items), strict=True):
        width, height = item.display_size or (0, 0)
        for x1, y1, x2, y2 in raw.get("xyxy", []):
            box = f"box {[x1, y1, x2, y2]}, read as x1, y1, x2, y2,"
            require(x1 < x2 and y1 < y2, f"{box} needs x2 > x1 and y2 > y1: is it x, y, width, height?")
            inside = x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height
            require(inside, f"{box} is not inside the image of {width} x {height} pixels")
        indices = raw.get("categories", [])
        bad = [i for i in indices if not 0 <= i < len(case.context.categories)]
        require(not bad, f"category index {bad[:1]} of {len(case.context.categories)} categories, counted from 0")
        with during("parsing the label of a prediction"):
            case.task.parse(case.task.label(clipped(raw), 0.01), item)
        features = case.task.features(raw, 0.5)
        odd = [n for n, v in zip(case.task.feature_names, features, strict=True) if not np.isfinite(v)]
        require(not odd, f"features of a prediction are not finite: {', '.join(odd)}")


def check_same_seed_same_result(case: Case) -> None:
    """Fitting twice with one seed on the same images gives the same predictions."""
    detector, model = _fitted(case)
    if not case.cls.trainable:
        raise CheckSkipped("nothing to fit")
    again = _fit(case, "fit-again")
    first, second = (_predict(detector, m, case.items) for m in (model, detector.load(again)))
    wrong = different(first, second)
    require(not wrong, f"fitted twice on the same images with seed {SEED}, it predicts otherwise on {wrong}")


def check_batch_does_not_matter(case: Case) -> None:
    """An image gets the same prediction alone as together with others."""
    detector, model = _fitted(case)
    together = _predict(detector, model, case.items)
    alone = [raw for item in case.items for raw in _predict(detector, model, [item])]
    # Whichever image a prediction was given to, it must be there: order is another check's.
    wrong = [i.name for i, raw in zip(case.items, alone, strict=False) if not _among(case, raw, together)]
    require(
        not wrong,
        f"predictions depend on the other images of the batch: {len(wrong)} of {len(case.items)} images get another "
        f"prediction alone, {wrong[:1]} first",
    )


def check_only_the_image_counts(case: Case) -> None:
    """The same pixels under another row, id and name get the same prediction."""
    if not case.cls.opens_images:
        raise CheckSkipped("opens no images")
    detector, model = _fitted(case)
    renamed = [i.model_copy(update={"row": i.row + 100, "id": f"no-{i.row}", "name": f"n{i.row}"}) for i in case.items]
    wrong = different(_predict(detector, model, case.items), _predict(detector, model, renamed))
    require(not wrong, f"the same pixels under another row, id and name get another prediction: {wrong}")


def check_model_reloads_from_its_folder(case: Case) -> None:
    """A new object loads the model and predicts the same."""
    detector, model = _fitted(case)
    if not case.cls.trainable:
        raise CheckSkipped("nothing to fit")
    other = case.build("other")
    with during("load by a new object"):
        reloaded = other.load(case.memory["fitted"])
    wrong = different(_predict(detector, model, case.items), _predict(other, reloaded, case.items))
    require(not wrong, f"a new object that loads the model predicts otherwise on {wrong}")


def check_model_folder_can_be_moved(case: Case) -> None:
    """The model's folder can be moved: nothing in it refers to where it was."""
    detector, model = _fitted(case)
    if not case.cls.trainable:
        raise CheckSkipped("nothing to fit")
    fitted: Path = case.memory["fitted"]
    moved = fitted.rename(case.path("moved"))  # the old place is gone, so that nothing can be read there
    try:
        with during("load, after the model's folder was moved,"):
            wrong = different(
                _predict(detector, model, case.items), _predict(detector, detector.load(moved), case.items)
            )
    finally:
        moved.rename(fitted)
    require(not wrong, f"after its folder was moved, the model predicts otherwise on {wrong}")


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
        require(False, f"fit on no examples raised {type(e).__name__}, not NotEnoughData: {e}")
    require(False, "fit on no examples raised nothing, NotEnoughData was due")


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
    with during("pickling what prepare returns"):
        sent = [pickle.loads(pickle.dumps(p)) for p in prepare(detector, case.items[:2])]
    wrong = different(direct, detector.predict_batch(model, sent))
    require(not wrong, f"an image that was prepared and pickled is predicted otherwise: {wrong}")


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
    shown = ", ".join(f"{width} x {height}" for width, height in sizes)
    with during(f"predict_batch on images of {shown} pixels"):
        raws = detector.predict_batch(model, prepared)
    require(len(raws) == len(sizes), f"{len(raws)} predictions for {len(sizes)} images")
    for raw, (width, height) in zip(raws, sizes, strict=True):
        boxes = np.array(raw.get("xyxy", [])).reshape(-1, 4)
        inside = (boxes >= 0).all() and (boxes[:, [0, 2]] <= width).all() and (boxes[:, [1, 3]] <= height).all()
        require(inside, f"boxes outside an image of {width} x {height} pixels")
        size = list(raw.get("size", (height, width)))
        require(size == [height, width], f"masks of size {size}, [height, width] is {[height, width]}")


def _among(case: Case, raw: Raw, others: Sequence[Raw]) -> bool:
    return any(close(raw, o) for o in others) or any(alike(case, raw, o) for o in others)


def _fitted(case: Case) -> tuple[Detector, Any]:
    """A detector with its model; fitted once for all checks of a case."""
    if not case.task_name:
        raise CheckSkipped(f"no installed task is among {', '.join(sorted(case.cls.tasks))}")
    detector: Detector = case.build()
    if not case.cls.trainable:
        with during("load"):
            return detector, detector.load(None)
    if "fitted" not in case.memory:
        case.memory["fitted"] = _fit(case, "fit", case.memory)
    with during("load"):
        return detector, detector.load(case.memory["fitted"])


def _fit(case: Case, name: str, memory: dict[str, Any] | None = None) -> Path:
    folder = _empty(case, name)
    calls: list[str] = []

    def progress(step: str, done: int, total: int | None, note: str = "") -> None:
        calls.append(step)

    with during(f"fit on {len(case.examples)} images"):
        figures = case.build().fit(case.examples, folder, seed=SEED, progress=progress)
    if memory is not None:
        memory.update(figures=figures, progress=calls)
    return folder


def _empty(case: Case, name: str) -> Path:
    folder = case.path(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _predict(detector: Detector, model: Any, items: Sequence[Item]) -> list[Raw]:
    with during("prepare"):
        prepared = prepare(detector, items)
    with during("predict_batch"):
        return detector.predict_batch(model, prepared)


DETECTOR_CHECKS = (
    check_fits_and_predicts,
    check_order_and_count_are_kept,
    check_scores_are_in_range,
    check_labels_fit_the_image,
    check_batch_does_not_matter,
    check_only_the_image_counts,
    check_same_seed_same_result,
    check_model_reloads_from_its_folder,
    check_model_folder_can_be_moved,
    check_no_examples_is_not_enough,
    check_fit_reports,
    check_prepared_is_picklable,
    check_images_of_any_size,
    check_embeddings_are_vectors,
)
