"""Rows of exports, drawn by hypothesis, and what must come back of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from gtloop import masks
from gtloop.interfaces import Entry, ExportRow, Format
from gtloop.records import Item, Label

CATEGORIES = ("cat", "dög", "racc oon", "BACKGROUND")
PROVENANCE = ("source", "confidence", "iteration", "model", "threshold", "bound", "workers", "consolidation")


def info(frame: str = "display", categories: tuple[str, ...] = CATEGORIES) -> dict[str, Any]:
    return {"categories": categories, "run": "birds", "frame": frame, "version": "0.1.0"}


def _sure(draw: st.DrawFn) -> dict[str, float]:
    confidence = draw(st.none() | st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1))
    return {} if confidence is None else {"confidence": confidence}


@st.composite
def boxes_payload(draw: st.DrawFn, width: int, height: int) -> dict[str, Any]:
    found = []
    for _ in range(draw(st.integers(0, 4))):
        x1, y1 = draw(st.floats(0, width - 1)), draw(st.integers(0, height - 1))
        x2, y2 = draw(st.floats(x1 + 0.5, width)), draw(st.integers(y1 + 1, height))
        box = {"category": draw(st.sampled_from(CATEGORIES)), "xyxy": [x1, y1, x2, y2]}
        found.append(box | _sure(draw))
    return {"boxes": found}


@st.composite
def class_payload(draw: st.DrawFn, width: int, height: int) -> dict[str, Any]:
    return {"category": draw(st.sampled_from(CATEGORIES))} | _sure(draw)


@st.composite
def masks_payload(draw: st.DrawFn, width: int, height: int) -> dict[str, Any]:
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    present = draw(st.lists(st.integers(masks.VOID, len(CATEGORIES) - 1), min_size=1, unique=True))
    label = masks.from_map(rng.choice(present, size=(height, width)), CATEGORIES)
    payload = label.model_dump(mode="json", exclude_none=True)
    for region in payload["regions"]:
        region |= _sure(draw)
    return payload


PAYLOADS = {"bbox": boxes_payload, "classification": class_payload, "segmentation": masks_payload}


@st.composite
def export_rows(draw: st.DrawFn, task: str) -> list[ExportRow]:
    largest = 9 if task == "segmentation" else 4000
    names = draw(st.lists(st.text(min_size=1, max_size=12), max_size=5, unique=True))
    rows = []
    for n, name in enumerate(names):
        width, height = draw(st.integers(2, largest)), draw(st.integers(2, largest))
        item = Item(row=n * 3, id=f"i{n}", name=name, uri=f"/photos/{n}.jpg", width=width, height=height)
        if draw(st.booleans()):
            known = draw(st.booleans())
            reason = draw(st.sampled_from(["damaged or truncated", 'says "no"\n', ""]))
            size = (width, height) if known else (None, None)
            rows.append(ExportRow(item, None, *size, "quarantined", reason))
            continue
        source = draw(st.sampled_from(["human", "machine", "adjusted"]))
        label = Label(
            row=item.row,
            payload=draw(PAYLOADS[task](width, height)),
            source=source,
            confidence=draw(st.floats(0, 1)),
            iteration=draw(st.integers(0, 99)),
            model=draw(st.none() | st.text(max_size=5)),
            threshold=draw(st.none() | st.floats(0, 1)),
            bound=draw(st.none() | st.floats(0, 1)),
            workers=draw(st.integers(0, 9)),
            consolidation=draw(st.none() | st.just("vote-1")),
        )
        rows.append(ExportRow(item, label, width, height, source, ""))
    return rows


def row(n: int, payload: dict[str, Any] | None, source: str = "human", name: str = "", **item: Any) -> ExportRow:
    """A labelled row of 100 x 80 pixels, or one that has no label."""
    about = {"row": n, "id": f"i{n}", "name": name or f"{n}.jpg", "uri": f"/photos/{n}.jpg", "width": 100, "height": 80}
    made = Item.model_validate(about | item)
    if payload is None:
        return ExportRow(made, None, 100, 80, "pool", "not labelled yet")
    label = Label(row=n, payload=payload, source=source, confidence=0.75, iteration=1, model="m1", workers=3)  # type: ignore[arg-type]
    return ExportRow(made, label, 100, 80, source, "")


def check_provenance(rows: list[ExportRow], entries: list[Entry], frame: str) -> None:
    """Names, order, frame, sizes, reasons and where labels come from survive; what has no label gets none."""
    assert [e.name for e in entries] == [r.item.name for r in rows]
    for put, got in zip(rows, entries, strict=True):
        assert got.extras["row"] == put.item.row
        assert got.extras["id"] == put.item.id
        assert got.extras["status"] == put.status
        assert got.extras.get("reason", "") == put.reason
        assert (got.extras.get("width"), got.extras.get("height")) == (put.width, put.height)
        assert got.frame == frame
        assert (got.payload is None) == (put.label is None)
        if put.label is None:
            assert got.source is None
            continue
        assert got.source == put.label.source
        for key in PROVENANCE:
            assert got.extras.get(key) == getattr(put.label, key), key


def read(plugin: Format, path: Any, task: str, categories: tuple[str, ...] = CATEGORIES) -> list[Entry]:
    return list(plugin.read(path, task, categories))
