"""Labels in groups: by confidence, by number of objects, by category, by what is taken for what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gtloop.records import Payload
    from gtloop_plugins.commands.reporting.measure import Measured

Floats = NDArray[np.float64]
GROUPS = 10
"""Groups of equal size by confidence: deciles, where there are enough labels."""
SOURCES = ("human", "machine")
CALLED = {
    **{"iou": "IoU", "miou": "mIoU", "matched_iou": "matched IoU", "balanced": "balanced accuracy"},
    **{"ap": "AP", "ap50": "AP50", "ap75": "AP75"},
}
"""Figures of merit by the names that they have in papers, where a task's name for them is another."""


@dataclass(frozen=True)
class Group:
    """Labels of similar confidence: the ``first`` to ``last`` per cent when sorted from sure to unsure."""

    first: float
    last: float
    count: int
    confidence: float
    quality: float
    top: float
    """Mean quality of everything at least as confident as this group, each image counting once."""
    error: float | None
    """Standard error of ``top``; None for a single label."""


def by_confidence(confidence: Floats, quality: Floats, groups: int = GROUPS) -> list[Group]:
    """Split labels into groups of equal size, most confident first.

    Labels of equal confidence are taken in random but fixed order, so that no group depends on the
    order of the images.

    Args:
        confidence: (n,) values in [0, 1].
        quality: (n,) values in [0, 1].
        groups: How many; fewer where there are fewer labels.
    """
    n = len(quality)
    ties = np.random.default_rng(0).permutation(n)
    order = np.lexsort((ties, -np.asarray(confidence)))
    found, done = [], 0
    for part in np.array_split(order, min(groups, n)) if n else []:
        first, done = done, done + len(part)
        found.append(
            Group(
                first=100 * first / n,
                last=100 * done / n,
                count=len(part),
                confidence=float(np.mean(confidence[part])),
                quality=float(np.mean(quality[part])),
                top=float(np.mean(quality[order[:done]])),
                error=float(np.std(quality[order[:done]], ddof=1)) / done**0.5 if done > 1 else None,
            )
        )
    return found


def called(figure: str) -> str:
    """A figure of merit in words."""
    return CALLED.get(figure, figure.replace("_", " "))


def by_figure(figures: Mapping[str, float | None]) -> dict[str, dict[str, float | None]]:
    """Figures named ``figure.category``, by figure and category; the number of images is none."""
    found: dict[str, dict[str, float | None]] = {}
    for name, value in figures.items():
        figure, dot, category = name.partition(".")
        if dot and figure != "count":
            found.setdefault(figure, {})[category] = value
    return found


def category_counts(measured: Iterable[Measured], categories: Sequence[str]) -> dict[str, dict[str, int]]:
    """Objects (or images) of every category by source; empty for payloads that have no categories.

    Returns:
        Category to ``{"human": n, "machine": n, "truth": n}``, in the order of ``categories``, then new ones.
    """
    counts = {c: {"human": 0, "machine": 0, "truth": 0} for c in categories}
    for m in measured:
        for source, payload in ((m.source, m.label.payload), ("truth", m.truth)):
            for name in names_in(payload):
                counts.setdefault(name, {"human": 0, "machine": 0, "truth": 0})[source] += 1
    return counts


def names_in(payload: Payload | None) -> list[str]:
    """The categories that a payload names, one for each object."""
    return [str(o["category"]) for o in _objects(payload)]


def _objects(payload: Payload | None) -> list[Mapping[str, Any]]:
    """What has a category in a payload; the only place that knows where it is."""
    if payload is None:
        return []
    objects = payload.get("boxes", payload.get("regions", [payload]))
    known = objects if isinstance(objects, Sequence) else ()
    return [o for o in known if isinstance(o, Mapping) and "category" in o]


def category_confidence(measured: Iterable[Measured]) -> dict[str, dict[str, float]]:
    """Mean confidence of each category by source, where it has labels: of boxes that have their own, else of labels."""
    found: dict[str, dict[str, list[float]]] = {}
    for m in measured:
        for o in _objects(m.label.payload):
            own = o.get("confidence")
            of = found.setdefault(str(o["category"]), {}).setdefault(m.source, [])
            of.append(float(m.label.confidence if own is None else own))
    return {name: {s: float(np.mean(of)) for s, of in by.items()} for name, by in found.items()}


def confusion(measured: Iterable[Measured], categories: Sequence[str]) -> tuple[list[str], NDArray[np.int64]] | None:
    """Images by true (row) and given (column) category; None where labels are not one category each."""
    pairs = [
        (str(m.truth["category"]), str(m.label.payload["category"]))
        for m in measured
        if m.truth is not None and "category" in m.truth and "category" in m.label.payload
    ]
    if not pairs:
        return None
    names = list(dict.fromkeys([*categories, *(n for pair in pairs for n in pair)]))
    index = {n: i for i, n in enumerate(names)}
    table = np.zeros((len(names), len(names)), np.int64)
    for true, given in pairs:
        table[index[true], index[given]] += 1
    return names, table


def columns(measured: Sequence[Measured]) -> tuple[Floats, Floats]:
    """(n,) confidence and (n,) quality of the labels that have a truth."""
    known = [(m.label.confidence, m.quality) for m in measured if m.quality is not None]
    table = np.array(known, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def by_objects(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Images by number of objects in their label, with their mean confidence."""
    found: dict[int, list[float]] = {}
    for m in measured:
        found.setdefault(m.objects, []).append(m.label.confidence)
    return [{"objects": n, "images": len(c), "confidence": float(np.mean(c))} for n, c in sorted(found.items())]


def by_iteration(measured: Iterable[Measured], categories: Sequence[str]) -> dict[str, dict[int, dict[str, int]]]:
    """Category to iteration to objects (or images) of it by source; by the iteration of the label of now."""
    found: dict[str, dict[int, dict[str, int]]] = {c: {} for c in categories}
    for m in measured:
        for name in names_in(m.label.payload):
            counts = found.setdefault(name, {}).setdefault(m.label.iteration, dict.fromkeys(SOURCES, 0))
            counts[m.source] += 1
    return found


def grouped(measured: Sequence[Measured], categories: Sequence[str], truth: bool) -> dict[str, Any]:
    """All of this as JSON: ``by_confidence``, ``by_objects``, ``by_category`` and ``confusion``."""
    of = {s: [m for m in measured if m.source == s] for s in SOURCES}
    counts, rounds = category_counts(measured, categories), by_iteration(measured, categories)
    sure = category_confidence(measured)
    return {
        "by_confidence": {s: [asdict(g) for g in by_confidence(*columns(ms))] for s, ms in of.items()},
        "by_objects": {s: by_objects(ms) for s, ms in of.items()},
        "by_category": [
            {
                "category": name,
                "human": n["human"],
                "machine": n["machine"],
                "truth": n["truth"] if truth else None,
                "confidence": {s: sure.get(name, {}).get(s) for s in SOURCES},
                "iterations": [{"n": k, **by} for k, by in sorted(rounds.get(name, {}).items())],
            }
            for name, n in counts.items()
        ],
        "confusion": confusions(measured, categories),
    }


def confusions(measured: Sequence[Measured], categories: Sequence[str]) -> dict[str, Any]:
    """Confusion matrices of all labels and of either source, rows the truth; empty where labels are no categories."""
    everything = confusion(measured, categories)
    names = [] if everything is None else everything[0]
    found: dict[str, Any] = {"categories": names}
    for source in ("all", *SOURCES):
        table = confusion([m for m in measured if source in ("all", m.source)], names)
        matrix = np.zeros((0, 0), np.int64) if table is None else table[1]
        n = int(matrix.sum())
        found[source] = {"count": n, "wrong": 1 - float(np.trace(matrix)) / n if n else None, "matrix": matrix.tolist()}
    return found
