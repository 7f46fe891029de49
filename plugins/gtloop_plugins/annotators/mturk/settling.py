"""What becomes of answers: paid, rejected with a reason, rewarded; and of HITs that are withdrawn or over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from gtloop import keyed
from gtloop.money import micro, show
from gtloop.records import Answer, Settlement
from gtloop_plugins.annotators.mturk.books import Books, Hit, now
from gtloop_plugins.annotators.mturk.service import Refused, Service

UNLISTED_S = 60.0
"""How long Amazon's list may lack a HIT that was posted; so long is one looked for that was withdrawn meanwhile."""
_THANKS = "Thank you for good work."
_PAST = datetime(2015, 1, 1, tzinfo=UTC)
_STATUS = {"pay": "Approved", "reject": "Rejected"}
_CALLS = {"pay": "approve_assignment", "reject": "reject_assignment"}


class Settling:
    """Tells Amazon what was decided; everything may be asked again."""

    def __init__(self, service: Service, books: Books) -> None:
        self._service, self._books = service, books

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Pay, reject or reward; then delete HITs that are over and all paid for."""
        touched: set[int] = set()
        for s in settlements:
            known = self._books.by_answer(s.answer)
            if known is None:
                continue
            assignment, hit, verdict = known
            touched.add(hit)
            if s.verdict == "bonus":
                self._reward(s, assignment)
            elif not verdict:
                self._judge(s, assignment)
        self._delete(touched)

    def pay_uncounted(self) -> None:
        """Pay for what does not count, and core decides nothing about: the work was done in good faith."""
        for assignment, hit in self._books.uncounted():
            self._call("pay", assignment, "")
            self._books.settled(assignment, "pay")
            self._delete([hit])

    def _judge(self, s: Settlement, assignment: str) -> None:
        became = self._call(s.verdict, assignment, s.reason)
        if became == _STATUS[s.verdict]:
            self._books.settled(assignment, s.verdict)
        elif became == "Approved":  # Amazon paid before it was told not to; the ledger has to know
            with self._books.writing():
                self._books.settled(assignment, "pay")
                self._books.tell(self._paid_anyway(s, assignment))
        else:  # it was rejected by hand; who did that knows why
            self._books.settled(assignment, "reject")

    def _call(self, verdict: str, assignment: str, reason: str) -> str:
        """Approve or reject; returns the status that the assignment has then."""
        given: dict[str, Any] = {"RequesterFeedback": reason[:1000]} if reason else {}
        if verdict == "reject":
            given = {"RequesterFeedback": reason[:1000] or "The answer can't be used."}
        try:
            self._service.call(_CALLS[verdict], AssignmentId=assignment, **given)
        except Refused:
            status = str(
                self._service.call("get_assignment", AssignmentId=assignment)["Assignment"]["AssignmentStatus"]
            )
            if status == "Submitted":
                raise
            return status
        return _STATUS[verdict]

    def _paid_anyway(self, s: Settlement, assignment: str) -> Answer:
        """A payment that came with no answer that counts: ``declined``, and its price."""
        price, fee = self._books.price(assignment)
        return Answer(
            id=keyed.digest("mturk", assignment, "paid anyway"),
            request=s.request,
            worker=s.worker,
            outcome="declined",
            price=price,
            fee=fee,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def _reward(self, s: Settlement, assignment: str) -> None:
        token = keyed.digest(self._books.namespace, "bonus", assignment, s.amount, s.reason, length=64)
        key, tried = f"bonus {token}", f"tried bonus {token}"
        if self._books.known(key) is not None:
            return
        given = {"BonusAmount": f"{s.amount / 1e6:.2f}", "Reason": s.reason or _THANKS}
        # Amazon forgets the token after 24 hours, and the payment never.
        if self._books.known(tried) is None or not self._rewarded(assignment, given):
            self._books.fact(tried, given["BonusAmount"])
            self._send(s.worker, assignment, token, given)
        self._books.fact(key, show(s.amount))

    def _send(self, pseudonym: str, assignment: str, token: str, given: dict[str, Any]) -> None:
        worker = self._books.worker_id(pseudonym)
        if worker is None:  # forgotten here; Amazon knows
            worker = self._service.call("get_assignment", AssignmentId=assignment)["Assignment"]["WorkerId"]
        try:
            self._service.call(
                "send_bonus", WorkerId=worker, AssignmentId=assignment, UniqueRequestToken=token, **given
            )
        except Refused:
            if not self._rewarded(assignment, given):
                raise

    def _rewarded(self, assignment: str, given: dict[str, Any]) -> bool:
        """Whether Amazon has paid a bonus of this amount for this reason."""
        paid = self._service.pages("list_bonus_payments", "BonusPayments", AssignmentId=assignment)
        amount = micro(given["BonusAmount"])
        return any(p["Reason"] == given["Reason"] and micro(p["BonusAmount"]) == amount for p in paid)

    # -------------------------------------------------------------------------- withdraw and delete

    def withdraw(self, request_ids: Sequence[str]) -> None:
        """Note that requests are withdrawn; ``expire`` does it."""
        with self._books.writing():
            for request in request_ids:
                hits = self._books.hits("request = ? AND done = 0", request)
                if hits:
                    self._books.mark(request, cancelled=1)
                for hit in hits:
                    if hit.hit is None and not hit.withdrawn:
                        self._books.change(hit.number, done=int(not hit.tried), ends=now() + UNLISTED_S)
                    self._books.change(hit.number, withdrawn=1)

    def expire(self) -> None:
        """End what is withdrawn; who has accepted it may still finish, and is paid."""
        for hit in self._books.hits("withdrawn = 1 AND done = 0 AND hit IS NOT NULL AND ends > ?", now()):
            self._service.call("update_expiration_for_hit", HITId=hit.hit, ExpireAt=_PAST)
            self._books.change(hit.number, ends=now())

    def _delete(self, numbers: Iterable[int]) -> None:
        """Delete HITs that are over; one with a rejection stays, so that it can be reversed for 30 days."""
        for number in sorted(numbers):
            (hit,) = self._books.hits("number = ?", number)
            verdicts = set(self._books.assigned(number).values())
            if hit.done and not hit.deleted and verdicts == {"pay"}:
                self._dispose(hit)

    def _dispose(self, hit: Hit) -> None:
        try:
            self._service.call("delete_hit", HITId=hit.hit)
        except Refused:
            return  # it is gone, or a count of Amazon's lags; after 120 days it goes by itself
        self._books.change(hit.number, deleted=1)
