"""A fit in several processes at once: each computes its share of every batch, and all take the same steps.

Data parallel (Li et al. 2020, https://arxiv.org/abs/2006.15704). Whoever starts the processes, such as an executor,
makes torch.distributed's default group in each; where there is none, the process fits alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gtloop_plugins.detectors.torchvision.schedule import Indices


def workers() -> int:
    """Processes that fit together, this one among them."""
    from torch import distributed

    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0; the model of the first is kept."""
    from torch import distributed

    return distributed.get_rank() if workers() > 1 else 0


def views(seed: int) -> np.random.Generator:
    """What this process draws random views of images from."""
    return np.random.default_rng([seed, 2, rank()])  # a 0 at the end changes nothing: the first draws as one alone does


def seed(given: int) -> int:
    """Of this process's other randomness, such as dropout; the first has that of a fit alone."""
    return given if rank() == 0 else int(np.random.SeedSequence([given, rank()]).generate_state(1)[0])


def share(indices: Indices) -> Indices:
    """Those of the indices that are this process's."""
    return np.array_split(indices, workers())[rank()]


def shared(net: Any, loss_of: Callable[[Indices], Any]) -> Callable[[Indices], Any]:
    """A loss of a batch of which this process computes its share.

    Gradients are those of the mean over all, weighted by examples. The weights of ``net`` become the first process's.

    Args:
        net: What learns.
        loss_of: Mean loss of the examples with these indices; runs ``net``.
    """
    if workers() == 1:
        return loss_of
    from torch import nn

    module = nn.Module()
    module.net, module.forward = net, loss_of
    # Which parameters have a gradient may depend on the examples.
    part = nn.parallel.DistributedDataParallel(module, find_unused_parameters=True)

    def loss(indices: Indices) -> Any:
        mine = share(indices)
        # All have to take part in every step, also those for whom the batch has no example.
        return part(mine if len(mine) else indices[:1]) * (len(mine) * workers() / len(indices))

    return loss


def mean(value: float, weight: float, device: Any) -> float:
    """The weighted mean of the processes' values, the same in each to the last bit."""
    if workers() == 1:
        return value
    import torch

    total = torch.tensor([value * weight, weight], dtype=torch.float64, device=device)
    torch.distributed.all_reduce(total)
    return float(total[0] / total[1])
