"""The labels in a manifest's line, by task, as payloads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gtloop import maskfiles, masks
from gtloop.errors import BadLabels
from gtloop.labelfiles import check_category
from gtloop.labels import clip_box
from gtloop.listing import local_path
from gtloop.records import Payload
from gtloop_plugins.formats.groundtruth.options import BACKGROUND, VOID, VOID_INDEX, real


class About(NamedTuple):
    """What all lines of a manifest share."""

    path: Path
    categories: Sequence[str]
    masks: Path | None


class Labelled(NamedTuple):
    """A label attribute and its metadata.

    ``borrowed`` are the positions whose confidence is the label's, not their own; ``unknown``: 0 is no confidence.
    """

    value: Any
    metadata: Mapping[str, Any]
    borrowed: Sequence[Any]
    facts: Mapping[str, Any]
    unknown: bool

    def confidence(self, value: Any, position: int, where: str) -> dict[str, float]:
        """``{"confidence": ...}`` of one object; empty where it has none of its own.

        Raises:
            BadLabels: It is no number from 0 to 1.
        """
        if value is None:
            return {}
        if not real(value) or not 0 <= value <= 1:
            raise BadLabels(f"{where}: confidence is {value!r}, not a number from 0 to 1; correct it")
        lent = position in self.borrowed and value == self.facts.get("confidence")
        return {} if lent or (self.unknown and value == 0) else {"confidence": value}


def boxes(label: Labelled, about: About, where: str) -> tuple[Payload, dict[str, Any]]:
    """The boxes, clipped to the image where its size is given; and that size."""
    value = label.value
    annotations = value.get("annotations") if isinstance(value, dict) else None
    if not isinstance(annotations, list):
        raise BadLabels(f'{where} has no list "annotations"; correct it')
    objects = label.metadata.get("objects")
    if objects is not None and not (isinstance(objects, list) and len(objects) == len(annotations)):
        raise BadLabels(
            f'{where}: "objects" of the metadata are not one for each of the {len(annotations)} annotations; '
            "add or remove both in step"
        )
    size = _size(value)
    found = []
    for n, annotation in enumerate(annotations):
        at = f"{where}, annotation {n + 1}"
        if not isinstance(annotation, dict):
            raise BadLabels(f"{at} is no object; correct or remove it")
        category = _class_name(annotation.get("class_id"), label, about, at)
        about_it = objects[n] if objects is not None else {}
        sure = about_it.get("confidence") if isinstance(about_it, dict) else None
        found.append(
            {"category": category, "xyxy": _xyxy(annotation, size, at), **label.confidence(sure, n, at)},
        )
    return {"boxes": found}, {"width": size[0], "height": size[1]} if size else {}


def _size(value: Mapping[str, Any]) -> tuple[float, float] | None:
    listed = value.get("image_size")
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    width, height = first.get("width"), first.get("height")
    return (width, height) if real(width) and real(height) and width > 0 and height > 0 else None


def _xyxy(annotation: Mapping[str, Any], size: tuple[float, float] | None, where: str) -> list[float]:
    place = [annotation.get(k) for k in ("left", "top", "width", "height")]
    numbers = [v for v in place if real(v)]
    if len(numbers) < 4:
        raise BadLabels(f"{where}: left, top, width, height are {place}, not four numbers; correct or remove it")
    left, top, width, height = numbers
    clipped = clip_box((left, top, left + width, top + height), *(size or (math.inf, math.inf)))
    if clipped is None:
        inside = f" of {size[0]} x {size[1]} pixels" if size else ""
        raise BadLabels(f"{where}: the box {place} has no area inside the image{inside}; correct or remove it")
    return list(clipped)


def category(label: Labelled, about: About, where: str) -> tuple[Payload, dict[str, Any]]:
    """The category: ``class-name`` of the metadata, else the number, else the value itself."""
    if isinstance(label.value, list):
        raise BadLabels(f"{where} is a list: multi-label classification is not supported; give another --task or file")
    name = label.metadata.get("class-name")
    if name is None and isinstance(label.value, str) and not label.value.isdecimal():
        name = label.value
    if name is None:
        name = _class_name(label.value, label, about, where)
    if not isinstance(name, str):
        raise BadLabels(f"{where}: class-name is {name!r}, no text; correct it")
    check_category(name, about.categories, where)
    sure = label.confidence(label.metadata.get("confidence"), 0, where)
    return {"category": name, **sure}, dict(sure)


def _class_name(number: Any, label: Labelled, about: About, where: str) -> str:
    """The category of a number (``0`` or ``"0"``): by the class-map, or, where there is none, the run's."""
    text = str(number)
    if isinstance(number, bool) or not isinstance(number, int | str) or not text.isdecimal():
        raise BadLabels(f"{where}: the number of the class is {number!r}; write a whole number from 0")
    names = label.metadata.get("class-map")
    if names is None and about.categories:
        names = {str(n): name for n, name in enumerate(about.categories)}
    name = names.get(str(int(text))) if isinstance(names, dict) else None
    if not isinstance(name, str):
        raise BadLabels(f"{where}: class {text} is not in the class-map; add its name there")
    return check_category(name, about.categories, where)


def regions(label: Labelled, about: About, where: str) -> tuple[Payload, dict[str, Any]]:
    """The regions of a mask; 0 is background where it is called ``BACKGROUND``, 255 void where it is ``VOID``.

    Where there is no region, the confidence of the label is that of the background.
    """
    colours = label.metadata.get("internal-color-map")
    if not isinstance(label.value, str) or not isinstance(colours, dict):
        raise BadLabels(f'{where} is no path of a mask with an "internal-color-map" in its metadata; correct it')
    mask = _mask_path(label.value, about, where)
    pixels = maskfiles.read_index(mask, f"{where}: {mask}")
    names: list[str] = []
    sure: dict[str, dict[str, float]] = {}
    empty: dict[str, float] = {}
    table = np.full(65536, masks.VOID - 1, np.int16)
    for key, entry in colours.items():
        name = entry.get("class-name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not key.isdecimal() or int(key) > 65535:
            raise BadLabels(f"{where}: internal-color-map[{key!r}] has no class-name, or no number; correct it")
        number = int(key)
        if (number, name) == (VOID_INDEX, VOID):
            table[number] = masks.VOID
            continue
        if (number, name) == (0, BACKGROUND):
            table[number] = masks.BACKGROUND
            empty = label.confidence(entry.get("confidence"), number, f"{where}, {name}")
            continue
        if name not in names:
            names.append(name)
            sure[name] = label.confidence(entry.get("confidence"), number, f"{where}, class {name}")
        table[number] = names.index(name)
    index = table[pixels]
    _all_named(pixels[index == masks.VOID - 1], where, mask)
    payload = masks.from_map(index, names).model_dump(mode="json", exclude_none=True)
    for region in payload["regions"]:
        check_category(region["category"], about.categories, where)
        region |= sure[region["category"]]
    return payload, {} if payload["regions"] else dict(empty)


def _all_named(numbers: Any, where: str, mask: Path) -> None:
    if numbers.size:
        raise BadLabels(
            f"{where}: {mask} has pixels of number {int(numbers.min())}, which the internal-color-map does not name; "
            "add its class-name (masks of jobs from June to September 2020 have wrong numbers: correct them first)"
        )


def _mask_path(ref: str, about: About, where: str) -> Path:
    """The local file of a mask.

    Raises:
        BadLabels: There is none.
    """
    found = next((p for p in _candidates(ref, about) if p.is_file()), None)
    if found is None:
        raise BadLabels(
            f"{where}: no mask at {ref}; download the masks and name their folder: -o formats.groundtruth.masks=FOLDER"
        )
    return found


def _candidates(ref: str, about: About) -> Iterable[Path]:
    """Where a mask may be: at its path, or below a folder under the longest end of its path that is there."""
    local = local_path(ref)
    if local is not None:
        yield about.path.parent / local
    parts = (ref.partition("://")[2] if local is None else local).strip("/").split("/")
    beside = about.path.parent
    folders = [about.masks] if about.masks is not None else [beside / f"{about.path.stem}-masks", beside]
    for n in range(len(parts)):
        if ".." not in parts[n:]:
            yield from (folder.joinpath(*parts[n:]) for folder in folders)
