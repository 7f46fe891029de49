"""Nothing grows with the pool but files: what is in memory a row is counted, and streams say what whole reads said."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
import pytest
from memory import bytes_a_row

from gtloop.errors import BadImage, RunError
from gtloop.events import FileRef
from gtloop.images import Header
from gtloop.interfaces import Entry, Predicted, quiet
from gtloop.inventory import Items
from gtloop.items import add_items, list_items
from gtloop.known import LabelFiles
from gtloop.labelstream import stream_labels
from gtloop.listing import Listed
from gtloop.predictions import Scored, scores
from gtloop.records import Item
from gtloop.slices import Slices
from gtloop.state import COLUMNS, HUMAN, MACHINE, State
from gtloop.store import Store, among
from gtloop.vision import _prediction_columns


def _hash(uri: str) -> str:
    """Of what an address holds: what follows ``=`` in it, if anything."""
    if uri.endswith("broken"):
        raise BadImage("broken")
    return hashlib.sha256(uri.rpartition("=")[2].encode()).hexdigest()


@pytest.fixture
def costless() -> Iterator[list[str]]:
    """Images that are nowhere, at the addresses in the list; a page is small."""
    found: list[str] = []
    with (
        patch("gtloop.items.list_images", lambda *_: (Listed(uri.lstrip("/"), uri, 9) for uri in found)),
        patch("gtloop.items.content_hash", _hash),
        patch("gtloop.items.header", lambda _: Header(64, 48, 6, "JPEG")),
        patch("gtloop.items.GROUP", 64),
        patch("gtloop.store.PAGE", 64),
        patch("gtloop.inventory.PAGE", 64),
        patch("gtloop.inventory.KEPT", 400),
    ):
        yield found


def test_items_are_what_was_listed(costless: list[str], tmp_path: Path) -> None:
    """Texts come from pages that are read and dropped: one by one, in any order, many at once, by slices."""
    costless += [f"/folder/{n:04d}" for n in range(300)]
    items = Items.read(list_items("any", 7, Store(tmp_path), quiet), Store(tmp_path))
    names = [uri.lstrip("/") for uri in costless]
    assert [len(items), len(items.uri)] == [300, 300]
    assert list(items.name) == names
    assert [items.name[row] for row in (299, 0, 150, -1)] == [names[row] for row in (299, 0, 150, -1)]
    assert items.name[10:300:70] == names[10:300:70]
    shuffled = np.random.default_rng(0).permutation(300)
    assert items.uri.at(shuffled) == [costless[row] for row in shuffled]
    assert [item.name for item in items.some(shuffled)] == [names[row] for row in shuffled]
    assert [item for item in items] == [items[row] for row in range(300)]
    assert len(set(items.id)) == 300
    assert (items.name.index(names[200]), names[200] in items.name, "other" in items.name) == (200, True, False)
    assert items[5].display_size == (48, 64)
    assert items.uri.at(np.zeros(0, np.int32)) == []
    with pytest.raises(IndexError):
        items.id[300]
    with pytest.raises(ValueError, match="other"):
        items.name.index("other")
    assert {p.name for p in tmp_path.iterdir()} == {"items.parquet"}, "nothing of the listing is left"


def test_duplicates_are_aliases_wherever_they_lie(costless: list[str], tmp_path: Path) -> None:
    """Across pages and sources; what can't be read is like nothing; equal beginnings of hashes are no equality."""
    store = Store(tmp_path)
    costless += [f"/a/{n:04d}" for n in range(200)] + ["/b/1=x", "/b/2=x", "/b/3-broken", "/b/4-broken", "/b/5=/a/0003"]
    first = list_items("any", 0, store, quiet)
    items = Items.read(first, store)
    assert {row: int(of) for row, of in enumerate(items.alias_of) if of >= 0} == {201: 200, 204: 3}
    held = sorted(_hash(uri) for uri in costless if not uri.endswith("broken"))
    assert items.fingerprint() == hashlib.sha256("".join(held).encode()).hexdigest()
    assert list(items.hashes(np.array([3, 202, 204], np.int32))) == [_hash("/a/0003"), "", _hash("/a/0003")]
    costless[:] = ["/a/0003", "/c/1=x", "/c/2=new", "/c/3=new"]
    both = Items.read(add_items("any/more", 0, store, first, 2, quiet), store)
    assert list(both.uri)[205:] == costless[1:], "what is there already is not listed again"
    assert both.alias_of[205:].tolist() == [200, -1, 206]
    assert list(both.uri)[:205] == list(items.uri)
    assert list(both.id)[:205] == list(items.id)
    alike = iter(["a" * 16 + "0" * 48, "a" * 16 + "1" * 48, "a" * 16 + "0" * 48])
    costless[:] = ["/1", "/2", "/3"]
    with patch("gtloop.items.content_hash", lambda _: next(alike)):
        near = Items.read(list_items("any", 0, Store(tmp_path / "near"), quiet), Store(tmp_path / "near"))
    assert near.alias_of.tolist() == [-1, -1, 0]


def test_listing_and_opening_hold_numbers_only(costless: list[str], tmp_path: Path) -> None:
    """A name and an address alone are more than 200 bytes as Python texts."""

    refs: dict[int, FileRef] = {}

    def listed(n: int) -> None:
        with patch("gtloop.items.list_images", lambda *_: (Listed(f"{k:090d}", f"/{k:099d}", 9) for k in range(n))):
            refs[n] = list_items("any", 0, Store(tmp_path / str(n)), quiet)

    def opened(n: int) -> None:
        assert sum(len(item.name) for item in Items.read(refs[n], Store(tmp_path / str(n)))) == 90 * n

    assert bytes_a_row(listed) < 80
    assert bytes_a_row(opened) < 40


# ------------------------------------------------------------------------------------------- label files


def test_a_label_file_in_any_order_reads_pages_seldom(costless: list[str], tmp_path: Path) -> None:
    """Once for every so many entries, not for each; an alias speaks for its original."""
    costless += [f"/{n:04d}" for n in range(300)] + ["/alias=/0000"]
    items = Items.read(list_items("any", 0, Store(tmp_path), quiet), Store(tmp_path))
    order = np.random.default_rng(0).permutation(np.arange(1, 301))
    asked: list[int] = []
    read = items.name._pages._file.read_row_group

    class Task:
        name = "task"

        @staticmethod
        def parse(payload: Any, item: Item) -> Any:
            return {**payload, "of": item.name}

    files: Any = LabelFiles(SimpleNamespace(run=SimpleNamespace(classes=())), None, Task)  # type: ignore[arg-type]

    names = list(items.name)
    with (
        patch("gtloop.known.TOGETHER", 100),
        patch.object(items.name._pages, "_file") as file,
    ):
        file.read_row_group.side_effect = lambda number, **k: asked.append(number) or read(number, **k)
        entries = [Entry(names[row], {"n": int(row)}, {}) for row in order]
        found = files._match(entries, "labels", items, range(301), False)
    assert len(asked) <= 100, "one by one it is 900"
    assert {row: label.payload for row, label in found.items()} == {
        **{row: {"n": row, "of": names[row]} for row in range(1, 301)},
        0: {"n": 300, "of": names[300]},
    }


# ------------------------------------------------------------------------------------------------ labels


def _state(n: int) -> State:
    state = State()
    state.columns = {name: np.zeros(n, kind) for name, kind in COLUMNS.items()}
    return state


def _human(store: Store, number: int, rows: list[int], labels: list[Any]) -> Any:
    n = len(rows)
    columns = {
        "row": np.array(rows, np.int32),
        "payload_json": labels,
        "labelled": np.array([label is not None for label in labels]),
        "confidence": np.full(n, 0.5),
        "iteration": np.full(n, number, np.int32),
        "workers": np.ones(n, np.int16),
        "consolidation": ["v"] * n,
    }
    return store.write(f"labels/human-{number:05d}.parquet", columns)


def _machine(store: Store, rows: np.ndarray) -> Any:
    with store.writing("labels/machine-0001.parquet") as file:
        for start in range(0, len(rows), 64):
            some, n = rows[start : start + 64], len(rows[start : start + 64])
            file.add(
                {
                    "row": some.astype(np.int32),
                    "payload_json": [{"category": f"m{row}"} for row in some],
                    "confidence": np.full(n, 0.9),
                    "threshold": [None] * n,
                    "bound": np.full(n, np.nan),
                    "model": ["m"] * n,
                    "iteration": np.ones(n, np.int32),
                }
            )
    return file.ref


def test_labels_come_in_order_and_the_latest_counts(tmp_path: Path) -> None:
    """Files that overlap, rows out of order, labels that were taken back, and of another status."""
    store, state = Store(tmp_path), _state(500)
    state.status[:] = MACHINE
    state.status[[3, 7, 400, 401]] = HUMAN
    f = state.facts
    f.human_files.append(_human(store, 1, [7, 3, 9], [{"category": "a"}, {"category": "b"}, {"category": "c"}]))
    f.human_files.append(_human(store, 2, [400, 401, 7], [{"category": "d"}, None, {"category": "e"}]))
    f.human_files.append(_human(store, 3, [3, 3], [{"category": "f"}, {"category": "g"}]))
    f.machine_files.append(_machine(store, np.arange(0, 500, 2)))
    found = list(stream_labels(store, state))
    assert [label.row for label in found] == sorted({3, 7, *range(0, 500, 2)})
    said = {label.row: (label.source, label.payload["category"]) for label in found}
    assert said[3] == ("human", "g")
    assert said[7] == ("human", "e")
    assert said[400] == ("human", "d")
    assert said[8] == ("machine", "m8")
    assert found[0].threshold is found[0].bound is None


def test_labels_hold_a_piece_of_a_file_at_a_time(tmp_path: Path) -> None:
    def streamed(n: int) -> None:
        store, state = Store(tmp_path / str(n)), _state(n)
        state.status[:] = MACHINE
        with patch("gtloop.store.PAGE", 64):
            state.facts.machine_files.append(_machine(store, np.arange(n)))
            assert sum(1 for _ in stream_labels(store, state)) == n

    assert bytes_a_row(streamed) < 100, "columns of the state are 16, the payload alone is 300"


# ----------------------------------------------------------------------------------------------- the rest


class _Job:
    """As much of a run as scoring needs; ``score`` is the mean of two features."""

    cut = 0.4

    class plugins:
        class task:
            name = "task"
            feature_names = ("a", "b")

            @staticmethod
            def features(raw: dict, cut: float) -> list[float]:
                return [raw["a"] * cut, raw["a"]]

            @staticmethod
            def slice(raw: dict, cut: float) -> str:
                return "high" if raw["a"] > cut else "low"

        class score:
            name = "score"

            @staticmethod
            def score(columns: dict[str, np.ndarray]) -> np.ndarray:
                return (columns["a"] + columns["b"]) / 2

    def __init__(self, root: Path) -> None:
        self.store = Store(root)


def test_scores_by_blocks_are_those_of_the_whole(tmp_path: Path) -> None:
    job: Any = _Job(tmp_path)
    a = np.random.default_rng(0).random(500)
    for part in range(5):
        rows = np.arange(100 * part, 100 * part + 100, dtype=np.int32)
        task = job.plugins.task
        job.store.write(
            f"predictions/m/part-{part:05d}.parquet",
            {
                "row": rows,
                "slice": ["high" if v > 0.4 else "low" for v in a[rows]],
                "features": np.array([task.features({"a": v}, 0.4) for v in a[rows]], np.float32),
                "raw_json": [{"a": float(v)} for v in a[rows]],
            },
        )
    wanted = np.arange(0, 500, 3, dtype=np.int32)

    def found(cut: float, block: int) -> tuple[list[int], list[float], list[str]]:
        with patch("gtloop.predictions.BLOCK", block):
            scored: Scored = scores(job, "predictions/m", wanted, cut)
        return scored.rows.tolist(), scored.score.tolist(), list(scored.slices)

    assert found(0.4, 150) == found(0.4, 10_000)
    rows, score, slices = found(0.7, 150)
    assert rows == wanted.tolist()
    assert score == pytest.approx(a[wanted] * 0.85, rel=1e-6)
    assert slices == ["high" if v > 0.7 else "low" for v in a[wanted]]


def test_a_shard_of_what_can_not_be_read_has_the_columns_of_the_others(tmp_path: Path) -> None:
    """So that other tools read all shards as one table."""
    job: Any = _Job(tmp_path)
    item = Item(row=0, id="i", name="a", uri="a")
    for n, good in enumerate(([], [Predicted(item, {"a": 0.5})])):
        job.store.write(f"part-{n}.parquet", {"row": np.arange(n, dtype=np.int32), **_prediction_columns(job, good)})
    none, some = (pq.read_schema(tmp_path / f"part-{n}.parquet") for n in (0, 1))
    assert none == some
    assert str(none.field("slice").type) == "string"


def test_slices_are_names_by_number() -> None:
    one, two = Slices.of(["b", "a", "b"]), Slices.of(np.array(["c", "a"]))
    both = Slices.joined([one, two])
    assert list(both) == ["b", "a", "b", "c", "a"]
    assert (both.names, both.counts().tolist()) == (("a", "b", "c"), [2, 2, 1])
    assert both.isin(["a", "c"]).tolist() == [False, True, False, True, True]
    assert list(both[np.array([3, 0])]) == ["c", "b"]
    assert both[both.isin(["c"])].counts().tolist() == [0, 0, 1]
    assert list(Slices.joined([])) == []


def test_a_file_is_checked_once_and_again_when_it_changes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ref = store.write("x.parquet", {"row": np.arange(9, dtype=np.int32)})
    assert store.read(ref)["row"].tolist() == list(range(9))
    data = bytearray((tmp_path / "x.parquet").read_bytes())
    data[9] ^= 1
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(RunError, match="was changed since it was written"):
        list(store.stream(ref, ["row"]))
    (tmp_path / "x.parquet").unlink()
    with pytest.raises(RunError, match="is missing"):
        store.check(ref)


def test_a_table_that_is_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ref = store.write("x.parquet", {"row": np.arange(9, dtype=np.int32)})

    def broken() -> None:
        with store.writing("x.parquet") as file:
            file.add({"row": np.arange(3, dtype=np.int32)})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert len(store.read(ref)["row"]) == 9
    assert [p.name for p in tmp_path.iterdir()] == ["x.parquet"]


def test_among_asks_only_what_is_sorted() -> None:
    values = np.array([5, 1, 9, 5, 0], np.int32)
    assert among(values, np.array([1, 5, 7])).tolist() == [True, True, False, True, False]
    assert not among(values, np.zeros(0, np.int32)).any()
