"""Where settings were given: dotted key to a file, ``command line`` or ``-o``; for messages only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def keys(tables: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values."""
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def origin(origins: Mapping[str, str], path: str, default: str) -> str:
    """Where the value at ``path`` was given, or the table that it lies in, or the first value of the table it is."""
    return next((where for key, where in origins.items() if _within(key, path) or _within(path, key)), default)


def below(origins: Mapping[str, str], table: str) -> dict[str, str]:
    """The origins of a table's keys."""
    return {key.removeprefix(f"{table}."): where for key, where in origins.items() if key.startswith(f"{table}.")}


def _within(path: str, key: str) -> bool:
    return f"{path}.".startswith(f"{key}.")
