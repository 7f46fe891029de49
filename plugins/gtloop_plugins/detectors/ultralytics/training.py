"""A fit: the library's own trainer, without anything that it does besides training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gtloop.curves import curve
from gtloop.errors import RunError
from gtloop.interfaces import Progress
from gtloop_plugins.detectors.ultralytics.networks import OPTION, Kind

if TYPE_CHECKING:
    from gtloop_plugins.detectors.ultralytics import UltralyticsOptions


class Trained(NamedTuple):
    """The kept weights, and figures worth logging."""

    state: dict[str, Any]
    figures: dict[str, float]


def epochs_for(n: int, options: UltralyticsOptions, effort: float) -> int:
    """Passes over ``n`` examples: ``epochs``, at least ``min_steps`` and at most ``max_steps`` steps; never none."""
    per_epoch = -(-n // options.batch)
    bounds = min(effort, 1.0)  # fewer examples with more effort are to have the steps that more of them had
    wanted = max(effort * options.epochs, bounds * options.min_steps / per_epoch)
    return max(1, round(min(wanted, bounds * options.max_steps / per_epoch)))


def train(
    net: Any,
    data: dict[str, Any],
    kind: Kind,
    folder: Path,
    options: UltralyticsOptions,
    *,
    held_out: bool,
    epochs: int,
    side: int,
    device: str,
    seed: int,
    progress: Progress,
) -> Trained:
    """Train ``net`` on the files of ``data``.

    Args:
        net: As ``networks.start`` makes it.
        data: As ``dataset.write`` returns it.
        kind: Of the run's task.
        folder: Where the trainer may write.
        options: Of the detector.
        held_out: Whether ``data["val"]`` holds other examples than ``data["train"]``.
        epochs: Passes over the data.
        side: Of training images, pixels.
        device: ``cpu``, or the number of a CUDA device.
        seed: Of all randomness.
        progress: Called after every epoch.

    Raises:
        RunError: The loss is no longer a number.
    """
    import torch
    from ultralytics.utils.torch_utils import unset_deterministic

    arguments = _arguments(kind, folder, options, held_out, epochs, side, device, seed)
    try:
        trainer = _trainer(kind)(arguments, data, held_out, progress)
        trainer.model = net
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of operations that have no deterministic form on a GPU, and the like
            trainer.train()
    finally:
        unset_deterministic()
    if not trainer.kept:
        raise RunError("detector 'ultralytics': the trainer of ultralytics ended before its first epoch did")
    last = sum(float(torch.as_tensor(v).sum()) for v in (trainer.tloss or {}).values())
    figures = {"loss": last, "epochs": float(trainer.epoch + 1), "kept_at": float(trainer.kept_at)}
    figures |= curve("loss", trainer.course)
    if held_out:
        figures |= {"fitness": float(trainer.best_fitness), **curve("fitness", trainer.course_held_out)}
    return Trained(trainer.kept, figures)


def _arguments(
    kind: Kind,
    folder: Path,
    options: UltralyticsOptions,
    held_out: bool,
    epochs: int,
    side: int,
    device: str,
    seed: int,
) -> dict[str, Any]:
    """What the library calls ``overrides``; all else stays at its defaults (``ultralytics/cfg/default.yaml``)."""
    import torch

    strength = options.augment
    # "bf16" and not True: for float16 the library checks the device with weights that it downloads.
    amp = "bf16" if device != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False) else False
    return {
        "task": kind.task,
        "mode": "train",
        "model": kind.stem + ".yaml",
        "data": "gtloop",
        "save_dir": str(folder),
        "exist_ok": True,
        "epochs": epochs,
        "imgsz": side,
        "batch": options.batch,
        "nbs": options.batch,  # every batch is a step
        "device": device,
        "workers": 0,
        "amp": amp,
        "seed": seed % 2**31,
        "deterministic": True,
        "val": held_out,
        "patience": options.patience,
        "save": False,
        "plots": False,
        "verbose": False,
        "cache": False,
        "close_mosaic": max(1, round(0.1 * epochs)),
        "optimizer": "AdamW" if options.lr else "auto",
        **({"lr0": options.lr} if options.lr else {}),
        "mosaic": strength,
        "scale": 0.5 * strength,
        "translate": 0.1 * strength,
        "hsv_h": 0.015 * strength,
        "hsv_s": 0.7 * strength,
        "hsv_v": 0.4 * strength,
        "erasing": 0.4 * strength,
        "auto_augment": "randaugment" if strength else None,
        "fliplr": 0.5 if options.flip else 0.0,
    }


def _trainer(kind: Kind) -> Any:
    """The library's trainer for a task, bereft of its errands."""
    from ultralytics.models.yolo.classify import ClassificationTrainer
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.models.yolo.semantic import SemanticSegmentationTrainer

    base: Any = {
        "detect": DetectionTrainer,
        "classify": ClassificationTrainer,
        "semantic": SemanticSegmentationTrainer,
    }[kind.task]

    class Quiet(base):  # type: ignore[misc]
        """Trains; checks no data set, saves no checkpoint, calls nobody."""

        def __init__(self, arguments: dict[str, Any], data: dict[str, Any], held_out: bool, progress: Progress) -> None:
            self._given, self._held_out, self._progress = data, held_out, progress
            self.kept: dict[str, Any] = {}
            self.kept_at = 0
            self.course: list[tuple[float, float]] = []
            self.course_held_out: list[tuple[float, float]] = []
            super().__init__(overrides=arguments)
            # Those of trackers and of the maker's platform; a validator takes these, too, unless there are none at all.
            for event in self.callbacks:
                self.callbacks[event] = []

        def get_dataset(self) -> dict[str, Any]:
            return self._given  # the library's check fetches a font

        def run_callbacks(self, event: str) -> None:
            if event == "on_fit_epoch_end":
                loss = sum(float(v) for v in (self.tloss or {}).values())
                self.course.append((self.epoch + 1, loss))
                if self._held_out:
                    self.course_held_out.append((self.epoch + 1, float(self.fitness)))
                note = f"loss {loss:.3f}" + (f", held out {self.fitness:.3f}" if self._held_out else "")
                self._progress("fit", self.epoch + 1, self.epochs, note)

        def validate(self) -> tuple[dict[str, float], float | None]:
            if not self._held_out:
                return {}, None
            found: tuple[dict[str, float], float | None] = super().validate()
            return found

        def save_metrics(self, metrics: dict[str, float]) -> None:
            """After every epoch: keep the weights if they are the best so far."""
            if self._held_out and self.fitness == self.best_fitness:
                self._keep()

        def save_model(self) -> bool:
            """After the last epoch, for ``save`` is off: keep the weights if there is nothing to choose by."""
            if not self._held_out:
                self._keep()
            return False

        def _keep(self) -> None:
            import torch

            state = self.ema.ema.state_dict()
            self.kept = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}
            self.kept_at = self.epoch + 1
            if not all(bool(torch.isfinite(v).all()) for v in self.kept.values()):
                raise RunError(_diverged(self.epoch))

        def final_eval(self) -> None:
            """Nothing: the library would open the checkpoint that it saved."""

        def _handle_nan_recovery(self, epoch: int) -> bool:
            if self.loss is not None and not bool(self.loss.isfinite()):
                raise RunError(_diverged(epoch))
            return False

    return Quiet


def _diverged(epoch: int) -> str:
    return (
        f"detector 'ultralytics': the loss is no longer a number in epoch {epoch + 1}; "
        f"set a smaller step size such as -o {OPTION}.lr=0.0002"
    )
