"""Images: the one place that opens and frames them (``gtloop.listing`` finds them).

Every image that gtloop shows or computes with is RGB uint8 in the *display frame*: as a viewer shows it,
that is with the EXIF orientation applied. ``open_image`` makes that frame, and ``header`` predicts its
size without decoding. Colour profiles are not applied, as usual in training.

Only formats that Pillow decodes by itself are read, in a fixed order (``gtloop.listing.formats``), so that the same
bytes mean the same image in every process; EPS and WMF, which start outside programs, are refused.
Everything here is thread-safe. Pillow's warnings are silenced once, on import: what they warn about is
either harmless metadata or checked here.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from gtloop.errors import BadImage, SourceError
from gtloop.listing import Listed, formats, list_images, suffixes
from gtloop.remote import contents, read_ahead
from gtloop.urls import local_path

__all__ = [
    "MAX_PIXELS",
    "Header",
    "Listed",
    "content",
    "content_hash",
    "header",
    "list_images",
    "open_image",
    "read_ahead",
    "suffixes",
    "thumbnail",
]

warnings.filterwarnings("ignore", module=r"PIL\.")

MAX_PIXELS = 178_956_970
"""Largest image that is decoded, in pixels: Pillow's own hard limit, 2 x 1024^3 / 4 / 3."""

_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WIDE_GRAY = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})


class Header(NamedTuple):
    """What an image file says about itself: stored size in pixels, EXIF orientation 1 to 8, format."""

    width: int
    height: int
    orientation: int
    format: str


def open_image(uri: str, *, max_pixels: int = MAX_PIXELS, least: tuple[int, int] | None = None) -> Image.Image:
    """Decode an image: RGB uint8, display frame, (height, width) after EXIF transposition.

    Alpha is composited on white; an animation gives its first frame; 16-bit gray is divided by 257.

    Args:
        uri: A local path, a ``file://`` URI, or a URL that ``gtloop.remote`` reads.
        max_pixels: Larger images are refused from their header; at most ``MAX_PIXELS``.
        least: (width, height) of the display frame that will do: a JPEG is decoded at a half, a quarter or an eighth
            if that is as large.

    Raises:
        BadImage: Unreadable, truncated, empty, not an image, or too large; the text is the reason.
        SourceError: The system is out of file handles or memory, or a service can't be reached, which is not the
            image's fault.
    """
    with _opened(uri, max_pixels) as (image, _):
        if least is not None and image.format == "JPEG":
            image.draft(None, least if _orientation(image) < 5 else least[::-1])
        return _display(image)


def thumbnail(uri: str, max_px: int, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A small version of ``open_image``: its longer side is at most ``max_px`` pixels; never enlarged.

    JPEG is decoded at reduced scale, which is several times faster.

    Raises:
        BadImage: As ``open_image``.
    """
    with _opened(uri, max_pixels) as (image, _):
        image.draft(None, (2 * max_px, 2 * max_px))  # JPEG only: decodes at 1/2, 1/4 or 1/8, never below this
        small = _display(image)
        small.thumbnail((max_px, max_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
        return small


def header(uri: str, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Stored size and orientation without decoding pixels.

    ``open_image`` of the same file has that size, swapped where ``orientation`` is 5 or more. A header
    can be sound where the pixels are not, so ``open_image`` may still raise.

    Raises:
        BadImage: As ``open_image``, for what the header shows.
    """
    with _opened(uri, max_pixels) as (image, file):
        width, height = image.size
        if isinstance(image, TiffImageFile):  # its size is the displayed one, or not yet, by Pillow's version
            width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
        late = image.format != "PNG" or _late_png_metadata(file)
        return Header(width, height, _orientation(image, late), image.format or "")


def content(uri: str) -> bytes:
    """The file's bytes.

    Raises:
        BadImage: The file can't be read.
        SourceError: As ``open_image``.
    """
    with _readable(uri) as file:
        try:
            return file.read()
        except OSError as e:
            raise BadImage(_reason(e)) from e


def content_hash(uri: str) -> str:
    """SHA-256 of the file's bytes, as 64 hex digits, read in pieces.

    Raises:
        BadImage: The file can't be read.
    """
    with _readable(uri) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        except OSError as e:
            raise BadImage(_reason(e)) from e


@contextmanager
def _readable(uri: str) -> Iterator[IO[bytes]]:
    path = local_path(uri)
    if path is None:
        yield io.BytesIO(contents(uri))
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 (what its body raises is not about opening)
    except (OSError, ValueError) as e:  # ValueError: a null character in the path
        if isinstance(e, OSError) and e.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise SourceError(f"cannot open images: {e.strerror}; use fewer workers or raise the limit (ulimit)") from e
        raise BadImage(_reason(e)) from e
    with file:
        yield file


@contextmanager
def _opened(uri: str, max_pixels: int) -> Iterator[tuple[Image.Image, IO[bytes]]]:
    """Open an image up to its header; whatever Pillow raises about it, now or in the body, is BadImage."""
    with _readable(uri) as file:
        try:
            with Image.open(file, formats=formats()) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise BadImage(_too_large(f"{width} x {height} pixels", max_pixels))
                yield image, file
        except BadImage:
            raise
        except Image.DecompressionBombError as e:
            raise BadImage(_too_large("more than Pillow decodes", min(max_pixels, MAX_PIXELS))) from e
        except UnidentifiedImageError as e:
            empty = file.seek(0, os.SEEK_END) == 0
            raise BadImage("the file is empty (0 bytes)" if empty else "not an image in a format that is read") from e
        except Exception as e:  # Pillow's decoders raise anything at all on damaged files
            raise BadImage(_reason(e)) from e


def _too_large(size: str, limit: int) -> str:
    return f"too large: {size}, the limit is {limit} pixels in all; scale it down"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return f"cannot be read: {error.strerror.lower()}"
    text = " ".join(str(error).split()) or type(error).__name__
    return f"damaged or truncated: {text}"


def _late_png_metadata(file: IO[bytes]) -> bool:
    """Whether a PNG holds EXIF or XMP after its pixels, where Pillow finds it only by decoding them."""
    at = file.tell()
    try:
        file.seek(8)
        pixels = False
        while len(start := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", start)
            keyword = file.read(min(length, 21))
            if pixels and (kind == b"eXIf" or keyword in (b"Raw profile type exif", b"XML:com.adobe.xmp\0\0\0\0")):
                return True
            pixels = pixels or kind == b"IDAT"
            file.seek(length - len(keyword) + 4, os.SEEK_CUR)
        return False
    finally:
        file.seek(at)


def _orientation(image: Image.Image, late: bool = True) -> int:
    """EXIF orientation, 1 where there is none or where it is damaged (as viewers do)."""
    try:
        exif = image.getexif() if late else Image.Image.getexif(image)
    except Exception:
        if image.format == "PNG" and late:
            raise  # a PNG is decoded for it, so that this is about the pixels
        return 1
    value = exif.get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _display(image: Image.Image) -> Image.Image:
    """Decode, convert to RGB and transpose."""
    image.load()
    method = None if image.format == "TIFF" else _TRANSPOSE.get(_orientation(image))  # a TIFF loads transposed
    rgb = _rgb(image)
    if method is not None:
        rgb = rgb.transpose(method)
    rgb.info = {}
    return rgb


def _rgb(image: Image.Image) -> Image.Image:
    """A new RGB image of any mode's colours; alpha on white."""
    if image.mode in _WIDE_GRAY:
        return Image.fromarray(_gray8(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # None only in place
        return converted
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    rgb = image.convert("RGB")
    return rgb.copy() if rgb is image else rgb


def _gray8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W) wide gray values to uint8.

    The range is [0, 65535] for integers and the least of [0, 1], [0, 255] and [0, 65535] that holds the
    image for floats; larger values are scaled by the image's maximum. Negative and non-finite ones are 0.
    """
    floats = values.dtype.kind == "f"
    v = np.nan_to_num(values, nan=0, posinf=0, neginf=0) if floats else values
    top = float(v.max(initial=0))
    steps = (1.0, 255.0, 65535.0) if floats else (65535.0,)
    full = next((s for s in steps if top <= s), top)
    scaled: NDArray[np.uint8] = np.rint(np.clip(v, 0, None) * (255.0 / full)).astype(np.uint8)
    return scaled
