"""Detector ``transformers``: fine-tunes detectors (RT-DETR, D-FINE, DETR, ...) and classifiers of Hugging Face.

It starts from a checkpoint: a folder, or a model id of the hub that lies in the local cache. A model is a folder as
``save_pretrained`` writes it, with ``gtloop.json`` that says what it is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gtloop.errors import ConfigError, NotEnoughData, UsageError
from gtloop.interfaces import Context, Detector, Example, Options, Progress, quiet
from gtloop.records import Item, Raw
from pydantic import Field

if TYPE_CHECKING:
    from PIL import Image

    from gtloop_huggingface.detector.networks import Model

MIN_EXAMPLES = 2


class TransformersOptions(Options):
    """How to fit. The defaults suit a checkpoint that was trained on COCO or ImageNet."""

    model: str | None = Field(
        None, description="checkpoint to start from: a folder of save_pretrained, or a model id of the hub"
    )
    download: bool = Field(False, description="fetch a model id that is not in the local cache from the hub")
    image_size: int = Field(640, ge=32, le=2048, multiple_of=32, description="bbox: side in pixels of a square image")
    class_size: int = Field(224, ge=16, le=2048, description="classification: side in pixels of a square image")
    epochs: float = Field(30, gt=0, description="passes over the training images")
    min_steps: int = Field(200, ge=1, description="optimiser steps at least, however few the images")
    max_steps: int = Field(3000, ge=1, description="optimiser steps at most, however many the images")
    batch: int = Field(4, ge=1, description="images in a step")
    lr: float = Field(1e-4, gt=0, description="largest step size")
    body_lr: float = Field(0.1, ge=0, description="step size of the pretrained backbone, as a share of lr")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's weight decay")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights, the ones that are kept")
    flip: bool = Field(True, description="bbox: mirror half of the training images")
    flip_classes: bool = Field(False, description="classification: mirror them too (not for digits or text)")
    zoom: float = Field(1.3, ge=1, description="largest random change of scale of training images, as a factor")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one")
    half: bool = Field(True, description="CUDA: predict in half precision")


class Transformers(Detector):
    """Images are made square; the network's own scale of colours is taken from its image processor.

    Code that comes with a checkpoint is never run.
    """

    name = "transformers"
    summary = "RT-DETR and its kin, and classifiers, of Hugging Face transformers"
    Options: ClassVar[type[Options]] = TransformersOptions
    tasks = frozenset({"bbox", "classification"})
    requires: ClassVar[tuple[str, ...]] = ("transformers", "torch", "torchvision", "scipy")
    extra: ClassVar[str | None] = "gtloop-huggingface"
    batch_size: ClassVar[int] = 8

    options: TransformersOptions

    def __init__(self, options: TransformersOptions, context: Context) -> None:
        super().__init__(options, context)
        if options.model is None:
            raise ConfigError(
                "detectors.transformers.model: name the checkpoint to start from, a folder or a model id of the hub "
                "such as PekingU/rtdetr_v2_r18vd"
            )
        self._source = options.model
        self._task = context.task.name if context.task else context.form.task if context.form else "bbox"

    def check(self, items: Iterable[Item]) -> None:
        """Whether the checkpoint is there and fits the task, and the device, where one is named."""
        from gtloop_huggingface.detector import networks

        networks.device(self.options.device)
        networks.configuration(self._source, self._task, self.context.categories, download=self.options.download)

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
        """Fine-tune and leave the model in ``workdir``; see ``Detector.fit``.

        Raises:
            NotEnoughData: Fewer than two examples.
            ConfigError: The checkpoint is not there, or is none for the task.
            RunError: ``init`` is for another task or other categories, or the loss is no longer a number.
        """
        from gtloop_huggingface.detector import networks, training

        if len(examples) < MIN_EXAMPLES:
            raise NotEnoughData(
                f"detector 'transformers' needs {MIN_EXAMPLES} labelled images to fit, got {len(examples)}; label more"
            )
        categories, where = self.context.categories, networks.device(self.options.device)
        with networks.seeded(seed, where):
            if init is None:
                start = networks.start(self._source, self._task, categories, download=self.options.download)
            else:
                start = networks.saved(init, self._task, categories)
            prepared = [self._open(example) for example in examples]
            figures = training.train(
                start, examples, prepared, categories, self.options, where, seed=seed, effort=effort, progress=progress
            )
        networks.save(start, workdir, self._task, categories, self._source)
        return figures

    def load(self, workdir: Path | None) -> Model:
        """The model in ``workdir``.

        Raises:
            RunError: There is none, or it was fitted for another task or other categories.
        """
        from gtloop_huggingface.detector import networks

        model = networks.saved(workdir, self._task, self.context.categories)
        model.net.to(networks.device(self.options.device)).eval()
        return model

    def least_size(self, width: int, height: int) -> tuple[int, int] | None:
        """Twice the side of the square in both directions, so that hardly anything is lost."""
        return 2 * self._side, 2 * self._side

    def prepare(self, image: Image.Image | None, item: Item) -> dict[str, Any]:
        """Make one image square.

        Returns:
            ``image`` (S, S, 3) uint8, stretched, and ``size`` (width, height) in display pixels.
        """
        import numpy as np
        from PIL import Image

        if image is None:
            raise UsageError("detector 'transformers' needs the images themselves")
        square = image.convert("RGB").resize((self._side, self._side), Image.Resampling.BILINEAR, reducing_gap=3.0)
        return {"image": np.asarray(square, dtype=np.uint8), "size": item.display_size or image.size}

    def predict_batch(self, model: Model, prepared: Sequence[Any]) -> list[Raw]:
        """``RawBoxes`` or ``RawClasses`` for each image, in display pixels."""
        from gtloop_huggingface.detector import prediction

        if not prepared:
            return []
        return prediction.predict(model, prepared, self._task, half=self.options.half)

    @property
    def _side(self) -> int:
        return self.options.image_size if self._task == "bbox" else self.options.class_size

    def _open(self, example: Example) -> dict[str, Any]:
        """An example prepared as it will be for predicting it."""
        size = example.item.display_size
        return self.prepare(example.open(self.least_size(*size) if size else None), example.item)
