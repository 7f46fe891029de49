"""Masks that come as pictures, and lists of objects in either of the two shapes that data sets have them in."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gtloop import maskfiles, masks
from gtloop.labelfiles import check_category
from gtloop.records import Payload

if TYPE_CHECKING:
    from gtloop_huggingface.dataset import HuggingFaceOptions


class Masks:
    """Reads pictures of masks."""

    def __init__(self, categories: Sequence[str], numbers: Mapping[int, str], options: HuggingFaceOptions) -> None:
        self._categories = categories
        own = {v: n for v, n in numbers.items() if v != options.background or n != "background"}
        self._known = own or dict(enumerate(categories, options.first))
        self._background = options.background

    def payload(self, picture: Mapping[str, Any], regions: Any, where: str) -> Payload:
        """The label of one picture; numbers that mean nothing are void."""
        numbers = _read(picture, where)
        present = {int(v) for v in np.unique(numbers)}
        names = [self._known[v] for v in sorted(present & self._known.keys())]
        index = np.full(numbers.shape, masks.VOID, np.int16)
        index[numbers == self._background] = masks.BACKGROUND
        for position, value in enumerate(sorted(present & self._known.keys())):
            check_category(names[position], self._categories, where)
            index[numbers == value] = position
        payload = masks.from_map(index, names).model_dump(mode="json", exclude_none=True)
        sure = table(regions) if regions else {}
        known = dict(zip(names, (None for _ in names), strict=True))
        known.update(zip(self._named(sure.get("category", ())), sure.get("confidence", ()), strict=True))
        for region in payload["regions"]:
            if known.get(region["category"]) is not None:
                region["confidence"] = known[region["category"]]
        return payload

    def _named(self, values: Sequence[Any]) -> list[str]:
        ordered = [name for _, name in sorted(self._known.items())]
        return [v if isinstance(v, str) else ordered[v] for v in values]


def _read(picture: Mapping[str, Any], where: str) -> Any:
    """(H, W) numbers of a picture, from its bytes or its file."""
    if picture.get("bytes") is None:
        return maskfiles.read_index(Path(str(picture["path"])), where)
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(picture["bytes"])
        file.flush()
        return maskfiles.read_index(Path(file.name), where)


def table(value: Any) -> dict[str, list[Any]]:
    """Objects as lists by key, whether they were that or a list of objects."""
    if isinstance(value, dict):
        return {k: list(v or ()) for k, v in value.items()}
    keys = dict.fromkeys(key for one in value for key in one)
    return {key: [one.get(key) for one in value] for key in keys}
