"""Where images come from: a folder, a glob, a manifest, or one file, local or behind a URL.

``gtloop.images`` re-exports ``Listed`` and ``list_images``. Listing looks at names and sizes only; a file
with an image's suffix that is no image is listed, and quarantined when it is first opened.
"""

from __future__ import annotations

import glob
import logging
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from gtloop import buckets, manifests, urls
from gtloop.errors import BadImage, SourceError
from gtloop.remote import contents
from gtloop.urls import local_path as local_path
from gtloop.wording import counted, some

_FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM"),
    *("QOI", "SGI", "PSD", "DDS", "ICO", "DIB", "PCX", "TGA"),  # TGA has no signature, so it comes last
)

log = logging.getLogger("gtloop.listing")

_TO_CONVERT = (".heic", ".heif", ".hif")
"""Suffixes of images that cameras write and Pillow does not read."""
_EMPTY = "no images in the manifest {}: write one path a line"
_GIVE = "give a folder, a quoted glob such as 'photos/*.jpg', a manifest (.txt or .jsonl), or an image"


class Listed(NamedTuple):
    """One image of a source.

    Attributes:
        name: Path relative to the source, with forward slashes; unique in the source.
        uri: Absolute local path, or URL.
        bytes: Size of the file; 0 where only its URL is known.
        version: What a bucket calls its version; empty where nothing says it.
    """

    name: str
    uri: str
    bytes: int
    version: str = ""


@cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, in the order in which they are tried."""
    Image.init()
    return tuple(f for f in _FORMATS if f in Image.OPEN)  # older versions lack AVIF


@cache
def suffixes() -> frozenset[str]:
    """Lower-case file suffixes, with their dots, of the formats that are read."""
    known = {*formats(), "MPO"}
    return frozenset(s for s, f in Image.registered_extensions().items() if f in known)


def list_images(source: str, skipped: Counter[str] | None = None) -> Iterator[Listed]:
    """The images of a source, sorted by name, each once.

    A folder is walked as it is read (one folder in memory at a time), links followed, hidden files and
    files without an image's suffix skipped. In a manifest (one path a line, or JSON Lines with
    ``"source-ref"`` or ``"image"``), paths are relative to its folder, and names are relative to it too, or to the
    listed files' common folder where some lie outside. Behind a URL, the keys below a folder are its files; in https,
    what follows a ``?`` is no part of a name, and percent-encoding is undone.

    Args:
        source: Folder, glob, manifest or image: a path, or a URL of any protocol that fsspec knows. A web address
            is a manifest or an image.
        skipped: Counts what is left out of a folder or glob, by lower-case suffix, as ``tell_skipped`` wants it;
            hidden files are not counted.

    Raises:
        SourceError: At once, where there is nothing to list; while iterating, where a folder can't be
            read or a name is not UTF-8; a service that can't be reached or does not know who asks.
        MissingExtra: At once: the package of a URL's protocol is not installed.
    """
    if not source.strip():
        raise SourceError(f"no images given: {_GIVE}")
    skipped = Counter() if skipped is None else skipped
    local = local_path(source)
    if local is None:
        return _behind_url(source, skipped)
    path = Path(local).expanduser()
    if path.is_dir():
        return _first(_folder(path, skipped), f"no images in the folder {path}", skipped)
    if path.is_file():
        return _first(_file(path), _EMPTY.format(path))
    if glob.has_magic(source):
        return _first(_glob(str(path), skipped), f"no images match {source}", skipped)
    raise SourceError(f"no such file or folder: {path}; {_GIVE}")


def tell_skipped(skipped: Counter[str]) -> None:
    """Log one note about the files that ``list_images`` left out, if any."""
    if skipped:
        log.info("note: %s", skipped_files(skipped))


def skipped_files(skipped: Counter[str]) -> str:
    """``skipped 3 files of types that are not read: 2 .heic, 1 .txt``, and what to do about the first."""
    most_first = sorted(skipped.items(), key=lambda kind: (-kind[1], kind[0]))
    kinds = some([f"{n} {suffix or 'without a suffix'}" for suffix, n in most_first])
    convert = [suffix for suffix in _TO_CONVERT if suffix in skipped]
    hint = f"; convert {', '.join(convert)} to JPEG or PNG first" if convert else ""
    return f"skipped {counted(skipped.total(), 'file')} of types that are not read: {kinds}{hint}"


def _first(listed: Iterator[Listed], nothing: str, skipped: Counter[str] | None = None) -> Iterator[Listed]:
    """Raise now, not at the first ``next``, where there is nothing."""
    for first in listed:
        return chain((first,), listed)
    if skipped is None:
        raise SourceError(nothing)
    found = skipped_files(skipped) if skipped else "looked for .jpg, .png and every other suffix that is read"
    raise SourceError(f"{nothing} ({found}): {_GIVE}")


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_image(name: str, known: frozenset[str]) -> bool:
    return not name.startswith(".") and _suffix(name) in known


def _listed(name: str, path: str, size: int, version: str = "") -> Listed:
    try:
        path.encode()
    except UnicodeEncodeError as e:
        shown = path.encode("utf-8", "backslashreplace").decode()
        raise SourceError(f"{shown}: the file name is not UTF-8; rename it") from e
    return Listed(name, path, size, version)


def _folder(root: Path, skipped: Counter[str]) -> Iterator[Listed]:
    known = suffixes()
    top = os.path.abspath(root)

    def walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[Listed]:
        try:
            stat = os.stat(folder)
            with os.scandir(folder) as found:
                # A folder sorts as "name/", so that whole paths come out in order.
                entries = sorted(
                    (e.name + "/" if e.is_dir() else e.name, e) for e in found if not e.name.startswith(".")
                )
        except OSError as e:
            raise SourceError(f"cannot read the folder {folder}: {e.strerror}; make it readable or move it away") from e
        here = (stat.st_dev, stat.st_ino)
        if here in above:  # a link back to a folder that holds it
            return
        for name, entry in entries:
            if name.endswith("/"):
                yield from walk(entry.path, prefix + name, above | {here})
            elif _is_image(name, known):
                yield _listed(prefix + name, entry.path, _size(entry))
            else:
                skipped[_suffix(name)] += 1

    return walk(top, "", frozenset())


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a dangling link: listed, and quarantined when it is opened
        return 0


def _glob(pattern: str, skipped: Counter[str]) -> Iterator[Listed]:
    known = suffixes()
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = os.path.abspath(Path(*parts[:fixed]))
    found = {os.path.abspath(p) for p in glob.iglob(pattern, recursive=True) if os.path.isfile(p)}
    images = {p for p in found if _is_image(os.path.basename(p), known)}
    names = (os.path.basename(p) for p in found - images)
    skipped.update(_suffix(name) for name in names if not name.startswith("."))
    return _named(images, root)


def _behind_url(source: str, skipped: Counter[str]) -> Iterator[Listed]:
    shown_as, where = urls.shown(source), urls.place(source)
    base = posixpath.basename(where.path)
    pattern = glob.has_magic(source) and not urls.is_web(source)
    if not where.host:
        raise SourceError(f"{shown_as} names no bucket or server; {_GIVE}")
    if not pattern and _suffix(base) in manifests.SUFFIXES:
        return _first(_manifest(source), _EMPTY.format(shown_as))
    if not pattern and _is_image(base.lstrip("."), suffixes()):
        return iter([_listed(base, source, _bytes_of(source))])
    if urls.is_web(source):
        raise SourceError(
            f"{shown_as}: a web server does not list its files; give a manifest (.txt or .jsonl) of URLs, or one image"
        )
    folder = source.rstrip("/") + "/"
    if pattern and not buckets.exists(folder):
        folder, start, matches = buckets.pattern(source)
        return _first(_objects(folder, start, matches, skipped), f"no images match {shown_as}", skipped)
    return _first(_objects(folder, "", lambda _: True, skipped), f"no images below {shown_as}", skipped)


def _bytes_of(url: str) -> int:
    try:
        return len(contents(url, ""))  # which will be opened soon
    except BadImage as e:
        raise SourceError(f"{urls.shown(url)}: {e}; {_GIVE}") from e


def _objects(folder: str, start: str, matches: Callable[[str], object], skipped: Counter[str]) -> Iterator[Listed]:
    known, last = suffixes(), ""
    for key, size, version in buckets.objects(folder, start):
        if key.endswith("/") or "/." in f"/{key}" or not matches(key):  # markers of folders; hidden ones
            continue
        if key <= last:
            raise SourceError(f"{folder} is not listed in the order of its keys; name the images in a manifest")
        last = key
        if _suffix(key) in known:
            yield _listed(key, folder + key, size, version)
        else:
            skipped[_suffix(key)] += 1


def _named(paths: Iterable[str], root: str) -> Iterator[Listed]:
    """Listed files, named relative to ``root`` and sorted by name."""
    named = sorted((Path(os.path.relpath(p, root)).as_posix(), p) for p in paths)
    return (_listed(name, p, os.path.getsize(p)) for name, p in named)


def _file(path: Path) -> Iterator[Listed]:
    if path.suffix.lower() in manifests.SUFFIXES:
        return _manifest(os.path.abspath(path))
    if _is_image(path.name.lstrip("."), suffixes()):
        return iter([_listed(path.name, os.path.abspath(path), path.stat().st_size)])
    raise SourceError(f"{path} is neither an image nor a manifest: {_GIVE}")


def _manifest(source: str) -> Iterator[Listed]:
    return (
        _listed(name, uri, os.path.getsize(uri) if local_path(uri) is not None else 0)
        for name, uri in manifests.images(source)
    )
