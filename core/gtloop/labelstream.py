"""The labels of a run in the order of rows, read from its label files as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.events import FileRef
from gtloop.records import Label
from gtloop.state import HUMAN, MACHINE, State
from gtloop.store import Store, Table

_BOTH = ("row", "payload_json", "confidence", "iteration")
_HUMAN = (*_BOTH, "source", "workers", "consolidation")
_MACHINE = (*_BOTH, "model", "threshold", "bound")


class _File(NamedTuple):
    """A file of labels, and whether its rows come in order, each once."""

    ref: FileRef
    human: bool
    ordered: bool


def stream_labels(store: Store, state: State) -> Iterator[Label]:
    """The latest label of every row that has one, in row order; categories by their names of then.

    In memory: a number for each row of the run, and a piece of each file.
    """
    files, latest = _latest(store, state)
    used = np.bincount(latest + 1, minlength=len(files) + 1)[1:]
    streams = [
        _labels_of(store, f, np.flatnonzero(latest == k).astype(np.int32)) for k, f in enumerate(files) if used[k]
    ]
    return merge(*streams, key=lambda label: label.row)


def _latest(store: Store, state: State) -> tuple[list[_File], NDArray[np.int32]]:
    """The files of labels; and of each row, the number of the file that has its label of now, or -1."""
    files: list[_File] = []
    latest = np.full(len(state.status), -1, np.int32)
    refs = [(ref, True) for ref in state.facts.human_files] + [(ref, False) for ref in state.facts.machine_files]
    for number, (ref, human) in enumerate(refs):
        ordered, before = True, -1
        for t in store.stream(ref, ["row", "labelled"]):
            rows = np.asarray(t["row"], np.int32)
            ordered = ordered and rows[0] > before and bool((np.diff(rows) > 0).all())
            before = int(rows[-1])
            rows = rows[np.asarray(t["labelled"], bool)] if human else rows
            latest[rows[state.status[rows] == (HUMAN if human else MACHINE)]] = number
        files.append(_File(ref, human, ordered))
    return files, latest


def _labels_of(store: Store, file: _File, rows: NDArray[np.int32]) -> Iterator[Label]:
    """The labels of some rows, sorted, in a file."""
    found = (
        label
        for t in store.stream(file.ref, _HUMAN if file.human else _MACHINE, rows)
        for label in (_label(t, i, file.human) for i in range(len(t["row"])) if t["payload_json"][i] is not None)
    )
    if file.ordered:
        return found
    last = {label.row: label for label in found}
    return (last[row] for row in sorted(last))


def _label(t: Table, i: int, human: bool) -> Label:
    common: dict[str, Any] = {
        "row": int(t["row"][i]),
        "payload": t["payload_json"][i],
        "confidence": float(t["confidence"][i]),
        "iteration": int(t["iteration"][i]),
    }
    if human:
        source = t["source"][i] if "source" in t else "human"
        return Label(**common, source=source, workers=int(t["workers"][i]), consolidation=t["consolidation"][i])
    limits = {name: _number(t[name][i]) for name in ("threshold", "bound")}
    return Label(**common, source="machine", model=t["model"][i], **limits)


def _number(value: Any) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
