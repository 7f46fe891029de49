"""From a source of images to the items of a run: listed, identified, exact duplicates aliased."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtloop.errors import BadImage, SourceError
from gtloop.events import FileRef
from gtloop.images import content_hash, header, open_image, read_ahead
from gtloop.interfaces import Progress
from gtloop.keyed import digest, rng
from gtloop.listing import Listed, list_images, tell_skipped
from gtloop.records import Item
from gtloop.store import Store
from gtloop.urls import local_path, shown

COLUMNS = ("row", "id", "name", "uri", "sha256", "width", "height", "orientation", "alias_of")
_NUMBERS = ("row", "width", "height", "orientation", "alias_of")


def list_items(source: str, seed: int, store: Store, progress: Progress) -> FileRef:
    """Write ``items.parquet``: one row an image, in the order of their names.

    Columns: ``row``, ``id`` (opaque, keyed by seed and name), ``name``, ``uri``, ``sha256``,
    ``width`` and ``height`` (stored pixels, 0 while unknown), ``orientation``, ``alias_of`` (-1: none).

    Raises:
        SourceError: There is no image.
    """
    columns: dict[str, list[Any]] = {n: [] for n in COLUMNS}
    skipped: Counter[str] = Counter()
    _list(columns, list_images(source, skipped), seed, progress)
    tell_skipped(skipped)
    return _write(store, "items.parquet", columns)


def add_items(source: str, seed: int, store: Store, known: FileRef, number: int, progress: Progress) -> FileRef:
    """Write the items ``known`` and, after them, those of another source.

    A name that is taken is preceded by that of the source's folder; exact duplicates of known images are aliases.

    Raises:
        SourceError: There is no image, or all of them are in the run already.
    """
    columns: dict[str, list[Any]] = {n: list(c) for n, c in store.read(known, COLUMNS).items()}
    names, uris = set(columns["name"]), set(columns["uri"])
    skipped: Counter[str] = Counter()
    new = [x for x in list_images(source, skipped) if x.uri not in uris]
    tell_skipped(skipped)
    if not new:
        raise SourceError(f"every image of {shown(source)} is in the run already; give others")
    prefix = PurePath(shown(source)).stem or "added"
    taken = any(x.name in names for x in new)
    while taken and any(f"{prefix}/{x.name}" in names for x in new):
        prefix += f"-{number}"
    if taken:
        new = [x._replace(name=f"{prefix}/{x.name}") for x in new]
    _list(columns, new, seed, progress)
    return _write(store, f"items-{number:05d}.parquet", columns)


def _list(columns: dict[str, list[Any]], listed: Iterable[Listed], seed: int, progress: Progress) -> None:
    """Append a row for each image."""
    first = {sha: row for row, sha in reversed(list(enumerate(columns["sha256"]))) if sha}
    start = len(columns["row"])
    for row, image in enumerate(read_ahead(listed), start):
        try:
            sha = content_hash(image.uri)
            h = header(image.uri)
            size = (h.width, h.height, h.orientation)
        except BadImage:  # quarantined, with its reason, when it is first needed
            sha, size = "", (0, 0, 1)
        alias = first.setdefault(sha, row) if sha else row
        values = (row, digest(seed, image.name), image.name, image.uri, sha, *size, -1 if alias == row else alias)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
        if row % 50 == 0:
            progress("list images", row - start, None)
    done = len(columns["row"]) - start
    progress("list images", done, done)


def _write(store: Store, path: str, columns: Mapping[str, list[Any]]) -> FileRef:
    return store.write(path, {n: np.array(c, np.int32) if n in _NUMBERS else c for n, c in columns.items()})


@dataclass(frozen=True)
class Items:
    """The items of a run as columns."""

    id: Sequence[str]
    name: Sequence[str]
    uri: Sequence[str]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    orientation: NDArray[np.int32]
    alias_of: NDArray[np.int32]

    @classmethod
    def read(cls, ref: FileRef, store: Store) -> Items:
        """Read ``items.parquet``."""
        t: Any = store.read(ref, ["id", "name", "uri", "width", "height", "orientation", "alias_of"])
        for name in ("width", "height", "orientation"):
            t[name] = t[name].copy()  # what is read from Parquet can't be written to
        return cls(**t)

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, row: int) -> Item:
        # Unreadable when it was listed: perhaps mended since. A bucket is not asked each time that a run is looked at.
        if self.width[row] == 0 and local_path(self.uri[row]) is not None:
            with suppress(BadImage):
                self.width[row], self.height[row], self.orientation[row], _ = header(self.uri[row])
        known = self.width[row] > 0
        return Item(
            row=int(row),
            id=self.id[row],
            name=self.name[row],
            uri=self.uri[row],
            width=int(self.width[row]) if known else None,
            height=int(self.height[row]) if known else None,
            orientation=int(self.orientation[row]),
            alias_of=int(self.alias_of[row]) if self.alias_of[row] >= 0 else None,
        )


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
    for row in rows.tolist():
        try:
            open_image(items.uri[row])
        except BadImage as e:
            bad.append((items.name[row], str(e)))
    if len(bad) > failures * len(rows):
        name, reason = bad[0]
        raise SourceError(
            f"{len(bad)} of the first {len(rows)} random images can't be read, for example {name} ({reason}); "
            "mend or remove them, or allow more with -o run.probe_failures=0.5"
        )
