"""Task ``classification`` with torchvision's classifiers, on square images with grey margins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gtloop.interfaces import Context, Example
from gtloop.labels import ClassLabel
from gtloop_plugins.detectors.torchvision import parallel
from gtloop_plugins.detectors.torchvision.augment import GREY, class_view, recolour
from gtloop_plugins.detectors.torchvision.images import ImageArray, shrink
from gtloop_plugins.detectors.torchvision.named.build import Fitting, fixed_side, normalised, smallest_side
from gtloop_plugins.detectors.torchvision.schedule import Indices

if TYPE_CHECKING:
    from PIL import Image

    from gtloop_plugins.detectors.torchvision import TorchvisionOptions

SMOOTHING = 0.05


def square(image: Image.Image, name: str, options: TorchvisionOptions) -> ImageArray:
    """(S, S, 3) uint8: the whole image in the middle of a grey square of the size that the model takes."""
    width, height = image.size
    side = fixed_side(name) or max(options.class_size, smallest_side(name))
    scale = side / max(width, height)
    small = shrink(image, (max(1, round(width * scale)), max(1, round(height * scale))))
    canvas = np.full((side, side, 3), GREY, np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


def fit(
    fitting: Fitting, examples: Sequence[Example], prepared: Sequence[dict[str, Any]], context: Context
) -> tuple[dict[str, Any], dict[str, float]]:
    """Fit on prepared examples; the weights to keep and figures worth logging."""
    import torch

    options, device, views = fitting.options, fitting.device, parallel.views(fitting.seed)
    arrays = [p["image"] for p in prepared]
    index = {name: i for i, name in enumerate(context.categories)}
    labels = np.array([index[ClassLabel.model_validate(e.payload).category] for e in examples], dtype=np.int64)
    if options.classes == "linear":
        for parameter in fitting.pretrained:
            parameter.requires_grad_(False)

    def loss(net: Any, indices: Indices, augmented: bool) -> Any:
        seen = [arrays[i] for i in indices]
        if augmented:
            seen = [recolour(class_view(image, views, flip=options.flip_classes), views) for image in seen]
        logits = net(normalised(seen, device, options.model))
        wanted = torch.from_numpy(labels[indices]).to(device)
        return torch.nn.functional.cross_entropy(logits, wanted, label_smoothing=SMOOTHING)

    return fitting.train(arrays, 4 * options.batch, loss)


def predict(
    net: Any, prepared: Sequence[dict[str, Any]], device: Any, batch: int, n_categories: int, name: str
) -> list[dict[str, Any]]:
    """Raw predictions (``gtloop.labels.RawClasses``) of prepared images, in order."""
    raws = []
    for start in range(0, len(prepared), batch):
        logits = net(normalised([p["image"] for p in prepared[start : start + batch]], device, name))
        for row in logits.double().softmax(1).cpu().tolist():
            rounded = [round(p, 6) for p in row]
            raws.append({"probabilities": [p / sum(rounded) for p in rounded]})
    return raws
