"""Task ``segmentation``: a category for every pixel, from the backbone's features and a light decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtloop import masks
from gtloop.interfaces import Example, Progress
from gtloop.labels import RawMasks, SegmentationLabel
from gtloop.masks import BACKGROUND, VOID, IndexMap
from gtloop_plugins.detectors.torchvision import parallel
from gtloop_plugins.detectors.torchvision.augment import mask_view, recolour, sample
from gtloop_plugins.detectors.torchvision.images import GRID, ImageArray, by_size, to_tensor
from gtloop_plugins.detectors.torchvision.schedule import Indices, hold_out, optimise, schedule_for
from gtloop_plugins.detectors.torchvision.weights import FINE_CHANNELS, feature_pyramid_body

if TYPE_CHECKING:
    from gtloop_plugins.detectors.torchvision import TorchvisionOptions

VIEW = 0.6
"""Sides of a training view as a share of the image's: three small different views teach more than one whole image."""
STRIDE = 2
"""Pixels of the working image for one pixel of the output, in the loss and before the last enlargement."""
LR_FACTOR = 3.0
"""Step sizes as multiples of the option's."""
EPOCHS_FACTOR = 3.0
"""Passes as a multiple of the option's: 100 images take eight minutes on one core, and a mask is dear."""
OVERLAP_WEIGHT = 1.0
BALANCE = 0.25
"""Power of a plane's share of the pixels that its weight falls with; see ``balance``."""
MOST_PIXELS = 2**21
"""Pixels of an image up to which probabilities are made for every one of them; regions of larger ones are enlarged."""


def target(example: Example, categories: Sequence[str], background: str, shape: tuple[int, int]) -> IndexMap:
    """(H, W) of ``shape``: the plane that each pixel of the shrunken image belongs to, or ``VOID``.

    Planes are the categories, in order, and behind them what is in none of them; with a ``background`` that is its
    category, and the last plane stays empty.
    """
    label = SegmentationLabel.model_validate(example.payload)
    index = masks.to_map(label, categories)
    index[index == BACKGROUND] = categories.index(background) if background in categories else len(categories)
    height, width = shape
    scale = np.array([[width / label.size[1], 0.0, 0.0], [0.0, height / label.size[0], 0.0]])
    return sample(index, (width, height), scale, 1)


def build(n_categories: int, channels: int, frozen_blocks: int, pretrained: bool) -> Any:
    """The network: an ``nn.ModuleDict`` of body, laterals, refinements and output, in eval mode.

    A feature pyramid (Lin et al. 2017, https://arxiv.org/abs/1612.03144) down to stride 4. Batch norm keeps
    ImageNet's statistics; stem and the first ``frozen_blocks`` blocks don't learn.
    """
    from torch import nn

    def refine() -> Any:
        return nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.GroupNorm(8, channels), nn.SiLU()
        )

    net = nn.ModuleDict(
        {
            "body": feature_pyramid_body(pretrained, fine=True),
            "laterals": nn.ModuleList([nn.Conv2d(c, channels, 1) for c in FINE_CHANNELS]),
            "refine": nn.ModuleList([refine() for _ in FINE_CHANNELS]),
            "output": nn.Conv2d(channels, n_categories + 1, 1),
        }
    )
    frozen = ("conv_stem", "bn1", *(f"blocks.{i}." for i in range(frozen_blocks)))
    for name, parameter in net["body"].named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    return net.eval()


def forward(net: Any, images: Any) -> Any:
    """(B, K + 1, H / 2, W / 2) logits of (B, 3, H, W) float32 in [-1, 1]."""
    from torch.nn.functional import interpolate

    x: Any = None
    levels = zip(net["body"](images), net["laterals"], net["refine"], strict=True)
    for feature, lateral, refine in reversed(list(levels)):
        y = lateral(feature)
        if x is not None:
            y = y + interpolate(x, size=y.shape[-2:], mode="bilinear")
        x = refine(y)
    return interpolate(net["output"](x).float(), scale_factor=4 // STRIDE, mode="bilinear")


def balance(targets: Sequence[IndexMap], planes: int) -> NDArray[np.float32]:
    """(K + 1,) weights of pixels: their plane's share of all to the power of -``BALANCE``, of mean 1 over pixels.

    Without them a category with few pixels starts where the soft IoU has no slope, and stays there.
    """
    counts = np.ones(planes)
    for index in targets:
        counts += np.bincount(index[index != VOID], minlength=planes)
    share = counts / counts.sum()
    weights = share**-BALANCE / np.sum(share ** (1 - BALANCE))
    return np.asarray(weights, np.float32)


def loss(logits: Any, wanted: Any, weights: Any) -> Any:
    """Weighted cross-entropy of the pixels plus one minus the soft IoU of the categories that an image has.

    The second part (Rahman and Wang 2016) is the quality that counts, and gives a category with few pixels as much
    weight as one with many.

    Args:
        logits: (B, K + 1, H, W).
        wanted: (B, H, W) planes, int64; ``VOID`` counts in nothing.
        weights: (K + 1,) of the planes.
    """
    from torch.nn.functional import log_softmax, nll_loss, one_hot

    log_p = log_softmax(logits, 1)
    counted = wanted != VOID
    entropy = nll_loss(log_p, wanted, weights, ignore_index=VOID, reduction="sum") / counted.sum().clamp(min=1)
    p = log_p.exp() * counted[:, None]
    truth = one_hot(wanted.clamp(min=0), logits.shape[1]).permute(0, 3, 1, 2) * counted[:, None]
    shared, area = (p * truth).sum((2, 3)), truth.sum((2, 3))
    iou = shared / (p.sum((2, 3)) + area - shared).clamp(min=1e-6)
    present = area > 0
    return entropy + OVERLAP_WEIGHT * ((1 - iou) * present).sum() / present.sum().clamp(min=1)


def fit(
    net: Any,
    images: Sequence[ImageArray],
    targets: Sequence[IndexMap],
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
    learn, held = hold_out(len(images), options.hold_out, seed)

    planes = int(net["output"].out_channels)
    weights = torch.from_numpy(balance([targets[i] for i in learn], planes)).to(device)

    def tensor(maps: list[IndexMap]) -> Any:
        return torch.from_numpy(np.stack(maps)).to(device, torch.int64)

    def loss_of(indices: Indices) -> Any:
        height, width = images[int(indices[0])].shape[:2]
        size = (view_side(width), view_side(height))
        arrays, wanted = [], []
        for i in indices:
            view, index = mask_view(
                images[i], targets[i], size, views, zoom=options.zoom, flip=options.flip_boxes, stride=STRIDE
            )
            arrays.append(recolour(view, views))
            wanted.append(index)
        return loss(forward(net, to_tensor(arrays, device)), tensor(wanted), weights)

    def held_out(averaged: Any, held: Indices) -> float:
        losses = []
        for i in held:
            height, width = images[i].shape[:2]
            whole = sample(targets[i], (width, height), np.eye(2, 3), STRIDE)
            losses.append(float(loss(forward(averaged, to_tensor([images[i]], device)), tensor([whole]), weights)))
        return float(np.mean(losses))

    ours = options.model_copy(update={"lr": LR_FACTOR * options.lr, "epochs": EPOCHS_FACTOR * options.epochs})
    schedule = schedule_for(len(learn), ours, effort, batch=options.batch)
    return optimise(net, net["body"], learn, schedule, shuffles, loss_of, progress, held_out, held)


def view_side(side: int) -> int:
    """Pixels of a training view for a side of the working image."""
    return max(GRID * round(VIEW * side / GRID), min(side, 3 * GRID))


def predict(
    net: Any, prepared: Sequence[dict[str, Any]], device: Any, batch: int, n_categories: int, *, mirror: bool
) -> list[dict[str, Any]]:
    """Raw predictions (``gtloop.labels.RawMasks``) of prepared images, in order."""
    arrays = [p["image"] for p in prepared]
    raws: list[dict[str, Any]] = [{} for _ in prepared]
    for group in by_size(arrays, batch):
        probabilities = _look(net, to_tensor([arrays[i] for i in group], device), mirror)
        for place, i in enumerate(group):
            width, height = prepared[i]["size"]
            raws[i] = raw_of(probabilities[place : place + 1], width, height, n_categories).model_dump(mode="json")
    return raws


def _look(net: Any, images: Any, mirror: bool) -> Any:
    """(B, K + 1, H / 2, W / 2) probabilities, averaged over the image and its mirror image if asked to."""
    import torch

    p = forward(net, images).softmax(1)
    if mirror:
        other = forward(net, images.flip(3).contiguous(memory_format=torch.channels_last))
        p = (p + other.softmax(1).flip(3)) / 2
    return p.cpu()


def raw_of(probabilities: Any, width: int, height: int, n_categories: int) -> RawMasks:
    """What (1, K + 1, h, w) probabilities say about an image of ``width`` times ``height`` display pixels."""
    from torch.nn.functional import interpolate

    shrink = min(1.0, (MOST_PIXELS / (width * height)) ** 0.5)
    size = (max(1, round(shrink * height)), max(1, round(shrink * width)))
    enlarged: NDArray[np.float32] = interpolate(probabilities, size=size, mode="bilinear")[0].numpy()
    raw = masks.raw_masks(enlarged, n_categories)
    if size == (height, width):
        return raw
    whole = tuple(masks.encode(_enlarge(masks.decode(code, size), width, height)) for code in raw.counts)
    return raw.model_copy(update={"size": (height, width), "counts": whole})


def _enlarge(mask: masks.Mask, width: int, height: int) -> masks.Mask:
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    return mask[np.ix_(rows, columns)]
