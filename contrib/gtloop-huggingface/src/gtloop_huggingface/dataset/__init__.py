"""Format ``huggingface``: data sets of the library ``datasets``, as the hub has them, in and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from gtloop.interfaces import Entry, ExportRow, Format, Options
from gtloop.labelfiles import MARKER
from pydantic import Field

SAVED = ("dataset_dict.json", "state.json")
"""One of them lies in a folder of ``save_to_disk``."""
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


class HuggingFaceOptions(Options):
    """Options of ``huggingface``."""

    layout: Literal["parquet", "disk", "imagefolder"] = Field(
        "parquet",
        description="written: shards as on the hub, a folder of save_to_disk, or images beside metadata.jsonl",
    )
    images: Literal["link", "copy"] = Field("link", description="written, imagefolder: link the images, or copy them")
    shard_mb: int = Field(500, ge=1, description="written: megabytes of a shard, about")
    split: str | None = Field(None, description="read: the only split to read; default: all")
    boxes: Literal["xywh", "xyxy"] = Field("xywh", description="read: what the numbers of a box are, absolute pixels")
    first: int = Field(1, ge=0, le=255, description="read: value of the first category in a mask of another tool")
    background: int = Field(0, ge=0, le=65535, description="read: value of background in a mask of another tool")


class HuggingFace(Format):
    """A folder that ``datasets.load_dataset`` opens (``load_from_disk`` where the layout is ``disk``).

    Columns: ``image``, ``image_id`` (row), ``name``, ``width``, ``height``; for boxes ``objects`` with ``bbox``
    (x, y, width, height in pixels), ``category``, ``area``, ``id``, ``confidence``; for classes ``label``; for
    masks the picture ``label``; then where the label comes from. Categories are ``ClassLabel``, but names in an
    imagefolder. Images without a label are in ``gtloop.jsonl`` only.
    """

    name = "huggingface"
    summary = "Hugging Face data set: Parquet, save_to_disk or imagefolder"
    Options = HuggingFaceOptions
    tasks = frozenset({"bbox", "classification", "segmentation"})
    reads = True
    writes = True
    requires: ClassVar[tuple[str, ...]] = ("datasets", "pyarrow")
    extra: ClassVar[str | None] = "gtloop-huggingface"

    options: HuggingFaceOptions

    def sniff(self, path: Path) -> bool:
        """Whether it is a folder of ``save_to_disk``, one with metadata or shards of ``datasets``, or such a shard."""
        try:
            if path.is_file():
                return _is_shard(path)
            if not path.is_dir():
                return False
            if (path / MARKER).is_file():
                return (path / "README.md").is_file() and _is_export(path)
            return _is_dataset(path)
        except (OSError, ValueError):
            return False

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the examples of all splits; images are not decoded, masks are.

        Raises:
            BadLabels: With the place: no data set, no column of labels for the task, a category that is unknown.
        """
        from gtloop_huggingface.dataset.reading import entries

        return entries(path, task, categories, self.options)

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write the labelled rows with their images; the folder appears as a whole.

        Raises:
            UsageError: ``path`` holds something else, or can't be written.
        """
        from gtloop_huggingface.dataset.writing import write

        return write(path, rows, task, info, self.options)


def _is_export(path: Path) -> bool:
    from gtloop_huggingface.dataset.writing import TAG

    return TAG in (path / "README.md").read_text("utf-8")[:400]


def _is_dataset(path: Path) -> bool:
    if any((path / name).is_file() for name in SAVED):
        return True
    folders = [path, *islice((p for p in sorted(path.iterdir()) if p.is_dir()), 20)]
    if any((folder / name).is_file() for folder in folders for name in METADATA):
        return True
    return any(_is_shard(shard) for folder in folders for shard in islice(sorted(folder.glob("*.parquet")), 1))


def _is_shard(path: Path) -> bool:
    """Whether a Parquet file says that ``datasets`` wrote it."""
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            return False
    import pyarrow.parquet as pq

    return b"huggingface" in (pq.read_schema(path).metadata or {})
