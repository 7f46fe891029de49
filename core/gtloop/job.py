"""A run with its plugins: what the steps of the loop work on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtloop.accounts import budget_of
from gtloop.compatibility import check_fit, check_people
from gtloop.errors import ConfigError, RunError, blame
from gtloop.events import AnyEvent, FileRef
from gtloop.facts import Facts
from gtloop.interfaces import (
    KINDS,
    Annotator,
    Context,
    Detector,
    Executor,
    Progress,
    Quote,
    Rows,
    Sample,
    Sampler,
    Score,
    Task,
    quiet,
)
from gtloop.items import Items
from gtloop.keyed import random_keys
from gtloop.known import LabelFiles, tell_lacking
from gtloop.ledger import Ledger
from gtloop.observing import Observers
from gtloop.promise import Promise
from gtloop.records import Item, Payload
from gtloop.settings import Settings
from gtloop.sizes import Plan
from gtloop.state import State
from gtloop.store import Store

if TYPE_CHECKING:
    from gtloop.registry import Registry
    from gtloop.serving import Page

MAX_LATE_LOOKS = 3
"""Looks of a promise that is tested late; each costs delta."""
USUAL_CUT = 0.4
"""Least confidence of a predicted object where ``run.cut`` says nothing."""
SNAPSHOT_EVERY = 50
"""Events between two snapshots of the state."""


def known_labels(settings: Settings, registry: Registry, task: Task, facts: Facts | None) -> LabelFiles:
    """The reader of label files about a run; ``facts`` None where it has not started."""
    if facts is None or not facts.typed:
        return LabelFiles(settings, registry, task)
    return LabelFiles(settings, registry, task, tuple(facts.typed["run"]["classes"]), facts.renamed)


class Plugins:
    """The selected plugins of a run, built once; every error of selection comes from here.

    Raises:
        UsageError: Unknown name, missing extra, clash, options or combination; before a cent is spent.
    """

    def __init__(self, settings: Settings, registry: Registry, root: Path, facts: Facts | None = None) -> None:
        self._settings, self._registry, self._root = settings, registry, root
        self._truths: tuple[tuple[int, str], ...] = ()
        r = settings.run
        self._check_tables()
        self.task: Task = self._build("task", r.task, Context(categories=r.classes, seed=r.seed))
        self.known = known_labels(settings, registry, self.task, facts)
        base = Context(categories=r.classes, seed=r.seed, read_labels=self.known.pairs, run=root.name)
        form = self.task.form()
        if not r.classes and any(p.kind in ("choice", "box") and not p.categories for p in form.primitives):
            raise ConfigError(
                f"task {self.task.name!r} has nothing to choose from: name the categories with --classes a,b "
                "(or run.classes in gtloop.toml)"
            )
        if r.instructions:
            form = form.model_copy(update={"instructions": r.instructions})
        if samples := _samples(settings):
            form = form.model_copy(update={"samples": samples})
        base = dataclasses.replace(base, form=form, task=self.task, price_per_answer=settings.prices.answer)
        self._base = base
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
        base = dataclasses.replace(base, uris=lambda: () if self.items is None else self.items.uri)
        self.annotator: Annotator = self._build("annotator", r.annotator, base)
        check_people(self.annotator, settings.people, r.workers)
        self.notes = check_fit(registry, self.task, self.annotator, self.detector, self.sampler, self.score)
        self.items: Items | None = None

    def _check_tables(self) -> None:
        """Refuse option tables of plugins that are not there, and options that their plugin does not have."""
        for kind in KINDS:
            for name, table in getattr(self._settings, f"{kind}s").items():
                if table or kind == "observer":  # an empty table turns one on
                    self._registry.options(kind, name, table, self._settings.origins(kind, name))

    def _build(self, kind: str, name: str, context: Context) -> Any:
        workdir = self._root / kind / name.partition("@")[0]
        given, origins = self._settings.options(kind, name), self._settings.origins(kind, name)
        options = self._registry.options(kind, name, given, origins)
        return self._registry.build(kind, name, options, dataclasses.replace(context, workdir=workdir))

    def observers(self) -> Observers:
        """The observers that are on, made anew for who drives the run; raises as the constructor does."""
        return Observers([self._build("observer", name, self._base) for name in self._settings.observers])

    def quote(self, answers: int | None = None) -> Quote:
        """What the annotator takes for one of ``answers`` (default: ``run.workers``), by the settings of now."""
        with blame("annotator", self.annotator.name, "quote"):
            return self.annotator.quote(self._settings.prices.answer, answers or self._settings.run.workers)

    def bind(self, items: Items, truths: Sequence[tuple[int, str]] = ()) -> None:
        """Say which items the run has, and from which row on other files hold what is known of them."""
        self.items, self._truths = items, tuple(truths)

    @cached_property
    def truth(self) -> Mapping[int, Payload]:
        """The run's known labels by row; only simulated people and evaluation ever see them.

        Raises:
            BadLabels: A file, or one of its labels, can't be used.
        """
        assert self.items is not None
        return self.known.truth(self._settings.run.truth, self._truths, self.items)

    def check_truth(self) -> None:
        """Read the whole truth once, so that a fault in it shows before anything is spent; note what it lacks.

        Raises:
            BadLabels: As ``truth``, or simulated people find nothing in it.
        """
        truth = self.truth
        if "truth" in self.annotator.needs and self.items is not None:
            tell_lacking(self.items, range(len(self.items)), truth)

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
        plugins.bind(self.items, state.facts.truths)
        self.plan = Plan.model_validate(state.facts.plan)
        self.promise = make_promise(settings, plugins.task)
        self.page: Page | None = None  # what serves people beside this process
        self.observers: Observers | None = None  # where this process drives the run

    @property
    def seed(self) -> int:
        return self.settings.run.seed

    @property
    def budget(self) -> int | None:
        return budget_of(self.settings)

    @property
    def cut(self) -> float:
        """Least confidence of a predicted object, until a look chooses one out of fold."""
        return USUAL_CUT if self.settings.run.cut is None else self.settings.run.cut

    def order(self, purpose: str, rows: Rows) -> NDArray[np.float64]:
        """One fixed random key of each of (n,) rows; the same for a seed whatever happened in between."""
        return random_keys(rows, self.seed, purpose)

    def rebuild(self) -> None:
        """Take in changed settings, items or categories."""
        assert self.state.facts.items is not None
        self.settings = Settings.model_validate(self.state.facts.settings)
        self.items = Items.read(self.state.facts.items, self.store)
        self.plan = Plan.model_validate(self.state.facts.plan)
        self.plugins = Plugins(self.settings, self.registry, self.root, self.state.facts)
        self.plugins.bind(self.items, self.state.facts.truths)
        if self.observers is not None:
            self.observers = self.observers.followed_by(self.plugins.observers())

    def human_labels(self, rows: Rows) -> dict[int, Payload]:
        """Row to human label, in the categories of now."""
        return human_labels(self.store, self.state, self.plugins.task, rows)

    def commit(self, events: Sequence[AnyEvent]) -> None:
        """Append events to the ledger, fold them in, tell observers."""
        for entry in self.ledger.append(events):
            self.state.apply(entry.event, self.store, entry.seq)
            self.registry.notify(entry.event, self.state)
            if self.observers is not None:
                self.observers.observe(entry.event, self.state)
            if entry.event.type == "stage-started":
                self.plan = Plan.model_validate(self.state.facts.plan)
            if entry.seq % SNAPSHOT_EVERY == 0:
                self.state.save(self.root / "snapshot.npz")


def _samples(settings: Settings) -> tuple[Sample, ...]:
    """The pictures of the instructions.

    Raises:
        ConfigError: One is not there.
    """
    found = []
    for key, texts in (("good", settings.people.good), ("bad", settings.people.bad)):
        for text in texts:
            path, _, caption = text.partition("|")
            if not Path(path).is_file():
                raise ConfigError(f"people.{key}: there is no picture {path}; name a file, or leave it out")
            found.append(Sample(path=path, caption=caption, good=key == "good"))
    return tuple(found)


def human_labels(store: Store, state: State, task: Task, rows: Rows | None = None) -> dict[int, Payload]:
    """Row to human label (all rows where ``rows`` is None), in the categories of now."""
    return labels_of(store, state, task, state.facts.human_files, rows)


def labels_of(
    store: Store, state: State, task: Task, files: Sequence[FileRef], rows: Rows | None = None
) -> dict[int, Payload]:
    """Row to label of files of labels (all rows where ``rows`` is None), in the categories of now."""
    names = state.facts.renamed
    found = store.payloads(files, rows)
    return {row: task.recategorize(payload, names) if names else payload for row, payload in found}


def make_promise(settings: Settings, task: Task) -> Promise:
    """The promise of a run, with the task's default target.

    Raises:
        ConfigError: Kind ``dataset`` without ``max_loss``, or more looks than are ever taken.
    """
    p = settings.promise
    if settings.loop.certify == "late" and p.looks > MAX_LATE_LOOKS:
        raise ConfigError(f"promise.looks: at most {MAX_LATE_LOOKS} with loop.certify = 'late' (got {p.looks})")
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
        slices=p.slices,
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
