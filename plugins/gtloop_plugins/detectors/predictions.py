"""Detector ``predictions``: any model's output, read from a file in any format that gtloop reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from gtloop.errors import BadLabels, ConfigError
from gtloop.interfaces import Detector, Options
from gtloop.labelfiles import Matcher
from gtloop.records import Item, Payload, Raw

if TYPE_CHECKING:
    from PIL import Image


class PredictionsOptions(Options):
    """Options of ``predictions``."""

    path: Path = Field(description="label file or folder with confidences, in any format that gtloop reads")
    missing: Literal["error", "empty"] = Field(
        "error",
        description="an image that the file does not list: stop, or take it as surely empty",
    )


class Listed:
    """The entries of a file, found by the name of an image; no entry serves two images."""

    def __init__(self, path: Path, entries: Mapping[str, Payload]) -> None:
        self.path, self.names, self.payloads = path, list(entries), list(entries.values())
        self._matcher = Matcher(self.names)
        self._taken: dict[int, str] = {}

    def payload(self, name: str) -> Payload | None:
        """What the file says about an image, None where it does not list it.

        Raises:
            BadLabels: Several entries may be meant, or another image has the same entry.
        """
        at = self._matcher.row(name)
        if at is None:
            return None
        other = self._taken.setdefault(at, name)
        if other != name:
            raise BadLabels(
                f"{self.path}: entry {self.names[at]!r} fits {other!r} and {name!r}; write their whole paths"
            )
        return self.payloads[at]


class Predictions(Detector):
    """Looks every image up by its name in a label file; fits nothing and opens no image."""

    name = "predictions"
    summary = "reads a predictions file: bring the output of any model"
    tasks = frozenset({"bbox", "classification", "segmentation"})
    trainable = False
    opens_images = False
    batch_size = 256

    Options = PredictionsOptions

    def check(self, items: Iterable[Item]) -> None:
        """See ``load``; and whether the file lists every image, where it has to."""
        model = self.load(None)
        if self.options.missing == "error":
            _payloads(model, [item.name for item in items])

    def load(self, workdir: Path | None) -> Listed:
        """What the file lists.

        Raises:
            ConfigError: The file is not there, or ``missing=empty`` with a task that has no empty label.
            BadLabels: The file can't be read, or lists no image.
        """
        path, task = self.options.path, self.context.task
        if task is None or self.context.read_labels is None:
            raise ConfigError("detector 'predictions' needs a context with a task and a reader of label files")
        if not path.exists():
            raise ConfigError(f"detectors.predictions.path: {path} does not exist")
        if self.options.missing == "empty" and task.empty() is None:
            raise ConfigError(
                f"detectors.predictions.missing: task {task.name!r} has no empty label; "
                f"say missing=error and list every image in {path}"
            )
        found = dict(self.context.read_labels(path))
        if not found:
            raise BadLabels(f"{path} lists no image with a label; export predictions with one entry for every image")
        return Listed(path, found)

    def prepare(self, image: Image.Image | None, item: Item) -> str:
        return item.name

    def predict_batch(self, model: Listed, prepared: Sequence[Any]) -> list[Raw]:
        """Raises BadLabels where images are missing in the file and ``missing`` is ``error``."""
        task = self.context.task
        assert task is not None
        if self.options.missing == "error":
            return [task.raw(payload) for payload in _payloads(model, prepared)]
        found = [model.payload(name) for name in prepared]
        return [task.raw((task.empty() or {}) if payload is None else payload) for payload in found]


def _payloads(model: Listed, names: Sequence[str]) -> list[Payload]:
    """Raises BadLabels where the file does not list all of them."""
    found = {name: model.payload(name) for name in names}
    absent = [name for name, payload in found.items() if payload is None]
    if absent:
        raise BadLabels(
            f"{model.path} has no prediction for {len(absent)} of {len(names)} images, first {absent[0]!r} "
            f"(it lists {len(model.payloads)}, first {model.names[0]!r}); list them, with no objects where nothing "
            "is found, or say -o detectors.predictions.missing=empty"
        )
    return [payload for payload in found.values() if payload is not None]
