"""torchvision's own models by name: what the detector hands over to where ``model`` is not ``efficientnet``.

``names.py`` says which names suit which task, ``sources.py`` where their weights come from, ``build.py`` makes the
networks, and ``boxes.py``, ``classes.py`` and ``segments.py`` fit them and read what they say.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtloop.errors import ConfigError
from gtloop.interfaces import Context, Example, Progress
from gtloop_plugins.detectors.torchvision import images, parallel
from gtloop_plugins.detectors.torchvision.named import boxes, build, classes, names, segments, sources
from gtloop_plugins.detectors.torchvision.named.build import for_prediction
from gtloop_plugins.detectors.torchvision.named.sources import DEFAULT, NONE

__all__ = ["DEFAULT", "OWN", "Named", "choose", "for_prediction"]

if TYPE_CHECKING:
    from PIL import Image

    from gtloop_plugins.detectors.torchvision import TorchvisionOptions

OWN = "efficientnet"
"""The name of the small built-in network, which is not torchvision's."""
_PARTS: dict[str, Any] = {"bbox": boxes, "classification": classes, "segmentation": segments}

log = logging.getLogger("gtloop.detectors.torchvision")


def choose(options: TorchvisionOptions, context: Context, task: str) -> Named | None:
    """The named model that the options ask for; None for the built-in network.

    Raises:
        ConfigError: As ``Named``, or weights are chosen for the built-in network.
    """
    if options.model == OWN:
        if options.weights != DEFAULT:
            raise ConfigError(
                f"detectors.torchvision.weights: model {OWN} brings its own, {options.weights!r} has no effect; "
                "name a model of torchvision's with -o detectors.torchvision.model=NAME"
            )
        return None
    # What the detector can't do at all is refused by gtloop itself, after this.
    return Named(options, context, task) if task in _PARTS else None


class Named:
    """One model of torchvision's registry, for one task and one run's categories.

    Raises:
        ConfigError: The name does not suit the task, or, within a run that has not fitted it yet, its weights are not
            there and can't be fetched.
    """

    def __init__(self, options: TorchvisionOptions, context: Context, task: str) -> None:
        names.check(options.model, task)
        self._options, self._context, self._task = options, context, task
        self._name, self._weights = options.model, options.weights
        self._part = _PARTS[task]
        if options.classes == "linear" and task == "classification" and self._weights == NONE:
            raise ConfigError(
                "detectors.torchvision.classes: 'linear' fits an output on pretrained features, and weights=none has "
                "none; type -o detectors.torchvision.classes=finetune"
            )
        # Predicting with an exported model needs no weights but the model's own: no check outside of a run.
        if context.workdir != Path(".") and not self._was_ready():
            self._check_weights()

    def square(self, image: Image.Image) -> images.ImageArray:
        """What a classifier looks at: (S, S, 3) uint8."""
        return classes.square(image, self._name, self._options)

    def fit(
        self,
        examples: Sequence[Example],
        prepared: Sequence[dict[str, Any]],
        device: Any,
        *,
        seed: int,
        init: dict[str, Any] | None,
        effort: float,
        progress: Progress,
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """Fit on prepared examples.

        Args:
            examples: The labels.
            prepared: What ``prepare`` made of their images.
            device: Where to fit.
            seed: Of all randomness.
            init: State dict of a model of this name and these categories to start from.
            effort: Share of the normal schedule.
            progress: Called after every epoch.

        Returns:
            The state dict to keep and figures worth logging.
        """
        import torch

        with torch.random.fork_rng():
            # torchvision's losses, dropout and stochastic depth draw from the global generator.
            torch.manual_seed(parallel.seed(seed))
            net = self.empty()
            adopted = self._start(net, init)
            self._mark_ready()
            net = net.to(device, memory_format=torch.channels_last)
            fitting = build.Fitting(
                net,
                device,
                [p for name, p in net.named_parameters() if name in adopted],
                from_scratch=not adopted,
                options=self._options,
                seed=seed,
                effort=effort,
                progress=progress,
            )
            result: tuple[dict[str, Any], dict[str, float]] = self._part.fit(fitting, examples, prepared, self._context)
            return result

    def empty(self) -> Any:
        """The network with random weights, in eval mode, nothing fetched."""
        return build.build(self._name, self._task, len(self._context.categories), self._options)

    def predict(self, net: Any, prepared: Sequence[dict[str, Any]], device: Any, batch: int) -> list[dict[str, Any]]:
        """Raw predictions of prepared images, in order, in display pixels."""
        raws: list[dict[str, Any]] = self._part.predict(
            net, prepared, device, batch, len(self._context.categories), self._name
        )
        return raws

    def _start(self, net: Any, init: dict[str, Any] | None) -> set[str]:
        """Copy the weights to start from into ``net``; the names of the tensors that came."""
        if init is not None:
            net.load_state_dict(init)
            return set(init)
        if self._weights == NONE:
            return set()
        if self._weights == DEFAULT:
            return sources.adopt_published(net, self._name)
        return sources.adopt_file(net, Path(self._weights))

    def _check_weights(self) -> None:
        if self._weights == DEFAULT:
            sources.fetch(self._name)
        elif self._weights != NONE:
            sources.adopt_file(self.empty(), Path(self._weights))
        else:
            log.warning(
                "%s starts from random weights (weights=none): expect to need thousands of labels and many epochs; "
                "model=%s starts from ImageNet's",
                self._name,
                OWN,
            )

    def _mark(self) -> Path:
        return self._context.workdir / "weights.txt"

    def _was_ready(self) -> bool:
        """Whether this run has fitted with these weights before: then a moved run can be read without them."""
        return self._mark().is_file() and self._mark().read_text(encoding="utf-8") == self._note()

    def _mark_ready(self) -> None:
        if self._context.workdir != Path("."):
            self._context.workdir.mkdir(parents=True, exist_ok=True)
            self._mark().write_text(self._note(), encoding="utf-8")

    def _note(self) -> str:
        return f"{self._name} {self._weights}\n"
