"""The numbers of a report: labels against a truth, and whether the promise held. No plotting here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import ExportRow, Task
from gtloop.job import known_labels
from gtloop.people import fitting, read_answers
from gtloop.records import Label, Payload
from gtloop.workers import People, of_run
from gtloop_plugins.commands.reporting.audits import Trail, trails
from gtloop_plugins.commands.reporting.recipe import recipe

if TYPE_CHECKING:
    from gtloop.opened import Run
    from gtloop.registry import Registry

Floats = NDArray[np.float64]
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
GROUPS = 10
"""Groups of equal size by confidence: deciles, where there are enough labels."""


@dataclass(frozen=True)
class Measured:
    """A label with what is known of it.

    Attributes:
        label: The label; an ``adjusted`` one counts as human.
        truth: The true payload, None where the truth says nothing about the image.
        quality: 1 - ``task.error(label, truth)`` in [0, 1]; None without truth.
        objects: Number of objects in the label.
        true_objects: Number of objects in the truth; None without truth.
    """

    label: Label
    truth: Payload | None
    quality: float | None
    objects: int
    true_objects: int | None

    @property
    def source(self) -> str:
        return "machine" if self.label.source == "machine" else "human"


@dataclass(frozen=True)
class Facts:
    """Everything that a report shows.

    Attributes:
        status: What ``gtloop status --json`` says, with ``quality``, ``evaluation``, ``people`` and ``promise.true``.
        measured: Labels in row order, aliases excepted.
        rows: One row an item, as an export has them.
        reasons: Iteration to why its images were picked.
        truth: Path of the truth, None without one.
        people: The report on workers, None where nobody has answered.
        recipe: What it takes to make the run again: what, and how much.
        audits: What audits have found, region by region.
    """

    status: dict[str, Any]
    measured: list[Measured]
    rows: list[ExportRow]
    reasons: dict[int, str]
    truth: str | None
    people: People | None = None
    recipe: Sequence[tuple[str, str]] = ()
    audits: Sequence[Trail] = ()

    def of(self, source: str) -> list[Measured]:
        """The labels of ``human`` or ``machine``."""
        return [m for m in self.measured if m.source == source]


def gather(run: Run, registry: Registry, truth: str | None = None) -> Facts:
    """Measure a run, in any state.

    Args:
        run: The run, read-only.
        registry: The installed plugins.
        truth: ``PATH`` or ``FORMAT:PATH`` of known labels; the run's own where None, if it has one.

    Raises:
        BadLabels, BadAnswer: The truth can't be used.
    """
    task = run.task(registry)
    known = read_truth(run, registry, task, truth)
    truth = truth or run.settings.run.truth
    measured = measure(run.labels(), known, task)
    status = run.status(registry)
    has_truth = truth is not None
    status["quality"] = by_source(measured, lambda ms: quality_figures([m.quality for m in ms])) if has_truth else None
    status["evaluation"] = by_source(measured, lambda ms: _evaluate(task, ms)) if has_truth else None
    status["truth"] = str(truth) if has_truth else None
    status["promise"] |= outcome(status["promise"], measured, status["items"])
    people = of_run(run, task) if status["annotations"] else None
    status["people"] = None if people is None else people.figures()
    reasons = {e.event.iteration: e.event.reason for e in run.events() if e.event.type == "batch-committed"}
    return Facts(status, measured, list(run.rows(task)), reasons, truth, people, recipe(run, registry), trails(run))


# ------------------------------------------------------------------------------------------- truth


def read_truth(run: Run, registry: Registry, task: Task, path: str | None) -> Mapping[int, Payload]:
    """Row to true payload, display frame, each checked by the task; an alias speaks for its original.

    Only the task and the formats are built, not the run's other plugins: a report must not need the
    libraries that trained the model. Labels of images that the run does not have are left out.

    Raises:
        BadLabels: The file, or one of its labels, can't be used, or none is about this run.
    """
    known = known_labels(run.settings, registry, task, run.state.facts)
    if path is None:
        return known.truth(run.settings.run.truth, run.state.facts.truths, run.items)
    return known.matched(path, run.items, range(len(run.items)), allow_missing=True).payloads()


# ----------------------------------------------------------------------------------------- quality


def measure(labels: Iterable[Label], truth: Mapping[int, Payload], task: Task) -> list[Measured]:
    """Hold every label against the truth of its row, where there is one."""
    found = []
    for label in labels:
        true = truth.get(label.row)
        found.append(
            Measured(
                label=label,
                truth=true,
                quality=None if true is None else 1.0 - float(task.error(label.payload, true)),
                objects=task.count(label.payload),
                true_objects=None if true is None else task.count(true),
            )
        )
    return found


def by_source(measured: Sequence[Measured], figures: Callable[[Sequence[Measured]], Any]) -> dict[str, Any]:
    """``figures`` of the human, the machine and all labels."""
    groups = {s: [m for m in measured if m.source == s] for s in ("human", "machine")}
    return {**{s: figures(ms) for s, ms in groups.items()}, "all": figures(measured)}


def quality_figures(quality: Iterable[float | None]) -> dict[str, Any]:
    """``count``, ``mean`` and ``quantiles`` of the values that are known; mean and quantiles None for none."""
    q = np.array([v for v in quality if v is not None], np.float64)
    values = np.quantile(q, QUANTILES).tolist() if len(q) else [None] * len(QUANTILES)
    return {
        "count": len(q),
        "mean": float(q.mean()) if len(q) else None,
        "quantiles": {f"{level:g}": v for level, v in zip(QUANTILES, values, strict=True)},
    }


def _evaluate(task: Task, measured: Sequence[Measured]) -> dict[str, float | None]:
    """The task's figures of merit; None for what is undefined."""
    figures = task.evaluate((m.label.payload, m.truth) for m in measured if m.truth is not None)
    return {name: float(v) if math.isfinite(v) else None for name, v in figures.items()}


def outcome(promise: Mapping[str, Any], measured: Sequence[Measured], items: Mapping[str, int]) -> dict[str, Any]:
    """What the truth says about the promise.

    Returns:
        ``true``: what the promise bounds, from the truth: mean quality of the machine labels, or for kind
        ``dataset`` 1 - mean loss over all items, where human labels count as right. ``true_n``: machine
        labels that the truth covers. ``kept``: whether the promise held; None where no machine label was
        promised anything, or where the truth does not cover them all.
    """
    quality = [m.quality for m in measured if m.source == "machine"]
    known = [q for q in quality if q is not None]
    found: dict[str, Any] = {"true": None, "true_n": len(known), "kept": None}
    if not known:
        return found
    mean = float(np.mean(known))
    if promise["kind"] == "dataset":
        everything = items["total"] - items["aliases"] - items["quarantined"]
        found["true"] = 1 - (1 - mean) * len(quality) / everything
        held = found["true"] >= 1 - promise["max_loss"]
    else:
        found["true"] = mean
        held = mean >= promise["target"]
    if len(known) == len(quality):
        found["kept"] = held
    return found


# ---------------------------------------------------------------------------------------- by group


@dataclass(frozen=True)
class Group:
    """Labels of similar confidence: the ``first`` to ``last`` per cent when sorted from sure to unsure."""

    first: float
    last: float
    count: int
    confidence: float
    quality: float
    top: float
    """Mean quality of everything at least as confident as this group."""


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
            )
        )
    return found


def called(figure: str) -> str:
    """A figure of merit in words."""
    return {"iou": "IoU", "miou": "mIoU"}.get(figure, figure.replace("_", " "))


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
    """The categories that a payload names, one for each object; the only place that knows where they are."""
    if payload is None:
        return []
    objects = payload.get("boxes", payload.get("regions", [payload]))
    known = objects if isinstance(objects, Sequence) else ()
    return [str(o["category"]) for o in known if isinstance(o, Mapping) and "category" in o]


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


# ------------------------------------------------------------------------------------------- picks


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


def most_and_least_confident(measured: Sequence[Measured], n: int) -> tuple[list[Measured], list[Measured]]:
    """At most ``n`` labels of highest and of lowest confidence; no image is in both."""
    order = sorted(measured, key=lambda m: (-m.label.confidence, m.label.row))
    least = order[::-1][: min(n, (len(order) + 1) // 2)]
    return order[: min(n, len(order) - len(least))], least


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
