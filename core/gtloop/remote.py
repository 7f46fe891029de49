"""What lies behind a URL: the one place that reads through fsspec (s3, gs, az, https and every other protocol of it).

An object is read whole, into memory and never to disk. What may pass by itself (no answer, a broken connection, HTTP
429 and 5xx) is tried again with exponential back-off and full jitter [Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015]. What is still so after ``TRIES`` is no image's fault: ``SourceError`` stops the run, which
goes on when it is started again. Only what is the object's own fault is ``BadImage``.

Everything here is thread-safe, and a forked process starts afresh.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Protocol, TypeVar

from gtloop.errors import BadImage, GtloopError, MissingExtra, SourceError
from gtloop.urls import is_web, local_path, place, shown

T = TypeVar("T")

TRIES = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
"""Waits are uniform between 0 and this, doubled from try to try: a dead service is given up after 8 s on average."""
KEPT_BYTES = 128 << 20
"""Of objects that were read last: an image is hashed, measured, decoded and shown, and fetched once for all of it."""
AHEAD = 16
"""Objects that ``read_ahead`` fetches at a time."""
READ_TIMEOUT_S = 30

_EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "azure"),
    **dict.fromkeys(("http", "https"), "http"),
}
"""Protocol to the extra that brings its package."""
_CREDENTIALS = {
    "s3": "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role; FSSPEC_S3_ANON=true for a "
    "public bucket",
    "gcs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
    "azure": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_CONNECTION_STRING",
}
# Errors are told by name, of the class or one that it derives from: their packages need not be installed.
_PASSING = {
    *("TimeoutError", "ConnectionError", "gaierror", "ClientConnectionError", "ClientPayloadError"),  # Python, aiohttp
    *("HTTPClientError", "IncompleteReadError", "ResponseParserError", "FlexibleChecksumError"),  # botocore
    *("ServiceRequestError", "ServiceResponseError", "TransportError", "ChecksumError"),  # Azure, Google
}
_NO_CREDENTIALS = {
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
    *("SSOError", "TokenRetrievalError", "DefaultCredentialsError", "RefreshError", "ClientAuthenticationError"),
    *("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId", "SignatureDoesNotMatch"),  # S3
    "RequestTimeTooSkewed",
}
_PASSING_STATUS = {408, 425, 429}


class Located(Protocol):
    """Whatever is at a URI: an ``Item``, a ``Listed``."""

    @property
    def uri(self) -> str: ...


L = TypeVar("L", bound=Located)


# ------------------------------------------------------------------------------------------------ reading


class _Kept:
    """The objects read last, at most ``KEPT_BYTES`` of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._data: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, url: str) -> bytes | None:
        with self._lock:
            if url in self._data:
                self._data.move_to_end(url)
            return self._data.get(url)

    def put(self, url: str, data: bytes) -> None:
        with self._lock:
            if url in self._data or len(data) > KEPT_BYTES // 4:
                return
            self._data[url] = data
            self._bytes += len(data)
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._data.popitem(last=False)[1])


class _Process:
    """What a forked child must not share with its parent: locks, connections."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.systems: dict[tuple[str, bool], Any] = {}
        self.kept = _Kept()


_process = _Process()
_jitter = random.SystemRandom()  # a stream of its own: decisions must not depend on how often something was tried


def _forget() -> None:
    global _process
    _process = _Process()


os.register_at_fork(after_in_child=_forget)


def contents(url: str) -> bytes:
    """The bytes of an object.

    Raises:
        BadImage: There is no such object, or it may not be read; the text is the reason.
        SourceError: The service can't be reached, or does not know who asks.
        MissingExtra: The package of the protocol is not installed.
    """
    kept = _process.kept
    data = kept.get(url)
    if data is None:
        system, path = opened(url)
        data = bytes(tried(url, partial(system.cat_file, path)))
        kept.put(url, data)
    return data


def read_ahead(things: Iterable[L]) -> Iterator[L]:
    """The same things in the same order; objects behind URLs are being fetched before their turn, ``AHEAD`` at a time.

    For whoever opens one after the other: a bucket answers late, but many at once. ``contents`` has them then.

    Raises:
        SourceError: The service can't be reached.
    """
    waiting: deque[tuple[L, Future[None] | None]] = deque()
    with ThreadPoolExecutor(AHEAD, "gtloop-fetch") as pool:
        try:
            for thing in things:
                waiting.append((thing, None if local_path(thing.uri) is not None else pool.submit(_fetch, thing.uri)))
                if len(waiting) > AHEAD or waiting[0][1] is None:
                    yield _done(*waiting.popleft())
            while waiting:
                yield _done(*waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fetch(url: str) -> None:
    with suppress(BadImage):  # said again to whoever opens it
        contents(url)


def _done(thing: L, fetched: Future[None] | None) -> L:
    if fetched is not None:
        fetched.result()
    return thing


# ------------------------------------------------------------------------------------------- file systems


def opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    protocol = place(url).protocol
    try:
        from fsspec.core import url_to_fs

        if _EXTRAS.get(protocol) not in ("s3", "http"):
            system, path = url_to_fs(url, **({"use_listings_cache": False} if protocol in _EXTRAS else {}))
            return system, path
        system = _shared(protocol, quoted=url.isascii() and not re.search(r'[\s"<>\\^`{|}]', url))
        return system, system._strip_protocol(url)
    except ImportError as e:
        extra = _EXTRAS.get(protocol)
        install = f"'gtloop[{extra}]'" if extra else "fsspec, and what it names for this protocol"
        reason = f" ({e})" if not extra and "fsspec" not in str(e) else ""
        raise MissingExtra(f"{protocol}:// needs a package that is not installed{reason}: pip install {install}") from e
    except ValueError as e:
        raise SourceError(
            f"{shown(url)}: {protocol}:// is not known; write s3://, gs://, az://, https:// or a local path"
        ) from e


def _shared(protocol: str, quoted: bool) -> Any:
    """One file system for all threads: fsspec runs its coroutines in a thread of its own."""
    import fsspec

    mine = _process
    with mine.lock:
        key = (protocol, quoted)
        if key not in mine.systems:
            options = _s3_options() if protocol.startswith("s3") else _http_options(quoted)
            mine.systems[key] = fsspec.filesystem(protocol, **options, skip_instance_cache=True)
            if protocol.startswith("s3"):
                mine.systems[key].retries = 1  # ``tried`` is where it is tried again
        return mine.systems[key]


def _s3_options() -> dict[str, Any]:
    retries = {"total_max_attempts": 1, "mode": "standard"}
    config = {"retries": retries, "read_timeout": READ_TIMEOUT_S, "max_pool_connections": 2 * AHEAD}
    # With more than one part at a time, s3fs asks for the size of each object before it reads it.
    return {"config_kwargs": config, "max_concurrency": 1, "use_listings_cache": False}


def _http_options(quoted: bool) -> dict[str, Any]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=300, sock_connect=10, sock_read=READ_TIMEOUT_S)
    return {"client_kwargs": {"timeout": timeout, "trust_env": True}, "encoded": quoted}


# ------------------------------------------------------------------------------------------------- errors


def tried(url: str, call: Callable[[], T]) -> T:
    """What ``call`` returns, tried again while its error may pass by itself."""
    for n in count():
        try:
            return call()
        except GtloopError:
            raise
        except Exception as e:
            if (fault := _fault(url, e)) is not None:
                raise fault from e
            if n + 1 == TRIES:
                raise SourceError(
                    f"{shown(url)} can't be read now ({_why(e)}); look at the network and the service, "
                    "then run the same command again"
                ) from e
        time.sleep(_jitter.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**n)))
    raise AssertionError("numbers do not end")


def _fault(url: str, error: Exception) -> GtloopError | None:
    """What an error means; None where it may pass by itself."""
    chain = list(_chain(error))
    status = next((s for s in map(_status, chain) if s is not None), 0)
    names = {t.__name__ for e in chain for t in type(e).__mro__} | {_code(e) for e in chain}
    if "NoSuchBucket" in names:
        return BadImage("there is no such bucket")
    if "FileNotFoundError" in names or status in (404, 410):
        return BadImage("there is no such object")
    if names & _NO_CREDENTIALS:
        how = _CREDENTIALS.get(_EXTRAS.get(place(url).protocol, ""), "see the service's documentation")
        return SourceError(f"{shown(url)}: no valid credentials ({_why(error)}); {how}")
    if names & _PASSING or status in _PASSING_STATUS or status >= 500:
        return None
    if "PermissionError" in names or status in (401, 403):
        return BadImage("access is denied" + ("; a signed URL may have expired" if is_web(url) else ""))
    if 400 < status < 500:
        return BadImage(f"the server refuses it (HTTP {status})")
    return SourceError(f"{shown(url)} can't be read: {_why(error)}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error carries, as aiohttp, botocore, gcsfs and Azure name it."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    found = str(next((getattr(error, a) for a in ("status", "status_code", "code") if hasattr(error, a)), ""))
    return int(found) if found.isdecimal() else None


def _code(error: BaseException) -> str:
    """S3's own name of an error."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _why(error: Exception) -> str:
    """An error in a few words, without queries of addresses."""
    text = re.sub(r"\?[^\s'\"]*", "", " ".join(str(error).split()))
    return f"{text[:200]}" if text else type(error).__name__
