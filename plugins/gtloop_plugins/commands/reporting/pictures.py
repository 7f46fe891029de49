"""Pictures of labels: a thumbnail with the label, the truth and single answers drawn on it, as JPEG.

How a payload looks goes by its shape: boxes are drawn, masks are filled (``overlays``), a category is written in the
caption, anything else leaves the image as it is.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gtloop.errors import BadImage
from gtloop.images import header, thumbnail
from gtloop.plots import HUMAN, MACHINE, TRUTH
from gtloop.records import Item, Payload
from gtloop_plugins.commands.reporting import overlays
from gtloop_plugins.commands.reporting.figures import ANSWER, COLOURS
from gtloop_plugins.commands.reporting.groups import category_counts, names_in
from gtloop_plugins.commands.reporting.measure import Facts, Measured
from gtloop_plugins.commands.reporting.picks import answers_of, best_and_worst, most_and_least_confident, sample

if TYPE_CHECKING:
    from PIL import Image

    from gtloop.interfaces import Task
    from gtloop.opened import Run

WIDTH, HEIGHT = 440, 330
"""Largest picture, pixels: twice what the page shows, for sharp screens."""
SHOWN = 8
"""Pictures of a gallery."""
JPEG_QUALITY = 82
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
    """

    uri: str
    fault: str
    name: str
    notes: tuple[str, ...]
    wrong: bool = False
    width: int = 0
    height: int = 0


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
        image = _canvas(item)
    except BadImage as e:
        return Picture("", str(e), item.name, notes, wrong)
    payload, truth = measured.label.payload, measured.truth
    if not overlays.draw(image, payload, truth, answers, categories, ANSWER):
        _draw_all(image, measured, named, answers, _scale(image, item))
    return Picture(_data_uri(image), "", item.name, notes, wrong, *image.size)


def _draw_all(
    image: Image.Image, measured: Measured, named: bool, answers: Sequence[Payload], scale: tuple[float, float]
) -> None:
    """Answers, truth and label over each other, in place."""
    for answer in answers:
        draw_payload(image, answer, ANSWER, scale, width=2, plain=True)
    if measured.truth is not None:
        draw_payload(image, measured.truth, TRUTH, scale, width=6, plain=True)
    draw_payload(image, measured.label.payload, COLOURS[measured.source], scale, width=4, named=named)


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
    from PIL import ImageDraw, ImageFont

    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=FONT)
    for box in _boxes(payload):
        x1, y1, x2, y2 = (v * s for v, s in zip(box["xyxy"], (*scale, *scale), strict=True))
        x2, y2 = max(x1 + 1, x2), max(y1 + 1, y2)
        pen.rectangle((x1, y1, x2, y2), outline=colour, width=width)
        text = "" if plain else _name(box, named)
        if text:
            _tag(pen, font, text, x1, y1, colour)


def _boxes(payload: Payload) -> list[Mapping[str, Any]]:
    """The boxes of a payload that are of the known shape."""
    found = payload.get("boxes", ())
    return [b for b in found if isinstance(b, Mapping) and "xyxy" in b] if isinstance(found, Sequence) else []


def _name(box: Mapping[str, Any], named: bool) -> str:
    confidence = box.get("confidence")
    parts = [str(box.get("category", ""))] if named else []
    return " ".join(parts if confidence is None else [*parts, f"{confidence:.2f}"])


def _tag(pen: Any, font: Any, text: str, x: float, y: float, colour: str) -> None:
    """A name on a plate of the box's colour, above the box or inside where there is no room."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    height = bottom - top + 5
    y = y - height if y >= height else y
    pen.rectangle((x, y, x + right - left + 6, y + height), fill=colour)
    pen.text((x + 3, y + 2 - top), text, font=font, fill="white")


def _canvas(item: Item) -> Image.Image:
    """The image as large as the page shows it; small images are enlarged without smoothing."""
    from PIL import Image

    image = thumbnail(item.uri, max(WIDTH, HEIGHT))
    factor = min(WIDTH / image.width, HEIGHT / image.height)
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


class Key(NamedTuple):
    """An entry of a legend: how something is drawn, and what it is."""

    look: Literal["line", "fill", "stripes"]
    colour: str
    what: str


STRIPES = Key("stripes", overlays.NOTHING, "wrong; the stripes have the colour of what is true")


@dataclass(frozen=True)
class Gallery:
    """Some pictures with a heading and what they have in common; ``large`` where small ones show too little."""

    title: str
    caption: str
    key: tuple[Key, ...]
    pictures: tuple[Picture, ...]
    large: bool = False


def galleries(facts: Facts, run: Run, task: Task, n: int = SHOWN) -> list[Gallery]:
    """Machine labels, best and worst (by confidence where there is no truth), and examples of human ones."""
    metric = facts.status["promise"]["metric"]
    classes = run.settings.run.classes
    categories = tuple(category_counts(facts.measured, classes))

    plain = str(getattr(task.options, "background", ""))

    def gallery(title: str, caption: str, shown: Sequence[Measured], answers: dict[int, list[Payload]]) -> Gallery:
        of = [_foreground(m, plain) for m in shown]
        given = [[_painted(a, plain) for a in answers.get(m.label.row, [])] for m in of]
        drawn = tuple(
            picture(run.items[m.label.row], m, metric, len(classes) > 1, a, categories)
            for m, a in zip(of, given, strict=True)
        )
        return Gallery(title, caption, _key(of, any(given), categories), drawn, large=any(map(_has_masks, of)))

    machine, found = facts.of("machine"), []
    known = [m.quality for m in machine if m.quality is not None]
    best, worst = best_and_worst(machine, n)
    if known and min(known) == 1:
        words = f"All {len(known)} are exactly as in truth; some of them."
        found.append(gallery("Machine labels", words, best or worst, {}))
    elif known:
        found.append(
            gallery(
                "Machine labels furthest from the truth", f"Lowest {metric} first; among equals, the surest.", worst, {}
            )
        )
        found.append(
            gallery(
                "Machine labels closest to the truth", f"Highest {metric} first; among equals, the surest.", best, {}
            )
        )
    else:
        most, least = most_and_least_confident(machine, n)
        found.append(gallery("Machine labels it was least sure of", "Least confident first.", least, {}))
        found.append(gallery("Machine labels it was surest of", "Most confident first.", most, {}))
    human = sample(facts.of("human"), n, run.settings.run.seed)
    answers = answers_of(run, task, [m.label.row for m in human])
    found.append(gallery("Labels of people", "Drawn at random.", human, answers))
    return [g for g in found if g.pictures]


def _foreground(m: Measured, background: str) -> Measured:
    """A label and its truth without the regions of a category that is background: nobody wants to see it painted."""
    label = m.label.model_copy(update={"payload": _painted(m.label.payload, background)})
    return replace(m, label=label, truth=None if m.truth is None else _painted(m.truth, background))


def _painted(payload: Payload, background: str) -> Payload:
    regions = payload.get("regions")
    if not background or not isinstance(regions, list):
        return payload
    return {**payload, "regions": [r for r in regions if r.get("category") != background]}


def _has_masks(m: Measured) -> bool:
    return overlays.has_masks(m.label.payload)


def _key(measured: Sequence[Measured], answers: bool, categories: Sequence[str]) -> tuple[Key, ...]:
    """The legend of what is drawn; empty where nothing is."""
    truth = any(m.truth is not None for m in measured)
    single = (Key("line", ANSWER, "single answers"), answers)
    if any(map(_has_masks, measured)):
        return (*_categories(measured, categories), *_drawn((STRIPES, truth), single))
    payloads = (p for m in measured for p in (m.label.payload, m.truth) if p is not None)
    if not any(map(_boxes, payloads)):
        return ()
    sources = {m.source for m in measured}
    return _drawn(
        (Key("line", HUMAN, "label of people"), "human" in sources),
        (Key("line", MACHINE, "label of the machine"), "machine" in sources),
        single,
        (Key("line", TRUTH, "truth"), truth),
    )


def _drawn(*entries: tuple[Key, bool]) -> tuple[Key, ...]:
    return tuple(key for key, drawn in entries if drawn)


def _categories(measured: Sequence[Measured], categories: Sequence[str]) -> tuple[Key, ...]:
    """The colours of the categories, and of void, that some mask has."""
    payloads = [p for m in measured for p in (m.label.payload, m.truth) if p is not None]
    found = {name for p in payloads for name in names_in(p)}
    keys = [Key("fill", overlays.colour(n), name) for n, name in enumerate(categories) if name in found]
    void = (Key("fill", overlays.NOTHING, "void, counts in nothing"), any(p.get("void") for p in payloads))
    return (*keys, *_drawn(void))
