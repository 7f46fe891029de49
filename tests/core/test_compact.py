"""Millions of things in a few bytes each: texts by hash, JSON on disk, and what is matched by them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory import bytes_a_row

from gtloop.compact import Index, Spool
from gtloop.interfaces import Entry
from gtloop.labelfiles import match_entries
from gtloop_plugins.detectors.predictions import Listed


def test_places_of_texts_by_hash() -> None:
    texts = [f"{n % 700:03d}" for n in range(1000)]
    index = Index(texts)
    assert index.rows("005") == [5, 705]
    assert index.rows("650") == [650]
    assert index.rows("700") == index.rows("") == []
    assert Index([]).rows("a") == []


def test_json_on_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put(5000, {"a": "\u00fc", "b": [1, None, 0.1]})
    spool.put(3, "first")
    spool.put(3, "then")
    spool.copy(3, to=7)
    assert list(spool.items()) == [(3, "then"), (7, "then"), (5000, {"a": "\u00fc", "b": [1, None, 0.1]})]
    assert (len(spool), 4 in spool, -1 in spool, 10**9 in spool, np.int32(3) in spool) == (3, False, False, False, True)
    with pytest.raises(KeyError):
        spool[4]
    assert list(tmp_path.iterdir()) == [], "its file has no name"
    assert Spool(tmp_path / "none").get(0) is None, "no such folder: where the system has such files"


class _Names(Sequence[str]):
    """Names of 90 characters that take no memory."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, at: Any) -> Any:
        if at >= self.n:
            raise IndexError
        return f"{at:090d}"


@pytest.mark.slow
def test_matching_a_label_file_holds_numbers_only(tmp_path: Path) -> None:
    """By whole names, and by file names; a name and a payload alone are 500 bytes."""

    def matched(n: int, folder: str) -> None:
        entries = (Entry(folder + name, {"boxes": list(range(50))}, {}) for name in _Names(n))
        found = Spool(tmp_path)
        for row, entry in match_entries(entries, _Names(n), folder=tmp_path):
            found.put(row, entry.payload)
        assert len(found) == n

    assert bytes_a_row(lambda n: matched(n, "")) < 120
    assert bytes_a_row(lambda n: matched(n, "else/where/")) < 160


@pytest.mark.slow
def test_a_predictions_file_holds_numbers_only(tmp_path: Path) -> None:
    def looked_up(n: int) -> None:
        found = Listed(tmp_path, ((name, {"boxes": list(range(50))}) for name in _Names(n)), tmp_path)
        assert all(found.payload(name) is not None for name in _Names(n))
        assert found.payload("none") is None

    assert bytes_a_row(looked_up) < 160
