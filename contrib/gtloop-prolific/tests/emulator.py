"""Prolific as far as the annotator sees it: its API over HTTP, strict about shapes, with faults; and its participants.

It runs in a thread of the test; whoever drives a run may be another process. Money is in cents.
"""

from __future__ import annotations

import asyncio
import math
import random
import socket
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from shapes import (
    BonusPayments,
    CreateStudy,
    ReturnRequest,
    StudyCost,
    StudyTransition,
    SubmissionTransition,
    UpdateStudy,
    error,
)

TOKEN = "tok-secret-93f1"
FEE = 0.428
LEAST_HOUR = 800
TAKES = {"RESERVED", "ACTIVE", "AWAITING REVIEW", "APPROVED"}


class Denied(Exception):
    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(str(detail))
        self.status, self.detail = status, detail


class Emulator:
    """One account.

    Args:
        faults: Share of calls that go wrong: refused (429), failing before or after their effect (503), or answered
            later than anybody waits (``hang_s``).
    """

    def __init__(self, faults: float = 0.0, seed: int = 0, hang_s: float = 1.5, balance: int = 1_000_000) -> None:
        self.studies: dict[str, dict[str, Any]] = {}
        self.submissions: dict[str, dict[str, Any]] = {}
        self.bonuses: dict[str, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()
        self.balance, self.faults, self.hang_s = balance, faults, hang_s
        self.fee = FEE
        self.next_faults: list[tuple[str, str]] = []
        """(part of the call, fault) to come, before any at random."""
        self._rng, self._lock, self._count = random.Random(seed), threading.RLock(), 0
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(self._app(), host="127.0.0.1", port=self.port, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)

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

    # ------------------------------------------------------------------------------------------- HTTP

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def wrap(request: Request, call_next: Any) -> Any:
            path, call = request.url.path, f"{request.method} {request.url.path}"
            if not path.startswith("/api/"):
                return await call_next(request)
            if request.headers.get("authorization") != f"Token {TOKEN}":
                return JSONResponse(error(401, "Authentication credentials were not provided."), 401)
            fault = self._fault(call)
            self.calls[f"{request.method} {path.split('/')[3]} {fault}".strip()] += 1
            if fault == "429":
                return JSONResponse(error(429, "Too many requests"), 429, {"Retry-After": "0"})
            if fault == "503 before":
                return Response("<html>Bad gateway</html>", 502)
            answer = await call_next(request)
            if fault == "503 after":
                return JSONResponse(error(503, "Service unavailable"), 503)
            if fault == "hang":
                await asyncio.sleep(self.hang_s)
            return answer

        @app.exception_handler(Denied)
        async def denied(request: Request, e: Denied) -> JSONResponse:
            self.calls["denied"] += 1
            return JSONResponse(error(e.status, e.detail), e.status)

        @app.exception_handler(RequestValidationError)
        async def invalid(request: Request, e: RequestValidationError) -> JSONResponse:
            self.calls["misfit"] += 1
            detail = {".".join(map(str, x["loc"][1:])): [x["msg"]] for x in e.errors()}
            return JSONResponse(error(400, detail), 400)

        self._routes(app)
        return app

    def _fault(self, call: str) -> str:
        with self._lock:
            for n, (part, fault) in enumerate(self.next_faults):
                if part in call:
                    del self.next_faults[n]
                    return fault
            if self._rng.random() < self.faults:
                return self._rng.choice(["429", "503 before", "503 after", "hang"])
            return ""

    def _study(self, name: str) -> dict[str, Any]:
        if name not in self.studies:
            raise Denied(404, "Not found.")
        return self.studies[name]

    def _submission(self, name: str) -> dict[str, Any]:
        if name not in self.submissions:
            raise Denied(404, "Not found.")
        return self.submissions[name]

    def _told(self, study: dict[str, Any]) -> dict[str, Any]:
        return {
            **study,
            "status": self._status(study),
            "places_taken": study["total_available_places"] - self._left(study),
        }

    def _routes(self, app: FastAPI) -> None:
        api = "/api/v1"

        @app.get(f"{api}/users/me/")
        def me() -> Any:
            return {"id": "5f000000000000000000aaaa", "email": "lab@example.org"}

        @app.get(api + "/workspaces/{name}/balance/")
        def balance(name: str) -> Any:
            return {"currency_code": "USD", "total_balance": self.balance, "available_balance": self.balance}

        @app.post(f"{api}/study-cost-calculator/")
        def cost(body: StudyCost) -> Any:
            return {"total_cost": self._cost(body.reward, body.total_available_places)}

        @app.get(f"{api}/studies/")
        def studies(state: str = "") -> Any:
            keys = ("id", "name", "internal_name", "reward", "total_available_places")
            with self._lock:
                return {
                    "results": [{**{k: s[k] for k in keys}, "status": self._status(s)} for s in self.studies.values()]
                }

        @app.post(f"{api}/studies/", status_code=201)
        def create(body: CreateStudy) -> Any:
            with self._lock:
                return self._told(self.create(body))

        @app.get(api + "/studies/{name}/")
        def study(name: str) -> Any:
            with self._lock:
                return self._told(self._study(name))

        @app.patch(api + "/studies/{name}/")
        def update(name: str, body: UpdateStudy) -> Any:
            with self._lock:
                return self._told(self.update(self._study(name), body))

        @app.post(api + "/studies/{name}/transition/")
        def move(name: str, body: StudyTransition) -> Any:
            with self._lock:
                return self._told(self.move(self._study(name), body.action))

        @app.get(f"{api}/submissions/")
        def submissions(study: str, page: int = 1, page_size: int = 20) -> Any:
            with self._lock:
                found = [s for s in self.submissions.values() if s["study"] == self._study(study)["id"]]
                rows = found[(page - 1) * page_size : page * page_size]
                if not rows and page > 1:
                    raise Denied(404, "Invalid page.")
                return {"results": [
                    {"id": s["id"], "participant_id": s["participant"], "status": s["status"], "study_code": s["code"],
                     "started_at": s["started"], "completed_at": None, "has_siblings": False,
                     "return_requested": s["return_requested"]} for s in rows]}  # fmt: skip

        @app.get(api + "/submissions/{name}/")
        def submission(name: str) -> Any:
            with self._lock:
                s = self._submission(name)
                paid = [b["amount"] for b in self.bonuses.values() for _ in range(b["paid"]) if b["submission"] == name]
                return {"id": name, "participant": s["participant"], "status": s["status"], "study_id": s["study"],
                        "started_at": s["started"], "entered_code": s["code"], "bonus_payments": paid,
                        "return_requested": s["return_requested"]}  # fmt: skip

        @app.post(api + "/submissions/{name}/transition/")
        def judge(name: str, body: SubmissionTransition) -> Any:
            with self._lock:
                self.judge(self._submission(name), body)
            return submission(name)

        @app.post(api + "/submissions/{name}/request-return/")
        def ask_back(name: str, body: ReturnRequest) -> Any:
            with self._lock:
                self._submission(name)["return_requested"] = datetime.now(UTC).isoformat()
            return submission(name)

        @app.post(f"{api}/submissions/bonus-payments/", status_code=201)
        def set_up(body: BonusPayments) -> Any:
            with self._lock:
                who, amount = body.csv_bonuses.strip().split(",")
                if self._submission(who)["study"] != body.study_id:
                    raise Denied(400, f"{who} has not taken part")
                name = self._id()
                cents = round(float(amount) * 100)
                self.bonuses[name] = {"submission": who, "amount": cents, "paid": 0}
                return {"id": name, "study": body.study_id, "amount": cents, "total_amount": cents * (1 + FEE)}

        @app.post(api + "/bulk-bonus-payments/{name}/pay/", status_code=202)
        def pay(name: str) -> Any:
            with self._lock:
                self.bonuses[name]["paid"] += 1  # not idempotent, as Prolific warns
            return "Successfully received"

        @app.get("/submissions/complete")
        def complete(cc: str) -> HTMLResponse:
            """Where the page of a study leads back to; whoever is at work on that study is meant."""
            at_work = [s for s in self.submissions.values() if s["status"] == "ACTIVE"]
            (mine,) = [s for s in at_work if cc in [c["code"] for c in self.studies[s["study"]]["completion_codes"]]]
            return HTMLResponse(f"<title>Prolific</title><h1>Submission {self.complete(mine['id'], cc)}</h1>")
