"""Open Images V4: a class with its sub-classes, a random sample of its images, and all boxes of these.

Kuznetsova et al., "The Open Images Dataset V4" (IJCV 2020). Tables are streamed; images are fetched several at a time.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, NamedTuple

from gtloop.errors import BadImage, RunError, SourceError, UsageError
from gtloop.files import write_atomic
from gtloop.images import open_image
from gtloop.interfaces import Progress
from gtloop.keyed import digest
from gtloop.labelfiles import replacing
from gtloop.labels import clip_box
from gtloop.remote import contents
from gtloop.urls import local_path
from gtloop_plugins.commands.data.streams import lines, whole

ANNOTATIONS = "https://storage.googleapis.com/openimages/2018_04"
IMAGES = "https://open-images-dataset.s3.amazonaws.com"
SPLITS = ("train", "validation", "test")
AT_A_TIME = 16
_ID = re.compile(r"[\w-]+")
LICENCE = """\
Open Images V4 (https://storage.googleapis.com/openimages/web/index.html)

The images are listed by their owners as CC BY 2.0 (https://creativecommons.org/licenses/by/2.0/); attribution.csv has
the author, title, licence and source of each. Google makes no warranty that this is right: look at each before you
use it. The annotations are licensed by Google LLC under CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/);
labels.jsonl was made of them: boxes of sub-classes have the class asked for, and pixels instead of shares.
"""
Box = tuple[str, float, float, float, float]
"""Class, and x1, y1, x2, y2 as shares of width and height."""


class Wish(NamedTuple):
    """What is asked for."""

    classes: tuple[str, ...]
    most: int
    split: str
    seed: int


class Tables:
    """The tables of a split, below a URL or in a folder."""

    def __init__(self, base: str, split: str) -> None:
        self._base, self._split = base, split

    def names(self) -> dict[str, str]:
        """Class to its id such as ``/m/015p6``."""
        rows = csv.reader(lines(f"{self._base}/class-descriptions-boxable.csv"))
        return {name: mid for mid, name in rows}

    def hierarchy(self) -> dict[str, Any]:
        """The tree of classes."""
        url = f"{self._base}/bbox_labels_600_hierarchy.json"
        try:
            found = json.loads(whole(url))
        except ValueError as e:
            raise SourceError(f"{url} is not JSON ({e}); give another --annotations-url") from None
        return found if isinstance(found, dict) else {}

    def boxes(self) -> Iterator[dict[str, str]]:
        return self._rows(
            f"{self._split}-annotations-bbox.csv", ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
        )

    def images(self) -> Iterator[dict[str, str]]:
        boxable = "boxable-" if self._split == "train" else ""
        return self._rows(f"{self._split}-images-{boxable}with-rotation.csv", ("ImageID", "License", "Author"))

    def _rows(self, name: str, columns: Sequence[str]) -> Iterator[dict[str, str]]:
        url = f"{self._base}/{self._split}/{name}"
        table = csv.DictReader(lines(url))
        if lacking := set(columns) - set(table.fieldnames or ()):
            raise SourceError(f"{url} has no column {sorted(lacking)[0]}; give another --annotations-url")
        return table


def fetch(out: Path, wish: Wish, tables: Tables, images: str, progress: Progress) -> dict[str, Any]:
    """Bring images and labels into ``out``; what is there already is not fetched again.

    Returns:
        What the command prints as JSON.

    Raises:
        UsageError: There is no such class.
        RunError: ``out`` holds something else.
        SourceError: The servers can't be reached; the same command goes on.
    """
    _claim(out, wish)
    members = with_subclasses(wish.classes, tables)
    boxes = sampled(tables.boxes(), members, wish, progress)
    if not boxes:
        raise SourceError(f"no image of split {wish.split} has a box of {', '.join(wish.classes)}")
    files = {key: out / "images" / f"{key}.jpg" for key in sorted(boxes)}
    there = {key for key, path in files.items() if path.is_file()}
    missing = _bring({key: path for key, path in files.items() if key not in there}, f"{images}/{wish.split}", progress)
    entries, damaged = _entries(files, boxes, missing)
    missing |= damaged
    with replacing(out / "labels.jsonl") as file:
        file.writelines((json.dumps(entry) + "\n").encode() for entry in entries)
    had = {key for key in files if key not in missing}
    _attribute(out / "attribution.csv", had, tables, progress)
    write_atomic(out / "LICENCE.txt", LICENCE.encode())
    return {
        "out": str(out),
        "labels": str(out / "labels.jsonl"),
        "classes": list(wish.classes),
        "images": len(had),
        "boxes": sum(len(entry["payload"]["boxes"]) for entry in entries),
        "fetched": len(had - there),
        "missing": [{"image": key, "why": why} for key, why in sorted(missing.items())],
    }


def _claim(out: Path, wish: Wish) -> None:
    """Write down what the folder is for; another wish needs another folder, once there are images in it."""
    mark, asked = out / "dataset.json", {"openimages": "2018_04", **wish._asdict(), "classes": list(wish.classes)}
    images = out / "images"
    if mark.is_file():
        try:
            same = json.loads(mark.read_bytes()) == asked
        except ValueError:
            same = False
        if not same and images.is_dir() and any(images.iterdir()):
            raise RunError(f"{out} holds another choice of images ({mark}); name another folder with --out")
    elif out.exists() and (out.is_file() or any(out.iterdir())):
        raise RunError(f"{out} is not empty and was not made by this command; name another folder with --out")
    images.mkdir(parents=True, exist_ok=True)
    write_atomic(mark, json.dumps(asked).encode())


# ----------------------------------------------------------------------------------------------- tables


def with_subclasses(classes: Sequence[str], tables: Tables) -> dict[str, str]:
    """Id of each class and of all that lie below it in the hierarchy, to the class as it was asked for.

    Raises:
        UsageError: There is no such class, or one lies below another.
    """
    names, tree = tables.names(), tables.hierarchy()
    found: dict[str, str] = {}
    for wanted in classes:
        own = names.get(wanted, wanted)
        below = set(_below(tree, own))
        if not below:
            close = difflib.get_close_matches(wanted, names, n=1)
            hint = f"did you mean {close[0]}?" if close else "see class-descriptions-boxable.csv for all of them"
            raise UsageError(f"--class {wanted}: Open Images has boxes of no such class; {hint}")
        if twice := below & found.keys():
            other = found[min(twice)]
            raise UsageError(f"--class {wanted} and --class {other} share sub-classes; leave out one")
        found |= dict.fromkeys(below, wanted)
    return found


def _below(node: dict[str, Any], wanted: str, inside: bool = False) -> Iterator[str]:
    """Ids of a class and its sub-classes; a class may stand in several places of the tree."""
    inside = inside or node.get("LabelName") == wanted
    if inside:
        yield str(node.get("LabelName"))
    for child in node.get("Subcategory", ()):
        yield from _below(child, wanted, inside)
    for part in node.get("Part", ()):  # a part of something is no sub-class of it
        yield from _below(part, wanted)


def sampled(
    rows: Iterator[dict[str, str]], members: dict[str, str], wish: Wish, progress: Progress
) -> dict[str, list[Box]]:
    """The boxes of at most ``wish.most`` images, drawn at random by the seed; all boxes of each.

    Each image has a random key, and those of the greatest keys are kept: who is left out once is never back, so that no
    box of an image that is kept is missed, wherever its rows stand.
    """
    kept: dict[str, dict[Box, None]] = {}
    ranked: list[tuple[str, str]] = []  # a heap, the least key first
    seen = 0
    for seen, row in enumerate(rows, 1):
        if seen % 100_000 == 0:
            progress("read boxes", seen, None)
        name, image = members.get(row["LabelName"]), row["ImageID"]
        if name is None or not _ID.fullmatch(image):
            continue
        if image not in kept:
            key = digest(wish.seed, "openimages", image, length=16)
            if len(kept) == wish.most:
                if key < ranked[0][0]:
                    continue
                del kept[heappop(ranked)[1]]
            heappush(ranked, (key, image))
            kept[image] = {}
        kept[image][_box(name, row)] = None
    progress("read boxes", seen, seen)
    return {image: list(boxes) for image, boxes in kept.items()}


def _box(name: str, row: dict[str, str]) -> Box:
    try:
        return name, float(row["XMin"]), float(row["YMin"]), float(row["XMax"]), float(row["YMax"])
    except (TypeError, ValueError):
        raise SourceError(
            f"the table of boxes is damaged at image {row['ImageID']}; run the same command again"
        ) from None


# ----------------------------------------------------------------------------------------------- images


def _bring(files: dict[str, Path], url: str, progress: Progress) -> dict[str, str]:
    """Fetch images, several at a time; those that can't be had, and why."""

    def one(key: str) -> str:
        try:
            write_atomic(files[key], _read(f"{url}/{key}.jpg"))
        except BadImage as e:
            return str(e)
        return ""

    missing: dict[str, str] = {}
    with ThreadPoolExecutor(AT_A_TIME, "gtloop-data") as pool:
        try:
            for done, (key, why) in enumerate(zip(files, pool.map(one, files), strict=True), 1):
                progress("fetch images", done, len(files))
                missing |= {key: why} if why else {}
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return missing


def _read(where: str) -> bytes:
    """An image behind a URL, or of a folder; raises BadImage where it is not there."""
    if (local := local_path(where)) is None:
        return contents(where)
    try:
        return Path(local).read_bytes()
    except OSError as e:
        raise BadImage(str(e.strerror)) from None


def _entries(
    files: dict[str, Path], boxes: dict[str, list[Box]], missing: dict[str, str]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The labels of images in pixels; and damaged images, which are removed, so that they are fetched again."""
    entries, damaged = [], dict[str, str]()
    for key, path in files.items():
        if key in missing:
            continue
        try:
            size = open_image(str(path)).size
        except BadImage as e:
            damaged[key] = str(e)
            path.unlink(missing_ok=True)
            continue
        found = []
        for name, *shares in boxes[key]:
            whole_box = [share * side for share, side in zip(shares, (*size, *size), strict=True)]
            if (xyxy := clip_box(whole_box, *size)) is not None:
                found.append({"category": name, "xyxy": [round(v, 2) for v in xyxy]})
        entries.append({"name": path.name, "payload": {"boxes": found}})
    return entries, damaged


def _attribute(path: Path, keys: set[str], tables: Tables, progress: Progress) -> None:
    """Write the rows about images that are there: who made them, under which licence, where they come from."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for seen, row in enumerate(tables.images(), 1):
        if seen % 100_000 == 0:
            progress("read authors", seen, None)
        if row["ImageID"] in keys:
            if writer is None:
                writer = csv.DictWriter(text, list(row))
                writer.writeheader()
            writer.writerow(row)
    write_atomic(path, text.getvalue().encode())
