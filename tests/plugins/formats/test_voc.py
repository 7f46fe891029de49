"""``voc``: exports that come back, other tools' readers, names that collide, bad files."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gtloop.errors import BadLabels, UsageError
from gtloop.interfaces import Context, Entry, ExportRow, Format
from gtloop.labelfiles import Matcher, pick_reader
from gtloop.records import Item, Label
from gtloop.registry import Registry
from gtloop_plugins.formats.voc import Voc, VocOptions

CATEGORIES = ("cat", "dög", "<racc> oon")
PARTS = st.sampled_from(["a", "A", "a.jpg", "a.png", "a.xml", "é", "e\u0301", "..", ".h.png", "x y.tif", "a~2"])
NAMES = st.lists(PARTS | st.text(min_size=1, max_size=5), min_size=1, max_size=3).map("/".join)

voc = Voc(VocOptions(), Context())
original = Voc(VocOptions(one_based=True), Context())


def read(path: Path, plugin: Voc = voc) -> list[Entry]:
    return list(plugin.read(path, "bbox", CATEGORIES))


def write(
    path: Path, rows: list[ExportRow], plugin: Voc = voc, frame: str = "display", categories: Any = CATEGORIES
) -> list[str]:
    info = {"categories": categories, "run": "r", "frame": frame, "version": "0.1.0"}
    return plugin.write(path, iter(rows), "bbox", info)


def row_of(number: int, name: str, boxes: Any, size: tuple[int, int] | None = (20, 12), **changes: Any) -> ExportRow:
    """``boxes`` None: a row without a label."""
    width, height = size or (None, None)
    item = Item(row=number * 2, id=f"i{number}", name=name, uri="/x", width=width, height=height)
    if boxes is None:
        return ExportRow(item, None, width, height, "pool", "budget")
    facts = {"source": "machine", "confidence": 0.25, "iteration": 3, "model": "m\n", "bound": 0.5} | changes
    label = Label(row=item.row, payload={"boxes": boxes}, **facts)
    return ExportRow(item, label, width, height, label.source, "")


@st.composite
def boxes_of(draw: st.DrawFn, width: int, height: int) -> dict[str, Any]:
    x1, y1 = draw(st.floats(0, width - 1)), draw(st.floats(0, height - 1))
    x2, y2 = draw(st.floats(x1 + 0.5, width)), draw(st.floats(y1 + 0.5, height))
    box = {"category": draw(st.sampled_from(CATEGORIES)), "xyxy": [x1, y1, x2, y2]}
    return box if draw(st.booleans()) else box | {"confidence": draw(st.floats(0, 1))}


@st.composite
def exports(draw: st.DrawFn) -> list[ExportRow]:
    rows = []
    for number, name in enumerate(draw(st.lists(NAMES, max_size=6, unique=True))):
        width, height = draw(st.integers(2, 4000)), draw(st.integers(2, 4000))
        boxes = draw(st.none() | st.lists(boxes_of(width, height), max_size=3))
        size = draw(st.sampled_from([(width, height), (width, height), None]))
        rows.append(row_of(number, name, boxes, size, source=draw(st.sampled_from(["human", "machine", "adjusted"]))))
    return rows


@settings(max_examples=80, deadline=None)
@given(rows=exports(), frame=st.sampled_from(["display", "stored"]), one_based=st.booleans())
def test_an_export_comes_back(rows: list[ExportRow], frame: str, one_based: bool) -> None:
    """Every row, whatever the names; its boxes, confidences, source, frame and provenance; read with any options."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out")
        said = write(path, rows, original if one_based else voc, frame)
        listed = (path / "ImageSets/Main/default.txt").read_text("utf-8").splitlines()
        assert all((path / "Annotations" / f"{line}.xml").is_file() for line in listed)
        entries = {e.name: e for e in read(path)}
        assert entries == {e.name: e for e in read(path, Voc(VocOptions(one_based=True, frame="stored"), Context()))}
        assert voc.sniff(path)
    assert len(listed) == sum(r.label is not None for r in rows)
    assert set(entries) == {r.item.name for r in rows}
    for row in rows:
        entry = entries[row.item.name]
        assert entry.frame == frame
        assert entry.extras.items() >= {"row": row.item.row, "status": row.status, "reason": row.reason}.items()
        assert (entry.extras.get("width"), entry.extras.get("height")) == (row.width, row.height)
        if row.label is None:
            assert (entry.payload, entry.source) == (None, None)
            continue
        assert entry.payload is not None
        assert entry.source == row.label.source
        assert entry.extras.items() >= row.label.model_dump(exclude={"row", "payload"}).items()
        for got, put in zip(entry.payload["boxes"], row.label.payload["boxes"], strict=True):
            assert (got["category"], got.get("confidence")) == (put["category"], put.get("confidence"))
            assert got["xyxy"] == (pytest.approx(put["xyxy"], abs=1e-9) if one_based else put["xyxy"])
    unlabelled = sum(r.label is None for r in rows)
    assert [s.split(" image")[0] for s in said if "without a label" in s] == [str(unlabelled)] * bool(unlabelled)


def test_every_name_is_one_line_of_the_list(tmp_path: Path) -> None:
    names = ["\x85", "a\u2028b.jpg", "c\u2029", "d.jpg"]
    write(tmp_path / "out", [row_of(n, name, []) for n, name in enumerate(names)])
    listed = (tmp_path / "out/ImageSets/Main/default.txt").read_text("utf-8").splitlines()
    assert listed == ["_", "a_b", "c_", "d"]
    assert {e.name for e in read(tmp_path / "out")} == set(names)


def test_names_that_collide(tmp_path: Path) -> None:
    names = ["a.jpg", "a.png", "A.gif", "s/a.jpg", "t/a.jpg", "a.png.tif", "a.xml/b.jpg", "a"]
    said = write(tmp_path / "out", [row_of(n, name, []) for n, name in enumerate(names)])
    listed = (tmp_path / "out/ImageSets/Main/default.txt").read_text().splitlines()
    assert listed == ["a", "a.png", "A.gif", "s/a", "t/a", "a.png.tif", "a.xml_/b", "a~2"]
    assert len(said) == 1
    assert said[0].startswith("5 images are not called as the XML file")
    assert sorted(e.name for e in read(tmp_path / "out")) == sorted(names)


def test_the_files_of_an_export(tmp_path: Path) -> None:
    rows = [
        row_of(0, "s/é.jpg", [{"category": "<racc> oon", "xyxy": [1, 2.5, 3, 4], "confidence": 0.5}], source="human"),
        row_of(1, "2.jpg", None),
    ]
    said = write(tmp_path / "out", rows)
    assert said == ["1 image is without a label (1 budget): listed in gtloop.jsonl only."]
    files = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert files == ["Annotations/s/é.xml", "ImageSets/Main/default.txt", "gtloop.jsonl", "labelmap.txt"]
    xml = (tmp_path / "out/Annotations/s/é.xml").read_text("utf-8")
    for text in (
        *("<folder>s</folder>", "<filename>é.jpg</filename>", "<width>20</width>", "<name>&lt;racc&gt; oon</name>"),
        *("<xmin>1</xmin>", "<ymin>2.5</ymin>", "<xmax>3</xmax>", "<confidence>0.5</confidence>", '"source": "human"'),
    ):
        assert text in xml
    lines = [json.loads(line) for line in (tmp_path / "out/gtloop.jsonl").read_text("utf-8").splitlines()]
    assert [(line["name"], line["annotation"]) for line in lines] == [
        ("s/é.jpg", "Annotations/s/é.xml"),
        ("2.jpg", "Annotations/2.xml"),
    ]
    assert (tmp_path / "out/labelmap.txt").read_text("utf-8").splitlines()[1:] == ["cat:::", "dög:::", "<racc> oon:::"]
    write(tmp_path / "out", rows[1:])  # an export takes the place of an earlier one
    assert not (tmp_path / "out/Annotations/s").exists()
    with pytest.raises(UsageError, match="no export of gtloop"):
        write(tmp_path, rows)


def test_edited_exports(tmp_path: Path) -> None:
    """A tool that drops <gtloop> and draws what was unlabelled: both count, under names that are found."""
    box = {"category": "cat", "xyxy": [1, 1, 3, 4]}
    write(tmp_path / "out", [row_of(0, "s/a.jpg", [box]), row_of(1, "b.jpg", None), row_of(2, "c.jpg", None)])
    xml = tmp_path / "out/Annotations/s/a.xml"
    start, _, rest = xml.read_text().partition("<gtloop>")
    xml.write_text(start + rest.partition("</gtloop>")[2])
    shutil.copy(xml, tmp_path / "out/Annotations/b.xml")
    entries = read(tmp_path / "out")
    matcher = Matcher(["s/a.jpg", "b.jpg", "c.jpg"])
    found = {matcher.row(e.name): e for e in entries}
    assert len(entries) == len(found) == 3
    assert found[0].payload == found[1].payload == {"boxes": [box]}
    assert found[0].source is None
    assert found[2].payload is None


# ------------------------------------------------------------------------------------- other readers


BOXES = [
    {"category": "dög", "xyxy": [3.0, 2.0, 9.0, 6.0], "confidence": 0.5},
    {"category": "cat", "xyxy": [0.0, 0.0, 20.0, 12.0]},
]


def pictures(folder: Path, plugin: Voc) -> None:
    """A devkit folder: three images of 20 x 12 with their export; the last without an object."""
    write(folder, [row_of(n, f"{n}.jpg", [] if n == 2 else BOXES) for n in range(3)], plugin)
    (folder / "JPEGImages").mkdir()
    for n in range(3):
        Image.new("RGB", (20, 12)).save(folder / "JPEGImages" / f"{n}.jpg")


@pytest.mark.parametrize("plugin", [voc, original])
def test_by_supervision(tmp_path: Path, plugin: Voc) -> None:
    """supervision reads as the devkit does, from 1: exact with one_based, else one pixel off at the near corner."""
    import supervision

    root = tmp_path / "out"
    pictures(root, plugin)
    foreign = supervision.DetectionDataset.from_pascal_voc(str(root / "JPEGImages"), str(root / "Annotations"))
    off = 0 if plugin is original else 1
    assert len(foreign) == 3
    for n, (_, _, found) in enumerate(foreign):
        expected = [] if n == 2 else BOXES
        assert [foreign.classes[c] for c in found.class_id] == [b["category"] for b in expected]
        for got, put in zip(found.xyxy.tolist(), expected, strict=True):
            x1, y1, x2, y2 = put["xyxy"]
            assert got == [x1 - off, y1 - off, x2, y2]


@pytest.mark.slow
def test_by_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import VOCDetection

    root = tmp_path / "VOCdevkit" / "VOC2012"
    root.parent.mkdir()
    pictures(root, voc)
    shutil.copy(root / "ImageSets/Main/default.txt", root / "ImageSets/Main/train.txt")  # it takes no other name
    foreign = VOCDetection(str(tmp_path), "2012", "train")
    assert len(foreign) == 3
    for n in range(3):
        image, tree = foreign[n]
        assert image.size == (20, 12)
        assert tree["annotation"]["filename"] == f"{n}.jpg"
        found = tree["annotation"].get("object", [])
        expected = [] if n == 2 else BOXES
        assert [o["name"] for o in found] == [b["category"] for b in expected]
        corners = [[float(o["bndbox"][k]) for k in ("xmin", "ymin", "xmax", "ymax")] for o in found]
        assert corners == [b["xyxy"] for b in expected]


def test_no_other_format_takes_it(tmp_path: Path) -> None:
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    formats: list[Format] = [registry.build("format", name, {}, Context()) for name in registry.names("format")]
    write(tmp_path / "full", [row_of(0, "a/b.jpg", BOXES)])
    write(tmp_path / "none", [row_of(0, "a/b.jpg", None)])
    for path in (tmp_path / "full", tmp_path / "none"):
        assert pick_reader(formats, path, "bbox").name == "voc"
    assert not any(f.sniff(tmp_path / "full") for f in formats if f.name != "voc" and "segmentation" in f.tasks)


# ---------------------------------------------------------------------------------------- bad files


def xml_file(path: Path, inside: str) -> Path:
    path.write_text(f"<annotation><filename>a.jpg</filename>{inside}</annotation>")
    return path


def test_frame_of_others(tmp_path: Path) -> None:
    path = xml_file(tmp_path / "a.xml", "")
    assert read(path)[0].frame == "display"
    assert read(path, Voc(VocOptions(frame="stored"), Context()))[0].frame == "stored"
    assert read(path)[0].source is None


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ("<gtloop>{</gtloop>", "the text of <gtloop> is not JSON"),
        ("<gtloop>" + "[" * 100_000 + "</gtloop>", "the text of <gtloop> is not JSON"),
        ("<gtloop>[]</gtloop>", "the text of <gtloop> is not a JSON object"),
        ("<gtloop/>", "the text of <gtloop> is not JSON"),
    ],
)
def test_bad_facts(tmp_path: Path, inside: str, says: str) -> None:
    path = xml_file(tmp_path / "a.xml", inside)
    with pytest.raises(BadLabels, match=says) as e:
        read(tmp_path)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("confidence", ["2", "-0.1", "nan", "sure", ""])
def test_bad_confidence(tmp_path: Path, confidence: str) -> None:
    bounds = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
    xml_file(tmp_path / "a.xml", f"<object><name>cat</name>{bounds}<confidence>{confidence}</confidence></object>")
    with pytest.raises(BadLabels, match=rf"object 1: <confidence> is '{confidence}', not a number from 0 to 1"):
        read(tmp_path)


@pytest.mark.parametrize("line", ["{", "3", '{"source": null}'])
def test_bad_marker(tmp_path: Path, line: str) -> None:
    write(tmp_path / "out", [row_of(0, "a.jpg", [])])
    (tmp_path / "out/gtloop.jsonl").write_text(line)
    with pytest.raises(BadLabels, match=r"gtloop\.jsonl, line 1"):
        read(tmp_path / "out")


def test_what_xml_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(BadLabels, match=r"a\.jpg: category 'zebra' is not one of the run's"):
        write(tmp_path / "out", [row_of(0, "a.jpg", [{"category": "zebra", "xyxy": [1, 1, 2, 2]}])])
    for category in ("a\x01", " a", "\ufffe"):
        with pytest.raises(BadLabels, match="can't stand in an XML file"):
            write(tmp_path / "out", [], categories=[category])
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "out", [], categories=["a:b"])
    assert not (tmp_path / "out/labelmap.txt").exists()
