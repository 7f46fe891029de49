"""A COCO file of any size, image by image: its lists wait in a temporary database."""

from __future__ import annotations

import json
import marshal
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gtloop.errors import BadLabels
from gtloop_plugins.formats.coco.checks import text
from gtloop_plugins.formats.coco.stream import members

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE image (id TEXT, name TEXT, record BLOB);
CREATE TABLE annotation (id TEXT, image TEXT, record BLOB);
"""
_INDEXES = """
CREATE INDEX image_id ON image (id);
CREATE INDEX annotation_image ON annotation (image);
"""


class Annotation(NamedTuple):
    """One annotation, as the file has it but for what its task does not read.

    ``where`` names it in errors; ``category`` is empty for a crowd, whose category nobody asks for.
    """

    where: str
    category: str
    crowd: bool
    record: dict[str, Any]


class Spill:
    """Images of a COCO file with their annotations.

    Ids are kept as JSON text, so that 7 and "7" are two. ``marshal`` is the quickest way to and from bytes, and
    nobody else reads them.

    Args:
        path: The COCO file.
        shape: The key of an annotation with its shape, ``bbox`` or ``segmentation``; the other is left out.

    Attributes:
        info: The file's ``info``, whatever it is.
        categories: JSON text of a category's id to its name.

    Raises:
        BadLabels: It is not COCO, or ids and names in it come twice or lead nowhere.
    """

    def __init__(self, path: Path, shape: str) -> None:
        self._path = path
        self._keep = ("id", "image_id", "category_id", "iscrowd", "score", shape)
        self.info: Any = None
        self.categories: dict[str, str] = {}
        self._db = sqlite3.connect("")  # a private file that SQLite removes, in memory as long as it is small
        try:
            with _room(path):
                self._db.executescript(_TABLES)
                self._fill()
                self._db.executescript(_INDEXES)
                self._check()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the temporary database."""
        self._db.close()

    def images(self) -> Iterator[tuple[dict[str, Any], list[Annotation]]]:
        """Each image's record with its annotations, both in the file's order.

        Raises:
            BadLabels: A category id that leads nowhere.
        """
        for key, packed in self._db.execute("SELECT id, record FROM image ORDER BY rowid"):
            of = self._db.execute("SELECT rowid, record FROM annotation WHERE image = ? ORDER BY rowid", (key,))
            yield marshal.loads(packed), [self._annotation(n, marshal.loads(record)) for n, record in of]

    def _annotation(self, number: int, record: dict[str, Any]) -> Annotation:
        where = self._where(number, record)
        if record.get("iscrowd"):
            return Annotation(where, "", True, record)
        category = self.categories.get(_key(record.get("category_id")))
        if category is None:
            raise BadLabels(
                f"{where}: category_id {record.get('category_id')!r} is not among the categories; correct it"
            )
        return Annotation(where, category, False, record)

    def _where(self, number: int, record: Mapping[str, Any]) -> str:
        return f"{self._path}, annotation {record.get('id', f'number {number}')}"

    def _fill(self) -> None:
        listed = set()
        for key, value in members(self._path):
            if key == "info":
                self.info = value
            elif key in ("images", "annotations", "categories"):
                listed.add(key)
                records = self._records(key, value)
                if key == "images":
                    self._db.executemany("INSERT INTO image VALUES (?, ?, ?)", map(self._image_row, records))
                elif key == "annotations":
                    self._db.executemany("INSERT INTO annotation VALUES (?, ?, ?)", map(self._annotation_row, records))
                else:
                    self._name_categories(records)
        if "images" not in listed:
            raise BadLabels(f'{self._path} is not COCO: it has no list "images"')

    def _records(self, key: str, value: Any) -> Iterator[dict[str, Any]]:
        if key == "images" and not isinstance(value, Iterator):
            raise BadLabels(f'{self._path} is not COCO: it has no list "images"')
        for record in value if isinstance(value, Iterator) else [value]:
            if not isinstance(record, dict) or not isinstance(value, Iterator):
                raise BadLabels(f'{self._path}: "{key}" is not a list of objects; export it again')
            yield record

    def _image_row(self, record: dict[str, Any]) -> tuple[str, str, bytes]:
        key = self._id(record, "images")
        name = text(record, "file_name", f"{self._path}, image {record['id']}")
        return key, json.dumps(name), marshal.dumps(record)

    def _annotation_row(self, record: dict[str, Any]) -> tuple[str | None, str, bytes]:
        # Some tools leave the id out; nothing here needs it.
        key = self._id(record, "annotations") if "id" in record else None
        for name in ("image_id", "category_id"):
            if not isinstance(record.get(name), int | str | None):
                raise BadLabels(f"{self._path}: an annotation has {name} {record[name]!r}; ids are numbers")
        kept = {k: record[k] for k in self._keep if k in record}
        return key, _key(record.get("image_id")), marshal.dumps(kept)

    def _name_categories(self, records: Iterator[dict[str, Any]]) -> None:
        for record in records:
            key = self._id(record, "categories")
            if key in self.categories:
                raise _twice(key, "categories", self._path)
            self.categories[key] = text(record, "name", f"{self._path}, category {record['id']}")

    def _id(self, record: Mapping[str, Any], key: str) -> str:
        found = record.get("id")
        if not isinstance(found, int | str):
            raise BadLabels(f'{self._path}: one of "{key}" has id {found!r}; each needs an own number')
        return _key(found)

    def _check(self) -> None:
        for table in ("image", "annotation"):
            if (key := self._repeated(table, "id")) is not None:
                raise _twice(key, f"{table}s", self._path)
        if (name := self._repeated("image", "name")) is not None:
            raise BadLabels(f"{self._path}: file_name {json.loads(name)!r} is there twice; remove one")
        lost = self._db.execute(
            "SELECT rowid, record FROM annotation WHERE image NOT IN (SELECT id FROM image) ORDER BY rowid LIMIT 1"
        ).fetchone()
        if lost is not None:
            record = marshal.loads(lost[1])
            where = self._where(lost[0], record)
            raise BadLabels(
                f"{where}: image_id {record.get('image_id')!r} is not among the images; correct or remove it"
            )

    def _repeated(self, table: str, column: str) -> str | None:
        query = f"SELECT {column} FROM {table} WHERE {column} NOTNULL GROUP BY {column} HAVING count(*) > 1 LIMIT 1"
        found = self._db.execute(query).fetchone()
        return None if found is None else str(found[0])


@contextmanager
def _room(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as e:
        raise BadLabels(
            f"{path} cannot be sorted in a temporary file ({e}); make room, or name another folder with SQLITE_TMPDIR"
        ) from e


def _key(i: Any) -> str:
    return str(i) if type(i) is int else json.dumps(i)  # the same text, sooner


def _twice(key: str, lists: str, path: Path) -> BadLabels:
    return BadLabels(f'{path}: id {json.loads(key)!r} is there twice in "{lists}"; each needs an own number')
