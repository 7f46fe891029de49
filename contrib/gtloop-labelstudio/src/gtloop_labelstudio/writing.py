"""Payloads as Label Studio's results: proposals that people correct, labels that are exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gtloop import masks
from gtloop.interfaces import Form, Primitive
from gtloop.records import Payload

from gtloop_labelstudio import brush
from gtloop_labelstudio.forms import CONTROLS, IMAGE, VOID
from gtloop_labelstudio.results import Size


def write(payload: Payload, form: Form, size: Size | None) -> list[dict[str, Any]]:
    """The results that a payload stands for.

    Args:
        payload: A label of the form's task.
        form: Names and kinds of its parts.
        size: Of the item; where it is None, and the payload has none either, there are no numbers to be had.

    Raises:
        ValueError: The size is not known, and needed.
    """
    if "size" in payload:
        size = (payload["size"][1], payload["size"][0])
    found: list[dict[str, Any]] = []
    for p in form.primitives:
        control = CONTROLS[p.kind]
        for value in _values(p, payload, size):
            one = {"id": f"{p.name}-{len(found)}", "from_name": p.name, "to_name": IMAGE, "type": control.type}
            frame = {} if size is None else {"original_width": size[0], "original_height": size[1], "image_rotation": 0}
            confidence = value.pop("confidence", None)
            score = {} if confidence is None else {"score": confidence}
            found.append({**one, **frame, **score, "value": value})
    return found


def _values(p: Primitive, payload: Payload, size: Size | None) -> list[dict[str, Any]]:
    given = payload.get(p.name)
    if p.kind == "choice":
        return (
            [{"choices": given if isinstance(given, list) else [given], "confidence": payload.get("confidence")}]
            if given
            else []
        )
    if p.kind == "text":
        return [{"text": [given]}] if given else []
    objects: list[dict[str, Any]] = list(given or [])
    if p.kind == "mask" and payload.get("void"):
        objects.append({"category": VOID, "counts": payload["void"]})
    if objects and size is None:
        raise ValueError("the size of the image is not known")
    made = []
    for o in objects:
        assert size is not None
        place = _place(p.kind, o, size)
        made.append({**place, CONTROLS[p.kind].type: [o["category"]], "confidence": o.get("confidence")})
    return made


def _place(kind: str, o: Mapping[str, Any], size: Size) -> dict[str, Any]:
    fx, fy = 100 / size[0], 100 / size[1]
    if kind == "box":
        x1, y1, x2, y2 = o["xyxy"]
        return {"x": x1 * fx, "y": y1 * fy, "width": (x2 - x1) * fx, "height": (y2 - y1) * fy, "rotation": 0}
    if kind == "point":
        return {"x": o["xy"][0] * fx, "y": o["xy"][1] * fy, "width": 0.5}
    if kind == "polygon":
        return {"points": [[x * fx, y * fy] for x, y in o["xy"]], "closed": True}
    return {"format": "rle", "rle": brush.encode(masks.decode(o["counts"], (size[1], size[0])))}
