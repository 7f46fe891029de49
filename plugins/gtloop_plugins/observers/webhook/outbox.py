"""Delivery of messages over HTTP: a short queue, a thread, further tries."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import queue
import threading
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gtloop.wording import counted

QUEUE = 100
"""Messages that may wait; more are left out."""
WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try."""
CLOSE_S = 5.0
"""How long what is under way may take when the run ends."""
AGAIN = frozenset({408, 425, 429})
"""HTTP codes below 500 after which a further try may help."""

log = logging.getLogger("gtloop.webhook")


class Outbox:
    """Delivers messages from a thread of its own; it begins with the first message."""

    def __init__(self, url: str, secret: str | None, timeout_s: float) -> None:
        self._url, self._secret, self._timeout_s = url, secret, timeout_s
        self._host = urlsplit(url).hostname or "?"  # the rest of the address may be a secret: it is never logged
        self._queue: queue.Queue[bytes] = queue.Queue(QUEUE)
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def put(self, message: dict[str, Any]) -> None:
        """Queue a message; never waits."""
        try:
            self._queue.put_nowait(json.dumps(message, ensure_ascii=False).encode())
        except queue.Full:
            log.warning("webhook: %s does not keep up, message left out: %s", self._host, message["text"])
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wait until all is delivered or given up, ``CLOSE_S`` seconds at most; nothing is delivered afterwards."""
        if self._closed.is_set():
            return
        with self._queue.all_tasks_done:
            self._queue.all_tasks_done.wait_for(lambda: not self._queue.unfinished_tasks, CLOSE_S)
        if left := self._queue.unfinished_tasks:
            log.warning("webhook: %s was not told in time, left out: %s", self._host, counted(left, "message"))
        self._closed.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(b"")  # wakes the thread, so that it ends

    def _work(self) -> None:
        while not self._closed.is_set():
            body = self._queue.get()
            try:
                if not self._closed.is_set():
                    self._deliver(body)
            except Exception as e:
                log.warning("webhook: %s was not told: %s", self._host, type(e).__name__)
            finally:
                self._queue.task_done()

    def _deliver(self, body: bytes) -> None:
        for wait_s in (*WAITS_S, None):
            tried = self._post(body)
            if tried.done or self._closed.is_set():
                return
            if wait_s is None or not tried.again:
                log.warning("webhook: %s was not told, as it %s", self._host, tried.fault)
                return
            self._closed.wait(wait_s)

    def _post(self, body: bytes) -> Tried:
        import http.client
        import urllib.error
        import urllib.request

        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "gtloop-webhook"}
        if self._secret is not None:
            signature = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
            headers["X-Gtloop-Signature"] = f"sha256={signature}"

        class NoRedirect(urllib.request.HTTPRedirectHandler):
            """A POST that is redirected would become a GET, or go to who knows whom."""

            def redirect_request(self, *args: Any, **kwargs: Any) -> None:
                return None

        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")
        try:
            with urllib.request.build_opener(NoRedirect).open(request, timeout=self._timeout_s):
                return Tried(True, False, "")
        except urllib.error.HTTPError as e:
            e.close()
            redirects = "; give the address that it redirects to" if 300 <= e.code < 400 else ""
            return Tried(False, e.code >= 500 or e.code in AGAIN, f"answers {e.code}{redirects}")
        except OSError as e:
            return Tried(False, True, f"can't be reached: {getattr(e, 'reason', '') or e or type(e).__name__}")
        except http.client.HTTPException as e:
            return Tried(False, True, f"gives no answer of HTTP: {type(e).__name__}")


class Tried(NamedTuple):
    """How a try went: delivered, or why not and whether another may help."""

    done: bool
    again: bool
    fault: str
