"""COCO's boxes as gtloop's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gtloop.errors import BadLabels
from gtloop.labels import clip_box
from gtloop.records import Payload
from gtloop_plugins.formats.coco.checks import number, score
from gtloop_plugins.formats.coco.spill import Annotation


def box(annotation: Annotation, image: Mapping[str, Any]) -> Payload:
    """One box, ``xyxy``, clipped to ``width`` and ``height`` of its image where that has them.

    Raises:
        BadLabels: No four numbers, no area inside the image, or a score out of range.
    """
    where, bbox = annotation.where, annotation.record.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(number, bbox)):
        raise BadLabels(f"{where}: bbox is {bbox!r}, not four numbers x, y, width, height; correct it")
    x, y, w, h = bbox
    width, height = (image[k] if number(image.get(k)) and image[k] > 0 else math.inf for k in ("width", "height"))
    clipped = clip_box((x, y, x + w, y + h), width, height)
    if clipped is None:
        inside = f" of {width:g} x {height:g} pixels" if math.isfinite(width + height) else ""
        raise BadLabels(f"{where}: bbox {bbox} has no area inside the image{inside}; correct or remove it")
    found: Payload = {"category": annotation.category, "xyxy": list(clipped)}
    confidence = score(annotation.record, where)
    return found if confidence is None else found | {"confidence": confidence}
