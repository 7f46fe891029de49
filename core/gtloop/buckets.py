"""What lies in a bucket, or in any folder that fsspec lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from gtloop.errors import BadImage, SourceError
from gtloop.remote import opened
from gtloop.retrying import tried
from gtloop.urls import shown


class Object(NamedTuple):
    """What a listing says of an object.

    Attributes:
        key: Relative to the folder that was listed.
        size: In bytes.
        version: Another one after a change; empty where the service does not say.
    """

    key: str
    size: int
    version: str


_VERSION = ("ETag", "etag", "generation", "mtime", "last_modified", "LastModified", "created")
"""What services call what changes with an object."""


def objects(folder: str, start: str = "") -> Iterator[Object]:
    """All objects below a folder whose relative key begins with ``start``, in order.

    S3 is read page by page; elsewhere one folder is in memory at a time.

    Args:
        folder: URL that ends with a slash.
        start: What their relative keys begin with.

    Raises:
        SourceError: There is no such folder, it may not be listed, or the service can't be reached.
        MissingExtra: The package of the protocol is not installed.
    """
    try:
        yield from _objects(folder, start)
    except BadImage as e:
        raise SourceError(f"{shown(folder)} can't be listed: {e}; correct the name, or ask for access") from e


def exists(folder: str) -> bool:
    """Whether anything lies below a folder; raises as ``objects``."""
    try:
        return any(True for _ in _objects(folder, ""))
    except BadImage:
        return False


def pattern(url: str) -> tuple[str, str, Callable[[str], object]]:
    """A glob taken apart: the folder before it, what keys below that begin with, and what tells whether one matches.

    ``*`` and ``?`` stop at slashes; ``**`` is any number of folders.

    Raises:
        SourceError: The glob has no folder, or ``**`` is only a part of a folder's name.
    """
    from fsspec.utils import glob_translate

    fixed = re.split(r"[*?[]", url, maxsplit=1)[0]
    folder, _, start = fixed.rpartition("/")
    if folder.endswith(":/"):
        raise SourceError(f"{url}: write out the bucket, and a glob below it")
    try:
        return f"{folder}/", start, re.compile(glob_translate(url[len(folder) + 1 :])).match
    except ValueError as e:
        raise SourceError(f"{url}: write ** for whole folders, such as **/*.jpg") from e


def _objects(folder: str, start: str) -> Iterator[Object]:
    system, path = opened(folder)
    if hasattr(system, "call_s3"):
        return _pages(system, folder, start)
    path = path.rstrip("/")
    return (found for found in _walk(system, folder, path, len(path) + 1) if found.key.startswith(start))


def _pages(system: Any, folder: str, start: str) -> Iterator[Object]:
    bucket, prefix, _ = system.split_path(folder)
    more: dict[str, str] = dict(system.req_kw)
    while True:
        call = partial(system.call_s3, "list_objects_v2", Bucket=bucket, Prefix=prefix + start, **more)
        page = tried(folder, call)
        yield from (
            Object(o["Key"][len(prefix) :], o["Size"], _version(o, o["Size"])) for o in page.get("Contents", ())
        )
        if not page.get("IsTruncated"):
            return
        more["ContinuationToken"] = page["NextContinuationToken"]


def _walk(system: Any, folder: str, path: str, root: int) -> Iterator[Object]:
    found = tried(folder, partial(system.ls, path, detail=True))
    # A folder sorts as "name/", so that whole keys come out in order.
    entries = sorted((e["name"] + ("/" if e["type"] == "directory" else ""), n) for n, e in enumerate(found))
    for name, n in entries:
        if name.rstrip("/") == path:  # the marker of the folder itself
            continue
        if name.endswith("/"):
            yield from _walk(system, folder, name[:-1], root)
        else:
            size = found[n].get("size") or 0
            yield Object(name[root:], size, _version(found[n], size))


def _version(entry: Mapping[str, Any], size: int) -> str:
    said = [str(entry[name]) for name in _VERSION if entry.get(name)]
    return "/".join([*said, str(size)]) if said else ""
