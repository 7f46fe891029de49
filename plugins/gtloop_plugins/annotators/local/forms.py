"""Whether an answer fits its form: a pydantic model of the form's primitives first, then the task's own ``parse``.

A payload is ``{primitive name: value}``; where a form has masks, ``size`` ([height, width], display pixels) and perhaps
``void`` come with them. A form that is nothing but own HTML answers with any JSON object.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, create_model

from gtloop.errors import BadAnswer, BadImage
from gtloop.interfaces import Form, Primitive, Task
from gtloop.records import Item, Outcome, Payload, Request
from gtloop_plugins.annotators.local.refused import Refused

logger = logging.getLogger(__name__)

MOST_OBJECTS = 5_000
MOST_POINTS = 20_000
MOST_TEXT = 20_000

Pixels = tuple[FiniteFloat, FiniteFloat]
SHAPES: dict[str, tuple[str, Any]] = {
    "box": ("xyxy", tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]),
    "point": ("xy", Pixels),
    "polyline": ("xy", Annotated[list[Pixels], Field(min_length=2, max_length=MOST_POINTS)]),
    "polygon": ("xy", Annotated[list[Pixels], Field(min_length=3, max_length=MOST_POINTS)]),
    "mask": ("counts", Annotated[str, Field(pattern=r"^[0-o]*$")]),
}
"""Kind of primitive to the key and type of an object's place."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def payload_model(form: Form) -> type[BaseModel] | None:
    """The model of a form's payloads; None where it is nothing but own HTML."""
    if all(p.kind == "html" for p in form.primitives):
        return None
    fields: dict[str, Any] = {p.name: (_value(p), ...) for p in form.primitives}
    if any(p.kind == "mask" for p in form.primitives):
        side = Annotated[int, Field(ge=1, le=1 << 28)]
        fields = {"size": (tuple[side, side], ...), **fields, "void": (SHAPES["mask"][1] | None, None)}
    made: type[BaseModel] = create_model("Payload", __base__=_Strict, **fields)
    return made


class Checker:
    """Checks what people answer to requests of one form.

    Args:
        sized: Fills in the size of an item where the run does not know it yet; raises BadImage.
    """

    def __init__(self, form: Form, task: Task | None, sized: Callable[[Item], Item]) -> None:
        self.form, self._task, self._sized = form, task, sized
        self._model = payload_model(form)
        self.masks = any(p.kind == "mask" for p in form.primitives)

    def __call__(self, request: Request, outcome: Outcome, payload: Payload | None) -> Payload | None:
        """The canonical payload of an answer.

        Raises:
            Refused: The outcome is none for this request, or the payload does not fit; the text says what is wrong.
        """
        allowed = self.outcomes(request)
        if outcome not in allowed:
            raise Refused(422, "wrong_outcome", f"outcome {outcome!r} is none of {', '.join(allowed)}")
        if outcome != "label":
            if payload is not None:
                raise Refused(422, "needless_payload", f"outcome {outcome!r} has no payload")
            return None
        if request.mode == "verify":
            if payload not in (None, request.proposal):
                raise Refused(422, "other_payload", "yes means the label as it was shown; it can't be changed here")
            return request.proposal
        if payload is None:
            raise Refused(422, "no_payload", "outcome 'label' needs a payload")
        try:
            return self._parsed(self._shaped(payload), request.item)
        except (BadAnswer, BadImage) as e:
            raise Refused(422, "bad_payload", " ".join(str(e).split())) from None

    def outcomes(self, request: Request) -> Sequence[Outcome]:
        """What may be said about a request."""
        if request.mode == "verify":
            return ("label", "wrong", "cannot_tell", "declined")
        return ("label", *(("empty",) if self.form.empty_allowed else ()), "cannot_tell", "declined")

    def _shaped(self, payload: Payload) -> Payload:
        if self._model is None:
            return payload
        try:
            found = self._model.model_validate(payload)
        except ValidationError as e:
            first = e.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "payload"
            raise BadAnswer(f"{where}: {first['msg']}") from None
        return found.model_dump(mode="json", exclude_none=True)

    def _parsed(self, payload: Payload, item: Item) -> Payload:
        item = self._sized(item)
        if self.masks and item.display_size is not None and tuple(payload["size"][::-1]) != item.display_size:
            (height, width), (w, h) = payload["size"], item.display_size
            raise BadAnswer(f"size: a mask of {width} x {height} pixels, but the image is {w} x {h}; give [{h}, {w}]")
        if self._task is None:
            return payload
        try:
            return self._task.parse(payload, item)
        except BadAnswer:
            raise
        except Exception as e:  # a task of somebody else's, at an answer that it did not foresee
            logger.exception("task %s can't parse an answer", self.form.task)
            raise BadAnswer(f"task {self.form.task!r} can't read this answer ({type(e).__name__})") from None


def _value(primitive: Primitive) -> Any:
    category: Any = Literal[primitive.categories] if primitive.categories else Annotated[str, Field(max_length=200)]
    if primitive.kind == "text":
        return Annotated[str, Field(max_length=MOST_TEXT)]
    if primitive.kind == "html":
        return Any
    if primitive.kind == "choice":
        return Annotated[list[category], Field(max_length=MOST_OBJECTS)] if primitive.multiple else category
    key, kind = SHAPES[primitive.kind]
    # A proposal that is corrected may bring its confidences; what people say has none.
    fields: dict[str, Any] = {
        "category": (category, ...),
        key: (kind, ...),
        "confidence": (Annotated[Any, Field(exclude=True)], None),
    }
    place: Any = create_model("Object", __base__=_Strict, **fields)
    most = MOST_OBJECTS if primitive.multiple else 1
    return Annotated[list[place], Field(max_length=most)]
