"""An S3 of our own: moto's server over HTTP, behind a proxy that is busy, slow, cuts off answers, or is down."""

from __future__ import annotations

import http.client
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, unquote

from ports import free_port

from gtloop import remote

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Proxy:
    """What stands between gtloop and the server, and counts what is asked.

    Attributes:
        busy: Every so many-th request is answered with 503; 0: none.
        cut: Every so many-th answer breaks off in the middle.
        slow: Every so many-th answer pauses in the middle.
        asked: Number of requests by method and path, without the query.
    """

    def __init__(self, backend: tuple[str, int]) -> None:
        self.backend = backend
        self.busy = self.cut = self.slow = 0
        self.asked: Counter[tuple[str, str]] = Counter()
        self.faults: Counter[str] = Counter()
        self.number = 0
        self._server: ThreadingHTTPServer | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def gets(self, bucket: str) -> Counter[str]:
        """Number of GETs of each object of a bucket."""
        start = f"/{bucket}/"
        return Counter({p[len(start) :]: n for (m, p), n in self.asked.items() if m == "GET" and p.startswith(start)})

    def up(self) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                proxy.answer(self)

            do_GET = do_HEAD = do_PUT = do_POST = do

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Connections are refused from now on."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        remote._forget()  # connections that are open already would go on

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.number += 1
        n = self.number
        self.asked[request.command, unquote(request.path.partition("?")[0])] += 1
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        if self.busy and n % self.busy == 0:
            self.faults["busy"] += 1
            said = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
            self._send(request, 503, {"content-type": "application/xml"}, said)
            return
        backend = http.client.HTTPConnection(*self.backend, timeout=30)
        headers = {k: v for k, v in request.headers.items() if k.lower() != "connection"}
        backend.request(request.command, request.path, body, headers)
        found = backend.getresponse()
        data = found.read()
        kept = {k: v for k, v in found.getheaders() if k.lower() not in ("connection", "transfer-encoding", "date")}
        if self.cut and n % self.cut == 0 and len(data) > 1:
            self.faults["cut"] += 1
            self._send(request, found.status, kept, data, cut=True)
            request.close_connection = True
            return
        pause = 0.05 if self.slow and n % self.slow == 0 else 0.0
        self.faults["slow"] += pause > 0
        self._send(request, found.status, kept, data, pause=pause)

    @staticmethod
    def _send(
        request: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        data: bytes,
        cut: bool = False,
        pause: float = 0.0,
    ) -> None:
        request.send_response_only(status)
        if request.command != "HEAD":
            headers = {k: v for k, v in headers.items() if k.lower() != "content-length"}
            headers["content-length"] = str(len(data))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            half = len(data) // 2
            request.wfile.write(data[:half])
            time.sleep(pause)
            request.wfile.write(b"" if cut else data[half:])


class S3:
    """A server with its proxy."""

    def __init__(self, backend: tuple[str, int]) -> None:
        self.backend = backend
        self.proxy = Proxy(backend)

    def bucket(self, name: str, folder: Path | None = None, prefix: str = "") -> None:
        """Make a bucket; with the files of ``folder`` below ``prefix``."""
        self.request("PUT", f"/{name}")
        for path in sorted(folder.rglob("*")) if folder else ():
            if path.is_file():
                self.put(name, prefix + path.relative_to(folder or path).as_posix(), path.read_bytes())

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.request("PUT", f"/{bucket}/{quote(key)}", data)

    def delete(self, bucket: str, key: str) -> None:
        self.request("DELETE", f"/{bucket}/{quote(key)}")

    def request(self, method: str, path: str, data: bytes = b"") -> None:
        """Past the proxy."""
        server = http.client.HTTPConnection(*self.backend, timeout=30)
        server.request(method, path, data, {"Authorization": SIGNED})
        answer = server.getresponse()
        answer.read()
        assert answer.status < 300, (method, path, answer.status)


SIGNED = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
"""moto tells services apart by it, and checks no signature."""


@contextmanager
def serving() -> Iterator[S3]:
    """A server of our own, as the environment names it to every AWS client."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    s3 = S3(server.get_host_and_port())
    s3.proxy.up()
    with patch.dict(os.environ, {**KEYS, "AWS_ENDPOINT_URL": s3.proxy.url}):
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            os.environ.pop(name, None)
        remote._forget()
        try:
            yield s3
        finally:
            remote._forget()
            server.stop()
