"""Broken annotators, made of the built-in ``synthetic``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import ClassVar

from broken.row import Row
from gtloop.interfaces import Collected
from gtloop.records import Request
from gtloop_plugins.annotators.synthetic import Synthetic


class Choices(Synthetic):
    """Shows choices only, so that it is checked on one task."""

    forms: ClassVar[frozenset[str]] = frozenset({"choice"})


class WaitsForWork(Choices):
    """Annotator that blocks longer than limit_s."""

    def collect(self, cursor: str, limit_s: float) -> Collected:
        if not self._journal.entries():
            time.sleep(limit_s + 1.2)
        return super().collect(cursor, limit_s)


class Miscounts(Choices):
    """Annotator that closes requests with a wrong count of answers."""

    def collect(self, cursor: str, limit_s: float) -> Collected:
        got = super().collect(cursor, limit_s)
        return got._replace(closed=[c.model_copy(update={"delivered": c.delivered + 1}) for c in got.closed])


class Anonymous(Choices):
    """Annotator that does not tell its workers apart."""

    def collect(self, cursor: str, limit_s: float) -> Collected:
        got = super().collect(cursor, limit_s)
        return got._replace(answers=[a.model_copy(update={"worker": "someone"}) for a in got.answers])


class PostsAgain(Choices):
    """Annotator that posts again on a repeated submit."""

    def submit(self, requests: Sequence[Request]) -> None:
        posted = self.context.workdir / "posted.json"
        last = json.loads(posted.read_text()) if posted.exists() else {}
        for r in requests:
            before, asked = last.get(r.id, (0, 0))
            total = before + r.answers if asked == r.answers else r.answers
            last[r.id] = (total, r.answers)
            super().submit([r.model_copy(update={"answers": total})])
        posted.write_text(json.dumps(last))


class AddsOnce(Choices):
    """Annotator that asks for more answers once, and not again."""

    def submit(self, requests: Sequence[Request]) -> None:
        ids = [e["request"]["id"] for e in self._journal.entries() if "request" in e]
        super().submit([r for r in requests if ids.count(r.id) < 2])


class IgnoresMore(Choices):
    """Annotator that ignores a higher number of answers."""

    def submit(self, requests: Sequence[Request]) -> None:
        known = {e["request"]["id"] for e in self._journal.entries()}
        super().submit([r for r in requests if r.id not in known])


class Forgets(Choices):
    """Annotator that forgets across a restart: its state is in the object."""

    def submit(self, requests: Sequence[Request]) -> None:
        self.asked = {*getattr(self, "asked", ()), *(r.id for r in requests)}
        super().submit(requests)

    def collect(self, cursor: str, limit_s: float) -> Collected:
        asked = getattr(self, "asked", set())
        got = super().collect(cursor, limit_s)
        closed = [c for c in got.closed if c.request in asked]
        return Collected([a for a in got.answers if a.request in asked], closed, got.cursor)


class LosesOnRepeat(Choices):
    """Annotator that loses answers when collect is repeated with an old cursor."""

    def collect(self, cursor: str, limit_s: float) -> Collected:
        seen = self.context.workdir / "delivered.txt"
        before = set(seen.read_text().split()) if seen.exists() else set()
        got = super().collect(cursor, limit_s)
        seen.write_text(" ".join([*before, *(a.id for a in got.answers)]))
        return got._replace(answers=[a for a in got.answers if a.id not in before])


class Undeclared(Choices):
    """Annotator whose answers do not fit the form."""

    def collect(self, cursor: str, limit_s: float) -> Collected:
        got = super().collect(cursor, limit_s)
        strange = {"outcome": "label", "payload": {"category": "zebra"}}
        return got._replace(answers=[a.model_copy(update=strange) for a in got.answers])


class LocalTime(Choices):
    """Annotator whose times have no time zone."""

    def collect(self, cursor: str, limit_s: float) -> Collected:
        got = super().collect(cursor, limit_s)
        return got._replace(answers=[a.model_copy(update={"at": "2026-01-01T12:00:00"}) for a in got.answers])


class AsksAnybody(Choices):
    """Annotator that asks workers whom the request excludes."""

    def submit(self, requests: Sequence[Request]) -> None:
        super().submit([r.model_copy(update={"exclude_workers": ()}) for r in requests])


class CancelsSilently(Choices):
    """Annotator that never closes what was cancelled."""

    def collect(self, cursor: str, limit_s: float) -> Collected:
        got = super().collect(cursor, limit_s)
        return got._replace(closed=[c for c in got.closed if c.reason != "cancelled"])


class Chatty(Choices):
    """Annotator that says in several lines where its work is."""

    def where(self) -> str:
        return "open the folder\nand answer"


ROWS = [
    Row(WaitsForWork, "check_collect_never_blocks", "with nothing asked, collect with limit_s=0.0 took"),
    Row(
        Miscounts,
        "check_every_answer_arrives",
        "Closed says 3 answers, 2 came",
        also=("check_answers_are_added_one_by_one",),
    ),
    Row(
        Anonymous,
        "check_every_answer_arrives",
        "one worker answered a request twice",
        also=(
            "check_more_answers_extend",
            "check_answers_are_added_one_by_one",
            "check_excluded_workers_do_not_answer",
        ),
    ),
    Row(PostsAgain, "check_submit_twice_is_once", "submitted three times has 6 answers: it was posted again"),
    Row(
        IgnoresMore,
        "check_more_answers_extend",
        "answers raised from 1 to 3",
        also=("check_answers_are_added_one_by_one",),
    ),
    Row(AddsOnce, "check_answers_are_added_one_by_one", "1 of 1 requests for 3 answers were not answered and closed"),
    Row(Forgets, "check_survives_a_new_object", "after a restart, a new object on the same workdir does not go on"),
    Row(LosesOnRepeat, "check_old_cursor_brings_the_same", "asked again from the empty cursor"),
    Row(Undeclared, "check_answers_are_well_formed", "category 'zebra' is not declared"),
    Row(LocalTime, "check_answers_are_well_formed", "without a time zone"),
    Row(AsksAnybody, "check_excluded_workers_do_not_answer", "whom the request excludes"),
    Row(CancelsSilently, "check_cancel_closes", "2 of 2 cancelled requests were not closed"),
    Row(Chatty, "check_settle_is_harmless", "where() is more than one line"),
]
