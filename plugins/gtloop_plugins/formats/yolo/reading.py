"""The reader of ``yolo``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from gtloop.errors import BadImage, BadLabels
from gtloop.imagefolders import entry, records
from gtloop.images import header, suffixes
from gtloop.interfaces import Entry
from gtloop.labelfiles import check_category
from gtloop.labels import clip_box
from gtloop.records import Payload

from .writing import fingerprint, label_of

_YAML = ("data.yaml", "data.yml", "dataset.yaml")
_OWN = ("format", "confidences", "digest")
_HEAD = 1 << 16
_LARGEST = 1 << 20  # bytes of a data.yaml
_NAMES = re.compile(rb"""(?:^|[{,\s])["']?names["']?\s*:""")
_SPLIT = re.compile(rb"""(?:^|[{,\s])["']?(?:train|val)["']?\s*:""")
_SPLITS = ("train", "val", "validation", "test", "minival")
_OPTIONAL = ("test", "minival")  # often named where they were never delivered

Found = tuple[Path, Path | None]
"""A label file, which may be missing, and its image, where that is there."""


class _Dataset(NamedTuple):
    """``names``: index = class; ``pose``: columns of a pose after its box; ``places``: folders, lists, images."""

    root: Path
    names: list[str]
    pose: int
    places: list[Path]


def sniff(path: Path) -> bool:
    """Whether ``path`` is, or holds, a ``data.yaml`` with names, or holds ``labels`` and ``classes.txt``."""
    try:
        if path.is_dir():
            if (path / "labels").is_dir() and _classes_file(path) is not None:
                return True
            file = _yaml_file(path)
            return file is not None and _NAMES.search(_head(file)) is not None
        if path.suffix.lower() not in (".yaml", ".yml"):
            return False
        head = _head(path)
    except OSError:
        return False
    return _NAMES.search(head) is not None and _SPLIT.search(head) is not None


def read(path: Path, categories: Sequence[str], missing_is_empty: bool) -> Iterator[Entry]:
    """Stream the entries; see ``Yolo.read``."""
    data = _dataset(path)
    known: dict[str, dict[str, Any]] = {}
    for line in records(data.root):
        if line["file"] is None:
            payload = line.get("payload")
            yield entry(line, payload if isinstance(payload, dict) else None, drop=_OWN)
        else:
            known[label_of(line["file"])] = line
    for label, image in _found(data):
        line = known.pop(_relative(label, data.root), {})
        yield _entry(label, image, line, data, categories, missing_is_empty)
    for line in known.values():  # its label file is gone
        yield entry(line, None, edited=True)


def _entry(
    label: Path, image: Path | None, line: dict[str, Any], data: _Dataset, categories: Sequence[str], missing: bool
) -> Entry:
    name = line.get("name") or _name(label, image, data.root)
    line = {"name": name, **line}
    if not label.is_file():
        return entry(line, {"boxes": []} if missing else None, edited=True)
    text = _text(label)
    boxes = _boxes(text, label, data, lambda: _size(label, image, line), categories)
    edited = "digest" in line and fingerprint(text) != line["digest"]
    confidences = line.get("confidences")
    if not edited and isinstance(confidences, list) and len(confidences) == len(boxes):
        for box, confidence in zip(boxes, confidences, strict=True):
            if confidence is not None:
                box["confidence"] = confidence
    return entry(line, {"boxes": boxes}, edited=edited, drop=_OWN)


# ------------------------------------------------------------------------------------ what there is


def _dataset(path: Path) -> _Dataset:
    root = path if path.is_dir() else path.parent
    file = _yaml_file(root) if path.is_dir() else path
    if file is None:
        classes = _classes_file(root)
        if classes is None:
            raise BadLabels(f"{root} has neither data.yaml nor classes.txt, so that the classes have no names; add one")
        names = [line.strip() for line in _text(classes).splitlines() if line.strip()]
        return _Dataset(root, names, 0, [root / "images"])
    data = _load(file)
    pose = data.get("kpt_shape")
    columns = math.prod(pose) if isinstance(pose, list) and all(type(n) is int for n in pose) else 0
    return _Dataset(root, _names(data.get("names"), file), columns, list(_places(data, root, file)))


def _yaml_file(root: Path) -> Path | None:
    return next((root / name for name in _YAML if (root / name).is_file()), None)


def _classes_file(root: Path) -> Path | None:
    return next((p for p in (root / "classes.txt", root / "labels" / "classes.txt") if p.is_file()), None)


def _head(file: Path) -> bytes:
    with file.open("rb") as f:
        return f.read(_HEAD)


def _load(file: Path) -> dict[str, Any]:
    import yaml

    if file.stat().st_size > _LARGEST:
        raise BadLabels(f"{file} has more than {_LARGEST >> 20} MiB, which no data.yaml needs; correct it")
    try:
        data = yaml.safe_load(_text(file))
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        mark = getattr(e, "problem_mark", None)
        where = f"{file}, line {mark.line + 1}" if mark else str(file)
        problem = getattr(e, "problem", None) or " ".join(str(e).split())
        raise BadLabels(f"{where} is not plain YAML ({problem}); correct it") from e
    if not isinstance(data, dict):
        raise BadLabels(f"{file} has no keys; it needs train, val and names")
    return data


def _names(names: Any, file: Path) -> list[str]:
    if isinstance(names, dict):
        numbers = {int(k): v for k, v in names.items() if str(k).isdecimal()}
        if len(numbers) != len(names) or sorted(numbers) != list(range(len(names))):
            raise BadLabels(f"{file}: the keys of names are not 0, 1, 2, ...; correct them")
        names = [numbers[n] for n in range(len(names))]
    if not isinstance(names, list):
        raise BadLabels(f"{file} has no names of classes; add names: [...]")
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
            raise BadLabels(f"{file}: {name!r} among names is no text; put it in quotes")
    return [str(name) for name in names]


def _places(data: Mapping[str, Any], root: Path, file: Path) -> Iterator[Path]:
    """The folders, lists and images of all splits; ``root/images`` where none is named.

    What lies in ``root`` comes before what ``path`` says, so that a copied or moved data set is read where it is.
    """
    stated = data.get("path")
    bases = [root, *([root / stated, Path(stated)] if isinstance(stated, str) else [])]
    named = [key for key in _SPLITS if data.get(key)]
    if not named:
        yield root / "images"
    for key in named:
        values = data[key] if isinstance(data[key], list) else [data[key]]
        for value in values:
            if not isinstance(value, str):
                raise BadLabels(f"{file}: {key} is {value!r}, not a path or a list of paths; correct it")
            # Roboflow writes ../train/images and means train/images; ultralytics forgives it, too.
            tried = [base / v for v in (value, value.removeprefix("../")) for base in bases]
            place = next((p for p in tried if p.exists() or _label_place(p).exists()), None)
            if place is not None:
                yield place
            elif key not in _OPTIONAL:
                raise BadLabels(f"{file}: {key} is {value}, but there is neither {tried[0]} nor a folder of its labels")


# ------------------------------------------------------------------------- images and label files


def _label_place(place: Path) -> Path:
    """``place`` with the last ``images`` of its folders replaced by ``labels``, as ultralytics does."""
    return _swapped(place, "images", "labels")


def _image_place(place: Path) -> Path:
    return _swapped(place, "labels", "images")


def _swapped(place: Path, old: str, new: str) -> Path:
    parts = place.parts
    last = max((n for n, part in enumerate(parts) if part == old), default=None)
    return place if last is None else Path(*parts[:last], new, *parts[last + 1 :])


def _label(image: Path) -> Path:
    return _label_place(image.parent) / f"{image.name.rpartition('.')[0] or image.name}.txt"


def _found(data: _Dataset) -> Iterator[Found]:
    """Label files and images of every place, each label file once."""
    seen: set[str] = set()
    for place in data.places:
        if place.is_file():
            listed = _listed(place, data.root) if place.suffix.lower() == ".txt" else iter([place])
            found: Iterator[Found] = ((_label(image), image if image.is_file() else None) for image in listed)
        else:
            below = ((_label(image), image) for image in _walk(place, suffixes()))
            found = chain(below, ((label, None) for label in _walk_labels(place)))
        for label, image in found:
            key = os.path.abspath(label)
            if key not in seen:
                seen.add(key)
                yield label, image


def _walk_labels(place: Path) -> Iterator[Path]:
    folder = _label_place(place)
    apart = folder != place  # else notes and lists may lie among the images
    for label in _walk(folder, frozenset({".txt"})):
        if label.name != "classes.txt" and (apart or "labels" in label.relative_to(folder).parts[:-1]):
            yield label


def _walk(root: Path, endings: frozenset[str]) -> Iterator[Path]:
    """Files with one of these suffixes at or below ``root``, in order of their folders; hidden ones left out."""
    for folder, below, files in os.walk(root):
        below[:] = sorted(d for d in below if not d.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in endings:
                yield Path(folder, name)


def _listed(file: Path, root: Path) -> Iterator[Path]:
    """Images of a list, one path a line, relative to the list or to the data set."""
    for number, line in enumerate(_text(file).splitlines(), 1):
        if not line.strip():
            continue
        tried = [base / line.strip() for base in (file.parent, root)]
        image = next((p for p in tried if p.is_file() or _label(p).is_file()), None)
        if image is None:
            raise BadLabels(f"{file}, line {number}: neither {tried[0]} nor its label file is there; correct the path")
        yield image


def _relative(path: Path, root: Path) -> str:
    """``path`` below ``root``, or whole where it is elsewhere; forward slashes."""
    absolute, top = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    return (absolute.relative_to(top) if absolute.is_relative_to(top) else absolute).as_posix()


def _name(label: Path, image: Path | None, root: Path) -> str:
    if image is not None:
        return _relative(image, root)
    return _image_place(Path(_relative(label, root)).with_suffix("")).as_posix()


def _size(label: Path, image: Path | None, line: Mapping[str, Any]) -> tuple[float, float]:
    """(width, height) of an image in pixels of the frame of its boxes."""
    width, height = line.get("width"), line.get("height")
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return width, height
    if image is None:
        folder = _image_place(label.parent)
        raise BadLabels(
            f"{label}: its image is not there, so that its size is unknown; put it into the folder {folder}"
        )
    try:
        head = header(str(image))
    except BadImage as e:
        raise BadLabels(f"{label}: the size of its image {image} is unknown: {e}; repair or remove both") from e
    return (head.height, head.width) if head.orientation >= 5 else (head.width, head.height)


# ------------------------------------------------------------------------------------------ lines


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise BadLabels(f"{file} is not UTF-8; save it as UTF-8") from e
    except OSError as e:
        raise BadLabels(f"{file} cannot be read: {e.strerror}; make it readable or remove it") from e


def _boxes(
    text: str, label: Path, data: _Dataset, size: Callable[[], tuple[float, float]], categories: Sequence[str]
) -> list[Payload]:
    boxes: list[Payload] = []
    width = height = 0.0
    for number, line in enumerate(text.splitlines(), 1):
        columns = line.split()
        if not columns:
            continue
        where = f"{label}, line {number}"
        if not boxes:
            width, height = size()
        try:
            index, *values = (float(c) for c in columns)
        except ValueError as e:
            raise BadLabels(f"{where}: {line.strip()[:60]!r} is not numbers, class cx cy w h; correct it") from e
        if not (index.is_integer() and 0 <= index < len(data.names)):
            raise BadLabels(f"{where}: class {columns[0]} is none of the {len(data.names)} names; correct it")
        category = check_category(data.names[int(index)], categories, where)
        x1, y1, x2, y2 = _corners(values, data.pose, where)
        xyxy = clip_box((x1 * width, y1 * height, x2 * width, y2 * height), width, height)
        if xyxy is None:
            raise BadLabels(f"{where}: the box has no area inside the image; correct or remove it")
        box: Payload = {"category": category, "xyxy": list(xyxy)}
        if len(values) == 5:
            if not 0 <= values[4] <= 1:
                raise BadLabels(f"{where}: the sixth column, {columns[5]}, is no confidence from 0 to 1; correct it")
            box["confidence"] = values[4]
        boxes.append(box)
    return boxes


def _corners(values: Sequence[float], pose: int, where: str) -> tuple[float, float, float, float]:
    """``xyxy`` as shares of width and height, of the numbers that follow the class."""
    n = len(values)
    boxed = n in (4, 5) or (pose and n == 4 + pose)
    if not boxed and (n < 6 or n % 2):
        raise BadLabels(f"{where}: {n + 1} columns; a box has 5, class cx cy w h, a polygon 7, 9, ...; correct it")
    shape = values[:4] if boxed else values
    if not all(-0.01 <= v <= 1.01 for v in shape):  # what ultralytics tolerates
        worst = max(shape, key=lambda v: abs(v) if math.isfinite(v) else math.inf)
        raise BadLabels(f"{where}: {worst:g} is no share of the image's width or height (0 to 1); divide by them")
    if not boxed:
        return min(shape[::2]), min(shape[1::2]), max(shape[::2]), max(shape[1::2])
    cx, cy, w, h = shape
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
