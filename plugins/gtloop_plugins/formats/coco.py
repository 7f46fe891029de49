"""``coco``: MS COCO object detection, one JSON file.

T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; cocodataset.org/#format-data. Boxes are
``[x, y, width, height]`` in absolute pixels there; gtloop's own facts stand under the key ``gtloop`` of each image.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from gtloop.errors import BadLabels
from gtloop.interfaces import Entry, ExportRow, Format, Options
from gtloop.labelfiles import check_category, provenance, replacing
from gtloop.labels import BoxesLabel, clip_box
from gtloop.records import Payload

_HEAD = 65536
_KEYS = (b'"images"', b'"annotations"', b'"categories"')


class Coco(Format):
    """COCO ``images``, ``annotations`` and ``categories``; every image is kept, also an empty one.

    Written: image and annotation ids count from 1, category ids are positions in the run's categories from
    1, a box's confidence is ``score``, and ``gtloop`` of an image holds its status, reason, source, confidence,
    iteration, model, threshold, bound, workers and consolidation.
    """

    name = "coco"
    summary = "MS COCO detection, one JSON file"
    Options = Options
    tasks = frozenset({"bbox"})
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
        """Yield the images in the file's order; boxes clipped to the image where its size is given.

        The whole file is parsed first. Crowd regions are no objects and left out; ``crowds`` of the extras
        counts them. A category may be declared in the file without being one of the run's, if it is unused.

        Raises:
            BadLabels: With the file: not COCO, ids or file names that come twice, ids that lead nowhere,
                a category that is not declared, a box without an area inside its image.
        """
        data = _load(path)
        images = _by_id(data, "images", path)
        names = {i: _text(c, "name", f"{path}, category {i}") for i, c in _by_id(data, "categories", path).items()}
        boxes: dict[Any, list[Payload]] = defaultdict(list)
        crowds: dict[Any, int] = defaultdict(int)
        for number, annotation in enumerate(_annotations(data, path), 1):
            where = f"{path}, annotation {annotation.get('id', f'number {number}')}"
            image = annotation.get("image_id")
            if image not in images:
                raise BadLabels(f"{where}: image_id {image!r} is not among the images; correct or remove it")
            if annotation.get("iscrowd"):
                crowds[image] += 1
                continue
            if annotation.get("category_id") not in names:
                category = annotation.get("category_id")
                raise BadLabels(f"{where}: category_id {category!r} is not among the categories; correct it")
            check_category(names[annotation["category_id"]], categories, where)
            boxes[image].append(_box(annotation, names, images[image], where))
        seen: set[str] = set()
        for i, image in images.items():
            name = _text(image, "file_name", f"{path}, image {i}")
            if name in seen:
                raise BadLabels(f"{path}: file_name {name!r} is there twice; remove one")
            seen.add(name)
            facts = image["gtloop"] if isinstance(image.get("gtloop"), dict) else {}
            extras = {k: v for k, v in image.items() if k not in ("file_name", "gtloop")} | facts
            if crowds[i]:
                extras["crowds"] = crowds[i]
            unlabelled = "source" in facts and facts["source"] is None and not boxes[i]
            yield Entry(name, None if unlabelled else {"boxes": boxes[i]}, extras)

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write every row in one pass; annotations wait in a temporary file, never in memory.

        Raises:
            UsageError: ``path`` can't be written.
            BadLabels: A box of a category that is not among the run's.
        """
        ids = {category: n for n, category in enumerate(info["categories"], 1)}
        facts = {key: info[key] for key in ("run", "frame", "version") if key in info}
        with replacing(path) as file, tempfile.TemporaryFile(dir=path.parent) as annotations:
            file.write(b'{"info": ' + _json({"description": "exported by gtloop", "gtloop": facts}))
            file.write(b',\n"categories": ' + _json([{"id": n, "name": c} for c, n in ids.items()]))
            file.write(b',\n"images": [')
            counts = _write_rows(file, annotations, rows, ids)
            file.write(b'\n],\n"annotations": [')
            annotations.seek(0)
            shutil.copyfileobj(annotations, file)
            file.write(b"\n]}\n")
        return counts.sentences()


class _Counts:
    """What COCO could not hold."""

    def __init__(self) -> None:
        self.without_label = 0
        self.reasons: dict[str, int] = defaultdict(int)
        self.without_size = 0

    def add(self, row: ExportRow) -> None:
        self.without_size += row.width is None or row.height is None
        if row.label is None:
            self.without_label += 1
            self.reasons[row.reason or row.status] += 1

    def sentences(self) -> list[str]:
        said = []
        if self.without_label:
            first = sorted(self.reasons.items(), key=lambda r: -r[1])[:3]
            reasons = ", ".join(f"{n} {reason}" for reason, n in first) + (", ..." if len(self.reasons) > 3 else "")
            said.append(
                f"{_images(self.without_label)} without a label ({reasons}): COCO cannot tell them from empty ones, "
                'so leave out those whose "gtloop" has "source": null.'
            )
        if self.without_size:
            said.append(
                f"{_images(self.without_size)} without width and height: never decoded, so the size is unknown."
            )
        return said


def _images(n: int) -> str:
    return "1 image is" if n == 1 else f"{n} images are"


def _write_rows(file: IO[bytes], annotations: IO[bytes], rows: Iterable[ExportRow], ids: Mapping[str, int]) -> _Counts:
    counts = _Counts()
    written = 0
    for image_id, row in enumerate(rows, 1):
        counts.add(row)
        image: dict[str, Any] = {"id": image_id, "file_name": row.item.name}
        if row.width is not None and row.height is not None:
            image |= {"width": row.width, "height": row.height}
        file.write((b",\n" if image_id > 1 else b"\n") + _json(image | {"gtloop": provenance(row)}))
        if row.label is None:
            continue
        for box in BoxesLabel.model_validate(row.label.payload).boxes:
            x1, y1, x2, y2 = box.xyxy
            if box.category not in ids:
                raise BadLabels(
                    f"{row.item.name}: category {box.category!r} is not one of the run's; relabel the image"
                )
            record: dict[str, Any] = {
                "id": written + 1,
                "image_id": image_id,
                "category_id": ids[box.category],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
            if box.confidence is not None:
                record["score"] = box.confidence
            annotations.write((b",\n" if written else b"\n") + _json(record))
            written += 1
    return counts


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise BadLabels(f"{path} cannot be read: {e.strerror}; give the COCO file itself") from e
    except (ValueError, RecursionError) as e:
        raise BadLabels(f"{path} is not JSON in UTF-8 ({e}); export it again") from e
    if isinstance(data, list):
        raise BadLabels(f"{path} is a list, as COCO results are, and names no images; give the annotation file")
    if not isinstance(data, dict) or not isinstance(data.get("images"), list):
        raise BadLabels(f'{path} is not COCO: it has no list "images"')
    return data


def _objects(data: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    found = data.get(key, [])
    if not isinstance(found, list) or not all(isinstance(x, dict) for x in found):
        raise BadLabels(f'{path}: "{key}" is not a list of objects; export it again')
    return found


def _by_id(data: Mapping[str, Any], key: str, path: Path) -> dict[Any, dict[str, Any]]:
    found: dict[Any, dict[str, Any]] = {}
    for x in _objects(data, key, path):
        _unique(x.get("id"), found, key, path)
        found[x["id"]] = x
    return found


def _annotations(data: Mapping[str, Any], path: Path) -> Iterator[dict[str, Any]]:
    seen: set[Any] = set()
    for x in _objects(data, "annotations", path):
        if "id" in x:  # some tools leave it out; nothing here needs it
            _unique(x["id"], seen, "annotations", path)
            seen.add(x["id"])
        for key in ("image_id", "category_id"):
            if not isinstance(x.get(key), int | str | None):
                raise BadLabels(f"{path}: an annotation has {key} {x[key]!r}; ids are numbers")
        yield x


def _unique(i: Any, seen: Any, key: str, path: Path) -> None:
    if not isinstance(i, int | str):
        raise BadLabels(f'{path}: one of "{key}" has id {i!r}; each needs an own number')
    if i in seen:
        raise BadLabels(f'{path}: id {i!r} is there twice in "{key}"; each needs an own number')


def _text(x: Mapping[str, Any], key: str, where: str) -> str:
    value = x.get(key)
    if not isinstance(value, str) or not value:
        raise BadLabels(f"{where} has no {key}; add it")
    return value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _box(annotation: Mapping[str, Any], names: Mapping[Any, str], image: Mapping[str, Any], where: str) -> Payload:
    bbox = annotation.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_number, bbox)):
        raise BadLabels(f"{where}: bbox is {bbox!r}, not four numbers x, y, width, height; correct it")
    x, y, w, h = bbox
    width, height = (image[k] if _number(image.get(k)) and image[k] > 0 else math.inf for k in ("width", "height"))
    clipped = clip_box((x, y, x + w, y + h), width, height)
    if clipped is None:
        inside = f" of {width:g} x {height:g} pixels" if math.isfinite(width + height) else ""
        raise BadLabels(f"{where}: bbox {bbox} has no area inside the image{inside}; correct or remove it")
    box: Payload = {"category": names[annotation["category_id"]], "xyxy": list(clipped)}
    score = annotation.get("score")
    if score is None:
        return box
    if not _number(score) or not 0 <= score <= 1:
        raise BadLabels(f"{where}: score is {score!r}, not a number from 0 to 1; correct it")
    return box | {"confidence": score}
