"""What MLflow is to show of a run: a pure function of its state, so that nothing is lost while a server is away."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gtloop.config import FROZEN, MAY_CHANGE
from gtloop.urls import shown

if TYPE_CHECKING:
    from gtloop.interfaces import Task
    from gtloop.state import State

LONGEST = 500
"""Characters of a parameter; older servers take no more."""
CHANGEABLE = ("annotator", "detector", "sampler", "score", "executor", "workers", "budget_usd")
"""Keys of ``[run]`` that may change on the way: tags, as MLflow's parameters can't change."""
STATUS = {"finished": "FINISHED", "cancelled": "KILLED", "paused": "SCHEDULED"}
"""MLflow's word for a run's state; RUNNING for all others."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


@dataclass(frozen=True)
class Snapshot:
    """A run as it is to be shown.

    Attributes:
        run: Its name.
        status: MLflow's word for its state.
        params: Frozen settings, flat.
        tags: What may change, and the summary.
        metrics: (key, iteration) to value.
        facts: What ``gtloop status --json`` prints.
        model: Folder of the latest model, relative to the run's.
        seq: Number of the latest event.
        ended: Whether it is finished or cancelled.
    """

    run: str
    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[tuple[str, int], float]
    facts: Mapping[str, Any]
    model: str | None
    seq: int
    ended: bool


def snapshot(run: str, state: State, task: Task) -> Snapshot:
    """What there is to show now.

    Args:
        run: Name of the run.
        state: Its state; not changed, and not kept.
        task: Its task plugin.
    """
    from gtloop.job import make_promise
    from gtloop.settings import Settings
    from gtloop.status import status

    settings = Settings.model_validate(state.facts.settings)
    found = status(run, state, settings, make_promise(settings, task), driven=False)
    word = found["state"].partition(":")[0]
    ended = word in ("finished", "cancelled")
    return Snapshot(
        run=run,
        status=STATUS.get(word, "RUNNING"),
        params=dict(_params(state.facts.settings, state.facts.plan)),
        tags=_tags(state.facts.settings, found),
        metrics=dict(_metrics(found, ended)),
        facts=found,
        model=state.facts.deliverable,
        seq=state.seq,
        ended=ended,
    )


def _params(settings: Mapping[str, Any], plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The frozen settings that say something, and the numbers that they came to."""
    for table, values in settings.items():
        for key, value in values.items():
            name = f"{table}.{key}"
            frozen = any(f in (table, name) for f in FROZEN) and name not in MAY_CHANGE
            if frozen and value not in (None, "", [], {}):
                yield name, _text(value)
    yield from ((f"plan.{key}", _text(value)) for key, value in plan.items() if isinstance(value, int | list))


def _text(value: Any) -> str:
    """A value in one line, without what may be secret in an address, cut where it is too long."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = _URL.sub(lambda url: shown(url[0]), text)
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + " ..."


def _tags(settings: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, str]:
    chosen = {f"run.{key}": _text(settings["run"].get(key)) for key in CHANGEABLE}
    return {**chosen, "gtloop.state": found["state"], "mlflow.note.content": found["summary"]}


def _metrics(found: Mapping[str, Any], ended: bool) -> Iterator[tuple[tuple[str, int], float]]:
    """Figures of each iteration that is over, and, once the run has ended, of all of it."""
    rounds, everybody = found["iterations"], found["cost_usd"]["if_all_human"]
    cost = 0.0
    for r in rounds if ended else rounds[:-1]:
        cost += r["cost_usd"]
        figures = {key: r[key] for key in ("human", "machine", "coverage", "threshold", "certified", "cost_usd")}
        figures["saving"] = max(0.0, 1 - cost / everybody) if everybody else None
        figures["seconds"] = sum(r["seconds"].values())
        figures |= {f"seconds.{step}": seconds for step, seconds in r["seconds"].items()}
        figures |= {f"objects.{by}": n for by, n in r["objects"].items()}
        yield from (((key, r["n"]), float(value)) for key, value in figures.items() if value is not None)
    if ended and rounds:
        last = rounds[-1]["n"]
        yield from (((key, last), float(value)) for key, value in _whole(found).items() if value is not None)


def _whole(found: Mapping[str, Any]) -> dict[str, float | None]:
    """Figures of the whole run; None where there is none."""
    promise = found["promise"]
    return {
        **{f"total.{key}": n for key, n in found["items"].items()},
        "total.annotations": found["annotations"],
        "total.cost_usd": found["cost_usd"]["total"],
        "total.saving": found["saving"],
        "total.saving_items": found["saving_items"],
        **{f"promise.{key}": promise[key] for key in ("certified", "estimated", "measured", "delta_spent")},
    }
