"""Prolific's API: one door for every call, patient, and with errors of one line that never hold the token."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from typing import Any

from gtloop.errors import ConfigError, GtloopError, Unreachable

from gtloop_prolific.options import TOKEN, ProlificOptions

PAGE = 100


class Refused(GtloopError):
    """The service says no to a call.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, what: str, status: int, said: str) -> None:
        hint = "; add money to the workspace, then run again" if "balance" in said.lower() else ""
        super().__init__(f"Prolific refuses {what}: {said}{hint}")
        self.status = status


class Unsure(Unreachable):
    """A call that changes something broke off, and nobody knows whether it was done."""


class Service:
    """The API of one account."""

    def __init__(self, options: ProlificOptions) -> None:
        self._options = options
        self._client: Any = None

    def call(
        self, method: str, path: str, body: Any = None, *, once: bool = False, until: float | None = None, **query: Any
    ) -> Any:
        """The JSON that a call brings; tried again while it fails for a while.

        Args:
            path: Below ``/api/v1``.
            body: JSON to send.
            once: It must not be done twice: where that could be, it is not tried again.
            until: ``time.monotonic()`` after which it is not tried again; None: ``patience_s`` from now.
            query: Parameters of the URL.

        Raises:
            ConfigError: There is no token, or Prolific does not know it.
            Refused: The service says no.
            Unsure: A call to be done ``once`` broke off.
            Unreachable: The service does not answer, or is too busy.
        """
        import httpx

        what = f"{method} {path}"
        until = time.monotonic() + self._options.patience_s if until is None else until
        pause, sent = 0.2, True
        while True:
            try:
                answer = self._made().request(method, f"/api/v1{path}", json=body, params=query or None)
                status, why = answer.status_code, f"HTTP {answer.status_code}"
                if status != 429 and status < 500:
                    return self._said(what, answer)
                sent = status != 429
                pause = max(pause, _seconds(answer.headers.get("Retry-After")))
            except httpx.ConnectError as e:
                why, sent = _line(e), False
            except (httpx.HTTPError, ValueError) as e:
                why, sent = _line(e), True
            if once and sent:
                raise Unsure(f"Prolific at {self._options.address}: {what} broke off: {why}")
            if time.monotonic() + pause > until:
                raise Unreachable(f"Prolific at {self._options.address}: {what} fails: {why}")
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, 20.0)

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """The results of all pages of a list."""
        page = 1
        while True:
            try:
                found = self.call("GET", path, **query, page=page, page_size=PAGE)["results"]
            except Refused as e:
                if e.status == 404 and page > 1:  # the last page was full
                    return
                raise
            yield from found
            if len(found) < PAGE:
                return
            page += 1

    def _said(self, what: str, answer: Any) -> Any:
        if answer.status_code in (401, 403):
            raise ConfigError(f"Prolific does not let this token do {what}: check {TOKEN}, and whose workspace it is")
        if answer.status_code >= 400:
            raise Refused(what, answer.status_code, _error(answer))
        return answer.json() if answer.content else {}

    def _made(self) -> Any:
        token = os.environ.get(TOKEN, "").strip()
        if not token:
            raise ConfigError(f"set {TOKEN} to an API token of Prolific (Settings, API tokens); it is kept nowhere")
        if self._client is None:
            import httpx

            self._client = httpx.Client(base_url=self._options.address, timeout=self._options.timeout_s)
        self._client.headers["Authorization"] = f"Token {token}"
        return self._client


def _error(answer: Any) -> str:
    """What Prolific says is wrong: its errors are ``{"error": {"title", "detail"}}``, detail a text, list or fields."""
    try:
        error = answer.json()
    except ValueError:
        return f"HTTP {answer.status_code}"
    error = error.get("error", error) if isinstance(error, dict) else error
    detail = error.get("detail", error) if isinstance(error, dict) else error
    if isinstance(detail, dict):
        detail = "; ".join(f"{k}: {' '.join(map(str, v)) if isinstance(v, list) else v}" for k, v in detail.items())
    elif isinstance(detail, list):
        detail = "; ".join(map(str, detail))
    return " ".join(str(detail).split())[:300]


def _seconds(header: str | None) -> float:
    return min(60.0, float(header)) if header and header.isdigit() else 0.0


def _line(e: Exception) -> str:
    return " ".join(str(e).split())[:200] or type(e).__name__
