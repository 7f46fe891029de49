"""A way to the server on which things go wrong as they are told to: requests lost, answers lost, errors, slowness."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

import httpx

Kind = Literal["busy", "lost", "cut", "late", "held"]
HELD_S = 120.0
"""Longest that an answer is held back."""


class Fault(NamedTuple):
    """What happens to the next call of a method whose path ends so.

    ``busy``: 503, not done. ``lost``: the connection breaks before the server hears of it. ``cut``: it is done, but the
    answer never comes. ``late``: as ``cut``, but done only after the
    tasks, or all projects, have been listed once. ``held``: all such
    calls are done, and their answers come once ``Way.go`` is set.
    """

    kind: Kind
    method: str
    path: str


class Way:
    """Passes calls on to a server; ``calls`` are those that reached it, ``answered`` those that it has done."""

    def __init__(self, target: str) -> None:
        self.faults: list[Fault] = []
        self.calls: list[tuple[str, str]] = []
        self.answered: list[tuple[str, str]] = []
        self.go = threading.Event()
        self._listed = threading.Event()
        way = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *given: Any) -> None:
                pass

            def handle_any(self) -> None:
                way._pass_on(self, target)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()

    def count(self, method: str, end: str) -> int:
        return sum(m == method and p.endswith(end) for m, p in self.calls)

    def _pass_on(self, handler: BaseHTTPRequestHandler, target: str) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        path = handler.path.partition("?")[0]
        fault = next((f for f in self.faults if f.method == handler.command and path.endswith(f.path)), None)
        if fault is not None and fault.kind != "held":
            self.faults.remove(fault)
        if fault is not None and fault.kind == "lost":
            handler.close_connection = True
            return
        if fault is not None and fault.kind == "busy":
            self._reply(handler, 503, b"", "text/plain")
            return
        if fault is not None and fault.kind == "late":
            self._listed.clear()
            handler.connection.shutdown(socket.SHUT_RDWR)
            self._listed.wait(HELD_S)
        self.calls.append((handler.command, path))
        headers = {k: v for k, v in handler.headers.items() if k.lower() in ("authorization", "content-type")}
        answer = httpx.request(handler.command, target + handler.path, content=body, headers=headers, timeout=120)
        self.answered.append((handler.command, path))
        if fault is not None and fault.kind == "held":
            self.go.wait(HELD_S)
        if fault is not None and fault.kind in ("cut", "late"):
            handler.close_connection = True
            return
        self._reply(handler, answer.status_code, answer.content, answer.headers.get("content-type", ""), answer)

    def _reply(
        self, handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str, answer: httpx.Response | None = None
    ) -> None:
        handler.send_response_only(status)
        if answer is not None:
            handler.send_header("Date", answer.headers["date"])
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        if handler.path.startswith(("/api/tasks/?", "/api/projects/?")):
            self._listed.set()
