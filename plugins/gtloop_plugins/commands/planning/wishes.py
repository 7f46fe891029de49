"""What the commands have in common: seeds, settings to try, folders of results, tables."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gtloop.errors import UsageError
from gtloop.files import write_atomic

Values = dict[str, Any]
"""Settings by dotted key."""


def seeds_of(text: str) -> tuple[int, ...]:
    """``0-9``, ``3`` or ``0,2,5-7`` as numbers, in order, none twice.

    Raises:
        UsageError: It is not written so.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise UsageError(f"--seeds {text}: write numbers and ranges, such as 0-9 or 0,2,5-7")
        found += range(int(first), int(last if dash else first) + 1)
    return tuple(dict.fromkeys(found))


def settings_of(texts: Sequence[str]) -> list[Values]:
    """Every combination of ``key=v1,v2`` wishes, in order; one empty one where there is none.

    A value that is a list is written as JSON or TOML writes it: ``run.classes=["a", "b"]`` is one value.

    Raises:
        UsageError: A wish is not written so, or a key comes twice.
    """
    wishes: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        key = key.strip()
        if not equals or not values.strip() or len(key.split(".")) < 2:
            raise UsageError(f"--set {text}: write it as table.key=value or table.key=value,value")
        if key == "run.seed":
            raise UsageError("--set run.seed: seeds are given with --seeds")
        if key in wishes:
            raise UsageError(f"--set {key} is given twice; write its values into one: {key}=v1,v2")
        one = values.strip().startswith("[")
        wishes[key] = [values.strip()] if one else [v.strip() for v in values.split(",")]
    return [dict(zip(wishes, combination, strict=True)) for combination in itertools.product(*wishes.values())]


def called(values: Values) -> str:
    """Settings in short: ``target=0.7 workers=1``; ``as given`` where nothing is set."""
    words = [f"{key.rpartition('.')[2]}={value}" for key, value in values.items() if value is not None]
    return " ".join(words) or "as given"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; numbers in it are text already."""
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the same keys, as CSV; nothing where there are none."""
    out = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_atomic(path, out.getvalue().encode())


def flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of what nested objects hold."""
    for key, child in value.items():
        if isinstance(child, Mapping):
            yield from flat(child, f"{at}{key}.")
        else:
            yield f"{at}{key}", child


def write_json(path: Path, value: Any) -> None:
    """As a whole."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, default=str).encode())


def spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """``median``, ``low`` and ``high`` of what is known."""
    import numpy as np

    known = [v for v in values if v is not None]
    if not known:
        return {"median": None, "low": None, "high": None}
    return {"median": float(np.median(known)), "low": float(min(known)), "high": float(max(known))}


def shown(found: Mapping[str, float | None], form: str) -> str:
    """``.83 (.79 to .90)`` of a spread; empty where nothing is known."""
    if found["median"] is None:
        return ""
    middle = form.format(found["median"])
    low, high = form.format(found["low"]), form.format(found["high"])
    return middle if low == high else f"{middle} ({low} to {high})"
