"""``yolo``: the folder that an ultralytics training opens, with ``data.yaml``, ``images`` and ``labels``.

docs.ultralytics.com/datasets/detect: one text file an image, one line ``class cx cy w h`` an object, as shares of the
width and height of the image as displayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from gtloop.interfaces import Entry, ExportRow, Format, Options


class YoloOptions(Options):
    """Options of ``yolo``."""

    images: Literal["link", "copy", "none"] = Field(
        "link", description="written: link the images, copy them (the folder can then be moved), or write labels only"
    )
    val: float = Field(
        0.1, ge=0, lt=1, description="written: share of the images in the split val, chosen by a hash of the item's id"
    )
    missing: Literal["unlabelled", "empty"] = Field(
        "unlabelled",
        description="read: what an image without a label file is; ultralytics takes it as empty, as many data sets do",
    )


class Yolo(Format):
    """Boxes as YOLO text files; the sidecar ``gtloop.jsonl`` keeps what they can't hold.

    Written: images with a label, in the splits ``train`` and ``val``; an empty label is an empty text file, and so a
    background. Names in one split's folder are flat and unique. An image without a label, or with boxes but of unknown
    size, is in the sidecar only.

    Read: a folder with ``data.yaml`` (or that file), or one with ``labels`` and ``classes.txt``. Images are needed
    where no sidecar has their size.
    """

    name = "yolo"
    summary = "YOLO folder with data.yaml, as ultralytics trains on"
    Options = YoloOptions
    tasks = frozenset({"bbox"})
    reads = True
    writes = True

    def sniff(self, path: Path) -> bool:
        """Whether there is a ``data.yaml`` with ``names``, or ``labels`` and ``classes.txt``."""
        from gtloop_plugins.formats.yolo import reading

        return reading.sniff(path)

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the images by split, in order of their paths; of an export, those without a label come last.

        A polygon or oriented box is read as the box round it, a pose as its box; a sixth column is a confidence. An
        image is called by its path below ``path``, or as the sidecar says. Where a label file was changed after the
        export, what the sidecar says about the making of that label is left out.

        Raises:
            BadLabels: With the file and line: no names, a split that is not there, a category that is not declared,
                a line that is no box, or an image whose size is unknown.
        """
        from gtloop_plugins.formats.yolo import reading

        return reading.read(path, categories, self.options.missing == "empty")

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write the folder as a whole.

        Raises:
            UsageError: ``path`` can't be written.
            BadLabels: A box of a category that is not among the run's.
        """
        from gtloop_plugins.formats.yolo import writing

        return writing.write(path, list(rows), info, self.options.images, self.options.val)
