"""Annotator ``recorded``: a run's own answers once more, for ``gtloop replay``; loaded by that command alone.

Nobody is asked. An item is known by its image's place; of its requests the one with the most answers counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from pydantic import Field

import gtloop
from gtloop import keyed
from gtloop.interfaces import Annotator, Collected, Options
from gtloop.journal import Journal
from gtloop.ledger import now
from gtloop.opened import Run
from gtloop.records import Answer, Closed, Request

ASKED_FOR = ("train", "validation", "control", "audit")
"""Purposes whose answers were drawn from nothing, so that they serve any other."""


class RecordedOptions(Options):
    run: Path = Field(description="run whose answers are handed out")


class Recorded(Annotator):
    """Hands out recorded answers, in the order in which they came; what a request wants beyond them expires."""

    name = "recorded"
    summary = "the answers of another run, once more"
    Options = RecordedOptions

    def submit(self, requests: Sequence[Request]) -> None:
        asked = {e["request"]["id"]: int(e["request"]["answers"]) for e in self._journal.entries()}
        fresh = []
        for request in requests:
            before = asked.get(request.id, 0)
            if request.answers > before:
                asked[request.id] = request.answers
                fresh.append({"request": request.model_dump(mode="json"), "before": before, "at": now()})
        self._journal.append(fresh)

    def collect(self, cursor: str, limit_s: float) -> Collected:
        """Everything since ``cursor``, a position in the journal."""
        answers: list[Answer] = []
        closed: list[Closed] = []
        entries = self._journal.entries()
        for entry in entries[int(cursor or 0) :]:
            request = Request.model_validate(entry["request"])
            said = self._said.get(request.item.uri, [])
            said = [a for a in said if a.worker not in request.exclude_workers][: request.answers]
            answers += [self._again(a, request, entry["at"]) for a in said[entry["before"] :]]
            reason = "complete" if len(said) == request.answers else "expired"
            closed.append(Closed.model_validate({"request": request.id, "delivered": len(said), "reason": reason}))
        return Collected(answers, closed, str(len(entries)))

    def _again(self, answer: Answer, request: Request, at: str) -> Answer:
        own = {"id": keyed.digest(request.id, answer.worker), "request": request.id, "at": at}
        return answer.model_copy(update={**own, "price": self.context.price_per_answer, "fee": 0})

    @cached_property
    def _journal(self) -> Journal:
        return Journal(self.context.workdir / "requests.jsonl")

    @cached_property
    def _said(self) -> dict[str, list[Answer]]:
        return said(Run.open(self.options.run))


def said(run: Run) -> dict[str, list[Answer]]:
    """Place of an image to the answers about it, as they were given, in the categories of now."""
    found: dict[str, list[Answer]] = {}
    for row, purpose, answers in run.answers(run.task()):
        usable = [a for a in answers if a.outcome in ("label", "empty", "cannot_tell")]
        uri = run.items.uri[row]
        if purpose in ASKED_FOR and len(usable) > len(found.get(uri, ())):
            found[uri] = usable
    return found


@gtloop.hookimpl
def gtloop_annotators() -> list[type[Annotator]]:
    return [Recorded]
