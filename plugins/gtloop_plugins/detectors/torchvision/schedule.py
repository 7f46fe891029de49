"""What both kinds of fit share: epochs, parameter groups, one-cycle AdamW, averaged weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import Progress

MAX_NORM = 10.0


class Schedule(NamedTuple):
    """Length and step sizes of a fit."""

    epochs: int
    batch: int
    lr: float
    body_lr: float
    weight_decay: float
    ema: float


def epochs_for(n: int, batch: int, epochs: float, min_steps: int, effort: float) -> int:
    """Passes over ``n`` examples: ``epochs``, more where that is under ``min_steps`` steps; at least 1."""
    per_epoch = -(-n // batch)
    return max(1, round(effort * max(epochs, min_steps / per_epoch)))


def optimise(
    net: Any,
    body: Any,
    n: int,
    schedule: Schedule,
    rng: np.random.Generator,
    loss_of: Callable[[NDArray[np.intp]], Any],
    progress: Progress,
) -> tuple[dict[str, Any], float]:
    """Run the schedule and return the averaged weights (state dict) and the mean loss of the last epoch.

    AdamW with a one-cycle step size (Smith and Topin 2018); weights averaged exponentially with a
    warm-up, as in timm's ``ModelEmaV3``.

    Args:
        net: The whole module; parameters that don't require a gradient stay.
        body: Its pretrained part, which learns at ``body_lr``.
        n: Number of examples.
        schedule: Length and step sizes.
        rng: Shuffles.
        loss_of: Scalar loss tensor of the examples with these indices.
        progress: Called after every epoch.
    """
    import torch

    optimiser = torch.optim.AdamW(_groups(net, body, schedule))
    per_epoch = -(-n // schedule.batch)
    steps = per_epoch * schedule.epochs
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in optimiser.param_groups], total_steps=steps + 1, pct_start=0.15
    )
    average = {name: value.detach().clone() for name, value in net.state_dict().items()}
    step, last = 0, float("nan")
    for epoch in range(schedule.epochs):
        losses = []
        for indices in np.array_split(rng.permutation(n), per_epoch):
            loss = loss_of(indices)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(_learning(net.parameters()), MAX_NORM)
            optimiser.step()
            cycle.step()
            step += 1
            _average(average, net, min(schedule.ema, (1 + step) / (10 + step)))
            losses.append(float(loss.detach()))
        last = float(np.mean(losses))
        progress("fit", epoch + 1, schedule.epochs, f"loss {last:.3f}")
    return average, last


def _learning(parameters: Any) -> Sequence[Any]:
    return [p for p in parameters if p.requires_grad]


def _groups(net: Any, body: Any, schedule: Schedule) -> list[dict[str, Any]]:
    """Pretrained and new parameters, with weight decay on matrices only."""
    inside = {id(p) for p in body.parameters()}
    groups = []
    for lr, pretrained in ((schedule.body_lr, True), (schedule.lr, False)):
        for decay, matrix in ((schedule.weight_decay, True), (0.0, False)):
            chosen = [
                p for p in _learning(net.parameters()) if (id(p) in inside) == pretrained and (p.ndim > 1) == matrix
            ]
            if chosen:
                groups.append({"params": chosen, "lr": lr, "weight_decay": decay})
    return groups


def _average(average: dict[str, Any], net: Any, decay: float) -> None:
    import torch

    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.dtype.is_floating_point:
                average[name].lerp_(value, 1 - decay)
