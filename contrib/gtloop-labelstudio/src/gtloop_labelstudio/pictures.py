"""How annotators' browsers reach pictures: at their own address, from the server's disk, or uploaded to the server.

Browsers apply EXIF, but not all programs around them do, and they do not show every format: an image that EXIF turns,
or whose format is rare, is uploaded as an upright JPEG copy.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from gtloop import keyed
from gtloop.errors import BadImage, GtloopError
from gtloop.images import content, header, open_image
from gtloop.records import Item
from gtloop.urls import is_web, local_path

from gtloop_labelstudio.books import Books
from gtloop_labelstudio.options import LabelStudioOptions
from gtloop_labelstudio.service import Service

_SHOWN = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp"}
"""Suffixes of formats that browsers show and the server takes."""
MOST_FILES, MOST_BYTES = 20, 32 << 20
"""Of one upload."""


class Pictures:
    """Addresses of pictures, as they stand in the data of tasks."""

    def __init__(self, options: LabelStudioOptions, service: Service, books: Books) -> None:
        self._options, self._service, self._books = options, service, books
        self._linked: set[Path] = set()

    def addresses(self, items: Sequence[Item], project: int) -> dict[str, str]:
        """Item id to address; what needs it is uploaded, once.

        Raises:
            GtloopError: An image can't be read, or not be uploaded.
        """
        found = {i.id: a for i in items if (a := self._reachable(i, project)) is not None}
        for some in _batches([i for i in items if i.id not in found and i.id not in self._books.images]):
            self._upload(some, project)
        return {i.id: found.get(i.id) or self._options.prefix + self._books.images[i.id] for i in items}

    def _reachable(self, item: Item, project: int) -> str | None:
        """An address that needs no upload; None: there is none."""
        if PurePosixPath(item.name).suffix.lower() not in _SHOWN or not _upright(item):
            return None
        if (template := self._options.image_url) is not None:
            return template.replace("{name}", quote(item.name)).replace("{id}", quote(item.id, safe=""))
        if is_web(item.uri):
            return item.uri
        root, path = self._options.local_root, Path(local_path(item.uri) or "")
        if root is None or root not in path.parent.parents:  # the server takes no files that lie in the root itself
            return None
        below = path.relative_to(root)
        self._link(root / below.parts[0], project)
        return f"{self._options.prefix}/data/local-files/?d={quote(str(below))}"

    def _link(self, folder: Path, project: int) -> None:
        """Let the server show files of a folder to people of the project."""
        if folder in self._linked:
            return
        known = self._service.call("GET", "/api/storages/localfiles", params={"project": project})
        if not any(s["path"] == str(folder) for s in known):
            body = {"project": project, "path": str(folder), "use_blob_urls": True, "title": "gtloop"}
            self._service.call("POST", "/api/storages/localfiles", json=body)
        self._linked.add(folder)

    def _upload(self, files: Sequence[tuple[Item, str, bytes]], project: int) -> None:
        given = {f"file{n}": (name, data) for n, (_, name, data) in enumerate(files)}
        import_path, params = f"/api/projects/{project}/import", {"commit_to_project": "false"}
        made = self._service.call("POST", import_path, params=params, files=given)["file_upload_ids"]
        listed = self._service.call("GET", f"/api/projects/{project}/file-uploads", params={"ids": str(made)})
        by_id = {f["id"]: f["file"] for f in listed}
        for (item, name, _), number in zip(files, made, strict=True):
            if not by_id[number].endswith(name):
                raise GtloopError(f"Label Studio keeps {name} as {by_id[number]}: images would be mixed up")
            self._books.write({"image": item.id, "path": f"/data/{by_id[number]}"})


def sized(item: Item) -> tuple[int, int] | None:
    """(width, height) in display pixels, from the file where the run does not know it yet; None: it can't be read."""
    if item.display_size is not None:
        return item.display_size
    try:
        found = header(item.uri)
    except BadImage:
        return None
    return (found.height, found.width) if found.orientation >= 5 else (found.width, found.height)


def _upright(item: Item) -> bool:
    """Whether EXIF leaves an image as it is stored."""
    if item.display_size is not None:
        return item.orientation == 1
    try:
        return header(item.uri).orientation == 1
    except BadImage as e:
        raise GtloopError(f"{item.name}: {e}; remove the image, then run the same command again") from None


def _batches(items: Sequence[Item]) -> Iterator[list[tuple[Item, str, bytes]]]:
    """Items with names and bytes of their files, as much as one upload takes."""
    batch: list[tuple[Item, str, bytes]] = []
    for item in items:
        name, data = _file(item)
        if batch and (len(batch) == MOST_FILES or sum(len(b[2]) for b in batch) + len(data) > MOST_BYTES):
            yield batch
            batch = []
        batch.append((item, name, data))
    if batch:
        yield batch


def _file(item: Item) -> tuple[str, bytes]:
    """Name and bytes of the file that people see; its name tells nothing about the image."""
    suffix = PurePosixPath(item.name).suffix.lower()
    stem = item.id if re.fullmatch(r"[A-Za-z0-9-]{1,64}", item.id) else keyed.digest(item.id, length=32)
    try:
        if suffix in _SHOWN and _upright(item):
            return f"{stem}{suffix}", content(item.uri)
        out = io.BytesIO()
        open_image(item.uri).save(out, "JPEG", quality=95)
    except BadImage as e:
        raise GtloopError(f"{item.name}: {e}; remove the image, then run the same command again") from None
    return f"{stem}.jpg", out.getvalue()
