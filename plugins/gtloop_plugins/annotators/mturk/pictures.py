"""How workers reach pictures: the source's own URLs, a template, or signed URLs of S3; and copies that gtloop makes.

Widgets on MTurk work in the frame that a browser shows, and browsers differ on EXIF and on rare formats. So an image
that EXIF turns, or that browsers do not show, is published as an upright JPEG copy.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from gtloop import masks
from gtloop.errors import BadImage, ConfigError, GtloopError
from gtloop.files import write_atomic
from gtloop.images import open_image
from gtloop.records import Item, Payload
from gtloop.urls import shown
from gtloop_plugins.annotators.mturk.options import OUTLIVES, PRESIGNED_HOURS, MturkOptions
from gtloop_plugins.annotators.mturk.service import Service

_SHOWN = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".avif"}
"""Suffixes of formats that browsers show."""
_OWN = ("http://", "https://", "s3://")
"""What an image's own address begins with where workers can be sent there; those of S3 are signed."""


class Pictures:
    """URLs of what workers see; ``folder`` holds the copies, ``uris`` tells where the run's images are."""

    def __init__(
        self, options: MturkOptions, folder: Path, service: Service, uris: Callable[[], Iterable[str]] = tuple
    ) -> None:
        self._options, self._folder, self._service, self._uris = options, folder, service, uris
        self._s3: Any = None
        self._reachable = False

    def check(self) -> None:
        """Whether there is a way for workers to see images at all.

        Raises:
            ConfigError: There is none, or it ends too early.
        """
        if self._options.image_url is None:
            if not self._reachable:
                self._check_own()
                self._reachable = True
        elif self._options.uses_s3:
            self._sign(self._key(self._options.image_url, "check"))

    def _check_own(self) -> None:
        """Whether workers can be sent to where the images are."""
        uris = iter(self._uris())
        first = next(uris, "")
        signed = ""
        for uri in chain((first,), uris):
            if not uri.startswith(_OWN):
                raise _unseen(uri)
            signed = signed or (uri if uri.startswith("s3://") else "")
        if signed:
            if self._options.outlives_signed:
                raise ConfigError(f"annotators.mturk: {OUTLIVES}")
            self._sign(signed)

    def url(self, item: Item) -> str:
        """Where workers see an item, upright.

        Raises:
            GtloopError: A copy has to be published, and it is not known where.
        """
        if item.orientation != 1 or PurePosixPath(item.name).suffix.lower() not in _SHOWN:
            return self._copy(item)
        if item.uri.startswith(("http://", "https://")):
            return item.uri
        if item.uri.startswith("s3://"):
            return self._sign(item.uri)
        template = self._options.image_url
        if template is None:
            raise _unseen(item.uri)
        if template.startswith("s3://"):
            return self._sign(self._key(template, item.name))
        return template.replace("{name}", quote(item.name)).replace("{id}", quote(item.id, safe=""))

    def mask(self, proposal: Payload, palette: Mapping[str, str], name: str) -> str:
        """Where workers see a proposed mask, as a PNG in the colours of its categories."""
        from PIL import Image

        height, width = proposal["size"]
        pixels = np.zeros((height, width, 4), np.uint8)
        for region in proposal.get("regions", []):
            rgb = bytes.fromhex(palette[region["category"]][1:])
            pixels[masks.decode(region["counts"], (height, width))] = (*rgb, 255)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG", optimize=True)
        return self._publish(f"{quote(name, safe='')}.png", out.getvalue(), "a label to look at")

    def _copy(self, item: Item) -> str:
        name = f"{quote(item.id, safe='')}.jpg"
        path = self._folder / name
        if not path.exists():
            try:
                image = open_image(item.uri)
            except BadImage as e:
                raise GtloopError(f"{item.name}: {e}") from None
            out = io.BytesIO()
            image.save(out, "JPEG", quality=95)
            write_atomic(path, out.getvalue())
        why = "EXIF turns it" if item.orientation != 1 else "browsers do not show its format"
        return self._publish(name, path.read_bytes(), f"{item.name} ({why})")

    def _publish(self, name: str, data: bytes, what: str) -> str:
        path = self._folder / name
        if not path.exists():
            write_atomic(path, data)
        if self._options.copies_url is not None:
            return self._options.copies_url.replace("{name}", quote(name)).replace("{id}", quote(Path(name).stem))
        if self._options.image_url is not None and self._options.uses_s3:
            key = self._key(self._options.image_url, f"gtloop-copies/{name}")
            self._upload(key, data, "image/png" if name.endswith(".png") else "image/jpeg")
            return self._sign(key)
        raise ConfigError(
            f"{what} needs a copy that workers can reach: publish the folder {self._folder} and say where, "
            "-o annotators.mturk.copies_url=https://HOST/{name}; then run again"
        )

    # -------------------------------------------------------------------------------------------- S3

    @staticmethod
    def _key(prefix: str, name: str) -> str:
        return f"{prefix.rstrip('/')}/{name}"

    def _bucket(self) -> Any:
        if self._s3 is None:
            self._s3 = self._service.session().client("s3")
        return self._s3

    def _sign(self, uri: str) -> str:
        parts = urlsplit(uri)
        key = uri.removeprefix(f"s3://{parts.netloc}/")
        try:
            signed: str = self._bucket().generate_presigned_url(
                "get_object", Params={"Bucket": parts.netloc, "Key": key}, ExpiresIn=PRESIGNED_HOURS * 3600
            )
        except Exception as e:  # boto3 has no common base for what signing and uploading raise
            raise ConfigError(f"{uri} can't be signed: {' '.join(str(e).split())}") from None
        return signed

    def _upload(self, uri: str, data: bytes, kind: str) -> None:
        parts = urlsplit(uri)
        key = uri.removeprefix(f"s3://{parts.netloc}/")
        try:
            self._bucket().put_object(Bucket=parts.netloc, Key=key, Body=data, ContentType=kind)
        except Exception as e:
            raise ConfigError(f"{uri} can't be written: {' '.join(str(e).split())}; see your AWS permissions") from None


def _unseen(uri: str) -> ConfigError:
    return ConfigError(
        f"workers of MTurk can't see the images{f' (first: {shown(uri)})' if uri else ''}: publish them and say where, "
        "-o annotators.mturk.image_url=https://HOST/{name} (or s3://BUCKET/PREFIX, which is signed)"
    )


def colours(categories: Sequence[str]) -> dict[str, str]:
    """One colour a category, ``#rrggbb``, as far apart as their number allows."""
    found = {}
    for n, category in enumerate(categories):
        rgb = colorsys.hsv_to_rgb(n * 0.618034 % 1, 0.85 - 0.3 * (n % 3) / 2, 0.95 - 0.2 * (n % 2))
        found[category] = "#" + bytes(round(255 * c) for c in rgb).hex()
    return found
