"""URLs of images: their parts, what may be shown of them, what lies beside them."""

from __future__ import annotations

import os
import posixpath
import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "azure"),
    **dict.fromkeys(("http", "https"), "http"),
}
"""Protocol to the extra of gtloop that brings its package."""


class Place(NamedTuple):
    """A URL taken apart; ``path`` without leading slash, in https without query and percent-encoding."""

    protocol: str
    host: str
    path: str


def local_path(uri: str) -> str | None:
    """The local path of a path or ``file://`` URI; None for another scheme, such as ``s3://``."""
    if uri.startswith("file://"):
        return unquote(urlsplit(uri).path)
    return None if "://" in uri else uri


def is_web(uri: str) -> bool:
    """Whether a URL is one of http or https: only there are queries and percent-encoding no part of a name."""
    return uri.partition("://")[0].lower() in ("http", "https")


def place(url: str) -> Place:
    """The parts of a URL."""
    protocol, host, path = _parts(url)
    user, at, server = host.rpartition("@")
    host = server if at and (":" in user or is_web(url)) else host  # a container of Azure stays
    return Place(protocol.lower(), host, unquote(path) if is_web(url) else path)


def shown(uri: str) -> str:
    """A URI without what may be secret: the query of a web address, which may be a signature, and a password."""
    if local_path(uri) is not None:
        return uri
    protocol, host, _ = place(uri)
    path = _parts(uri)[2]
    return f"{protocol}://{host}/{path}" if path else f"{protocol}://{host}"


def address(uri: str) -> str:
    """What tells one image from another: a local path, or a URL without its query and percent-encoding."""
    if (path := local_path(uri)) is not None:
        return os.path.abspath(path)
    protocol, host, path = place(uri)
    return f"{protocol}://{host}{posixpath.normpath('/' + path)}"


def beside(url: str, entry: str) -> str:
    """The URL of a path relative to the folder of ``url``; in https ``entry`` may have a query of its own."""
    protocol, host, path = _parts(url)
    file, mark, query = entry.partition("?") if is_web(url) else (entry, "", "")
    joined = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), file))
    return f"{protocol}://{host}{joined}{mark}{query}"


def _parts(url: str) -> tuple[str, str, str]:
    """Protocol, host and path as they are written; in https without the query."""
    protocol, _, rest = (re.split(r"[?#]", url, maxsplit=1)[0] if is_web(url) else url).partition("://")
    host, _, path = rest.partition("/")
    return protocol, host, path
