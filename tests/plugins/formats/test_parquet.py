"""``parquet``: lossless, streamed, and open to DuckDB and Polars."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exportrows import CATEGORIES, check_provenance, export_rows, info, read, row
from hypothesis import given, settings

from gtloop.errors import BadLabels, UsageError
from gtloop.interfaces import Context, Entry, ExportRow, Options
from gtloop.labelfiles import pick_reader
from gtloop_plugins.formats.jsonl import JsonLines
from gtloop_plugins.formats.parquet import Parquet

parquet = Parquet(Options(), Context())
BOX = {"category": "cat", "xyxy": [1.5, 2, 30, 40], "confidence": 0.25}


@pytest.mark.parametrize("task", ["bbox", "classification", "segmentation"])
@pytest.mark.parametrize("frame", ["display", "stored"])
def test_round_trip(task: str, frame: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(rows=export_rows(task))
    def check(rows: list[ExportRow]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "sub", "out.parquet")
            assert parquet.write(path, iter(rows), task, info(frame)) == []
            assert [p.name for p in path.parent.iterdir()] == [path.name]
            assert pick_reader([parquet, JsonLines(Options(), Context())], path, task) is parquet
            entries = read(parquet, path, task)
        check_provenance(rows, entries, frame)
        assert [e.payload for e in entries] == [r.label.payload if r.label else None for r in rows]
        assert not any("boxes" in e.extras or "category" in e.extras for e in entries)

    check()


def test_metadata(tmp_path: Path) -> None:
    parquet.write(tmp_path / "a.parquet", [], "bbox", info("stored"))
    found = json.loads(pq.read_schema(tmp_path / "a.parquet").metadata[b"gtloop"])
    assert found == {
        "task": "bbox",
        "categories": list(CATEGORIES),
        "run": "birds",
        "frame": "stored",
        "version": "0.1.0",
    }


@settings(max_examples=25, deadline=None)
@given(rows=export_rows("bbox"))
def test_boxes_in_polars(rows: list[ExportRow]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.parquet")
        parquet.write(path, rows, "bbox", info())
        table = pl.read_parquet(path)
    assert table["name"].to_list() == [r.item.name for r in rows]
    for put, got in zip(rows, table["boxes"].to_list(), strict=True):
        assert (got is None) == (put.label is None)
        expected = [
            (b["category"], *b["xyxy"], b.get("confidence")) for b in (put.label.payload["boxes"] if put.label else [])
        ]
        assert [tuple(b[k] for k in ("category", "x1", "y1", "x2", "y2", "confidence")) for b in got or []] == expected


def test_queries_of_duckdb(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    rows = [
        row(0, {"boxes": [BOX, {"category": "dög", "xyxy": [0, 0, 5, 5]}]}),
        row(1, {"boxes": [BOX]}, "machine"),
        row(2, {"boxes": []}),
        row(3, None),
    ]
    parquet.write(path, rows, "bbox", info())
    query = f"""
        SELECT box.category, count(*), sum((box.x2 - box.x1) * (box.y2 - box.y1))
        FROM (SELECT unnest(boxes) AS box FROM '{path}') GROUP BY 1 ORDER BY 1
    """
    assert duckdb.sql(query).fetchall() == [("cat", 2, 2 * 28.5 * 38), ("dög", 1, 25)]
    by_source = f"SELECT source, count(*) FROM '{path}' WHERE payload IS NOT NULL GROUP BY 1 ORDER BY 1"
    assert duckdb.sql(by_source).fetchall() == [("human", 2), ("machine", 1)]
    parquet.write(path, [row(0, {"category": "cat"}), row(1, None)], "classification", info())
    assert duckdb.sql(f"SELECT category, reason FROM '{path}'").fetchall() == [
        ("cat", ""),
        (None, "not labelled yet"),
    ]


def test_what_others_write(tmp_path: Path) -> None:
    """JSON text of DuckDB, structs of Polars: a null of a struct is a key that is not there."""
    path = tmp_path / "a.parquet"
    duckdb.sql(f"""
        COPY (SELECT 'a/é.jpg' AS name, '{{"boxes": []}}'::JSON AS payload, 7 AS extra
        UNION ALL SELECT 'b.jpg', NULL, NULL) TO '{path}'
    """)
    found = sorted(read(parquet, path, "bbox"))
    assert found == [Entry("a/é.jpg", {"boxes": []}, {"extra": 7}), Entry("b.jpg", None, {})]
    plain = {k: v for k, v in BOX.items() if k != "confidence"}
    payloads = [{"boxes": [BOX, plain]}, {"boxes": []}, None]
    pl.DataFrame({"name": ["a", "b", "c"], "payload": payloads, "boxes": [1, 2, 3]}).write_parquet(path)
    assert parquet.sniff(path)
    assert [e.payload for e in read(parquet, path, "bbox")] == payloads
    assert [e.extras for e in read(parquet, path, "bbox")] == [{"boxes": 1}, {"boxes": 2}, {"boxes": 3}]


def test_row_groups_are_written_and_read_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"

    def peak(n: int) -> int:
        rows = (row(i, {"text": f"{i:06d}" * 20_000}) for i in range(n))  # 120 kB each
        tracemalloc.start()
        parquet.write(path, rows, "other", info())
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(400) < peak(100) * 1.5
    peak(400)
    assert pq.ParquetFile(path).num_row_groups >= 4
    first = next(iter(parquet.read(path, "other", ())))
    assert first.payload == {"text": "000000" * 20_000}


def test_a_failed_export_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write(path, [row(0, {"boxes": []})], "bbox", info())
    before = path.read_bytes()

    def broken() -> Iterator[ExportRow]:
        yield row(1, {"boxes": []})
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        parquet.write(path, broken(), "bbox", info())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UsageError, match="is a folder"):
        parquet.write(tmp_path, [], "bbox", info())


def table(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"name": ["a"]}, 'has no column "payload"'),
        ({"payload": ["{}"]}, 'has no column "name"'),
        ({"name": ["a", "a"], "payload": ["{}", "{}"]}, "row 2: a is there already, in row 1; remove one"),
        ({"name": ["a", None], "payload": ["{}", "{}"]}, 'row 2 has no "name" of an image, but None'),
        ({"name": [3], "payload": ["{}"]}, 'row 1 has no "name" of an image, but 3'),
        ({"name": ["a"], "payload": ["{"]}, 'row 1: "payload" of a is not JSON'),
        ({"name": ["a"], "payload": ['{"x": NaN}']}, "NaN is not JSON"),
        ({"name": ["a"], "payload": ["[]"]}, 'row 1: "payload" of a is list, no object'),
        ({"name": ["a"], "payload": [1.5]}, 'row 1: "payload" of a is float, no object'),
    ],
)
def test_bad_rows(tmp_path: Path, columns: dict[str, Any], says: str) -> None:
    path = table(tmp_path / "a.parquet", **columns)
    with pytest.raises(BadLabels) as e:
        read(parquet, path, "bbox")
    assert says in str(e.value)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 and then nothing of it PAR1", b"hello"])
def test_what_is_no_parquet(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert not parquet.sniff(path)
    with pytest.raises(BadLabels, match="can't be read as Parquet") as e:
        read(parquet, path, "bbox")
    assert "\n" not in str(e.value)
    with pytest.raises(BadLabels, match="can't be read as Parquet"):
        read(parquet, tmp_path, "bbox")
    table(path, file=["a"], label=["b"])
    assert not parquet.sniff(path)


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write(path, [row(i, {"boxes": [BOX]}) for i in range(3)], "bbox", info())
    data = path.read_bytes()
    refused = []
    for cut in range(4, len(data), 41):
        path.write_bytes(data[:cut] + b"\x80\xff\x00" + data[cut + 3 :])
        parquet.sniff(path)
        try:
            read(parquet, path, "bbox")
        except BadLabels as e:
            refused.append(str(e))
    assert len(refused) > 10
    assert not any("\n" in text for text in refused)
