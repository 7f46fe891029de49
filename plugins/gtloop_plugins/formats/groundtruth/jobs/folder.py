"""What lies where in the folder of a job, and what of it can't be read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from gtloop.errors import BadLabels
from gtloop.labelfiles import json_line
from gtloop.urls import address, shown

PARTS = ("annotations", "manifests", "activelearning")
"""Folders of a job that are read."""
_RESPONSES = Path("annotations", "worker-response")
_CONSOLIDATED = Path("annotations", "consolidated-annotation", "consolidation-response")
_AUTO = "auto_annotator_output.txt"
NO_JSON = "it is not JSON, or not all of it is there"


class Refused(NamedTuple):
    """Something of a job that can't be used: where it is, and why."""

    where: str
    why: str


class Line(NamedTuple):
    """What a file says of an object: its label attribute and whatever else stands there, without ``source-ref``."""

    record: dict[str, Any]
    where: str


class Object(NamedTuple):
    """An object of the job; ``id`` is its 0-based line in the manifest."""

    id: int
    ref: str


class JobFolder:
    """The files of a job.

    Args:
        root: Folder of the job: that of ``S3OutputPath/JOB``, as it was copied from the bucket.
        manifest: The job's input manifest, if it is not what the output manifest says.

    Raises:
        BadLabels: It is no job's folder, or no manifest is there.
    """

    def __init__(self, root: Path, manifest: Path | None = None) -> None:
        self.root = root.resolve()
        self.refused: dict[Refused, None] = {}  # in the order in which it was found
        if not any((self.root / part).is_dir() for part in PARTS):
            raise BadLabels(
                f"{root} is no job's folder: it has none of {', '.join(f'{part}/' for part in PARTS)}; give what "
                "`aws s3 sync S3OUTPUTPATH/JOB FOLDER` has copied"
            )
        self.output = self._output()
        self.manifest = manifest or self.output
        if self.manifest is None:
            raise BadLabels(f"{root} has no manifest, which tells the images; name the job's with --manifest PATH")

    def _output(self) -> Path | None:
        """The output manifest, or the latest of those so far."""
        final = self.root / "manifests" / "output" / "output.manifest"
        if final.is_file():
            return final
        places = (self.root / "annotations" / "intermediate", self.root / "manifests" / "intermediate")
        return max((p for place in places for p in place.rglob("*.manifest")), key=_natural, default=None)

    def refuse(self, where: str, why: str) -> None:
        self.refused[Refused(where, why)] = None

    def called(self, path: Path) -> str:
        """A file's path in the folder."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    @cached_property
    def objects(self) -> list[Object]:
        """The objects, in the order of the manifest; each image once.

        Raises:
            BadLabels: There are none.
        """
        assert self.manifest is not None
        found: dict[str, Object] = {}
        for number, ref, _, where in self._manifest_lines(self.manifest):
            if (first := found.get(address(ref))) is not None:
                self.refuse(where, f"{shown(ref)} is there already, in line {first.id + 1}")
            else:
                found[address(ref)] = Object(number, ref)
        if not found:
            raise BadLabels(f"{self.manifest} names no image; give the job's input manifest with --manifest PATH")
        return list(found.values())

    @cached_property
    def ids(self) -> dict[str, int]:
        """Address of an image to the id of its object."""
        return {address(o.ref): o.id for o in self.objects}

    @cached_property
    def lines(self) -> dict[int, Line]:
        """Object to its line of the output manifest."""
        if self.output is None:
            return {}
        lines = self._manifest_lines(self.output, quiet=self.output == self.manifest)
        found: dict[int, Line] = {}
        for _, ref, record, where in lines:
            if (known := self.ids.get(address(ref))) is not None:
                found.setdefault(known, Line(record, where))
        return found

    def _manifest_lines(self, path: Path, quiet: bool = False) -> Iterator[tuple[int, str, dict[str, Any], str]]:
        """(0-based line, source-ref, the rest, where); ``quiet``: what is wrong with the file was said before."""
        try:
            with path.open("rb") as file:
                for number, raw in enumerate(file):
                    where = f"{self.called(path)}, line {number + 1}"
                    try:
                        record = json_line(raw, where, "it is left out")
                    except BadLabels as e:
                        record = {} if quiet else self._said(where, str(e).removeprefix(where).strip())
                    ref = record.pop("source-ref", None) if record else None
                    if isinstance(ref, str) and ref:
                        yield number, ref, record or {}, where
                    elif record and not quiet:
                        self.refuse(where, "it has no source-ref")
        except OSError as e:
            raise BadLabels(f"{path} can't be read: {e.strerror}; name the job's manifest with --manifest PATH") from e

    def _said(self, where: str, why: str) -> dict[str, Any]:
        self.refuse(where, why)
        return {}

    # ------------------------------------------------------------------------------------ what people did

    @cached_property
    def responses(self) -> dict[int, dict[int, list[Path]]]:
        """Iteration to object to the files of its workers' answers; all of an object stand in its first iteration."""
        known = {o.id for o in self.objects}
        first: dict[int, int] = {}
        found: dict[int, dict[int, list[Path]]] = {}
        for folder in _sorted(self.root / _RESPONSES):
            if (number := _iteration(folder)) is None:
                self.refuse(self.called(folder), "its name is no iteration-N")
                continue
            for place in _sorted(folder):
                if not place.name.isdecimal() or int(place.name) not in known:
                    self.refuse(self.called(place), "the manifest has no object of that number")
                    continue
                own = int(place.name)
                files = [p for p in _sorted(place) if p.suffix == ".json"]
                found.setdefault(first.setdefault(own, number), {}).setdefault(own, []).extend(files)
        return found

    @cached_property
    def consolidated(self) -> dict[int, Line]:
        """Object to its latest label in the files of consolidations: objects come again."""
        known, found = {o.id for o in self.objects}, dict[int, Line]()
        for path in sorted((self.root / _CONSOLIDATED).rglob("*.json"), key=_natural):
            where = self.called(path)
            entries = read_json(path)
            if not isinstance(entries, list):
                self.refuse(where, NO_JSON if entries is None else "it is no JSON list")
                continue
            for n, entry in enumerate(entries):
                own, content = _consolidated(entry)
                if content is None or own not in known:
                    self.refuse(f"{where}, entry {n + 1}", "it is no label of an object of the manifest")
                else:
                    found[own] = Line(content, f"{where}, entry {n + 1}")
        return found

    # --------------------------------------------------------------------------------- what the machine did

    @cached_property
    def automatic(self) -> dict[int, dict[int, Line]]:
        """Iteration to object to the machine's label; each object once, where it comes first."""
        found: dict[int, dict[int, Line]] = {}
        known, seen = {o.id for o in self.objects}, set[int]()
        for path in sorted((self.root / "activelearning").rglob(_AUTO), key=_natural):
            where, numbers = self.called(path), [p for p in path.parts[-3:-1] if p.isdecimal()]
            if not numbers:
                self.refuse(where, "its folder tells no iteration")
                continue
            for number, raw in enumerate(path.read_bytes().splitlines(), 1):
                head, _, rest = raw.partition(b" ")
                at = f"{where}, line {number}"
                try:
                    record = json_line(rest, at, "it is left out") if raw.strip() else None
                except BadLabels as e:
                    self.refuse(at, str(e).removeprefix(at).strip())
                    continue
                own = int(head) if head.isdigit() else -1
                if own in known and record is not None and own not in seen:
                    seen.add(own)
                    record.pop("source-ref", None)
                    found.setdefault(int(numbers[0]), {})[own] = Line(record, at)
                elif own not in known and raw.strip():
                    self.refuse(at, "the manifest has no object of that number")
        return found

    def declared(self) -> list[str]:
        """The categories of a list such as CreateLabelingJob takes, where one lies in the folder; else none."""
        for path in (*_sorted(self.root), *_sorted(self.root / "annotation-tool")):
            found = read_json(path) if path.suffix == ".json" else None
            labels = found.get("labels") if isinstance(found, dict) else None
            names = [str(x.get("label", "")) for x in labels if isinstance(x, dict)] if isinstance(labels, list) else []
            if names and all(names):
                return list(dict.fromkeys(names))
        return []

    def fingerprint(self) -> str:
        """Hash of which files there are, and of their sizes."""
        digest = hashlib.sha256()
        for part in PARTS:
            for path in sorted(p for p in (self.root / part).rglob("*") if p.is_file()):
                digest.update(f"{self.called(path)}\0{path.stat().st_size}\n".encode())
        return digest.hexdigest()


def read_json(path: Path) -> Any:
    """What a file holds; None where it is no JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _consolidated(entry: Any) -> tuple[int, dict[str, Any] | None]:
    """Object and label of an entry of a consolidation's file; no label where it is damaged."""
    if not isinstance(entry, dict) or not str(entry.get("datasetObjectId", "")).isdecimal():
        return -1, None
    made = entry.get("consolidatedAnnotation")
    content = made.get("content") if isinstance(made, dict) else None
    return int(entry["datasetObjectId"]), content if isinstance(content, dict) else None


def _iteration(folder: Path) -> int | None:
    match = re.fullmatch(r"iteration-(\d+)", folder.name)
    return int(match[1]) if match else None


def _sorted(folder: Path) -> list[Path]:
    """What lies in a folder, numbers in the order of numbers; nothing where there is none."""
    return sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=_natural) if folder.is_dir() else []


def _natural(path: Path) -> tuple[tuple[int, int, str], ...]:
    """A sort key: ``iteration-10`` comes after ``iteration-9``."""
    parts = re.split(r"(\d+)", path.as_posix())
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)
