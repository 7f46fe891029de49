"""Detector ``ultralytics``: YOLO models for boxes, classification and semantic segmentation. AGPL-3.0.

The library trains (``training.py``) on files that live as long as the fit (``dataset.py``), sealed off from the network
and the user's home (``library.py``). Predictions are made here (``prediction.py``), for the library's predictor opens
images by itself. A model is a folder: ``model.pt`` (tensors) and ``model.json`` (what it is, with its architecture).
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gtloop.errors import ConfigError, NotEnoughData, RunError, Unsupported, UsageError
from gtloop.interfaces import Context, Detector, Example, Options, Progress, quiet
from gtloop.records import Item, Raw
from gtloop_plugins.detectors.ultralytics import dataset, images, networks, prediction, training
from gtloop_plugins.detectors.ultralytics.library import own_randomness, sealed

if TYPE_CHECKING:
    from PIL import Image

MIN_EXAMPLES = 2
log = logging.getLogger("gtloop.ultralytics")


class UltralyticsOptions(Options):
    """What to train and how; what is not here is the library's default."""

    model: str = Field(
        "auto",
        description="weights (.pt) by path, or by name in weights_dir; with scratch an architecture (.yaml); "
        "auto: yolo26n for boxes, yolo26n-cls for classification, yolo26n-sem for segmentation",
    )
    weights_dir: str = Field(".", description="folder in which weights are looked for by name; never downloaded")
    scratch: bool = Field(False, description="train an architecture from nothing: takes thousands of labels")
    epochs: float = Field(50, gt=0, description="passes over the training images")
    min_steps: int = Field(300, ge=1, description="optimiser steps at least, however few the images")
    max_steps: int = Field(6000, ge=1, description="optimiser steps at most, however many the images")
    batch: int = Field(16, ge=2, description="images in a step")
    lr: float = Field(
        0, ge=0, description="largest step size of AdamW; 0: the library's choice by number of categories"
    )
    hold_out: float = Field(
        0.15, ge=0, lt=0.5, description="share of the training labels that only say when to stop; none of fewer than 60"
    )
    patience: int = Field(25, ge=1, description="epochs without improvement after which a fit stops; needs hold_out")
    imgsz: int = Field(640, ge=64, le=2048, multiple_of=32, description="long side of an image as looked at, pixels")
    class_imgsz: int = Field(224, ge=64, le=1024, multiple_of=32, description="classification: side of a square image")
    augment: float = Field(1, ge=0, le=1, description="strength of random changes: 1 as the library has them, 0 none")
    flip: bool = Field(True, description="mirror half of the training images (not for digits or text)")
    overlap: float = Field(0.7, gt=0, lt=1, description="bbox: IoU above which two boxes of a category are one object")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one")


class Model(NamedTuple):
    """A model that is ready to predict."""

    net: Any
    device: Any


class UltralyticsDetector(Detector):
    """Built within a run that has not fitted yet, it looks at once whether what it is to start from is there.

    Raises:
        ConfigError: It is not, or is of another task.
        Unsupported: More categories than a mask can hold.
    """

    name = "ultralytics"
    summary = "YOLO models for boxes, classification, segmentation (AGPL-3.0)"
    Options = UltralyticsOptions
    tasks = frozenset(networks.KINDS)
    requires = ("ultralytics",)
    extra = "gtloop[ultralytics]"
    licence = "AGPL-3.0-only"

    options: UltralyticsOptions

    def __init__(self, options: UltralyticsOptions, context: Context) -> None:
        super().__init__(options, context)
        self._task = context.task.name if context.task else context.form.task if context.form else "bbox"
        # core refuses other tasks later, by name and with the detectors that do them
        self._kind = networks.KINDS.get(self._task, networks.KINDS["bbox"])
        self._side = options.class_imgsz if self._task == "classification" else options.imgsz
        self._names = dataset.names(self._kind, context.categories)
        self._warned = False
        if not options.scratch:  # what an untrained network sees says nothing
            self.gives = frozenset({"embedding"})  # type: ignore[misc]
        if self._kind.task == "semantic" and len(self._names) > dataset.IGNORED:
            raise Unsupported(
                f"detector 'ultralytics' segments into at most {dataset.IGNORED - 1} categories, "
                f"got {len(context.categories)}"
            )
        # Predicting with a finished model needs no weights but its own: no check outside of a run, or after a fit.
        if self._task in networks.KINDS and context.workdir != Path(".") and not self._was_ready():
            sealed(context.workdir)
            self._source()

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

        With ``init`` that model's architecture is kept, and ``model`` is not read.

        Raises:
            NotEnoughData: Fewer than two examples.
            ConfigError: The weights to start from are not there, or of another task.
            RunError: ``init`` is no model of this run's kind, or the training diverged.
        """
        if len(examples) < MIN_EXAMPLES:
            raise NotEnoughData(
                f"detector 'ultralytics' needs {MIN_EXAMPLES} labelled images to fit, got {len(examples)}; label more"
            )
        sealed(self.context.workdir)
        import torch

        if init is None and self.options.scratch and not self._warned:
            self._warned = True
            log.warning("scratch: a YOLO model is trained from nothing; expect little below thousands of labels")
        held = dataset.hold_out(len(examples), self.options.hold_out, seed)
        epochs = training.epochs_for(int((~held).sum()), self.options, effort)
        progress("fit", 0, epochs, f"shrinking {len(examples)} images")
        passing = workdir / "fitting"
        try:
            data = dataset.write(
                (passing / "data").absolute(), examples, held, self._kind, self.context.categories, self._side
            )
            with own_randomness(seed % 2**31):
                net, architecture = self._start() if init is None else self._read(init)
                self._mark_ready()
                trained = training.train(
                    net,
                    data,
                    self._kind,
                    passing / "work",
                    self.options,
                    held_out=bool(held.any()),
                    epochs=epochs,
                    side=self._side,
                    device="cpu" if self._device() == "cpu" else "0",
                    seed=seed,
                    progress=progress,
                )
        finally:
            shutil.rmtree(passing, ignore_errors=True)
        torch.save(trained.state, workdir / "model.pt")
        card = json.dumps({**self._card(), "architecture": architecture}, indent=1)
        (workdir / "model.json").write_text(card + "\n", encoding="utf-8")
        return trained.figures

    def load(self, workdir: Path | None) -> Model:
        """The model in ``workdir``.

        Raises:
            RunError: There is none, or it was fitted for another task or other categories.
        """
        import torch

        sealed(self.context.workdir)
        net, _ = self._read(workdir)
        if hasattr(net, "end2end"):
            net.end2end = False  # as the library's own predictions: the branch that suppression belongs to
        device = torch.device(self._device())
        net = net.eval().fuse(verbose=False).to(device, memory_format=torch.channels_last)
        return Model(net, device)

    def prepare(self, image: Image.Image | None, item: Item) -> dict[str, Any]:
        """Shrink one image; see ``images.letterbox`` and, for classification, ``images.centre``."""
        if image is None:
            raise UsageError("detector 'ultralytics' needs the images themselves")
        return (images.centre if self._task == "classification" else images.letterbox)(image, self._side)

    def predict_batch(self, model: Model, prepared: Sequence[Any]) -> list[Raw]:
        """``RawBoxes``, ``RawClasses`` or ``RawMasks`` for each image, in display pixels."""
        import torch

        net, device = model.net, model.device
        # On a CPU features of many images don't fit into caches: measured, a sixth faster.
        batch = min(self.batch_size, 4) if device.type == "cpu" else self.batch_size
        with torch.inference_mode():
            if self._task == "bbox":
                return prediction.boxes(net, prepared, device, batch, self.options.overlap)
            if self._task == "classification":
                return prediction.classes(net, prepared, device, batch)
            return prediction.regions(net, prepared, device, batch, len(self.context.categories))

    def embedder(self) -> Model:
        """The weights that a fit starts from, before any fit.

        Raises:
            ConfigError: They are not there, or of another task.
        """
        import torch

        sealed(self.context.workdir)
        net = networks.weights(self.options.model, Path(self.options.weights_dir).expanduser(), self._kind)
        device = torch.device(self._device())
        return Model(net.to(device).eval(), device)

    def embed_batch(self, embedder: Model, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """(n, d); see ``prediction.embed``."""
        import torch

        with torch.inference_mode():
            return prediction.embed(embedder.net, prepared, embedder.device, self.batch_size)

    def _device(self) -> str:
        import torch

        there = torch.cuda.is_available()
        if self.options.device == "cuda" and not there:
            raise ConfigError(
                "detectors.ultralytics.device=cuda, but torch finds no CUDA device; "
                "say -o detectors.ultralytics.device=cpu"
            )
        return "cuda" if there and self.options.device != "cpu" else "cpu"

    def _start(self) -> tuple[Any, dict[str, Any]]:
        """The network that a fit without ``init`` starts from, and its architecture."""
        origin = self._source()
        return networks.start(origin, self._kind, self._names), origin.architecture

    def _source(self) -> networks.Source:
        o = self.options
        return networks.source(o.model, Path(o.weights_dir).expanduser(), self._kind, scratch=o.scratch)

    def _was_ready(self) -> bool:
        """Whether this run has fitted from these weights before: then it can go on without them."""
        mark = self.context.workdir / "weights.txt"
        return mark.is_file() and mark.read_text(encoding="utf-8") == self._note()

    def _mark_ready(self) -> None:
        if self.context.workdir != Path("."):
            self.context.workdir.mkdir(parents=True, exist_ok=True)
            (self.context.workdir / "weights.txt").write_text(self._note(), encoding="utf-8")

    def _note(self) -> str:
        return f"{self.options.model} {self.options.weights_dir} {self.options.scratch}\n"

    def _card(self) -> dict[str, Any]:
        """What ``model.json`` says, but for the architecture."""
        from importlib.metadata import version

        return {
            "detector": self.name,
            "task": self._task,
            "categories": list(self.context.categories),
            "licence": self.licence,
            "options": self.options.model_dump(mode="json"),
            "versions": {name: version(name) for name in ("torch", "ultralytics")},
        }

    def _read(self, workdir: Path | None) -> tuple[Any, dict[str, Any]]:
        """The network in ``workdir``, and its architecture."""
        import torch

        if workdir is None or not (workdir / "model.json").is_file() or not (workdir / "model.pt").is_file():
            raise RunError(f"no model of detector 'ultralytics' in {workdir}; fit one first")
        card = json.loads((workdir / "model.json").read_text(encoding="utf-8"))
        own = self._card()
        for key in ("detector", "task", "categories"):
            if card.get(key) != own[key]:
                raise RunError(
                    f"the model in {workdir} is for {key} {card.get(key)!r}, this run needs {own[key]!r}; fit a new one"
                )
        state = torch.load(workdir / "model.pt", map_location="cpu", weights_only=True)
        try:
            return networks.build(card["architecture"], self._kind, self._names, state), card["architecture"]
        except RunError as e:
            raise RunError(f"{workdir / 'model.pt'}: {e}") from None
        except Exception as e:  # whatever the library makes of an architecture that somebody wrote
            reason = " ".join(str(e).split())[:200]
            raise RunError(f"{workdir / 'model.json'}: no architecture that builds ({reason}); fit a new one") from None
