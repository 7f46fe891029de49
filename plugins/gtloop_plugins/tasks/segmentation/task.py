"""The task class: form, checks, frames, features; arithmetic, consolidation and people live next to it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from gtloop import masks
from gtloop.errors import BadAnswer, BadLabels, ConfigError
from gtloop.interfaces import Consolidated, Context, Form, Frame, Hint, Options, Primitive, Simulated, Task
from gtloop.labels import SegmentationLabel, binary_entropy
from gtloop.records import Answer, Item, Payload, Raw
from gtloop_plugins.tasks.segmentation import consolidation, evaluation, people, tiling
from gtloop_plugins.tasks.segmentation.canonical import canonical


class SegmentationOptions(Options):
    background: str = Field(
        "",
        description="category that is background: in no metric, and given to every pixel without a category; "
        "empty: pixels without a category are background",
    )
    instructions: str = Field(
        "Paint every pixel that belongs to one of the listed categories; where nobody can tell, paint void.",
        description="what workers read above the image",
    )


class Segmentation(Task):
    """Masks: payload ``gtloop.labels.SegmentationLabel``, raw ``gtloop.labels.RawMasks``, both as JSON."""

    name = "segmentation"
    summary = "a category for every pixel; quality is the mean IoU"
    Options = SegmentationOptions
    metric = "mean IoU"
    default_target = 0.7
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
        "margin",
        "covered",
        "area_min",
        "area_max",
        "raggedness",
    )
    consolidation = "segmentation-vote-2"

    def __init__(self, options: SegmentationOptions, context: Context) -> None:
        """Refuse a background that the run does not have.

        Raises:
            ConfigError: With the nearest category.
        """
        super().__init__(options, context)
        if options.background and context.categories and options.background not in context.categories:
            close = difflib.get_close_matches(options.background, context.categories, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ConfigError(
                f"tasks.segmentation.background: {options.background!r} is none of the categories; {hint}"
                f"there are: {', '.join(context.categories)}"
            )

    def form(self) -> Form:
        """One primitive: a mask of all categories.

        ``empty_allowed`` is off, for ``empty`` does not say the size of the image: who sees nothing answers ``label``
        without regions.
        """
        mask = Primitive(kind="mask", name="regions", categories=self.context.categories, multiple=True)
        return Form(task=self.name, instructions=self.options.instructions, primitives=(mask,), empty_allowed=False)

    def parse(self, payload: Payload, item: Item) -> Payload:
        """Check masks; the result has one region a category, in the order of the categories, none of them empty.

        Regions of one category are merged. With the option ``background`` pixels without a category are in its region.

        Raises:
            BadAnswer: Not masks, another size than the image's as displayed, an undeclared category, a text that is no
                run-length code of that size, or pixels with two categories, or with one and void.
        """
        try:
            label = SegmentationLabel.model_validate(payload)
        except ValidationError as e:
            first = e.errors()[0]
            where = ".".join(map(str, first["loc"])) or "payload"
            raise BadAnswer(
                f'{where}: {first["msg"]}; a payload is {{"size": [height, width], "regions": '
                f'[{{"category", "counts"}}, ...], "void": counts?}}'
            ) from None
        for n, region in enumerate(label.regions):
            if region.category not in self.context.categories:
                declared = ", ".join(self.context.categories)
                raise BadAnswer(f"regions.{n}: category {region.category!r} is not declared; use one of: {declared}")
        if item.display_size is not None and label.size[::-1] != item.display_size:
            (height, width), (w, h) = label.size, item.display_size
            raise BadAnswer(
                f"masks of {width} x {height} pixels, but {item.name} is {w} x {h} as displayed (after EXIF "
                f"transposition); give size [{h}, {w}] and masks of that frame"
            )
        return canonical(label, self.context.categories, self.options.background)

    def sure(self, answers: Sequence[Answer], skills: Mapping[str, Any], hint: Hint, more: int) -> float:
        """1 less what ``more`` answers are expected to add: the share of the doubt that goes as with 1 / people."""
        made = self.consolidate(answers, skills)
        people = len({a.worker for a in answers if a.outcome in ("label", "empty")})
        return 1 - (1 - made.confidence) * more / (people + more) if made.payload is not None else 0.0

    def skills(
        self, answers: Sequence[Sequence[Answer]], previous: Mapping[str, Any], hints: Sequence[Hint] = ()
    ) -> dict[str, Any]:
        """Each worker's IoU with the truth as far as known, else with the others; see ``consolidation.learn``."""
        gold = [hint.gold for hint in hints]
        return consolidation.learn(answers, previous, self.context.categories, self.options.background, gold)

    def skill(self, skills: Mapping[str, Any]) -> dict[str, float]:
        """Each worker's estimated mean IoU with the truth, shrunk to the usual."""
        return consolidation.skill(skills)

    def consolidate(self, answers: Sequence[Answer], skills: Mapping[str, Any]) -> Consolidated:
        """Weighted vote on every pixel; see ``consolidation.consolidate``."""
        return consolidation.consolidate(answers, skills, self.context.categories, self.options.background)

    def worker(self, rng: np.random.Generator) -> dict[str, Any]:
        """A persona; keys in ``people.worker``."""
        return people.worker(rng)

    def simulate(self, truth: Payload, worker: Mapping[str, Any], item: Item, rng: np.random.Generator) -> Simulated:
        """What that person paints; ``noise`` 0 copies the truth."""
        return people.simulate(truth, worker, self.context.categories, rng)

    def error(self, a: Payload, b: Payload) -> float:
        """1 - mean IoU over the categories that either label has, background left out.

        Pixels that are void in either label do not count. Two labels without a category are equal (0). Labels of two
        sizes, or with a category but no pixel that is void in neither, have nothing in common (1).
        """
        if a == b:
            return 0.0
        found = tiling.compare(a, b, self.options.background)
        return 1.0 if found is None else 1.0 - tiling.mean_iou(found)

    def features(self, raw: Raw, cut: float) -> NDArray[np.float32]:
        """Statistics of the regions that score at least ``cut``, background left out.

        ``confidence_*`` are of their expected IoU (their score where that is not known); where there is no region, all
        but ``confidence_std`` (0) are 1 - ``below_cut_max``. ``below_cut_*`` are of the scores of the rest and of the
        categories without a region, 0 where there is none. ``entropy`` and ``margin`` are means over pixels; where they
        are not known, over regions, each against all else (in bits; and the distance of the score from 1 - score).
        ``covered``, ``area_min``, ``area_max`` are shares of the image, ``raggedness`` the runs of the regions over the
        image's width.
        """
        height, width = (int(v) for v in raw["size"])
        scores = np.asarray(raw["scores"], np.float64)
        expected = np.asarray(raw.get("expected") or raw["scores"], np.float64)
        objects = self._objects(raw)
        keep = objects & (scores >= cut)
        sure, below = expected[keep], np.append(scores[objects & (scores < cut)], raw.get("missed") or ())
        below_max = float(below.max(initial=0.0))
        runs = [tiling.decode(code, (height, width)) for code, k in zip(raw["counts"], keep, strict=True) if k]
        area = np.array([int((r[:, 1] - r[:, 0]).sum()) for r in runs]) / (height * width)
        some, empty = len(sure) > 0, 1.0 - below_max
        values = (
            len(sure),
            sure.mean() if some else empty,
            sure.min() if some else empty,
            sure.prod() if some else empty,
            sure.max() if some else empty,
            sure.std() if some else 0.0,
            below_max,
            below.sum(),
            len(below),
            binary_entropy(scores[objects]) if raw.get("entropy") is None else raw["entropy"],
            _margin(scores[objects]) if raw.get("margin") is None else raw["margin"],
            area.sum(),
            area.min() if some else 0.0,
            area.max(initial=0.0),
            sum(map(len, runs)) / width,
        )
        return np.array(values, dtype=np.float32)

    def _objects(self, raw: Raw) -> NDArray[np.bool_]:
        """(N,) which regions are not of the background."""
        names = [self.context.categories[int(c)] for c in raw["categories"]]
        return np.array([name != self.options.background for name in names], bool)

    def label(self, raw: Raw, cut: float) -> Payload:
        """The regions that score at least ``cut``, the background whatever it scores, confidence kept."""
        keep = ~self._objects(raw) | (np.asarray(raw["scores"], np.float64) >= cut)
        rows = zip(raw["categories"], raw["counts"], raw["scores"], keep, strict=True)
        regions = [
            {"category": self.context.categories[int(c)], "counts": counts, "confidence": float(score)}
            for c, counts, score, kept in rows
            if kept
        ]
        label = SegmentationLabel.model_validate({"size": raw["size"], "regions": regions})
        return canonical(label, self.context.categories, self.options.background)

    def raw(self, payload: Payload) -> Raw:
        """Regions best first; one without a confidence scores 1.

        Void becomes background: a prediction can't excuse itself from pixels that are hard.
        """
        label = SegmentationLabel.model_validate(payload)
        whole = canonical(label, self.context.categories, self.options.background)
        scored = [(1.0 if r.get("confidence") is None else float(r["confidence"]), r) for r in whole["regions"]]
        scored.sort(key=lambda pair: -pair[0])
        return {
            "size": list(whole["size"]),
            "counts": [r["counts"] for _, r in scored],
            "scores": [score for score, _ in scored],
            "categories": [self.context.categories.index(r["category"]) for _, r in scored],
        }

    def slice(self, raw: Raw, cut: float) -> str:
        """``empty`` where no region but the background's scores at least ``cut``, else ``objects``."""
        return "objects" if (self._objects(raw) & (np.asarray(raw["scores"]) >= cut)).any() else "empty"

    def count(self, payload: Payload) -> int:
        """Number of categories that have a region, background left out."""
        return len({r["category"] for r in payload["regions"]} - {self.options.background})

    def reframe(self, payload: Payload, item: Item, to: Frame) -> Payload:
        """Masks of the other frame moved to ``to`` by the image's EXIF orientation."""
        if item.orientation == 1:
            return payload
        size = (int(payload["size"][0]), int(payload["size"][1]))

        def moved(code: str) -> str:
            turned = masks.reorient(masks.decode(code, size), item.orientation, to)
            return masks.encode(turned.astype(bool))

        regions = [{**region, "counts": moved(region["counts"])} for region in payload["regions"]]
        turned = {**payload, "size": list(size[::-1] if item.orientation >= 5 else size), "regions": regions}
        return {**turned, "void": moved(payload["void"])} if payload.get("void") is not None else turned

    def recategorize(self, payload: Payload, names: Mapping[str, str]) -> Payload:
        """Categories renamed; those that get one name become one region.

        Raises:
            BadLabels: The regions overlap, so that it is no canonical label.
        """
        renamed = SegmentationLabel.model_validate(super().recategorize(payload, names))
        order = dict.fromkeys([*self.context.categories, *(r.category for r in renamed.regions)])
        try:
            return canonical(renamed, tuple(order), names.get(self.options.background, self.options.background))
        except BadAnswer as e:
            raise BadLabels(str(e)) from None

    def evaluate(self, pairs: Iterable[tuple[Payload, Payload]]) -> dict[str, float]:
        """See ``evaluation.evaluate``."""
        return evaluation.evaluate(pairs, self.context.categories, self.options.background)


def _margin(p: NDArray[np.float64]) -> float:
    return float(np.abs(2 * p - 1).mean()) if len(p) else 1.0
