"""Task ``classification``: the whole backbone with a new output, fine-tuned, or a linear probe on its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import Progress
from gtloop_plugins.detectors.torchvision import parallel
from gtloop_plugins.detectors.torchvision.augment import class_view, recolour
from gtloop_plugins.detectors.torchvision.images import ImageArray, by_size, to_tensor
from gtloop_plugins.detectors.torchvision.schedule import Indices, hold_out, optimise, schedule_for
from gtloop_plugins.detectors.torchvision.weights import backbone

if TYPE_CHECKING:
    from gtloop_plugins.detectors.torchvision import TorchvisionOptions

FEATURES = 1280
PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Ridge penalties that the linear probe chooses from."""
FOLDS = 4
SMOOTHING = 0.05

FloatArray = NDArray[np.float64]


def build(n_categories: int, frozen_blocks: int, pretrained: bool) -> Any:
    """An ``nn.ModuleDict`` of ``body`` (pooled features), ``norm`` and ``output``, in eval mode."""
    import torch
    from torch import nn

    body = backbone(pretrained)
    body.reset_classifier(0)
    net = nn.ModuleDict({"body": body, "output": nn.Linear(FEATURES, n_categories)})
    nn.init.zeros_(net["output"].weight)
    nn.init.zeros_(net["output"].bias)
    # Buffers, so that they are saved with the weights: the features' scale and the calibration.
    net.register_buffer("mean", torch.zeros(FEATURES))
    net.register_buffer("scale", torch.ones(FEATURES))
    net.register_buffer("temperature", torch.ones(()))
    frozen = ("conv_stem", "bn1", *(f"blocks.{i}." for i in range(frozen_blocks)))
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    return net.eval()


def forward(net: Any, images: Any) -> Any:
    """(B, K) uncalibrated logits of (B, 3, H, W) float32 in [-1, 1]."""
    return net["output"]((net["body"](images) - net.mean) / net.scale)


def features(net: Any, images: Sequence[ImageArray], device: Any, batch: int) -> Any:
    """(N, 1280) pooled features, float32, in order."""
    import torch

    out = torch.zeros(len(images), FEATURES, device=device)
    with torch.no_grad():
        for group in by_size(list(images), batch):
            out[group] = net["body"](to_tensor([images[i] for i in group], device))
    return out


def fit(
    net: Any,
    images: Sequence[ImageArray],
    labels: NDArray[np.int64],
    options: TorchvisionOptions,
    device: Any,
    *,
    seed: int,
    effort: float,
    warm: bool,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Fit ``net`` in place; the weights to keep and figures worth logging.

    The probe comes first: it is the linear model's answer, and a better start than noise for fine-tuning.
    """
    if options.classes == "linear":
        figures = _probe(net, images, labels, device, options.batch, seed)
        progress("fit", 1, 1, f"accuracy across folds {figures['accuracy']:.3f}")
        return net.state_dict(), figures
    learn, held = hold_out(len(images), options.hold_out, seed)
    if not warm:
        _probe(net, [images[i] for i in learn], labels[learn], device, options.batch, seed)
    return _finetune(net, images, labels, learn, held, options, device, seed=seed, effort=effort, progress=progress)


def _probe(
    net: Any, images: Sequence[ImageArray], labels: NDArray[np.int64], device: Any, batch: int, seed: int
) -> dict[str, float]:
    """Multinomial ridge regression on standardised features; penalty and temperature across folds."""
    import torch

    x = features(net, images, device, max(batch, 16))
    y = torch.from_numpy(labels).to(device)
    net.mean.copy_(x.mean(0))
    net.scale.copy_(x.std(0, correction=0).clamp(min=1e-3) * FEATURES**0.5)
    x = (x - net.mean) / net.scale
    fold = torch.from_numpy(np.random.default_rng([seed, 3]).permutation(len(labels)) % FOLDS).to(device)
    k = net["output"].out_features
    best: tuple[float, float, Any] | None = None
    for penalty in PENALTIES:
        held = torch.zeros(len(y), k, device=device)
        for f in range(FOLDS):
            if bool((fold != f).any()):
                weight, bias = _regress(x[fold != f], y[fold != f], k, penalty)
                held[fold == f] = x[fold == f] @ weight.T + bias
        nll = float(torch.nn.functional.cross_entropy(held, y))
        if best is None or nll < best[0]:
            best = (nll, penalty, held)
    assert best is not None
    weight, bias = _regress(x, y, k, best[1])
    with torch.no_grad():
        net["output"].weight.copy_(weight)
        net["output"].bias.copy_(bias)
        net.temperature.fill_(best_temperature(best[2], y))
    return {"accuracy": float((best[2].argmax(1) == y).float().mean()), "penalty": best[1]}


def _regress(x: Any, y: Any, k: int, penalty: float) -> tuple[Any, Any]:
    """(K, D) weights and (K,) bias of logistic regression with ``penalty``·|W|² on the mean loss."""
    import torch

    weight = torch.zeros(k, x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(k, device=x.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=60, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(x @ weight.T + bias, y) + penalty * weight.square().sum()
        value.backward()
        return value

    optimiser.step(closure)
    return weight.detach(), bias.detach()


def best_temperature(logits: Any, y: Any) -> float:
    """The divisor of held-out ``logits`` with the least cross-entropy (Guo et al. 2017), 0.25 to 4."""
    import torch

    ladder = [0.25 * 2 ** (i / 8) for i in range(33)]
    losses = [float(torch.nn.functional.cross_entropy(logits / t, y)) for t in ladder]
    return ladder[int(np.argmin(losses))]


def _finetune(
    net: Any,
    images: Sequence[ImageArray],
    labels: NDArray[np.int64],
    learn: Indices,
    held: Indices,
    options: TorchvisionOptions,
    device: Any,
    *,
    seed: int,
    effort: float,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, float]]:
    import torch

    shuffles, views = np.random.default_rng([seed, 1]), parallel.views(seed)
    batch = 4 * options.batch

    def mean_loss(module: Any, arrays: list[ImageArray], wanted: NDArray[np.int64]) -> Any:
        total: Any = 0.0
        for group in by_size(arrays, batch):
            logits = forward(module, to_tensor([arrays[i] for i in group], device))
            target = torch.from_numpy(wanted[group]).to(device)
            loss = torch.nn.functional.cross_entropy(logits, target, label_smoothing=SMOOTHING, reduction="sum")
            total = total + loss / len(arrays)
        return total

    def loss_of(indices: Indices) -> Any:
        arrays = [recolour(class_view(images[i], views, flip=options.flip_classes), views) for i in indices]
        return mean_loss(net, arrays, labels[indices])

    def held_out(averaged: Any, held: Indices) -> float:
        return float(mean_loss(averaged, [images[i] for i in held], labels[held]))

    schedule = schedule_for(len(learn), options, effort, batch=batch)
    average, figures = optimise(net, net["body"], learn, schedule, shuffles, loss_of, progress, held_out, held)
    average["temperature"].fill_(1.0)
    return average, figures


def predict(net: Any, prepared: Sequence[dict[str, Any]], device: Any, batch: int) -> list[dict[str, Any]]:
    """Raw predictions (``gtloop.labels.RawClasses``) of prepared images, in order."""
    arrays = [p["image"] for p in prepared]
    raws: list[dict[str, Any]] = [{} for _ in prepared]
    for group in by_size(arrays, batch):
        logits = forward(net, to_tensor([arrays[i] for i in group], device)) / net.temperature
        for i, row in zip(group, logits.double().softmax(1).cpu().tolist(), strict=True):
            rounded = [round(p, 6) for p in row]
            raws[i] = {"probabilities": [p / sum(rounded) for p in rounded]}
    return raws
