"""The vote in pieces against one that is taken pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from gtloop import masks
from gtloop.labels import SegmentationLabel
from gtloop.masks import BACKGROUND, VOID
from gtloop_plugins.tasks.segmentation import tiling, votes

NAMES = ("sky", "road", "car")
K = len(NAMES)
SIZE = (9, 11)


def coded(index: NDArray[Any]) -> NDArray[Any]:
    """Background and void as the vote has them."""
    return np.select([index == BACKGROUND, index == VOID], [K, K + 1], index)


def gathered(indices: Sequence[NDArray[Any]], weights: Sequence[float]) -> votes.Votes:
    labels = [masks.from_map(index, NAMES).model_dump(mode="json", exclude_none=True) for index in indices]
    return votes.gather([tiling.read(label, NAMES, "") for label in labels], weights, indices[0].shape, K)


def by_pixel(indices: Sequence[NDArray[Any]], weights: Sequence[float]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(H, W) values and their posteriors, by the definition."""
    said, weight = np.stack([coded(i) for i in indices]), np.array(weights)
    own = np.round([(weight[:, None, None] * (said == v)).sum(axis=0) for v in range(K + 2)], 12)
    padded = np.pad(own, ((0, 0), (2, 2), (2, 2)), mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2)).mean(axis=(3, 4))
    score = np.where(own > 0, np.round(own + votes.SAY * around, 9), -np.inf)
    value = score[: K + 1].argmax(axis=0)
    value[score[K + 1] > weight.sum() * (1 + votes.SAY) / 2] = K + 1
    odds = np.where(own > 0, np.exp(own), 0)
    total = odds.sum(axis=0) + (said == said[:1]).all(axis=0)
    return value, np.take_along_axis(odds / total, value[None], axis=0)[0]


def painted(decided: votes.Decided, size: tuple[int, int]) -> NDArray[Any]:
    lengths = np.diff(decided.runs, axis=1)[:, 0]
    return np.repeat(decided.value, lengths).reshape(size, order="F")


weights = st.sampled_from([0.1, 0.5, 0.8, 0.85, 1.6])
maps = arrays(np.int16, SIZE, elements=st.integers(-2, 2), fill=st.integers(-2, 2))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(maps, weights), min_size=1, max_size=5), st.booleans())
def test_every_pixel_is_decided_as_alone(people: list[tuple[NDArray[Any], float]], equal: bool) -> None:
    indices = [index for index, _ in people]
    weighs = [0.85 if equal else weight for _, weight in people]
    given_votes = gathered(indices, weighs)
    decided = votes.decide(given_votes)
    value, posterior = by_pixel(indices, weighs)
    assert (painted(decided, SIZE) == value).all()
    assert decided.pixels.sum() == value.size
    assert (decided.pixels.sum(axis=1) == np.bincount(value.ravel(), minlength=K + 2)).all()
    for v in range(K + 2):
        mass = float((decided.pixels[v] * decided.certain[v]).sum())
        assert mass == pytest.approx(posterior[value == v].sum())


def test_pieces_wider_than_the_neighbourhood_are_decided_as_alone() -> None:
    rng = np.random.default_rng(0)
    coarse = [np.kron(rng.integers(-2, 3, (5, 6)), np.ones((8, 8), np.int64)).astype(np.int16) for _ in range(4)]
    for people in (2, 3, 4):
        indices = [np.roll(c, n, axis=(0, 1)) for n, c in enumerate(coarse[:people])]
        value, _ = by_pixel(indices, [0.85] * people)
        assert (painted(votes.decide(gathered(indices, [0.85] * people)), indices[0].shape) == value).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(maps, min_size=2, max_size=4))
def test_confusion_counts_pixels(indices: list[NDArray[Any]]) -> None:
    found = gathered(indices, [1.0] * len(indices)).confusion(0, 1)
    table = np.zeros((K + 2, K + 2), int)
    np.add.at(table, (coded(indices[0]).ravel(), coded(indices[1]).ravel()), 1)
    assert (found == table).all()


def test_many_people_and_categories_do_not_overflow() -> None:
    names = tuple(f"c{n}" for n in range(150))
    rng = np.random.default_rng(1)
    indices = [rng.integers(0, 150, (4, 5)).astype(np.int16) for _ in range(12)]
    tilings = [tiling.read(masks.from_map(i, names).model_dump(mode="json"), names, "") for i in indices]
    found = votes.gather(tilings, [1.0] * 12, (4, 5), 150)
    assert (found.said[:, found.pattern] == np.stack([i.ravel(order="F") for i in indices])).all()


def test_a_map_of_its_runs_is_a_label() -> None:
    """Runs and codes agree on the order of pixels."""
    index = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 3
    decided = votes.decide(gathered([index.astype(np.int16)], [1.0]))
    counts = tiling.encode(decided.runs[decided.value == 1], SIZE)
    label = SegmentationLabel.model_validate({"size": SIZE, "regions": [{"category": "road", "counts": counts}]})
    assert (masks.to_map(label, NAMES) == np.where(index == 1, 1, BACKGROUND)).all()
