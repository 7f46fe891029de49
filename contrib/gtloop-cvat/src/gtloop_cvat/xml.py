"""Format ``cvat``: CVAT's own XML, "CVAT for images 1.1"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from gtloop.interfaces import Entry, ExportRow, Format, Frame, Options
from pydantic import Field


class CvatXmlOptions(Options):
    """Options of format ``cvat``."""

    bare: Literal["unlabelled", "empty"] = Field(
        "unlabelled",
        description="what an image without shapes means in a file of CVAT's: not labelled, or nothing there",
    )
    frame: Frame = Field("display", description="frame of a file that does not say it; CVAT heeds EXIF orientation")
    void: str = Field("void", description="name of CVAT's label for pixels that count in no metric")


class CvatXml(Format):
    """``annotations.xml``, by itself, in an export's ZIP, or in a folder.

    Read: boxes (a turned one as the upright box round it) for task ``bbox``, masks and polygons for ``segmentation``
    (a higher ``z_order``, else the later, lies on top), one tag for ``classification``. Attributes, rotation, groups
    and subset are kept as extras, and what the task has no place for is listed there under ``others``.

    Written: the same, coordinates as decimals, masks as runs. What gtloop knows of an image stands in its attribute
    ``gtloop``, which CVAT passes over: so empty images, images without a label and exact names come back.
    """

    name = "cvat"
    summary = "CVAT for images 1.1, one XML file"
    Options = CvatXmlOptions
    requires = ("defusedxml",)
    extra = "gtloop-cvat"
    tasks = frozenset({"bbox", "classification", "segmentation"})
    reads = True
    writes = True
    suffix = ".xml"

    def sniff(self, path: Path) -> bool:
        """Whether the root element is ``annotations``."""
        from gtloop_cvat.reading import NAME, root_tag

        if path.is_dir():
            return (path / NAME).is_file() and root_tag(path) == "annotations"
        return path.suffix.lower() in (".xml", ".zip") and root_tag(path) == "annotations"

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the images in the order of the file.

        Raises:
            BadLabels: With file and image: not well-formed, a DOCTYPE, tracks of a video, a category that is not
                declared, a box without an area inside the image, a mask that does not fill its rectangle, two tags.
        """
        from gtloop_cvat.reading import Reader

        o = self.options
        yield from Reader(path, task, categories, bare=o.bare, frame=o.frame, void=o.void).entries()

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write one file in one pass; it appears complete or not at all.

        Raises:
            UsageError: ``path`` can't be written.
            BadLabels: A category that is not among the run's, or that XML can't hold.
        """
        from gtloop_cvat.writing import write

        return write(path, rows, task, info, self.options.void)
