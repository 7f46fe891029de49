"""``labelstudio``: Label Studio's task list as JSON, one file, read and written.

What its import takes and its export (type JSON) gives. Places are per cent of the image, so reading needs the sizes
that results carry (``original_width``, ``original_height``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qs, quote, unquote, urlsplit

from gtloop.errors import BadLabels
from gtloop.interfaces import Entry, ExportRow, Form, Format, Options, Primitive
from gtloop.labelfiles import check_category, provenance, replacing
from gtloop.records import Label, Payload, Source
from gtloop.urls import is_web
from pydantic import Field

from gtloop_labelstudio import results, writing
from gtloop_labelstudio.forms import CONTROLS, IMAGE, VOID

_HEAD = 65536
_FORMS = {
    "bbox": Primitive(kind="box", name="boxes", multiple=True),
    "classification": Primitive(kind="choice", name="category"),
    "segmentation": Primitive(kind="mask", name="regions", multiple=True),
}
"""The parts of labels of the tasks that it holds, called as their forms call them."""


class LabelStudioFormatOptions(Options):
    image_url: str | None = Field(
        None, description="written as the address of an image: https://HOST/{name}, or "
        "/data/local-files/?d=FOLDER/{name}; default: its web address, or else its name",
    )  # fmt: skip


class LabelStudioFormat(Format):
    """A list of tasks: ``data.image``, ``meta.gtloop``, and the label, as an annotation or (a machine's) a prediction.

    Read are all tasks with an ``image`` in their data; of several annotations that with a star (``ground_truth``), or
    else the last that was not skipped; where there is none, the last prediction. Names of controls do not matter.
    """

    name = "labelstudio"
    summary = "Label Studio's task list (JSON): what it imports and exports"
    Options = LabelStudioFormatOptions
    requires = ("ijson",)
    extra = "gtloop-labelstudio"
    tasks = frozenset(_FORMS)
    reads = True
    writes = True
    suffix = ".json"

    def sniff(self, path: Path) -> bool:
        """Whether a file starts as a JSON list of objects that have ``data`` and what people or models said."""
        if not path.is_file() or path.suffix.lower() != self.suffix:
            return False
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
        except OSError:
            return False
        said = b'"annotations"' in head or b'"predictions"' in head
        return head.startswith(b"[") and ((said and b'"data"' in head) or head.rstrip() == b"[]")

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the tasks of a file.

        Raises:
            BadLabels: With the file and task: no JSON list of tasks, no image, a result that can't be read, an
                undeclared category.
        """
        import ijson  # type: ignore[import-untyped, unused-ignore]

        with path.open("rb") as file:
            try:
                for number, record in enumerate(ijson.items(file, "item", use_float=True), 1):
                    yield _entry(record, f"{path}, task {number}", task, categories)
            except ijson.JSONError as e:
                raise BadLabels(f"{path} is no JSON list of tasks ({e}); export it from Label Studio as JSON") from None

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write one task a line, streaming; the file appears complete or not at all.

        Raises:
            UsageError: ``path`` can't be written.
        """
        form = _form(task, tuple(info["categories"]))
        unsized = 0
        with replacing(path) as file:
            file.write(b"[")
            for n, row in enumerate(rows):
                record, whole = self._task(row, form, str(info.get("frame", "display")))
                unsized += not whole
                file.write((b",\n" if n else b"\n") + json.dumps(record, ensure_ascii=False, allow_nan=False).encode())
            file.write(b"\n]\n")
        if unsized:
            return [
                f"the sizes of {unsized} images are not known, so that their labels could not be written in per cent"
            ]
        return []

    def _task(self, row: ExportRow, form: Form, frame: str) -> tuple[dict[str, Any], bool]:
        """A task, and whether its label could be written."""
        facts = {"name": row.item.name, "frame": frame, "width": row.width, "height": row.height, **provenance(row)}
        task: dict[str, Any] = {"data": {IMAGE: self._address(row)}, "meta": {"gtloop": facts}}
        said: dict[str, list[Any]] = {"annotations": [], "predictions": []}
        whole = True
        if row.label is not None:
            size = None if row.width is None or row.height is None else (row.width, row.height)
            try:
                result = writing.write(row.label.payload, form, size)
            except ValueError:
                whole = False
            else:
                said["predictions" if row.label.source == "machine" else "annotations"].append(_said(row.label, result))
        return {**task, **said}, whole

    def _address(self, row: ExportRow) -> str:
        if self.options.image_url is not None:
            return str(self.options.image_url).replace("{name}", quote(row.item.name))
        return row.item.uri if is_web(row.item.uri) else row.item.name


def _said(label: Label, result: list[dict[str, Any]]) -> dict[str, Any]:
    if label.source == "machine":
        return {"model_version": label.model or "gtloop", "score": label.confidence, "result": result}
    return {"result": result, "was_cancelled": False, "ground_truth": False}


def _form(task: str, categories: tuple[str, ...]) -> Form:
    primitive = _FORMS[task].model_copy(update={"categories": categories})
    return Form(task=task, instructions="", primitives=(primitive,), empty_allowed=task == "bbox")


def _entry(record: Any, where: str, task: str, categories: Sequence[str]) -> Entry:
    data = record.get("data") if isinstance(record, dict) else None
    address = data.get(IMAGE) if isinstance(data, dict) else None
    if not isinstance(address, str) or not address:
        raise BadLabels(f'{where} has no "{IMAGE}" in its data; correct it, or remove the task')
    meta = record["meta"] if isinstance(record.get("meta"), dict) else {}
    facts = meta["gtloop"] if isinstance(meta.get("gtloop"), dict) else {}
    name = facts["name"] if isinstance(facts.get("name"), str) and facts["name"] else _name(address)
    said, source = _pick(record)
    if facts.get("source") in get_args(Source) and said is not None:
        source = facts["source"]
    payload = None if said is None else _payload(said, facts, f"{where} ({name})", task, categories)
    extras = {k: v for k, v in facts.items() if k != "name"}
    return Entry(name, payload, extras, source, "stored" if facts.get("frame") == "stored" else "display")


def _name(address: str) -> str:
    """The file that an address is about; uploaded files have eight digits and a hyphen before their name."""
    parts = urlsplit(address)
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0].lstrip("/")
    upload = re.fullmatch(r"(?:.*/)?data/upload/\d+/[0-9a-f]{8}-(.+)", path)
    return upload[1] if upload else path


def _pick(record: Mapping[str, Any]) -> tuple[Any, Source | None]:
    """The annotation or prediction that counts; None: there is none."""
    kept = [a for a in _dicts(record.get("annotations")) if not a.get("was_cancelled")]
    starred = [a for a in kept if a.get("ground_truth")]
    if kept:
        return (starred or kept)[-1], "human"
    predicted = _dicts(record.get("predictions"))
    return (predicted[-1], "machine") if predicted else (None, None)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _payload(
    said: Mapping[str, Any], facts: Mapping[str, Any], where: str, task: str, categories: Sequence[str]
) -> Payload | None:
    """The payload of an annotation or prediction; None where no choice was made.

    Raises:
        BadLabels: It can't be read.
    """
    wanted = _FORMS[task]
    given = [r for r in _dicts(said.get("result")) if r.get("type") == CONTROLS[wanted.kind].type]
    if not given and task == "classification":
        return None
    named = dict.fromkeys(c for r in given for c in results.labels_of(r) if task != "segmentation" or c != VOID)
    for category in named:
        check_category(category, categories, where)
    form = _form(task, tuple(categories) or tuple(named))
    size = (facts["width"], facts["height"]) if facts.get("width") and facts.get("height") else None
    try:
        found = results.parse([{**r, "from_name": wanted.name} for r in given], form, size, scored=True)
    except results.Unreadable as e:
        raise BadLabels(f"{where}: {e}; correct or remove it") from None
    return {wanted.name: []} if found.outcome == "empty" else found.payload
