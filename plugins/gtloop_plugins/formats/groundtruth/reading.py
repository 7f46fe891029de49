"""Reads manifests, the service's and those that its users make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from gtloop.errors import BadLabels
from gtloop.interfaces import Entry, Frame
from gtloop.labelfiles import json_line
from gtloop.records import Source
from gtloop_plugins.formats.groundtruth import values
from gtloop_plugins.formats.groundtruth.options import (
    METADATA,
    MULTILABEL,
    OWN,
    REF,
    TYPES,
    GroundTruthOptions,
)
from gtloop_plugins.formats.groundtruth.values import Labelled

_FAILURE = "failure-reason"
_OPTION = "-o formats.groundtruth.attribute=NAME"


class Manifest:
    """One pass over a manifest."""

    def __init__(self, path: Path, task: str, categories: Sequence[str], options: GroundTruthOptions) -> None:
        self.path, self.task, self.options = path, task, options
        self.reader = {"bbox": values.boxes, "classification": values.category, "segmentation": values.regions}[task]
        self.about = values.About(path, categories, options.masks)
        self.matching: list[str] = []
        self.others: dict[str, str] = {}

    def entries(self) -> Iterator[Entry]:
        """See ``GroundTruth.read``."""
        seen: dict[str, int] = {}
        labelled = False
        try:
            with self.path.open("rb") as file:
                for number, raw in enumerate(file, 1):
                    where = f"{self.path}, line {number}"
                    record = json_line(raw, where, "write one object a line")
                    if record is None:
                        continue
                    ref = record.pop("source-ref", None)
                    if not isinstance(ref, str) or not ref:
                        raise BadLabels(f'{where} has no "source-ref" with the path of an image; add it')
                    if ref in seen:
                        raise BadLabels(f"{where}: {ref} is there already, in line {seen[ref]}; remove one")
                    seen[ref] = number
                    entry = self.entry(ref, record, where)
                    labelled |= entry.payload is not None
                    yield entry
        except OSError as e:
            raise BadLabels(f"{self.path} can't be read: {e.strerror}; give the manifest itself") from e
        if self.others and not labelled and not self.matching:
            wanted = self.options.attribute
            kind = f"under {wanted}" if wanted else f"of type {TYPES[self.task]}"
            named = ", ".join(f"{name} ({type_})" for name, type_ in self.others.items())
            note = "; multi-label classification is not supported" if MULTILABEL in self.others.values() else ""
            raise BadLabels(
                f"{self.path} has no labels {kind}, but {named}{note}; "
                f"give another file, or name what to read with {_OPTION}"
            )

    def entry(self, ref: str, record: Mapping[str, Any], where: str) -> Entry:
        """What a line says of the image ``ref``; ``record`` is the rest of it, ``where`` what an error starts with."""
        attribute = self._attribute(record, where)
        own = record.get(OWN)
        facts = dict(own) if isinstance(own, dict) else {}
        metadata = record.get(f"{attribute}{METADATA}") if attribute else None
        if metadata is not None and not isinstance(metadata, dict):
            raise BadLabels(f"{where}: {attribute}{METADATA} is no object; correct it")
        metadata = metadata or {}
        value = record.get(attribute) if attribute else None
        name = _name(ref, facts.pop("name", None))
        borrowed = facts.pop("label_confidence", [])
        extras = {k: v for k, v in record.items() if k not in (attribute, OWN)}
        frame: Frame = facts["frame"] if facts.get("frame") in ("display", "stored") else self.options.frame
        failure = metadata.get(_FAILURE) or (_failure(record) if value is None else None)
        if value is None or failure:
            return Entry(name, None, extras | facts | ({"reason": failure} if failure else {}), None, frame)
        source = _source(metadata, facts, f"{where}: {attribute}{METADATA}")
        # Where one person answered, the service writes 0: nothing is known, which is not the same as surely wrong.
        unknown = source == "human" and not isinstance(own, dict)
        labelled = Labelled(value, metadata, borrowed if isinstance(borrowed, list) else [], facts, unknown)
        payload, found = self.reader(labelled, self.about, f"{where}: {attribute}")
        return Entry(
            name, payload, extras | found | facts, source, "display" if self.task == "classification" else frame
        )

    def _attribute(self, record: Mapping[str, Any], where: str) -> str | None:
        """The label attribute of a line, None where it has none."""
        types = {
            key.removesuffix(METADATA): str(value.get("type", "")).lower()
            for key, value in record.items()
            if key.endswith(METADATA) and isinstance(value, dict)
        }
        self.others |= {name: kind for name, kind in types.items() if kind.startswith("groundtruth/")}
        if self.options.attribute:
            given = [self.options.attribute, *([self.options.attribute + REF] if self.task == "segmentation" else [])]
            found = next((n for n in given if n in record or n in types), None)
            self._check_type(found, types.get(found or "", ""), where)
            self.matching = [found] if found else self.matching
            return found
        matching = [name for name, kind in types.items() if kind == TYPES[self.task]]
        self.matching += [name for name in matching if name not in self.matching]
        if len(self.matching) > 1:
            raise BadLabels(
                f"{where}: labels of type {TYPES[self.task]} are under {' and '.join(self.matching)}; "
                f"choose one with {_OPTION}"
            )
        return next(iter(self.matching), None)

    def _check_type(self, attribute: str | None, kind: str, where: str) -> None:
        if kind == MULTILABEL:
            raise BadLabels(f"{where}: {attribute} is of type {kind}: multi-label classification is not supported")
        if kind in TYPES.values() and kind != TYPES[self.task]:
            raise BadLabels(
                f"{where}: {attribute} is of type {kind}, task {self.task} needs {TYPES[self.task]}; "
                f"choose another with {_OPTION}, or another --task"
            )


def _failure(record: Mapping[str, Any]) -> str | None:
    """Why a label failed, where its metadata does not say its type."""
    for key, value in record.items():
        untyped = key.endswith(METADATA) and isinstance(value, dict) and "type" not in value
        if untyped and key.removesuffix(METADATA) not in record and value.get(_FAILURE):
            return str(value[_FAILURE])
    return None


def _source(metadata: Mapping[str, Any], facts: Mapping[str, Any], where: str) -> Source | None:
    people = metadata.get("human-annotated")
    if people is None:
        return None
    if people not in ("yes", "no"):
        raise BadLabels(f'{where}: "human-annotated" is {people!r}; write "yes" or "no"')
    if people == "no":
        return "machine"
    return "adjusted" if facts.get("source") == "adjusted" else "human"


def _name(ref: str, own: Any) -> str:
    """What identifies the image: ``own``, if ``ref`` ends with it, else ``ref`` without scheme and bucket."""
    scheme, separator, rest = ref.partition("://")
    path = rest.partition("/")[2] if separator else ref
    if separator and scheme != "s3":  # keys of buckets stand as they are
        path = unquote(path.partition("?")[0])
    return own if isinstance(own, str) and own and f"/{path}".endswith(f"/{own.lstrip('/')}") else path or ref
