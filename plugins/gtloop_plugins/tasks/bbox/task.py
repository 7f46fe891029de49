"""The task class: forms, checks, frames, features; matching and people live next to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from gtloop.errors import BadAnswer, BadLabels
from gtloop.interfaces import Consolidated, Form, Frame, Hint, Options, Primitive, Simulated, Task
from gtloop.labels import Box, BoxesLabel, binary_entropy, clip_box, iou_matrix
from gtloop.records import Answer, Item, Payload, Raw
from gtloop_plugins.tasks.bbox import consolidation, evaluation, matching, people, workers
from gtloop_plugins.tasks.bbox.beliefs import Known
from gtloop_plugins.tasks.bbox.voter import Model, Voter

SLACK = 1.0
"""Pixels by which a box may stick out of its image; it is clipped."""

# Orientation to (flip x, flip y, swap x and y): what turns the stored frame into the displayed one.
_EXIF = {
    1: (False, False, False),
    2: (True, False, False),
    3: (True, True, False),
    4: (False, True, False),
    5: (False, False, True),
    6: (False, True, True),
    7: (True, True, True),
    8: (True, False, True),
}


class BBoxOptions(Options):
    instructions: str = Field(
        "Draw a tight box around every object of the listed categories, also where only a part of it is visible.",
        description="what workers read above the image",
    )


class BBox(Task):
    """Boxes: payload ``gtloop.labels.BoxesLabel``, raw ``gtloop.labels.RawBoxes``, both as JSON."""

    name = "bbox"
    summary = "axis-aligned boxes around objects; quality is the image mIoU"
    Options = BBoxOptions
    metric = "mean IoU"
    default_target = 0.6
    feature_names = (
        "n_objects",
        "confidence_mean",
        "confidence_min",
        "confidence_product",
        "confidence_max",
        "confidence_std",
        "below_cut_max",
        "below_cut_sum",
        "n_below_cut",
        "entropy",
        "side_mean",
        "side_min",
        "side_max",
        "overlap_max",
        "n_categories",
    )
    consolidation = "bbox-posterior-2"

    _known: tuple[Mapping[str, Any], Known, Model | None] | None = None

    def form(self) -> Form:
        """One primitive: any number of boxes, each with a category."""
        boxes = Primitive(kind="box", name="boxes", categories=self.context.categories, multiple=True)
        return Form(task=self.name, instructions=self.options.instructions, primitives=(boxes,))

    def parse(self, payload: Payload, item: Item) -> Payload:
        """Check boxes and clip what sticks out by at most 1 px; an image of unknown size has no bounds.

        Raises:
            BadAnswer: Not boxes, a box without area, further outside, or an undeclared category.
        """
        try:
            label = BoxesLabel.model_validate(payload)
        except ValidationError as e:
            first = e.errors()[0]
            where = ".".join(map(str, first["loc"])) or "payload"
            raise BadAnswer(
                f'{where}: {first["msg"]}; a payload is {{"boxes": [{{"category", "xyxy"}}, ...]}}'
            ) from None
        return {"boxes": [self._checked(box, n, item) for n, box in enumerate(label.boxes)]}

    def _checked(self, box: Box, n: int, item: Item) -> dict[str, Any]:
        if box.category not in self.context.categories:
            declared = ", ".join(self.context.categories)
            raise BadAnswer(f"boxes.{n}: category {box.category!r} is not declared; use one of: {declared}")
        xyxy: tuple[float, float, float, float] | None = box.xyxy
        if item.display_size is not None:
            width, height = item.display_size
            x1, y1, x2, y2 = box.xyxy
            out = max(-x1, -y1, x2 - width, y2 - height)
            xyxy = clip_box(box.xyxy, width, height)
            if out > SLACK or xyxy is None:
                shown = ", ".join(f"{v:g}" for v in box.xyxy)
                raise BadAnswer(
                    f"boxes.{n}: [{shown}] leaves the image of {width} x {height} pixels by {out:g} px; "
                    "give absolute pixels x1, y1, x2, y2 of the image as displayed (after EXIF transposition)"
                )
        rest = {} if box.confidence is None else {"confidence": box.confidence}
        return {"category": box.category, "xyxy": list(xyxy or box.xyxy), **rest}

    def consolidate(self, answers: Sequence[Answer], skills: Mapping[str, Any]) -> Consolidated:
        """Objects that probably exist, each with a robust box and a vote on its category: ``consolidation``."""
        return consolidation.consolidate(answers, self._beliefs(skills), self.context.categories)

    def assist(self, answers: Sequence[Answer], skills: Mapping[str, Any], raw: Raw) -> Consolidated:
        """``consolidate`` with a model's vote, weighed by how people took its boxes before: ``voter``."""
        return consolidation.consolidate(
            answers, self._beliefs(skills), self.context.categories, self._voter(skills, raw)
        )

    def sure(self, answers: Sequence[Answer], skills: Mapping[str, Any], hint: Hint, more: int) -> float:
        """1 less the image mIoU that ``more`` answers are expected to add: ``consolidation.sure``."""
        voter = self._voter(skills, hint.raw)
        return consolidation.sure(answers, self._beliefs(skills), self.context.categories, more, voter)

    def clip(self, payload: Payload, item: Item) -> Payload:
        """A box that is corrected for its drawers' habits may leave the image; it ends at the border."""
        if item.display_size is None:
            return payload
        boxes = [(box, clip_box(box["xyxy"], *item.display_size)) for box in payload["boxes"]]
        return {**payload, "boxes": [{**box, "xyxy": list(xyxy)} for box, xyxy in boxes if xyxy is not None]}

    def skills(
        self, answers: Sequence[Sequence[Answer]], previous: Mapping[str, Any], hints: Sequence[Hint] = ()
    ) -> dict[str, Any]:
        """Misses, boxes of nothing, right categories, bias and spread of each worker's boxes: ``workers.learn``.

        Of a model the same, by score: ``voter.learn``.
        """
        return workers.learn(answers, previous, hints, self.context.categories)

    def skill(self, skills: Mapping[str, Any]) -> dict[str, float]:
        """Worker to the expected image mIoU of their own label of a usual image."""
        return self._beliefs(skills).qualities()

    def _beliefs(self, skills: Mapping[str, Any]) -> Known:
        return self._read(skills)[1]

    def _voter(self, skills: Mapping[str, Any], raw: Raw | None) -> Voter | None:
        model = self._read(skills)[2]
        return None if raw is None or model is None else Voter(model, raw, self.context.categories)

    def _read(self, skills: Mapping[str, Any]) -> tuple[Mapping[str, Any], Known, Model | None]:
        if self._known is None or self._known[0] is not skills:
            self._known = skills, Known(skills), Model.read(skills)
        return self._known

    def worker(self, rng: np.random.Generator) -> dict[str, Any]:
        """A persona; keys in ``people.worker``."""
        return people.worker(rng)

    def simulate(self, truth: Payload, worker: Mapping[str, Any], item: Item, rng: np.random.Generator) -> Simulated:
        """What that person draws; ``noise`` 0 copies the truth."""
        return people.simulate(truth, worker, item.display_size, self.context.categories, rng)

    def error(self, a: Payload, b: Payload) -> float:
        """1 - image mIoU (``matching.image_miou``)."""
        return 1.0 - matching.image_miou(a, b)

    def features(self, raw: Raw, cut: float) -> NDArray[np.float32]:
        """Statistics of scores and boxes at ``cut``.

        ``confidence_*`` are of the boxes kept; where there are none all but ``confidence_std`` (0) are
        1 - ``below_cut_max``. ``below_cut_*`` are of the rest, 0 where there is none. ``entropy`` is the mean binary
        entropy in bits of scores above .05. ``side_*`` are square roots of areas in pixels, ``overlap_max`` the
        largest IoU of two kept boxes.
        """
        scores = np.asarray(raw["scores"], dtype=np.float64)
        keep = scores >= cut
        above, below = scores[keep], scores[~keep]
        below_max = float(below.max(initial=0.0))
        empty = 1.0 - below_max
        boxes = np.asarray(raw["xyxy"], dtype=np.float64).reshape(-1, 4)[keep]
        side = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
        some = len(above) > 0
        values = (
            len(above),
            above.mean() if some else empty,
            above.min() if some else empty,
            above.prod() if some else empty,
            above.max() if some else empty,
            above.std() if some else 0.0,
            below_max,
            below.sum(),
            len(below),
            binary_entropy(scores[scores > 0.05]),
            side.mean() if some else 0.0,
            side.min(initial=np.inf) if some else 0.0,
            side.max(initial=0.0),
            np.triu(iou_matrix(boxes, boxes), k=1).max(initial=0.0),
            len(np.unique(np.asarray(raw["categories"])[keep])),
        )
        return np.array(values, dtype=np.float32)

    def label(self, raw: Raw, cut: float) -> Payload:
        """The boxes that score at least ``cut``, confidence kept."""
        names = self.context.categories
        rows = zip(raw["xyxy"], raw["scores"], raw["categories"], strict=True)
        return {
            "boxes": [
                {"category": names[int(c)], "xyxy": [float(v) for v in xyxy], "confidence": float(score)}
                for xyxy, score, c in rows
                if score >= cut
            ]
        }

    def raw(self, payload: Payload) -> Raw:
        """Boxes best first; a box without a confidence scores 1."""
        scored = [(1.0 if b.get("confidence") is None else float(b["confidence"]), b) for b in payload["boxes"]]
        scored.sort(key=lambda pair: -pair[0])
        return {
            "xyxy": [list(b["xyxy"]) for _, b in scored],
            "scores": [score for score, _ in scored],
            "categories": [self.context.categories.index(b["category"]) for _, b in scored],
        }

    def slice(self, raw: Raw, cut: float) -> str:
        """``empty`` where no box scores at least ``cut``, else ``objects``."""
        return "objects" if any(score >= cut for score in raw["scores"]) else "empty"

    def count(self, payload: Payload) -> int:
        """Number of boxes."""
        return len(payload["boxes"])

    def empty(self) -> Payload:
        """No boxes."""
        return {"boxes": []}

    def reframe(self, payload: Payload, item: Item, to: Frame) -> Payload:
        """Boxes of the other frame moved to ``to`` by the image's EXIF orientation.

        Raises:
            BadLabels: The image is turned, and its size is not known.
        """
        if item.orientation == 1:
            return payload
        if item.width is None or item.height is None:
            raise BadLabels(f"{item.name}: its size is not known yet, so its boxes can't be turned; decode it first")
        size = (item.width, item.height)
        moved = [{**box, "xyxy": _turn(box["xyxy"], size, item.orientation, to)} for box in payload["boxes"]]
        return {**payload, "boxes": moved}

    def evaluate(self, pairs: Iterable[tuple[Payload, Payload]]) -> dict[str, float]:
        """See ``evaluation.evaluate``."""
        return evaluation.evaluate(pairs)


def _turn(xyxy: Sequence[float], size: tuple[int, int], orientation: int, to: Frame) -> list[float]:
    """Move a box by an EXIF orientation; ``size`` is (width, height) as stored."""
    flip_x, flip_y, swap = _EXIF[orientation]
    x1, y1, x2, y2 = xyxy
    if to == "stored" and swap:
        x1, y1, x2, y2 = y1, x1, y2, x2
    if flip_x:
        x1, x2 = size[0] - x2, size[0] - x1
    if flip_y:
        y1, y2 = size[1] - y2, size[1] - y1
    if to == "display" and swap:
        x1, y1, x2, y2 = y1, x1, y2, x2
    return [float(x1), float(y1), float(x2), float(y2)]
