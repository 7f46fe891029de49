"""Figures of merit of masks against a truth, accumulated over a stream of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from gtloop.records import Payload
from gtloop_plugins.tasks.segmentation import tiling


def evaluate(pairs: Iterable[tuple[Payload, Payload]], categories: Sequence[str], background: str) -> dict[str, float]:
    """Figures of (label, truth) pairs.

    Returns:
        ``mean`` and ``median`` of the mean IoU of an image, ``count`` of images; over the pixels of all images together
        ``iou.NAME`` of every category that occurs, ``miou`` (their mean, the usual figure of the field) and
        ``pixel_accuracy`` (background included). Void counts in nothing. NaN where undefined.
    """
    names = [c for c in categories if c != background]
    pooled = np.zeros((len(names) + 2, len(names) + 2), np.int64)
    quality: list[float] = []
    for label, truth in pairs:
        if list(label["size"]) != list(truth["size"]):
            quality.append(0.0)
            continue
        a, b = (tiling.read(payload, names, background) for payload in (label, truth))
        found = tiling.confusion(a, b, int(label["size"][0]) * int(label["size"][1]), len(names))
        quality.append(tiling.mean_iou(found))
        pooled += found
    counted = pooled[: len(names) + 1, : len(names) + 1]
    by_name = {n: float(v) for n, v in zip(names, tiling.ious(counted, len(names)), strict=True) if not np.isnan(v)}
    nan = float("nan")
    return {
        "mean": float(np.mean(quality)) if quality else nan,
        "count": float(len(quality)),
        "median": float(np.median(quality)) if quality else nan,
        "miou": float(np.mean(list(by_name.values()))) if by_name else nan,
        "pixel_accuracy": float(np.trace(counted) / counted.sum()) if counted.sum() else nan,
        **{f"iou.{name}": value for name, value in by_name.items()},
    }
