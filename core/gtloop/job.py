"""A run with its plugins: what the steps of the loop work on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtloop import config, labelfiles
from gtloop.compatibility import check_fit
from gtloop.config import Settings
from gtloop.errors import BadAnswer, BadLabels, ConfigError, GtloopError, RunError
from gtloop.events import AnyEvent, SettingsChanged
from gtloop.interfaces import (
    KINDS,
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

MAX_LATE_LOOKS = 3
"""Looks of a promise that is tested late; each costs delta."""
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
        self._check_tables()
        self.task: Task = self._build("task", r.task, base)
        form = self.task.form()
        if not r.classes and any(p.kind in ("choice", "box") and not p.categories for p in form.primitives):
            raise ConfigError(
                f"task {self.task.name!r} has nothing to choose from: name the categories with --classes a,b "
                "(or run.classes in gtloop.toml)"
            )
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

    def _check_tables(self) -> None:
        """Refuse option tables of plugins that are not there, and options that their plugin does not have."""
        for kind in KINDS:
            for name, table in getattr(self._settings, f"{kind}s").items():
                if table:
                    self._registry.options(kind, name, table)

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
            BadLabels: The file, or one of its labels, can't be used.
        """
        from gtloop.interfaces import Entry

        entries = (Entry(n, p, {}) for n, p in self._read_labels(path))
        matched = labelfiles.match_names(entries, list(items.name), allow_missing=allow_missing)
        found = {row: self._parsed(payload, items[row], path) for row, payload in matched.items()}
        for row in list(found):  # the file may name a copy of the image that is labelled
            found.setdefault(int(items.alias_of[row]), found[row])
        found.pop(-1, None)
        return found

    def _parsed(self, payload: Payload, item: Item, path: Path) -> Payload:
        try:
            return self.task.parse(payload, item)
        except BadAnswer as e:
            raise BadLabels(f"{path}: {item.name}: {e}") from None

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

    def read_letters(self) -> None:
        """Take in what ``Run.change`` posted; what can't be done is reported, and never read again."""
        for letter in self.ledger.letters(self.state.facts.letter, "settings"):
            changes: dict[str, Any] = {}
            try:
                new = config.changed(self.settings, _asked(letter.body))
                changes = config.changes(self.settings, new)
                check_affordable(self.state, self.settings, new)
                plugins = Plugins(new, self.registry, self.root)
            except GtloopError as e:
                self.progress("refused change", 0, None, str(e))
                changes = {}
            self.commit([SettingsChanged(iteration=self.state.iteration, changes=changes, letter=letter.number)])
            if changes:
                self.settings, self.plugins = new, plugins
                plugins.items = self.items

    def commit(self, events: Sequence[AnyEvent]) -> None:
        """Append events to the ledger, fold them in, tell observers."""
        for entry in self.ledger.append(events):
            self.state.apply(entry.event, self.store, entry.seq)
            self.registry.notify(entry.event, self.state)
            if entry.seq % SNAPSHOT_EVERY == 0:
                self.state.save(self.root / "snapshot.npz")


def _asked(body: str) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError("the letter is no JSON object of settings by dotted key")
    return found


def check_affordable(state: State, old: Settings, new: Settings) -> None:
    """Refuse a budget or prices that can't keep what is promised to people already.

    Raises:
        ConfigError: With the least budget that would do.
    """
    from gtloop.money import micro, show

    usd, bill = new.run.budget_usd, state.facts.bill
    if usd is None or (usd == old.run.budget_usd and new.prices == old.prices):
        return
    reserved = bill.reserved
    if new.prices != old.prices:
        reserved = sum(
            max(0, r.want - r.got) * new.prices.answer + new.prices.item_fee for r in state.facts.open.values()
        )
    if bill.total + reserved > micro(usd):
        raise ConfigError(
            f"run.budget_usd: {show(bill.total)} is paid and {show(reserved)} promised to people, "
            f"so {show(micro(usd))} is too little; give {show(bill.total + reserved)} or more"
        )


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
