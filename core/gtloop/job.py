"""A run with its plugins: what the steps of the loop work on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtloop import labelfiles
from gtloop.compatibility import check_fit
from gtloop.config import Settings
from gtloop.errors import ConfigError, RunError
from gtloop.events import AnyEvent
from gtloop.interfaces import (
    Annotator,
    Context,
    Detector,
    Executor,
    Format,
    Progress,
    Sampler,
    Score,
    Task,
    quiet,
)
from gtloop.items import Items
from gtloop.keyed import rng
from gtloop.ledger import Ledger
from gtloop.promise import Promise
from gtloop.records import Item, Payload
from gtloop.sizes import Plan
from gtloop.state import State
from gtloop.store import Store

if TYPE_CHECKING:
    from gtloop.registry import Registry

SNAPSHOT_EVERY = 50
"""Events between two snapshots of the state."""


class Plugins:
    """The selected plugins of a run, built once; every error of selection comes from here.

    Raises:
        UsageError: Unknown name, missing extra, clash, options or combination; before a cent is spent.
    """

    def __init__(self, settings: Settings, registry: Registry, root: Path) -> None:
        self._settings, self._registry, self._root = settings, registry, root
        r = settings.run
        base = Context(categories=r.classes, seed=r.seed, read_labels=self._read_labels)
        self.task: Task = self._build("task", r.task, base)
        form = self.task.form()
        if r.instructions:
            form = form.model_copy(update={"instructions": r.instructions})
        base = dataclasses.replace(base, form=form, task=self.task, price_per_answer=settings.prices.answer)
        self.detector: Detector = self._build("detector", r.detector, base)
        self.sampler: Sampler = self._build("sampler", r.sampler, base)
        self.score: Score = self._build("score", r.score, base)
        self.executor: Executor = self._build("executor", r.executor, base)
        cls: Any = registry.get("annotator", r.annotator)
        if "truth" in cls.needs:
            if r.truth is None:
                raise ConfigError(
                    f"annotator {cls.name!r} draws its answers from known labels: name them with --truth PATH, "
                    "or choose another annotator"
                )
            base = dataclasses.replace(base, truth=self.truth_of)
        self.annotator: Annotator = self._build("annotator", r.annotator, base)
        self.notes = check_fit(registry, self.task, self.annotator, self.detector, self.sampler, self.score)
        self.items: Items | None = None

    def _build(self, kind: str, name: str, context: Context) -> Any:
        workdir = self._root / kind / name.partition("@")[0]
        options = self._registry.options(kind, name, self._settings.options(kind, name))
        return self._registry.build(kind, name, options, dataclasses.replace(context, workdir=workdir))

    def formats(self) -> list[Format]:
        """Every installed format, with its options."""
        built: list[Format] = []
        for p in self._registry.providers("format"):
            options = self._registry.options("format", p.cls.name, self._settings.options("format", p.cls.name))
            built.append(
                self._registry.build("format", p.cls.name, options, Context(categories=self._settings.run.classes))
            )
        return built

    def _read_labels(self, path: Path) -> Any:
        r = self._settings.run
        reader = labelfiles.pick_reader(self.formats(), path, self.task.name)
        return ((e.name, e.payload) for e in reader.read(path, self.task.name, r.classes) if e.payload is not None)

    def read_truth(self, path: Path, items: Items, *, allow_missing: bool = False) -> dict[int, Payload]:
        """Row to payload of a label file, in the display frame; every payload checked by the task.

        Raises:
            BadLabels, BadAnswer: The file, or one of its labels, can't be used.
        """
        from gtloop.interfaces import Entry

        entries = (Entry(n, p, {}) for n, p in self._read_labels(path))
        matched = labelfiles.match_names(entries, list(items.name), allow_missing=allow_missing)
        return {row: self.task.parse(payload, items[row]) for row, payload in matched.items()}

    @cached_property
    def truth(self) -> dict[int, Payload]:
        """The run's known labels by row; only simulated people and evaluation ever see them."""
        path = self._settings.run.truth
        assert path is not None
        assert self.items is not None
        return self.read_truth(Path(path), self.items)

    def check_truth(self) -> None:
        """Read the whole truth once, so that a fault in it shows before anything is spent."""
        len(self.truth)

    def truth_of(self, item: Item) -> Payload | None:
        return self.truth.get(item.row)


class Job:
    """A run that is being driven: state, ledger, files, items and plugins."""

    def __init__(
        self,
        root: Path,
        ledger: Ledger,
        state: State,
        settings: Settings,
        registry: Registry,
        plugins: Plugins,
        progress: Progress = quiet,
    ) -> None:
        self.root, self.ledger, self.state, self.settings = root, ledger, state, settings
        self.registry, self.plugins, self.progress = registry, plugins, progress
        self.store = Store(root)
        if state.facts.items is None:
            raise RunError(f"{root} never started; remove it and run again")
        self.items = Items.read(state.facts.items, self.store)
        plugins.items = self.items
        self.plan = Plan.model_validate(state.facts.plan)
        self.promise = make_promise(settings, plugins.task)

    @property
    def seed(self) -> int:
        return self.settings.run.seed

    @property
    def budget(self) -> int | None:
        from gtloop.money import micro

        usd = self.settings.run.budget_usd
        return None if usd is None else micro(usd)

    def order(self, purpose: str) -> NDArray[np.float64]:
        """One fixed random key a row, (n,); the same for a seed whatever happened in between."""
        return rng(self.seed, purpose).random(len(self.items))

    def commit(self, events: Sequence[AnyEvent]) -> None:
        """Append events to the ledger, fold them in, tell observers."""
        for entry in self.ledger.append(events):
            self.state.apply(entry.event, self.store, entry.seq)
            self.registry.notify(entry.event, self.state)
            if entry.seq % SNAPSHOT_EVERY == 0:
                self.state.save(self.root / "snapshot.npz")


def make_promise(settings: Settings, task: Task) -> Promise:
    """The promise of a run, with the task's default target.

    Raises:
        ConfigError: Kind ``dataset`` without ``max_loss``.
    """
    p = settings.promise
    if p.kind == "dataset" and p.max_loss is None:
        raise ConfigError(
            "promise.kind = 'dataset' needs promise.max_loss, the mean loss over all items that is allowed"
        )
    return Promise(
        kind=p.kind,
        metric=task.metric,
        target=task.default_target if p.target is None else p.target,
        delta=p.delta,
        rule=p.rule,
        binary=task.binary,
        max_loss=p.max_loss,
        looks=p.looks,
    )


def fold_ledger(ledger: Ledger, root: Path, watch: Callable[[AnyEvent], None] | None = None) -> State:
    """The state of a run: its snapshot, if any, and the events since."""
    state = State.load(root / "snapshot.npz") or State()
    store = Store(root)
    for entry in ledger.read(state.seq):
        state.apply(entry.event, store, entry.seq)
        if watch is not None:
            watch(entry.event)
    return state
