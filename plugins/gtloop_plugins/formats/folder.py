"""``folder``: class folders, one folder of images for each category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field

from gtloop.errors import BadLabels, SourceError
from gtloop.imagefolders import FileNames, append, entry, images, left_out, place_image, record, records
from gtloop.images import Listed, list_images
from gtloop.interfaces import Entry, ExportRow, Format, Options
from gtloop.labelfiles import MARKER, check_category, replacing_folder
from gtloop.records import Payload

OPENED = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
"""Suffixes that ``torchvision.datasets.ImageFolder`` opens (``torchvision.datasets.folder.IMG_EXTENSIONS``)."""

_OTHERS = ("data.yaml", "data.yml", "dataset.yaml")
_OWN = ("format",)
_BESIDE = ({"images", "labels"}, {"images", "masks"}, {"jpegimages"})


class FolderOptions(Options):
    """Options of ``folder``."""

    images: Literal["link", "copy"] = Field("link", description="written: link the images, or copy them")


class ClassFolders(Format):
    """``root/<category>/<image>``: the first folder below the root is the category.

    An image is called ``<category>/<file>``, also where that folder is the source; in an export of
    gtloop it has the name that the sidecar ``gtloop.jsonl`` says, also after it was moved to another category's folder.
    """

    name = "folder"
    summary = "one folder of images for each category"
    Options = FolderOptions
    tasks = frozenset({"classification"})
    reads = True
    writes = True

    def sniff(self, path: Path) -> bool:
        """Whether an image lies in a folder below ``path``, and nothing says that it is another format's folder."""
        try:
            if not path.is_dir() or _is_another(path):
                return False
            if (path / MARKER).is_file():
                return next((line.get("format") for line in records(path)), None) == self.name
            return any("/" in image.name for image in list_images(str(path)))
        except (SourceError, BadLabels, OSError):
            return False

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the images in order of their names; one directly in the root has no label.

        Of an export, rows that have no image there come last.

        Raises:
            BadLabels: No images, a folder that can't be read, or a folder that is no declared category.
        """
        lines = list(records(path))
        known = {_file(line): line for line in lines if line["file"] is not None}
        meant = {_folder(line): _category(line) for line in known.values()}
        try:
            for image in _listed(path):
                folder, below, _ = image.name.partition("/")
                category = meant.get(folder) or folder
                if below:
                    check_category(category, categories, f"{path}, folder {folder}")
                payload: Payload | None = {"category": category} if below else None
                line = known.pop(image.name.rpartition("/")[2], None)
                if line is None:
                    yield Entry(image.name, payload, {})
                elif folder == _folder(line) and category == _category(line):
                    yield entry(line, line["payload"], drop=_OWN)
                else:  # moved to another category's folder
                    yield entry(line, payload, edited=True)
        except SourceError as e:
            raise BadLabels(str(e)) from e
        for line in known.values():  # its image was removed
            yield entry(line, None, edited=True)
        for line in lines:
            if line["file"] is None:
                yield entry(line, line["payload"] if _category(line) else None, drop=_OWN)

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write the folder as a whole; file names are unique in all of it.

        A category without an image gets no folder: ``torchvision.datasets.ImageFolder`` refuses empty ones.

        Raises:
            UsageError: ``path`` can't be written.
        """
        said = _Said()
        files, folders = FileNames(), FileNames()
        place = {category: folders.folder(category) for category in info["categories"]}
        with replacing_folder(path) as work, (work / MARKER).open("wb") as sidecar:
            for row in rows:
                payload, file = None if row.label is None else row.label.payload, None
                if payload is not None:
                    category = payload["category"]
                    if category not in place:
                        place[category] = folders.folder(category)
                    file = self._place(row, work / place[category], files)
                said.add(row, file)
                append(sidecar, record(row, file, info, format=self.name, payload=payload))
        return said.sentences(place)

    def _place(self, row: ExportRow, folder: Path, files: FileNames) -> str | None:
        """Put a row's image into its category's folder; None where there is no such local file."""
        name = files.of(row.item.name)
        folder.mkdir(exist_ok=True)
        if place_image(row.item.uri, folder / name, self.options.images):
            return f"{folder.name}/{name}"
        with suppress(OSError):  # not empty
            folder.rmdir()
        return None


class _Said:
    """What the format could not hold, counted row by row."""

    def __init__(self) -> None:
        self.filled: set[str] = set()
        self.unlabelled: Counter[str] = Counter()
        self.gone = self.unopened = 0

    def add(self, row: ExportRow, file: str | None) -> None:
        if row.label is None:
            self.unlabelled[row.reason or row.status] += 1
        elif file is None:
            self.gone += 1
        else:
            self.filled.add(row.label.payload["category"])
            self.unopened += PurePosixPath(file).suffix.lower() not in OPENED

    def sentences(self, place: Mapping[str, str]) -> list[str]:
        said = left_out(self.unlabelled)
        if self.gone:
            said.append(f"{images(self.gone)} not there as a local file: the label is in {MARKER} only.")
        if self.unopened:
            said.append(f"{images(self.unopened)} of a file type that torchvision does not open; convert to .png.")
        if bare := [repr(category) for category in place if category not in self.filled]:
            said.append(
                f"No image is {', '.join(bare)}: no folder was written for it, as ImageFolder refuses empty ones."
            )
        if other := [f"{c!r} is in {f}" for c, f in place.items() if c in self.filled and c != f]:
            said.append(f"Categories that are no folder names have others: {', '.join(other)}.")
        return said


def _is_another(path: Path) -> bool:
    """Whether a file or folder directly in ``path`` says that it is a data set of another kind."""
    below = {p.name.casefold(): p for p in path.iterdir()}
    if any(name in below for name in _OTHERS) or any(names <= below.keys() for names in _BESIDE):
        return True
    annotations = below.get("annotations")
    return annotations is not None and any(p.suffix in (".xml", ".json") for p in islice(_inside(annotations), 100))


def _inside(path: Path) -> Iterator[Path]:
    return path.iterdir() if path.is_dir() else iter(())


def _listed(path: Path) -> Iterator[Listed]:
    """The images below ``path``; an export may have none."""
    try:
        return list_images(str(path))
    except SourceError:
        if (path / MARKER).is_file():
            return iter(())
        raise


def _file(line: Mapping[str, Any]) -> str:
    return PurePosixPath(line["file"]).name


def _folder(line: Mapping[str, Any]) -> str:
    return PurePosixPath(line["file"]).parts[0]


def _category(line: Mapping[str, Any]) -> str | None:
    """The category that a line of the sidecar says; None where it says none."""
    payload = line.get("payload")
    category = payload.get("category") if isinstance(payload, dict) else None
    return category if isinstance(category, str) else None
