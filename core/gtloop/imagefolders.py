"""Exported folders of images: file names of their own, links and copies, and the sidecar ``labelfiles.MARKER``."""

from __future__ import annotations

import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from gtloop.errors import BadImage, BadLabels
from gtloop.interfaces import Entry, ExportRow
from gtloop.labelfiles import MARKER, provenance
from gtloop.records import Payload
from gtloop.remote import contents
from gtloop.urls import local_path

_LONGEST = 180  # bytes of a stem; file systems take 255 for a whole name
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*/\\]')
_ABOUT_ITEM = ("row", "id", "width", "height")


class FileNames:
    """Gives every image a name in one flat folder; no two have the same stem, in any case or Unicode form.

    That is the image's own file name where it is free, else its path with ``__`` for ``/``, else that and a number.
    The same images in the same order get the same names.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, name: str) -> str:
        """A free file name for the image called ``name``; it is taken from now on."""
        path = PurePosixPath(name.replace("\\", "/"))
        suffix = _UNSAFE.sub("_", path.suffix) if len(path.suffix) < 10 else ""
        whole = path.with_suffix("") if suffix else path
        return self._free(_safe(whole.name), _safe("__".join(whole.parts))) + suffix

    def folder(self, category: str) -> str:
        """A free folder name for a category: itself, where every file system takes it."""
        return self._free(_safe(category.replace("/", "__")))

    def _free(self, *stems: str) -> str:
        for stem in chain(stems, (f"{stems[-1]}-{n}" for n in count(2))):
            key = unicodedata.normalize("NFC", stem).casefold()
            if key not in self._taken:
                self._taken.add(key)
                return stem
        raise AssertionError("numbers do not end")


def _safe(text: str) -> str:
    """``text`` as a stem that every file system takes; never hidden, empty, or a way out of the folder."""
    stem = _UNSAFE.sub("_", unicodedata.normalize("NFC", text))
    stem = stem.encode()[:_LONGEST].decode(errors="ignore")
    stem = re.sub(r"[. ]$", "_", stem)
    return stem if stem and not stem.startswith(".") else f"_{stem}"


def place_image(uri: str, target: Path, how: Literal["link", "copy"]) -> bool:
    """Link (absolute) or copy an image to ``target``; False where there is none, or where a link can't lead.

    Raises:
        OSError: ``target`` can't be written, or the image can't be read.
        SourceError: What is behind a URL can't be reached.
    """
    source = local_path(uri)
    if source is None:
        return how == "copy" and _fetched(uri, target)
    if not os.path.isfile(source):
        return False
    if how == "link":
        target.symlink_to(os.path.abspath(source))
    else:
        shutil.copyfile(source, target)
    return True


def _fetched(url: str, target: Path) -> bool:
    try:
        target.write_bytes(contents(url))
    except BadImage:
        return False
    return True


def record(row: ExportRow, file: str | None, info: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A line of the sidecar: ``file`` is the image's path in the export, None where it has no place there."""
    size = {"width": row.width, "height": row.height, "frame": info.get("frame", "display")}
    return {"name": row.item.name, "file": file, **size, **provenance(row), **more}


def append(sidecar: IO[bytes], line: Mapping[str, Any]) -> None:
    """Write one line of the sidecar."""
    sidecar.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def records(root: Path) -> Iterator[dict[str, Any]]:
    """The lines of the sidecar of an exported folder; none where it has no sidecar.

    Raises:
        BadLabels: With the line: not JSON, or without a name.
    """
    path = root / MARKER
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            try:
                line = json.loads(raw) if raw.strip() else None
            except (ValueError, RecursionError) as e:
                raise BadLabels(f"{path}, line {number} is not JSON; export again") from e
            if line is None:
                continue
            if not isinstance(line, dict) or not isinstance(line.get("name"), str):
                raise BadLabels(f'{path}, line {number} has no "name" of an image; export again')
            if not isinstance(line.get("file"), str | None):
                raise BadLabels(f'{path}, line {number}: "file" is no path; export again')
            yield line


def entry(
    line: Mapping[str, Any], payload: Payload | None, *, edited: bool = False, drop: tuple[str, ...] = ()
) -> Entry:
    """What a line of the sidecar and the payload say together.

    Args:
        line: Of ``records``.
        payload: As read from the export.
        edited: The label was changed since; what the line says about its making is then no longer true.
        drop: Keys of the line that are no extras.
    """
    about = _ABOUT_ITEM if edited else tuple(k for k in line if k not in {"name", "file", "frame", "payload", *drop})
    source, frame = line.get("source"), line.get("frame")
    return Entry(
        line["name"],
        payload,
        {k: line[k] for k in about if k in line},
        source if source in ("human", "machine", "adjusted") and payload is not None and not edited else None,
        "stored" if frame == "stored" else "display",
    )


def left_out(reasons: Mapping[str, int]) -> list[str]:
    """The sentence about rows without a label (their number by reason); none where there are none."""
    if not reasons:
        return []
    n, first = sum(reasons.values()), sorted(reasons.items(), key=lambda r: -r[1])[:3]
    shown = ", ".join(f"{k} {reason}" for reason, k in first) + (", ..." if len(reasons) > 3 else "")
    return [f"{images(n)} without a label ({shown}): listed in {MARKER} only."]


def images(n: int) -> str:
    """``1 image is``, ``2 images are``."""
    return "1 image is" if n == 1 else f"{n} images are"
