"""What people would have said about machine-labelled items: the same simulated people, the same rules.

The promise is about people's labels, not about the truth; a simulation can ask both.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from gtloop.interfaces import Hint, Rows
from gtloop.job import Plugins
from gtloop.keyed import digest
from gtloop.people import fitting, label_of
from gtloop.records import Answer, Label, Payload, Request
from gtloop.state import ALIAS, MACHINE, QUARANTINED

if TYPE_CHECKING:
    from gtloop.opened import Run
    from gtloop.registry import Registry

PURPOSE, ATTEMPT = "train", 1
"""What the requests would have been: the rest of the pool trains."""


def people_say(run: Run, registry: Registry, rows: Rows) -> dict[int, Payload | None]:
    """Row to the label that the run's synthetic people would have given; None where their answers make none.

    Nothing in the run changes: the people are built anew, in a folder that is gone afterwards.
    """
    scratch = run.root / ".counterfactual"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        plugins = Plugins(run.settings, registry, scratch, run.state.facts)
        plugins.bind(run.items, run.state.facts.truths)
        seed, workers = run.settings.run.seed, run.settings.run.workers
        ids = {int(r): digest(seed, run.items.id[r], PURPOSE, ATTEMPT, length=32) for r in rows}
        requests = [Request(id=ids[r], item=run.items[r], answers=workers) for r in ids]
        plugins.annotator.submit(requests)
        answers = _all_answers(plugins)
        skills, task = run.skills(), plugins.task
        found: dict[int, Payload | None] = {}
        for row, rid in ids.items():
            given = fitting(task, run.items[row], answers.get(rid, []), run.state.facts.renamed)
            made = label_of(task, run.items[row], [a for a in given if a.outcome != "declined"], skills, Hint())
            found[row] = None if made is None else made.payload
        return found
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _all_answers(plugins: Plugins) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    cursor = ""
    while True:
        brought, _, after = plugins.annotator.collect(cursor, 60.0)
        for answer in brought:
            found.setdefault(answer.request, []).append(answer)
        if after == cursor:
            return found
        cursor = after


def outcome(run: Run, registry: Registry, promise: dict[str, Any]) -> dict[str, Any]:
    """How good the machine labels of a simulated run are, against the truth and against its own people.

    A machine label without a human one to compare with counts as quality 0, as a validation item does.

    Returns:
        ``truth`` and ``people``: quality of machine labels, ``all``: quality of all labels against the truth, all of
        them means or None; ``kept_truth`` and ``kept_people``: whether the promise held, None where nothing was
        promised.
    """
    plugins = run.plugins(registry)
    task, truth = plugins.task, plugins.truth
    labels = list(run.labels(task))
    machine = [x for x in labels if x.source == "machine"]
    said = people_say(run, registry, np.array([x.row for x in machine], np.int32)) if machine else {}

    def quality(label: Label, other: Payload | None) -> float:
        return 0.0 if other is None else 1 - float(task.error(label.payload, other))

    against = {
        "truth": [quality(x, truth.get(x.row)) for x in machine],
        "people": [quality(x, said[x.row]) for x in machine],
    }
    every = [quality(x, truth[x.row]) for x in labels if x.row in truth]
    total = len(run.items) - run.state.count(ALIAS) - run.state.count(QUARANTINED)
    assert len(machine) == run.state.count(MACHINE)
    return {
        **{name: _mean(values) for name, values in against.items()},
        "all": _mean(every),
        **{f"kept_{name}": kept(values, promise, total) for name, values in against.items()},
    }


def kept(quality: list[float], promise: dict[str, Any], total: int) -> bool | None:
    """Whether machine labels of these qualities keep the promise; None where there are none."""
    if not quality:
        return None
    if promise["kind"] == "dataset":
        return bool(sum(1 - q for q in quality) <= promise["max_loss"] * total + 1e-9)
    return bool(sum(quality) / len(quality) >= promise["target"] - 1e-9)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
