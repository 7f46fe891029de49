"""Which labels a report shows as pictures, and what was said of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gtloop.people import fitting, read_answers

if TYPE_CHECKING:
    from gtloop.interfaces import ExportRow, Task
    from gtloop.opened import Run
    from gtloop.records import Payload
    from gtloop_plugins.commands.reporting.measure import Measured


def best_and_worst(measured: Sequence[Measured], n: int) -> tuple[list[Measured], list[Measured]]:
    """At most ``n`` labels of highest and of lowest quality; no image is in both.

    Among equal ones the most confident come first: sure and wrong teaches most. Best ones with objects
    go before images that are rightly empty, which show nothing.
    """
    known = [m for m in measured if m.quality is not None]
    worst = sorted(known, key=lambda m: (_quality(m), -m.label.confidence, m.label.row))[
        : min(n, (len(known) + 1) // 2)
    ]
    taken = {m.label.row for m in worst}
    rest = [m for m in known if m.label.row not in taken]
    best = sorted(rest, key=lambda m: (m.objects == 0, -_quality(m), -m.label.confidence, m.label.row))[:n]
    return best, worst


def _quality(m: Measured) -> float:
    return 0.0 if m.quality is None else m.quality


def surest(measured: Sequence[Measured], n: int, truth: bool) -> list[Measured]:
    """At most ``n`` labels of highest confidence, of those with a truth where there is one.

    Those with objects go before empty ones, which show nothing.
    """
    known = [m for m in measured if m.truth is not None or not truth]
    return sorted(known, key=lambda m: (m.objects == 0, -m.label.confidence, m.label.row))[:n]


def sample(measured: Sequence[Measured], n: int, seed: int) -> list[Measured]:
    """``n`` distinct labels at random, in row order; the same for a seed."""
    picked = np.random.default_rng(seed).permutation(len(measured))[:n]
    return [measured[i] for i in sorted(picked.tolist())]


def unlabelled(rows: Iterable[ExportRow], names: int = 5) -> list[dict[str, Any]]:
    """Items without a label: ``status``, ``reason``, ``count`` and the first few names, most frequent first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        if row.label is None:
            key = (row.status, row.reason)
            group = found.setdefault(key, {"status": row.status, "reason": row.reason, "count": 0, "names": []})
            group["count"] += 1
            if len(group["names"]) < names:
                group["names"].append(row.item.name)
    return sorted(found.values(), key=lambda g: (-g["count"], g["status"], g["reason"]))


def answers_of(run: Run, task: Task, rows: Sequence[int]) -> dict[int, list[Payload]]:
    """The single answers that the human labels of ``rows`` were made of; what does not fit its form is left out."""
    wanted = set(rows)
    row_of: dict[str, int] = {}
    for ref in run.state.facts.human_files:
        t = run.store.read(ref, ["row", "request"])
        row_of.update({rid: int(r) for rid, r in zip(t["request"], t["row"], strict=True) if int(r) in wanted})
    found: dict[int, list[Payload]] = {}
    for rid, given in read_answers(run.store, run.state.facts.answer_files, set(row_of)).items():
        row = row_of[rid]
        fit = fitting(task, run.items[row], given, run.state.facts.renamed)
        found.setdefault(row, []).extend(a.payload for a in fit if a.payload is not None)
    return {row: payloads for row, payloads in found.items() if payloads}
