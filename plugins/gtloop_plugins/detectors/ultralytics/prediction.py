"""Raw predictions, in pixels of the image as displayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtloop import masks
from gtloop.labels import clip_box
from gtloop_plugins.detectors.ultralytics.images import by_size, to_tensor

MIN_SCORE = 0.01
MAX_BOXES = 100
MAX_VALUES = 2**26
"""Probabilities of one image held at once; beyond, they are computed on fewer pixels and the regions enlarged."""


def boxes(
    net: Any, prepared: Sequence[dict[str, Any]], device: Any, batch: int, overlap: float
) -> list[dict[str, Any]]:
    """``RawBoxes`` of letterboxed images; boxes of a category that overlap by more than ``overlap`` are one object."""
    import torchvision  # noqa: F401  where it is loaded, the library takes its suppression: the same boxes always
    from ultralytics.utils.nms import non_max_suppression

    def raw(seen: Any) -> Any:
        # The library gives up after 0.05 s an image, unless it is told not to: predictions would hang on the load.
        found = non_max_suppression(
            seen, conf_thres=MIN_SCORE, iou_thres=overlap, max_det=MAX_BOXES, nc=len(net.names), max_time_img=1e6
        )
        return [f.cpu().double().numpy() for f in found]

    return _each(net, prepared, device, batch, raw, _raw_boxes)


def classes(net: Any, prepared: Sequence[dict[str, Any]], device: Any, batch: int) -> list[dict[str, Any]]:
    """``RawClasses``."""

    def raw(seen: Any) -> Any:
        # In eval mode the head returns probabilities, and logits behind them.
        logits = seen[1] if isinstance(seen, tuple) else seen.log()
        return logits.cpu().double().softmax(1).numpy()

    def one(probabilities: NDArray[np.float64], one: dict[str, Any]) -> dict[str, Any]:
        return {"probabilities": probabilities.tolist()}

    return _each(net, prepared, device, batch, raw, one)


def regions(
    net: Any, prepared: Sequence[dict[str, Any]], device: Any, batch: int, categories: int
) -> list[dict[str, Any]]:
    """``RawMasks``; the network's last output is the background."""
    stride = int(net.stride.max())

    def one(logits: Any, one: dict[str, Any]) -> dict[str, Any]:
        return _raw_masks(logits, one, categories, stride)

    return _each(net, prepared, device, batch, lambda seen: seen[0] if isinstance(seen, tuple) else seen, one)


def embed(net: Any, prepared: Sequence[dict[str, Any]], device: Any, batch: int) -> NDArray[np.float32]:
    """(n, d) features of the backbone's last layer, each a mean over the image with what it is padded with."""
    arrays = [p["image"] for p in prepared]
    layer, stride = len(net.yaml["backbone"]) - 1, int(net.stride.max())
    vectors: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(arrays)
    for group in by_size(arrays, batch):
        found = net.predict(to_tensor([arrays[i] for i in group], device, stride), embed=[layer])
        for i, vector in zip(group, found, strict=True):
            vectors[i] = vector.cpu().numpy()
    return np.stack(vectors)


def _each(
    net: Any, prepared: Sequence[dict[str, Any]], device: Any, batch: int, batched: Any, single: Any
) -> list[dict[str, Any]]:
    """Run images of one size together, and give each its part of the output; in order."""
    arrays = [p["image"] for p in prepared]
    raws: list[dict[str, Any]] = [{} for _ in prepared]
    stride = int(net.stride.max())
    for group in by_size(arrays, batch):
        seen = batched(net(to_tensor([arrays[i] for i in group], device, stride)))
        for place, i in enumerate(group):
            raws[i] = single(seen[place], prepared[i])
    return raws


def _raw_boxes(found: NDArray[np.float64], one: dict[str, Any]) -> dict[str, Any]:
    (left, top, w, h), (width, height) = one["place"], one["size"]
    scale = np.array([width / w, height / h] * 2)
    kept = []
    for x1, y1, x2, y2, score, category in found[np.argsort(-found[:, 4], kind="stable")]:
        box = clip_box((np.array([x1, y1, x2, y2]) - [left, top, left, top]) * scale, width, height)
        if box is not None:
            kept.append((list(box), min(1.0, float(score)), int(category)))
    return {"xyxy": [k[0] for k in kept], "scores": [k[1] for k in kept], "categories": [k[2] for k in kept]}


def _raw_masks(logits: Any, one: dict[str, Any], categories: int, stride: int) -> dict[str, Any]:
    """``stride``: images are padded to its multiples."""
    from torch.nn.functional import interpolate

    (left, top, w, h), (width, height) = one["place"], one["size"]
    padded = -(-one["image"].shape[0] // stride) * stride
    whole = interpolate(
        logits[None].float(), scale_factor=padded // logits.shape[1], mode="bilinear", align_corners=False
    )
    probabilities = whole.softmax(1)[:, :, top : top + h, left : left + w]
    share = min(1.0, (MAX_VALUES / (len(logits) * width * height)) ** 0.5)
    size = (max(1, round(height * share)), max(1, round(width * share)))
    planes = interpolate(probabilities, size=size, mode="bilinear", align_corners=False)[0].cpu().numpy()
    raw = masks.raw_masks(planes, categories)
    if size != (height, width):
        rows, columns = (np.arange(n) * m // n for n, m in ((height, size[0]), (width, size[1])))
        codes = [masks.encode(masks.decode(code, size)[rows[:, None], columns]) for code in raw.counts]
        raw = raw.model_copy(update={"size": (height, width), "counts": tuple(codes)})
    found: dict[str, Any] = raw.model_dump(mode="json")
    return found
