"""Copies of what lies behind URLs: ``GTLOOP_IMAGE_CACHE`` names their folder, ``GTLOOP_IMAGE_CACHE_SIZE`` its limit.

Nothing is kept where the folder is not set. Any number of processes and hosts may share one: a copy appears whole,
what is damaged is no copy, and under a lock those that were used longest ago make room before a new one is written. A
copy that can't be written (full disk, no permission) is left out, which is said once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np

from gtloop.errors import ConfigError
from gtloop.files import scratch
from gtloop.urls import is_web, place

log = logging.getLogger("gtloop.imagecache")

FOLDER, SIZE = "GTLOOP_IMAGE_CACHE", "GTLOOP_IMAGE_CACHE_SIZE"
USUAL_SIZE = "10 GB"
ROOM = 0.1
"""Share of the limit that is made free at once, as all copies have to be looked at for it."""
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SUFFIX = ".gtloop-image"
"""Of copies, and in the names of those that are being written: nothing else in the folder is ever removed."""
_SEAL, _TAG = 32, 16
_told: set[str] = set()
"""Folders that could not be written to."""


def get(url: str, version: str | None) -> bytes | None:
    """The copy of an object, where there is one.

    Args:
        url: Where the object lies.
        version: As it was listed: a copy of another one is none, nor is any where it is empty, which is not known.
            None: any copy will do.

    Raises:
        ConfigError: The limit can't be understood.
    """
    folder, _ = _settings()
    if folder is None or version == "":
        return None
    path = _path(folder, url)
    try:
        copy = path.read_bytes()
    except OSError:
        return None
    if copy[:_SEAL] != _sealed(path, copy[_SEAL:]):
        return None
    if version is not None and copy[_SEAL : _SEAL + _TAG] != _tag(version):
        return None
    with suppress(OSError):
        os.utime(path)  # used last
    return copy[_SEAL + _TAG :]


def put(url: str, version: str | None, data: bytes) -> None:
    """Keep a copy of an object; ``version`` as it was listed, if that is known.

    Raises:
        ConfigError: The limit can't be understood.
    """
    folder, limit = _settings()
    if folder is None:
        return
    path, body = _path(folder, url), _tag(version or "") + data
    try:
        _keep(folder, limit, path, _sealed(path, body) + body)
    except OSError as e:
        if str(folder) not in _told:
            _told.add(str(folder))
            log.warning("images are read without a copy: %s can't be written (%s)", folder, e.strerror or e)


def _keep(folder: Path, limit: int, path: Path, copy: bytes) -> None:
    """Write a copy, once there is room for it; it need not be synced, as what a crash leaves of it is no copy."""
    if len(copy) > limit:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder) as lock:
        held = _held(lock)
        if held is None or held + len(copy) > limit:
            held = _made_room(folder, limit, len(copy))
        os.pwrite(lock, b"%20d" % (held + len(copy)), 0)  # killed now, too much is counted, never too little
        tmp = scratch(path)
        try:
            tmp.write_bytes(copy)
            tmp.replace(path)
        except BaseException:
            tmp.unlink(missing_ok=True)
            raise


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """The file that says how much a folder holds, open, and nobody else's."""
    import fcntl

    file = os.open(folder / "held", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _held(lock: int) -> int | None:
    """Bytes that a folder holds, at most; None where that is not known."""
    try:
        return int(os.pread(lock, 20, 0))
    except ValueError:
        return None


def _made_room(folder: Path, limit: int, more: int) -> int:
    """Bytes that a folder holds, once what was used longest ago is gone, as far as there is no room for ``more``."""
    found = np.fromiter(((s.st_mtime_ns, s.st_size) for _, s in _copies(folder)), [("used", "i8"), ("size", "i8")])
    found.sort(order="used")
    held = int(found["size"].sum())
    if held + more <= limit:
        return held
    excess = held - max(0, int(limit * (1 - ROOM)) - more)
    last = found["used"][min(int(np.searchsorted(found["size"].cumsum(), excess)), len(found) - 1)]
    for path, stat in _copies(folder):
        if stat.st_mtime_ns <= last:
            Path(path).unlink(missing_ok=True)
            held -= stat.st_size
    return held


def _copies(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every copy, whole or left by a process that was killed."""
    with os.scandir(folder) as parts:
        for part in parts:
            if part.is_dir() and len(part.name) == 2:
                with suppress(FileNotFoundError), os.scandir(part.path) as files:
                    yield from ((f.path, f.stat()) for f in files if _SUFFIX in f.name)


def _path(folder: Path, url: str) -> Path:
    """Where the copy of an object is: by its whole address, and in S3 by who is asked."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "FSSPEC_S3_ENDPOINT_URL", "AWS_PROFILE")
    s3 = not is_web(url) and place(url).protocol.startswith("s3")
    asked = [os.environ.get(name, "") for name in names] if s3 else []
    key = hashlib.sha256("\0".join([url, *asked]).encode()).hexdigest()
    return folder / key[:2] / f"{key}{_SUFFIX}"


def _sealed(path: Path, body: bytes) -> bytes:
    """What a copy begins with: a hash of its name and of all that follows."""
    return hashlib.sha256(path.name.encode() + body).digest()


def _tag(version: str) -> bytes:
    return hashlib.sha256(version.encode()).digest()[:_TAG]


def _settings() -> tuple[Path | None, int]:
    """The folder of copies, None where none are kept, and the most bytes that they may take."""
    named = os.environ.get(FOLDER)
    return (Path(named), _bytes(os.environ.get(SIZE) or USUAL_SIZE)) if named else (None, 0)


@cache
def _bytes(text: str) -> int:
    """``20 GB`` as a number."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text, re.IGNORECASE)
    if match is None:
        raise ConfigError(f"{SIZE} is {text!r}; write a number of bytes such as '20 GB' or '500 MB'")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _UNITS[match[2].lower()])
