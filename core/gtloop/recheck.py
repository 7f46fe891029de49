"""A look again: as it was, to check a certificate, or under other settings, to see what they would have done.

Nothing here changes a run. A look is found in the ledger, the state is folded up to it, and the evidence comes from
the file that its certificates name, after its hash was checked.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop import config
from gtloop.bounds import TEST
from gtloop.errors import RunError
from gtloop.events import FileRef, Looked
from gtloop.gathering import gather, quality_of
from gtloop.interfaces import Rows
from gtloop.job import Job, Plugins, make_promise
from gtloop.opened import Run
from gtloop.promise import Evidence, Promise, SliceResult, certify
from gtloop.records import Certificate
from gtloop.settings import Settings
from gtloop.state import HUMAN, State
from gtloop.store import Table

if TYPE_CHECKING:
    from gtloop.registry import Registry

COLUMNS = ("score", "quality", "order", "slice", "exact")
"""Of an evidence file, those that the test reads."""
CLOSE = 1e-6
"""Relative difference up to which two figures are the same: another machine may round otherwise."""


class PastLook(NamedTuple):
    """A look with the state just before it; ``total``: items that a promise about all of them counts."""

    event: Looked
    before: State
    total: int

    def delta(self, promise: Promise) -> float:
        """Error probability that the look had."""
        return promise.delta_of(self.event.look - self.before.facts.stage.looks)


class Rechecked(NamedTuple):
    """A certificate and the test done again; ``differs`` names what is not the same, empty where nothing is.

    ``again`` is None where this version of gtloop has another test than the one that the certificate was made by.
    """

    certificate: Certificate
    again: SliceResult | None
    differs: tuple[str, ...] = ()


def past_looks(run: Run) -> Iterator[PastLook]:
    """Every look of a run, oldest first."""
    state = State()
    for entry in run.events():
        if isinstance(entry.event, Looked):
            total = state.promised_items()
            kept = State()  # what follows changes ``state``
            kept.columns = {name: column.copy() for name, column in state.columns.items()}
            kept.facts, kept.seq = state.facts.model_copy(deep=True), state.seq
            yield PastLook(entry.event, kept, total)
        state.apply(entry.event, run.store, entry.seq)


def evidence_table(run: Run, certificate: Certificate) -> Table:
    """What a look saw, one entry a row.

    Raises:
        RunError: The file is gone, or is not what the certificate was made from.
    """
    return run.store.read(FileRef(path=certificate.evidence, rows=0, sha256=certificate.sha256))


def evidence_of(table: Table, uniform: float) -> Evidence:
    """The columns of an evidence file that the test reads, with the number that its certificates name."""
    score, quality, order, names, exact = (np.asarray(table[name]) for name in COLUMNS)
    return Evidence(score, quality, order, names, exact, uniform)


def recheck(run: Run, promise: Promise) -> Iterator[tuple[PastLook, list[Rechecked]]]:
    """Do every test of a run again from its evidence file; looks that tested nothing have no certificates."""
    for past in past_looks(run):
        if past.event.certificates:
            yield past, recheck_look(run, past, promise)


def recheck_look(run: Run, past: PastLook, promise: Promise) -> list[Rechecked]:
    """Do the tests of a look again, and compare.

    Raises:
        RunError: The file is gone or was changed.
    """
    first = past.event.certificates[0]
    table = evidence_table(run, first)
    if first.test != TEST:
        return [Rechecked(c, None) for c in past.event.certificates]
    results, accepted = certify(evidence_of(table, first.uniform), promise, past.delta(promise), past.total)
    found = {r.slice: r for r in results}
    rows = () if np.array_equal(accepted, np.asarray(table["accepted"], bool)) else ("accepted rows",)
    checked = []
    for certificate in past.event.certificates:
        again = found.get(certificate.slice)
        differs = ("slices",) if again is None else _differences(certificate, again)
        checked.append(Rechecked(certificate, again, differs or rows))
    return checked


def _differences(certificate: Certificate, again: SliceResult) -> tuple[str, ...]:
    names = ("p", "n", "pool", "s0", "bound", "coverage")
    return tuple(name for name in names if not _same(getattr(certificate, name), getattr(again, name)))


def _same(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=CLOSE, abs_tol=1e-12)


def _led(run: Run) -> Rows:
    """Rows whose label of people measures nothing: a model had a part in it, or fewer answered than validation has."""
    fewer = run.settings.people.first_answers is not None
    led: dict[int, bool] = {}
    for ref in run.state.facts.human_files:
        t = run.store.read(ref)
        for i, row in enumerate(t["row"]):
            shown = ("source" in t and t["source"][i] == "adjusted") or ("voted" in t and bool(t["voted"][i]))
            led[int(row)] = shown or (fewer and int(t["workers"][i]) < run.settings.run.workers)
    return np.array([row for row, it_is in led.items() if it_is], np.int32)


class Look:
    """A past look as a job of its own, to be taken again under other settings; it writes nothing.

    Args:
        run: Whose look it is.
        past: The look.
        registry: The installed plugins.
        values: Settings by dotted key, frozen ones too.
    """

    def __init__(self, run: Run, past: PastLook, registry: Registry, values: Mapping[str, Any]) -> None:
        then = Settings.model_validate(past.before.facts.settings)
        self.settings = config.replaced(then, values)
        self.past, self.now = past, run.state
        self.job = self._as_job(run, past.before, registry)
        self._after = self._as_job(run, run.state, registry)
        self.promise = make_promise(self.settings, self.job.plugins.task)
        model = past.before.facts.model
        if model is None or model.predicted is None:
            raise RunError(f"look {past.event.look} had no model: {past.event.why}")
        self.predicted: str = model.predicted
        self._led = _led(run)
        self.gathered = gather(self.job, model, past.event.look)

    def _as_job(self, run: Run, state: State, registry: Registry) -> Job:
        plugins = Plugins(self.settings, registry, run.root, state.facts)
        return Job(run.root, run._ledger, state, self.settings, registry, plugins)

    @property
    def delta(self) -> float:
        """Error probability of this look under these settings; the last share where they allow fewer looks."""
        return self.past.delta(self.promise)

    def certify(self, quality: NDArray[np.float64] | None = None, uniform: float | None = None) -> NDArray[np.bool_]:
        """(m,) rows that would be accepted.

        Args:
            quality: (m,) in place of what the look saw: who validates, and how.
            uniform: In place of the look's number; each draw needs one of its own.
        """
        evidence = self.gathered.evidence
        if quality is not None:
            evidence = dataclasses.replace(evidence, quality=quality)
        if uniform is not None:
            evidence = dataclasses.replace(evidence, uniform=uniform)
        return certify(evidence, self.promise, self.delta, self.past.total)[1]

    def human_quality(self, rows: Rows) -> NDArray[np.float64]:
        """(n,) quality of the model's labels against people's labels of now; NaN where people have given none."""
        found = np.full(len(rows), np.nan)
        known = (self.now.status[rows] == HUMAN) & ~np.isin(rows, self._led)
        found[known] = quality_of(self._after, self.predicted, rows[known], self.gathered.calibration.cut)
        return found
