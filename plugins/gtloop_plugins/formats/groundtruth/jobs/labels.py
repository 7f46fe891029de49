"""The labels that the service made, as payloads of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from gtloop.errors import BadAnswer, BadLabels
from gtloop.job import Job
from gtloop.records import Payload, Source
from gtloop_plugins.formats.groundtruth.jobs.facts import JobFacts
from gtloop_plugins.formats.groundtruth.jobs.folder import JobFolder, Line
from gtloop_plugins.formats.groundtruth.options import GroundTruthOptions
from gtloop_plugins.formats.groundtruth.reading import Manifest


class Made(NamedTuple):
    """A label of the service: in the display frame; ``failed``: it has none, and why."""

    payload: Payload | None
    source: Source | None
    confidence: float
    failed: str = ""


class Labels:
    """Reads labels of a job, by row of the run."""

    def __init__(self, job: JobFolder, facts: JobFacts, made: Job, options: dict[str, Any]) -> None:
        given = {"masks": job.root} | options | {"attribute": facts.attribute}
        self.options = GroundTruthOptions.model_validate(given)
        self._job, self._run = job, made
        path = job.output or job.root / "manifests"
        self._reader = Manifest(path, facts.task, facts.categories, self.options)
        self.row_of = {o.id: row for row, o in enumerate(job.objects)}

    def final(self, own: int) -> Made | None:
        """The label that an object has in the end; None where it has none, or a damaged one."""
        line = self._job.lines.get(own)
        found = self.read(own, line) if line is not None else None
        if found is None or (found.payload is None and not found.failed):
            line = self._job.consolidated.get(own)
            found = self.read(own, line) if line is not None else None
        return found

    def automatic(self) -> Iterator[tuple[int, dict[int, Made]]]:
        """Iteration and its machine labels, by object."""
        for iteration, lines in sorted(self._job.automatic.items()):
            found = {own: self.read(own, line) for own, line in lines.items()}
            yield iteration, {own: m for own, m in found.items() if m is not None and m.payload is not None}

    def read(self, own: int, line: Line) -> Made | None:
        """What a line says; None, and a refusal, where it is damaged."""
        task, item = self._run.plugins.task, self._run.items[self.row_of[own]]
        try:
            entry = self._reader.entry("object", line.record, line.where)
            if entry.payload is None:
                return Made(None, entry.source, 0.0, str(entry.extras.get("reason", "")))
            payload = entry.payload if entry.frame == "display" else task.reframe(entry.payload, item, "display")
            return Made(task.parse(payload, item), entry.source, _sure(payload, entry.extras))
        except (BadLabels, BadAnswer) as e:
            self._job.refuse(line.where, str(e).removeprefix(line.where).lstrip(": "))
            return None


def _sure(payload: Payload, extras: Any) -> float:
    """The service's confidence of a whole label: that of its category, or the mean of its objects.

    1 where it is not known, as of all labels that others made: an image without boxes has none in the service.
    """
    own = payload.get("confidence", extras.get("confidence"))
    if isinstance(own, int | float):
        return float(own)
    objects = payload.get("boxes") or payload.get("regions") or ()
    values = [x["confidence"] for x in objects if x.get("confidence") is not None]
    return sum(values) / len(values) if values else 1.0
