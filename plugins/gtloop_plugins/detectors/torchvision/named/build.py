"""Make torchvision's networks for a run's categories, and train them in the house's way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gtloop.errors import RunError
from gtloop.interfaces import Progress
from gtloop_plugins.detectors.torchvision.devices import moved
from gtloop_plugins.detectors.torchvision.images import ImageArray, by_size
from gtloop_plugins.detectors.torchvision.schedule import Indices, hold_out, optimise, schedule_for

if TYPE_CHECKING:
    from gtloop_plugins.detectors.torchvision import TorchvisionOptions

MIN_SCORE = 0.01
MAX_BOXES = 100
RECALIBRATION = 64
"""Batches at most that the statistics of batch norm are taken from after a fit from scratch."""
Loss = Callable[[Any, Indices, bool], Any]


def build(name: str, task: str, n_categories: int, options: TorchvisionOptions) -> Any:
    """The network with random weights, in eval mode.

    Detection and segmentation have class 0 for the background and the run's categories from 1 on.
    """
    from torchvision.models import get_model

    arguments = {"bbox": _boxes, "segmentation": _segments, "classification": _classes}[task](name)
    classes = n_categories if task == "classification" else n_categories + 1
    net = get_model(name, weights=None, num_classes=classes, **arguments)
    if name.startswith("ssdlite"):
        net.transform.fixed_size = (options.image_size, options.image_size)
    return net.eval()


def _boxes(name: str) -> dict[str, Any]:
    prefix = "box_" if name.startswith("fasterrcnn") else ""
    return {
        "weights_backbone": None,
        f"{prefix}score_thresh": MIN_SCORE,
        f"{prefix}detections_per_img": MAX_BOXES,
    }


def _segments(name: str) -> dict[str, Any]:
    return {"weights_backbone": None, "aux_loss": not name.startswith("lraspp")}


def _classes(name: str) -> dict[str, Any]:
    if name in ("googlenet", "inception_v3"):
        # As with the published weights, which take inputs in [-1, 1]; without the outputs that only help training.
        return {"aux_logits": False, "transform_input": True, "init_weights": False}
    return {"image_size": fixed_side(name)} if name.startswith("vit_") else {}


def fixed_side(name: str) -> int | None:
    """The side in pixels of the only (square) images that a classifier takes; None: it takes any."""
    from torchvision.models import get_model_weights

    if not name.startswith(("vit_", "maxvit")):
        return None
    return int(get_model_weights(name).DEFAULT.meta["min_size"][0])


def smallest_side(name: str) -> int:
    """The least side in pixels of an image that a classifier takes."""
    from torchvision.models import get_model_weights

    return int(get_model_weights(name).DEFAULT.meta["min_size"][0]) if name in ("alexnet", "inception_v3") else 32


def for_prediction(net: Any) -> Any:
    """``net`` without its auxiliary output."""
    if getattr(net, "aux_classifier", None) is not None:
        net.aux_classifier = None
    return net


def unit_tensor(arrays: list[ImageArray], device: Any) -> Any:
    """Stack (H, W, 3) uint8 images of one size into (N, 3, H, W) float32 in [0, 1], channels last."""
    import torch

    batch = moved(np.ascontiguousarray(np.stack(arrays)), device)
    return batch.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def normalised(arrays: list[ImageArray], device: Any, name: str) -> Any:
    """The same with the mean and spread that a classifier's or segmenter's published weights expect."""
    import torch
    from torchvision.models import get_model_weights

    preset = get_model_weights(name).DEFAULT.transforms()
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (preset.mean, preset.std))
    return unit_tensor(arrays, device).sub_(mean).div_(std)


@dataclass(frozen=True)
class Fitting:
    """A network about to be fitted.

    Attributes:
        net: On its device.
        device: Where.
        pretrained: Parameters that start from weights; they learn at the backbone's step size.
        from_scratch: Whether there are none; then batch norm learns its statistics, else it keeps them.
        options: The detector's.
        seed: Of all randomness.
        effort: Share of the normal schedule.
        progress: Called after every epoch.
    """

    net: Any
    device: Any
    pretrained: list[Any]
    from_scratch: bool
    options: TorchvisionOptions
    seed: int
    effort: float
    progress: Progress

    def rng(self, part: int) -> np.random.Generator:
        """A source of randomness of its own for each part."""
        return np.random.default_rng([self.seed, part])

    def train(self, arrays: list[ImageArray], batch: int, loss: Loss) -> tuple[dict[str, Any], dict[str, float]]:
        """Run the schedule.

        Args:
            arrays: Every example's image at working size.
            batch: Examples in a step.
            loss: Of a network in training mode, the indices of some examples, and whether to look at random views of
                them or, images of one size together, at the images as they are.

        Returns:
            The weights to keep and figures worth logging.

        Raises:
            RunError: The loss is no number any more.
        """
        from torch import nn

        o = self.options
        learn, held = hold_out(len(arrays), o.hold_out, self.seed)
        self._to_train(self.net)

        def loss_of(indices: Indices) -> Any:
            value = loss(self.net, self._enough(indices), True)
            if not bool(value.isfinite()):
                raise RunError(
                    f"the fit of {o.model} diverged; lower its step size: -o detectors.torchvision.lr={o.lr / 4:g}"
                )
            return value

        def held_out(averaged: Any, held: Indices) -> float:
            return self._held_out(averaged, arrays, held, batch, loss)

        average, figures = optimise(
            self.net,
            nn.ParameterList(self.pretrained),
            learn,
            schedule_for(len(learn), o, self.effort, batch=batch),
            self.rng(1),
            loss_of,
            self.progress,
            held_out,
            held,
        )
        if self.from_scratch:
            average = self._recalibrated(average, learn, batch, loss_of)
        self.net.eval()
        return _versioned(self.net, average), figures

    def _to_train(self, net: Any) -> None:
        net.train()
        if not self.from_scratch:
            for norm in _norms(net):
                norm.eval()

    def _enough(self, indices: Indices) -> Indices:
        """Two examples at least, where the statistics of one alone would be undefined: features of a single cell."""
        return np.repeat(indices, 2) if self.from_scratch and len(indices) == 1 else indices

    def _held_out(self, net: Any, arrays: list[ImageArray], held: Indices, batch: int, loss: Loss) -> float:
        """The mean loss of held-out examples as they are: nothing dropped, and the same random samples every time."""
        import torch
        from torch import nn
        from torchvision.ops import StochasticDepth

        self._to_train(net)  # torchvision's detectors tell their losses in training mode only
        for module in net.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd | StochasticDepth):
                module.eval()
        total = 0.0
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            for group in by_size([arrays[i] for i in held], batch):
                total += len(group) * float(loss(net, self._enough(held[group]), False))
        return total / len(held)

    def _recalibrated(
        self, average: dict[str, Any], learn: Indices, batch: int, loss_of: Callable[[Indices], Any]
    ) -> dict[str, Any]:
        """The averaged weights with statistics of batch norm that are their own.

        Running statistics lag behind in a short fit, and belong to other weights than the averaged ones (as in
        ``torch.optim.swa_utils.update_bn``; Izmailov et al. 2018, https://arxiv.org/abs/1803.05407).
        """
        import torch

        norms = _norms(self.net)
        if not norms:
            return average
        self.net.load_state_dict(_versioned(self.net, average))
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over batches
        order = self.rng(5).permutation(learn)
        with torch.no_grad():
            for indices in np.array_split(order, -(-len(order) // batch))[:RECALIBRATION]:
                loss_of(indices)
        return {name: value.detach().clone() for name, value in self.net.state_dict().items()}


def _versioned(net: Any, state: dict[str, Any]) -> Any:
    """A state dict of ``net`` that says of which version its modules are: some of torchvision's ask for it."""
    whole = net.state_dict()
    whole.update(state)
    return whole


def _norms(net: Any) -> list[Any]:
    from torch import nn

    return [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
