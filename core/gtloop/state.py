"""The state of a run: a fold of its events into numpy columns and small maps.

Nothing else is remembered: which step is next follows from here, so that a crash or a twelve-hour
wait for people needs no saved program counter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from gtloop.events import AnyEvent
from gtloop.facts import Facts
from gtloop.files import replacing_atomically
from gtloop.money import Prices, Rates
from gtloop.store import Store

# status of a row
POOL, ASKED, HUMAN, MACHINE, QUARANTINED, UNLABELABLE, ALIAS, RELABEL, LATER = range(9)
STATUS = ("pool", "asked", "human", "machine", "quarantined", "unlabelable", "alias", "relabel", "later")
# role of a row that people label
NONE, TRAIN, VALIDATION = range(3)

ASIDE = ("ahead", "review", "audit")
"""Phases of batches that nothing waits for."""

COLUMNS: dict[str, type] = {
    "status": np.int8,
    "role": np.int8,
    "random": np.bool_,  # drawn at random, not by a sampler: may serve in a cross-fit
    "iteration": np.int16,
    "attempts": np.int8,
    "attempts_before": np.int8,  # those before a person wanted it labelled again
    "objects": np.int16,
    "tests": np.int16,  # how often it was asked to test people
    "audited": np.bool_,  # was asked in an audit
}


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

    def unsubmitted(self) -> list[Facts.Open]:
        """Requests that are committed, and that the annotator does not have yet."""
        return [r for r in self.facts.open.values() if not self.facts.batches[r.batch].submitted]

    @property
    def turns(self) -> int:
        """Batches whose labels a new model waits for: all but those that only keep people busy, or look again."""
        return sum(b.phase not in ASIDE for b in self.facts.batches.values())

    @property
    def stage_batches(self) -> dict[int, Facts.Batch]:
        """Batches of the stage that is under way, by number."""
        return {n: b for n, b in self.facts.batches.items() if n > self.facts.stage.batches}

    @property
    def stage_looks(self) -> int:
        """Looks of the stage that is under way."""
        return self.facts.looks - self.facts.stage.looks

    def promised_items(self) -> int:
        """Items that a promise about all of them counts at a look: in later stages only what is new to them.

        Those of earlier stages had an allowance of their own.
        """
        if self.facts.stage.number == 1:
            return len(self.status) - self.count(ALIAS) - self.count(QUARANTINED)
        asked = (self.status == HUMAN) | (self.status == UNLABELABLE)
        mine = asked & (self.columns["iteration"] > self.facts.stage.batches) & (self.columns["attempts"] > 0)
        return int(np.isin(self.status, (POOL, ASKED)).sum()) + int(mine.sum())

    def imported(self) -> int:
        """Items whose human label was there before the run and cost nothing."""
        return int(((self.status == HUMAN) & (self.columns["attempts"] == 0)).sum())

    def unproven(self) -> int:
        """Machine labels of another service, which came without evidence of their quality."""
        early = self.columns["iteration"] <= self.facts.unproven
        return int(((self.status == MACHINE) & early).sum()) if self.facts.unproven else 0

    @property
    def prices(self) -> Prices:
        """The run's own prices of now."""
        return Prices.model_validate(self.facts.settings["prices"])

    @property
    def rates(self) -> Rates:
        """What labels cost now, at most."""
        rates, quote = self.prices.rates(self.facts.bill.items), self.facts.quote
        return rates if quote is None else rates.quoted(quote)

    # ----------------------------------------------------------------------- fold

    def apply(self, event: AnyEvent, store: Store, seq: int = 0) -> None:
        """Fold one event in; reads the files that it names."""
        from gtloop.fold import fold

        fold(self, event, store)
        self.seq = seq or self.seq + 1

    # ------------------------------------------------------------------- snapshot

    def save(self, path: Path) -> None:
        """Write a snapshot, so that the next start need not fold from the beginning."""
        columns: dict[str, Any] = self.columns
        facts = np.frombuffer(self.facts.model_dump_json().encode(), np.uint8)
        with replacing_atomically(path) as file:
            np.savez(file, facts=facts, seq=self.seq, **columns)

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
