"""Detector ``predictions``: any model's output, read from a file in any format that gtloop reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from gtloop.compact import Spool
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


class Names(Sequence[str]):
    """Texts on disk."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def __len__(self) -> int:
        return len(self._spool)

    def __getitem__(self, at: Any) -> Any:
        return self._spool[at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._spool.values())


class Listed:
    """The entries of a file, on disk, found by the name of an image; no entry serves two images.

    Args:
        path: Of the file, for messages.
        entries: (name, payload) of each; of several of one name the last counts.
        folder: For scratch files.
    """

    def __init__(self, path: Path, entries: Iterable[tuple[str, Payload]], folder: Path) -> None:
        self.path = path
        names, self._payloads, self._taken = Spool(folder), Spool(folder), Spool(folder)
        for at, (name, payload) in enumerate(entries):
            names.put(at, name)
            self._payloads.put(at, payload)
        self.names = Names(names)
        self._matcher = Matcher(self.names)

    def payload(self, name: str) -> Payload | None:
        """What the file says about an image, None where it does not list it.

        Raises:
            BadLabels: Several entries may be meant, or another image has the same entry.
        """
        at = self._matcher.row(name)
        if at is None:
            return None
        if at not in self._taken:
            self._taken.put(at, name)
        elif (other := self._taken[at]) != name:
            raise BadLabels(
                f"{self.path}: entry {self.names[at]!r} fits {other!r} and {name!r}; write their whole paths"
            )
        payload: Payload = self._payloads[at]
        return payload


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
            _check_listed(model, ((item.name, model.payload(item.name)) for item in items))

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
        run = self.context.workdir.parent.parent
        found = Listed(path, self.context.read_labels(path), run)
        if not found.names:
            raise BadLabels(f"{path} lists no image with a label; export predictions with one entry for every image")
        return found

    def prepare(self, image: Image.Image | None, item: Item) -> str:
        return item.name

    def predict_batch(self, model: Listed, prepared: Sequence[Any]) -> list[Raw]:
        """Raises BadLabels where images are missing in the file and ``missing`` is ``error``."""
        task = self.context.task
        assert task is not None
        found = [(name, model.payload(name)) for name in prepared]
        if self.options.missing == "error":
            _check_listed(model, found)
        return [task.raw((task.empty() or {}) if payload is None else payload) for _, payload in found]


def _check_listed(model: Listed, found: Iterable[tuple[str, Payload | None]]) -> None:
    """Raises BadLabels where the file has nothing for one of some images."""
    total = absent = 0
    first = ""
    for name, payload in found:
        total += 1
        if payload is None:
            absent, first = absent + 1, first or name
    if absent:
        raise BadLabels(
            f"{model.path} has no prediction for {absent} of {total} images, first {first!r} "
            f"(it lists {len(model.names)}, first {model.names[0]!r}); list them, with no objects where nothing "
            "is found, or say -o detectors.predictions.missing=empty"
        )
