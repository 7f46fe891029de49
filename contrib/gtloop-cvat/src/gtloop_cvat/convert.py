"""Between gtloop's forms and CVAT's labels, shapes and tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gtloop import masks
from gtloop.errors import Unsupported
from gtloop.interfaces import Form, Primitive
from gtloop.records import Outcome, Payload, Request

from gtloop_cvat import rle, shapes

TYPES = {"box": "rectangle", "polygon": "polygon", "polyline": "polyline", "point": "points", "mask": "any",
         "choice": "tag"}  # fmt: skip
"""Kind of primitive to the type of CVAT's labels; masks may be drawn as polygons, too."""


class Said(NamedTuple):
    outcome: Outcome
    payload: Payload | None


class Converter:
    """One form: what CVAT is to show, and what its annotations say.

    Raises:
        Unsupported: The form asks for more than one kind of thing, or for one that CVAT has not.
    """

    def __init__(self, form: Form, cannot_tell: str) -> None:
        if len(form.primitives) != 1 or form.primitives[0].kind not in TYPES or form.primitives[0].kind == "text":
            asked = ", ".join(p.kind for p in form.primitives)
            raise Unsupported(f"CVAT shows forms with one of {', '.join(TYPES)}, not {asked}; take another annotator")
        self.form, self.what, self._cannot_tell = form, form.primitives[0], cannot_tell

    def labels(self) -> list[dict[str, Any]]:
        """CVAT's labels of a task."""
        own = [{"name": c, "type": TYPES[self.what.kind], "attributes": []} for c in self.what.categories]
        return [*own, {"name": self._cannot_tell, "type": "tag", "attributes": []}]

    def read(self, frame: int, data: Any, names: dict[int, str], size: tuple[int, int], request: Request) -> Said:
        """What annotations say about one image; ``size`` is (width, height) of the frame."""
        tags = [names.get(int(t.label_id), "") for t in data.tags if t.frame == frame]
        drawn = [s for s in data.shapes if s.frame == frame and not getattr(s, "outside", False)]
        if self._cannot_tell in tags:
            return Said("cannot_tell", None)
        p = self.what
        if p.kind == "choice":
            chosen = [t for t in tags if t in p.categories]
            if p.multiple:
                return Said("label", {p.name: sorted(set(chosen))}) if chosen else Said("cannot_tell", None)
            return Said("label", {p.name: chosen[0]}) if len(set(chosen)) == 1 else Said("cannot_tell", None)
        if p.kind == "mask":
            painted = [_painted(s, names, size) for s in drawn if str(s.type) in ("mask", "polygon")]
            made = shapes.segmentation(painted, (size[1], size[0]))
            return self._said({"size": made["size"], p.name: made["regions"]}, made["regions"])
        found = [o for s in drawn if (o := _object(s, p, names, size)) is not None]
        return self._said({p.name: found}, found)

    def _said(self, payload: Payload, objects: list[Any]) -> Said:
        return Said("empty", None) if not objects and self.form.empty_allowed else Said("label", payload)

    def propose(self, frame: int, payload: Payload, ids: dict[str, int]) -> tuple[list[Any], list[Any]]:
        """(shapes, tags) of a proposal."""
        p = self.what
        if p.kind == "choice":
            chosen = payload.get(p.name)
            given = chosen if isinstance(chosen, list) else [chosen]
            return [], [{"frame": frame, "label_id": ids[c], "source": "auto"} for c in given if c in ids]
        return [s for o in payload.get(p.name, []) if (s := self._shape(frame, o, payload, ids)) is not None], []

    def _shape(self, frame: int, o: Any, payload: Payload, ids: dict[str, int]) -> dict[str, Any] | None:
        kind = self.what.kind
        if o["category"] not in ids:
            return None
        if kind == "mask":
            runs = rle.encode(masks.decode(o["counts"], tuple(payload["size"])))
            if runs is None:
                return None
            corner = (runs.left, runs.top, runs.left + runs.width - 1, runs.top + runs.height - 1)
            points, name = [*map(float, runs.runs), *map(float, corner)], "mask"
        else:
            flat = o["xyxy"] if kind == "box" else o["xy"]
            points = [float(v) for v in (flat if kind in ("box", "point") else (c for xy in flat for c in xy))]
            name = TYPES[kind]
        return {"frame": frame, "label_id": ids[o["category"]], "type": name, "points": points, "occluded": False,
                "z_order": 0, "source": "auto", "attributes": []}  # fmt: skip


def _object(shape: Any, p: Primitive, names: dict[int, str], size: tuple[int, int]) -> Payload | None:
    """One object of a payload; None where it is of another kind, or has no area in the image."""
    category, points = names.get(int(shape.label_id), ""), [float(v) for v in shape.points]
    if str(shape.type) != TYPES[p.kind]:
        return None
    if p.kind == "box":
        return shapes.box(category, points[:4], float(getattr(shape, "rotation", 0.0) or 0.0), size, None)
    if p.kind == "point":
        return {"category": category, "xy": points[:2]}
    return {"category": category, "xy": _pairs(points)}


def _painted(shape: Any, names: dict[int, str], size: tuple[int, int]) -> shapes.Painted:
    category, points = names.get(int(shape.label_id), ""), [float(v) for v in shape.points]
    whole = (size[1], size[0])
    if str(shape.type) == "polygon":
        mask = shapes.polygon(points, whole)
    else:
        *runs, x1, y1, x2, y2 = (int(v) for v in points)
        mask = rle.decode(runs, x1, y1, x2 - x1 + 1, y2 - y1 + 1, whole)
    return shapes.Painted(category, mask, int(getattr(shape, "z_order", 0) or 0))


def _pairs(flat: Sequence[float]) -> list[list[float]]:
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]
