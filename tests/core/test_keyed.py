from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gtloop import keyed


def test_digest_is_stable() -> None:
    # Runs on disk depend on these values: a change here is a change of the run format.
    assert keyed.digest(0, "train", 7) == "8f0634f09a7fad4a"
    assert keyed.digest("a", "b") == "354e9858bacd8b07"
    assert keyed.digest("ä", -1, length=8) == "a8c15f57"
    assert keyed.digest() == "e15a8caac23994e7"


def test_rng_is_stable() -> None:
    draws = keyed.rng(0, "validation", 12, "w3").integers(0, 2**32, 3).tolist()
    assert draws == [4069080186, 538289483, 620429447]
    assert keyed.rng("x").random(2).tolist() == [0.6449402613781625, 0.06569974325570793]


def test_same_in_another_process() -> None:
    code = "from gtloop import keyed; print(keyed.digest('p', 1), keyed.rng('p', 1).random())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out == [keyed.digest("p", 1), repr(float(keyed.rng("p", 1).random()))]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((1,), ("1",)),
        (("a", "b"), ("ab",)),
        (("a", "b"), ("b", "a")),
        ((), ("",)),
        (("a,b",), ("a", "b")),
        ((0,), (0, 0)),
    ],
)
def test_different_keys_differ(a: tuple[str | int, ...], b: tuple[str | int, ...]) -> None:
    assert keyed.digest(*a) != keyed.digest(*b)
    assert keyed.rng(*a).random() != keyed.rng(*b).random()


def test_numpy_integers_are_integers() -> None:
    assert keyed.digest(np.int32(7), "x") == keyed.digest(7, "x")  # type: ignore[arg-type]


def test_length() -> None:
    full = keyed.digest("k", length=128)
    assert len(full) == 128
    assert full.startswith(keyed.digest("k"))
    for bad in (0, 129):
        with pytest.raises(ValueError, match="length"):
            keyed.digest("k", length=bad)


def test_neighbouring_keys_are_unrelated() -> None:
    # Means of 4,000 first draws under consecutive keys: .5 +- 5 standard errors, no serial correlation.
    u = np.array([keyed.rng(0, "row", k).random() for k in range(4000)])
    assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 4000)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 5 / np.sqrt(4000)


@pytest.mark.parametrize("drawn", [1, 7, 1 << 18])
def test_keys_of_rows_are_those_of_one_draw(drawn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "_DRAWN", drawn)
    whole = keyed.rng(3, "order").random(50)
    for rows in ([], [0], [49], [3, 4, 20, 49], [20, 3, 49, 4], [5, 5, 2], range(50)):
        some = np.array(rows, np.int32)
        assert (keyed.random_keys(some, 3, "order") == whole[some]).all()
