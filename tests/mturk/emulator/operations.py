"""The operations of the API, by name; each takes and returns what botocore's model says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from emulator.market import DAY, Market, Refusal, id_of

MOST_QUESTION = 65_535
_HTML = "{http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2011-11-11/HTMLQuestion.xsd}"


class Operations:
    """``shuffled``: lists come in an order of their own. ``lag_s``: how old a HIT is before the list of all has it."""

    def __init__(self, market: Market, shuffled: bool = False, lag_s: float = 0.0) -> None:
        self.market, self.books, self.shuffled, self.lag_s = market, market.books, shuffled, lag_s

    def run(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        found: Callable[[dict[str, Any]], dict[str, Any]] | None = getattr(self, operation, None)
        if found is None:
            raise Refusal("NotEmulated", operation)
        with self.books.writing():
            self.market.tick()
            return found(given)

    # ------------------------------------------------------------------------------------------ HITs

    def GetAccountBalance(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"AvailableBalance": cents(self.market.balance()), "OnHoldBalance": cents(self.market.held())}

    def CreateHITType(self, given: dict[str, Any]) -> dict[str, Any]:
        within("Title", len(given["Title"]), 1, 128)
        within("Description", len(given["Description"]), 1, 2000)
        within("Keywords", len(given.get("Keywords", "")), 0, 1000)
        within("AssignmentDurationInSeconds", given["AssignmentDurationInSeconds"], 30, 365 * DAY)
        within("AutoApprovalDelayInSeconds", given.get("AutoApprovalDelayInSeconds", 0), 0, 30 * DAY)
        within("Reward", dollars(given["Reward"]), 10_000, 10**9)
        within("QualificationRequirements", len(given.get("QualificationRequirements", [])), 0, 10)
        for q in given.get("QualificationRequirements", []):
            within("IntegerValues", len(q.get("IntegerValues", [])), 0, 15)
            within("LocaleValues", len(q.get("LocaleValues", [])), 0, 30)
            if q["Comparator"] in ("Exists", "DoesNotExist") and ("IntegerValues" in q or "LocaleValues" in q):
                raise Refusal("InvalidParameterValue", f"{q['Comparator']} takes no values")
        body = json.dumps(given, sort_keys=True)
        id = id_of("type", body)
        self.books.do("INSERT OR IGNORE INTO hittype VALUES (?, ?)", id, body)
        return {"HITTypeId": id}

    def CreateHITWithHITType(self, given: dict[str, Any]) -> dict[str, Any]:
        kind = self.books.one("SELECT body FROM hittype WHERE id = ?", given["HITTypeId"])
        if kind is None:
            raise Refusal("HITTypeDoesNotExist", f"HITType {given['HITTypeId']} does not exist")
        most = given.get("MaxAssignments", 1)
        within("MaxAssignments", most, 1, 10**9)
        within("LifetimeInSeconds", given["LifetimeInSeconds"], 30, 365 * DAY)
        within("RequesterAnnotation", len(given.get("RequesterAnnotation", "")), 0, 255)
        check_question(given.get("Question"))
        self._once(given.get("UniqueRequestToken"), "HitAlreadyExists", "The HIT with ID {} already exists")
        number, t = self.books.next("hit"), self.market.now()
        id, body = id_of("hit", number), json.loads(kind[0])
        reward = dollars(body["Reward"])
        self.books.do(
            "INSERT INTO hit (id, number, type, question, annotation, most, reward, fee, created, expires) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(id, number, given["HITTypeId"], given["Question"], given.get("RequesterAnnotation"), most),
            *(reward, self.market.fee(reward, most, body), t, t + given["LifetimeInSeconds"]),
        )
        self._spent(given.get("UniqueRequestToken"), id)
        self.market.check_funds()
        return {"HIT": self._hit(self.market.hit(id))}

    def CreateAdditionalAssignmentsForHIT(self, given: dict[str, Any]) -> dict[str, Any]:
        hit, more = self.market.hit(given["HITId"]), given["NumberOfAdditionalAssignments"]
        within("NumberOfAdditionalAssignments", more, 1, 10**9)
        self._once(given.get("UniqueRequestToken"), "AdditionalAssignmentsAlreadyExist", "It was done by request {}")
        if hit["most"] < 10 <= hit["most"] + more:
            raise Refusal("InvalidMaximumAssignmentsIncrease", "A HIT with fewer than 10 can't have 10 or more.")
        self.books.do("UPDATE hit SET most = most + ? WHERE id = ?", more, hit["id"])
        self._spent(given.get("UniqueRequestToken"), hit["id"])
        self.market.check_funds()
        return {}

    def GetHIT(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"HIT": self._hit(self.market.hit(given["HITId"]))}

    def ListHITs(self, given: dict[str, Any]) -> dict[str, Any]:
        latest = self.market.now() - self.lag_s
        rows = self.books.all("SELECT * FROM hit WHERE deleted = 0 AND created <= ? ORDER BY number DESC", latest)
        return self._page("HITs", rows, self._hit, given)

    def ListReviewableHITs(self, given: dict[str, Any]) -> dict[str, Any]:
        kind = given.get("HITTypeId")
        rows = self.books.all(
            "SELECT * FROM hit WHERE deleted = 0 AND (? IS NULL OR type = ?) ORDER BY number", kind, kind
        )
        return self._page("HITs", [r for r in rows if self.market.status(r) == "Reviewable"], self._hit, given)

    def UpdateExpirationForHIT(self, given: dict[str, Any]) -> dict[str, Any]:
        hit = self.market.hit(given["HITId"])
        self.books.do("UPDATE hit SET expires = ? WHERE id = ?", given["ExpireAt"], hit["id"])
        self.market.check_funds()
        return {}

    def DeleteHIT(self, given: dict[str, Any]) -> dict[str, Any]:
        hit = self.market.hit(given["HITId"])
        _, submitted, judged, _ = self.market.counts(hit)
        if self.market.status(hit) != "Reviewable" or submitted != judged:
            raise Refusal("InvalidHITState", "This HIT is not reviewable, or some of its assignments are not judged.")
        self.books.do("UPDATE hit SET deleted = 1 WHERE id = ?", hit["id"])
        return {}

    # ----------------------------------------------------------------------------------- assignments

    def ListAssignmentsForHIT(self, given: dict[str, Any]) -> dict[str, Any]:
        hit = self.market.hit(given["HITId"])
        wanted = given.get("AssignmentStatuses", ["Submitted", "Approved", "Rejected"])
        rows = self.books.all("SELECT * FROM assignment WHERE hit = ? ORDER BY submitted, number", hit["id"])
        return self._page("Assignments", [r for r in rows if r["status"] in wanted], assignment, given)

    def GetAssignment(self, given: dict[str, Any]) -> dict[str, Any]:
        found = self._assignment(given["AssignmentId"])
        return {"Assignment": assignment(found), "HIT": self._hit(self.market.hit(found["hit"]))}

    def ApproveAssignment(self, given: dict[str, Any]) -> dict[str, Any]:
        found = self._assignment(given["AssignmentId"])
        again = found["status"] == "Rejected" and given.get("OverrideRejection")
        if again and found["judged"] + 30 * DAY < self.market.now():
            raise Refusal("RejectionTooOld", "Rejections of more than 30 days ago stay.")
        if found["status"] != "Submitted" and not again:
            raise Refusal("InvalidAssignmentState", "This operation can be called with a status of: Submitted")
        self.market.approve(found, given.get("RequesterFeedback"))
        self.market.check_funds()
        return {}

    def RejectAssignment(self, given: dict[str, Any]) -> dict[str, Any]:
        found = self._assignment(given["AssignmentId"])
        if not given["RequesterFeedback"].strip():
            raise Refusal("InvalidParameterValue", "RequesterFeedback is required")
        if found["status"] != "Submitted":
            raise Refusal("InvalidAssignmentState", "This operation can be called with a status of: Submitted")
        self.books.do(
            "UPDATE assignment SET status = 'Rejected', judged = ?, feedback = ? WHERE id = ?",
            *(self.market.now(), given["RequesterFeedback"], found["id"]),
        )
        return {}

    def SendBonus(self, given: dict[str, Any]) -> dict[str, Any]:
        found = self._assignment(given["AssignmentId"])
        if found["worker"] != given["WorkerId"]:
            raise Refusal("InvalidParameterValue", "The worker did not work on that assignment.")
        self._once(given.get("UniqueRequestToken"), "BonusAlreadyPaid", "It was done by request {}")
        amount = dollars(given["BonusAmount"])
        within("BonusAmount", amount, 10_000, 10**10)
        self.market.pay("bonus", found, amount, max(10_000, amount // 5), given["Reason"])
        self._spent(given.get("UniqueRequestToken"), found["id"])
        self.market.check_funds()
        return {}

    def ListBonusPayments(self, given: dict[str, Any]) -> dict[str, Any]:
        rows = self.books.all("SELECT * FROM payment WHERE kind = 'bonus' AND assignment = ?", given["AssignmentId"])
        return self._page("BonusPayments", rows, bonus, given)

    # -------------------------------------------------------------------------------- qualifications

    def CreateQualificationType(self, given: dict[str, Any]) -> dict[str, Any]:
        if self.books.one("SELECT 1 FROM qualification WHERE name = ?", given["Name"]):
            raise Refusal("QualificationTypeAlreadyExists", "You have already created one with this name.")
        id = id_of("qualification", given["Name"])
        self.books.do("INSERT INTO qualification VALUES (?, ?, ?)", id, given["Name"], self.market.now())
        return {"QualificationType": {"QualificationTypeId": id, "Name": given["Name"]}}

    def ListQualificationTypes(self, given: dict[str, Any]) -> dict[str, Any]:
        rows = self.books.all("SELECT * FROM qualification WHERE name LIKE ?", f"%{given.get('Query', '')}%")
        return self._page(
            "QualificationTypes", rows, lambda r: {"QualificationTypeId": r["id"], "Name": r["name"]}, given
        )

    def AssociateQualificationWithWorker(self, given: dict[str, Any]) -> dict[str, Any]:
        id = given["QualificationTypeId"]
        if not self.books.one("SELECT 1 FROM qualification WHERE id = ?", id):
            raise Refusal("QualificationTypeDoesNotExist", id)
        self.books.do("INSERT OR REPLACE INTO holder VALUES (?, ?, ?)", id, given["WorkerId"], given["IntegerValue"])
        return {}

    # ----------------------------------------------------------------------------------------- parts

    def _assignment(self, id: str) -> Any:
        found = self.books.one("SELECT * FROM assignment WHERE id = ?", id)
        if found is None:
            raise Refusal("AssignmentDoesNotExist", f"Assignment {id} does not exist")
        return found

    def _once(self, token: str | None, code: str, message: str) -> None:
        """Refuse a token that was used in the last 24 hours."""
        found = token and self.books.one("SELECT * FROM token WHERE token = ?", token)
        if found and found["made"] + DAY > self.market.now():
            raise Refusal(code, f"{message.format(found['id'])} ({int(self.market.now() * 1000)} s)")

    def _spent(self, token: str | None, id: str) -> None:
        if token:
            self.books.do("INSERT OR REPLACE INTO token VALUES (?, ?, ?)", token, self.market.now(), id)

    def _page(self, key: str, rows: list[Any], show: Callable[[Any], Any], given: dict[str, Any]) -> dict[str, Any]:
        if self.shuffled:
            random.Random(key).shuffle(rows)
        start, size = int(given.get("NextToken", "p0")[1:]), given.get("MaxResults", 10)
        page = [show(r) for r in rows[start : start + size]]
        more = {"NextToken": f"p{start + size}"} if start + size < len(rows) else {}
        return {key: page, "NumResults": len(page), **more}

    def _hit(self, hit: Any) -> dict[str, Any]:
        pending, _, judged, available = self.market.counts(hit)
        kind = self.market.kind(hit)
        same = ("Title", "Description", "Keywords", "Reward", "AutoApprovalDelayInSeconds", "QualificationRequirements")
        found = {
            "HITId": hit["id"],
            "HITTypeId": hit["type"],
            "HITGroupId": hit["type"],
            "CreationTime": time_of(hit["created"]),
            "Expiration": time_of(hit["expires"]),
            "Question": hit["question"],
            "HITStatus": self.market.status(hit),
            "HITReviewStatus": "NotReviewed",
            "MaxAssignments": hit["most"],
            "AssignmentDurationInSeconds": kind["AssignmentDurationInSeconds"],
            "NumberOfAssignmentsPending": pending,
            "NumberOfAssignmentsAvailable": available,
            "NumberOfAssignmentsCompleted": judged,
            **{key: kind[key] for key in same if key in kind},
        }
        return found | ({"RequesterAnnotation": hit["annotation"]} if hit["annotation"] else {})


def assignment(row: Any) -> dict[str, Any]:
    found = {
        "AssignmentId": row["id"],
        "WorkerId": row["worker"],
        "HITId": row["hit"],
        "AssignmentStatus": row["status"],
        "AcceptTime": time_of(row["accepted"]),
        "SubmitTime": time_of(row["submitted"]),
        "AutoApprovalTime": time_of(row["autoapproval"]),
        "Answer": row["answer"],
    }
    if row["status"] != "Submitted":
        found["ApprovalTime" if row["status"] == "Approved" else "RejectionTime"] = time_of(row["judged"])
    return found | ({"RequesterFeedback": row["feedback"]} if row["feedback"] else {})


def bonus(row: Any) -> dict[str, Any]:
    return {
        "WorkerId": row["worker"],
        "BonusAmount": cents(row["amount"]),
        "AssignmentId": row["assignment"],
        "Reason": row["reason"],
        "GrantTime": time_of(row["at"]),
    }


def check_question(question: str | None) -> None:
    if not question or len(question.encode()) > MOST_QUESTION:
        raise Refusal("InvalidParameterValue", f"Question: give 1 to {MOST_QUESTION} bytes")
    try:
        root = ElementTree.fromstring(question)
    except ElementTree.ParseError as e:
        raise Refusal("XMLParseError", f"Question: {e}") from None
    page = root.findtext(f"{_HTML}HTMLContent") or ""
    if root.tag != f"{_HTML}HTMLQuestion" or root.find(f"{_HTML}FrameHeight") is None or "<crowd-form" not in page:
        raise Refusal("InvalidQuestion", "Question: no HTMLQuestion with a form that can be handed in")


def within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Refusal("InvalidParameterValue", f"{name}: {value} is not between {low} and {high}")


def dollars(text: str) -> int:
    """Micro-dollars of an amount with at most two decimals."""
    whole, _, part = text.partition(".")
    return int(whole) * 1_000_000 + int((part + "00")[:2]) * 10_000


def cents(amount: int) -> str:
    """An amount as the API shows it, rounded down."""
    amount = max(0, amount) // 10_000
    return f"{amount // 100}.{amount % 100:02d}"


def time_of(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
