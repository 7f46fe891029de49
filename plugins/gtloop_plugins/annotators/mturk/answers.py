"""What a worker sent, read with suspicion: XML around JSON around whatever somebody typed or forged.

An answer that can't be read is still an answer, and its worker is owed a decision: it becomes a label that says
``unreadable`` and why, which no task takes, so that core counts it as a misfit.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np

from gtloop import masks
from gtloop.interfaces import Form, Primitive
from gtloop.records import Outcome, Payload, Request
from gtloop_plugins.annotators.mturk.forms import CANT_TELL, DRAWN, NO, NOTHING, UNSURE, VERDICT, YES

MOST_BYTES = 8_000_000
MOST_OBJECTS = 2_000
MOST_PIXELS = 50_000_000
MOST_TEXT = 20_000


class Said(NamedTuple):
    outcome: Outcome
    payload: Payload | None


class _Unreadable(Exception):
    """Why."""


def read(answer: str | None, request: Request, form: Form) -> Said:
    """What an assignment's ``Answer`` says about a request."""
    try:
        fields = _fields(answer or "")
        return _verdict(fields, request) if request.mode == "verify" else _label(fields, request, form)
    except _Unreadable as e:
        why = str(e)
    except Exception as e:  # hostile input finds what nobody thought of; it must not stop a run
        why = f"{type(e).__name__}: {e}"
    return Said("label", {"unreadable": _clean(" ".join(why.split())[:200]), "excerpt": _clean((answer or "")[:500])})


def _clean(text: str) -> str:
    """A text without what UTF-8 can't hold."""
    return text.encode("utf-8", "replace").decode()


def _fields(answer: str) -> dict[str, Any]:
    """Field to value. ``crowd-form`` sends them all as JSON in one field, a plain form each as itself."""
    from defusedxml.ElementTree import fromstring

    if len(answer) > MOST_BYTES:
        raise _Unreadable(f"{len(answer):,} characters are too many")
    if not answer.strip():
        raise _Unreadable("the answer is empty")
    root = fromstring(answer, forbid_dtd=True)
    plain: dict[str, Any] = {}
    for node in root:
        texts = {child.tag.rpartition("}")[2]: child.text or "" for child in node}
        if "QuestionIdentifier" in texts:
            plain[texts["QuestionIdentifier"]] = texts.get("FreeText", "")
    if "taskAnswers" not in plain:
        return plain
    found = json.loads(plain["taskAnswers"], parse_constant=_no_number)
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise _Unreadable("taskAnswers is no object")
    return found


def _no_number(text: str) -> NoReturn:
    raise _Unreadable(f"{text} is no number")


def _verdict(fields: Mapping[str, Any], request: Request) -> Said:
    said = _chosen(fields.get(VERDICT))
    if said == YES:
        return Said("label", request.proposal)
    if said in (NO, CANT_TELL):
        return Said("wrong" if said == NO else "cannot_tell", None)
    raise _Unreadable("neither yes nor no")


def _label(fields: Mapping[str, Any], request: Request, form: Form) -> Said:
    if _ticked(fields.get(UNSURE)):
        return Said("cannot_tell", None)
    if not any(p.name in fields for p in form.primitives) and not _ticked(fields.get(NOTHING)):
        raise _Unreadable("no field of the form was sent")
    payload: Payload = {}
    nothing = True
    for p in form.primitives:
        value = fields.get(p.name)
        if p.kind == "choice":
            payload[p.name] = _chosen(value)
            if payload[p.name] == CANT_TELL:
                return Said("cannot_tell", None)
            nothing = False
        elif p.kind == "text":
            payload[p.name] = _text(value)
            nothing = nothing and not payload[p.name]
        elif p.kind != "mask":
            payload[p.name] = _drawn(value, p.kind, request)
            nothing = nothing and not payload[p.name]
        else:
            payload |= _mask(value, p, request, nothing=_ticked(fields.get(NOTHING)))
            nothing = nothing and not payload[p.name]
    return Said("empty", None) if nothing and form.empty_allowed else Said("label", payload)


def _ticked(value: Any) -> bool:
    return value in (True, "yes", "on") or (isinstance(value, dict) and any(v is True for v in value.values()))


def _chosen(value: Any) -> str:
    said = value.get("label") if isinstance(value, dict) else value
    if not isinstance(said, str) or not said:
        raise _Unreadable("nothing is chosen")
    return _text(said)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise _Unreadable("a text is none, or too long")
    return _clean(value)


def _drawn(value: Any, kind: str, request: Request) -> list[dict[str, Any]]:
    """Objects in display pixels, from what an element sends in pixels of the image that was shown.

    A box without width or height is a slip of the mouse, and left out.
    """
    given = value.get(DRAWN[kind][1]) if isinstance(value, dict) else None
    if given is None:  # the element leaves them out where there are none
        return []
    if not isinstance(given, list) or len(given) > MOST_OBJECTS:
        raise _Unreadable(f"{DRAWN[kind][1]} is no list, or too long")
    fx, fy = _scale(value.get("inputImageProperties"), request)
    found: list[dict[str, Any]] = []
    for one in given:
        category = _text(one.get("label"))
        if kind == "box":
            left, top, width, height = (_number(one.get(key)) for key in ("left", "top", "width", "height"))
            if width and height:
                xyxy = [left * fx, top * fy, (left + width) * fx, (top + height) * fy]
                found.append({"category": category, "xyxy": xyxy})
        elif kind == "point":
            found.append({"category": category, "xy": _point(one, fx, fy)})
        else:
            vertices = one.get("vertices")
            if not isinstance(vertices, list) or not 2 <= len(vertices) <= MOST_OBJECTS:
                raise _Unreadable("vertices are no list, too few or too many")
            found.append({"category": category, "xy": [_point(v, fx, fy) for v in vertices]})
    return found


def _point(at: Any, fx: float, fy: float) -> list[float]:
    return [_number(at.get("x")) * fx, _number(at.get("y")) * fy]


def _scale(shown: Any, request: Request) -> tuple[float, float]:
    """From pixels of the picture that was shown to the item's; they differ where smaller copies are published."""
    size = request.item.display_size
    if size is None or not isinstance(shown, dict):
        return 1.0, 1.0
    width, height = _number(shown.get("width")), _number(shown.get("height"))
    if width <= 0 or height <= 0:
        raise _Unreadable("the image has no size")
    return size[0] / width, size[1] / height


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e9:
        raise _Unreadable(f"{str(value)[:40]!r} is no number")
    return float(value)


def _mask(value: Any, p: Primitive, request: Request, nothing: bool) -> Payload:
    """A PNG with one colour a category, as COCO run lengths; what has another colour is background."""
    size = request.item.display_size
    png = value.get("labeledImage", {}).get("pngImageData") if isinstance(value, dict) else None
    if not png:
        if not nothing or size is None:
            raise _Unreadable("nothing is coloured, and nobody said that there is nothing")
        return {"size": [size[1], size[0]], p.name: []}
    pixels = _pixels(png)
    mappings = value.get("labelMappings")
    if not isinstance(mappings, dict) or len(mappings) > MOST_OBJECTS:
        raise _Unreadable("labelMappings is no object")
    regions = []
    codes: set[int] = set()
    for category, entry in mappings.items():
        code = _colour(entry)
        if code in codes:
            raise _Unreadable("two categories have one colour")
        codes.add(code)
        mask = pixels == code
        if mask.any():
            regions.append({"category": _text(category), "counts": masks.encode(mask)})
    return {"size": list(pixels.shape), p.name: regions}


def _pixels(png: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(H, W) colours as 0xRRGGBB, -1 where transparent."""
    from PIL import Image

    try:
        data = base64.b64decode(png, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise _Unreadable("pngImageData is not base64") from None
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if image.width * image.height > MOST_PIXELS:
            raise _Unreadable(f"a mask of {image.width} x {image.height} pixels")
        rgba = np.asarray(image.convert("RGBA"), np.int64)
    code = rgba[..., 0] << 16 | rgba[..., 1] << 8 | rgba[..., 2]
    return np.where(rgba[..., 3] == 0, -1, code)


def _colour(entry: Any) -> int:
    text = entry.get("color") if isinstance(entry, dict) else None
    if not isinstance(text, str) or len(text) != 7 or text[0] != "#":
        raise _Unreadable("a category without a colour")
    return int(text[1:], 16)
