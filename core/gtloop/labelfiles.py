"""Label files: which format reads one, which image each entry is about, and how one is written safely."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from gtloop.compact import Index, Spool
from gtloop.errors import BadLabels, UsageError
from gtloop.files import replacing_atomically
from gtloop.interfaces import Entry, ExportRow, Format


def does(plugin: Format, task: str) -> bool:
    """Whether a format holds labels of a task; ``"*"`` among its tasks stands for all."""
    return task in plugin.tasks or "*" in plugin.tasks


def find_reader(formats: Sequence[Format], where: str | Path, task: str) -> tuple[Format, Path]:
    """The format that reads the labels of ``task`` at ``PATH``, or the one named by ``FORMAT:PATH``; and the path.

    Raises:
        BadLabels: As ``pick_reader``, or there is no such format.
    """
    name, text = split(str(where))
    path = Path(text)
    if not name:
        return pick_reader(formats, path, task), path
    readers = {f.name: f for f in formats if f.reads and does(f, task)}
    if name not in readers:
        raise BadLabels(
            f"no format named {name!r} reads labels of task {task!r}; there are: {_known(readers.values())}"
        )
    return readers[name], path


def pick_reader(formats: Sequence[Format], path: str | Path, task: str) -> Format:
    """The one format that recognises the labels of ``task`` at ``path``.

    Raises:
        BadLabels: Nothing is there, no format recognises it, or more than one does.
    """
    path = Path(path)
    if not path.exists():
        raise BadLabels(f"no such label file or folder: {path}; check the path")
    readers = [f for f in formats if f.reads and does(f, task)]
    found = [f for f in readers if f.sniff(path)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(f.name for f in found)
        raise BadLabels(f"{path} can be read as {names}; say which, for example {found[0].name}:{path}")
    if nearly := [f"{path} looks like {f.name}, but {why}" for f in readers if (why := f.near_miss(path))]:
        raise BadLabels("; ".join(nearly))
    raise BadLabels(f"{path} is in no format that is read for task {task!r}; convert it to one of: {_known(readers)}")


def _known(readers: Iterable[Format]) -> str:
    return "; ".join(f"{f.name} ({f.summary})" for f in readers) or "none is installed"


def split(where: str) -> tuple[str, str]:
    """``FORMAT:PATH`` as (format, path); the format is empty where only a path is given."""
    match = re.match(r"([a-z][a-z0-9-]*(?:@[\w.-]+)?):(?!//)(.+)$", where, flags=re.S)
    return (match[1], match[2]) if match and not Path(where).exists() else ("", where)


def absolute(where: str, base: Path, prefixed: bool = True) -> str:
    """A path (``FORMAT:PATH`` too, where ``prefixed``) made absolute from ``base``; a URL stays as it is."""
    if "://" in where:
        return where
    name, path = split(where) if prefixed else ("", where)
    full = str(base.joinpath(Path(path).expanduser()).resolve())
    return f"{name}:{full}" if name else full


def check_category(category: str, categories: Sequence[str], where: str) -> str:
    """``category``, if it is declared; everything is where ``categories`` is empty.

    Raises:
        BadLabels: It is not; the text starts with ``where``.
    """
    if not categories or category in categories:
        return category
    close = difflib.get_close_matches(category, categories, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    declared = ", ".join(repr(c) for c in categories)
    raise BadLabels(
        f"{where}: category {category!r} is not declared{hint}; --classes has {declared}: add it or correct it"
    )


class Matcher:
    """Finds the row of an image by the name that a label file gives it.

    An exact relative path wins; then the same file name, and among several of those the one path that
    ends with the other; then the same stem, whatever the suffix. Names are compared in Unicode's NFC.

    Args:
        names: Names of the run's items; index = row.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._exact = Index(map(_canonical, names))
        self._by_file: Index | None = None
        self._by_stem: Index | None = None

    def row(self, name: str) -> int | None:
        """Row of the image called ``name``; None where the source has none.

        Raises:
            BadLabels: Several images may be meant.
        """
        wanted = _canonical(name)
        if rows := self._exact.rows(wanted):
            return rows[-1]
        if self._by_file is None:
            self._by_file = Index(_file(_canonical(n)) for n in self._names)
        file = _file(wanted)
        if rows := self._by_file.rows(file):
            return self._only(name, wanted, rows)
        if self._by_stem is None:
            self._by_stem = Index(_stem(_file(_canonical(n))) for n in self._names)
        # The name may come without a suffix, so a dot in it need not start one.
        rows = self._by_stem.rows(file) or self._by_stem.rows(_stem(file))
        return self._only(name, wanted, rows) if rows else None

    def _only(self, name: str, wanted: str, rows: list[int]) -> int:
        found = {_canonical(self._names[r]): r for r in rows}
        if len(found) > 1:
            found = {n: r for n, r in found.items() if _tail(wanted, n)} or found
        if len(found) == 1:
            return next(iter(found.values()))
        raise BadLabels(
            f"{name} in the label file may be {' or '.join(list(found)[:2])} ({len(found)} images of that name); "
            "write the path relative to the source"
        )


def match_entries(
    entries: Iterable[Entry],
    names: Sequence[str],
    *,
    what: str = "the label file",
    allow_missing: bool = False,
    folder: Path | None = None,
) -> Iterator[tuple[int, Entry]]:
    """Stream (row, entry) of what a label file says, with or without a payload.

    Args:
        entries: Of one label file.
        names: Names of the run's items; index = row.
        what: What to call the file in an error.
        allow_missing: Leave out images that the source does not have, instead of raising.
        folder: For a scratch file.

    Raises:
        BadLabels: It names images that are not in the source (in the end), one image twice, or one that may be several.
    """
    matcher, called = Matcher(names), Spool(folder)
    missing, first = 0, ""
    for entry in entries:
        row = matcher.row(entry.name)
        if row is None:
            missing, first = missing + 1, first or entry.name
            continue
        if row in called:
            raise BadLabels(f"{what} labels {names[row]} twice, as {called[row]} and as {entry.name}; remove one")
        called.put(row, entry.name)
        yield row, entry
    if missing and not allow_missing:
        images = "an image that is" if missing == 1 else f"{missing} images that are"
        raise BadLabels(
            f"{what} names {images} not in the source, first: {first} "
            f"(the source has {names[0] if names else 'no images'}, ...); check that they belong together"
        )


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file as a whole: what is at ``path`` changes at the end of the block, or not at all.

    The temporary file next to it is synced before it is renamed, and removed if the block raises.

    Raises:
        UsageError: ``path`` is a folder, or can't be written.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file in it")
    try:
        with replacing_atomically(path) as file:
            yield file
    except OSError as e:
        raise UsageError(f"cannot write {path}: {e.strerror or e}; choose another place with --out") from e


def json_line(raw: bytes, where: str, hint: str) -> dict[str, Any] | None:
    """The object of one line of JSON Lines; None for a blank one.

    Raises:
        BadLabels: It is none; the text starts with ``where`` and ends with ``hint``, what to write instead.
    """

    def not_a_number(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        text = raw.decode("utf-8-sig").strip()
        record = json.loads(text, parse_constant=not_a_number) if text else None
    except UnicodeDecodeError as e:
        raise BadLabels(f"{where} is not UTF-8; save the file as UTF-8") from e
    except (ValueError, RecursionError) as e:
        raise BadLabels(f"{where} is not JSON ({e}); {hint}") from e
    if text and not isinstance(record, dict):
        raise BadLabels(f"{where} is not a JSON object; {hint}")
    return record


MARKER = "gtloop.jsonl"
"""File of an exported folder that says who wrote it: one line an item, what the format itself can't hold."""


@contextmanager
def replacing_folder(path: Path, marker: str = MARKER) -> Iterator[Path]:
    """Write a folder as a whole: the block fills the folder that it is given, which then takes the place of ``path``.

    Only an empty folder, or one that holds ``marker`` and so is an earlier export, is replaced.

    Raises:
        UsageError: ``path`` holds something else, or can't be written.
    """
    if path.exists() and not (path.is_dir() and (not any(path.iterdir()) or (path / marker).is_file())):
        raise UsageError(f"{path} is there already and is no export of gtloop; choose another place with --out")
    work = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        yield work
        if path.exists():
            path.rename(old)
        work.rename(path)
    except OSError as e:
        raise UsageError(f"cannot write {path}: {e.strerror or e}; choose another place with --out") from e
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def provenance(row: ExportRow) -> dict[str, Any]:
    """Where a row's label comes from, as JSON, payload excluded; ``source`` None where it has no label."""
    facts = {"row": row.item.row, "id": row.item.id, "status": row.status, "reason": row.reason}
    if row.label is None:
        return {**facts, "source": None}
    return {**facts, **row.label.model_dump(mode="json", exclude={"row", "payload"})}


def _canonical(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/")).removeprefix("./")


def _file(path: str) -> str:
    """The last part of a path; pathlib would keep every part of millions."""
    return path.rstrip("/").rpartition("/")[2]


def _stem(file: str) -> str:
    stem, _, suffix = file.rpartition(".")
    return stem if stem and suffix else file


def _tail(a: str, b: str) -> bool:
    return f"/{a}".endswith(f"/{b}") or f"/{b}".endswith(f"/{a}")
