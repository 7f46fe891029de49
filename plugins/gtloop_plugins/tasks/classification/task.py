"""The task class: form, checks, features, figures; consolidation and people live next to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from gtloop.errors import BadAnswer
from gtloop.interfaces import Consolidated, Form, Hint, Options, Primitive, Simulated, Task
from gtloop.labels import ClassLabel
from gtloop.records import Answer, Item, Payload, Raw
from gtloop_plugins.tasks.classification import consolidation, people


class ClassificationOptions(Options):
    instructions: str = Field(
        "Choose the category that fits the image best.", description="what workers read above the image"
    )


class Classification(Task):
    """One category: payload ``gtloop.labels.ClassLabel``, raw ``gtloop.labels.RawClasses``, both as JSON."""

    name = "classification"
    summary = "one category for each image; quality is accuracy"
    Options = ClassificationOptions
    metric = "accuracy"
    default_target = 0.95
    binary = True
    feature_names = (
        "n_objects",
        "confidence_mean",
        "confidence_min",
        "confidence_product",
        "below_cut_max",
        "below_cut_sum",
        "margin",
        "entropy",
    )
    consolidation = consolidation.VERSION

    def form(self) -> Form:
        """One choice among the categories; an image can't be empty."""
        choice = Primitive(kind="choice", name="category", categories=self.context.categories)
        return Form(task=self.name, instructions=self.options.instructions, primitives=(choice,), empty_allowed=False)

    def parse(self, payload: Payload, item: Item) -> Payload:
        """Check one category.

        Raises:
            BadAnswer: Not one category, or an undeclared one.
        """
        try:
            label = ClassLabel.model_validate(payload)
        except ValidationError as e:
            first = e.errors()[0]
            where = ".".join(map(str, first["loc"])) or "payload"
            raise BadAnswer(f'{where}: {first["msg"]}; a payload is {{"category": NAME}}') from None
        if label.category not in self.context.categories:
            declared = ", ".join(self.context.categories)
            raise BadAnswer(f"category {label.category!r} is not declared; use one of: {declared}")
        return label.model_dump(exclude_none=True)

    def skills(
        self, answers: Sequence[Sequence[Answer]], previous: Mapping[str, Any], hints: Sequence[Hint] = ()
    ) -> dict[str, Any]:
        """How often each worker is right, and which errors people make; see ``consolidation.learn``."""
        return consolidation.learn(answers, previous, self.context.categories, hints)

    def skill(self, skills: Mapping[str, Any]) -> dict[str, float]:
        """Each worker's estimated accuracy, shrunk to the usual."""
        return consolidation.skill(skills)

    def consolidate(self, answers: Sequence[Answer], skills: Mapping[str, Any]) -> Consolidated:
        """The most probable category chosen; the majority without skills; see ``consolidation.consolidate``."""
        return consolidation.consolidate(answers, skills, self.context.categories)

    def assist(self, answers: Sequence[Answer], skills: Mapping[str, Any], raw: Raw) -> Consolidated:
        """``consolidate`` with a model's vote, weighed by how it did where people know; see ``voter.weigh``."""
        return consolidation.consolidate(answers, skills, self.context.categories, raw)

    def worker(self, rng: np.random.Generator) -> dict[str, Any]:
        """A persona; keys in ``people.worker``."""
        return people.worker(rng)

    def simulate(self, truth: Payload, worker: Mapping[str, Any], item: Item, rng: np.random.Generator) -> Simulated:
        """What that person chooses; ``noise`` 0 copies the truth."""
        return people.simulate(truth, worker, self.context.categories, rng)

    def error(self, a: Payload, b: Payload) -> float:
        """0 for the same category, else 1."""
        return float(a["category"] != b["category"])

    def features(self, raw: Raw, cut: float) -> NDArray[np.float32]:
        """Of the probabilities; ``cut`` is not used.

        ``confidence_*`` the largest, ``below_cut_max`` the second, ``margin`` their difference, ``entropy`` in bits
        over log2 of the number of categories, so in [0, 1]. ``below_cut_sum`` is 0: no object can be missed.
        """
        p = np.asarray(raw["probabilities"], dtype=np.float64)
        top = float(p.max())
        second = float(np.partition(p, -2)[-2]) if len(p) > 1 else 0.0
        some = p[p > 0]
        entropy = float(-np.sum(some * np.log2(some)) / np.log2(len(p))) if len(p) > 1 else 0.0
        return np.array([1, top, top, top, second, 0, top - second, entropy], dtype=np.float32)

    def label(self, raw: Raw, cut: float) -> Payload:
        """The most probable category (the first of equals); ``cut`` is not used: every image has a category."""
        p = raw["probabilities"]
        best = max(range(len(p)), key=p.__getitem__)  # ten times as fast as numpy on a short list
        return {"category": self.context.categories[best], "confidence": float(min(1.0, p[best]))}

    def raw(self, payload: Payload) -> Raw:
        """The category has its confidence (1 where it has none), the others share the rest.

        A confidence that others would reach is raised to just above theirs, so that ``label`` gives the category back.
        """
        names = self.context.categories
        k, position = len(names), names.index(payload["category"])
        given = payload.get("confidence")
        p = 1.0 if given is None or k == 1 else max(float(given), 1 / k + 1e-6)
        rest = (1 - p) / (k - 1) if k > 1 else 0.0
        return {"probabilities": [p if n == position else rest for n in range(k)]}

    def evaluate(self, pairs: Iterable[tuple[Payload, Payload]]) -> dict[str, float]:
        """Figures of (label, truth) pairs.

        Returns:
            ``mean`` (accuracy), ``count``; for each category of the truth ``count.NAME`` and ``recall.NAME``; for
            each of the labels ``precision.NAME``; ``balanced`` (mean recall). NaN where undefined.
        """
        seen = Counter((str(a["category"]), str(b["category"])) for a, b in pairs)
        labels: Counter[str] = Counter()
        truths: Counter[str] = Counter()
        for (label, truth), n in seen.items():
            labels[label] += n
            truths[truth] += n
        total = seen.total()
        recall = {c: seen[c, c] / n for c, n in sorted(truths.items())}
        return {
            "mean": sum(seen[c, c] for c in truths) / total if total else float("nan"),
            "count": float(total),
            "balanced": float(np.mean(list(recall.values()))) if recall else float("nan"),
            **{f"count.{c}": float(truths[c]) for c in recall},
            **{f"recall.{c}": value for c, value in recall.items()},
            **{f"precision.{c}": seen[c, c] / n for c, n in sorted(labels.items())},
        }
