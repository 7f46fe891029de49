"""The market: HITs, people, money, and the documented rules between them. Amounts are micro-dollars."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from emulator.books import Books

DAY = 86_400
MASTERS = {"2F1QJWKUDD8XADTFD2Q0G6UTO95ALH", "2ARFPLSP75KLA8M8DH1HTEQVJT3SY6"}
SYSTEM = {"000000000000000000L0": 99, "00000000000000000040": 1200}
LOCALE = "00000000000000000071"


class Refusal(Exception):
    """A ``RequestError`` with MTurk's own code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = f"AWS.MechanicalTurk.{code}"


def id_of(*parts: Any) -> str:
    return "3" + hashlib.sha256(repr(parts).encode()).hexdigest()[:29].upper()


class Market:
    """``eager``: a HIT that has expired is reviewable while people are still at work on it, as docs can be read."""

    def __init__(self, books: Books, eager: bool = False) -> None:
        self.books, self.eager = books, eager

    def now(self) -> float:
        """The virtual clock: the machine's, and what tests have advanced it by."""
        return time.time() + self.books.fact("ahead")

    # ------------------------------------------------------------------------------------------ HITs

    def hit(self, id: str) -> Any:
        found = self.books.one("SELECT * FROM hit WHERE id = ?", id)
        if found is None or found["deleted"]:
            raise Refusal("HITDoesNotExist", f"Hit {id} does not exist.")
        return found

    def counts(self, hit: Any) -> tuple[int, int, int, int]:
        """(pending, submitted or judged, judged, available)."""
        t = self.now()
        rows = self.books.all("SELECT status, deadline FROM assignment WHERE hit = ?", hit["id"])
        pending = sum(r["status"] == "Accepted" and r["deadline"] > t for r in rows)
        judged = sum(r["status"] in ("Approved", "Rejected") for r in rows)
        given = judged + sum(r["status"] == "Submitted" for r in rows)
        return pending, given, judged, hit["most"] - pending - given

    def status(self, hit: Any) -> str:
        pending, given, _, available = self.counts(hit)
        if hit["deleted"]:
            return "Disposed"
        if given == hit["most"] or (hit["expires"] <= self.now() and (self.eager or not pending)):
            return "Reviewable"
        return "Assignable" if available and hit["expires"] > self.now() else "Unassignable"

    def kind(self, hit: Any) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.books.one("SELECT body FROM hittype WHERE id = ?", hit["type"])[0])
        return body

    # ----------------------------------------------------------------------------------------- money

    def fee(self, reward: int, assignments: int, kind: dict[str, Any]) -> int:
        """20 % of the reward, 20 points more from ten assignments on, 5 more for Masters; at least a cent."""
        masters = any(q["QualificationTypeId"] in MASTERS for q in kind.get("QualificationRequirements", []))
        share = 20 + (20 if assignments >= 10 else 0) + (5 if masters else 0)
        return max(10_000, reward * share // 100)

    def held(self) -> int:
        """What is promised to people: for work that is handed in or under way, and for work on offer."""
        t = self.now()
        live = self.books.one(
            "SELECT coalesce(sum(h.reward + h.fee), 0) FROM assignment a JOIN hit h ON h.id = a.hit WHERE "
            "a.status = 'Submitted' OR (a.status = 'Accepted' AND a.deadline > ?)",
            t,
        )[0]
        taken = (
            "SELECT count(*) FROM assignment a WHERE a.hit = h.id AND "
            "(a.status IN ('Submitted', 'Approved', 'Rejected') OR (a.status = 'Accepted' AND a.deadline > ?))"
        )
        offered = self.books.one(
            f"SELECT coalesce(sum((h.reward + h.fee) * (h.most - ({taken}))), 0) FROM hit h "
            "WHERE deleted = 0 AND expires > ?",
            t,
            t,
        )[0]
        return int(live + offered)

    def balance(self) -> int:
        paid = self.books.one("SELECT coalesce(sum(amount + fee), 0) FROM payment")[0]
        return int(self.books.fact("deposit") - paid) - self.held()

    def check_funds(self) -> None:
        if self.balance() < 0:
            raise Refusal("InsufficientFunds", "This Requester has insufficient funds in their account.")

    def pay(self, kind: str, assignment: Any, amount: int, fee: int, reason: str = "") -> None:
        self.books.do(
            "INSERT INTO payment (kind, assignment, worker, amount, fee, reason, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            kind,
            assignment["id"],
            assignment["worker"],
            amount,
            fee,
            reason,
            self.now(),
        )

    def approve(self, assignment: Any, feedback: str | None = None) -> None:
        hit = self.books.one("SELECT * FROM hit WHERE id = ?", assignment["hit"])
        self.books.do(
            "UPDATE assignment SET status = 'Approved', judged = ?, feedback = ? WHERE id = ?",
            self.now(),
            feedback,
            assignment["id"],
        )
        self.pay("reward", assignment, hit["reward"], hit["fee"])

    def tick(self) -> None:
        """What time does by itself: Amazon approves what nobody has judged."""
        due = self.books.all("SELECT * FROM assignment WHERE status = 'Submitted' AND autoapproval <= ?", self.now())
        for assignment in due:
            self.approve(assignment)

    # ---------------------------------------------------------------------------------------- people

    def accept(self, worker: str, hit_id: str) -> str:
        """A worker takes a HIT; returns the assignment."""
        hit = self.hit(hit_id)
        if self.status(hit) != "Assignable":
            raise Refusal("NotAssignable", f"{hit_id} is not on offer")
        why = self.unqualified(worker, hit)
        if why:
            raise Refusal("NotQualified", why)
        before = "SELECT 1 FROM assignment WHERE hit = ? AND worker = ? AND status != 'Returned'"
        if self.books.one(before, hit_id, worker):
            raise Refusal("AlreadyWorked", f"{worker} has had {hit_id}")
        number = self.books.next("assignment")
        id, t = id_of("assignment", number), self.now()
        self.books.do(
            "INSERT INTO assignment (id, number, hit, worker, status, accepted, deadline) VALUES (?, ?, ?, ?, ?, ?, ?)",
            id,
            number,
            hit_id,
            worker,
            "Accepted",
            t,
            t + self.kind(hit)["AssignmentDurationInSeconds"],
        )
        return id

    def submit(self, id: str, answer: str, seconds: float = 0.0) -> None:
        found = self.books.one("SELECT * FROM assignment WHERE id = ?", id)
        if found is None or found["status"] != "Accepted" or found["deadline"] <= self.now():
            raise Refusal("InvalidAssignmentState", f"{id} can't be handed in")
        hit = self.hit(found["hit"])
        at = min(max(self.now(), found["accepted"] + seconds), found["deadline"])
        delay = self.kind(hit).get("AutoApprovalDelayInSeconds", 30 * DAY)
        self.books.do(
            "UPDATE assignment SET status = 'Submitted', submitted = ?, autoapproval = ?, answer = ? WHERE id = ?",
            at,
            at + delay,
            answer,
            id,
        )

    def give_back(self, id: str) -> None:
        self.books.do(
            "UPDATE assignment SET status = 'Returned', deadline = 0 WHERE id = ? AND status = 'Accepted'", id
        )

    def unqualified(self, worker: str, hit: Any) -> str:
        """Why a worker may not accept a HIT."""
        for q in self.kind(hit).get("QualificationRequirements", []):
            if not self._meets(worker, q):
                return f"{worker} does not meet {q}"
        return ""

    def _meets(self, worker: str, q: dict[str, Any]) -> bool:
        id, comparator, wanted = q["QualificationTypeId"], q["Comparator"], q.get("IntegerValues", [])
        if id == LOCALE:
            inside = "US" in [place["Country"] for place in q["LocaleValues"]]
            return inside == (comparator in ("In", "EqualTo"))
        found = self.books.one("SELECT value FROM holder WHERE qualification = ? AND worker = ?", id, worker)
        value = SYSTEM.get(id, found and found[0])
        if comparator in ("Exists", "DoesNotExist"):
            return (value is not None) == (comparator == "Exists")
        if value is None:
            return False
        return {
            "LessThan": value < min(wanted),
            "LessThanOrEqualTo": value <= min(wanted),
            "GreaterThan": value > max(wanted),
            "GreaterThanOrEqualTo": value >= max(wanted),
            "EqualTo": value in wanted,
            "In": value in wanted,
            "NotEqualTo": value not in wanted,
            "NotIn": value not in wanted,
        }[comparator]
