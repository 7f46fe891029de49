"""Krippendorff's alpha against the worked examples of its author, and split halves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtloop.agreement import Alpha, krippendorff_alpha, split_half
from gtloop.interfaces import Consolidated
from gtloop.records import Answer


def units(*people: str) -> list[list[str]]:
    """Items from one string a person; ``.`` is a missing answer."""
    return [[v for v in item if v != "."] for item in zip(*people, strict=True)]


def nominal(a: Any, b: Any) -> float:
    return float(a != b)


def interval(a: str, b: str) -> float:
    return (int(a) - int(b)) ** 2 / 16


FOUR = units("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
"""Section C of the paper: four observers, twelve units, missing answers, one unit with a single answer."""


class TestWorkedExamples:
    """K. Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011."""

    def test_two_observers_two_values(self) -> None:
        found = krippendorff_alpha(units("0100000010", "1110010000"), nominal)
        assert found.value == pytest.approx(0.095, abs=5e-4)
        assert (found.units, found.values) == (10, 20)
        assert found.observed == pytest.approx(8 / 20)

    def test_two_observers_many_values(self) -> None:
        assert krippendorff_alpha(units("aabbdcccedda", "babbbccceddd"), nominal).value == pytest.approx(
            0.692, abs=5e-4
        )

    def test_four_observers_with_missing_answers(self) -> None:
        found = krippendorff_alpha(FOUR, nominal)
        assert found.value == pytest.approx(0.743, abs=5e-4)
        assert (found.units, found.values) == (11, 40)  # the unit with one answer pairs with nothing

    def test_the_same_as_interval_data(self) -> None:
        assert krippendorff_alpha(FOUR, interval).value == pytest.approx(0.849, abs=5e-4)


class TestAlpha:
    def test_undefined_without_pairs_or_without_difference(self) -> None:
        assert krippendorff_alpha([], nominal) == Alpha()
        assert krippendorff_alpha([["a"], ["b"]], nominal).value is None
        same = krippendorff_alpha([["a", "a"], ["a", "a"]], nominal)
        assert (same.value, same.observed, same.expected) == (None, 0.0, 0.0)
        assert "undefined" in same.meaning

    def test_perfect_and_systematic(self) -> None:
        assert krippendorff_alpha([["a", "a"], ["b", "b"]], nominal).value == 1.0
        found = krippendorff_alpha([["a", "b"], ["b", "a"]], nominal).value
        assert found is not None
        assert found < 0

    def test_values_need_not_be_hashable(self) -> None:
        payloads = [[{"category": v} for v in unit] for unit in FOUR]
        assert krippendorff_alpha(payloads, nominal) == krippendorff_alpha(FOUR, nominal)

    def test_one_and_true_are_not_the_same_value(self) -> None:
        found = krippendorff_alpha([[1, True], [1, 1]], lambda a, b: float(type(a) is not type(b)))
        assert found.observed == 0.5

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.lists(st.integers(0, 4), min_size=0, max_size=5), max_size=12), st.randoms())
    def test_order_does_not_matter(self, given_units: list[list[int]], random: Any) -> None:
        before = krippendorff_alpha(given_units, nominal)
        shuffled = [random.sample(u, len(u)) for u in random.sample(given_units, len(given_units))]
        after = krippendorff_alpha(shuffled, nominal)
        assert after.value == (None if before.value is None else pytest.approx(before.value, abs=1e-12))

    def test_expected_disagreement_is_that_of_all_pairs_of_values(self) -> None:
        flat = [v for u in FOUR if len(u) > 1 for v in u]
        every = [interval(a, b) for i, a in enumerate(flat) for j, b in enumerate(flat) if i != j]
        assert krippendorff_alpha(FOUR, interval).expected == pytest.approx(np.mean(every))

    def test_drawn_pairs_come_near_all_pairs(self) -> None:
        rng = np.random.default_rng(0)
        data = (rng.normal(size=(300, 1)) + 0.7 * rng.normal(size=(300, 3))).tolist()

        def distance(a: float, b: float) -> float:
            return min(1.0, abs(a - b) / 4)

        exact = krippendorff_alpha(data, distance, pairs=10**6)
        assert exact.pairs is None
        drawn = [krippendorff_alpha(data, distance, pairs=500, seed=s) for s in range(40)]
        assert {d.pairs for d in drawn} == {500}
        assert len({d.value for d in drawn}) == 40
        assert drawn[3] == krippendorff_alpha(data, distance, pairs=500, seed=3)
        misses = np.array([d.value for d in drawn], float) - float(exact.value or 0)
        assert exact.error is not None
        added = math.sqrt(float(drawn[0].error or 0) ** 2 - exact.error**2)
        assert 0.6 * added < misses.std() < 1.5 * added
        assert abs(misses.mean()) < 4 * added / math.sqrt(40)

    def test_the_standard_error_is_the_spread_of_samples_of_items(self) -> None:
        rng = np.random.default_rng(1)
        found = []
        for _ in range(150):
            truth = rng.integers(4, size=(80, 1))
            noise = rng.integers(4, size=(80, 3))
            found.append(krippendorff_alpha(np.where(rng.random((80, 3)) < 0.7, truth, noise).tolist(), nominal))
        spread = np.std([f.value for f in found])
        assert np.mean([f.error for f in found]) == pytest.approx(spread, rel=0.25)


class TestNotComparable:
    """Values of two sizes, which only compare within a size."""

    @staticmethod
    def distance(a: tuple[int, str], b: tuple[int, str]) -> float:
        return nominal(a[1], b[1]) if a[0] == b[0] else math.nan

    def make(self, n: int, sizes: int, right: float = 0.8) -> list[list[tuple[int, str]]]:
        rng = np.random.default_rng(n)
        found = []
        for i in range(n):
            truth = "abcd"[rng.integers(4)]
            said = [truth if rng.random() < right else "abcd"[rng.integers(4)] for _ in range(3)]
            found.append([(i % sizes, v) for v in said])
        return found

    @pytest.mark.parametrize("pairs", [10**6, 3000])
    def test_alpha_is_as_if_all_had_one_size(self, pairs: int) -> None:
        data = self.make(400, 100)  # four items a size: two in eleven comparable pairs are of one item
        found = krippendorff_alpha(data, self.distance, pairs=pairs)
        plain = krippendorff_alpha([[v for _, v in u] for u in data], nominal)
        assert found.value == pytest.approx(plain.value, abs=0.03)
        assert found.observed == plain.observed

    def test_one_item_a_size_leaves_nothing_to_compare_with(self) -> None:
        found = krippendorff_alpha(self.make(30, 30), self.distance)
        assert found.observed is not None
        assert (found.expected, found.value) == (None, None)

    def test_pairs_of_an_item_may_be_incomparable_too(self) -> None:
        data = [[(0, "a"), (0, "b"), (1, "a")], [(0, "a"), (0, "a")], [(1, "a"), (2, "a")]]
        found = krippendorff_alpha(data, self.distance)
        assert found.observed == pytest.approx((3 * 1 + 2 * 0) / 5)


def answer(worker: str, value: float) -> Answer:
    return Answer(id=f"id-{worker}", request="r", worker=worker, outcome="label", payload={"v": value}, at="2026")


def mean_of(answers: Any) -> Consolidated:
    values = sorted(a.payload["v"] for a in answers)
    return Consolidated({"v": float(np.mean(values))}, 1.0, 1.0)


def apart(a: Any, b: Any) -> float:
    return min(1.0, abs(a["v"] - b["v"]))


class TestSplitHalf:
    def test_two_answers_are_the_two_halves(self) -> None:
        found = split_half([(0, [answer("a", 0.1), answer("b", 0.4)])], mean_of, apart)
        assert (found.quality, found.error, found.items) == (pytest.approx(0.7), None, 1)

    def test_single_answers_are_not_split(self) -> None:
        assert split_half([(0, [answer("a", 0.1)]), (1, [])], mean_of, apart)[:3] == (None, None, 0)

    def test_splits_depend_on_seed_and_row_only(self) -> None:
        rng = np.random.default_rng(0)
        items = [(row, [answer(f"w{k}", float(rng.random())) for k in range(5)]) for row in range(30)]
        found = split_half(items, mean_of, apart, seed=4)
        assert found == split_half([(row, a[::-1]) for row, a in items], mean_of, apart, seed=4)
        assert found != split_half(items, mean_of, apart, seed=5)

    def test_it_is_a_cautious_reading_of_the_label_of_all(self) -> None:
        """Two panels of six agree more than the halves of one panel of six."""
        rng = np.random.default_rng(2)
        noise = rng.normal(0, 0.2, (300, 12))
        panel = [(row, [answer(f"w{k:02d}", float(e[k])) for k in range(6)]) for row, e in enumerate(noise)]
        between = 1 - np.minimum(1, np.abs(noise[:, :6].mean(axis=1) - noise[:, 6:].mean(axis=1))).mean()
        found = split_half(panel, mean_of, apart)
        assert found.quality is not None
        assert found.error is not None
        assert found.quality + 2 * found.error < between
        # halves of three: the mean distance of two normal means is 2 sigma / sqrt(3 pi)
        assert found.quality == pytest.approx(1 - 2 * 0.2 / math.sqrt(3 * math.pi), abs=3 * found.error)

    def test_a_half_without_a_label_is_as_bad_as_can_be(self) -> None:
        def of_two(answers: Any) -> Consolidated:
            return mean_of(answers) if len(answers) > 1 else Consolidated(None, 0.0, 0.0)

        three = [(0, [answer(w, 0.5) for w in "abc"])]
        assert split_half(three, of_two, apart).quality == 0.0
        two = [(0, [answer(w, 0.5) for w in "ab"])]  # neither half has one: nothing to compare
        assert split_half(two, of_two, apart).items == 0
