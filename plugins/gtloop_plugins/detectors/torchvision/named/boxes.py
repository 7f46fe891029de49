"""Task ``bbox`` with torchvision's detectors: their own losses, boxes and suppression of duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gtloop.interfaces import Context, Example
from gtloop_plugins.detectors.torchvision import parallel
from gtloop_plugins.detectors.torchvision.augment import box_view, recolour
from gtloop_plugins.detectors.torchvision.boxes import target
from gtloop_plugins.detectors.torchvision.images import ImageArray, by_size
from gtloop_plugins.detectors.torchvision.named.build import MAX_BOXES, MIN_SCORE, Fitting, unit_tensor
from gtloop_plugins.detectors.torchvision.schedule import Indices


def fit(
    fitting: Fitting, examples: Sequence[Example], prepared: Sequence[dict[str, Any]], context: Context
) -> tuple[dict[str, Any], dict[str, float]]:
    """Fit on prepared examples; the weights to keep and figures worth logging."""
    import torch

    options, device, views = fitting.options, fitting.device, parallel.views(fitting.seed)
    arrays = [p["image"] for p in prepared]
    targets = [target(e, context.categories, p["image"], *p["size"]) for e, p in zip(examples, prepared, strict=True)]

    def loss(net: Any, indices: Indices, augmented: bool) -> Any:
        height, width = arrays[int(indices[0])].shape[:2]
        seen, wanted = [], []
        for i in indices:
            image, (boxes, labels) = arrays[i], targets[i]
            if augmented:
                view, boxes, kept = box_view(
                    image, boxes, (width, height), views, zoom=options.zoom, flip=options.flip_boxes
                )
                image, boxes, labels = recolour(view, views), boxes[kept], labels[kept]
            seen.append(image)
            wanted.append(
                {
                    "boxes": torch.from_numpy(boxes).to(device, torch.float32),
                    "labels": torch.from_numpy(labels + 1).to(device),
                }
            )
        return torch.stack(list(_run(net, unit_tensor(seen, device), wanted).values())).sum()

    return fitting.train(arrays, options.batch, loss)


def predict(
    net: Any, prepared: Sequence[dict[str, Any]], device: Any, batch: int, n_categories: int, name: str
) -> list[dict[str, Any]]:
    """Raw predictions (``gtloop.labels.RawBoxes``) of prepared images, in order."""
    arrays = [p["image"] for p in prepared]
    raws: list[dict[str, Any]] = [{} for _ in prepared]
    for group in by_size(arrays, batch):
        found = _run(net, unit_tensor([arrays[i] for i in group], device), None)
        for i, one in zip(group, found, strict=True):
            raws[i] = _raw(one, arrays[i], *prepared[i]["size"])
    return raws


def _run(net: Any, batch: Any, wanted: list[dict[str, Any]] | None) -> Any:
    """Losses (in training) or boxes of (B, 3, H, W) images in [0, 1].

    They have the size that they are to be looked at in; only SSD, which is made for squares, resizes them.
    """
    from torchvision.models.detection.ssd import SSD

    if not isinstance(net, SSD):
        net.transform.fixed_size = (batch.shape[3], batch.shape[2])
    return net(list(batch), wanted)


def _raw(found: dict[str, Any], array: ImageArray, width: int, height: int) -> dict[str, Any]:
    """Boxes of one image in display pixels, best first; class 0 is the background."""
    import torch

    boxes, scores, labels = found["boxes"].cpu(), found["scores"].cpu(), found["labels"].cpu()
    boxes = boxes * torch.tensor([width / array.shape[1], height / array.shape[0]] * 2)
    boxes = torch.minimum(boxes.clamp(min=0), torch.tensor([float(width), float(height)] * 2))
    real = ((boxes[:, 2:] - boxes[:, :2]) > 0.01).all(1) & (labels > 0) & (scores > MIN_SCORE)
    order = torch.argsort(scores[real], descending=True, stable=True)[:MAX_BOXES]
    return {
        "xyxy": [[round(float(v), 2) for v in box] for box in boxes[real][order]],
        "scores": [round(float(s), 5) for s in scores[real][order]],
        "categories": [int(c) - 1 for c in labels[real][order]],
    }
