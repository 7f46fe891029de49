"""What becomes of submissions: approved, rejected with a category and a message, rewarded with a bonus.

Core judges answers, Prolific submissions. One is rejected only where all that counts in it is; where some is, it is
paid, and the ledger is told so. ``APPROVE`` and ``REJECT`` may be asked twice; a bonus may not, and never is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from gtloop import keyed
from gtloop.errors import GtloopError
from gtloop.money import show
from gtloop.records import Answer, Settlement

from gtloop_prolific.books import Books
from gtloop_prolific.options import ProlificOptions
from gtloop_prolific.pay import Pay
from gtloop_prolific.reviewing import declined
from gtloop_prolific.service import Refused, Service, Unsure

log = logging.getLogger("gtloop.prolific")
LEAST_MESSAGE = 100
"""Characters that Prolific wants in the message of a rejection."""
UNPAID, PAYING = "not paid", "paying"
"""States of a bonus before it is paid: nothing came of a call; a call is under way, or broke off."""
COURTESY = "If you think that this is a mistake, please write to us on Prolific, and we will look at your work again."


class Settling:
    """Tells Prolific what was decided; everything may be asked again."""

    def __init__(self, options: ProlificOptions, service: Service, books: Books, pay: Pay) -> None:
        self._options, self._service, self._books, self._pay = options, service, books, pay

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Take verdicts on answers, and decide about the submissions that have all of theirs."""
        touched: dict[str, None] = {}
        with self._books.writing() as db:
            for s in settlements:
                found = self._books.one("SELECT submission FROM answer WHERE id = ?", s.answer)
                if found is None:
                    continue
                if s.verdict != "bonus":
                    query = "UPDATE answer SET verdict = ?, reason = ? WHERE id = ? AND verdict = ''"
                    db.execute(query, (s.verdict, s.reason, s.answer))
                    touched[found[0]] = None
        for name in touched:
            self._decide(name)
        for s in settlements:
            if s.verdict == "bonus":
                self._reward(s)

    def decide_rest(self) -> None:
        """Decide about submissions that nobody judges (all declined), and those where this process died before."""
        query = "SELECT id FROM submission WHERE state = 'told' AND verdict = ''"
        for (name,) in self._books.rows(query):
            self._decide(name)

    def _decide(self, name: str) -> None:
        if self._books.one("SELECT 1 FROM submission WHERE id = ? AND verdict = ''", name) is None:
            return
        query = "SELECT id, request, body, verdict, reason FROM answer WHERE submission = ? "
        query += "AND state = 'told' AND outcome <> 'declined'"
        answers = self._books.rows(query, name)
        if any(not verdict for _, _, _, verdict, _ in answers):
            return
        rejected = [a for a in answers if a[3] == "reject"]
        if not answers or len(rejected) < len(answers):
            became = self._move(name, {"action": "APPROVE"})
        else:
            became = self._move(name, self._rejection(a[4] for a in rejected))
        with self._books.writing():
            self._books.do("UPDATE submission SET verdict = ? WHERE id = ?", became, name)
            if became in ("APPROVED", "PARTIALLY APPROVED"):  # the ledger took these for unpaid
                for _, request, body, _, _ in rejected:
                    self._books.tell(_paid_anyway(name, request, Answer.model_validate_json(body)))

    def _rejection(self, reasons: Iterable[str]) -> dict[str, str]:
        said = " ".join(dict.fromkeys(r.strip() for r in reasons if r.strip())) or "The answers can't be used."
        message = said if len(said) >= LEAST_MESSAGE else f"{said} {COURTESY}"
        return {"action": "REJECT", "message": message[:2000], "rejection_category": self._options.rejection}

    def _move(self, name: str, what: dict[str, str]) -> str:
        """Approve or reject; returns the status that the submission has then."""
        try:
            return str(self._service.call("POST", f"/submissions/{name}/transition/", what)["status"])
        except Refused:
            status = str(self._service.call("GET", f"/submissions/{name}/")["status"])
            if status in ("AWAITING REVIEW", "ACTIVE", "RESERVED", "TIMED-OUT"):
                raise
            return status

    # ----------------------------------------------------------------------------------------- bonus

    def _reward(self, s: Settlement) -> None:
        """Pay a bonus once. Where a call broke off, nobody knows, and a person has to look: it is not paid again."""
        (name,) = self._books.one("SELECT submission FROM answer WHERE id = ?", s.answer)
        key = f"bonus {keyed.digest(s.answer, s.amount, s.reason)}"
        state, cents = self._books.known(key) or UNPAID, round(s.amount / self._pay.cent)
        if state == PAYING:
            self._look_after(key, name, cents)
        elif state == UNPAID:
            self._pay_once(key, name, cents)

    def _pay_once(self, key: str, name: str, cents: int) -> None:
        (study,) = self._books.one(
            "SELECT s.id FROM submission JOIN study s ON s.number = study WHERE submission.id = ?", name
        )
        made = self._service.call(
            "POST", "/submissions/bonus-payments/", {"study_id": study, "csv_bonuses": f"{name},{cents / 100:.2f}"}
        )
        self._books.put(key, PAYING)
        try:
            self._service.call("POST", f"/bulk-bonus-payments/{made['id']}/pay/", once=True)
        except Unsure:
            self._look_after(key, name, cents)
            return
        except GtloopError:  # refused, or never sent
            self._books.put(key, UNPAID)
            raise
        self._books.put(key, _paid(name, cents))

    def _look_after(self, key: str, name: str, cents: int) -> None:
        """Take a bonus for paid where Prolific shows more payments of its amount than others account for."""
        found: dict[str, Any] = self._service.call("GET", f"/submissions/{name}/")
        shown = [round(p) for p in found.get("bonus_payments", [])].count(cents)
        query = "SELECT count(*) FROM fact WHERE key LIKE 'bonus %' AND value = ?"
        if shown > self._books.one(query, _paid(name, cents))[0]:
            self._books.put(key, _paid(name, cents))
            return
        log.warning(
            "whether submission %s got its bonus of %s is not known; look at it at Prolific, it is not paid again",
            name,
            show(cents * self._pay.cent),
        )


def _paid(name: str, cents: int) -> str:
    """The state of a bonus that is paid."""
    return f"paid {name} {cents}"


def _paid_anyway(name: str, request: str, answer: Answer) -> Answer:
    """A payment for an answer that was rejected, in a submission that was not."""
    said = declined(name, request, answer.worker, "paid anyway")
    return said.model_copy(update={"price": answer.price, "fee": answer.fee})
