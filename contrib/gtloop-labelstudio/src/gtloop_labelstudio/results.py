"""Label Studio's results as payloads; what people sent is read with suspicion (``writing`` is the way back).

Label Studio counts in per cent of the picture's width and height, from the top-left corner, as browsers show it, that
is with EXIF applied: gtloop's display frame. A result's ``original_width`` and ``original_height`` are those of the
picture that was drawn on, which may be a smaller copy.

An answer that can't be read is still an answer: it becomes a label that says ``unreadable`` and why, which no task
takes, so that core counts it as a misfit, and the ledger keeps what was said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from gtloop import masks
from gtloop.interfaces import Form, Primitive
from gtloop.records import Outcome, Payload

from gtloop_labelstudio import brush
from gtloop_labelstudio.forms import CONTROLS, VOID

MOST_OBJECTS = 5_000
MOST_POINTS = 20_000
MOST_TEXT = 20_000
MOST_PIXELS = 178_956_970
"""As the largest image that gtloop decodes."""
SAME_SHAPE = 0.02
"""Largest share by which the ratio of sides of a picture may differ from its item's."""

Size = tuple[int, int]
"""(width, height) in display pixels."""


class Said(NamedTuple):
    outcome: Outcome
    payload: Payload | None


class Unreadable(Exception):
    """Why."""


@dataclass(frozen=True)
class _Part:
    """Results about one primitive; ``scored``: theirs are confidences of a model, which people have none of."""

    p: Primitive
    found: Sequence[Mapping[str, Any]]
    size: Size | None
    scored: bool


def read(result: Any, form: Form, size: Size | None) -> Said:
    """What the ``result`` of somebody's annotation says.

    Args:
        result: List of results, as JSON.
        form: What was asked.
        size: Of the item; None: not known, so that of the picture counts.
    """
    try:
        return parse(result, form, size)
    except Unreadable as e:
        why = str(e)
    except Exception as e:  # what somebody forged finds what nobody thought of; it must not stop a run
        why = f"{type(e).__name__}: {' '.join(str(e).split())}"
    return Said("label", {"unreadable": why[:200], "excerpt": json.dumps(result, default=str)[:500]})


def parse(result: Any, form: Form, size: Size | None, scored: bool = False) -> Said:
    """As ``read``; ``scored``: with the ``score`` of each result as its confidence.

    Raises:
        Unreadable: It can't be read.
    """
    if not isinstance(result, list) or len(result) > MOST_OBJECTS:
        raise Unreadable("the result is no list, or too long")
    by_name: dict[str, list[Mapping[str, Any]]] = {p.name: [] for p in form.primitives}
    for one in result:
        if isinstance(one, dict) and one.get("from_name") in by_name:
            by_name[one["from_name"]].append(one)
        elif isinstance(one, dict) and one.get("type") != "relation":
            raise Unreadable(f"{str(one.get('from_name'))[:40]!r} was not asked for")
    if not result and form.empty_allowed:
        return Said("empty", None)
    payload: Payload = {}
    for p in form.primitives:
        payload |= _READERS[p.kind](_Part(p, by_name[p.name], size, scored))
    return Said("label", payload)


def _choice(part: _Part) -> Payload:
    name = part.p.name
    chosen = [_text(c) for one in part.found for c in _value(one, part.p).get("choices", [])]
    if part.p.multiple:
        return {name: chosen}
    if len(chosen) != 1:
        raise Unreadable(f"{name}: {len(chosen)} choices instead of one")
    return {name: chosen[0], **_confidence(part.found[0], part)}


def _written(part: _Part) -> Payload:
    texts = [t for one in part.found for t in _listed(_value(one, part.p).get("text", []))]
    return {part.p.name: "\n".join(_text(t) for t in texts)}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _boxes(part: _Part) -> Payload:
    """A box without width or height is a slip of the mouse, and left out."""
    objects = []
    for n, one in enumerate(part.found):
        value, (fx, fy) = _value(one, part.p), _scale(one, part.size)
        if _number(value.get("rotation", 0)) % 360:
            raise Unreadable(f"box {n} is turned by {value['rotation']} degrees; only upright boxes can be taken")
        x, y, w, h = (_number(value.get(key)) for key in ("x", "y", "width", "height"))
        if w > 0 and h > 0:
            xyxy = [x * fx, y * fy, (x + w) * fx, (y + h) * fy]
            objects.append({"category": _label(value, part.p), "xyxy": xyxy, **_confidence(one, part)})
    return _few(part.p, objects)


def _points(part: _Part) -> Payload:
    objects = []
    for one in part.found:
        value, (fx, fy) = _value(one, part.p), _scale(one, part.size)
        xy = [_number(value.get("x")) * fx, _number(value.get("y")) * fy]
        objects.append({"category": _label(value, part.p), "xy": xy, **_confidence(one, part)})
    return _few(part.p, objects)


def _polygons(part: _Part) -> Payload:
    objects = []
    for one in part.found:
        value, (fx, fy) = _value(one, part.p), _scale(one, part.size)
        points = value.get("points")
        if not isinstance(points, list) or not 3 <= len(points) <= MOST_POINTS:
            raise Unreadable("the points of a polygon are no list, too few or too many")
        xy = [[_number(x) * fx, _number(y) * fy] for x, y in points]
        objects.append({"category": _label(value, part.p), "xy": xy, **_confidence(one, part)})
    return _few(part.p, objects)


def _few(p: Primitive, objects: list[Payload]) -> Payload:
    if len(objects) > 1 and not p.multiple:
        raise Unreadable(f"{p.name}: {len(objects)} objects instead of one")
    return {p.name: objects}


def _mask(part: _Part) -> Payload:
    """One region a category; where strokes overlap, the later ones lie on top, as on the screen."""
    p, found, size = part.p, part.found, part.size
    if not found:
        if size is None:
            raise Unreadable("nothing is painted, and the size of the image is not known")
        return {"size": [size[1], size[0]], p.name: []}
    width, height = size or _original(found[0])
    if width * height > MOST_PIXELS:
        raise Unreadable(f"a mask of {width} x {height} pixels")
    names = (*p.categories, VOID)
    index = np.full((height, width), masks.BACKGROUND, np.int16)
    confidence: dict[str, float] = {}
    for one in found:
        value = _value(one, p)
        if _original(one) != (width, height):
            raise Unreadable(f"painted on {_shown(_original(one))} pixels, but the image has {_shown((width, height))}")
        category = _label(value, p)
        if category not in names:
            raise Unreadable(f"category {category!r} is not declared")
        try:
            stroke = brush.decode(value.get("rle") or (), (height, width))
        except ValueError as e:
            raise Unreadable(str(e)) from None
        index[stroke] = names.index(category)
        for score in _confidence(one, part).values():
            confidence[category] = min(score, confidence.get(category, 1.0))
    regions = []
    for n, category in enumerate(p.categories):
        if (inside := index == n).any():
            region: Payload = {"category": category, "counts": masks.encode(inside)}
            regions.append(region | ({"confidence": confidence[category]} if category in confidence else {}))
    void = index == len(p.categories)
    payload: Payload = {"size": [height, width], p.name: regions}
    return payload | ({"void": masks.encode(void)} if void.any() else {})


_READERS = {
    "choice": _choice,
    "text": _written,
    "box": _boxes,
    "point": _points,
    "polygon": _polygons,
    "mask": _mask,
}


def labels_of(one: Mapping[str, Any]) -> list[str]:
    """The categories that a result names."""
    value = one.get("value")
    found = value.get(str(one.get("type"))) if isinstance(value, dict) else None
    return [c for c in found if isinstance(c, str)] if isinstance(found, list) else []


def _confidence(one: Mapping[str, Any], part: _Part) -> dict[str, float]:
    score = one.get("score")
    if not part.scored or score is None:
        return {}
    if not 0 <= _number(score) <= 1:
        raise Unreadable(f"score is {score}, not a number from 0 to 1")
    return {"confidence": float(score)}


def _value(one: Mapping[str, Any], p: Primitive) -> Mapping[str, Any]:
    value = one.get("value")
    if one.get("type") != CONTROLS[p.kind].type or not isinstance(value, dict):
        raise Unreadable(f"{p.name}: no {CONTROLS[p.kind].type}")
    if one.get("image_rotation"):
        raise Unreadable("the image was turned")
    return value


def _label(value: Mapping[str, Any], p: Primitive) -> str:
    found = value.get(CONTROLS[p.kind].type)
    if not isinstance(found, list) or len(found) != 1:
        raise Unreadable(f"{p.name}: an object without a category, or with several")
    return _text(found[0])


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise Unreadable("a text is none, or too long")
    return value.encode("utf-8", "replace").decode()


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e9:
        raise Unreadable(f"{str(value)[:40]!r} is no number")
    return float(value)


def _original(one: Mapping[str, Any]) -> Size:
    width, height = one.get("original_width"), one.get("original_height")
    if not isinstance(width, int) or not isinstance(height, int) or width < 1 or height < 1:
        raise Unreadable("the image has no size")
    return width, height


def _scale(one: Mapping[str, Any], size: Size | None) -> tuple[float, float]:
    """From per cent to display pixels of the item."""
    if size is None:
        size = _original(one)
    elif one.get("original_width") is not None:
        (ow, oh), (w, h) = _original(one), size
        if abs(ow * h / (oh * w) - 1) > SAME_SHAPE:
            raise Unreadable(f"drawn on {_shown((ow, oh))} pixels, but the image has {_shown(size)}")
    return size[0] / 100, size[1] / 100


def _shown(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
