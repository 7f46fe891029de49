"""What a check of ``gtloop.testing`` works on: one plugin, with tiny data around it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gtloop import labelfiles, plugin_options
from gtloop.errors import GtloopError
from gtloop.interfaces import Annotator, Context, Detector, Example, Plugin, Task
from gtloop.records import Item, Payload, Request
from gtloop.registry import Registry
from gtloop.testing import history
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth

People = Callable[[Annotator, Sequence[Request], Path], None]
"""Answers requests the way people outside would: (annotator, requests, its workdir)."""


class CheckFailed(AssertionError):
    """A plugin broke its contract; the text says how."""


class CheckSkipped(Exception):
    """The check does not apply; the text says why."""


class NotBuilt(Exception):
    """The plugin can't be constructed; the text says why."""


@contextmanager
def during(what: str) -> Iterator[None]:
    """Say what was being done when the plugin raised something in the block."""
    try:
        yield
    except (CheckFailed, CheckSkipped, NotBuilt):
        raise
    except Exception as e:
        raise CheckFailed(f"{what} raised {type(e).__name__}: {one_line(e)}") from e


def brief(value: Any) -> str:
    """A value as text of at most 100 characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:48]} ... {text[-47:]}"


def one_line(e: Exception) -> str:
    """The text of an exception without line breaks."""
    return " ".join(str(e).split())


def prepare(detector: Detector, items: Sequence[Item]) -> list[Any]:
    """The items' images, made ready by the detector as an executor has them made."""
    from gtloop.images import open_image

    return [detector.prepare(open_image(i.uri) if detector.opens_images else None, i) for i in items]


def require(condition: object, message: str) -> None:
    """Raise CheckFailed with ``message`` unless ``condition`` holds."""
    if not condition:
        raise CheckFailed(message)


@dataclasses.dataclass
class Case:
    """A plugin under test.

    Attributes:
        cls: The plugin's class.
        folder: Empty scratch folder.
        registry: Where tasks, and formats that read label files, come from.
        task_name: The task to test it with (a task's own name for a task).
        options: Options for every instance.
        truth: Labels of the tiny images, for a task that gtloop has none for.
        people: Plays the people, for an annotator whose answers come from outside.
    """

    cls: type[Any]
    folder: Path
    registry: Registry
    task_name: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    truth: Sequence[Payload] | None = None
    people: People | None = None
    memory: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What checks keep for each other, such as a fitted model."""

    def build(self, workdir: str = "work", **options: Any) -> Any:
        """A new instance on ``folder/workdir``; the same name means the same folder.

        Raises:
            NotBuilt: Its options are not valid, or its constructor raised.
        """
        path = self.path(workdir)
        path.mkdir(parents=True, exist_ok=True)
        context = Context(categories=CATEGORIES, workdir=path)
        if not issubclass(self.cls, Task):
            truth = self.truth_of if "truth" in self.cls.needs else None
            context = dataclasses.replace(self.context, workdir=path, truth=truth)
        try:
            return self.cls(plugin_options.validate(self.cls, {**self.options, **options}, "options"), context)
        except GtloopError as e:
            raise NotBuilt(str(e)) from e
        except Exception as e:
            raise NotBuilt(f"constructing {self.cls.__name__} raised {type(e).__name__}: {one_line(e)}") from e

    def path(self, name: str) -> Path:
        """A path in the scratch folder of this plugin and task."""
        return self.folder / (self.task_name or "any") / name

    @cached_property
    def task(self) -> Task:
        """The task to test with, built with the tiny categories."""
        if issubclass(self.cls, Task):
            built: Task = self.build("task")
            return built
        if not self.task_name:
            raise CheckSkipped("no task to test with is installed")
        made: Task = self.registry.build("task", self.task_name, {}, Context(categories=CATEGORIES))
        return made

    @cached_property
    def context(self) -> Context:
        """The context of every instance, but for its workdir."""
        base = Context(categories=CATEGORIES, read_labels=self._read_labels, run="tiny")
        return dataclasses.replace(base, task=self.task, form=self.task.form()) if self.task_name else base

    @cached_property
    def items(self) -> list[Item]:
        """Ten tiny images."""
        return tiny_items(self.folder / "images")

    @cached_property
    def truths(self) -> list[Payload]:
        """The true label of each item, canonical."""
        found = self.truth or tiny_truth(self.task_name, len(self.items))
        if found is None:
            raise CheckSkipped(f"gtloop.testing has no labels for task {self.task_name!r}: give truth")
        return [self.task.parse(dict(payload), item) for payload, item in zip(found, self.items, strict=False)]

    @property
    def examples(self) -> list[Example]:
        return [Example(item, payload) for item, payload in zip(self.items, self.truths, strict=False)]

    def truth_of(self, item: Item) -> Payload | None:
        """What a synthetic annotator may look up."""
        return self.truths[item.row] if item.row < len(self.truths) else None

    def rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([7, *key])

    def _read_labels(self, path: Path) -> Iterator[tuple[str, Payload]]:
        context = Context(categories=CATEGORIES)
        formats = [self.registry.build("format", name, {}, context) for name in self.registry.names("format")]
        reader = labelfiles.pick_reader(formats, path, self.task_name)
        entries = reader.read(path, self.task_name, CATEGORIES)
        return ((entry.name, entry.payload) for entry in entries if entry.payload is not None)


def task_names(cls: type[Plugin], registry: Registry) -> list[str]:
    """Names of the installed tasks that a plugin works with; ``[""]`` where none plays a part."""
    if issubclass(cls, Task):
        return [cls.name]
    if cls.kind in ("sampler", "executor"):
        return [""]
    if cls.kind == "observer":
        return [history.TASK]
    installed = registry.providers("task")
    if cls.kind == "score":
        return [p.cls.name for p in installed if cls.needs <= set(getattr(p.cls, "feature_names", ()))] or [""]
    if cls.kind == "annotator":
        fits = [p.cls.name for p in installed if tiny_truth(p.cls.name, 1) and _shows(cls, p.cls, registry)]
        return fits or [""]
    tasks: frozenset[str] = getattr(cls, "tasks", frozenset())
    return [p.cls.name for p in installed if p.cls.name in tasks or "*" in tasks] or [""]


def _shows(cls: type[Any], task: type[Plugin], registry: Registry) -> bool:
    form = registry.build("task", task.name, {}, Context(categories=CATEGORIES)).form()
    return "*" in cls.forms or all(p.kind in cls.forms for p in form.primitives)
