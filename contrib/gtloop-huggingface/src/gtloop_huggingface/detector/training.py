"""A fit: AdamW with warm-up and cosine, averaged weights, mirrored and zoomed images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gtloop.errors import RunError
from gtloop.interfaces import Example, Progress
from gtloop.labels import BoxesLabel, ClassLabel, box_array
from numpy.typing import NDArray

from gtloop_huggingface.detector.networks import KINDS, Model
from gtloop_huggingface.detector.prediction import pixel_values

if TYPE_CHECKING:
    from gtloop_huggingface.detector import TransformersOptions

CLASSIFIER = KINDS["classification"]
MAX_NORM = 1.0
WARM_UP = 0.1
"""Share of the steps in which the step size rises."""
MIN_VISIBLE = 0.3
"""Share of a box that has to be left in a view for it to stay an object."""
Target = tuple[NDArray[np.float64], NDArray[np.int64]]
"""(N, 4) boxes ``xyxy`` as shares of width and height, and (N,) categories; of a class: no boxes, and its category."""


def steps_for(n: int, options: TransformersOptions, effort: float) -> int:
    """Optimiser steps for ``n`` examples: ``epochs`` passes, ``min_steps`` at least and ``max_steps`` at most.

    ``effort`` scales everything, but for the bounds above 1: then fewer examples are to have the steps that more of
    them had.
    """
    bounds = min(effort, 1.0)
    wanted = max(effort * options.epochs * math.ceil(n / options.batch), bounds * options.min_steps)
    return max(1, round(min(wanted, bounds * options.max_steps)))


def train(
    model: Model,
    examples: Sequence[Example],
    prepared: Sequence[dict[str, Any]],
    categories: Sequence[str],
    options: TransformersOptions,
    device: Any,
    *,
    seed: int,
    effort: float,
    progress: Progress,
) -> dict[str, float]:
    """Fine-tune ``model.net`` in place, to the averaged weights; figures worth logging.

    Raises:
        RunError: The loss is no longer a number.
    """
    import torch

    net = model.net.to(device).train()
    index = {name: number for number, name in enumerate(categories)}
    targets = [_target(e, index, *p["size"]) for e, p in zip(examples, prepared, strict=True)]
    views, shuffles = (np.random.default_rng([seed, part]) for part in (1, 2))
    steps, per_epoch = steps_for(len(examples), options, effort), math.ceil(len(examples) / options.batch)
    optimiser = torch.optim.AdamW(_groups(net, options), weight_decay=options.weight_decay)
    cycle = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _share(step, steps))
    average = {name: value.detach().clone() for name, value in net.state_dict().items()}
    step, first, last = 0, float("nan"), float("nan")
    for epoch in range(math.ceil(steps / per_epoch)):
        losses = []
        for chosen in np.array_split(shuffles.permutation(len(examples)), per_epoch)[: steps - step]:
            batch = [_view(prepared[i]["image"], targets[i], options, views) for i in chosen]
            loss = _loss(model, batch, device)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), MAX_NORM)
            optimiser.step()
            cycle.step()
            step += 1
            _average(average, net, min(options.ema, (1 + step) / (10 + step)))
            losses.append(float(loss.detach()))
        last = float(np.mean(losses))
        first = last if epoch == 0 else first
        if not math.isfinite(last):
            raise RunError(
                f"detector 'transformers': the loss is no longer a number in epoch {epoch + 1}; set a smaller step "
                f"size such as -o detectors.transformers.lr={options.lr / 5:g}"
            )
        progress("fit", step, steps, f"loss {last:.3f}")
    net.load_state_dict(average)
    return {"loss": last, "first_loss": first, "epochs": step / per_epoch, "steps": float(step)}


def _target(example: Example, index: dict[str, int], width: int, height: int) -> Target:
    if "category" in example.payload:
        category = ClassLabel.model_validate(example.payload).category
        return np.zeros((0, 4)), np.array([index[category]], np.int64)
    boxes = BoxesLabel.model_validate(example.payload).boxes
    shares = box_array(boxes) / [width, height, width, height]
    return shares, np.array([index[b.category] for b in boxes], np.int64)


def _loss(model: Model, batch: Sequence[tuple[NDArray[np.uint8], Target]], device: Any) -> Any:
    """The network's own loss of a batch of views."""
    import torch

    pixels = pixel_values(model, [view for view, _ in batch], device)
    if type(model.net).__name__.endswith(CLASSIFIER):
        classes = torch.from_numpy(np.concatenate([target[1] for _, target in batch])).to(device)
        return model.net(pixel_values=pixels, labels=classes).loss
    labels = []
    for _, (boxes, categories) in batch:
        centred = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
        labels.append(
            {
                "boxes": torch.from_numpy(centred).to(device, torch.float32),
                "class_labels": torch.from_numpy(categories).to(device),
            }
        )
    return model.net(pixel_values=pixels, labels=labels).loss


def _view(
    image: NDArray[np.uint8], target: Target, options: TransformersOptions, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Target]:
    """One random view: scale, place, brightness, mirror; boxes move with it, those that are hardly left go."""
    from PIL import Image

    boxes, categories = target
    is_class = len(boxes) == 0 and len(categories) == 1
    side = image.shape[0]
    scale = options.zoom ** rng.uniform(-1, 1)
    shift = rng.uniform(min(0.0, 1 - scale), max(0.0, 1 - scale), size=2)
    flip = rng.random() < 0.5 and (options.flip_classes if is_class else options.flip)
    x = [-1 / scale, 0.0, (1 - shift[0]) / scale * side] if flip else [1 / scale, 0.0, -shift[0] / scale * side]
    y = [0.0, 1 / scale, -shift[1] / scale * side]
    view = Image.fromarray(image).transform(
        (side, side), Image.Transform.AFFINE, (*x, *y), Image.Resampling.BILINEAR, fillcolor=(127, 127, 127)
    )
    light = np.asarray(view, np.float32) * rng.uniform(0.8, 1.2) + rng.uniform(-16, 16)
    pixels = np.clip(light, 0, 255).astype(np.uint8)
    if is_class:
        return pixels, target
    moved = boxes * scale + np.tile(shift, 2)
    if flip:
        moved[:, [0, 2]] = 1 - moved[:, [2, 0]]
    clipped = np.clip(moved, 0.0, 1.0)
    left = np.prod(np.clip(clipped[:, 2:] - clipped[:, :2], 0, None), axis=1)
    kept = left > MIN_VISIBLE * np.prod(moved[:, 2:] - moved[:, :2], axis=1)
    return pixels, (clipped[kept], categories[kept])


def _groups(net: Any, options: TransformersOptions) -> list[dict[str, Any]]:
    """The pretrained body (a detector's backbone, all but a classifier's output), and the rest, each with its step."""
    whole = net.base_model if type(net).__name__.endswith(CLASSIFIER) else None
    inside = {id(p) for p in whole.parameters()} if whole is not None else set()
    named = [(p, id(p) in inside or (whole is None and "backbone" in n)) for n, p in net.named_parameters()]
    steps = {True: options.lr * options.body_lr, False: options.lr}
    groups = [
        {"params": [p for p, own in named if own is body and p.requires_grad], "lr": lr} for body, lr in steps.items()
    ]
    return [group for group in groups if group["params"]]


def _share(step: int, steps: int) -> float:
    """Step size as a share of the largest: up in a line, down in half a cosine (Loshchilov and Hutter 2017)."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _average(average: dict[str, Any], net: Any, decay: float) -> None:
    """Move the averaged weights towards those of now; what is no fraction is copied."""
    import torch

    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.dtype.is_floating_point:
                average[name].lerp_(value, 1 - decay)
            else:
                average[name].copy_(value)
