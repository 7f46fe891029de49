"""Streams the examples of a data set as entries: an export of gtloop, or whatever is usual on the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from gtloop import imagefolders
from gtloop.errors import BadLabels
from gtloop.interfaces import Entry
from gtloop.labelfiles import MARKER, check_category
from gtloop.records import Payload

from gtloop_huggingface.dataset import SAVED, columns
from gtloop_huggingface.dataset.pictures import Masks, table
from gtloop_huggingface.dataset.writing import NUMBERS
from gtloop_huggingface.library import datasets

if TYPE_CHECKING:
    from gtloop_huggingface.dataset import HuggingFaceOptions

NAMES = ("name", "file_name", "filename", "image_path", "path")
"""Columns that may say what an image is called; else its file does, else ``image_id``."""
BOXES = ("bbox", "bboxes", "boxes")
CATEGORIES = ("category", "categories", "category_id", "label", "labels")
CLASSES = ("label", "labels", "category", "class", "fine_label")
MASKS = ("label", "annotation", "mask", "segmentation_mask", "labels")
HINT = {
    "bbox": "a column objects with bbox and category",
    "classification": "a column label",
    "segmentation": "a column label with pictures",
}


def entries(path: Path, task: str, categories: Sequence[str], options: HuggingFaceOptions) -> Iterator[Entry]:
    """Stream a data set; see ``HuggingFace.read``."""
    root = path if path.is_dir() else path.parent
    known = (
        {}
        if options.split not in (None, "train") or not path.is_dir()
        else {line["name"]: line for line in imagefolders.records(path)}
    )
    numbers = _numbers(root) if task == "segmentation" else {}
    with _readable(path):
        splits = _splits(path, options.split)
    for split, found in splits.items():
        where = f"{path}, split {split}" if split else str(path)
        with _readable(path):
            reader = _Reader(root, where, task, categories, found.features, options, numbers)
            rows = iter(found)
        while True:
            with _readable(path):
                row = next(rows, None)
                entry = None if row is None else reader.entry(row)
            if entry is None:
                break
            line = known.pop(entry.name, None)
            yield entry if line is None else _as_written(line, entry.payload)
    for line in known.values():
        yield _as_written(line, line.get("payload") if line["file"] is None else None)


def _as_written(line: Mapping[str, Any], payload: Payload | None) -> Entry:
    """A label that the data set and ``gtloop.jsonl`` know, with where it comes from, unless it was changed since."""
    written = line.get("payload")
    same = _plain(written) == _plain(payload)
    return imagefolders.entry(line, written if same else payload, edited=not same, drop=("format",))


def _plain(value: Any) -> Any:
    """A payload without confidences, the order of regions, and what rounding does."""
    if isinstance(value, dict):
        plain = {k: _plain(v) for k, v in value.items() if k != "confidence"}
        return plain | {"regions": sorted(plain["regions"], key=str)} if "regions" in plain else plain
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return round(value, 4) if isinstance(value, float | int) else value


def _splits(path: Path, split: str | None) -> dict[str, Any]:
    """Name of a split (empty: there are none) to its examples, images not decoded."""
    d = datasets()
    if path.is_dir() and _empty(path):
        return {}
    if path.is_dir() and any((path / name).is_file() for name in SAVED):
        loaded = d.load_from_disk(str(path))
        found = dict(loaded) if isinstance(loaded, d.DatasetDict) else {"": loaded}
        found = {name: s.to_iterable_dataset() for name, s in found.items()}
    elif path.is_file():
        found = {"": d.load_dataset("parquet", data_files=str(path), split="train", streaming=True)}
    else:
        found = dict(d.load_dataset(str(path.resolve()), streaming=True))
    if split is not None and "" not in found:
        if split not in found:
            raise BadLabels(f"{path} has no split {split!r}; there are: {', '.join(found)}")
        found = {split: found[split]}
    return {name: _known(s).decode(False) for name, s in found.items()}


def _empty(path: Path) -> bool:
    """Whether it is an export without a labelled image, which the library would not open."""
    metadata = path / "data" / "metadata.jsonl"
    full = (metadata.is_file() and metadata.stat().st_size > 0) or any((path / "data").glob("*.parquet"))
    return (path / MARKER).is_file() and not full and not any((path / name).is_file() for name in SAVED)


def _known(split: Any) -> Any:
    """A split whose features are known, which those of plain files are not until the first rows are read."""
    return split if split.features is not None else split._resolve_features()


def _numbers(root: Path) -> dict[int, str]:
    """Value in a mask to name, as ``id2label.json`` says; empty where there is none."""
    try:
        found = json.loads((root / NUMBERS).read_text("utf-8"))
        return {int(value): str(name) for value, name in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError):
        raise BadLabels(f"{root / NUMBERS} is no object of number to name; correct or remove it") from None


class _Reader:
    """Makes entries of the examples of one split."""

    def __init__(
        self,
        root: Path,
        where: str,
        task: str,
        categories: Sequence[str],
        features: Mapping[str, Any],
        options: HuggingFaceOptions,
        numbers: Mapping[int, str],
    ) -> None:
        self._root, self._where, self._task, self._categories = root, where, task, categories
        self._features, self._options = features, options
        self._image = _first(features, lambda f: type(f).__name__ == "Image", "image")
        self._names = _class_names(features)
        self._column = self._label_column(features)
        self._masks = Masks(categories, numbers, options) if task == "segmentation" else None

    def _label_column(self, features: Mapping[str, Any]) -> str:
        """The column that holds labels.

        Raises:
            BadLabels: There is none for the task.
        """
        if self._task == "bbox":
            wanted = [c for c in ("objects", "annotations", "labels") if c in features]
        elif self._task == "classification":
            wanted = [c for c in CLASSES if c in features and type(features[c]).__name__ in ("ClassLabel", "Value")]
        else:
            wanted = [c for c in MASKS if type(features.get(c)).__name__ == "Image"]
        if not wanted:
            raise BadLabels(
                f"{self._where} has no labels of task {self._task!r} (columns: {', '.join(features)}); "
                f"it needs {HINT[self._task]}"
            )
        return wanted[0]

    def entry(self, row: Mapping[str, Any]) -> Entry:
        """An example as an entry; in other tools' sets all but the label and pictures are no concern of gtloop's."""
        name = self._name(row)
        value = row[self._column]
        payload = None if value is None else self._payload(value, row, f"{self._where}, {name}")
        about = {"row": row.get("image_id"), **{k: row.get(k) for k in ("width", "height", *columns.PROVENANCE)}}
        source = about["source"] if about["source"] in ("human", "machine", "adjusted") else None
        extras = {k: v for k, v in about.items() if v is not None} if "frame" in row else {}
        return Entry(name, payload, extras, source, "stored" if row.get("frame") == "stored" else "display")

    def _name(self, row: Mapping[str, Any]) -> str:
        for column in NAMES:
            if isinstance(row.get(column), str) and row[column]:
                return str(row[column])
        picture = row.get(self._image) if self._image else None
        path = picture.get("path") if isinstance(picture, dict) else None
        if path:
            path = PurePosixPath(str(path).rpartition("::")[2])
            inside = path.is_relative_to(self._root.resolve())
            return str(path.relative_to(self._root.resolve()) if inside else path.name)
        if row.get("image_id") is not None:
            return str(row["image_id"])
        raise BadLabels(
            f"{self._where} does not say what its images are called; add a column name with the path of each"
        )

    def _payload(self, value: Any, row: Mapping[str, Any], where: str) -> Payload:
        if self._task == "bbox":
            return self._boxes(value, where)
        if self._task == "classification":
            label: Payload = {"category": self._category(value, self._column, where)}
            sure = row.get("label_confidence")
            return label if sure is None else label | {"confidence": sure}
        assert self._masks is not None
        return self._masks.payload(value, row.get("regions"), where)

    def _boxes(self, value: Any, where: str) -> Payload:
        objects = table(value)
        corners = next((objects[k] for k in BOXES if k in objects), None)
        named = next((k for k in CATEGORIES if k in objects), None)
        if objects and (corners is None or named is None):
            raise BadLabels(f"{where}: objects have no bbox or no category ({', '.join(objects)}); name them so")
        boxes = []
        sure = objects.get("confidence") or [None] * len(corners or ())
        for box, category, confidence in zip(corners or (), objects.get(named or "", ()), sure, strict=True):
            a, b, c, d = (float(v) for v in box)
            xyxy = [a, b, a + c, b + d] if self._options.boxes == "xywh" else [a, b, c, d]
            made = {"category": self._category(category, str(named), where), "xyxy": xyxy}
            boxes.append(made if confidence is None else made | {"confidence": confidence})
        return {"boxes": boxes}

    def _category(self, value: Any, column: str, where: str) -> str:
        """The name of a category, by its own name or number."""
        if isinstance(value, str):
            return check_category(value, self._categories, where)
        names = self._names.get(column) or self._categories
        if not isinstance(value, int) or not 0 <= value < len(names):
            raise BadLabels(f"{where}: category {value!r} has no name; name the categories with --classes, in order")
        return check_category(names[value], self._categories, where)


def _first(features: Mapping[str, Any], fits: Any, usual: str) -> str | None:
    if usual in features and fits(features[usual]):
        return usual
    return next((name for name, feature in features.items() if fits(feature)), None)


def _class_names(features: Any) -> dict[str, list[str]]:
    """Names of the categories of every column or key that has some, at any depth."""
    found: dict[str, list[str]] = {}

    def look(key: str, feature: Any) -> None:
        if isinstance(feature, Mapping):
            for name, below in feature.items():
                look(name, below)
        elif isinstance(feature, list):
            look(key, feature[0])
        elif hasattr(feature, "feature"):
            look(key, feature.feature)
        elif type(feature).__name__ == "ClassLabel":
            found[key] = list(feature.names)

    look("", features)
    return found


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say in one line what the library could not do."""
    import pyarrow as pa

    d = datasets()
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException, d.exceptions.DatasetsError) as e:
        reason = " ".join(str(e).split())[:200]
        raise BadLabels(f"{path} can't be read as a data set of Hugging Face ({reason}); write it again") from e
