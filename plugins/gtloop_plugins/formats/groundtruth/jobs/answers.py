"""What a worker sent: the JSON of a crowd element, by task, as an answer.

Amazon SageMaker Developer Guide, "Crowd HTML Elements Reference" (``sms-ui-template-reference.md``). The widget is
called as its template says, so that the only key is taken, whatever its name.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gtloop import masks
from gtloop.errors import BadAnswer
from gtloop.interfaces import Frame, Task
from gtloop.records import Item, Outcome, Payload, known_seconds
from gtloop_plugins.formats.groundtruth.jobs.folder import NO_JSON, read_json
from gtloop_plugins.formats.groundtruth.options import real

MOST_PIXELS = 100_000_000
"""Of a mask; the service takes no larger image."""


class Said(NamedTuple):
    """One answer; ``size``: (width, height) of the picture that was drawn on, None where it is not told.

    ``fault``: why it can't be read; it then has no payload.
    """

    worker: str
    outcome: Outcome
    payload: Payload | None
    seconds: float
    at: str
    size: tuple[int, int] | None = None
    fault: str = ""


def answers_in(path: Path, task: str) -> Iterator[Said]:
    """The answers of a file of worker responses.

    Raises:
        BadAnswer: The file is none.
    """
    found = read_json(path)
    answers = found.get("answers") if isinstance(found, dict) else None
    if not isinstance(answers, list):
        raise BadAnswer(NO_JSON if found is None else 'it is no JSON object with a list "answers"')
    for answer in answers:
        if not isinstance(answer, dict) or not isinstance(worker := answer.get("workerId"), str) or not worker:
            yield Said("", "declined", None, 0.0, "", fault="an answer has no workerId")
            continue
        at, seconds = _times(answer, path)
        try:
            outcome, payload, size = _content(answer.get("answerContent"), task)
        except BadAnswer as e:
            yield Said(worker, "declined", None, seconds, at, fault=str(e))
        else:
            yield Said(worker, outcome, payload, seconds, at, size)


def names_in(payload: Payload | None) -> list[str]:
    """The categories that an answer names."""
    if payload is None:
        return []
    objects = payload.get("boxes") or payload.get("regions") or ([payload] if "category" in payload else [])
    return [str(x["category"]) for x in objects]


def task_of(path: Path) -> str | None:
    """The task that a file's answers are for; None where they don't tell."""
    found = read_json(path)
    answers = found.get("answers") if isinstance(found, dict) else None
    for answer in answers if isinstance(answers, list) else []:
        content = answer.get("answerContent") if isinstance(answer, dict) else None
        for widget in content.values() if isinstance(content, dict) else ():
            for key, task in _TASKS.items():
                if isinstance(widget, dict) and key in widget:
                    return task
    return None


_TASKS = {"boundingBoxes": "bbox", "label": "classification", "labelMappings": "segmentation"}


def framed(said: Said, task: Task, item: Item, usual: Frame) -> Payload | None:
    """The payload in the display frame of its image; ``usual`` is the frame where sizes don't tell it.

    Raises:
        BadAnswer: It was drawn on a picture of another size.
    """
    if said.payload is None or said.size is None or item.width is None or item.height is None:
        return said.payload
    stored, display = (item.width, item.height), item.display_size
    if said.size not in (stored, display):
        raise BadAnswer(
            f"it was drawn on a picture of {said.size[0]} x {said.size[1]} pixels, this image has "
            f"{item.width} x {item.height}: give the images that the job had"
        )
    frame = usual if stored == display else "stored" if said.size == stored else "display"
    return said.payload if frame == "display" else task.reframe(said.payload, item, "display")


def _times(answer: Mapping[str, Any], path: Path) -> tuple[str, float]:
    """When an answer was sent (by the file's name, if it does not say), and the active seconds, 0 where not known.

    Jobs of 2019 tell neither when a task was accepted nor how long it took.
    """
    sent, accepted = _time(answer.get("submissionTime")), _time(answer.get("acceptanceTime"))
    spent = answer.get("timeSpentInSeconds")
    taken = (sent - accepted).total_seconds() if sent and accepted else 0.0
    seconds = float(spent) if real(spent) else taken
    at = sent or _time(path.stem.replace("_", "T")) or datetime.fromtimestamp(0, UTC)
    return at.isoformat(timespec="milliseconds"), known_seconds(seconds)


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found and (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


Content = tuple[Outcome, Payload | None, tuple[int, int] | None]


def _content(content: Any, task: str) -> Content:
    if not content:
        return "declined", None, None
    widgets = [v for v in content.values() if isinstance(v, dict)] if isinstance(content, dict) else []
    if len(widgets) != 1:
        raise BadAnswer(f"answerContent has {len(widgets)} elements, not one")
    return _READERS[task](widgets[0])


def _boxes(widget: Mapping[str, Any]) -> Content:
    boxes = widget.get("boundingBoxes") or []
    if not isinstance(boxes, list):
        raise BadAnswer("boundingBoxes is no list")
    found = []
    for n, box in enumerate(boxes):
        place = [box.get(k) for k in ("left", "top", "width", "height")] if isinstance(box, dict) else []
        numbers = [float(v) for v in place if real(v)]
        if len(numbers) < 4 or min(numbers[2:]) <= 0 or not isinstance(box.get("label"), str):
            raise BadAnswer(f"box {n + 1} has no label, or no left, top, width and height")
        left, top, width, height = numbers
        found.append({"category": box["label"], "xyxy": [left, top, left + width, top + height]})
    return "label" if found else "empty", {"boxes": found} if found else None, _size(widget)


def _category(widget: Mapping[str, Any]) -> Content:
    if not isinstance(name := widget.get("label"), str) or not name:
        raise BadAnswer("it has no label" + ("; several are not supported" if "labels" in widget else ""))
    return "label", {"category": name}, None


def _regions(widget: Mapping[str, Any]) -> Content:
    """The colours of a picture as regions; a pixel of another colour, such as at a soft edge, has the nearest one."""
    mappings, picture = widget.get("labelMappings"), widget.get("labeledImage")
    data = picture.get("pngImageData") if isinstance(picture, dict) else None
    if not isinstance(mappings, dict) or not isinstance(data, str):
        raise BadAnswer("it has no labelMappings with a pngImageData")
    names = list(mappings)
    colours = np.array([[255, 255, 255], *(_colour(mappings[name]) for name in names)], np.int64)
    rgb, clear = _pixels(data)
    seen, where = np.unique(rgb.reshape(-1, 3), axis=0, return_inverse=True)
    nearest = ((seen[:, None, :].astype(np.int64) - colours[None]) ** 2).sum(2).argmin(1)
    index = (nearest[where.ravel()] - 1).reshape(rgb.shape[:2])
    index[(index < 0) | clear] = masks.BACKGROUND
    label = masks.from_map(index, names).model_dump(mode="json", exclude_none=True)
    return "label", label, (rgb.shape[1], rgb.shape[0])


def _colour(mapping: Any) -> list[int]:
    text = str(mapping.get("color", "")).lstrip("#") if isinstance(mapping, dict) else ""
    try:
        return list(bytes.fromhex(text[:6].rjust(6, "?")))
    except ValueError:
        raise BadAnswer(f"labelMappings: {text!r} is no colour") from None


def _pixels(data: str) -> tuple[Any, Any]:
    """(H, W, 3) RGB of a PNG in base64, and (H, W) where it is clear."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(base64.b64decode(data.rpartition(",")[2])), formats=["PNG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise BadAnswer("pngImageData is too large")
            pixels = np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, binascii.Error, Image.DecompressionBombError) as e:
        raise BadAnswer(f"pngImageData is no PNG ({e})") from None
    return pixels[..., :3], pixels[..., 3] < 128


def _size(widget: Mapping[str, Any]) -> tuple[int, int] | None:
    found = widget.get("inputImageProperties")
    width, height = (found.get("width"), found.get("height")) if isinstance(found, dict) else (None, None)
    return (int(width), int(height)) if real(width) and real(height) and min(width, height) > 0 else None


_READERS: dict[str, Callable[[Mapping[str, Any]], Content]] = {
    "bbox": _boxes,
    "classification": _category,
    "segmentation": _regions,
}
