"""What images look like to the pretrained backbone, before any fit, in 128 numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop_plugins.detectors.torchvision.images import ImageArray, by_size, to_tensor
from gtloop_plugins.detectors.torchvision.weights import backbone, fold_batch_norm

FEATURES, DIMENSIONS = 1280, 128
SEED = 0
"""Of the projection: a constant, so that embeddings of different runs can be compared."""


class Embedder(NamedTuple):
    """The backbone, where it computes, and the (FEATURES, DIMENSIONS) projection, float32."""

    net: Any
    device: Any
    projection: NDArray[np.float32]


def embedder(device: Any) -> Embedder:
    """The backbone with ImageNet weights, ready for ``embed``.

    The projection is Gaussian (Johnson and Lindenstrauss 1984): it keeps distances within about a tenth, whatever
    the images, and needs none of them to be known.
    """
    import torch

    net = backbone()
    net.reset_classifier(0)
    fold_batch_norm(net)
    draws = np.random.default_rng(SEED).standard_normal((FEATURES, DIMENSIONS))
    projection = (draws / np.sqrt(DIMENSIONS)).astype(np.float32)
    return Embedder(net.to(device, memory_format=torch.channels_last), device, projection)


def embed(embedder: Embedder, images: Sequence[ImageArray], batch: int) -> NDArray[np.float32]:
    """(n, DIMENSIONS) float32 of (H, W, 3) uint8 images, in order: pooled features of length 1, projected."""
    import torch

    features = np.zeros((len(images), FEATURES), np.float32)
    with torch.inference_mode():
        for group in by_size(list(images), batch):
            pixels = to_tensor([images[i] for i in group], embedder.device)
            features[group] = embedder.net(pixels).cpu().numpy()
    length = np.linalg.norm(features, axis=1, keepdims=True)
    found: NDArray[np.float32] = (features / np.maximum(length, 1e-12)) @ embedder.projection
    return found
