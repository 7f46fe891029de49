"""``coco``: MS COCO objects and masks, one JSON file.

T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; cocodataset.org/#format-data. Boxes are
``[x, y, width, height]`` in absolute pixels there; gtloop's own facts stand under the key ``gtloop`` of each image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

from pydantic import Field

from gtloop.interfaces import Entry, ExportRow, Format, Frame, Options
from gtloop.labelfiles import check_category
from gtloop.records import Payload, Source
from gtloop_plugins.formats.coco.checks import text
from gtloop_plugins.formats.coco.objects import box
from gtloop_plugins.formats.coco.regions import regions
from gtloop_plugins.formats.coco.spill import Annotation, Spill
from gtloop_plugins.formats.coco.writing import write

_HEAD = 65536
_KEYS = (b'"images"', b'"annotations"', b'"categories"')


class CocoOptions(Options):
    """Options of ``coco``."""

    frame: Frame = Field(
        "display",
        description="frame of a file that does not say it: stored, if the tool that wrote it ignored EXIF orientation",
    )


class Coco(Format):
    """COCO ``images``, ``annotations`` and ``categories``; every image is kept, also an empty one.

    Written: image and annotation ids count from 1, category ids are positions in the run's categories from
    1, a confidence is ``score``, and ``gtloop`` of an image holds its status, reason, source, confidence,
    iteration, model, threshold, bound, workers and consolidation. ``info.gtloop.frame`` is the frame of all
    coordinates. A region of a mask is one annotation whose ``segmentation`` is a compressed run-length code; COCO
    has no void, so it is a run-length code under ``gtloop.void`` of the image.
    """

    name = "coco"
    summary = "MS COCO objects and masks, one JSON file"
    Options = CocoOptions
    tasks = frozenset({"bbox", "segmentation"})
    reads = True
    writes = True
    suffix = ".json"

    def sniff(self, path: Path) -> bool:
        """Whether a file starts as a JSON object with one of COCO's keys near its start."""
        if not path.is_file():
            return False
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
        except OSError:
            return False
        return path.suffix.lower() == self.suffix and head.startswith(b"{") and any(key in head for key in _KEYS)

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Yield the images in the file's order; memory grows neither with images nor with annotations.

        The file is parsed as a stream and waits in a temporary database, so that its parts may come in any order. A
        category may be declared in the file without being one of the run's, if it is unused. ``crowds`` of the
        extras counts an image's crowd regions.

        For ``bbox``, boxes are clipped to the image where its size is given, crowd regions are left out, and
        ``segmentation`` is ignored. For ``segmentation``, masks are compressed or plain run-length codes or polygons
        (a pixel is in if its centre is); annotations of one category become one region, with the lowest of their
        scores; where annotations overlap, the smaller lies on top; crowd regions are void where nothing else is.

        Raises:
            BadLabels: With the file: not COCO, ids or file names that come twice, ids that lead nowhere,
                a category that is not declared, a box without an area inside its image, a mask of another size
                than its image, a broken polygon or run-length code.
        """
        with closing(Spill(path, "segmentation" if task == "segmentation" else "bbox")) as spill:
            frame = _frame(spill.info) or self.options.frame
            for image, annotations in spill.images():
                yield _entry(path, task, image, annotations, spill.categories, categories, frame)

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write every row in one pass; annotations wait in a temporary file, never in memory.

        Raises:
            UsageError: ``path`` can't be written.
            BadLabels: An object of a category that is not among the run's.
        """
        return write(path, rows, task, info)


def _frame(info: Any) -> Frame | None:
    """What ``info.gtloop.frame`` says, if anything."""
    facts = info.get("gtloop") if isinstance(info, dict) else None
    frame = facts.get("frame") if isinstance(facts, dict) else None
    return frame if frame in get_args(Frame) else None


def _entry(
    path: Path,
    task: str,
    image: Mapping[str, Any],
    annotations: Sequence[Annotation],
    names: Mapping[str, str],
    categories: Sequence[str],
    frame: Frame,
) -> Entry:
    facts = image["gtloop"] if isinstance(image.get("gtloop"), dict) else {}
    source: Source | None = facts.get("source") if facts.get("source") in get_args(Source) else None
    extras = {k: v for k, v in image.items() if k not in ("file_name", "gtloop")} | facts
    if crowds := sum(a.crowd for a in annotations):
        extras["crowds"] = crowds
    for annotation in annotations:
        if not annotation.crowd:
            check_category(annotation.category, categories, annotation.where)
    where = f"{path}, image {image['id']}"
    payload: Payload | None = None
    if annotations or facts.get("source", "unknown") is not None:  # null: gtloop wrote the image without a label
        if task == "segmentation":
            payload = regions(image, annotations, extras.pop("void", None), where)
        else:
            payload = {"boxes": [box(a, image) for a in annotations if not a.crowd]}
    return Entry(text(image, "file_name", where), payload, extras, source, frame)
