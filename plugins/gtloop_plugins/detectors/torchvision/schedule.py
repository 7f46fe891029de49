"""What all fits share: their length, held-out examples, parameter groups, one-cycle AdamW, averaged weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.curves import curve
from gtloop.interfaces import Progress
from gtloop_plugins.detectors.torchvision import parallel

if TYPE_CHECKING:
    from gtloop_plugins.detectors.torchvision import TorchvisionOptions

MAX_NORM = 10.0
LEAST_TO_HOLD_OUT = 60
"""Examples from which some are held out; with fewer each of them is worth more as a lesson."""
LEAST_HELD_OUT = 8
FIRST_CHECK = 0.5
"""Share of the steps before the first check: while the step size is large, a loss that stands still says little."""
CHECKS = 20
"""Checks in a whole schedule, had they begun at once."""
Indices = NDArray[np.intp]


class Schedule(NamedTuple):
    """Length and step sizes of a fit."""

    steps: int
    batch: int
    lr: float
    body_lr: float
    weight_decay: float
    ema: float
    patience: float


def schedule_for(n: int, options: TorchvisionOptions, effort: float, *, batch: int) -> Schedule:
    """The schedule of a fit on ``n`` examples in steps of ``batch``."""
    return Schedule(
        steps_for(n, batch, options.epochs, options.min_steps, options.max_steps, effort),
        batch,
        options.lr,
        options.lr * options.body_lr,
        options.weight_decay,
        options.ema,
        options.patience,
    )


def steps_for(n: int, batch: int, epochs: float, min_steps: int, max_steps: int, effort: float) -> int:
    """Optimiser steps for ``n`` examples: whole passes, ``epochs`` of them, at least ``min_steps`` steps in all.

    ``max_steps`` cuts that short, in the middle of a pass if need be; ``effort`` scales everything, but for the bounds
    above 1: then fewer examples are to have the steps that more of them had; at least 1.
    """
    per_epoch = -(-n // batch)
    bounds = min(effort, 1.0)
    whole = per_epoch * max(1, round(max(effort * epochs, bounds * min_steps / per_epoch)))
    return max(1, min(whole, round(bounds * max_steps)))


def hold_out(n: int, share: float, seed: int) -> tuple[Indices, Indices]:
    """Indices to fit on and to hold out, both sorted; none are held out of fewer than ``LEAST_TO_HOLD_OUT``."""
    if share == 0 or n < LEAST_TO_HOLD_OUT:
        return np.arange(n), np.arange(0)
    order = np.random.default_rng([seed, 4]).permutation(n)
    held = max(LEAST_HELD_OUT, round(share * n))
    return np.sort(order[held:]), np.sort(order[:held])


def optimise(
    net: Any,
    body: Any,
    indices: Indices,
    schedule: Schedule,
    rng: np.random.Generator,
    loss_of: Callable[[Indices], Any],
    progress: Progress,
    held_out: Callable[[Any, Indices], float],
    held: Indices,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Run the schedule and return the averaged weights (state dict) and figures.

    AdamW with a one-cycle step size (Smith and Topin 2018); weights averaged exponentially with a
    warm-up, as in timm's ``ModelEmaV3``. With examples held out the best of the averaged weights are kept, and
    the fit stops where they have not become better for ``schedule.patience`` of the steps (Prechelt 1998).
    Processes that fit together (``parallel``) share each batch and what is held out.

    Args:
        net: The whole module; parameters that don't require a gradient stay.
        body: Its pretrained part, which learns at ``body_lr``.
        indices: Of the examples to fit on.
        schedule: Length and step sizes.
        rng: Shuffles.
        loss_of: Scalar loss tensor of the examples with these indices.
        progress: Called after every epoch.
        held_out: Mean loss, on the examples with these indices, of a copy of ``net`` that has the averaged weights.
        held: Indices of the examples that are held out; none: the last averaged weights are kept.

    Returns:
        The weights, and ``loss`` (mean of the last epoch) with its curve, ``epochs`` and ``steps`` done; with
        examples held out also their loss at its best with its curve, ``kept_at`` and ``stopped_at``, both in steps.
    """
    import torch

    loss_of = parallel.shared(net, loss_of)
    device = next(net.parameters()).device
    optimiser = torch.optim.AdamW(_groups(net, body, schedule))
    n, steps = len(indices), schedule.steps
    per_epoch = -(-n // schedule.batch)
    epochs = -(-steps // per_epoch)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in optimiser.param_groups], total_steps=steps + 1, pct_start=0.15
    )
    average = net.state_dict()  # a dict of torch's, which knows the versions of modules; some refuse any other
    average.update({name: value.detach().clone() for name, value in average.items()})
    best = _Best(net, held_out, held, schedule) if len(held) else None
    step, stop = 0, False
    course: list[tuple[float, float]] = []
    for epoch in range(epochs):
        losses = []
        for chosen in np.array_split(rng.permutation(n), per_epoch):
            loss = loss_of(indices[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(_learning(net.parameters()), MAX_NORM)
            optimiser.step()
            cycle.step()
            step += 1
            _average(average, net, min(schedule.ema, (1 + step) / (10 + step)))
            losses.append(float(loss.detach()))
            stop = step == steps
            if best is not None and (stop or best.due(step)):
                stop = best.check(step, average) or stop
            if stop:
                break
        course.append((step / per_epoch, parallel.mean(float(np.mean(losses)), 1.0, device)))
        progress("fit", epoch + 1, epochs, f"loss {course[-1][1]:.3f}")
        if stop:
            break
    figures = {"loss": course[-1][1], "epochs": step / per_epoch, "steps": float(step), **curve("loss", course)}
    if best is None:
        return average, figures
    figures |= curve("held_out", [(at / per_epoch, loss) for at, loss in best.course])
    return best.state, figures | {"held_out": best.loss, "kept_at": float(best.step), "stopped_at": float(step)}


class _Best:
    """The best averaged weights so far, by the loss on the held-out examples."""

    def __init__(self, net: Any, held_out: Callable[[Any, Indices], float], held: Indices, schedule: Schedule) -> None:
        self.net = copy.deepcopy(net)
        self.held_out = held_out
        self.held = parallel.share(held)
        self.first = round(FIRST_CHECK * schedule.steps)
        self.every = max(1, schedule.steps // CHECKS)
        self.patience = max(1, round(schedule.patience * schedule.steps))
        self.loss = float("inf")
        self.step = 0
        self.course: list[tuple[int, float]] = []
        self.state: dict[str, Any] = {}

    def due(self, step: int) -> bool:
        return step >= self.first and (step - self.first) % self.every == 0

    def check(self, step: int, average: dict[str, Any]) -> bool:
        """Look at the averaged weights after ``step``; whether it is time to stop."""
        import torch

        self.net.load_state_dict(average)
        with torch.no_grad():
            own = self.held_out(self.net, self.held) if len(self.held) else 0.0
        loss = parallel.mean(own, len(self.held), next(self.net.parameters()).device)
        self.course.append((step, loss))
        if loss < self.loss or not self.state:
            self.loss, self.step = loss, step
            self.state = {name: value.clone() for name, value in average.items()}
        return step - self.step >= self.patience


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
