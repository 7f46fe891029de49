"""The images that people see: the display frame, without anything that a file says besides its pixels."""

from __future__ import annotations

import hashlib
import io
import re
import threading
from collections import OrderedDict
from typing import NamedTuple

from gtloop.images import content, header, open_image
from gtloop.records import Item

CACHE_BYTES = 256 << 20
MAKERS = 4
"""Images that are decoded at once; each may take half a gigabyte."""

JPEG_END = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""What ends the coded pixels of a scan: a marker that is neither stuffing nor a restart."""
SOI, EOI, SOS, APP0, APP2, APP14, COM = 0xD8, 0xD9, 0xDA, 0xE0, 0xE2, 0xEE, 0xFE
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
SHOWN = frozenset({0xC0, 0xC1, 0xC2})


class Picture(NamedTuple):
    """An image as it is sent."""

    data: bytes
    media: str
    etag: str


class Pictures:
    """Makes pictures, and keeps some of them; threads may share it."""

    def __init__(self, most: int = CACHE_BYTES) -> None:
        self._most, self._held = most, 0
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._lock = threading.Lock()
        self._making = threading.Semaphore(MAKERS)

    def get(self, uri: str) -> Picture:
        """The picture of an image.

        Raises:
            BadImage: It can't be read, or is gone.
        """
        with self._lock:
            if uri in self._kept:
                self._kept.move_to_end(uri)
                return self._kept[uri]
        with self._making:
            picture = _make(uri)
        with self._lock:
            if uri not in self._kept and len(picture.data) <= self._most:
                self._kept[uri] = picture
                self._held += len(picture.data)
            while self._held > self._most:
                self._held -= len(self._kept.popitem(last=False)[1].data)
        return picture


def sized(item: Item) -> Item:
    """The item with its size as its file says now.

    Raises:
        BadImage: It can't be read, or is gone.
    """
    found = header(item.uri)
    size = {"width": found.width, "height": found.height, "orientation": found.orientation}
    return item.model_copy(update=size)


def _make(uri: str) -> Picture:
    found = header(uri)
    data = content(uri) if found.format == "JPEG" and found.orientation == 1 else b""
    stripped = strip_jpeg(data)
    if stripped is not None:
        return Picture(stripped, "image/jpeg", hashlib.blake2b(stripped, digest_size=16).hexdigest())
    out = io.BytesIO()
    open_image(uri).save(out, "PNG", compress_level=1)
    return Picture(out.getvalue(), "image/png", hashlib.blake2b(out.getbuffer(), digest_size=16).hexdigest())


def strip_jpeg(data: bytes) -> bytes | None:
    """A JPEG without metadata: of its application segments JFIF's, Adobe's and the colour profile stay.

    Thumbnails, comments and what follows the image's end go. None where it is cut short, or no browser shows it as
    ``open_image`` does (CMYK, 12 bits, arithmetic coding): such a one has to be decoded.
    """
    if data[:2] != bytes((0xFF, SOI)):
        return None
    kept, at = [data[:2]], 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at:end]
        if marker in FRAMES and not (marker in SHOWN and len(segment) > 9 and segment[4] == 8 and segment[9] in (1, 3)):
            return None
        if marker == SOS:
            found = JPEG_END.search(data, end)
            if found is None:
                return None
            end = found.end() - 2
            segment = data[at:end]
        if end <= at or end > len(data):
            return None
        kept.append(_without_metadata(marker, segment))
        at = end
        if data[at : at + 2] == bytes((0xFF, EOI)):
            return b"".join([*kept, data[at : at + 2]])
    return None


def _without_metadata(marker: int, segment: bytes) -> bytes:
    if marker == APP0:
        head = segment[:16]  # to the end of the density; the rest is a thumbnail
        return b"\xff\xe0\x00\x10" + head[4:] + b"\0\0" if head[4:9] == b"JFIF\0" and len(head) == 16 else b""
    if marker == APP2:
        return segment if segment[4:16] == b"ICC_PROFILE\0" else b""
    if marker == APP14:
        return segment if segment[4:9] == b"Adobe" else b""
    return b"" if APP0 <= marker <= 0xEF or marker == COM else segment
