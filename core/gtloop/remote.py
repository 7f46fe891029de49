"""What lies behind a URL: the one place that reads through fsspec (s3, gs, az, https and every other protocol of it).

An object is read whole, into memory; to disk only where ``gtloop.imagecache`` is asked for. ``gtloop.retrying`` says
what is tried again.
Everything here is thread-safe, and a forked process starts afresh.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from gtloop import imagecache
from gtloop.errors import BadImage, MissingExtra, SourceError
from gtloop.retrying import Denied, tried
from gtloop.urls import EXTRAS, local_path, place, shown

T = TypeVar("T")

KEPT_BYTES = 128 << 20
"""Of objects that were read last: an image is hashed, measured, decoded and shown, and fetched once for all of it."""
AHEAD = 16
"""Objects that ``read_ahead`` fetches at a time."""
READ_TIMEOUT_S = 30
DENIED_IN_A_ROW = 20
"""More than so many are no longer images to put aside one by one, but a permission or a signature that ran out."""


class Located(Protocol):
    """Whatever is at a URI: an ``Item``, a ``Listed``."""

    @property
    def uri(self) -> str: ...


L = TypeVar("L", bound=Located)


# ------------------------------------------------------------------------------------------------ reading


class _Kept:
    """The objects read last: at most ``KEPT_BYTES`` of them, or the very last."""

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
            self._bytes += len(data) - len(self._data.pop(url, b""))
            self._data[url] = data
            while self._bytes > KEPT_BYTES and len(self._data) > 1:
                self._bytes -= len(self._data.popitem(last=False)[1])


class _Process:
    """What a forked child must not share with its parent: locks, connections."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.systems: dict[tuple[str, bool], Any] = {}
        self.kept = _Kept()
        self.denied = 0


_process = _Process()


def _forget() -> None:
    global _process
    _process = _Process()


os.register_at_fork(after_in_child=_forget)


def contents(url: str, version: str | None = None) -> bytes:
    """The bytes of an object.

    Args:
        url: Where it lies.
        version: As it was listed, which a copy on disk has to be of; empty: not known. None: any copy will do.

    Raises:
        BadImage: There is no such object, or it may not be read; the text is the reason.
        SourceError: The service can't be reached, does not know who asks, or denies one object after the other.
        MissingExtra: The package of the protocol is not installed.
        ConfigError: How much may be copied can't be understood.
    """
    mine = _process
    data = mine.kept.get(url)
    if data is None:
        data = imagecache.get(url, version)
        if data is None:
            data = _read(mine, url)
            imagecache.put(url, version, data)
        mine.kept.put(url, data)
    return data


def _read(mine: _Process, url: str) -> bytes:
    """The bytes of an object, from where it lies."""
    system, path = opened(url)
    try:
        data = bytes(tried(url, partial(system.cat_file, path)))
    except Denied as e:
        mine.denied += 1
        if mine.denied <= DENIED_IN_A_ROW:
            raise
        raise SourceError(
            f"{shown(url)}, and {DENIED_IN_A_ROW} images before it: {e}; see to the permission, "
            "then run the same command again (signed URLs have to last as long as the run)"
        ) from e
    mine.denied = 0
    return data


def read_ahead(things: Iterable[L]) -> Iterator[L]:
    """The same things in the same order; objects behind URLs are being fetched before their turn, ``AHEAD`` at a time.

    For whoever opens one after the other, each before the next: a bucket answers late, but many at once. Things that
    were just listed have a ``version``, as in ``contents``.

    Raises:
        SourceError: The service can't be reached.
    """
    waiting: deque[tuple[L, Future[bytes] | None]] = deque()
    with ThreadPoolExecutor(AHEAD, "gtloop-fetch") as pool:
        try:
            for thing in things:
                waiting.append((thing, None if local_path(thing.uri) is not None else pool.submit(_fetch, thing)))
                if len(waiting) > AHEAD or waiting[0][1] is None:
                    yield _done(*waiting.popleft())
            while waiting:
                yield _done(*waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fetch(thing: Located) -> bytes:
    """An object, until it is its turn; empty where it has to be fetched again then: it is not there, or is large."""
    try:
        data = contents(thing.uri, getattr(thing, "version", None))
    except BadImage:
        return b""
    return data if len(data) <= KEPT_BYTES // AHEAD else b""


def _done(thing: L, fetched: Future[bytes] | None) -> L:
    if fetched is not None and (data := fetched.result()):
        _process.kept.put(thing.uri, data)  # others may have driven it out
    return thing


# ------------------------------------------------------------------------------------------- file systems


def opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it; raises as ``contents``, and SourceError for unknown protocols."""
    protocol = place(url).protocol
    try:
        import fsspec

        if protocol not in (*fsspec.available_protocols(), *fsspec.registry):
            raise SourceError(
                f"{shown(url)}: {protocol}:// is not known; write s3://, gs://, az://, https:// or a local path"
            )
        return tried(url, partial(_system, protocol, url))
    except ImportError as e:
        extra = EXTRAS.get(protocol)
        install = f"'gtloop[{extra}]'" if extra else f"fsspec and what it needs for this ({e})"
        raise MissingExtra(f"{protocol}:// needs a package that is not installed: pip install {install}") from e


def _system(protocol: str, url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    if EXTRAS.get(protocol) not in ("s3", "http"):
        system, path = url_to_fs(url, **({"use_listings_cache": False} if protocol in EXTRAS else {}))
        return system, path
    system = _shared(protocol, quoted=url.isascii() and not re.search(r'[\s"<>\\^`{|}]', url))
    return system, system._strip_protocol(url)


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
