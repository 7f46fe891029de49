"""``folder``: class folders, one folder of images for each category."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from gtloop.errors import BadLabels, SourceError
from gtloop.images import list_images
from gtloop.interfaces import Entry, Format, Options
from gtloop.labelfiles import check_category


class ClassFolders(Format):
    """``root/<category>/<image>``: the first folder below the root is the category.

    An image is called ``<category>/<file>``, which is also its name where the same folder is the source.
    """

    name = "folder"
    summary = "one folder of images for each category"
    Options = Options
    tasks = frozenset({"classification"})
    reads = True

    def sniff(self, path: Path) -> bool:
        """Whether an image lies in a folder below ``path``."""
        try:
            return path.is_dir() and any("/" in image.name for image in list_images(str(path)))
        except (SourceError, OSError):
            return False

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the images in order of their names; one directly in the root has no label.

        Raises:
            BadLabels: No images, a folder that can't be read, or a folder that is no declared category.
        """
        try:
            for image in list_images(str(path)):
                category, below, _ = image.name.partition("/")
                if below:
                    check_category(category, categories, f"{path}, folder {category}")
                yield Entry(image.name, {"category": category} if below else None, {})
        except SourceError as e:
            raise BadLabels(str(e)) from e
