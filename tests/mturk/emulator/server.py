"""AWS JSON 1.1 over HTTP, and ``/control/...`` for those who test."""

from __future__ import annotations

import json
import socket
import time
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from emulator import faults, model
from emulator.crew import Crew
from emulator.market import Market, Refusal
from emulator.operations import Operations

_TARGET = "MTurkRequesterServiceV20170117."
_SIGNED = "AWS4-HMAC-SHA256 Credential="
_OFFERS = ("CreateHITWithHITType", "CreateAdditionalAssignmentsForHIT", "UpdateExpirationForHIT")


class Emulator(ThreadingHTTPServer):
    """``plan``: crew (see ``Crew``), auto (people answer at once), faults (share, seed, hang_s).

    And ``shuffled`` and ``lag_s`` (see ``Operations``), ``eager`` (see ``Market``).
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], market: Market, plan: dict[str, Any]) -> None:
        super().__init__(address, Handler)
        self.market, self.plan = market, plan
        self.operations = Operations(market, bool(plan.get("shuffled")), plan.get("lag_s", 0.0))
        market.eager = bool(plan.get("eager"))
        self.crew = Crew(market, plan["crew"]) if plan.get("crew") else None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that are cut are no news here."""

    def call(self, operation: str, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            model.check_input(operation, given)
            answer = self.operations.run(operation, given)
            model.check_output(operation, answer)
        except model.Misfit as e:
            self._note(operation, f"misfit: {e}")
            return 400, {"__type": "ValidationException", "Message": str(e)}
        except Refusal as e:
            self._note(operation, str(e.code))
            return 400, {"__type": "RequestError", "Message": str(e), "TurkErrorCode": e.code}
        self._note(operation, "ok")
        if self.plan.get("auto") and operation in _OFFERS and self.crew is not None:
            with self.market.books.writing():
                self.crew.work(answer["HIT"]["HITId"] if "HIT" in answer else given["HITId"])
        return 200, answer

    def control(self, what: str, given: dict[str, Any]) -> Any:
        books, market = self.market.books, self.market
        if what == "books":
            return self._account()
        with books.writing():
            if what == "clock":
                books.put("ahead", books.fact("ahead") + given["advance_s"])
                market.tick()
            elif what == "deposit":
                books.put("deposit", given["amount"])
            elif what == "accept":
                return market.accept(given["worker"], given["hit"])
            elif what == "submit":
                market.submit(given["assignment"], given["answer"], given.get("seconds", 0.0))
            elif what == "return":
                market.give_back(given["assignment"])
            elif what == "work":
                assert self.crew is not None
                return sum(self.crew.work(r["id"], given.get("most")) for r in self._open(given.get("hit")))
            elif what == "plan":
                self.plan |= given
                self.operations.shuffled = bool(self.plan.get("shuffled"))
            elif what == "sql":
                return [dict(r) for r in books.all(given["select"])]
            else:
                raise Refusal("Unknown", what)
        return None

    def _open(self, hit: str | None) -> list[Any]:
        rows = self.market.books.all("SELECT * FROM hit WHERE deleted = 0 ORDER BY number")
        return [r for r in rows if hit in (None, r["id"]) and self.market.status(r) == "Assignable"]

    def _account(self) -> dict[str, Any]:
        books = self.market.books
        rows = books.all(
            "SELECT kind, sum(amount) AS amount, sum(fee) AS fee, count(*) AS n FROM payment GROUP BY kind"
        )
        calls = books.all("SELECT operation, came, count(*) AS n FROM call GROUP BY operation, came")
        return {
            "paid": {r["kind"]: {"amount": r["amount"], "fee": r["fee"], "count": r["n"]} for r in rows},
            "balance": self.market.balance(),
            "held": self.market.held(),
            "calls": {f"{r['operation']} {r['came']}": r["n"] for r in calls},
        }

    def _note(self, operation: str, came: str) -> None:
        with self.market.books.writing():
            self.market.books.do("INSERT INTO call (operation, came) VALUES (?, ?)", operation, came)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Emulator

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:  # whoever called was killed in the middle of it
            return self._cut()
        try:
            given = json.loads(body or b"{}")
        except ValueError:
            return self._send(400, {"__type": "SerializationException", "Message": "no JSON"})
        if self.path.startswith("/control/"):
            try:
                return self._send(200, self.server.control(self.path.removeprefix("/control/"), given))
            except Refusal as e:
                return self._send(409, {"code": e.code, "message": str(e)})
        return self._api(given)

    def _api(self, given: dict[str, Any]) -> None:
        target, signed = self.headers.get("X-Amz-Target", ""), self.headers.get("Authorization", "")
        if not target.startswith(_TARGET) or "application/x-amz-json-1.1" not in self.headers.get("Content-Type", ""):
            return self._send(400, {"__type": "UnknownOperationException", "Message": target})
        if not signed.startswith(_SIGNED) or "/aws4_request" not in signed or "X-Amz-Date" not in self.headers:
            return self._send(400, {"__type": "MissingAuthenticationTokenException", "Message": "not signed"})
        operation, fault = target.removeprefix(_TARGET), self._fault()
        if fault == "throttle":
            return self._send(400, {"__type": "ThrottlingException", "Message": "Rate exceeded"})
        if fault == "fault":
            return self._send(
                500, {"__type": "ServiceFault", "Message": "temporary", "TurkErrorCode": "AWS.ServiceFault"}
            )
        if fault == "gateway":
            return self._send(503, b"<html>Service Unavailable</html>")
        if fault == "reset":
            return self._cut()
        if fault == "twice":
            self.server.call(operation, given)
        status, answer = self.server.call(operation, given)
        if fault == "timeout-after":
            time.sleep(self.server.plan["faults"].get("hang_s", 1.5))
        if fault in ("timeout-after", "reset-after"):
            return self._cut()
        return self._send(status, answer)

    def _fault(self) -> faults.Fault:
        plan = self.server.plan.get("faults")
        if not plan:
            return ""
        with self.server.market.books.writing():
            number = self.server.market.books.next("call")
        return faults.draw(plan.get("seed", 0), number, plan["share"])

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()

    def _send(self, status: int, answer: Any) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer, default=_plain).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(answer, bytes) else "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(type(value))
