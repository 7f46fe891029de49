"""The state of a run: a fold of its events into numpy columns and small maps.

Nothing else is remembered: which step is next follows from here, so that a crash or a twelve-hour
wait for people needs no saved program counter.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from gtloop import events as ev
from gtloop.events import AnyEvent, FileRef
from gtloop.money import Bill, Prices
from gtloop.records import Certificate
from gtloop.store import Store, write_atomic

# status of a row
POOL, ASKED, HUMAN, MACHINE, QUARANTINED, UNLABELABLE, ALIAS = range(7)
STATUS = ("pool", "asked", "human", "machine", "quarantined", "unlabelable", "alias")
# role of a row that people label
NONE, TRAIN, VALIDATION = range(3)

MAX_ATTEMPTS = 3
"""How often an item is asked before it counts as unlabelable."""

COLUMNS: dict[str, type] = {
    "status": np.int8,
    "role": np.int8,
    "random": np.bool_,  # drawn at random, not by a sampler: may serve in a cross-fit
    "iteration": np.int16,
    "attempts": np.int8,
    "objects": np.int16,
}


class Facts(BaseModel):
    """What a run knows besides its columns; all of it small."""

    model_config = ConfigDict(extra="forbid")

    class Open(BaseModel):
        """A request that may still bring answers."""

        row: int
        batch: int
        want: int
        got: int = 0
        reserved: int

    class Batch(BaseModel):
        phase: ev.Phase
        requests: FileRef
        answers_from: int
        count: int
        validation: bool
        submitted: bool = False

    class Model(BaseModel):
        name: str
        batch: int
        path: str | None
        examples: int
        fold: int | None = None
        predicted: str | None = None
        fault: str = ""

    class Round(BaseModel):
        """One iteration, for status and report."""

        human: int = 0
        machine: int = 0
        threshold: float | None = None
        certified: float | None = None
        coverage: float | None = None
        cost: int = 0
        seconds: dict[str, float] = Field(default_factory=dict)
        objects_human: int = 0
        objects_machine: int = 0

    settings: dict[str, Any] = Field(default_factory=dict)
    typed: dict[str, Any] = Field(default_factory=dict)  # settings without what letters changed
    plan: dict[str, Any] = Field(default_factory=dict)
    items: FileRef | None = None
    bill: Bill = Field(default_factory=Bill)
    rounds: dict[int, Round] = Field(default_factory=dict)
    batches: dict[int, Batch] = Field(default_factory=dict)
    open: dict[str, Open] = Field(default_factory=dict)
    ripe: dict[str, int] = Field(default_factory=dict)
    answer_files: list[FileRef] = Field(default_factory=list)
    cursor: str = ""
    collections: int = 0
    annotations: int = 0
    consolidations: int = 0
    human_files: list[FileRef] = Field(default_factory=list)
    machine_files: list[FileRef] = Field(default_factory=list)
    reasons: list[FileRef] = Field(default_factory=list)
    skills: FileRef | None = None
    model: Model | None = None
    folds: dict[int, Model] = Field(default_factory=dict)
    looks: int = 0
    looked_at: str | None = None
    certificates: list[Certificate] = Field(default_factory=list)
    why: str = ""
    delta_spent: float = 0.0
    broke: bool = False
    confirmed: bool = False
    paused: str = ""
    finished: bool = False
    letter: int = 0


class State:
    """Columns (one entry a row) and facts; ``apply`` folds one event in."""

    def __init__(self) -> None:
        self.columns: dict[str, NDArray[Any]] = {n: np.zeros(0, t) for n, t in COLUMNS.items()}
        self.facts = Facts()
        self.seq = 0

    # ------------------------------------------------------------------ questions

    @property
    def status(self) -> NDArray[np.int8]:
        return self.columns["status"]

    @property
    def role(self) -> NDArray[np.int8]:
        return self.columns["role"]

    def rows(self, status: int, role: int | None = None) -> NDArray[np.int32]:
        """Rows of a status (and role), sorted."""
        mask = self.status == status
        if role is not None:
            mask &= self.role == role
        return np.flatnonzero(mask).astype(np.int32)

    def validation_rows(self) -> NDArray[np.int32]:
        """Blind random rows that people have settled: labelled, or without a label (quality 0)."""
        settled = (self.status == HUMAN) | (self.status == UNLABELABLE)
        return np.flatnonzero(settled & (self.role == VALIDATION)).astype(np.int32)

    def count(self, status: int) -> int:
        return int((self.status == status).sum())

    @property
    def iteration(self) -> int:
        """Number of the iteration that is under way: batches committed, plus one."""
        return len(self.facts.batches) + 1

    @property
    def prices(self) -> Prices:
        return Prices.model_validate(self.facts.settings["prices"])

    # ----------------------------------------------------------------------- fold

    def apply(self, event: AnyEvent, store: Store, seq: int = 0) -> None:
        """Fold one event in; reads the files that it names."""
        _APPLY[event.type](self, event, store)
        self.seq = seq or self.seq + 1

    def _round(self, event: ev.Event) -> Facts.Round:
        return self.facts.rounds.setdefault(event.iteration, Facts.Round())

    def _started(self, e: ev.RunStarted, store: Store) -> None:
        n = e.items.rows
        self.columns = {name: np.zeros(n, t) for name, t in COLUMNS.items()}
        alias = np.asarray(store.read(e.items, ["alias_of"])["alias_of"])
        self.status[alias >= 0] = ALIAS
        f = self.facts
        f.settings, f.typed, f.plan, f.items = e.settings, copy.deepcopy(e.settings), e.plan, e.items

    def _changed(self, e: ev.SettingsChanged, store: Store) -> None:
        f = self.facts
        for settings in (f.settings,) if e.letter else (f.settings, f.typed):
            for key, value in e.changes.items():
                *path, last = key.split(".")
                table = settings
                for part in path:
                    table = table.setdefault(part, {})
                table[last] = value
        if e.changes:
            f.broke, f.paused = False, ""
        f.letter = max(f.letter, e.letter)
        if any(key.startswith("prices.") for key in e.changes):
            self._reprice()

    def _reprice(self) -> None:
        """Reserve for open requests what the prices of now make them cost at most."""
        f, prices = self.facts, self.prices
        for request in f.open.values():
            reserved = max(0, request.want - request.got) * prices.answer + prices.item_fee
            f.bill.reserved += reserved - request.reserved
            request.reserved = reserved

    def _quarantined(self, e: ev.ItemsQuarantined, store: Store) -> None:
        rows = np.asarray(store.read(e.file, ["row"])["row"])
        self.status[rows[self.status[rows] == POOL]] = QUARANTINED  # what people have labelled stays labelled
        self.facts.reasons.append(e.file)

    def _committed(self, e: ev.BatchCommitted, store: Store) -> None:
        t = store.read(e.requests)
        f = self.facts
        rows = np.asarray(t["row"], np.int32)
        blind = np.array([p != "train" for p in t["purpose"]])
        self.status[rows] = ASKED
        self.role[rows] = np.where(blind, VALIDATION, TRAIN)
        self.columns["random"][rows] = blind | (e.phase == "train")
        self.columns["iteration"][rows] = e.iteration
        self.columns["attempts"][rows] += 1
        for rid, row, want, price in zip(t["request"], rows, t["answers"], t["max_price"], strict=True):
            f.open[rid] = Facts.Open(row=int(row), batch=e.batch, want=int(want), reserved=int(price))
        f.bill.reserved += e.reserved
        f.batches[e.batch] = Facts.Batch(
            phase=e.phase,
            requests=e.requests,
            answers_from=len(f.answer_files),
            count=len(rows),
            validation=bool(blind.all()),
        )
        if e.moved is not None:
            self._to_training(store.read(e.moved, ["row"])["row"])
        self._round(e)

    def _to_training(self, rows: Any) -> None:
        self.role[rows] = TRAIN
        self.columns["random"][rows] = False

    def _submitted(self, e: ev.BatchSubmitted, store: Store) -> None:
        self.facts.batches[e.batch].submitted = True

    def _collected(self, e: ev.AnswersCollected, store: Store) -> None:
        f = self.facts
        f.cursor, f.collections = e.cursor, e.number
        if e.answers is not None:
            f.answer_files.append(e.answers)
            t = store.read(e.answers, ["request", "outcome", "price"])
            for rid, outcome, price in zip(t["request"], t["outcome"], t["price"], strict=True):
                f.bill.human += int(price)
                self._round(e).cost += int(price)
                f.annotations += outcome != "declined"
                if rid in f.open:
                    f.open[rid].got += outcome != "declined"
                    f.open[rid].reserved -= int(price)
                    f.bill.reserved -= int(price)
        if e.closed is not None:
            for rid in store.read(e.closed, ["request"])["request"]:
                self._close(rid, e)

    def _close(self, rid: str, e: ev.Event) -> None:
        """Release what is left of a reservation; a request that brought nothing is asked again."""
        f = self.facts
        request = f.open.pop(rid, None)
        if request is None:
            return
        f.bill.reserved -= request.reserved
        if request.got:
            fee = self.prices.item_fee
            f.bill.fees += fee
            self._round(e).cost += fee
            f.ripe[rid] = request.row
        elif self.columns["attempts"][request.row] < MAX_ATTEMPTS and self.role[request.row] != VALIDATION:
            self.status[request.row], self.role[request.row] = POOL, NONE
        else:
            self.status[request.row] = UNLABELABLE

    def _consolidated(self, e: ev.LabelsConsolidated, store: Store) -> None:
        f = self.facts
        t = store.read(e.labels, ["row", "request", "labelled", "objects"])
        rows = np.asarray(t["row"], np.int32)
        labelled = np.asarray(t["labelled"], bool)
        self.status[rows] = np.where(labelled, HUMAN, UNLABELABLE)
        self.columns["objects"][rows] = np.asarray(t["objects"])
        for rid in t["request"]:
            f.ripe.pop(rid, None)
        f.human_files.append(e.labels)
        f.consolidations = e.number
        f.skills = e.skills or f.skills
        for i in np.unique(self.columns["iteration"][rows]):
            of = rows[labelled & (self.columns["iteration"][rows] == i)]
            r = f.rounds.setdefault(int(i), Facts.Round())
            r.human += len(of)
            r.objects_human += int(self.columns["objects"][of].sum())

    def _fitted(self, e: ev.ModelFitted, store: Store) -> None:
        m = Facts.Model(name=e.model, batch=e.batch, path=e.path, examples=e.examples, fold=e.fold, fault=e.fault)
        if e.fold is None:
            self.facts.model, self.facts.folds = m, {}
        else:
            self.facts.folds[e.fold] = m
        self._spent(e, "fit" if e.fold is None else "cross_fit", e.seconds)

    def _predicted(self, e: ev.ItemsPredicted, store: Store) -> None:
        f = self.facts
        for m in (f.model, *f.folds.values()):
            if m is not None and m.name == e.model:
                m.predicted = e.path
                self._spent(e, "predict" if m.fold is None else "cross_fit", e.seconds)

    def _spent(self, e: ev.Event, step: str, seconds: float) -> None:
        s = self._round(e).seconds
        s[step] = round(s.get(step, 0.0) + seconds, 3)

    def _looked(self, e: ev.Looked, store: Store) -> None:
        f, r = self.facts, self._round(e)
        f.looks, f.looked_at, f.why = e.look, e.model, e.why
        f.delta_spent += e.delta
        f.certificates.extend(e.certificates)
        self._spent(e, "certify", e.seconds)
        if e.retired is not None:
            self._to_training(store.read(e.retired, ["row"])["row"])
        if e.labels is None:
            r.coverage = 0.0
            return
        t = store.read(e.labels, ["row", "objects"])
        rows = np.asarray(t["row"], np.int32)
        r.coverage = len(rows) / max(1, self.count(POOL))
        self.status[rows] = MACHINE
        self.columns["iteration"][rows] = e.iteration
        self.columns["objects"][rows] = np.asarray(t["objects"])
        f.machine_files.append(e.labels)
        fee = self.prices.machine_fee * len(rows)
        f.bill.machine += fee
        passed = [c for c in e.certificates if c.threshold is not None]
        r.machine += len(rows)
        r.objects_machine += int(self.columns["objects"][rows].sum())
        r.cost += fee
        r.threshold = min((c.threshold for c in passed if c.threshold is not None), default=None)
        r.certified = min((c.bound for c in passed if c.bound is not None), default=None)

    def _broke(self, e: ev.BudgetReached, store: Store) -> None:
        self.facts.broke = True

    def _paused(self, e: ev.RunPaused, store: Store) -> None:
        self.facts.paused = e.reason

    def _confirmed(self, e: ev.Confirmed, store: Store) -> None:
        self.facts.confirmed, self.facts.paused = True, ""

    def _finished(self, e: ev.RunFinished, store: Store) -> None:
        self.facts.finished = True

    # ------------------------------------------------------------------- snapshot

    def save(self, path: Path) -> None:
        """Write a snapshot, so that the next start need not fold from the beginning."""
        out = io.BytesIO()
        columns: dict[str, Any] = self.columns
        np.savez(out, facts=np.frombuffer(self.facts.model_dump_json().encode(), np.uint8), seq=self.seq, **columns)
        write_atomic(path, out.getvalue())

    @classmethod
    def load(cls, path: Path) -> State | None:
        """Read a snapshot; None where there is none that fits."""
        state = cls()
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as z:
                state.columns = {n: z[n] for n in COLUMNS}
                state.facts = Facts.model_validate_json(z["facts"].tobytes())
                state.seq = int(z["seq"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None
        return state


_APPLY: dict[str, Callable[[State, Any, Store], None]] = {
    "run-started": State._started,
    "settings-changed": State._changed,
    "items-quarantined": State._quarantined,
    "batch-committed": State._committed,
    "batch-submitted": State._submitted,
    "answers-collected": State._collected,
    "labels-consolidated": State._consolidated,
    "model-fitted": State._fitted,
    "items-predicted": State._predicted,
    "looked": State._looked,
    "budget-reached": State._broke,
    "run-paused": State._paused,
    "confirmed": State._confirmed,
    "run-finished": State._finished,
}
