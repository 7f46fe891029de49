"""Task ``classification``: exactly one category for each image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from gtloop.errors import BadAnswer
from gtloop.interfaces import Consolidated, Form, Options, Primitive, Simulated, Task
from gtloop.labels import ClassLabel
from gtloop.records import Answer, Item, Payload, Raw

PROFILES = {"expert": (0.25, 0.95), "crowd": (0.6, 0.85), "poor": (0.15, 0.7)}
"""Name to (share, mean accuracy); ``reference/statistics.md`` 5.4."""

SPAMMERS = 0.06


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
    consolidation = "classification-majority-1"

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

    def consolidate(self, answers: Sequence[Answer], skills: Mapping[str, Any]) -> Consolidated:
        """The category with most votes; a tie goes to the one declared first, whatever the order of the answers.

        One answer per worker counts (the last by time, then id). Confidence is the winner's share of the votes,
        agreement the share of pairs of people who agree (1 for one person). Where nobody chose a category (they
        could not tell, or called it empty), the payload is None.
        """
        last: dict[str, Answer] = {}
        for answer in sorted(answers, key=lambda a: (a.at, a.id)):
            if answer.outcome == "label":
                last[answer.worker] = answer
        votes = Counter(a.payload["category"] for a in last.values() if a.payload is not None)
        if not votes:
            return Consolidated(None, 0.0, 0.0)
        winner = min(votes, key=lambda name: (-votes[name], self._position(name), name))
        confidence = votes[winner] / votes.total()
        pairs = list(combinations(sorted(votes.elements()), 2))
        agreement = float(np.mean([a == b for a, b in pairs])) if pairs else 1.0
        return Consolidated({"category": winner, "confidence": confidence}, confidence, agreement)

    def _position(self, category: str) -> int:
        known = self.context.categories
        return known.index(category) if category in known else len(known)

    def worker(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a persona (``reference/statistics.md`` 5.4).

        Returns:
            ``profile``; ``confusion`` probability of a wrong category; ``speed`` factor of time, log-normal;
            ``spammer`` (answers at random). The caller may change ``noise``, which multiplies errors (0: always
            right, spammers included), and ``spammer``.
        """
        names = list(PROFILES)
        profile = names[int(rng.choice(len(names), p=[PROFILES[n][0] for n in names]))]
        return {
            "profile": profile,
            "confusion": float(np.clip(1 - rng.normal(PROFILES[profile][1], 0.05), 0, 1)),
            "speed": float(rng.lognormal(0, 0.4)),
            "spammer": bool(rng.random() < SPAMMERS),
            "noise": 1.0,
        }

    def simulate(self, truth: Payload, worker: Mapping[str, Any], item: Item, rng: np.random.Generator) -> Simulated:
        """What that person chooses, in 3 s (median); three quarters of the errors go to the next category declared."""
        names, true, noise = self.context.categories, str(truth["category"]), float(worker["noise"])
        seconds = float(3 * worker["speed"] * rng.lognormal(0, 0.6))
        others = [c for c in names if c != true]
        if worker["spammer"] and noise > 0:
            return Simulated("label", {"category": names[int(rng.integers(len(names)))]}, float(rng.lognormal(0, 0.3)))
        if not others or rng.random() >= min(0.9, worker["confusion"] * noise):
            return Simulated("label", {"category": true}, seconds)
        if true in names and rng.random() < 0.75:
            return Simulated("label", {"category": names[(names.index(true) + 1) % len(names)]}, seconds)
        return Simulated("label", {"category": others[int(rng.integers(len(others)))]}, seconds)

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
        best = int(np.argmax(p))
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
