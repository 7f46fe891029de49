"""Task ``bbox``: fit the dense detector, and make boxes of what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import Example, Progress
from gtloop.labels import BoxesLabel, box_array
from gtloop_plugins.detectors.torchvision import dense, parallel
from gtloop_plugins.detectors.torchvision.augment import box_view, recolour
from gtloop_plugins.detectors.torchvision.images import ImageArray, by_size, to_tensor
from gtloop_plugins.detectors.torchvision.schedule import Indices, hold_out, optimise, schedule_for

if TYPE_CHECKING:
    from gtloop_plugins.detectors.torchvision import TorchvisionOptions

MIN_SCORE = 0.01
MAX_BOXES = 100
CANDIDATES = 300
SAME_OBJECT = 0.55
"""Overlap from which two boxes of a category are one object."""
SHARPNESS = 0.75
"""Scores are expected overlaps to this power: measured, boxes are worth keeping from an expected overlap of
about 0.4, and that is to be a score of about 0.5."""
Target = tuple[NDArray[np.float64], NDArray[np.int64]]


def target(example: Example, categories: Sequence[str], small: ImageArray, width: int, height: int) -> Target:
    """(N, 4) boxes in pixels of the shrunken image and (N,) indices of their categories."""
    label = BoxesLabel.model_validate(example.payload)
    scale = np.array([small.shape[1] / width, small.shape[0] / height] * 2)
    index = {name: i for i, name in enumerate(categories)}
    return box_array(label.boxes) * scale, np.array([index[box.category] for box in label.boxes], dtype=np.int64)


def fit(
    net: Any,
    images: Sequence[ImageArray],
    targets: Sequence[Target],
    options: TorchvisionOptions,
    device: Any,
    *,
    seed: int,
    effort: float,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Fit ``net`` in place; the averaged weights and figures worth logging."""
    import torch

    shuffles, views = np.random.default_rng([seed, 1]), parallel.views(seed)
    n = len(images)

    learn, held = hold_out(n, options.hold_out, seed)

    def loss_of(indices: Indices) -> Any:
        shape = images[int(indices[0])].shape
        arrays, wanted = [], []
        for i in indices:
            boxes, categories = targets[i]
            view, moved, kept = box_view(
                images[i], boxes, (shape[1], shape[0]), views, zoom=options.zoom, flip=options.flip_boxes
            )
            arrays.append(recolour(view, views))
            wanted.append(tensors(moved[kept], categories[kept]))
        return dense.loss(dense.forward(net, to_tensor(arrays, device)), wanted)

    def tensors(boxes: NDArray[np.float64], categories: NDArray[np.int64]) -> tuple[Any, Any]:
        return torch.from_numpy(boxes).to(device, torch.float32), torch.from_numpy(categories).to(device)

    def held_out(averaged: Any, held: Indices) -> float:
        # Per image, as they are: the loss is over the mass of objects, so that batches would weigh images by them.
        losses = []
        for i in held:
            losses.append(dense.loss(dense.forward(averaged, to_tensor([images[i]], device)), [tensors(*targets[i])]))
        return float(torch.stack(losses).mean())

    schedule = schedule_for(len(learn), options, effort, batch=options.batch)
    return optimise(net, net["body"], learn, schedule, shuffles, loss_of, progress, held_out, held)


def predict(
    net: Any, prepared: Sequence[dict[str, Any]], device: Any, batch: int, *, mirror: bool
) -> list[dict[str, Any]]:
    """Raw predictions (``gtloop.labels.RawBoxes``) of prepared images, in order."""
    arrays = [p["image"] for p in prepared]
    raws: list[dict[str, Any]] = [{} for _ in prepared]
    for group in by_size(arrays, batch):
        scores, boxes = _look(net, to_tensor([arrays[i] for i in group], device), mirror)
        for place, i in enumerate(group):
            raws[i] = _raw(scores[place], boxes[place], arrays[i], *prepared[i]["size"])
    return raws


def _look(net: Any, images: Any, mirror: bool) -> tuple[Any, Any]:
    """(B, A, K) scores and (B, A, 4) boxes, averaged over the image and its mirror image if asked to."""
    import torch

    seen = dense.forward(net, images)
    scores, boxes = seen.logits.sigmoid(), seen.boxes
    if mirror:
        other = dense.forward(net, images.flip(3).contiguous(memory_format=torch.channels_last))
        cells = dense.mirrored(images.shape[2], images.shape[3]).to(images.device)
        width = float(images.shape[3])
        x1, y1, x2, y2 = other.boxes[:, cells].unbind(-1)
        boxes = (boxes + torch.stack([width - x2, y1, width - x1, y2], -1)) / 2
        scores = (scores + other.logits[:, cells].sigmoid()) / 2
    return scores.pow(SHARPNESS).cpu(), boxes.cpu()


def _raw(scores: Any, boxes: Any, array: ImageArray, width: int, height: int) -> dict[str, Any]:
    """Boxes of one image in display pixels, best first; near-equal ones are merged into the best."""
    import torch
    from torchvision.ops import batched_nms, box_iou

    flat = scores.flatten()
    order = flat.topk(min(CANDIDATES, len(flat))).indices
    order = order[flat[order] > MIN_SCORE]
    n_categories = scores.shape[1]
    score, cell, category = flat[order], order // n_categories, order % n_categories
    scale = torch.tensor([width / array.shape[1], height / array.shape[0]] * 2)
    limit = torch.tensor([float(width), float(height)] * 2)
    found = torch.minimum((boxes[cell] * scale).clamp(min=0), limit)
    real = ((found[:, 2:] - found[:, :2]) > 0.01).all(1)
    found, score, category = found[real], score[real], category[real]
    kept = batched_nms(found, score, category, SAME_OBJECT)[:MAX_BOXES]
    weight = (box_iou(found[kept], found) > 0.65) & (category[kept][:, None] == category)
    weight = weight * score
    merged = (weight @ found) / weight.sum(1, keepdim=True)
    return {
        "xyxy": [[round(float(v), 2) for v in box] for box in merged],
        "scores": [round(float(s), 5) for s in score[kept]],
        "categories": [int(c) for c in category[kept]],
    }
