"""The files of a run in the tools of others, as they are: DuckDB, pandas, polars."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import runs

import gtloop
from gtloop.opened import Run

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with embeddings, in shards of 64 rows."""
    folder = tmp_path_factory.mktemp("run")
    given = runs.settings(*runs.make_images(folder, 180), run__sampler="diverse")
    with patch("gtloop.vision.SHARD", 64):
        assert runs.run_here(folder / "run", given)[0] == "finished"
    return gtloop.open(folder / "run")


def _duckdb(files: str) -> Rows:
    import duckdb

    found = duckdb.sql(f"SELECT * FROM '{files}'")
    return [dict(zip(found.columns, values, strict=True)) for values in found.fetchall()]


def _pandas(files: str) -> Rows:
    import pandas

    every = pandas.concat(pandas.read_parquet(path) for path in Path("/").glob(files.lstrip("/")))
    return [{str(k): v for k, v in row.items()} for row in every.to_dict("records")]


def _polars(files: str) -> Rows:
    import polars

    return polars.scan_parquet(files).collect().to_dicts()


@pytest.mark.parametrize("read", [_duckdb, _pandas, _polars])
@pytest.mark.parametrize(
    ("files", "least", "kinds"),
    [
        ("items.parquet", 1, {"row": int, "name": str, "sha256": str, "width": int, "alias_of": int}),
        ("predictions/m*/part-*.parquet", 3, {"row": int, "slice": str, "features": list, "raw_json": dict}),
        ("embeddings/*/*/part-*.parquet", 3, {"row": int, "embedding": list}),
        ("labels/human-*.parquet", 4, {"row": int, "payload_json": dict, "labelled": bool, "workers": int}),
        ("labels/machine-*.parquet", 1, {"row": int, "payload_json": dict, "confidence": float, "bound": float}),
    ],
)
def test_a_file_says_elsewhere_what_it_says_here(
    run: Run, read: Callable[[str], Rows], files: str, least: int, kinds: dict[str, type]
) -> None:
    """Every column, row by row; all files of a kind are read as one."""
    own: Rows = []
    paths = sorted(run.root.glob(files))
    for path in paths:
        table = run.store.read_path(str(path.relative_to(run.root)))
        own += [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    found = read(f"{run.root}/{files}")
    assert len(paths) >= least
    assert len(own) == len(found) > 0
    assert own[0].keys() == found[0].keys()
    assert {name: type(_plain(name, found[0][name])) for name in kinds} == kinds

    def comparable(rows: Rows) -> list[str]:
        return sorted(json.dumps({k: _plain(k, v) for k, v in row.items()}, sort_keys=True) for row in rows)

    assert comparable(own) == comparable(found)


def _plain(name: str, value: Any) -> Any:
    """A value as JSON has it, whatever a tool makes of it."""
    if name.endswith("_json"):
        return json.loads(value) if isinstance(value, str) else value if isinstance(value, dict) else None
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return [float(v) for v in value] if isinstance(value, list | tuple) else value


def test_a_query_over_several_of_them(run: Run) -> None:
    """The one of docs/scale.md, with what was predicted."""
    import duckdb

    whole = next(e.event.path for e in run.events() if e.event.type == "items-predicted" and ".f" not in e.event.model)
    query = f"""
        SELECT items.name, labels.payload_json::JSON, labels.confidence, predicted.features
        FROM '{run.root}/labels/machine-*.parquet' labels
        JOIN '{run.root}/items.parquet' items USING (row)
        JOIN '{run.root}/{whole}/part-*.parquet' predicted USING (row)
        ORDER BY row
    """
    found = duckdb.sql(query).fetchall()
    labels = [label for label in run.labels() if label.source == "machine"]
    assert [(name, confidence) for name, _, confidence, _ in found] == [
        (run.items.name[label.row], label.confidence) for label in labels
    ]
    assert len(found[0][3]) == len(run.task().feature_names)
