"""Task ``segmentation`` with torchvision's segmenters; their class 0 is what is in no region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gtloop.interfaces import Context, Example
from gtloop.masks import VOID
from gtloop_plugins.detectors.torchvision import parallel
from gtloop_plugins.detectors.torchvision.augment import mask_view, recolour
from gtloop_plugins.detectors.torchvision.images import by_size
from gtloop_plugins.detectors.torchvision.named.build import Fitting, normalised
from gtloop_plugins.detectors.torchvision.schedule import Indices
from gtloop_plugins.detectors.torchvision.segments import raw_of, target

AUXILIARY = 0.5
"""Share of the auxiliary output's loss, as in torchvision's references/segmentation/train.py."""


def fit(
    fitting: Fitting, examples: Sequence[Example], prepared: Sequence[dict[str, Any]], context: Context
) -> tuple[dict[str, Any], dict[str, float]]:
    """Fit on prepared examples; the weights to keep and figures worth logging."""
    import torch

    options, device, views = fitting.options, fitting.device, parallel.views(fitting.seed)
    arrays = [p["image"] for p in prepared]
    names = context.categories
    background = str(getattr(getattr(context.task, "options", None), "background", ""))
    planes = [target(e, names, background, array.shape[:2]) for e, array in zip(examples, arrays, strict=True)]

    def loss(net: Any, indices: Indices, augmented: bool) -> Any:
        height, width = arrays[int(indices[0])].shape[:2]
        seen, wanted = [], []
        for i in indices:
            image, index = arrays[i], planes[i]
            if augmented:
                view, index = mask_view(
                    image, index, (width, height), views, zoom=options.zoom, flip=options.flip_boxes, stride=1
                )
                image = recolour(view, views)
            seen.append(image)
            # The last plane, what is in no region, is torchvision's class 0.
            wanted.append(np.where(index == VOID, VOID, (index + 1) % (len(names) + 1)))
        said = net(normalised(seen, device, options.model))
        truth = torch.from_numpy(np.stack(wanted)).to(device, torch.int64)
        value = _cross_entropy(said["out"], truth)
        return value + AUXILIARY * _cross_entropy(said["aux"], truth) if "aux" in said else value

    return fitting.train(arrays, options.batch, loss)


def _cross_entropy(logits: Any, truth: Any) -> Any:
    """The mean over pixels that count; 0 where none does."""
    from torch.nn.functional import cross_entropy

    total = cross_entropy(logits, truth, ignore_index=VOID, reduction="sum")
    return total / (truth != VOID).sum().clamp(min=1)


def predict(
    net: Any, prepared: Sequence[dict[str, Any]], device: Any, batch: int, n_categories: int, name: str
) -> list[dict[str, Any]]:
    """Raw predictions (``gtloop.labels.RawMasks``) of prepared images, in order."""
    arrays = [p["image"] for p in prepared]
    raws: list[dict[str, Any]] = [{} for _ in prepared]
    for group in by_size(arrays, batch):
        logits = net(normalised([arrays[i] for i in group], device, name))["out"]
        planes = logits.float().softmax(1).roll(-1, 1).cpu()
        for place, i in enumerate(group):
            width, height = prepared[i]["size"]
            raws[i] = raw_of(planes[place : place + 1], width, height, n_categories).model_dump(mode="json")
    return raws
