"""What is tried again of what fails behind a URL, and what its error means in the end.

What may pass by itself (no answer, a broken connection, HTTP 429 and 5xx) is tried again with exponential back-off and
full jitter [Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015]. What is still so after ``TRIES``
is no image's fault: ``SourceError`` stops the run, which goes on when it is started again. Only what is the object's
own fault is ``BadImage``.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import TypeVar

from gtloop.errors import BadImage, GtloopError, SourceError
from gtloop.urls import EXTRAS, is_web, place, shown

T = TypeVar("T")

TRIES = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
"""Waits are uniform between 0 and this, doubled from try to try: a dead service is given up after 8 s on average."""

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

_jitter = random.SystemRandom()  # a stream of its own: decisions must not depend on how often something was tried


class Denied(BadImage):
    """An object that may not be read; many of them in a row are no objects' fault."""


def tried(url: str, call: Callable[[], T]) -> T:
    """What ``call`` returns, tried again while its error may pass by itself."""
    for n in count():
        try:
            return call()
        except (GtloopError, ImportError):
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
    if status in (404, 410):
        return BadImage("there is no such object")
    if "InvalidObjectState" in names:
        return BadImage("it lies in an archive; restore it first")
    if names & _NO_CREDENTIALS:
        how = _CREDENTIALS.get(EXTRAS.get(place(url).protocol, ""), "see the service's documentation")
        return SourceError(f"{shown(url)}: no valid credentials ({_why(error)}); {how}")
    if names & _PASSING or status in _PASSING_STATUS or status >= 500:
        return None
    if "PermissionError" in names or status in (401, 403):
        return Denied("access is denied" + ("; a signed URL may have expired" if is_web(url) else ""))
    if (400 if is_web(url) else 401) <= status < 500:  # S3's 400 is about how it is asked
        return BadImage(f"the server refuses it (HTTP {status})")
    if "FileNotFoundError" in names:  # late: fsspec makes one of whatever went wrong over HTTP
        return BadImage("there is no such object")
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
