"""What COCO's readers ask of a value, and what they say where it is something else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gtloop.errors import BadLabels


def number(value: Any) -> bool:
    """Whether it is a finite number; JSON's true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def text(record: Mapping[str, Any], key: str, where: str) -> str:
    """A text that is not empty.

    Raises:
        BadLabels: It is missing, empty or no text.
    """
    value = record.get(key)
    if not isinstance(value, str) or not value:
        raise BadLabels(f"{where} has no {key}; add it")
    return value


def score(record: Mapping[str, Any], where: str) -> float | None:
    """The ``score`` of an annotation; None where there is none.

    Raises:
        BadLabels: It is not a number from 0 to 1.
    """
    value = record.get("score")
    if value is None:
        return None
    if not number(value) or not 0 <= value <= 1:
        raise BadLabels(f"{where}: score is {value!r}, not a number from 0 to 1; correct it")
    return float(value)
