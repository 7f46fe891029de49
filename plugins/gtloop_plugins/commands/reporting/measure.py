"""The numbers of a report: labels against a truth, and whether the promise held. No plotting here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import ExportRow, Task
from gtloop.job import known_labels
from gtloop.records import Label, Payload
from gtloop.workers import People, of_run
from gtloop_plugins.commands.reporting.audits import Trail, trails
from gtloop_plugins.commands.reporting.groups import grouped
from gtloop_plugins.commands.reporting.history import history
from gtloop_plugins.commands.reporting.learning import Lesson, lessons
from gtloop_plugins.commands.reporting.money import money
from gtloop_plugins.commands.reporting.picking import NOTHING, Picking, picking
from gtloop_plugins.commands.reporting.promising import in_force
from gtloop_plugins.commands.reporting.recipe import recipe
from gtloop_plugins.commands.reporting.risk import risk

if TYPE_CHECKING:
    from gtloop.opened import Run
    from gtloop.registry import Registry

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


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
        status: What ``gtloop report --json`` prints.
        measured: Labels in row order, aliases excepted.
        rows: One row an item, as an export has them.
        reasons: Iteration to why its images were picked.
        truth: Path of the truth, None without one.
        people: The report on workers, None where nobody has answered.
        recipe: What it takes to make the run again: what, and how much.
        audits: What audits have found, region by region.
        lessons: The models, with their quality.
        picking: What a sampler picked against random images.
        answers: Worker to the hours after the first answer at which they answered.
    """

    status: dict[str, Any]
    measured: list[Measured]
    rows: list[ExportRow]
    reasons: dict[int, str]
    truth: str | None
    people: People | None = None
    recipe: Sequence[tuple[str, str]] = ()
    audits: Sequence[Trail] = ()
    lessons: Sequence[Lesson] = ()
    picking: Picking = NOTHING
    answers: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

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
    status["promise"] |= outcome(status["promise"], measured, status["items"], run.state.facts.unproven)
    people = of_run(run, task) if status["annotations"] else None
    status["people"] = None if people is None else people.figures()
    past, human = history(run, task), {m.label.row: m.label.payload for m in measured if m.source == "human"}
    models, picked = lessons(run, task, past.fits, human), picking(run, registry, task, past.picks, human)
    status |= grouped(measured, run.settings.run.classes, has_truth)
    status |= {"learning": [m.facts() for m in models], "picking": picked.facts()}
    status |= {"risk": risk(past.looks), "money": money(status)}
    return Facts(
        status=status,
        measured=measured,
        rows=list(run.rows(task)),
        reasons={e.event.iteration: e.event.reason for e in run.events() if e.event.type == "batch-committed"},
        truth=truth,
        people=people,
        recipe=recipe(run, registry),
        audits=trails(run),
        lessons=models,
        picking=picked,
        answers=past.answers,
    )


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


def outcome(
    promise: Mapping[str, Any], measured: Sequence[Measured], items: Mapping[str, int], unproven: int = 0
) -> dict[str, Any]:
    """What the truth says about the promise.

    Args:
        promise: As ``gtloop status`` has it.
        measured: All labels.
        items: Counts by status.
        unproven: Machine labels of iterations up to this one came from another service, which promises nothing.

    Returns:
        ``true``: what the promise bounds, from the truth: mean quality of the machine labels that are not unproven,
        or for kind ``dataset`` 1 - mean loss over all items, where human labels count as right. ``true_n``: such
        labels that the truth covers. ``kept``: whether the promise held; None where nothing is certified, or where
        the truth does not cover them all.
    """
    of_all = promise["kind"] == "dataset"
    quality = [m.quality for m in measured if m.source == "machine" and (of_all or m.label.iteration > unproven)]
    known = [q for q in quality if q is not None]
    found: dict[str, Any] = {"true": None, "true_n": len(known), "kept": None}
    if not known:
        return found
    mean = float(np.mean(known))
    if of_all:
        everything = items["total"] - items["aliases"] - items["quarantined"]
        found["true"] = 1 - (1 - mean) * len(quality) / everything
        held = found["true"] >= 1 - promise["max_loss"]
    else:
        found["true"] = mean
        held = mean >= promise["target"]
    judged = promise["certified"] is not None if of_all else in_force(promise)
    if judged and len(known) == len(quality):
        found["kept"] = held
    return found
