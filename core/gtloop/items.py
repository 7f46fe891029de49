"""From a source of images to the items of a run: listed, identified, exact duplicates aliased."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtloop.compact import Index, Spool
from gtloop.errors import BadImage, SourceError
from gtloop.events import FileRef
from gtloop.images import content_hash, header, open_image, read_ahead
from gtloop.interfaces import Progress
from gtloop.inventory import Items
from gtloop.keyed import digest, rng
from gtloop.listing import Listed, list_images, tell_skipped
from gtloop.store import Store, among
from gtloop.urls import shown

__all__ = ["COLUMNS", "Items", "add_items", "check_probe", "list_items", "random_order", "write_items"]

COLUMNS = ("row", "id", "name", "uri", "sha256", "width", "height", "orientation", "alias_of")
_NUMBERS = ("width", "height", "orientation")
GROUP = 1 << 12
"""Rows of a row group of ``items.parquet``: what has to be read for the texts of one row."""
LISTING = "listing"
"""Folder of what is not whole yet: a run that was killed while it listed leaves nothing else."""


def list_items(source: str, seed: int, store: Store, progress: Progress) -> FileRef:
    """Write the items of a source, in the order of their names.

    Raises:
        SourceError: There is no image.
    """
    skipped: Counter[str] = Counter()
    ref = write_items(list_images(source, skipped), seed, store, progress)
    tell_skipped(skipped)
    return ref


def write_items(images: Iterable[Listed], seed: int, store: Store, progress: Progress) -> FileRef:
    """Write ``items.parquet``: one row an image, in the order given, whether it can be read or not.

    Columns: ``row``, ``id`` (opaque, keyed by seed and name), ``name``, ``uri``, ``sha256``,
    ``width`` and ``height`` (stored pixels, 0 while unknown), ``orientation``, ``alias_of`` (-1: none).
    """
    return _write(store, "items.parquet", None, images, seed, progress)


def add_items(source: str, seed: int, store: Store, known: FileRef, number: int, progress: Progress) -> FileRef:
    """Write the items ``known`` and, after them, those of another source.

    A name that is taken is preceded by that of the source's folder; exact duplicates of known images are aliases.

    Raises:
        SourceError: There is no image, or all of them are in the run already.
    """
    skipped: Counter[str] = Counter()
    listed = Spool(store.root)
    for k, image in enumerate(list_images(source, skipped)):
        listed.put(k, image)
    tell_skipped(skipped)
    uris, is_new = Index(uri for _, uri, *_ in listed.values()), np.ones(len(listed), np.bool_)
    for uri in _known(store, known, "uri"):
        is_new[uris.rows(uri)] = False
    if not is_new.any():
        raise SourceError(f"every image of {shown(source)} is in the run already; give others")
    prefix = _free_prefix(listed, is_new, source, lambda: _known(store, known, "name"), number)
    new = (Listed(*listed[int(k)]) for k in np.flatnonzero(is_new))
    renamed = (image._replace(name=prefix + image.name) for image in new)
    return _write(store, f"items-{number:05d}.parquet", known, renamed, seed, progress)


def _known(store: Store, known: FileRef, column: str) -> Iterator[str]:
    return (text for t in store.stream(known, [column]) for text in t[column])


def _free_prefix(
    listed: Spool, is_new: NDArray[np.bool_], source: str, known: Callable[[], Iterable[str]], number: int
) -> str:
    """What precedes the names of new images, so that nothing else has them; mostly nothing."""
    prefix, then = "", PurePath(shown(source)).stem or "added"
    while True:
        names = Index(prefix + listed[int(k)][0] for k in np.flatnonzero(is_new))
        if not any(names.rows(name) for name in known()):
            return prefix
        prefix, then = f"{then}/", f"{then}-{number}"


def _write(
    store: Store, path: str, known: FileRef | None, new: Iterable[Listed], seed: int, progress: Progress
) -> FileRef:
    """Write the items of ``known`` and those of new images after them; in two passes, as the whole tells aliases."""
    draft, keys = f"{LISTING}/draft.parquet", list[NDArray[np.uint64]]()
    with store.writing(draft) as writer:
        for t in store.stream(known, COLUMNS[:-1], size=GROUP) if known is not None else ():
            writer.add(t)
            keys.append(_keys(t["sha256"]))
        start, images = writer.rows, _described(new, seed, progress)
        while several := list(islice(images, GROUP)):
            columns = dict(zip(COLUMNS[1:-1], map(list, zip(*several, strict=True)), strict=True))
            rows = np.arange(writer.rows, writer.rows + len(several), dtype=np.int32)
            writer.add({"row": rows} | {n: np.array(c, np.int32) if n in _NUMBERS else c for n, c in columns.items()})
            keys.append(_keys(columns["sha256"]))
    progress("list images", writer.rows - start, writer.rows - start)
    alias_of = _aliases(np.concatenate(keys), lambda rows: _hashes(store, draft, rows))
    with store.writing(f"{LISTING}/items.parquet") as final:
        for t in store.stream_path(draft, COLUMNS[:-1], size=GROUP):
            final.add(t | {"alias_of": alias_of[final.rows : final.rows + len(t["row"])]})
    ref = store.move(final.ref, path)
    shutil.rmtree(store.root / LISTING)
    return ref


def _described(images: Iterable[Listed], seed: int, progress: Progress) -> Iterator[tuple[Any, ...]]:
    """Of each image, what ``COLUMNS`` says between its row and its alias."""
    for done, image in enumerate(read_ahead(images)):
        if done % 50 == 0:
            progress("list images", done, None)
        try:
            sha = content_hash(image.uri)
            h = header(image.uri)
            size = (h.width, h.height, h.orientation)
        except BadImage:  # quarantined, with its reason, when it is first needed
            sha, size = "", (0, 0, 1)
        yield (digest(seed, image.name), image.name, image.uri, sha, *size)


def _keys(hashes: Iterable[str]) -> NDArray[np.uint64]:
    """(n,) the first 8 bytes of hexadecimal hashes; 0 for an empty one."""
    return np.array([int(sha[:16] or "0", 16) for sha in hashes], np.uint64)


def _hashes(store: Store, path: str, rows: NDArray[np.int32]) -> list[str]:
    return [sha for t in store.stream_path(path, ["row", "sha256"], rows) for sha in t["sha256"]]


def _aliases(keys: NDArray[np.uint64], hashes: Callable[[NDArray[np.int32]], list[str]]) -> NDArray[np.int32]:
    """(n,) the first row with the same hash, -1 where that is the row itself.

    By the beginnings of the hashes; whole ones are compared only where these are equal.
    """
    found = np.full(len(keys), -1, np.int32)
    ranked = np.sort(keys)
    twice = np.unique(ranked[1:][(ranked[1:] == ranked[:-1]) & (ranked[1:] > 0)])
    rows = np.flatnonzero(among(keys, twice)).astype(np.int32)
    if len(rows):
        _, first, which = np.unique(np.array(hashes(rows), "S64"), return_index=True, return_inverse=True)
        originals = rows[first[which.ravel()]]
        found[rows] = np.where(originals == rows, -1, originals)
    return found


def random_order(n: int, seed: int, stage: int = 1, warm: str = "") -> NDArray[np.float64]:
    """(n,) one random key a row: the order in which random batches are drawn.

    Anew in each stage, and for each model that a run starts from: what was drawn before, or what that model
    was trained on, must not tell what is drawn now.
    """
    return rng(seed, "random-order", stage, warm).random(n)


def check_probe(items: Items, seed: int, n: int, failures: float, warm: str = "") -> None:
    """Decode the ``n`` images that people would see first, before anything is written down or asked.

    Raises:
        SourceError: More than the share ``failures`` of them can't be read.
    """
    rows = np.flatnonzero(items.alias_of < 0)
    rows = rows[np.argsort(random_order(len(items), seed, warm=warm)[rows], kind="stable")][:n]
    bad: list[tuple[str, str]] = []
    for item in items.some(rows):
        try:
            open_image(item.uri)
        except BadImage as e:
            bad.append((item.name, str(e)))
    if len(bad) > failures * len(rows):
        name, reason = bad[0]
        raise SourceError(
            f"{len(bad)} of the first {len(rows)} random images can't be read, for example {name} ({reason}); "
            "mend or remove them, or allow more with -o run.probe_failures=0.5"
        )
