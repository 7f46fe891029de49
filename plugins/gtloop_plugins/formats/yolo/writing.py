"""The writer of ``yolo``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gtloop.errors import BadLabels
from gtloop.imagefolders import FileNames, append, images, left_out, place_image, record
from gtloop.interfaces import ExportRow
from gtloop.keyed import digest
from gtloop.labelfiles import MARKER, replacing_folder
from gtloop.labels import Box, BoxesLabel

Images = Literal["link", "copy", "none"]

OPENED = frozenset({".avif", ".bmp", ".dng", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".mpo", ".png"}) | frozenset(
    {".tif", ".tiff", ".webp"}
)
"""Suffixes of images that ultralytics 8.4 looks for (``ultralytics.data.utils.IMG_FORMATS``)."""

_SMALLEST = 10  # pixels a side: ultralytics 8.4 leaves out smaller images (``ultralytics.data.utils.check_image``)


def write(path: Path, rows: Sequence[ExportRow], info: Mapping[str, Any], how: Images, share: float) -> list[str]:
    """Write the folder; a sentence for each thing that it could not hold."""
    index = {category: n for n, category in enumerate(info["categories"])}
    kept = [row for row in rows if _fits(row)]
    in_val = _validation(kept, {row.item.row: row.item.id for row in rows}, share)
    said = _Said(how, share, info.get("frame", "display"))
    names = FileNames()
    with replacing_folder(path) as work:
        for folder in ("images/train", "images/val", "labels/train", "labels/val"):
            (work / folder).mkdir(parents=True)
        with (work / MARKER).open("wb") as sidecar:
            for row in rows:
                if row.label is None or not _fits(row):
                    said.leave_out(row)
                    append(sidecar, record(row, None, info, format="yolo", payload=row.label and row.label.payload))
                    continue
                split = "val" if row.item.row in in_val else "train"
                file = f"images/{split}/{names.of(row.item.name)}"
                boxes = BoxesLabel.model_validate(row.label.payload).boxes
                text = "".join(_line(box, row, index) for box in boxes)
                (work / label_of(file)).write_text(text, encoding="ascii")
                placed = how != "none" and place_image(row.item.uri, work / file, how)
                said.keep(row, split, placed)
                confidences = [box.confidence for box in boxes]
                more = {"format": "yolo", "confidences": confidences, "digest": fingerprint(text)}
                append(sidecar, record(row, file, info, **more))
        _write_yaml(work / "data.yaml", path, index, how, bool(in_val))
    return said.sentences()


def label_of(file: str) -> str:
    """Path of the label file of an image of an export, both relative to it."""
    folder, _, name = file.removeprefix("images/").rpartition("/")
    stem = name.rpartition(".")[0] or name
    return f"labels/{folder}/{stem}.txt"


def fingerprint(text: str) -> str:
    """What tells whether a label file was changed; line ends do not count."""
    return digest("yolo label file", "\n".join(text.split("\n")).strip(), length=16)


def _fits(row: ExportRow) -> bool:
    """Whether the row has a label that can be normalised; one without boxes needs no size."""
    if row.label is None:
        return False
    return bool(row.width and row.height) or not row.label.payload.get("boxes")


def _line(box: Box, row: ExportRow, index: Mapping[str, int]) -> str:
    if box.category not in index:
        raise BadLabels(f"{row.item.name}: category {box.category!r} is not among the run's; add it or correct it")
    x1, y1, x2, y2 = box.xyxy
    width, height = row.width or 0, row.height or 0  # known: ``_fits``
    shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    # Twelve significant digits: 1e-8 of a pixel at 10,000 pixels, and no box so thin that it becomes 0.
    digits = (np.format_float_positional(s, precision=12, fractional=False, trim="-") for s in shares)
    return f"{index[box.category]} {' '.join(digits)}\n"


def _validation(rows: Sequence[ExportRow], ids: Mapping[int, str], share: float) -> set[int]:
    """Rows of the split ``val``: a hash of the item's id decides, so that an image stays where it is.

    An exact duplicate goes where its original goes. Neither split is left empty where there are two different images.
    """
    keys: dict[str, list[int]] = {}
    for row in rows:
        original = row.item.row if row.item.alias_of is None else row.item.alias_of
        key = digest("yolo val", ids.get(original, row.item.id), length=16)
        keys.setdefault(key, []).append(row.item.row)
    if not share or len(keys) < 2:
        return set()
    ranked = sorted(keys)
    n = sum(int(key, 16) < share * 16**16 for key in ranked)
    n = min(max(n, 1), len(ranked) - 1)
    return {row for key in ranked[:n] for row in keys[key]}


def _write_yaml(file: Path, path: Path, index: Mapping[str, int], how: Images, has_val: bool) -> None:
    """``data.yaml``; without ``path`` ultralytics looks beside the file, so that a folder of copies can be moved."""
    import yaml

    val = "images/val" if has_val else "images/train"
    where = {"path": str(path.resolve())} if how == "link" else {}
    data = {**where, "train": "images/train", "val": val, "names": {n: category for category, n in index.items()}}
    file.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


class _Said:
    """What the format could not hold, counted row by row."""

    def __init__(self, how: Images, share: float, frame: str) -> None:
        self.how, self.share, self.frame = how, share, frame
        self.splits: Counter[str] = Counter()
        self.unlabelled: Counter[str] = Counter()
        self.n: Counter[str] = Counter()

    def leave_out(self, row: ExportRow) -> None:
        if row.label is None:
            self.unlabelled[row.reason or row.status] += 1
        else:
            self.n["unsized"] += 1

    def keep(self, row: ExportRow, split: str, placed: bool) -> None:
        self.splits[split] += 1
        self.n["rotated"] += self.frame == "stored" and row.item.orientation != 1
        self.n["gone"] += self.how != "none" and not placed
        suffix = "." + row.item.name.rpartition(".")[2].lower()
        self.n["unopened"] += suffix not in OPENED
        self.n["tiny"] += bool(row.width and row.height) and min(row.width or 0, row.height or 0) < _SMALLEST

    def sentences(self) -> list[str]:
        n, total = self.n, self.splits.total()
        said = left_out(self.unlabelled)
        if self.how == "none":
            said.insert(
                0,
                "LABELS ONLY: no images were written (images=none), so that nothing can train on this folder; put each "
                f"image where {MARKER} says under file, or use -o formats.yolo.images=copy.",
            )
        if n["rotated"]:
            said.append(
                f"BOXES DO NOT FIT: {images(n['rotated'])} turned by EXIF, which ultralytics applies, but the boxes "
                "are in the stored frame; export with --frame display."
            )
        if n["unsized"]:
            said.append(
                f"{images(n['unsized'])} of unknown size, so that the boxes can't be normalised: in {MARKER} only, "
                "with their boxes in pixels."
            )
        if n["gone"]:
            said.append(f"{images(n['gone'])} not there as a local file: the label is written, the image is not.")
        if n["unopened"]:
            said.append(f"{images(n['unopened'])} of a file type that ultralytics does not open; convert to .png.")
        if n["tiny"]:
            said.append(f"{images(n['tiny'])} smaller than {_SMALLEST} pixels, which ultralytics leaves out.")
        if not total:
            said.append("No image has a label that can be written: there is nothing to train on.")
        elif not self.splits["val"]:
            why = "val=0" if not self.share else "only one image"
            said.append(f"The split val is empty ({why}): data.yaml validates on the training images.")
        return said
