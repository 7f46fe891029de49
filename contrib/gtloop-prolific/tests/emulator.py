"""Prolific as far as the annotator sees it: its API over HTTP, strict about shapes, with faults; and its participants.

It runs in a thread of the test; whoever drives a run may be another process. Money is in cents.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from market import FEE, Denied, Market
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


class Emulator(Market):
    """One account.

    Args:
        faults: Share of calls that go wrong: refused (429), failing before or after their effect (503), or answered
            later than anybody waits (``hang_s``).
    """

    def __init__(self, faults: float = 0.0, seed: int = 0, hang_s: float = 1.5, balance: int = 1_000_000) -> None:
        super().__init__(balance)
        self.calls: Counter[str] = Counter()
        self.faults, self.hang_s = faults, hang_s
        self.next_faults: list[tuple[str, str]] = []
        """(part of the call, fault) to come, before any at random."""
        self._rng = random.Random(seed)
        bound = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self._app(), log_level="error", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, args=([bound],), daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)

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
                self._afford(self.bonuses[name]["amount"], 1)
                self.bonuses[name]["paid"] += 1  # not idempotent, as Prolific warns
            return "Successfully received"

        @app.get("/submissions/complete")
        def complete(cc: str) -> HTMLResponse:
            """Where the page of a study leads back to; whoever is at work on that study is meant."""
            at_work = [s for s in self.submissions.values() if s["status"] == "ACTIVE"]
            (mine,) = [s for s in at_work if cc in [c["code"] for c in self.studies[s["study"]]["completion_codes"]]]
            return HTMLResponse(f"<title>Prolific</title><h1>Submission {self.complete(mine['id'], cc)}</h1>")
