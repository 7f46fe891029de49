"""Manifests: files that name images, one a line; local, or behind a URL."""

from __future__ import annotations

import io
import json
import os
import posixpath
from collections.abc import Collection, Iterator
from itertools import takewhile

from gtloop.errors import BadImage, SourceError
from gtloop.remote import contents
from gtloop.urls import address, beside, local_path, shown

SUFFIXES = (".txt", ".jsonl", ".ndjson", ".manifest")


def images(manifest: str) -> list[tuple[str, str]]:
    """(name, absolute local path or URL) of each image, sorted by name.

    Local files have to be there; what is behind a URL is asked for when it is opened. Names are relative to the
    manifest's folder, or to the images' common folder where some lie outside.

    Args:
        manifest: Absolute path, or URL.

    Raises:
        SourceError: With the line: nothing that can be read, listed twice, not there.
    """
    found: dict[str, tuple[int, str]] = {}
    missing: list[str] = []
    for number, entry in _entries(manifest):
        where, said = f"{shown(manifest)}, line {number}", shown(entry)
        uri = _resolved(manifest, entry, where)
        file = address(uri)
        if file in found:
            first, same = found[file]
            hint = "remove one" if same == uri else "what follows the ? is no part of a name, give each its own path"
            raise SourceError(f"{where}: {said} is listed twice (line {first}); {hint}")
        found[file] = (number, uri)
        if local_path(uri) is not None and not os.path.isfile(uri):
            missing.append(f"line {number}: {said}")
    if missing:
        raise SourceError(
            f"{shown(manifest)}: {len(missing)} of {len(found)} listed files do not exist, first {missing[0]}; "
            "correct the paths (they are relative to the manifest's folder) or remove the lines"
        )
    root = _root(found, posixpath.dirname(address(manifest)))
    return sorted((_name(file, root), uri) for file, (_, uri) in found.items())


def _root(files: Collection[str], folder: str) -> str:
    """``folder``, or the files' common one where some lie outside; empty where they have none."""
    if not files or all(f.startswith(f"{folder}/") for f in files):
        return folder
    least, most = min(files).split("/")[:-1], max(files).split("/")[:-1]
    return "/".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(least, most, strict=False)))


def _name(file: str, root: str) -> str:
    return (file.removeprefix(root) if root else file.partition("://")[2] or file).lstrip("/")


def _resolved(manifest: str, entry: str, where: str) -> str:
    """The absolute local path or URL of what a line says."""
    here, there = local_path(manifest), local_path(entry)
    if there is None:
        return entry
    if here is not None:
        return os.path.normpath(os.path.join(os.path.dirname(here), os.path.expanduser(there)))
    if "://" in entry:
        raise SourceError(f"{where} names a local file, which a manifest behind a URL can't; give its URL")
    return beside(manifest, entry)


def _lines(manifest: str) -> Iterator[bytes]:
    if (path := local_path(manifest)) is not None:
        with open(path, "rb") as file:
            yield from file
        return
    try:
        yield from io.BytesIO(contents(manifest, ""))
    except BadImage as e:
        raise SourceError(f"{shown(manifest)}: {e}; correct the address, or ask for access") from e


def _entries(manifest: str) -> Iterator[tuple[int, str]]:
    """(line number, path or URL) of each line that holds one."""
    plain = address(manifest).lower().endswith(".txt")
    for number, raw in enumerate(_lines(manifest), 1):
        where = f"{shown(manifest)}, line {number}"
        try:
            line = raw.decode("utf-8-sig").strip()
        except UnicodeDecodeError as e:
            raise SourceError(f"{where} is not UTF-8; save the manifest as UTF-8") from e
        if not line:
            continue
        entry = line if plain else _source_ref(line, where)
        if "\0" in entry:
            raise SourceError(f"{where} holds a null character; correct it")
        yield number, entry


def _source_ref(line: str, where: str) -> str:
    try:
        record = json.loads(line)
    except ValueError as e:
        raise SourceError(f'{where} is not JSON; write lines such as {{"image": "a.jpg"}}, or use .txt') from e
    entry = (
        next((record[k] for k in ("source-ref", "image") if k in record), None) if isinstance(record, dict) else None
    )
    if not isinstance(entry, str) or not entry:
        raise SourceError(f'{where} has no "source-ref" or "image" with a path; add one')
    return entry
