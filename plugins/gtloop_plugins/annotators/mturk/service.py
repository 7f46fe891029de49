"""The Requester API: one door for every call, slow enough, patient, and with errors of one line.

Every call that goes through here may be repeated: what creates or pays carries a token, the rest changes nothing when
it is done again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from gtloop.errors import ConfigError, GtloopError, MissingExtra, Unreachable
from gtloop_plugins.annotators.mturk.options import MturkOptions

PAGE = 100
"""Most results of a page."""
_BUSY = ("Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "ServiceFault")
_NO_ACCESS = (
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "AccessDeniedException",
    "ExpiredTokenException",
)


class Refused(GtloopError):
    """The service says no to a call.

    Attributes:
        code: The error's code, without its prefix: ``InsufficientFunds``, ``HitAlreadyExists``, ...
        said: What the service says.
    """

    def __init__(self, operation: str, code: str, said: str) -> None:
        hint = "; add money to the account, then run again" if code == "InsufficientFunds" else ""
        super().__init__(f"MTurk refuses {operation}: {code}: {said}{hint}")
        self.code, self.said = code, said


class _Busy(Exception):
    """Worth another try."""


class Service:
    """The API of one account.

    The rate is that of the options, halved whenever the service throttles, and raised again by 2 % of it for each call
    that succeeds.
    """

    def __init__(self, options: MturkOptions) -> None:
        self._options = options
        self._rate = options.request_per_s
        self._next = 0.0
        self._client: Any = None
        self._session_made: Any = None
        self._lock = threading.RLock()  # a look may call beside the driver

    def call(self, operation: str, until: float | None = None, **given: Any) -> dict[str, Any]:
        """Call an operation by its Python name, such as ``create_hit_type``; tried again while it fails for a while.

        Args:
            operation: Name of the client's method.
            until: ``time.monotonic()`` after which it is not tried again; None: ``patience_s`` from now.
            given: Parameters.

        Raises:
            Refused: The service says no.
            Unreachable: It does not answer, or is too busy.
        """
        method = getattr(self._made(), operation)
        until = time.monotonic() + self._options.patience_s if until is None else until
        pause = 0.1
        while True:
            self._wait()
            try:
                answer: dict[str, Any] = self._once(operation, method, given)
                return answer
            except _Busy as e:
                if time.monotonic() + pause > until:
                    raise Unreachable(f"MTurk at {self._options.address}: {operation} fails: {e}") from None
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, 20.0)

    def pages(self, operation: str, key: str, until: float | None = None, **given: Any) -> Iterator[dict[str, Any]]:
        """The results of all pages of a list."""
        token: dict[str, str] = {}
        while True:
            page = self.call(operation, until, MaxResults=PAGE, **given, **token)
            yield from page.get(key, [])
            if not page.get("NextToken"):
                return
            token = {"NextToken": page["NextToken"]}

    def session(self) -> Any:
        """A boto3 session with credentials.

        Raises:
            ConfigError: There are none.
        """
        with self._lock:
            if self._session_made is None:
                self._session_made = _session(self._options)
            return self._session_made

    def _made(self) -> Any:
        with self._lock:
            if self._client is None:
                from botocore.config import Config

                seconds = self._options.timeout_s
                config = Config(
                    connect_timeout=seconds,
                    read_timeout=seconds,
                    retries={"mode": "standard", "total_max_attempts": 1},  # ``call`` is the one that tries again
                )
                self._client = self.session().client("mturk", endpoint_url=self._options.address, config=config)
            return self._client

    def _once(self, operation: str, method: Callable[..., dict[str, Any]], given: dict[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ParamValidationError
        from botocore.exceptions import ConnectionError as CantConnect
        from botocore.parsers import ResponseParserError

        try:
            answer = method(**given)
        except ClientError as e:
            code, said = _error(e)
            status = e.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _BUSY or status >= 500 or status == 429:
                if code in _BUSY[:4] or status == 429:
                    self._rate = max(0.02 * self._options.request_per_s, self._rate / 2)
                raise _Busy(f"{code}: {said}") from None
            if code in _NO_ACCESS:
                raise ConfigError(f"MTurk does not know these AWS credentials: {said}") from None
            raise Refused(operation, code, said) from None
        except ParamValidationError as e:
            raise ConfigError(f"MTurk's {operation} can't be called so: {_line(e)}") from None
        except (HTTPClientError, CantConnect, ResponseParserError) as e:
            raise _Busy(_line(e)) from None
        except BotoCoreError as e:
            raise ConfigError(f"MTurk at {self._options.address}: {_line(e)}") from None
        self._rate = min(self._options.request_per_s, self._rate + 0.02 * self._options.request_per_s)
        return answer

    def _wait(self) -> None:
        """Keep to the rate; what was saved in a second of rest may be spent at once."""
        with self._lock:
            now = time.monotonic()
            self._next = max(self._next, now - 1.0) + 1.0 / self._rate
            pause = self._next - now
        if pause > 0:
            time.sleep(pause)


def _session(options: MturkOptions) -> Any:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise MissingExtra("annotator 'mturk' needs boto3: pip install 'gtloop[mturk]'") from None
    try:
        session = boto3.Session(profile_name=options.profile, region_name=options.region)
        found = session.get_credentials()
    except BotoCoreError as e:
        raise ConfigError(f"AWS: {_line(e)}") from None
    if found is None:
        raise ConfigError(
            "no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "-o annotators.mturk.profile=NAME"
        )
    return session


def _error(e: Any) -> tuple[str, str]:
    """(code, text); MTurk's own code where there is one."""
    body = e.response
    code = body.get("TurkErrorCode") or body.get("Error", {}).get("TurkErrorCode") or body["Error"].get("Code", "")
    said = body["Error"].get("Message") or body.get("Message") or "no reason given"
    return str(code).removeprefix("AWS.MechanicalTurk."), " ".join(str(said).split())[:300]


def _line(e: Exception) -> str:
    return " ".join(str(e).split())[:300]
