"""``csv``: round trips, polars and the csv module as readers, other people's tables, bad lines."""

from __future__ import annotations

import csv
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtloop.errors import BadLabels, UsageError
from gtloop.interfaces import Context, Entry, ExportRow, Format
from gtloop.labelfiles import pick_reader
from gtloop.records import Item, Label
from gtloop_plugins.formats.csvfile import COLUMNS, CsvFile
from gtloop_plugins.formats.folder import ClassFolders
from gtloop_plugins.formats.jsonl import JsonLines

CATEGORIES = ("cat", "dög", 'a,b "c"', "-1", " x ", "new\r\nline")
INFO = {"categories": CATEGORIES, "run": "r", "frame": "display", "version": "0.1.0"}
PLUGIN = CsvFile(CsvFile.Options(), Context(categories=CATEGORIES))


def read(path: Path, categories: tuple[str, ...] = CATEGORIES) -> list[Entry]:
    return list(PLUGIN.read(path, "classification", categories))


def table(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def payloads(path: Path, categories: tuple[str, ...] = CATEGORIES) -> dict[str, Any]:
    return {e.name: e.payload for e in read(path, categories)}


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@st.composite
def export_rows(draw: st.DrawFn) -> list[ExportRow]:
    rows = []
    for n, name in enumerate(draw(st.lists(text.filter(str.strip), max_size=6, unique=True))):
        width, height = draw(st.none() | st.integers(1, 9999)), draw(st.none() | st.integers(1, 9999))
        item = Item(row=n, id=f"id-{n}", name=name, uri="/x")
        if draw(st.booleans()):
            rows.append(ExportRow(item, None, width, height, "quarantined", draw(text)))
            continue
        payload: dict[str, Any] = {"category": draw(st.sampled_from(CATEGORIES))}
        if draw(st.booleans()):
            payload["confidence"] = draw(st.floats(0, 1))
        label = Label(
            row=n,
            payload=payload,
            source=draw(st.sampled_from(["human", "machine", "adjusted"])),
            confidence=draw(st.floats(0, 1)),
            iteration=draw(st.integers(0, 99)),
            model=draw(st.none() | text.filter(bool)),
            threshold=draw(st.none() | st.floats(0, 1)),
            bound=draw(st.none() | st.floats(0, 1)),
            workers=draw(st.integers(0, 9)),
            consolidation=draw(st.none() | st.just("vote-1")),
        )
        rows.append(ExportRow(item, label, width, height, label.source, ""))
    return rows


@settings(max_examples=80, deadline=None)
@given(rows=export_rows())
def test_round_trip(rows: list[ExportRow]) -> None:
    """Lossless: every name, label, confidence and provenance, whatever they are made of."""
    with tempfile.TemporaryDirectory() as tmp:
        path = Path(tmp, "sub", "out.csv")
        assert PLUGIN.write(path, iter(rows), "classification", INFO) == []
        assert [p.name for p in path.parent.iterdir()] == ["out.csv"]
        assert PLUGIN.sniff(path)
        entries = read(path)
        assert [e.name for e in entries] == [r.item.name for r in rows]
        for r, entry in zip(rows, entries, strict=True):
            assert entry.extras.items() >= {"row": r.item.row, "id": r.item.id, "status": r.status}.items()
            assert (entry.extras["width"], entry.extras["height"]) == (r.width, r.height)
            assert entry.extras["reason"] == r.reason
            if r.label is None:
                assert entry.payload is entry.source is None
                continue
            assert entry.payload == r.label.payload
            assert entry.source == r.label.source
            assert entry.extras.items() >= r.label.model_dump(exclude={"row", "payload"}).items()


def test_the_csv_module_and_polars_read_it(tmp_path: Path) -> None:
    rows = []
    for n, category in enumerate(CATEGORIES):
        item = Item(row=n, id=f"id-{n}", name=f'{n}, "x".jpg', uri="/x")
        label = Label(row=n, payload={"category": category}, source="human", confidence=0.5, iteration=1)
        rows.append(ExportRow(item, label, 20, 10, "human", ""))
    rows.append(ExportRow(Item(row=9, id="id-9", name="bad.jpg", uri="/x"), None, None, None, "quarantined", 'a "b"'))
    path = tmp_path / "out.csv"
    PLUGIN.write(path, rows, "classification", INFO)
    wanted = [(r.item.name, r.label.payload["category"] if r.label else "") for r in rows]
    with path.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == list(COLUMNS)
    assert [(f["image"], f["label"]) for f in found] == wanted
    frame = polars.read_csv(path)
    assert frame.columns == list(COLUMNS)
    assert [(a, b or "") for a, b in frame.select("image", "label").rows()] == wanted
    assert frame["confidence"].to_list() == [0.5] * 6 + [None]
    assert frame["reason"].to_list()[-1] == 'a "b"'
    polars.DataFrame({"filename": ["a.jpg", "b.jpg"], "class": ["cat", None]}).write_csv(tmp_path / "theirs.csv")
    assert payloads(tmp_path / "theirs.csv") == {"a.jpg": {"category": "cat"}, "b.jpg": None}


@pytest.mark.parametrize(
    "content",
    [
        "image,label\na.jpg,cat\nb.jpg,\n",
        "\ufeffName;Class\r\na.jpg;cat\r\n\r\nb.jpg; \r\n",
        "id\tFILENAME\tTarget\n1\ta.jpg\tcat\n2\tb.jpg\t\n",
        'image_id,"Category "\n"a.jpg", cat\nb.jpg,""',
        "image_id,path,label\n7,a.jpg,cat\n8,b.jpg,\n",
        "Label,weight;kg,File\ncat,3,a.jpg\n,4,b.jpg\n",
    ],
)
def test_tables_of_others(tmp_path: Path, content: str) -> None:
    path = table(tmp_path, content)
    assert PLUGIN.sniff(path)
    assert payloads(path) == {"a.jpg": {"category": "cat"}, "b.jpg": None}
    assert payloads(path, ()) == {"a.jpg": {"category": "cat"}, "b.jpg": None}


def test_without_a_header(tmp_path: Path) -> None:
    path = table(tmp_path, "a.jpg;cat\nb.jpg;dög\n")
    assert PLUGIN.sniff(path)
    assert payloads(path) == {"a.jpg": {"category": "cat"}, "b.jpg": {"category": "dög"}}
    with pytest.raises(BadLabels, match=r"line 1 is no header \('a.jpg;cat'\); name one column image and one label"):
        read(path, ("cow",))


def test_confidences_and_extras(tmp_path: Path) -> None:
    path = table(tmp_path, "image,label,confidence,row,camera\na.jpg,cat,0.25,x1,left\nb.jpg,dög,,2,\n")
    first, second = read(path)
    assert first.payload == {"category": "cat", "confidence": 0.25}
    assert first.extras == {"confidence": 0.25, "row": "x1", "camera": "left"}
    assert second.payload == {"category": "dög"}
    assert second.extras == {"confidence": None, "row": 2, "camera": ""}
    assert first.source is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("image,label\na.jpg,cow\n", r"t.csv, line 2: category 'cow' is not declared"),
        ("image,label\na.jpg,cat\n\nb.jpg,dög\na.jpg,cat\n", r"line 5: a.jpg is there already, in line 2; remove one"),
        ("image,label\na.jpg,cat,x\n", r"line 2 has 3 fields, not 2"),
        ("image,label\na.jpg\n", r"line 2 has 1 fields, not 2"),
        ("image,label\n,cat\n", r"line 2 names no image"),
        ("image,label,confidence\na.jpg,cat,97%\n", r"line 2: confidence is '97%', not a number from 0 to 1"),
        ("image,label,confidence\na.jpg,cat,97\n", r"line 2: confidence is '97', not a number from 0 to 1"),
        ("image,label,confidence\na.jpg,cat,nan\n", r"line 2: confidence is 'nan'"),
        ('image,label\n"a.jpg,cat\n', r"line 2 is not CSV \(unexpected end of data\)"),
        ('image,label\n"a"b,cat\n', r"line 2 is not CSV"),
        ("image,label\n" + "a" * 200_000 + ",cat\n", r"line 2 is not CSV \(field larger"),
        ("photo,species\na.jpg,cat\n", r"line 1 is no header \('photo,species'\)"),
        ("hello\n", r"line 1 is no header \('hello'\)"),
        ("image,label\na.jpg,cat\n".encode("utf-16"), r"line 1 is not UTF-8; save the file as CSV UTF-8"),
        (b"image,label\na.jpg,cat\nd\xf6g.jpg,cat\n", r"line 3 is not UTF-8"),
        ("image,label\na\0.jpg,cow\n", r"line 2"),
    ],
)
def test_bad_lines_say_where(tmp_path: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(BadLabels, match=says) as e:
        read(table(tmp_path, content))
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 400


def test_sniff_leaves_others_alone(tmp_path: Path) -> None:
    for content in ("", "hello\n", "a,b,c\n", "photo,species\n", "a.jpg cat\n", "image\n", b"\xff\xfe\0"):
        assert not PLUGIN.sniff(table(tmp_path, content)), content
    assert not PLUGIN.sniff(table(tmp_path, "image,label\n", "t.jsonl"))
    assert not PLUGIN.sniff(tmp_path)
    all_of: list[Format] = [PLUGIN, JsonLines(JsonLines.Options(), Context())]
    all_of.append(ClassFolders(ClassFolders.Options(), Context()))
    assert pick_reader(all_of, table(tmp_path, "image,label\n"), "classification") is PLUGIN


def test_reading_streams(tmp_path: Path) -> None:
    """Lines pass through; only the names are kept, to find doubles."""
    lines = "".join(f"folder/{n}.jpg,cat,{'x' * 1000}\n" for n in range(10_000))
    path = table(tmp_path, "image,label,notes\n" + lines)
    tracemalloc.start()
    n = sum(1 for _ in PLUGIN.read(path, "classification", CATEGORIES))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 10_000
    assert peak < path.stat().st_size / 3


def test_a_folder_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        PLUGIN.write(tmp_path, [], "classification", INFO)
