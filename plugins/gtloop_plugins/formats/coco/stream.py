"""A JSON object of any size, member by member and its lists element by element."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ijson

from gtloop.errors import BadLabels

_BOM = b"\xef\xbb\xbf"
_DEEPEST = 100
"""Lists in lists; COCO needs five. ``ijson.items`` has no limit, and its memory grows with the square of the depth."""

Events = Iterator[tuple[str, Any]]


def members(path: Path) -> Iterator[tuple[str, Any]]:
    """Key and value of each member of the object that a file is; a list is an iterator, to be used before the next.

    Raises:
        BadLabels: The file can't be read, is not JSON, or no object.
    """
    with _readable(path), path.open("rb") as file:
        file.seek(len(_BOM) if file.read(len(_BOM)) == _BOM else 0)
        events: Events = ijson.basic_parse(file, use_float=True)
        first, _ = next(events)
        if first == "start_array":
            raise BadLabels(f"{path} is a list, as COCO results are, and names no images; give the annotation file")
        if first != "start_map":
            raise BadLabels(f"{path} is not COCO: it is no JSON object")
        for event, key in events:
            if event == "end_map":
                continue  # what follows is an error, which the parser finds
            event, value = next(events)
            if event == "start_array":
                elements = _elements(path, events)
                yield key, elements
                for _ in elements:
                    pass
            else:
                yield key, _value(events, event, value, 1)


def _elements(path: Path, events: Events) -> Iterator[Any]:
    with _readable(path):  # who uses them is outside of the block in ``members``
        for event, value in events:
            if event == "end_array":
                return
            yield _value(events, event, value, 2)


def _value(events: Events, event: str, value: Any, depth: int) -> Any:
    """The value that starts with an event; ``events`` go on behind it."""
    if depth > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} lists or objects in each other")
    if event == "start_map":
        record = {}
        key = ""
        for event, value in events:
            if event == "map_key":
                key = value
            elif event == "end_map":
                break
            elif event in ("start_map", "start_array"):
                record[key] = _value(events, event, value, depth + 1)
            else:
                record[key] = value
        return record
    if event == "start_array":
        found = []
        for event, value in events:
            if event == "number":
                found.append(value)
            elif event == "end_array":
                break
            else:
                found.append(_value(events, event, value, depth + 1))
        return found
    return value


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise BadLabels(f"{path} cannot be read: {e.strerror}; give the COCO file itself") from e
    except (ijson.JSONError, ValueError) as e:
        said = " ".join(" ".join(str(e).splitlines()[:2]).split())
        raise BadLabels(f"{path} is not JSON in UTF-8 ({said}); export it again") from e
