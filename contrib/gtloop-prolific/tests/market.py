"""Prolific's rules: studies, places, submissions, money in cents; and what participants do."""

from __future__ import annotations

import math
import threading
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from shapes import CreateStudy, SubmissionTransition, UpdateStudy

FEE = 0.428
LEAST_HOUR = 800
TAKES = {"RESERVED", "ACTIVE", "AWAITING REVIEW", "APPROVED"}


class Denied(Exception):
    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(str(detail))
        self.status, self.detail = status, detail


class Market:
    """The studies of one account, and its balance."""

    def __init__(self, balance: int) -> None:
        self.studies: dict[str, dict[str, Any]] = {}
        self.submissions: dict[str, dict[str, Any]] = {}
        self.bonuses: dict[str, dict[str, Any]] = {}
        self.balance, self.fee = balance, FEE
        self._lock, self._count = threading.RLock(), 0

    # ------------------------------------------------------------------------------- participants

    def offered(self, name: str = "") -> list[str]:
        """Studies that somebody could take now, whose internal name holds a text."""
        with self._lock:
            found = [s for s in self.studies.values() if name in (s["internal_name"] or "")]
            return [s["id"] for s in found if self._status(s) == "ACTIVE" and self._left(s) > 0]

    def take(self, participant: str, study: str) -> tuple[str, str] | None:
        """Start a submission: (its id, where it leads); None where this participant may not."""
        with self._lock:
            s = self.studies[study]
            mine = [x for x in self.submissions.values() if (x["study"], x["participant"]) == (study, participant)]
            most = s["submissions_config"]["max_submissions_per_participant"]
            if self._left(s) < 1 or self._status(s) != "ACTIVE" or 0 < most <= len(mine):
                return None
            name = self._id()
            self.submissions[name] = {
                "id": name, "study": study, "participant": participant, "status": "ACTIVE", "code": None,
                "started": datetime.now(UTC).isoformat(), "return_requested": None, "message": "", "category": "",
            }  # fmt: skip
            given = {"PROLIFIC_PID": participant, "STUDY_ID": study, "SESSION_ID": name}
            url = str(s["external_study_url"])
            for key, value in given.items():
                url = url.replace("{{%" + key + "%}}", value)
            assert "{{" not in url
            assert dict(parse_qsl(url.partition("?")[2])) == given
            return name, url

    def complete(self, submission: str, code: str | None) -> str:
        """Hand in a code (None: NOCODE); returns the status."""
        with self._lock:
            found = self.submissions[submission]
            assert found["status"] == "ACTIVE"
            codes = {c["code"]: c for c in self.studies[found["study"]]["completion_codes"]}
            found["code"], found["status"] = code, "AWAITING REVIEW"
            if code in codes and codes[code]["actions"][0]["action"] == "REQUEST_RETURN":
                found["status"] = "RETURNED"  # who is asked to, returns it
            return str(found["status"])

    def put(self, submission: str, status: str) -> None:
        """What a participant, or Prolific, does without being asked."""
        with self._lock:
            self.submissions[submission]["status"] = status

    def statuses(self) -> Counter[str]:
        with self._lock:
            return Counter(s["status"] for s in self.submissions.values())

    def paid(self) -> int:
        """Cents that approved submissions cost, fees excluded."""
        return sum(self.studies[s["study"]]["reward"] for s in self.submissions.values() if s["status"] == "APPROVED")

    # ----------------------------------------------------------------------------------------- rules

    def _id(self) -> str:
        self._count += 1
        return f"{self._count:024x}"

    def _left(self, study: dict[str, Any]) -> int:
        taken = [s for s in self.submissions.values() if s["study"] == study["id"] and s["status"] in TAKES]
        return int(study["total_available_places"]) - len(taken)

    def _status(self, study: dict[str, Any]) -> str:
        own = [s["status"] for s in self.submissions.values() if s["study"] == study["id"]]
        if study["status"] != "ACTIVE" or self._left(study) > 0 or {"ACTIVE", "RESERVED"} & set(own):
            return str(study["status"])
        return "AWAITING REVIEW" if "AWAITING REVIEW" in own else "COMPLETED"

    def _cost(self, reward: float, places: float) -> float:
        return math.ceil(reward * places * (1 + self.fee))

    def create(self, body: CreateStudy) -> dict[str, Any]:
        if body.reward * 60 < LEAST_HOUR * body.estimated_completion_time:
            raise Denied(400, {"reward": ["The reward per hour is below the minimum."]})
        least = math.ceil(2 + 2 * body.estimated_completion_time + 2 * math.sqrt(body.estimated_completion_time))
        if body.maximum_allowed_time is not None and body.maximum_allowed_time < least:
            raise Denied(400, {"maximum_allowed_time": [f"At least {least}."]})
        if len({c.code for c in body.completion_codes}) < len(body.completion_codes):
            raise Denied(400, {"completion_codes": ["Each code must be unique."]})
        study = {**body.model_dump(), "id": self._id(), "status": "UNPUBLISHED"}
        self.studies[study["id"]] = study
        return study

    def update(self, study: dict[str, Any], body: UpdateStudy) -> dict[str, Any]:
        places = body.total_available_places
        if places is not None:
            if places < study["total_available_places"]:
                raise Denied(400, {"total_available_places": ["Only increasing is allowed."]})
            self._afford(study["reward"], places - study["total_available_places"])
            revived = self._status(study) in ("AWAITING REVIEW", "COMPLETED")
            study["total_available_places"] = places
            if revived:
                study["status"] = "ACTIVE"
        return study

    def move(self, study: dict[str, Any], action: str) -> dict[str, Any]:
        moves = {("UNPUBLISHED", "PUBLISH"): "ACTIVE", ("ACTIVE", "PAUSE"): "PAUSED", ("PAUSED", "START"): "ACTIVE",
                 ("ACTIVE", "STOP"): "COMPLETED", ("PAUSED", "STOP"): "COMPLETED"}  # fmt: skip
        status = self._status(study)
        if (status, action) not in moves:
            raise Denied(400, f"Study is {status}, {action} is not possible")
        if action == "PUBLISH":
            self._afford(study["reward"], study["total_available_places"])
        study["status"] = moves[status, action]
        return study

    def _afford(self, reward: int, places: int) -> None:
        spent = sum(self._cost(s["reward"], s["total_available_places"])
                    for s in self.studies.values() if s["status"] != "UNPUBLISHED")  # fmt: skip
        if spent + self._cost(reward, places) > self.balance:
            raise Denied(400, "Insufficient balance to publish the study")

    def judge(self, found: dict[str, Any], body: SubmissionTransition) -> None:
        to = {"APPROVE": "APPROVED", "REJECT": "REJECTED"}[body.action]
        if found["status"] == to:
            return
        if found["status"] not in ("AWAITING REVIEW", "TIMED-OUT"):
            raise Denied(400, f"Submission is {found['status']}")
        if body.action == "REJECT":
            if len(body.message or "") < 100 or body.rejection_category is None:
                raise Denied(400, {"message": ["A rejection needs a category and a message of 100 characters."]})
            found["message"], found["category"] = body.message, body.rejection_category
        found["status"] = to
