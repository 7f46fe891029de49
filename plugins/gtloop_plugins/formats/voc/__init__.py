"""``voc``: Pascal VOC annotations, one XML file for each image.

M. Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 88 (2010), and its development
kit, in which coordinates start at 1 and both corners belong to the box.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from gtloop.errors import BadLabels
from gtloop.interfaces import Entry, ExportRow, Format, Frame, Options
from gtloop.labelfiles import MARKER
from gtloop_plugins.formats.voc.reading import entry, parse, unlabelled, xml_files
from gtloop_plugins.formats.voc.writing import LISTED, write


class VocOptions(Options):
    """Options of ``voc``."""

    one_based: bool = Field(
        False,
        description="coordinates start at 1 and corners are inclusive, as in the original VOC sets; "
        "most tools write them from 0",
    )
    frame: Frame = Field(
        "display",
        description="frame of a file that does not say it: stored, if the tool that wrote it ignored EXIF orientation",
    )


class Voc(Format):
    """A folder of Pascal VOC XML files (or one of them) with boxes.

    An image is called as the ``<filename>`` says, unless that and the XML file's stem differ: then the
    stem, with the suffix of ``<filename>``, is its name. XML files below other folders of the root have those before
    their name. Boxes are clipped to ``<size>`` where the file says it.

    Written, as the development kit has it: ``Annotations/STEM.xml`` for each labelled image, below its own folders;
    ``ImageSets/Main/default.txt``, which lists them; ``labelmap.txt``, which CVAT and Datumaro want; and
    ``gtloop.jsonl``, a line for each image, also for one without a label and so without XML. An image
    whose stem is taken has its whole file name as stem. Coordinates are decimals, from 0, corners at the edges of the
    box; with ``one_based`` as the kit has them. The text of ``<gtloop>`` is a JSON object: the name, frame,
    ``one_based``, status, source, confidence and all else that gtloop knows of the label, and is believed before the
    options when read. An object has ``<confidence>`` where its box has one.
    """

    name = "voc"
    summary = "Pascal VOC, a folder with one XML file for each image"
    Options = VocOptions
    tasks = frozenset({"bbox"})
    reads = True
    writes = True

    def sniff(self, path: Path) -> bool:
        """Whether the first XML file there has the root element ``annotation``; or an export of no labels."""
        first = next(xml_files(path), None)
        if first is None:
            return (path / MARKER).is_file() and (path / LISTED).is_file()
        try:
            return parse(first).tag == "annotation"
        except BadLabels:
            return False

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the annotations in order of their paths, then gtloop's images without a label.

        Raises:
            BadLabels: With the file: no XML files, not well-formed, with a DOCTYPE, a category that is not
                declared, a box without four numbers, or without an area inside the image, a confidence out of range.
        """
        empty = True
        for file in xml_files(path):
            empty = False
            yield entry(file, path, categories, self.options.one_based, self.options.frame)
        if (path / MARKER).is_file():
            yield from unlabelled(path)
        elif empty:
            raise BadLabels(f"no XML files in {path}; give the folder of the annotations")

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write one file a labelled row, in one pass; the folder appears complete or not at all.

        Raises:
            UsageError: ``path`` can't be written, or is something else than an earlier export.
            BadLabels: A box of a category that is not among the run's, or one that XML can't hold.
        """
        return write(path, rows, info, self.options.one_based)
