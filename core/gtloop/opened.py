"""A run on disk to read, and to leave letters for whoever drives it: what ``gtloop.open`` gives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from gtloop import config
from gtloop.errors import RunError
from gtloop.interfaces import Context, ExportRow, Frame, Task
from gtloop.items import Items
from gtloop.job import Plugins, fold_ledger, make_promise
from gtloop.labelstream import stream_labels
from gtloop.ledger import Entry, Ledger
from gtloop.ledgers import open_ledger
from gtloop.letters import check_renaming, refuse_cancelled
from gtloop.locks import driven
from gtloop.people import fitting, read_answers
from gtloop.records import Answer, Label, Mode, Payload, Purpose
from gtloop.settings import Settings
from gtloop.state import ASKED, LATER, POOL, QUARANTINED, RELABEL, STATUS, UNLABELABLE, State
from gtloop.status import status
from gtloop.store import Store

if TYPE_CHECKING:
    from gtloop.registry import Registry


class Run:
    """A run to read; ``change`` leaves a letter for whoever drives it."""

    def __init__(self, root: Path, state: State, ledger: Ledger) -> None:
        self.root, self.state = root, state
        self._ledger = ledger
        self.store = Store(root)
        if state.facts.items is None:
            raise RunError(f"{root} never started; run it again")
        self.settings = Settings.model_validate(state.facts.settings)

    @classmethod
    def open(cls, root: Path) -> Run:
        """Open a run folder.

        Raises:
            RunError: There is no run, or another version of gtloop made it.
        """
        root = root.resolve()
        ledger = open_ledger(root)
        return cls(root, fold_ledger(ledger, root), ledger)

    @cached_property
    def items(self) -> Items:
        """The items of the run, read when they are first needed.

        Raises:
            RunError: Their file is gone or changed.
        """
        assert self.state.facts.items is not None
        return Items.read(self.state.facts.items, self.store)

    def plugins(self, registry: Registry) -> Plugins:
        """The run's plugins."""
        plugins = Plugins(self.settings, registry, self.root, self.state.facts)
        plugins.bind(self.items, self.state.facts.truths)
        return plugins

    def status(self, registry: Registry | None = None) -> dict[str, Any]:
        """What ``gtloop status RUN --json`` prints."""
        promise = make_promise(self.settings, self.task(registry))
        held = driven(self.root) or self._ledger.claimed()
        return status(str(self.root), self.state, self.settings, promise, driven=held)

    def task(self, registry: Registry | None = None) -> Task:
        """The run's task plugin."""
        from gtloop.registry import Registry as Loaded

        registry = registry or Loaded.load()
        name = self.settings.run.task
        options = registry.options("task", name, self.settings.options("task", name))
        task: Task = registry.build("task", name, options, Context(categories=self.settings.run.classes))
        return task

    def change(self, **settings: Any) -> int:
        """Ask whoever drives this run, now or next, to change settings: ``change(**{"run.budget_usd": 50})``.

        Returns:
            The letter's number.

        Raises:
            ConfigError: A key is unknown or frozen, or a value does not fit.
        """
        config.changed(self.settings, settings)
        return self._post("settings", settings)

    def pause(self, why: str = "") -> int:
        """Ask the driver to stop until the run is run again."""
        return self._post("pause", {"why": why})

    def cancel(self, why: str = "") -> int:
        """Ask the driver to withdraw what people have not answered, and to end the run."""
        return self._post("cancel", {"why": why})

    def relabel(self, rows: Sequence[int], why: str = "") -> int:
        """Ask for new human labels of rows; their labels of now are withdrawn, and kept in the ledger."""
        refuse_cancelled(self.state)
        return self._post("relabel", {"rows": [int(r) for r in rows], "why": why})

    def review(
        self,
        rows: Sequence[int],
        mode: Mode = "verify",
        *,
        blind: float = 0.2,
        answers: int = 1,
        others: bool = False,
        why: str = "",
    ) -> int:
        """Ask people to look at the labels of rows: ``verify`` (right or wrong) or ``adjust`` (correct them).

        Args:
            rows: Items with a label.
            mode: What people are shown.
            blind: Share that is drawn from nothing instead, to measure what seeing a label does to people.
            answers: People who look at each.
            others: Leave out whoever made a label.
            why: Kept in the ledger.
        """
        refuse_cancelled(self.state)
        wish = {"rows": [int(r) for r in rows], "mode": mode, "blind": blind, "answers": answers, "others": others}
        return self._post("review", {**wish, "why": why})

    def audit(self, n: int, why: str = "") -> int:
        """Ask for the next ``n`` machine labels of their random order to be checked, blind, by people."""
        refuse_cancelled(self.state)
        return self._post("audit", {"n": n, "why": why})

    def add(self, source: str, truth: str | None = None) -> int:
        """Ask to add the images of another source; ``truth`` for synthetic annotators."""
        refuse_cancelled(self.state)
        return self._post("add", {"source": source, "truth": truth})

    def import_labels(self, source: str) -> int:
        """Ask to take in human labels from ``PATH`` or ``FORMAT:PATH``."""
        refuse_cancelled(self.state)
        return self._post("import", {"source": source})

    def rename_categories(self, names: Mapping[str, str]) -> int:
        """Ask to rename categories; two that get one name are merged.

        Raises:
            ConfigError: A category is unknown, or a name meant something else before.
        """
        check_renaming(self.state, self.settings, dict(names))
        return self._post("categories", {"names": dict(names)})

    def _post(self, kind: str, body: dict[str, Any]) -> int:
        return self._ledger.post(kind, uuid4().hex, json.dumps(body))

    def events(self) -> Iterator[Entry]:
        """Every event, oldest first."""
        return self._ledger.read()

    def labels(self, task: Task | None = None) -> Iterator[Label]:
        """The label of every row that has one, aliases excepted, in row order; categories by their names of now."""
        names = self.state.facts.renamed
        task = task or (self.task() if names else None)
        for label in stream_labels(self.store, self.state):
            if names and task is not None:
                label = label.model_copy(update={"payload": task.recategorize(label.payload, names)})
            yield label

    def answers(self, task: Task | None = None, *, shown: bool = True) -> Iterator[tuple[int, Purpose, list[Answer]]]:
        """What people said so far: row, purpose and answers of each request that has some, in the order of requests.

        With a task, only answers that fit its form, as ``fitting`` returns them; without, all as they were given.
        Declined answers are among them. A row that was labelled again has several requests. ``shown`` False: without
        those of people who saw a label.
        """
        said = read_answers(self.store, self.state.facts.answer_files)
        for batch in self.state.facts.batches.values():
            t = self.store.read(batch.requests, ["request", "row", "purpose", "mode"])
            modes = t.get("mode", ["draw"] * len(t["row"]))
            for request, row, purpose, mode in zip(t["request"], t["row"], t["purpose"], modes, strict=True):
                given = said.pop(request, []) if shown or mode == "draw" else []
                if task is not None:
                    given = fitting(task, self.items[int(row)], given, self.state.facts.renamed)
                if given:
                    yield int(row), purpose, given

    def skills(self) -> dict[str, Any]:
        """The task's statistics of the workers, as of the latest labels of people; empty where it keeps none."""
        ref = self.state.facts.skills
        return {} if ref is None else dict(self.store.read(ref)["skills_json"][0])

    def reasons(self) -> dict[int, str]:
        """Why rows have no label."""
        found: dict[int, str] = {}
        for ref in self.state.facts.reasons:
            t = self.store.read(ref)
            found.update({int(r): str(why) for r, why in zip(t["row"], t["reason"], strict=True)})
        return found

    def rows(self, task: Task, frame: Frame = "display") -> Iterator[ExportRow]:
        """One row an item, none left out: its label in the frame asked for, or the reason why it has none."""
        labels = self.labels(task)
        coming = next(labels, None)
        doubled = set(np.unique(self.items.alias_of).tolist())
        originals: dict[int, Label] = {}  # an alias comes after the image that it is like
        reasons = self.reasons()
        for row, item in enumerate(self.items):
            first = row if item.alias_of is None else item.alias_of
            label = originals.get(first)
            if coming is not None and coming.row == row:
                label, coming = coming, next(labels, None)
                if row in doubled:
                    originals[row] = label
            if label is not None and (frame == "stored" or label.row != row):
                payload: Payload = task.reframe(label.payload, item, "stored") if frame == "stored" else label.payload
                label = label.model_copy(update={"payload": payload, "row": row})
            size = item.display_size if frame == "display" else (item.width, item.height)
            width, height = size if size is not None else (None, None)
            reason = "" if label is not None else reasons.get(first, _why(self.state, int(self.state.status[first])))
            yield ExportRow(item, label, width, height, STATUS[int(self.state.status[row])], reason)


_WHY = {
    POOL: "not labelled yet",
    RELABEL: "to be labelled again",
    LATER: "added; its turn comes after what was there before",
    ASKED: "people are at it",
    UNLABELABLE: "people could not label it, or did not answer in time",
    QUARANTINED: "unreadable",
}


def _why(state: State, status_: int) -> str:
    if state.facts.cancelled and status_ in (POOL, ASKED, RELABEL, LATER):
        return "the run was cancelled"
    return _WHY.get(status_, "")
