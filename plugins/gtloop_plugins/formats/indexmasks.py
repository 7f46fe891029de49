"""``masks``: semantic segmentation as a folder of index PNGs, one for each image.

The layout of Pascal VOC's ``SegmentationClass`` and of what most trainers of segmentation read: the value of a pixel is
the number of its category, and some value means that it does not count.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gtloop import imagefolders, maskfiles, masks
from gtloop.errors import BadLabels, ConfigError
from gtloop.interfaces import Entry, ExportRow, Format, Options
from gtloop.labelfiles import MARKER, check_category, replacing_folder
from gtloop.labels import SegmentationLabel
from gtloop.records import Payload
from gtloop.wording import counted, some

log = logging.getLogger("gtloop.formats.masks")

CLASSES = "classes.txt"
_DEFAULT_BACKGROUND = 254
_LOOKED_AT = 3  # PNGs that sniff opens


class MaskOptions(Options):
    """Options of ``masks``."""

    first: int = Field(
        0, ge=0, le=255, description="value of the first category; 1 where 0 is background, as in Pascal VOC"
    )
    background: int = Field(
        _DEFAULT_BACKGROUND,
        ge=0,
        le=65534,
        description="value of pixels that are of no category; 65534 where more than 254 categories need 16 bits",
    )


class Values(NamedTuple):
    """What numbers mean: the first category's, the background's and that of pixels that do not count."""

    first: int
    background: int
    void: int

    @classmethod
    def of(cls, options: MaskOptions, n: int) -> Values:
        """The numbers for ``n`` categories: of 8 bits where they fit, else of 16.

        Raises:
            ConfigError: A category's number would be that of the background.
        """
        last = options.first + n
        for void in (255, 65535):
            background = options.background
            if void == 65535 and background == _DEFAULT_BACKGROUND:
                background = 65534
            if last <= void and background < void and not options.first <= background < last:
                return cls(options.first, background, void)
        raise ConfigError(
            f"formats.masks.background={options.background} is also the number of a category "
            f"({n} categories from {options.first}); choose another, or formats.masks.first=1"
        )

    def table(self, n: int) -> NDArray[np.int16]:
        """(65536,) position of the category of each number, ``BACKGROUND``, or ``VOID`` for all others."""
        found = np.full(65536, masks.VOID, np.int16)
        found[self.first : self.first + n] = np.arange(min(n, 65536 - self.first))
        found[self.background] = masks.BACKGROUND
        return found

    def write(self, index: masks.IndexMap) -> NDArray[np.int64]:
        """(H, W) numbers of an index map."""
        values = index.astype(np.int64) + self.first
        values[index == masks.BACKGROUND] = self.background
        values[index == masks.VOID] = self.void
        return values


class IndexMasks(Format):
    """``<path of the image>.png`` for each image: pixel = position in the categories, 255 = does not count.

    The image of ``a/b.png`` is the one of that path, whatever its suffix. Written beside them: ``classes.txt`` (a
    category a line, in order), which is read too, and ``gtloop.jsonl`` with what no picture holds: exact names,
    confidences, where a label comes from, images without one and why.
    """

    name = "masks"
    summary = "one index PNG for each image: pixel = position in the categories"
    Options = MaskOptions
    tasks = frozenset({"segmentation"})
    reads = True
    writes = True

    def sniff(self, path: Path) -> bool:
        """Whether the folder's own ``gtloop.jsonl`` says so, or its first PNGs have one number a pixel."""
        if not path.is_dir():
            return False
        if (path / MARKER).is_file():
            return _marked(path)
        first = list(islice(_pngs(path), _LOOKED_AT))
        return bool(first) and all(maskfiles.is_index_png(path / name) for name in first)

    def near_miss(self, path: Path) -> str:
        """Says so where the first PNGs of a folder have colours."""
        first = list(islice(_pngs(path), _LOOKED_AT)) if path.is_dir() else []
        faults = ((name, maskfiles.colour_fault(path / name)) for name in first)
        return next((f"{path / name} {fault}" for name, fault in faults if fault), "")

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the images that ``gtloop.jsonl`` lists, then all other PNGs in order of their paths.

        Raises:
            BadLabels: With the file: no PNGs, one with colours instead of numbers, no names for the numbers,
                a category that is not declared, a bad line in ``gtloop.jsonl``. At the end, where the numbers of most
                pixels mean nothing; where those of some do, a note says so.
            ConfigError: The background's number is that of a category.
        """
        if not path.is_dir():
            raise BadLabels(f"{path} is no folder; give the folder of the masks")
        folder = _Folder(path, categories, self.options)
        empty = True
        for entry in chain(folder.listed(), folder.others()):
            empty = False
            yield entry
        if empty and not (path / MARKER).is_file():
            raise BadLabels(f"no PNGs in {path}; give the folder of the masks")
        folder.strays.tell()

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write a mask for each label and a line of ``gtloop.jsonl`` for each row; the folder appears as a whole.

        Raises:
            UsageError: ``path`` holds something else, or can't be written.
            ConfigError: The background's number is that of a category.
            BadLabels: A category that is not among the run's.
        """
        categories = list(info["categories"])
        values = Values.of(self.options, len(categories))
        palette = None
        if values.void == 255:
            palette = np.roll(maskfiles.colours(), values.first - 1, axis=0)  # so that the first category is not black
            palette[values.void] = maskfiles.colours()[255]
            palette[values.background] = 0
        taken: set[str] = set()
        with replacing_folder(path) as folder, (folder / MARKER).open("wb") as marker:
            (folder / CLASSES).write_text("".join(f"{_one_line(c)}\n" for c in categories), encoding="utf-8")
            for row in rows:
                label = None if row.label is None else SegmentationLabel.model_validate(row.label.payload)
                file = None if label is None else maskfiles.file_name(taken, row.item.name, row.item.row)
                if label is not None and file is not None:
                    index = _index_map(label, categories, row.item.name)
                    maskfiles.write_index(folder / file, values.write(index), palette)
                imagefolders.append(marker, _line(row, file, label, info, values))
        return []


def _index_map(label: SegmentationLabel, categories: Sequence[str], name: str) -> masks.IndexMap:
    unknown = [r.category for r in label.regions if r.category not in categories]
    if unknown:
        raise BadLabels(f"{name}: category {unknown[0]!r} is not one of the run's; relabel the image")
    return masks.to_map(label, categories)


def _line(
    row: ExportRow, file: str | None, label: SegmentationLabel | None, info: Mapping[str, Any], values: Values
) -> dict[str, Any]:
    sure = {r.category: r.confidence for r in (label.regions if label else ()) if r.confidence is not None}
    more = {"confidences": sure} if sure else {}
    return imagefolders.record(row, file, info, format=IndexMasks.name, values=list(values), **more)


def _one_line(category: str) -> str:
    if category.splitlines() != [category] or category != category.strip():
        raise BadLabels(f"category {category!r} is no line of {CLASSES}; export another format, such as jsonl")
    return category


def _pngs(folder: Path) -> Iterator[str]:
    """Paths of the PNGs below a folder, relative to it, in order; hidden ones are left out."""
    for at, below, files in os.walk(folder):
        below[:] = sorted(b for b in below if not b.startswith("."))
        for file in sorted(files):
            if file.lower().endswith(".png") and not file.startswith("."):
                yield Path(at, file).relative_to(folder).as_posix()


def _class_names(folder: Path) -> tuple[str, ...]:
    try:
        lines = (folder / CLASSES).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as e:
        raise BadLabels(f"{folder / CLASSES} can't be read ({e}); write one category a line in UTF-8") from e
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    if "" in names or len(set(names)) < len(names):
        raise BadLabels(f"{folder / CLASSES} has an empty line or a category twice; write each once, one a line")
    return tuple(names)


def _marked(folder: Path) -> bool:
    try:
        return next(imagefolders.records(folder), {}).get("format") == IndexMasks.name
    except (BadLabels, OSError):
        return False


class _Strays:
    """Numbers that mean nothing: neither a category, nor background, nor void."""

    def __init__(self, path: Path, names: Sequence[str], values: Values) -> None:
        self.path, self.names, self.values = path, names, values
        self.masks = self.with_strays = self.pixels = 0
        self.found: Counter[int] = Counter()

    def see(self, numbers: NDArray[np.int32], index: masks.IndexMap) -> None:
        """Take in a mask, (H, W), as it is stored and as it is read."""
        stray = numbers[(index == masks.VOID) & ~np.isin(numbers, (self.values.void, 65535))]
        self.masks, self.pixels = self.masks + 1, self.pixels + numbers.size
        self.with_strays += len(stray) > 0
        for value, n in zip(*np.unique(stray, return_counts=True), strict=True):
            self.found[int(value)] += int(n)

    def tell(self) -> None:
        """Log one note about them.

        Raises:
            BadLabels: They are most pixels.
        """
        if not self.found:
            return
        shown = some([str(value) for value in sorted(self.found)])
        first, last = self.values.first, self.values.first + len(self.names) - 1
        known = f"{first} to {last} are categories, {self.values.background} background, {self.values.void} void"
        options = "say what they mean with -o formats.masks.first=N and -o formats.masks.background=N"
        if 2 * self.found.total() > self.pixels:
            raise BadLabels(
                f"{self.path}: {self.found.total() / self.pixels:.0%} of all pixels have values that mean nothing: "
                f"{shown} ({known}); name every category with --classes or in {CLASSES}, or {options}"
            )
        log.info(
            "note: %s: %d of %s have values that mean nothing: %s (%s); those pixels count nowhere; if they should, %s",
            *(self.path, self.with_strays, counted(self.masks, "mask"), shown, known, options),
        )


class _Folder:
    """A folder of masks, with what its numbers mean."""

    def __init__(self, path: Path, categories: Sequence[str], options: MaskOptions) -> None:
        self.path, self.categories = path, categories
        self.names = _class_names(path) or tuple(categories)
        if not self.names:
            raise BadLabels(f"{path} has no {CLASSES} that says what its numbers mean; name them with --classes")
        values = self._written() or Values.of(options, len(self.names))
        self.table = values.table(len(self.names))
        self.strays = _Strays(path, self.names, values)
        self.files: set[str] = set()

    def _written(self) -> Values | None:
        """The numbers that an export says it was written with."""
        found = next(imagefolders.records(self.path), {}).get("values")
        if found is None:
            return None
        if not (isinstance(found, list) and len(found) == 3 and all(isinstance(v, int) for v in found)):
            raise BadLabels(f'{self.path / MARKER}: "values" are no three numbers; export again')
        return Values(*(min(max(v, 0), 65535) for v in found))

    def listed(self) -> Iterator[Entry]:
        """What ``gtloop.jsonl`` lists."""
        for line in imagefolders.records(self.path):
            file = line.get("file")
            if file is not None and (file in self.files or not (self.path / file).is_file()):
                raise BadLabels(
                    f"{self.path / MARKER} lists {file} for {line['name']}, which is not there (once); "
                    "put it back or remove the line"
                )
            if file is not None:
                self.files.add(file)
        for line in imagefolders.records(self.path):
            yield self._entry(line)

    def others(self) -> Iterator[Entry]:
        """All other PNGs."""
        for file in _pngs(self.path):
            if file not in self.files:
                yield Entry(file, self._payload(file, {}), {})

    def _entry(self, line: dict[str, Any]) -> Entry:
        name, file, sure = line["name"], line.get("file"), line.get("confidences", {})
        if not (isinstance(sure, dict) and all(map(_probability, sure.values()))):
            raise BadLabels(
                f'{self.path / MARKER}: "confidences" of {name} are not numbers from 0 to 1; correct or remove them'
            )
        drawn = f"{name.removesuffix(PurePosixPath(name).suffix)}.png"
        since = file is None and drawn not in self.files and (self.path / drawn).is_file()
        if since:
            self.files.add(drawn)
            file = drawn
        payload = None if file is None else self._payload(file, sure)
        return imagefolders.entry(line, payload, edited=since, drop=("format", "values", "confidences"))

    def _payload(self, file: str, confidences: Mapping[str, float]) -> Payload:
        numbers = maskfiles.read_index(self.path / file)
        index = self.table[numbers]
        self.strays.see(numbers, index)
        label = masks.from_map(index, self.names)
        for region in label.regions:
            check_category(region.category, self.categories, str(self.path / file))
        payload = label.model_dump(mode="json", exclude_none=True)
        for region in payload["regions"]:
            if region["category"] in confidences:
                region["confidence"] = confidences[region["category"]]
        return payload


def _probability(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
