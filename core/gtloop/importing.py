"""Labels that people made before: they train, cost nothing, and are never asked for again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np

from gtloop.errors import BadLabels
from gtloop.events import AnyEvent, LabelsImported
from gtloop.interfaces import Task
from gtloop.items import Items
from gtloop.job import Job
from gtloop.known import Known
from gtloop.stages import next_stage
from gtloop.state import LATER, POOL, State
from gtloop.store import PAGE, Store

IMPORTED = "imported"
"""What stands in the place of a consolidation's version."""


def import_labels(job: Job, source: str, letter: int) -> list[AnyEvent]:
    """Take human labels in during a run.

    Where validation items were drawn from the pool already and a look is to come, the pool is thinned out by whoever
    chose what to label: a new stage draws validation anew (``gtloop.stages``).

    Raises:
        BadLabels: The file can't be used, or holds no label that is missing here.
    """
    s = job.state
    known = job.plugins.known.matched(source, job.items, range(len(job.items)), allow_missing=True)
    event = write_imported(job.store, job.plugins.task, known, job.items, source, state=s, letter=letter)
    thinned = (s.status[job.store.read(event.labels, ["row"])["row"]] == POOL).any()
    if thinned and s.stage_batches and s.stage_looks < len(job.plan.look_at):
        return [event, next_stage(job, "labels from elsewhere have thinned out the pool", event.labels.rows)]
    return [event]


def write_imported(
    store: Store,
    task: Task,
    known: Mapping[int, Known],
    items: Items,
    source: str,
    *,
    state: State | None = None,
    letter: int = 0,
    number: int = 1,
    gold: bool = False,
) -> LabelsImported:
    """Write the labels that people made and that are missing here; ``state`` None: nothing is labelled yet.

    ``known`` gives them in the order of rows. ``number`` counts the imports of a run that starts; ``gold``: these
    labels test people, too.

    Raises:
        BadLabels: There are none.
    """
    left_out: Counter[str] = Counter()
    number = number if state is None else state.facts.imports + 1
    with store.writing(f"labels/imported-{number:05d}.parquet") as file:
        wanted = _wanted(known, items, state, left_out)
        while several := list(islice(wanted, PAGE)):
            n = len(several)
            file.add(
                {
                    "row": np.array([row for row, _ in several], np.int32),
                    "request": [""] * n,
                    "payload_json": [label.payload for _, label in several],
                    "labelled": np.ones(n, bool),
                    "objects": np.array([task.count(label.payload) for _, label in several], np.int16),
                    "confidence": np.array([label.confidence for _, label in several]),
                    "agreement": np.ones(n),
                    "workers": np.zeros(n, np.int16),
                    "consolidation": [IMPORTED] * n,
                    "iteration": np.zeros(n, np.int32),
                }
            )
        if not file.rows:
            why = ", ".join(f"{n} {reason}" for reason, n in left_out.items()) or "it holds none"
            raise BadLabels(f"{source} has no human label that is missing here ({why})")
    ref = file.ref
    return LabelsImported(number=number, letter=letter, source=source, labels=ref, gold=gold, left_out=dict(left_out))


def _wanted(
    known: Mapping[int, Known], items: Items, state: State | None, left_out: Counter[str]
) -> Iterator[tuple[int, Known]]:
    """The labels that are missing here, in the order of rows; counts why the others are not wanted."""
    for row, label in known.items():
        if label.source == "machine":
            left_out["made by a machine"] += 1
        elif items.alias_of[row] >= 0:
            continue  # its original has the label too
        elif state is not None and state.status[row] not in (POOL, LATER):
            left_out["labelled or asked for here"] += 1
        else:
            yield row, label
