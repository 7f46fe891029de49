"""A dense, anchor-free detector: feature pyramid, two small towers, one box for each cell.

Shape of the network: FCOS (Tian et al. 2019, https://arxiv.org/abs/1904.01355) on strides 8, 16, 32.
Which cells learn an object, and the score that they are to give, is task-aligned assignment (TOOD, Feng et al.
2021, https://arxiv.org/abs/2108.07755): the target score is the overlap that the cell's box reaches, so that
scores tell of the boxes' quality, not of the category alone.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from gtloop_plugins.detectors.torchvision.weights import CHANNELS, STRIDES, feature_pyramid_body

TOP_CELLS = 9
"""Cells that learn one object."""
PRIOR = 0.01
"""Score that every cell starts with."""
BOX_WEIGHT = 2.0


class Dense(NamedTuple):
    """What the network says about a batch of B images with A cells.

    Attributes:
        logits: (B, A, K) per category.
        boxes: (B, A, 4) ``xyxy`` in input pixels.
        centres: (A, 2) cell centres in input pixels.
        strides: (A,) size of each cell in input pixels.
    """

    logits: Any
    boxes: Any
    centres: Any
    strides: Any


def build(n_categories: int, channels: int, frozen_blocks: int, pretrained: bool) -> Any:
    """The network: an ``nn.ModuleDict`` of body, pyramid, towers and outputs, in eval mode.

    Batch norm keeps ImageNet's statistics; stem and the first ``frozen_blocks`` blocks don't learn.
    """
    from torch import nn
    from torchvision.ops import FeaturePyramidNetwork

    def tower() -> Any:
        layers: list[Any] = []
        for _ in range(2):
            layers += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.GroupNorm(8, channels), nn.SiLU()]
        return nn.Sequential(*layers)

    net = nn.ModuleDict(
        {
            "body": feature_pyramid_body(pretrained),
            "pyramid": FeaturePyramidNetwork(list(CHANNELS), channels),
            "class_tower": tower(),
            "box_tower": tower(),
            "logits": nn.Conv2d(channels, n_categories, 3, padding=1),
            "distances": nn.Conv2d(channels, 4, 3, padding=1),
        }
    )
    for name in ("logits", "distances"):
        nn.init.normal_(net[name].weight, std=0.01)
        nn.init.zeros_(net[name].bias)
    nn.init.constant_(net["logits"].bias, math.log(PRIOR / (1 - PRIOR)))
    frozen = ("conv_stem", "bn1", *(f"blocks.{i}." for i in range(frozen_blocks)))
    for name, parameter in net["body"].named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    return net.eval()


def forward(net: Any, images: Any) -> Dense:
    """Run the network on (B, 3, H, W) float32 in [-1, 1]."""
    import torch

    features = net["body"](images)
    maps = net["pyramid"]({str(stride): f for stride, f in zip(STRIDES, features, strict=True)})
    parts = []
    for stride in STRIDES:
        x = maps[str(stride)]
        logits = net["logits"](net["class_tower"](x)).flatten(2).transpose(1, 2)
        # Distances of about four cells at first, so that each level starts near its own size of object.
        raw = net["distances"](net["box_tower"](x)).flatten(2).transpose(1, 2).float()
        distances = 4 * stride * torch.exp(raw.clamp(-6, 4))
        height, width = x.shape[-2:]
        ys, xs = torch.meshgrid(
            torch.arange(height, device=x.device), torch.arange(width, device=x.device), indexing="ij"
        )
        centres = (torch.stack([xs.flatten(), ys.flatten()], 1) + 0.5) * stride
        boxes = torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], -1)
        parts.append((logits.float(), boxes, centres, torch.full((height * width,), float(stride), device=x.device)))
    logits, boxes, centres, strides = zip(*parts, strict=True)
    return Dense(torch.cat(logits, 1), torch.cat(boxes, 1), torch.cat(centres), torch.cat(strides))


def assign(dense: Dense, index: int, boxes: Any, categories: Any) -> tuple[Any, Any, Any]:
    """Which cells of one image learn which object.

    Args:
        dense: The network's output (no gradient is taken).
        index: Which image of the batch.
        boxes: (N, 4) true boxes, ``xyxy``, N >= 1.
        categories: (N,) their categories, int64.

    Returns:
        (P,) cells, (P,) objects, (P,) target scores in [0, 1].
    """
    import torch
    from torchvision.ops import box_iou

    scores = dense.logits[index].detach().sigmoid()[:, categories].T
    overlap = box_iou(boxes, dense.boxes[index].detach())
    x, y = dense.centres.T
    inside = (x > boxes[:, :1]) & (y > boxes[:, 1:2]) & (x < boxes[:, 2:3]) & (y < boxes[:, 3:])
    # An object that is smaller than a cell may hold no centre: the cells next to its middle are always there.
    middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    near = (dense.centres - middle).abs().amax(-1) < 0.75 * dense.strides
    alignment = (scores.sqrt() * overlap**4 + 1e-9) * (inside | near)
    chosen = torch.zeros_like(alignment)
    chosen.scatter_(1, alignment.topk(min(TOP_CELLS, alignment.shape[1]), dim=1).indices, 1.0)
    alignment = alignment * chosen
    best, objects = alignment.max(0)
    cells = best.nonzero().flatten()
    objects = objects[cells]
    reach = torch.zeros(len(boxes), device=boxes.device)
    peak = torch.zeros(len(boxes), device=boxes.device)
    reach.scatter_reduce_(0, objects, overlap[objects, cells], "amax")
    peak.scatter_reduce_(0, objects, best[cells], "amax")
    return cells, objects, best[cells] / peak[objects] * reach[objects]


def loss(dense: Dense, targets: list[tuple[Any, Any]]) -> Any:
    """Cross-entropy against target scores plus generalized IoU of the assigned boxes, per object mass.

    Args:
        dense: Output for the batch.
        targets: For each image (N, 4) boxes in input pixels and (N,) categories, int64.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits
    from torchvision.ops import generalized_box_iou_loss

    wanted = torch.zeros_like(dense.logits)
    box_loss = dense.boxes.sum() * 0.0
    for index, (boxes, categories) in enumerate(targets):
        if len(boxes):
            cells, objects, score = assign(dense, index, boxes, categories)
            wanted[index, cells, categories[objects]] = score
            miss = generalized_box_iou_loss(dense.boxes[index, cells], boxes[objects], reduction="none")
            box_loss = box_loss + (miss * score.clamp(min=0.1)).sum()
    class_loss = binary_cross_entropy_with_logits(dense.logits, wanted, reduction="sum")
    return (class_loss + BOX_WEIGHT * box_loss) / wanted.sum().clamp(min=1.0)


def mirrored(height: int, width: int) -> Any:
    """(A,) for each cell the one that lies there after a left-right flip of an input of this size."""
    import torch

    parts, start = [], 0
    for stride in STRIDES:
        rows, columns = height // stride, width // stride
        level = torch.arange(start, start + rows * columns).reshape(rows, columns)
        parts.append(level.flip(1).flatten())
        start += rows * columns
    return torch.cat(parts)
