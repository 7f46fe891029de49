"""Pictures of labels: a thumbnail with the label, the truth and single answers drawn on it, as JPEG.

How a payload looks goes by its shape: boxes are drawn, masks are filled (``overlays``), a category is written in the
caption, anything else leaves the image as it is.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gtloop.errors import BadImage
from gtloop.images import header, thumbnail
from gtloop.plots import TRUTH
from gtloop.records import Item, Payload
from gtloop_plugins.commands.reporting import overlays
from gtloop_plugins.commands.reporting.figures import COLOURS
from gtloop_plugins.commands.reporting.groups import names_in
from gtloop_plugins.commands.reporting.marks import ANSWER
from gtloop_plugins.commands.reporting.measure import Measured

if TYPE_CHECKING:
    from PIL import Image

WIDTH, HEIGHT = 440, 330
"""Largest picture, pixels: twice what the page shows, for sharp screens."""
SMALL = 320, 240
"""Largest picture of those that stand side by side, or one above the other."""
JPEG_QUALITY = 80
WORKERS = ("#1f77b4", "#ff7f0e", "#d62728", "#9467bd", "#e377c2", "#8c564b", "#17becf", "#bcbd22", "#7f7f7f")
"""Single answers that stand alone: a colour each."""
Plate = tuple[float, float, float, float]
"""Where a name stands: left, top, right and bottom, pixels."""
FONT = 21
"""Height of names at boxes, pixels."""


@dataclass(frozen=True)
class Picture:
    """A picture with its caption.

    Attributes:
        uri: ``data:`` URI of a JPEG; empty where the image can't be read.
        fault: Why it can't.
        name: Name of the image.
        notes: What the caption says, in order.
        wrong: Whether the label names another category than the truth.
        width: Pixels.
        height: Pixels.
        below: More pictures of the same image and size, as ``uri`` is.
    """

    uri: str
    fault: str
    name: str
    notes: tuple[str, ...]
    wrong: bool = False
    width: int = 0
    height: int = 0
    below: tuple[str, ...] = ()


def picture(
    item: Item,
    measured: Measured,
    metric: str,
    named: bool,
    answers: Sequence[Payload] = (),
    categories: Sequence[str] = (),
) -> Picture:
    """Draw one label.

    Args:
        item: Its image.
        measured: The label and what is known of it.
        metric: Name of its quality.
        named: Write categories next to boxes, not only confidences.
        answers: Single answers that the label was made of, drawn thin.
        categories: All that masks may name; the position of one is its colour.
    """
    notes, wrong = _notes(measured, metric)
    try:
        image = _canvas(item, (WIDTH, HEIGHT))
    except BadImage as e:
        return Picture("", str(e), item.name, notes, wrong)
    payload, truth = measured.label.payload, measured.truth
    if not overlays.draw(image, payload, truth, answers, categories, ANSWER):
        _draw_all(image, measured, named, answers, _scale(image, item))
    return Picture(_data_uri(image), "", item.name, notes, wrong, *image.size)


Part = Literal["answers", "label", "truth"]
"""What is drawn alone, so that it can be seen beside the others."""


def apart(item: Item, measured: Measured, metric: str, drawn: Drawn, parts: Sequence[Part], said: str = "") -> Picture:
    """Draw the same image several times, each with a part of what is known of it; ``parts`` from the top.

    ``said``: answers that can't be drawn, for the caption.
    """
    notes, wrong = _notes(measured, metric)
    notes += (said,) if said else ()
    try:
        images = [_canvas(item, SMALL) for _ in parts]
    except BadImage as e:
        return Picture("", str(e), item.name, notes, wrong)
    for image, part in zip(images, parts, strict=True):
        _draw_part(image, part, measured, drawn, _scale(image, item))
    first, *below = map(_data_uri, images)
    return Picture(first, "", item.name, notes, wrong, *images[0].size, below=tuple(below))


class Drawn(NamedTuple):
    """How labels are drawn: with names at boxes or without, which answers, and all categories that masks may name."""

    named: bool
    answers: Sequence[Payload]
    categories: Sequence[str]


def _draw_part(image: Image.Image, part: Part, measured: Measured, drawn: Drawn, scale: tuple[float, float]) -> None:
    """Draw one part of what is known, in place."""
    if part == "answers":
        if overlays.draw(image, measured.label.payload, None, drawn.answers, drawn.categories, ANSWER):
            return
        for k, answer in enumerate(drawn.answers):
            draw_payload(image, answer, WORKERS[k % len(WORKERS)], scale, width=3, plain=True)
        return
    payload = measured.label.payload if part == "label" else measured.truth
    if payload is None or overlays.draw(image, payload, None, (), drawn.categories, ANSWER):
        return
    colour = COLOURS[measured.source] if part == "label" else TRUTH
    draw_payload(image, payload, colour, scale, width=4, named=drawn.named)


def _draw_all(
    image: Image.Image, measured: Measured, named: bool, answers: Sequence[Payload], scale: tuple[float, float]
) -> None:
    """Answers, truth and label over each other, in place."""
    for answer in answers:
        draw_payload(image, answer, ANSWER, scale, width=2, plain=True)
    drawn = [(measured.label.payload, COLOURS[measured.source], 4)]
    if measured.truth is not None:
        drawn.insert(0, (measured.truth, TRUTH, 6))
    for payload, colour, width in drawn:
        draw_payload(image, payload, colour, scale, width=width, plain=True)
    plates: list[Plate] = []
    for payload, colour, _ in reversed(drawn):  # a label's own name keeps its place; a true one says a category only
        if named or colour != TRUTH:
            _names(image, payload, colour, scale, named, plates)


def draw_payload(
    image: Image.Image,
    payload: Payload,
    colour: str,
    scale: tuple[float, float],
    *,
    width: int,
    named: bool = False,
    plain: bool = False,
) -> None:
    """Draw a payload on an image, in place; payloads without a shape of their own draw nothing.

    Args:
        image: RGB.
        payload: In display pixels of the full image.
        colour: Of its lines.
        scale: Pixels of ``image`` for one pixel of the full image, x and y.
        width: Of its lines, pixels.
        named: Write the category at every box, not only its confidence.
        plain: Write nothing at all.
    """
    from PIL import ImageDraw

    pen = ImageDraw.Draw(image)
    for box in boxes(payload):
        x1, y1, x2, y2 = (v * s for v, s in zip(box["xyxy"], (*scale, *scale), strict=True))
        pen.rectangle((x1, y1, max(x1 + 1, x2), max(y1 + 1, y2)), outline=colour, width=width)
    if not plain:
        _names(image, payload, colour, scale, named, [])


def _names(
    image: Image.Image,
    payload: Payload,
    colour: str,
    scale: tuple[float, float],
    named: bool,
    plates: list[Plate],
) -> None:
    """Write what every box is, in place; ``plates``: where names stand already, which these join."""
    from PIL import ImageDraw, ImageFont

    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=FONT)
    for box in boxes(payload):
        if text := _name(box, named):
            at = box["xyxy"][0] * scale[0], box["xyxy"][1] * scale[1]
            _tag(pen, font, text, at, image.size, plates, colour)


def boxes(payload: Payload) -> list[Mapping[str, Any]]:
    """The boxes of a payload that are of the known shape."""
    found = payload.get("boxes", ())
    return [b for b in found if isinstance(b, Mapping) and "xyxy" in b] if isinstance(found, Sequence) else []


def _name(box: Mapping[str, Any], named: bool) -> str:
    confidence = box.get("confidence")
    parts = [str(box.get("category", ""))] if named else []
    return " ".join(parts if confidence is None else [*parts, f"{confidence:.2f}"])


def _tag(
    pen: Any, font: Any, text: str, at: tuple[float, float], size: tuple[int, int], plates: list[Plate], colour: str
) -> None:
    """A name on a plate of the box's colour: above the box, inside it or below other names, always in the picture."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 5
    x, y = max(0.0, min(at[0], size[0] - width - 1)), at[1] - height if at[1] >= height else at[1]
    for other in sorted(plates, key=lambda plate: plate[1]):  # from the top, so that one walk down is enough
        if x < other[2] and other[0] < x + width and y < other[3] and other[1] < y + height:
            y = other[3] + 1
    y = max(0.0, min(y, size[1] - height - 1))
    plates.append((x, y, x + width, y + height))
    pen.rectangle(plates[-1], fill=colour)
    pen.text((x + 3, y + 2 - top), text, font=font, fill="white")


def _canvas(item: Item, most: tuple[int, int]) -> Image.Image:
    """The image within ``most`` pixels; small images are enlarged without smoothing."""
    from PIL import Image

    image = thumbnail(item.uri, max(most))
    factor = min(most[0] / image.width, most[1] / image.height)
    if factor == 1:
        return image
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.NEAREST if factor > 1.5 else Image.Resampling.LANCZOS)


def _scale(image: Image.Image, item: Item) -> tuple[float, float]:
    size = item.display_size
    if size is None:  # not known to the run: the header knows
        h = header(item.uri)
        size = (h.height, h.width) if h.orientation >= 5 else (h.width, h.height)
    return image.width / size[0], image.height / size[1]


def _data_uri(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _notes(m: Measured, metric: str) -> tuple[tuple[str, ...], bool]:
    """What a caption says, and whether the category is wrong."""
    notes = []
    wrong = False
    payload = m.label.payload
    if "category" in payload:
        said = str(payload["category"])
        true = names_in(m.truth)
        wrong = bool(true) and true != [said]
        notes.append(f"{said}, in truth {true[0]}" if wrong else said)
    if m.quality is not None and "category" not in payload:
        notes.append(f"{metric} {m.quality:.2f}")
    notes.append(f"confidence {m.label.confidence:.2f}")
    if m.objects == 0:
        notes.append("nothing there, in truth too" if m.true_objects == 0 else "labelled as empty")
    elif m.true_objects == 0:
        notes.append("empty in truth")
    return tuple(notes), wrong
