"""A run on disk: start it, resume it, read it.

``start`` and ``Run.drive`` are what the command line does; ``gtloop.open`` gives a ``Run`` to read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

import gtloop
from gtloop import config
from gtloop.config import Settings
from gtloop.errors import ConfigError, RunError
from gtloop.events import Confirmed, RunStarted, SettingsChanged
from gtloop.interfaces import ExportRow, Frame, Progress, Task, quiet
from gtloop.items import Items, check_probe, list_items
from gtloop.job import Job, Plugins, check_affordable, fold_ledger, make_promise
from gtloop.ledger import Entry, Ledger, Lock
from gtloop.loop import Outcome, drive
from gtloop.records import Label, Payload
from gtloop.sizes import make_plan
from gtloop.state import ASKED, POOL, QUARANTINED, STATUS, UNLABELABLE, State
from gtloop.status import status
from gtloop.store import Store, write_atomic

if TYPE_CHECKING:
    from gtloop.registry import Registry

LEDGER = "ledger.sqlite"


def default_folder(source: str, task: str) -> Path:
    """``runs/<source path>-<task>``: the same source and task mean the same run."""
    path = Path(source)
    parts = [p for p in path.resolve().parts[-2:] if p not in ("/", "")] if "://" not in source else [source]
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts)).strip("-.") or "images"
    return Path("runs") / f"{slug}-{task.partition('@')[0]}"


def run_or_resume(
    root: Path, settings: Settings, registry: Registry, *, yes: bool = False, progress: Progress = quiet
) -> tuple[Outcome, dict[str, Any]]:
    """Start a run, or go on with it, until it is finished, paused or waiting.

    Returns:
        How it ended, and its status; a run that waits for people adds ``where`` they find the work.

    Raises:
        GtloopError: One line that says what to do.
    """
    root = root.resolve()
    if root.exists() and not root.is_dir():
        raise RunError(f"{root} is a file; name a folder for the run with --run")
    fresh = not (root / LEDGER).exists()
    if fresh and root.exists() and any(p for p in root.iterdir() if p.name not in _STARTING):
        raise RunError(f"{root} is not empty and holds no run; choose another folder with --run")
    plugins = Plugins(settings, registry, root)  # every usage error comes before anything is written
    make_promise(settings, plugins.task)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise RunError(f"cannot make the run folder {root}: {e.strerror}; name another with --run") from None
    with Lock(root):
        ledger = Ledger.open(root / LEDGER, create=True)
        try:
            state = fold_ledger(ledger, root)
            if state.facts.items is None:
                _start(root, ledger, state, settings, plugins, progress)
            else:
                _resume(ledger, state, settings, Store(root))
                effective = Settings.model_validate(state.facts.settings)
                if effective != settings:  # a letter changed something that the command does not say
                    settings, plugins = effective, Plugins(effective, registry, root)
            job = Job(root, ledger, state, settings, registry, plugins, progress)
            if yes and not state.facts.confirmed:
                job.commit([Confirmed(iteration=state.iteration)])
            outcome = drive(job)
            found = status(str(root), state, job.settings, job.promise)
            if outcome == "waiting":
                found["where"] = job.plugins.annotator.where()
            return outcome, found
        finally:
            ledger.close()


_STARTING = {"driver.lock", "items.parquet", "run.toml", f"{LEDGER}-wal", f"{LEDGER}-shm"}


def _start(root: Path, ledger: Ledger, state: State, settings: Settings, plugins: Plugins, progress: Progress) -> None:
    """List the items, check the truth, and commit the first event."""
    store = Store(root)
    if settings.run.source is None:
        raise ConfigError("no images named: gtloop run IMAGES, or run.source in gtloop.toml")
    ref = list_items(settings.run.source, settings.run.seed, store, progress)
    items = Items.read(ref, store)
    plugins.items = items
    if settings.run.truth is not None:
        plugins.check_truth()
    aliases = int((items.alias_of >= 0).sum())
    plan = make_plan(settings, make_promise(settings, plugins.task), len(items) - aliases, plugins.detector.trainable)
    check_probe(items, settings.run.seed, plan.probe, settings.run.probe_failures)
    write_atomic(root / "run.toml", _run_toml(settings).encode())
    event = RunStarted(
        gtloop=gtloop.__version__,
        settings=settings.model_dump(mode="json"),
        plan=plan.model_dump(mode="json"),
        items=ref,
        aliases=aliases,
    )
    for entry in ledger.append([event]):
        state.apply(entry.event, store, entry.seq)


def _run_toml(settings: Settings) -> str:
    return (
        f"# The settings that this run started with (gtloop {gtloop.__version__}). The ledger holds what changed.\n\n"
        + (config.to_toml(settings))
    )


def _resume(ledger: Ledger, state: State, settings: Settings, store: Store) -> None:
    """Take changed settings in as an event; refuse those that are frozen."""
    old = Settings.model_validate(state.facts.typed)
    if old.run.source != settings.run.source:
        raise RunError(
            f"this run labels {old.run.source}, not {settings.run.source}; name another folder for a new run with --run"
        )
    if settings.run.budget_usd is None:  # a cap is not dropped by leaving its flag out
        settings = settings.model_copy(
            update={"run": settings.run.model_copy(update={"budget_usd": old.run.budget_usd})}
        )
    changed = config.changes(old, settings)
    if changed and not state.facts.finished:  # what is done stays as it was done
        now = Settings.model_validate(state.facts.settings)
        check_affordable(state, now, config.changed(now, changed))
        for entry in ledger.append([SettingsChanged(iteration=state.iteration, changes=changed)]):
            state.apply(entry.event, store, entry.seq)


class Run:
    """A run to read; ``change`` leaves a letter for whoever drives it."""

    def __init__(self, root: Path, state: State, ledger: Ledger) -> None:
        self.root, self.state = root, state
        self._ledger = ledger
        self.store = Store(root)
        if state.facts.items is None:
            raise RunError(f"{root} never started; run it again")
        self.settings = Settings.model_validate(state.facts.settings)
        self.items = Items.read(state.facts.items, self.store)

    @classmethod
    def open(cls, root: Path) -> Run:
        """Open a run folder.

        Raises:
            RunError: There is no run, or another version of gtloop made it.
        """
        root = root.resolve()
        ledger = Ledger.open(root / LEDGER)
        return cls(root, fold_ledger(ledger, root), ledger)

    def plugins(self, registry: Registry) -> Plugins:
        """The run's plugins."""
        plugins = Plugins(self.settings, registry, self.root)
        plugins.items = self.items
        return plugins

    def status(self, registry: Registry | None = None) -> dict[str, Any]:
        """What ``gtloop status RUN --json`` prints."""
        return status(str(self.root), self.state, self.settings, make_promise(self.settings, self.task(registry)))

    def task(self, registry: Registry | None = None) -> Task:
        """The run's task plugin."""
        from gtloop.interfaces import Context
        from gtloop.registry import Registry as Loaded

        registry = registry or Loaded.load()
        name = self.settings.run.task
        options = registry.options("task", name, self.settings.options("task", name))
        task: Task = registry.build("task", name, options, Context(categories=self.settings.run.classes))
        return task

    def change(self, **settings: Any) -> None:
        """Ask whoever drives this run, now or next, to change settings: ``change(**{"run.budget_usd": 50})``.

        Raises:
            ConfigError: A key is unknown or frozen, or a value does not fit.
        """
        config.changed(self.settings, settings)
        self._ledger.post("settings", uuid4().hex, json.dumps(settings))

    def events(self) -> Iterator[Entry]:
        """Every event, oldest first."""
        return self._ledger.read()

    def labels(self) -> Iterator[Label]:
        """The label of every row that has one, aliases excepted, in row order."""
        found = {**self._labels("human"), **self._labels("machine")}
        for row in sorted(found):
            yield found[row]

    def _labels(self, source: str) -> dict[int, Label]:
        human = source == "human"
        found: dict[int, Label] = {}
        for ref in self.state.facts.human_files if human else self.state.facts.machine_files:
            t = self.store.read(ref)
            for i, row in enumerate(t["row"]):
                payload = t["payload_json"][i]
                if payload is None:
                    continue
                found[int(row)] = Label(
                    row=int(row),
                    payload=payload,
                    source="human" if human else "machine",
                    confidence=float(t["confidence"][i]),
                    iteration=int(t["iteration"][i]),
                    model=None if human else t["model"][i],
                    threshold=None if human else _number(t["threshold"][i]),
                    bound=None if human else _number(t["bound"][i]),
                    workers=int(t["workers"][i]) if human else 0,
                    consolidation=t["consolidation"][i] if human else None,
                )
        return found

    def reasons(self) -> dict[int, str]:
        """Why rows have no label."""
        found: dict[int, str] = {}
        for ref in self.state.facts.reasons:
            t = self.store.read(ref)
            found.update({int(r): str(why) for r, why in zip(t["row"], t["reason"], strict=True)})
        return found

    def rows(self, task: Task, frame: Frame = "display") -> Iterator[ExportRow]:
        """One row an item, none left out: its label in the frame asked for, or the reason why it has none."""
        labels = {label.row: label for label in self.labels()}
        reasons = self.reasons()
        for row in range(len(self.items)):
            item = self.items[row]
            label = labels.get(row if item.alias_of is None else item.alias_of)
            if label is not None:
                payload: Payload = task.reframe(label.payload, item, "stored") if frame == "stored" else label.payload
                label = label.model_copy(update={"payload": payload, "row": row})
            size = item.display_size if frame == "display" else (item.width, item.height)
            width, height = size if size is not None else (None, None)
            code = int(self.state.status[row])
            original = code if item.alias_of is None else int(self.state.status[item.alias_of])
            first = row if item.alias_of is None else item.alias_of
            reason = "" if label is not None else reasons.get(first, _WHY.get(original, ""))
            yield ExportRow(item, label, width, height, STATUS[code], reason)


_WHY = {
    POOL: "not labelled yet",
    ASKED: "people are at it",
    UNLABELABLE: "people could not label it, or did not answer in time",
    QUARANTINED: "unreadable",
}


def _number(value: Any) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
