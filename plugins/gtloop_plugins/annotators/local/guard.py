"""What every request passes before the application, and every response after: hosts, sessions, forgery, sizes."""

from __future__ import annotations

import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from gtloop_plugins.annotators.local.refused import Refused
from gtloop_plugins.annotators.local.tokens import Claim, Tokens

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
OFF = ("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "hid", "magnetometer", "microphone")
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": ", ".join(f"{name}=()" for name in (*OFF, "midi", "payment", "serial", "usb")),
}
"""Of every response; one that has a header of that name already keeps it."""

FAULT = "something went wrong on the server; its terminal says more"
SMALL_BODY = 64 << 10
RATE, BURST = 20.0, 60.0
"""Requests a second that one session may go on making, and at once."""
MOST_BUCKETS = 10_000


class Limiter:
    """A token bucket for each key."""

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, key: str) -> bool:
        """Whether one more request is fine now."""
        now = time.monotonic()
        left, since = self._buckets.get(key, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        if len(self._buckets) >= MOST_BUCKETS:
            self._buckets = {k: b for k, b in self._buckets.items() if now - b[1] < self._burst / self._rate}
        self._buckets[key] = (max(0.0, left - 1), now)
        return left >= 1


def claim_of(scope: Scope) -> Claim:
    """The session of a request.

    Raises:
        Refused: It has none.
    """
    claim: Claim | None = scope["state"].get("claim")
    if claim is None:
        raise Refused(401, "signed_out", "open your personal link to sign in")
    return claim


class Guard:
    """ASGI middleware round the whole application.

    Args:
        hosts: Says whether a ``Host`` header is one that this server was started for.
        cookie: Name of the session's cookie.
        bodies: Path to the largest body in bytes, where it is not 64 KiB.
        fail: Makes the page or JSON of a refusal: (scope, status, code, text) to an ASGI response.
    """

    def __init__(
        self,
        app: App,
        tokens: Tokens,
        hosts: Callable[[str], bool],
        origins: Collection[str],
        cookie: str,
        bodies: Mapping[str, int],
        fail: Callable[[Scope, int, str, str], App],
    ) -> None:
        self._app, self._tokens, self._cookie, self._bodies, self._fail = app, tokens, cookie, bodies, fail
        self._hosts, self._origins = hosts, frozenset(origins)
        self._limiter = Limiter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        static = scope["path"].startswith("/static/")
        answer = _Answer(send, "no-cache" if static else "no-store")  # "no-cache": kept, but asked for each time
        try:
            receive = await self._checked(scope, receive)
            await self._app(scope, receive, answer)
        except Refused as e:
            await self._fail(scope, e.status, e.code, str(e))(scope, receive, answer)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if not answer.started:
                await self._fail(scope, 500, "fault", FAULT)(scope, receive, answer)

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        """Refuse what must not pass; the rest gets its session and a body of bounded size."""
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        host, path = headers.get("host", ""), scope["path"]
        if not self._hosts(host):
            raise Refused(403, "wrong_host", "this server does not answer to that name")
        claim = scope.setdefault("state", {})["claim"] = self._claim(headers.get("cookie", ""))
        if not path.startswith("/static/"):
            client = (scope.get("client") or ("",))[0]
            if not self._limiter.allows(claim.session if claim else f"from {client}"):
                raise Refused(429, "too_fast", "too many requests; wait a second")
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return receive
        joining = path == "/join"
        self._check_origin(headers.get("origin"), host, joining)
        if not joining:
            self._check_change(claim, headers)
        return await _bounded(receive, headers, self._bodies.get(path, SMALL_BODY))

    def _claim(self, cookies: str) -> Claim | None:
        try:
            found = SimpleCookie(cookies).get(self._cookie)
        except CookieError:
            return None
        return None if found is None else self._tokens.read("session", found.value)

    def _check_origin(self, origin: str | None, host: str, joining: bool) -> None:
        # A form that is sent under "no-referrer" has the origin "null"; its token is its secret.
        same = {f"http://{host}", *self._origins} | ({"null"} if joining else set())
        if origin is not None and origin not in same:
            raise Refused(403, "other_origin", "this came from another site")

    def _check_change(self, claim: Claim | None, headers: Mapping[str, str]) -> None:
        if claim is None:
            raise Refused(401, "signed_out", "open your personal link first")
        given = headers.get("x-csrf-token", "").encode("latin-1")
        if not hmac.compare_digest(given, self._tokens.csrf(claim).encode()):
            raise Refused(403, "bad_csrf", "reload the page and try again")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(400, "not_json", "send JSON, with content type application/json")


class _Answer:
    """``send`` that adds the headers of every response, and knows whether one has begun."""

    def __init__(self, send: Send, cache: str) -> None:
        self._send, self.started = send, False
        self._headers = {k.encode(): v.encode() for k, v in {**HEADERS, "cache-control": cache}.items()}

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            own = list(message.get("headers", []))
            names = {name.lower() for name, _ in own}
            more = [(k, v) for k, v in self._headers.items() if k not in names]
            message = {**message, "headers": own + more}
        await self._send(message)


async def _bounded(receive: Receive, headers: Mapping[str, str], most: int) -> Receive:
    """Read a body, giving up once it is too large, and return what hands it on."""
    too_large = Refused(413, "too_large", f"more than {most:,} bytes; that is no answer")
    length = headers.get("content-length", "")
    if length.isdigit() and int(length[:20]) > most:
        raise too_large
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "cut_off", "the connection broke off")
        body += message.get("body", b"")
        if len(body) > most:
            raise too_large
        more = message.get("more_body", False)
    waiting = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def failure(status: int, code: str, text: str) -> App:
    """The ASGI response of a refusal as JSON."""
    data = json.dumps({"error": text, "code": code}).encode()

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        if status == 413 or status == 429:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else data})

    return respond
