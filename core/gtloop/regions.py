"""Regions of machine labels, as looks accepted them: the order in which they are audited, and what that shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gtloop.events import FileRef
from gtloop.evidence import Promise
from gtloop.interfaces import Rows
from gtloop.keyed import rng
from gtloop.records import AuditedRegion, Certificate
from gtloop.running import Floats, prediction_powered, remaining_lower, running_bounds
from gtloop.state import ALIAS, MACHINE, QUARANTINED, State
from gtloop.store import Store


class Region(NamedTuple):
    """Machine labels of one slice of one look, as they were accepted.

    ``rows`` (P,) in the order in which they are audited; ``score`` (P,) of each, as the look saw it.
    """

    look: int
    slice: str
    rows: Rows
    score: Floats

    @property
    def key(self) -> str:
        return f"{self.look}:{self.slice}"

    def taken(self, state: State) -> int:
        """How far audits have come in the order, including what they passed over."""
        asked = np.flatnonzero(state.columns["audited"][self.rows])
        return int(asked[-1]) + 1 if len(asked) else 0

    def left(self, state: State) -> Rows:
        """Rows whose turn is still to come, and that still have their machine label."""
        rest = self.rows[self.taken(state) :]
        found: Rows = rest[state.status[rest] == MACHINE]
        return found


def regions(store: Store, state: State, seed: int) -> list[Region]:
    """Every region of a run, those without labels left out; labels of another service are one for each look.

    Raises:
        RunError: A file of a look is gone, or was changed.
    """
    f, found = state.facts, list[Region]()
    for labels in f.machine_files:
        look = int(Path(labels.path).stem.rpartition("-")[2])
        passed = [c for c in f.certificates if c.look == look and c.threshold is not None]
        if passed:
            evidence = FileRef(path=passed[0].evidence, rows=0, sha256=passed[0].sha256)
            found += _of_look(store.root, seed, look, evidence, labels, tuple(passed))
        else:
            found.append(_unproven(store.root, seed, look, labels))
    return found


@lru_cache(maxsize=1024)
def _unproven(root: Path, seed: int, look: int, labels: FileRef) -> Region:
    """Labels that came without evidence, with the confidence that they had there."""
    t = Store(root).read(labels, ["row", "confidence"])
    rows, score = np.asarray(t["row"], np.int32), np.asarray(t["confidence"], np.float64)
    order = np.argsort(rows)[rng(seed, "audit", look).permutation(len(rows))]
    return Region(look, "all", rows[order], score[order])


@lru_cache(maxsize=1024)
def _of_look(
    root: Path, seed: int, look: int, evidence: FileRef, labels: FileRef, passed: tuple[Certificate, ...]
) -> list[Region]:
    store = Store(root)
    rows = np.sort(np.asarray(store.read(labels, ["row"])["row"], np.int32))
    rows = rows[rng(seed, "audit", look).permutation(len(rows))]
    t = store.read(evidence, ["row", "score", "quality", "slice"])
    pool = np.flatnonzero(np.isnan(np.asarray(t["quality"])))
    at = dict(zip(np.asarray(t["row"])[pool].tolist(), pool.tolist(), strict=True))
    index = np.array([at[row] for row in rows.tolist()])
    score, own = np.asarray(t["score"], np.float64)[index], [t["slice"][i] for i in index]
    owner = np.array([next(c.slice for c in passed if c.covers(s)) for s in own])
    found = [(c.slice, owner == c.slice) for c in passed]
    return [Region(look, name, rows[mine], score[mine]) for name, mine in found if mine.any()]


def shares(n: int, sizes: Sequence[int]) -> list[int]:
    """``n`` (or all, if there are fewer) split in proportion to ``sizes``, none more than its size."""
    total = sum(sizes)
    if n >= total:
        return list(sizes)
    whole = [n * size // total for size in sizes]
    largest = sorted(range(len(sizes)), key=lambda i: (-(n * sizes[i] % total), i))
    for i in largest[: n - sum(whole)]:
        whole[i] += 1
    return whole


def qualities(store: Store, state: State) -> dict[int, float]:
    """Row to quality of every machine label that people have checked."""
    found: dict[int, float] = {}
    for ref in state.facts.audit_files:
        t = store.read(ref, ["row", "quality"])
        found.update(zip(np.asarray(t["row"]).tolist(), np.asarray(t["quality"]).tolist(), strict=True))
    return found


def in_order(region: Region, state: State, known: dict[int, float]) -> Floats:
    """(n,) qualities in the order of a region, as far as audits have come; NaN where nobody will ever know."""
    taken = region.rows[: region.taken(state)]
    return np.array([known.get(row, np.nan) for row in taken.tolist()], np.float64)


def measure(region: Region, state: State, known: dict[int, float], delta: float) -> AuditedRegion:
    """What the audits of a region show."""
    values = in_order(region, state, known)
    size, seen = len(region.rows), ~np.isnan(values)
    y, score = values[seen], region.score[: len(values)]
    (bounds,) = running_bounds(np.where(seen, values, 0.0), np.where(seen, values, 1.0), size, delta)
    checked = np.isin(region.rows, list(known))
    left = ~checked & (state.status[region.rows] == MACHINE)
    gone = size - len(y) - int(left.sum())
    interval = prediction_powered(y, score[seen], region.score[left], delta)
    return AuditedRegion(
        look=region.look,
        slice=region.slice,
        labels=size,
        audited=len(y),
        unknown=int((~seen).sum()),
        mean=float(y.mean()) if len(y) else None,
        lower=bounds.lower,
        upper=bounds.upper,
        remaining_lower=remaining_lower(y, size, gone, bounds.lower),
        approximate=None if interval is None else tuple(interval),
    )


def failing(p: Promise, state: State, found: Sequence[AuditedRegion]) -> dict[str, str]:
    """Regions (look and slice) that the audits show to break the promise, to the reason why they do."""
    keys = [f"{r.look}:{r.slice}" for r in found]
    standing = {key: r for key, r in zip(keys, found, strict=True) if key not in state.facts.demoted}
    if p.kind == "selective":
        text = "an audit of {n} of {all} machine labels shows {metric} of at most {upper:.3f}, promised was {target:g}"
        return {
            key: text.format(n=r.audited, all=r.labels, metric=p.metric, upper=r.upper, target=p.target)
            for key, r in standing.items()
            if r.upper < p.target
        }
    total = len(state.status) - state.count(ALIAS) - state.count(QUARANTINED)
    allowed = (p.max_loss or 0.0) * total
    out: dict[str, str] = {}
    lost = {key: r.labels * (1 - r.upper) for key, r in standing.items()}
    while lost and (least := sum(lost.values())) > allowed:
        worst = max(lost, key=lambda key: lost[key])
        out[worst] = (
            f"audits show a summed loss of at least {least:.1f}, allowed was {allowed:.1f}; "
            f"{lost.pop(worst):.1f} of it is here"
        )
    return out
