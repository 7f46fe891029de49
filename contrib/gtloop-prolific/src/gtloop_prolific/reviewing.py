"""Submissions come to an end: what was answered in them is told, or does not count and is asked again."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Literal, cast

from gtloop import keyed
from gtloop.records import Answer, Closed
from gtloop_plugins.annotators.local import Local
from gtloop_plugins.annotators.local.shifts import Shift

from gtloop_prolific.books import Books, Study, now
from gtloop_prolific.pay import Pay, split
from gtloop_prolific.service import Refused, Service

log = logging.getLogger("gtloop.prolific")
BATCH_GRACE_S = 300
"""After its time, a shift that Prolific does not know of is given to others."""
Reason = Literal["complete", "expired", "declined", "cancelled"]
PAID = {"APPROVED", "PARTIALLY APPROVED"}
CURSOR = "desk cursor"
UNFINISHED = "The images were not all done, and the code of the last page was not given."


class Reviewing:
    """Brings the books up to date with the desk and with Prolific."""

    def __init__(self, page: Local, service: Service, books: Books, pay: Pay) -> None:
        self._page, self._service, self._books, self._pay = page, service, books, pay

    def take(self) -> dict[str, Shift]:
        """Write down what was answered at the page; returns the shifts that run, by id."""
        while True:
            cursor = self._books.known(CURSOR) or ""
            got = self._page.collect(cursor, 0.0)
            if got.cursor == cursor:
                break
            with self._books.writing() as db:
                for a in got.answers:
                    self._hold(a)
                for c in got.closed:
                    if c.reason in ("expired", "cancelled"):
                        query = "UPDATE request SET ended = ? WHERE id = ? AND ended = '' AND closed = 0"
                        db.execute(query, (c.reason, c.request))
                db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (CURSOR, got.cursor))
        return {s.id: s for s in self._page.shifts.running()}

    def _hold(self, answer: Answer) -> None:
        """Keep an answer until its submission is over; one that comes after that does not count."""
        submission = self._page.shifts.of(answer.request, answer.worker) or ""
        late = self._books.one("SELECT 1 FROM submission WHERE id = ?", submission) is not None
        if self._books.one("SELECT 1 FROM answer WHERE id = ?", answer.id) is None:
            self._books.do(
                "INSERT INTO answer (id, request, submission, outcome, body, state) VALUES (?, ?, ?, ?, ?, ?)",
                answer.id, answer.request, submission, answer.outcome, answer.model_dump_json(),
                "void" if late else "held",
            )  # fmt: skip
            if late:
                self._books.do("UPDATE request SET extra = extra + 1 WHERE id = ?", answer.request)

    def review(self, study: Study, submissions: list[dict[str, Any]], running: dict[str, Shift]) -> None:
        """Decide about each submission of a study that is over; ``running`` loses those that are."""
        for found in submissions:
            name, status = found["id"], found["status"]
            known = self._books.one("SELECT state FROM submission WHERE id = ?", name)
            shift = running.get(name)
            if known is None and shift is None:
                self._idle(study, name, status)
            elif known is not None:
                if known[0] == "void" and status in PAID:
                    self._paid_anyway(study, name)
                if running.pop(name, None) is not None:  # this process died before it said so
                    self._page.shifts.end(name)
            elif shift is not None and status not in ("RESERVED", "ACTIVE"):
                whole = not shift.left and bool(shift.answered)
                if (whole and status != "RETURNED") or status in PAID:
                    self._tell(study, shift)
                else:
                    self._void(study, shift)
                    if status == "AWAITING REVIEW":
                        self._ask_back(name)
                running.pop(name)

    def lapse(self, running: dict[str, Shift], seen: set[str]) -> None:
        """Give up shifts whose time is over, and that no study lists."""
        for shift in list(running.values()):
            if shift.id not in seen and now() > shift.ends + BATCH_GRACE_S:
                study = self._books.studies("id = ?", shift.note)
                if study:
                    self._void(study[0], shift)
                running.pop(shift.id)

    def close(self, running: dict[str, Shift]) -> None:
        """Tell what is over."""
        at_work = {r for s in running.values() for r in s.left}
        for request, wanted, ended, told, held in self._books.open_requests():
            if told < wanted and not (ended and not held and request not in at_work):
                continue
            delivered = self._books.delivered(request)
            reason: Reason = "declined"
            if delivered >= wanted:
                reason = "complete"
            elif ended in ("expired", "cancelled"):
                reason = cast(Reason, ended)
            self._page.cancel([request])
            self._books.close(Closed(request=request, delivered=delivered, reason=reason))

    # ---------------------------------------------------------------------------------- one submission

    def _tell(self, study: Study, shift: Shift) -> None:
        """Hand over all of a shift, at its price; what was not answered is declined, and paid for as well."""
        given = {r: body for r, body in self._held(shift.id)}
        with self._books.writing() as db:
            for answer in self._priced(study, shift.id, shift.person, shift.requests, given):
                values = (answer.id, answer.request, shift.id, answer.outcome, answer.model_dump_json(), "told")
                db.execute(
                    "INSERT INTO answer (id, request, submission, outcome, body, state) VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (id) DO UPDATE SET state = 'told'",
                    values,
                )
                self._books.tell(answer)
            self._settle(study, shift, "told")
        self._page.shifts.end(shift.id)

    def _void(self, study: Study, shift: Shift) -> None:
        """Let nothing of a shift count; what was answered in it is asked for again."""
        with self._books.writing() as db:
            for request, _ in self._held(shift.id):
                db.execute("UPDATE request SET extra = extra + 1 WHERE id = ?", (request,))
            db.execute("UPDATE answer SET state = 'void' WHERE submission = ?", (shift.id,))
            self._settle(study, shift, "void")
        self._page.shifts.end(shift.id)

    def _settle(self, study: Study, shift: Shift, state: str) -> None:
        self._books.do(
            "INSERT INTO submission (id, study, worker, state, items) VALUES (?, ?, ?, ?, ?)",
            shift.id, study.number, shift.person, state, "\n".join(shift.requests),
        )  # fmt: skip

    def _held(self, submission: str) -> list[tuple[str, str]]:
        return self._books.rows("SELECT request, body FROM answer WHERE submission = ? AND state = 'held'", submission)

    def _priced(
        self, study: Study, submission: str, worker: str, requests: tuple[str, ...], given: dict[str, str]
    ) -> list[Answer]:
        """An answer for each request: what was given, else one that declines; together they cost the submission."""
        cost = self._pay.cost(study.reward)
        prices, fees = split(cost.answer, len(requests)), split(cost.fee, len(requests))
        found = []
        for request, price, fee in zip(requests, prices, fees, strict=True):
            if request in given:
                answer = Answer.model_validate_json(given[request])
            else:
                answer = declined(submission, request, worker, "not answered")
            found.append(answer.model_copy(update={"price": price, "fee": fee}))
        return found

    def _idle(self, study: Study, name: str, status: str) -> None:
        """A submission without a shift: somebody who never came, or was turned away."""
        if status == "AWAITING REVIEW":
            self._ask_back(name)
        elif status in PAID and self._books.known(f"idle {name}") is None:
            # Somebody approved by hand what brought nothing; the ledger has to know what it cost.
            request = self._books.one("SELECT id FROM request ORDER BY rowid DESC LIMIT 1")
            if request is not None:
                with self._books.writing():
                    for answer in self._priced(study, name, "nobody", (request[0],), {}):
                        self._books.tell(answer)
                    self._books.put(f"idle {name}", status)

    def _paid_anyway(self, study: Study, name: str) -> None:
        """Prolific has paid for what did not count: it approves by itself after 21 days."""
        worker, items = self._books.one("SELECT worker, items FROM submission WHERE id = ?", name)
        with self._books.writing():
            for answer in self._priced(study, name, worker, tuple(items.split("\n")), {}):
                self._books.tell(answer)
            self._books.do("UPDATE submission SET state = 'paid' WHERE id = ?", name)

    def _ask_back(self, name: str) -> None:
        """Ask a participant, once, to return a submission."""
        if self._books.known(f"asked back {name}") is None:
            try:
                self._service.call(
                    "POST", f"/submissions/{name}/request-return/", {"request_return_reasons": [UNFINISHED]}
                )
            except Refused as e:
                log.warning("submission %s should be returned, look at it at Prolific: %s", name, e)
            self._books.put(f"asked back {name}", "1")


def declined(submission: str, request: str, worker: str, why: str) -> Answer:
    """What is paid for and says nothing."""
    return Answer(
        id=keyed.digest("prolific", submission, request, why),
        request=request,
        worker=worker,
        outcome="declined",
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
