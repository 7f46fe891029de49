"""Broken tasks, made of the built-in ``classification`` and ``bbox``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from broken.row import Row
from gtloop.errors import BadAnswer
from gtloop.interfaces import Consolidated, Form, Frame, Hint, Simulated
from gtloop.records import Answer, Item, Payload, Raw
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.classification import Classification


class OffersOne(Classification):
    """Task whose form does not offer every category."""

    def form(self) -> Form:
        form = super().form()
        (choice,) = form.primitives
        return form.model_copy(
            update={"primitives": (choice.model_copy(update={"categories": choice.categories[:1]}),)}
        )


class ParseDrifts(Classification):
    """Task whose parse is not idempotent."""

    def parse(self, payload: Payload, item: Item) -> Payload:
        label = super().parse(payload, item)
        return {**label, "confidence": 0.9 * label.get("confidence", 1.0)}


class TakesAll(Classification):
    """Task whose parse accepts nonsense."""

    def parse(self, payload: Payload, item: Item) -> Payload:
        return payload


class RaisesItsOwn(Classification):
    """Task whose parse raises something else than BadAnswer."""

    def parse(self, payload: Payload, item: Item) -> Payload:
        try:
            return super().parse(payload, item)
        except BadAnswer as e:
            raise ValueError(str(e)) from e


class Asymmetric(Classification):
    """Task whose error is not symmetric."""

    def error(self, a: Payload, b: Payload) -> float:
        return super().error(a, b) * (1.0 if a["category"] < b["category"] else 0.5)


class TwiceTheError(Classification):
    """Task whose error is outside [0, 1]."""

    def error(self, a: Payload, b: Payload) -> float:
        return 2 * super().error(a, b)


class Pessimist(Classification):
    """Task whose evaluation of equal labels is not 1."""

    def evaluate(self, pairs: Iterable[tuple[Payload, Payload]]) -> dict[str, float]:
        figures = super().evaluate(pairs)
        return {**figures, "mean": 0.9 * figures["mean"]}


class LoudestWins(Classification):
    """Task whose consolidation returns none of the answers."""

    def consolidate(self, answers: Sequence[Answer], skills: Mapping[str, Any]) -> Consolidated:
        made = super().consolidate(answers, skills)
        return made._replace(payload={"category": self.context.categories[0]}) if made.payload else made


class FirstWins(Classification):
    """Task whose consolidation depends on the order of the answers."""

    def consolidate(self, answers: Sequence[Answer], skills: Mapping[str, Any]) -> Consolidated:
        return super().consolidate(answers, skills)._replace(payload=answers[0].payload)


class Guesses(Classification):
    """Task whose consolidation guesses where nobody could tell."""

    def consolidate(self, answers: Sequence[Answer], skills: Mapping[str, Any]) -> Consolidated:
        made = super().consolidate(answers, skills)
        return made if made.payload else made._replace(payload={"category": self.context.categories[0]})


class Boasts(Classification):
    """Task that is surer than sure."""

    def sure(self, answers: Sequence[Answer], skills: Mapping[str, Any], hint: Hint, more: int) -> float:
        return 0.5 * len(answers)


class SaysAnything(Classification):
    """Task whose synthetic people answer what the form does not offer."""

    def simulate(self, truth: Payload, worker: Mapping[str, Any], item: Item, rng: np.random.Generator) -> Simulated:
        said = super().simulate(truth, worker, item, rng)
        return said._replace(payload={"category": "drums"}) if worker["noise"] and rng.random() < 0.5 else said


class Unkeyed(Classification):
    """Task whose synthetic people draw from global randomness."""

    def simulate(self, truth: Payload, worker: Mapping[str, Any], item: Item, rng: np.random.Generator) -> Simulated:
        said = super().simulate(truth, worker, item, rng)
        return said._replace(seconds=float(np.random.default_rng().exponential()))


class Aliens(Classification):
    """Task whose synthetic people answer about another image."""

    def simulate(self, truth: Payload, worker: Mapping[str, Any], item: Item, rng: np.random.Generator) -> Simulated:
        if worker["noise"] == 0:
            return super().simulate(truth, worker, item, rng)
        return super().simulate({"category": rng.choice(self.context.categories)}, worker, item, rng)


class IgnoresNoise(Classification):
    """Task whose synthetic people err even with noise 0."""

    def simulate(self, truth: Payload, worker: Mapping[str, Any], item: Item, rng: np.random.Generator) -> Simulated:
        return super().simulate(truth, {**worker, "noise": 1.0}, item, rng)


class FewFeatures(Classification):
    """Task that gives fewer features than names."""

    def features(self, raw: Raw, cut: float) -> NDArray[np.float32]:
        return super().features(raw, cut)[:-1]


class OtherOrder(Classification):
    """Task whose label(raw(payload)) does not come back."""

    def raw(self, payload: Payload) -> Raw:
        return {"probabilities": super().raw(payload)["probabilities"][::-1]}


class OneWay(BBox):
    """Task that moves labels to the stored frame and not back."""

    def reframe(self, payload: Payload, item: Item, to: Frame) -> Payload:
        return super().reframe(payload, item, "stored")


class CountsOne(BBox):
    """Task whose empty label counts as an object."""

    def count(self, payload: Payload) -> int:
        return max(1, super().count(payload))

    def features(self, raw: Raw, cut: float) -> NDArray[np.float32]:
        values = super().features(raw, cut)
        values[self.feature_names.index("n_objects")] = max(1, values[self.feature_names.index("n_objects")])
        return values


ROWS = [
    Row(OffersOne, "check_form_mentions_every_category", "does not offer: drum"),
    Row(ParseDrifts, "check_parse_is_stable", "parsing a parsed label again changes it"),
    Row(TakesAll, "check_parse_refuses_nonsense", "parse accepts {'no-such-key'"),
    Row(RaisesItsOwn, "check_parse_refuses_nonsense", "raised ValueError, not BadAnswer"),
    Row(Asymmetric, "check_error_is_a_distance", "error is not symmetric: 1 for"),
    Row(TwiceTheError, "check_error_is_a_distance", "error is 2, outside [0, 1]"),
    Row(Pessimist, "check_evaluate_is_perfect_for_equal", "evaluating labels against themselves"),
    Row(LoudestWins, "check_unanimous_answers_consolidate", "three equal answers {'category': 'drum'} give"),
    Row(FirstWins, "check_order_of_answers_is_irrelevant", "the order of 4 answers matters"),
    Row(Guesses, "check_no_support_gives_no_label", "three people who cannot tell give the label"),
    Row(Boasts, "check_sure_is_a_share", "outside [0, 1]"),
    Row(SaysAnything, "check_simulated_answers_parse", "category 'drums' is not declared"),
    Row(Unkeyed, "check_simulation_is_keyed", "give two different answers"),
    Row(Aliens, "check_simulated_answers_resemble_truth", "to their own truth"),
    Row(IgnoresNoise, "check_noise_free_workers_copy_the_truth", "a worker with noise 0 answers"),
    Row(FewFeatures, "check_features_match_their_names", "there are 8 names"),
    Row(OtherOrder, "check_raw_and_label_agree", "made a raw prediction and back is another"),
    Row(OneWay, "check_reframe_there_and_back", "EXIF orientation"),
    Row(CountsOne, "check_empty_is_empty", "count(empty()) is 1"),
]
