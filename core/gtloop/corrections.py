"""What people made of labels that they were shown, or that were held back from them so that anchoring is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gtloop.interfaces import Consolidated, Task
from gtloop.job import Job
from gtloop.records import Answer, Mode, Payload

PHASES = ("active", "rest", "review")
"""Batches in which people may be shown a label."""


class Asked(NamedTuple):
    """What people were asked: a mode, and a label in the categories of then; with mode ``draw`` it was held back."""

    mode: Mode
    proposal: Payload | None

    def label(self, task: Task, names: Mapping[str, str]) -> Payload | None:
        """The label in the categories of now; ``names`` are those of then to those of now."""
        return task.recategorize(self.proposal, names) if names and self.proposal is not None else self.proposal

    def heeded(self, answers: Sequence[Answer]) -> list[Answer]:
        """The answers of which a label is made; none where at least as many find the one that was shown wrong."""
        rest = [a for a in answers if a.outcome != "wrong"]
        right = sum(a.outcome in ("label", "empty") for a in rest)
        return [] if right <= len(answers) - len(rest) and len(rest) < len(answers) else rest

    def verdict(self, answers: Sequence[Answer], made: Payload | None, distance: float) -> str:
        """``kept``, ``changed``, ``wrong`` (people draw it anew) or ``unsure``, by the label that was made, if any."""
        if made is not None:
            return "kept" if distance == 0 else "changed"
        return "wrong" if any(a.outcome == "wrong" for a in answers) and not self.heeded(answers) else "unsure"

    def sure(self, answers: Sequence[Answer]) -> float:
        """How sure people are of a verdict: the share of the larger side, 0 where nobody has one."""
        wrong, right = sum(a.outcome == "wrong" for a in answers), sum(a.outcome in ("label", "empty") for a in answers)
        return max(wrong, right) / (wrong + right) if wrong + right else 0.0


def asked_in(job: Job, requests: set[str]) -> dict[str, Asked]:
    """Of these requests, those about which there was a label to show."""
    found: dict[str, Asked] = {}
    for batch in job.state.facts.batches.values():
        if requests and batch.phase in PHASES:
            t = job.store.read(batch.requests, ["request", "mode", "proposal_json"])
            rows = zip(t["request"], t.get("mode", ()), t.get("proposal_json", ()), strict=False)
            found |= {
                rid: Asked(mode, label)
                for rid, mode, label in rows
                if rid in requests and (label is not None or batch.phase == "review")
            }
    return found


def outcome_columns(
    job: Job,
    asked: Sequence[Asked | None],
    answers: Sequence[Sequence[Answer]],
    made: Sequence[Consolidated | None],
) -> dict[str, Any]:
    """Further columns of a file of human labels: what became of labels that there were; none where there were none.

    Columns:
        mode, verdict: Empty where there was no label.
        distance: Error between that label and the one that people made; NaN where there is none.
        answers, seconds: Number and active seconds of the answers.
        source: Of the label that was made.
    """
    if not any(asked):
        return {}
    task, names = job.plugins.task, job.state.facts.renamed
    payloads = [None if m is None else m.payload for m in made]
    labels = [None if a is None else a.label(task, names) for a in asked]
    distance = [
        float("nan") if old is None or new is None else task.error(new, old)
        for old, new in zip(labels, payloads, strict=True)
    ]
    return {
        "mode": ["" if a is None else a.mode for a in asked],
        "verdict": [
            "" if a is None else a.verdict(given, new, d)
            for a, given, new, d in zip(asked, answers, payloads, distance, strict=True)
        ],
        "distance": np.array(distance, np.float64),
        "answers": np.array([len(given) for given in answers], np.int16),
        "seconds": np.array([sum(a.active_seconds for a in given) for given in answers], np.float64),
        "source": ["human" if a is None or a.mode == "draw" else "adjusted" for a in asked],
    }
