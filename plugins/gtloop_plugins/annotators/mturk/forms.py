"""A form as an HTMLQuestion of Crowd HTML Elements.

Names of elements are those of the form's primitives; ``NOTHING`` and ``UNSURE`` are boxes to tick beside the widget,
``VERDICT`` answers a request of mode ``verify``. Every text is escaped: instructions and captions are the user's,
proposals a model's, and none of them may become markup.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from gtloop.errors import ConfigError, Unsupported
from gtloop.interfaces import Context, Form, Primitive, Sample
from gtloop.records import Item, Payload, Request
from gtloop_plugins.annotators.mturk.options import MturkOptions
from gtloop_plugins.annotators.mturk.pictures import Pictures, colours
from gtloop_plugins.annotators.mturk.service import Service

MOST_BYTES = 65_535
NOTHING, UNSURE, VERDICT = "gtloop-nothing", "gtloop-unsure", "gtloop-verdict"
CANT_TELL = "Can't tell, or the image is broken"
YES, NO = "Yes, all of it is right", "No, something is wrong or missing"
MOST_BUTTONS = 10
"""Categories that ``crowd-image-classifier`` is documented for; more become a list to choose from."""
DRAWN = {
    "box": ("crowd-bounding-box", "boundingBoxes"),
    "mask": ("crowd-semantic-segmentation", "labeledImage"),
    "point": ("crowd-keypoint", "keypoints"),
    "polygon": ("crowd-polygon", "polygons"),
    "polyline": ("crowd-polyline", "polylines"),
}
"""Kind of primitive to its element, and to the key under which that sends what was drawn."""
WIDGETS = (*DRAWN, "choice")
SAMPLE_PX = 240

_SCRIPT = "https://assets.crowd.aws/crowd-html-elements.js"
_SCHEMA = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2011-11-11/HTMLQuestion.xsd"
_TITLES = {
    "box": "Draw boxes round objects in an image",
    "mask": "Colour the objects in an image",
    "point": "Mark points in an image",
    "polygon": "Outline the objects in an image",
    "polyline": "Draw lines in an image",
    "choice": "Say what an image shows",
    "text": "Write about an image",
}
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_IMAGE = '<img src="{src}" alt="" style="max-width: 100%; max-height: 80vh">'


class Question:
    """Makes questions of the form of a run."""

    def __init__(self, options: MturkOptions, context: Context, service: Service) -> None:
        self._options, self._context = options, context
        self.pictures = Pictures(options, context.workdir / "images", service, context.uris)

    @property
    def form(self) -> Form:
        if self._context.form is None:
            raise Unsupported("annotator 'mturk' needs a task with a form")
        return self._context.form

    def advert(self) -> tuple[str, str]:
        """Title and description in the market."""
        kinds = [p.kind for p in self.form.primitives]
        title = next((text for kind, text in _TITLES.items() if kind in kinds), "Label an image")
        description = self._options.description or _plain(self.form.instructions) or title
        return (self._options.title or title)[:128], description[:2000]

    def check(self) -> None:
        """Whether people could be shown an image.

        Raises:
            GtloopError: The form asks for what MTurk's elements can't show, or its page is too long.
        """
        drawn = [p for p in self.form.primitives if p.kind in DRAWN]
        if len(drawn) > 1 or any(p.kind == "choice" and p.multiple for p in self.form.primitives):
            raise Unsupported(
                f"task {self.form.task!r} asks for more at once than one page of annotator 'mturk' can show; "
                "choose another annotator"
            )
        self.pictures.check()
        self._xml(self._page("https://" + "x" * 2000, Request(id="check", item=_NOBODY, answers=1)), "the form")

    def of(self, request: Request) -> str:
        """The question of a request; publishes the pictures that it needs.

        Raises:
            GtloopError: Workers can't reach a picture, or the page is too long.
        """
        return self._xml(self._page(self.pictures.url(request.item), request), request.item.name)

    def _xml(self, page: str, what: str) -> str:
        text = _CONTROL.sub("", page).replace("]]>", "]]]]><![CDATA[>")
        question = (
            f'<HTMLQuestion xmlns="{_SCHEMA}"><HTMLContent><![CDATA[{text}]]></HTMLContent>'
            "<FrameHeight>0</FrameHeight></HTMLQuestion>"
        )
        if (size := len(question.encode())) > MOST_BYTES:
            raise ConfigError(
                f"{what}: MTurk takes pages of {MOST_BYTES:,} bytes, this one has {size:,}; give fewer or smaller "
                "pictures (people.good, people.bad), shorter instructions or fewer categories"
            )
        return question

    def _page(self, src: str, request: Request) -> str:
        body = self._verify(src, request) if request.mode == "verify" else self._draw(src, request)
        return (
            f'<!DOCTYPE html><html><head><meta charset="utf-8"><script src="{_SCRIPT}"></script></head>'
            f"<body><crowd-form>{body}</crowd-form></body></html>"
        )

    # ---------------------------------------------------------------------------------- draw, adjust

    def _draw(self, src: str, request: Request) -> str:
        shown = request.proposal if request.mode == "adjust" else None
        primitives = sorted(self.form.primitives, key=lambda p: WIDGETS.index(p.kind) if p.kind in WIDGETS else 9)
        first, *others = primitives
        if first.kind == "choice" and shown is None and len(first.categories) < MOST_BUTTONS:
            parts = [self._element("crowd-image-classifier", first.name, src, {"categories": _choices(first)})]
            tick = ""
        elif first.kind in DRAWN:
            parts = [self._drawing(first, src, shown, request)]
            tick = _tick(UNSURE, CANT_TELL)
            tick += _tick(NOTHING, "There is nothing to mark in this image") if _may_be_empty(first, self.form) else ""
        else:
            parts = [_IMAGE.format(src=_attr(src)), f"<div>{self._instructions()}</div>", _field(first, shown)]
            tick = _tick(UNSURE, CANT_TELL) if first.kind == "text" else ""
        return "".join([*parts, *(_field(p, shown) for p in others), f"<p>{tick}</p>"])

    def _drawing(self, p: Primitive, src: str, shown: Payload | None, request: Request) -> str:
        values: dict[str, Any] = {"labels": list(p.categories)}
        if p.kind == "polyline":
            values["label-colors"] = list(colours(p.categories).values())
        if shown is not None:
            values["initial-value"] = self._initial(p, shown, request)
        return self._element(DRAWN[p.kind][0], p.name, src, values)

    def _initial(self, p: Primitive, shown: Payload, request: Request) -> Any:
        if p.kind == "mask":
            return self._shown_mask(shown, request)
        if p.kind == "box":
            return _shown_boxes(shown.get(p.name, []))
        drawn = [_shown_points(p.kind, one) for one in shown.get(p.name, [])]
        return {"polylines": drawn} if p.kind == "polyline" else drawn

    def _element(self, tag: str, name: str, src: str, values: dict[str, Any], header: str = "") -> str:
        header = header or self.advert()[0]
        given = {"name": name, "src": src, "header": header} | {k: json.dumps(v) for k, v in values.items()}
        attributes = " ".join(f'{key}="{_attr(value)}"' for key, value in given.items())
        return (
            f'<{tag} {attributes}><full-instructions header="Instructions">{self._instructions()}</full-instructions>'
            f"<short-instructions>{_paragraphs(self.form.instructions)}</short-instructions></{tag}>"
        )

    # ----------------------------------------------------------------------------------------- verify

    def _verify(self, src: str, request: Request) -> str:
        proposal = request.proposal or {}
        kinds = {p.kind: p for p in self.form.primitives}
        values: dict[str, Any] = {"categories": [YES, NO, CANT_TELL]}
        header = "Is this right?"
        if "box" in kinds:
            box = kinds["box"]
            shown = {"labels": list(box.categories), "value": _shown_boxes(proposal.get(box.name, []))}
            values["overlay"] = {"boundingBox": shown}
        elif "mask" in kinds:
            labels = list(kinds["mask"].categories)
            values["overlay"] = {"semanticSegmentation": {"labels": labels, **self._shown_mask(proposal, request)}}
        elif drawn := [p for p in self.form.primitives if p.kind in DRAWN]:  # no element lays points over an image
            return self._drawing(drawn[0], src, proposal, request) + _list(VERDICT, header, (YES, NO, CANT_TELL))
        else:
            header = "Is this right? " + ", ".join(str(v) for v in proposal.values() if isinstance(v, str))
        return self._element("crowd-image-classifier", VERDICT, src, values, header)

    def _shown_mask(self, proposal: Payload, request: Request) -> dict[str, Any]:
        palette = colours(self._context.categories)
        regions = {r["category"]: {"color": palette[r["category"]]} for r in proposal.get("regions", [])}
        return {"labelMappings": regions, "src": self.pictures.mask(proposal, palette, request.id)}

    # ----------------------------------------------------------------------------------- instructions

    def _instructions(self) -> str:
        return _paragraphs(self.form.instructions) + "".join(_sample(s) for s in self.form.samples)


_NOBODY = Item(row=0, id="check", name="check", uri="check")


def _shown_boxes(boxes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for box in boxes:
        x1, y1, x2, y2 = box["xyxy"]
        place = {"left": round(x1), "top": round(y1), "width": round(x2 - x1), "height": round(y2 - y1)}
        found.append({"label": box["category"], **place})
    return found


def _shown_points(kind: str, one: dict[str, Any]) -> dict[str, Any]:
    if kind == "point":
        x, y = one["xy"]
        return {"label": one["category"], "x": round(x), "y": round(y)}
    return {"label": one["category"], "vertices": [{"x": round(x), "y": round(y)} for x, y in one["xy"]]}


def _may_be_empty(p: Primitive, form: Form) -> bool:
    return form.empty_allowed or p.kind == "mask"


def _choices(p: Primitive) -> list[str]:
    return [*p.categories, CANT_TELL]


def _field(p: Primitive, shown: Payload | None) -> str:
    """A part of the page beside the widget: a list to choose from, or room to write."""
    said = (shown or {}).get(p.name)
    if p.kind == "text":
        text = said if isinstance(said, str) else ""
        return f'<crowd-text-area name="{_attr(p.name)}" rows="4" value="{_attr(text)}"></crowd-text-area>'
    return _list(p.name, p.name, _choices(p), said)


def _list(name: str, text: str, choices: Sequence[str], said: Any = None) -> str:
    """A list to choose one from; nothing is chosen beforehand, unless it is said already."""
    options = "".join(f'<option value="{_attr(c)}"{" selected" * (c == said)}>{_attr(c)}</option>' for c in choices)
    ask = f'<option value="" disabled{" selected" * (said is None)}>Choose</option>'
    return f'<p><label>{_attr(text)} <select name="{_attr(name)}" required>{ask}{options}</select></label></p>'


def _tick(name: str, text: str) -> str:
    return f'<crowd-checkbox name="{name}" value="yes">{_attr(text)}</crowd-checkbox> '


def _sample(sample: Sample) -> str:
    caption = _attr(sample.caption or ("Right" if sample.good else "Wrong"))
    mark = "✓" if sample.good else "✗"
    return f'<figure><img src="{_attr(_sample_src(sample))}" alt=""><figcaption>{mark} {caption}</figcaption></figure>'


def _sample_src(sample: Sample) -> str:
    """A picture on the web as it is, another one small and inside the page."""
    if sample.path.startswith("https://"):
        return sample.path
    from gtloop.images import thumbnail

    out = io.BytesIO()
    thumbnail(sample.path, SAMPLE_PX).save(out, "JPEG", quality=70, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_attr(line)}</p>" for line in _lines(text))


def _lines(text: str) -> Sequence[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _plain(text: str) -> str:
    return _CONTROL.sub("", " ".join(text.split()))


def _attr(text: str) -> str:
    return html.escape(text, quote=True)
