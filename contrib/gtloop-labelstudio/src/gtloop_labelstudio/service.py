"""The server's API: one door for every call, patient, and with errors of one line.

A call that would make something twice if it were repeated goes through ``once``; all others are tried again.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from json import dumps
from typing import Any, NamedTuple

from gtloop.errors import ConfigError, GtloopError, Unreachable

from gtloop_labelstudio.options import LabelStudioOptions

PAGE = 100
"""Tasks of a page."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 20.0
"""Waits are uniform between 0 and this, doubled from try to try."""
FINISH_S = 10.0
"""How long the server may go on with a call whose answer was lost, or whose process died, before it is repeated."""


class Refused(GtloopError):
    """The server says no to a call.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, where: str, status: int, said: str) -> None:
        super().__init__(f"Label Studio refuses {where} (HTTP {status}): {said}")
        self.status = status


class Unsure(GtloopError):
    """A call failed, and nobody knows whether it was done, or will be."""


class _Busy(Exception):
    """Worth another try."""


class Reply(NamedTuple):
    """JSON of a call (None: it has none), and the server's clock when it answered."""

    json: Any
    at: datetime | None


class Page(NamedTuple):
    """Some tasks as JSON, and the server's clock when it listed them."""

    tasks: list[dict[str, Any]]
    at: datetime | None


class Service:
    """The API of one server, with the rights of one access token. Threads may share it."""

    def __init__(self, options: LabelStudioOptions) -> None:
        self._options = options
        self._client: Any = None
        self._lock = threading.Lock()
        self._bearer = ""

    def call(self, method: str, path: str, until: float | None = None, **given: Any) -> Any:
        """The JSON that a call brings; tried again while it fails for a while.

        Args:
            method: HTTP's.
            path: From ``/api`` on.
            until: ``time.monotonic()`` after which it is not tried again; None: ``patience_s`` from now.
            given: What httpx takes: ``params``, ``json``, ``files``.

        Raises:
            Refused: The server says no.
            ConfigError: It does not take the token.
            Unreachable: It does not answer, or fails.
        """
        return self._patiently(method, path, until, given).json

    def once(self, method: str, path: str, **given: Any) -> Any:
        """As ``call``, tried one single time.

        Raises:
            Unsure: It may have been done.
            GtloopError: As ``call``; it was not done.
        """
        try:
            return self._authorised(method, path, given).json
        except _Busy as e:
            raise Unsure(self._failed(method, path, e)) from None

    def tasks(self, project: int, include: str, key: str, least: str | int) -> Iterator[Page]:
        """The tasks of a project, by id, page by page.

        Args:
            project: Its id.
            include: Fields that are wanted, by comma.
            key: Field by which they are chosen, ``id`` or ``updated_at``.
            least: What it has to be greater than.
        """
        kind = "Number" if key == "id" else "Datetime"
        chosen = {"filter": f"filter:tasks:{key}", "operator": "greater", "type": kind, "value": least}
        return self._listed(project, include, chosen)

    def those(self, project: int, include: str, ids: Sequence[int]) -> Iterator[Page]:
        """As ``tasks``, the tasks with these ids."""
        for n in range(0, len(ids), PAGE):
            some = {"filter": "filter:tasks:id", "operator": "in_list", "type": "Number", "value": ids[n : n + PAGE]}
            yield from self._listed(project, include, some)

    def _listed(self, project: int, include: str, chosen: Mapping[str, Any]) -> Iterator[Page]:
        query = dumps({"filters": {"conjunction": "and", "items": [chosen]}, "ordering": ["tasks:id"]})
        number, total = 1, PAGE + 1
        while (number - 1) * PAGE < total:
            params = {"project": project, "page": number, "page_size": PAGE, "fields": "all", "include": include}
            reply = self._patiently("GET", "/api/tasks/", None, {"params": {**params, "query": query}})
            yield Page(reply.json["tasks"], reply.at)
            number, total = number + 1, int(reply.json["total"])

    def _patiently(self, method: str, path: str, until: float | None, given: Mapping[str, Any]) -> Reply:
        until = time.monotonic() + self._options.patience_s if until is None else until
        pause = FIRST_PAUSE_S
        while True:
            try:
                return self._authorised(method, path, given)
            except _Busy as e:
                if time.monotonic() + pause > until:
                    raise Unreachable(self._failed(method, path, e)) from None
            time.sleep(random.uniform(0, pause))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _failed(self, method: str, path: str, why: Exception) -> str:
        return (
            f"Label Studio at {self._options.url}: {method} {path} fails: {why}; look after the server, "
            "then run the same command again"
        )

    def _authorised(self, method: str, path: str, given: Mapping[str, Any]) -> Reply:
        """One try; a second one where only the access token has run out.

        Raises:
            _Busy: Worth another try.
            GtloopError: As ``call``.
        """
        token, bearer = self._token(), self._bearer
        try:
            return self._send(method, path, self._header(token), given)
        except Refused as e:
            if e.status != 401:
                raise
        if _personal(token):
            with self._lock:
                if self._bearer == bearer:  # else another thread has got a new one
                    self._bearer = ""
            try:
                return self._send(method, path, self._header(token), given)
            except Refused as e:
                if e.status != 401:
                    raise
        raise ConfigError(
            f"Label Studio at {self._options.url} does not take the access token in {self._options.token_env}: copy "
            "yours from Account & Settings > Personal Access Token there (a legacy token has to be allowed by the "
            "organization)"
        )

    def _token(self) -> str:
        token = os.environ.get(self._options.token_env, "").strip()
        if not token or not token.isascii() or not token.isprintable():
            raise ConfigError(
                f"set {self._options.token_env} to your access token of Label Studio at {self._options.url} "
                "(Account & Settings > Personal Access Token)"
            )
        return token

    def _header(self, token: str) -> str:
        if not _personal(token):
            return f"Token {token}"
        with self._lock:
            if not self._bearer:
                reply = self._send("POST", "/api/token/refresh/", None, {"json": {"refresh": token}})
                self._bearer = str(reply.json["access"])
            return f"Bearer {self._bearer}"

    def _send(self, method: str, path: str, header: str | None, given: Mapping[str, Any]) -> Reply:
        import httpx

        headers = {"Authorization": header} if header else {}
        try:
            answer = self._made().request(method, path, headers=headers, **given)
        except httpx.TransportError as e:
            raise _Busy(_line(e)) from None
        if answer.status_code >= 500 or answer.status_code in (408, 425, 429):
            raise _Busy(f"HTTP {answer.status_code}")
        if answer.status_code >= 300:
            raise Refused(f"{method} {path}", answer.status_code, _said(answer))
        try:
            return Reply(answer.json() if answer.content else None, _date(answer.headers.get("date", "")))
        except ValueError:
            raise Refused(f"{method} {path}", answer.status_code, "what answers is no Label Studio; see url") from None

    def _made(self) -> Any:
        import httpx

        if self._client is None:
            # Nothing but calls of this class may use it: no cookies are kept, which would outlive the token.
            self._client = httpx.Client(base_url=self._options.url, timeout=self._options.timeout_s)
        self._client.cookies.clear()
        return self._client


def _personal(token: str) -> bool:
    """Whether a token is a JSON web token, from which access tokens of minutes are made; else it is a legacy one."""
    return token.count(".") == 2


def _said(answer: Any) -> str:
    """What the server says of an error, short."""
    try:
        said = answer.json()
    except ValueError:
        return str(answer.reason_phrase)
    if isinstance(said, dict):
        said = said.get("validation_errors") or said.get("detail") or said
    return re.sub(r"\?[^\s'\"]*", "", " ".join(str(said).split()))[:300]  # queries of addresses may be signatures


def _date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


def _line(e: Exception) -> str:
    return f"{type(e).__name__}: {' '.join(str(e).split())[:200]}"
