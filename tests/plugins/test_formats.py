"""Formats: round trips, foreign readers, bad files; and matching of names."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gtloop.errors import BadLabels, UsageError
from gtloop.interfaces import Context, Entry, ExportRow, Format, Options
from gtloop.labelfiles import Matcher, match_entries, pick_reader, replacing
from gtloop.records import Item, Label
from gtloop_plugins.formats.coco import Coco, CocoOptions
from gtloop_plugins.formats.folder import ClassFolders
from gtloop_plugins.formats.jsonl import JsonLines
from gtloop_plugins.formats.voc import Voc, VocOptions

CATEGORIES = ("cat", "dög", "racc oon")
INFO = {"categories": CATEGORIES, "run": "r", "frame": "display", "version": "0.1.0"}
DATA = Path(__file__).parents[3] / "shared" / "data"

jsonl, coco = JsonLines(Options(), Context()), Coco(CocoOptions(), Context())
voc, folder = Voc(VocOptions(), Context()), ClassFolders(Options(), Context())
ALL: list[Format] = [jsonl, coco, voc, folder]


# -------------------------------------------------------------------------------------- round trips


@st.composite
def boxes(draw: st.DrawFn, width: int, height: int) -> dict[str, Any]:
    x1, y1 = draw(st.floats(0, width - 1)), draw(st.floats(0, height - 1))
    x2, y2 = draw(st.floats(x1 + 0.5, width)), draw(st.floats(y1 + 0.5, height))
    box = {"category": draw(st.sampled_from(CATEGORIES)), "xyxy": [x1, y1, x2, y2]}
    confidence = draw(st.none() | st.floats(0, 1))
    return box if confidence is None else box | {"confidence": confidence}


@st.composite
def export_rows(draw: st.DrawFn) -> list[ExportRow]:
    names = draw(st.lists(st.text(min_size=1, max_size=12), max_size=6, unique=True))
    rows = []
    for row, name in enumerate(names):
        width, height = draw(st.integers(2, 4000)), draw(st.integers(2, 4000))
        item = Item(row=row * 3, id=f"i{row}", name=name, uri="/x", width=width, height=height)
        if not draw(st.booleans()):
            reason = draw(st.sampled_from(["damaged or truncated", 'says "no"\n', ""]))
            known = draw(st.booleans())
            rows.append(
                ExportRow(item, None, width if known else None, height if known else None, "quarantined", reason)
            )
            continue
        source = draw(st.sampled_from(["human", "machine", "adjusted"]))
        label = Label(
            row=item.row,
            payload={"boxes": draw(st.lists(boxes(width, height), max_size=4))},
            source=source,
            confidence=draw(st.floats(0, 1)),
            iteration=draw(st.integers(0, 99)),
            model=draw(st.none() | st.text(max_size=5)),
            threshold=draw(st.none() | st.floats(0, 1)),
            bound=draw(st.none() | st.floats(0, 1)),
            workers=draw(st.integers(0, 9)),
            consolidation=draw(st.none() | st.just("bbox-median-1")),
        )
        rows.append(ExportRow(item, label, width, height, source, ""))
    return rows


def write(plugin: Format, path: Path, rows: list[ExportRow], task: str = "bbox") -> list[str]:
    return plugin.write(path, iter(rows), task, INFO)


def read(plugin: Format, path: Path, task: str = "bbox", categories: tuple[str, ...] = CATEGORIES) -> list[Entry]:
    return list(plugin.read(path, task, categories))


def check_same(rows: list[ExportRow], entries: list[Entry]) -> None:
    assert [e.name for e in entries] == [r.item.name for r in rows]
    for row, entry in zip(rows, entries, strict=True):
        facts = {"row": row.item.row, "status": row.status, "reason": row.reason}
        assert entry.extras.items() >= facts.items()
        assert (entry.extras.get("width"), entry.extras.get("height")) == (row.width, row.height)
        if row.label is None:
            assert entry.payload is None
            continue
        assert entry.payload is not None
        assert entry.extras.items() >= row.label.model_dump(exclude={"row", "payload"}).items()
        assert len(entry.payload["boxes"]) == len(row.label.payload["boxes"])
        for got, put in zip(entry.payload["boxes"], row.label.payload["boxes"], strict=True):
            assert got["category"] == put["category"]
            assert got.get("confidence") == put.get("confidence")
            assert got["xyxy"] == pytest.approx(put["xyxy"], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(rows=export_rows())
def test_counts_in_are_counts_out(rows: list[ExportRow]) -> None:
    """Empty images, ids, confidence and provenance survive; what is lost is said."""
    for plugin in (jsonl, coco):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "sub", f"out{plugin.suffix}")
            said = write(plugin, path, rows)
            assert [p.name for p in path.parent.iterdir()] == [path.name]
            if rows:
                assert pick_reader(ALL, path, "bbox") is plugin
            check_same(rows, read(plugin, path))
            unlabelled = sum(r.label is None for r in rows)
            unsized = sum(r.width is None for r in rows)
            if plugin is jsonl:
                assert said == []
                for row, entry in zip(rows, read(plugin, path), strict=True):
                    assert entry.payload == (row.label.payload if row.label else None)
            else:
                assert len(said) == bool(unlabelled) + bool(unsized)
                assert not unlabelled or said[0].startswith(f"{unlabelled} image")
                assert not unsized or said[-1].startswith(f"{unsized} image")


@settings(max_examples=30, deadline=None)
@given(rows=export_rows())
def test_coco_by_a_foreign_reader(rows: list[ExportRow]) -> None:
    from pycocotools.coco import COCO

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder, "out.json")
        write(coco, path, rows)
        foreign = COCO(str(path))
    assert [c["name"] for c in foreign.loadCats([1, 2, 3])] == list(CATEGORIES)
    assert len(foreign.dataset["images"]) == len(foreign.imgs) == len(rows)
    annotations = foreign.dataset["annotations"]
    assert sorted(foreign.anns) == list(range(1, len(annotations) + 1))
    for image, row in zip(foreign.dataset["images"], rows, strict=True):
        found = foreign.loadAnns(foreign.getAnnIds([image["id"]]))
        expected = row.label.payload["boxes"] if row.label else []
        assert image["file_name"] == row.item.name
        assert len(found) == len(expected)
        for annotation, box in zip(found, expected, strict=True):
            x, y, w, h = annotation["bbox"]
            assert [x, y, x + w, y + h] == pytest.approx(box["xyxy"], abs=1e-9)
            assert annotation["area"] == w * h > 0
            assert annotation["iscrowd"] == 0
            assert annotation.get("score") == box.get("confidence")
            assert foreign.cats[annotation["category_id"]]["name"] == box["category"]


def test_coco_scores_perfectly_against_itself(tmp_path: Path) -> None:
    """pycocotools' evaluation takes the file as truth and its own boxes as results."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = [labelled(i, [box("cat", 10 * i, 5, 40 + 10 * i, 60, 0.9), box("dög", 1, 1, 30, 99, 0.4)]) for i in range(4)]
    write(coco, tmp_path / "out.json", rows)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "out.json"))
        keys = ("image_id", "category_id", "bbox", "score")
        results = truth.loadRes([{k: a[k] for k in keys} for a in truth.dataset["annotations"]])
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def box(category: str, *xyxy: float, confidence: float | None = None) -> dict[str, Any]:
    *corners, last = xyxy
    if len(xyxy) == 5:
        return {"category": category, "xyxy": corners, "confidence": last}
    return {"category": category, "xyxy": list(xyxy)} | ({} if confidence is None else {"confidence": confidence})


def labelled(row: int, content: list[dict[str, Any]]) -> ExportRow:
    item = Item(row=row, id=f"i{row}", name=f"{row}.jpg", uri="/x", width=100, height=100)
    label = Label(row=row, payload={"boxes": content}, source="machine", confidence=0.5, iteration=1)
    return ExportRow(item, label, 100, 100, "machine", "")


@pytest.mark.parametrize("plugin", [jsonl, coco], ids=lambda p: p.name)
def test_writers_stream(plugin: Format, tmp_path: Path) -> None:
    def peak(n: int) -> int:
        rows: Iterator[ExportRow] = (labelled(i, [box("cat", 1, 1, 50, 50)] * 5) for i in range(n))
        tracemalloc.start()
        plugin.write(tmp_path / "out", rows, "bbox", INFO)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(10)
    assert peak(1500) < peak(100) + 200_000  # 1,500 rows are over 0.7 MB of JSON
    assert (tmp_path / "out").stat().st_size > 20_000


@pytest.mark.parametrize("plugin", [jsonl, coco], ids=lambda p: p.name)
def test_a_failed_export_leaves_the_old_one(plugin: Format, tmp_path: Path) -> None:
    path = tmp_path / f"out{plugin.suffix}"
    write(plugin, path, [labelled(0, [])])
    before = path.read_bytes()

    def broken() -> Iterator[ExportRow]:
        yield labelled(1, [])
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        plugin.write(path, broken(), "bbox", INFO)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UsageError, match="is a folder"):
        write(plugin, tmp_path, [])
    with pytest.raises(UsageError, match="cannot write"):
        write(plugin, path / "below a file", [])


def test_classification_through_jsonl(tmp_path: Path) -> None:
    item = Item(row=0, id="a", name="3/x\u2028.png", uri="/x")
    label = Label(row=0, payload={"category": "3", "confidence": 0.1}, source="human", confidence=1, iteration=1)
    write(jsonl, tmp_path / "a.jsonl", [ExportRow(item, label, None, None, "human", "")], "classification")
    (entry,) = read(jsonl, tmp_path / "a.jsonl", "classification")
    assert entry[:2] == ("3/x\u2028.png", label.payload)


# ---------------------------------------------------------------------------------------- bad files


def test_jsonl_minimal(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"name": "a", "payload": {"boxes": []}, "x": 1}\r\n\r\n{"name": "b"}')
    assert read(jsonl, path) == [Entry("a", {"boxes": []}, {"x": 1}), Entry("b", None, {})]
    assert pick_reader(ALL, path, "segmentation") is jsonl


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2 is not JSON"),
        ("3", "line 2 is not a JSON object"),
        ("null", "line 2 is not a JSON object"),
        ('{"payload": {}}', 'line 2 has no "name"'),
        ('{"name": "b", "payload": []}', 'line 2: "payload" of b is not an object'),
        ('{"name": "b", "payload": {"x": NaN}}', "line 2 is not JSON"),
        ('{"name": "a"}', "line 2: a is there already, in line 1"),
        ('{"name": "\udcff"}', "line 2 is not UTF-8"),
        ("[" * 100_000, "line 2 is not JSON"),
    ],
)
def test_bad_jsonl(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"name": "a", "payload": {}}\n' + line.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadLabels, match=says):
        read(jsonl, path)


def coco_file(path: Path, **changes: Any) -> Path:
    data = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 100, "height": 50}, {"id": 9, "file_name": "b.jpg"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [90, 40, 10.004, 10.002], "iscrowd": 0}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "zebra"}],
    }
    path.write_text(json.dumps(data | changes))
    return path


def annotation(**changes: Any) -> list[dict[str, Any]]:
    return [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]} | changes]


def test_coco_of_others(tmp_path: Path) -> None:
    a, b = read(coco, coco_file(tmp_path / "a.json"))
    assert a.payload == {"boxes": [{"category": "cat", "xyxy": [90, 40, 100, 50]}]}  # clipped to the image
    assert b == Entry("b.jpg", {"boxes": []}, {"id": 9})
    crowd = annotation() + annotation(id=2, iscrowd=1, bbox=None, segmentation={"counts": [0], "size": [1, 1]})
    a, _ = read(coco, coco_file(tmp_path / "a.json", annotations=crowd))
    assert a.payload is not None
    assert len(a.payload["boxes"]) == 1
    assert a.extras["crowds"] == 1
    assert pick_reader(ALL, tmp_path / "a.json", "bbox") is coco


def test_coco_boxes_drawn_later_on_an_unlabelled_image_count(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "a.jpg", "gtloop": {"source": None}}]
    (entry,) = read(coco, coco_file(tmp_path / "a.json", images=images))
    assert entry.payload is not None
    (entry,) = read(coco, coco_file(tmp_path / "a.json", images=images, annotations=[]))
    assert entry.payload is None


def test_coco_refuses_to_write_an_unknown_category(tmp_path: Path) -> None:
    with pytest.raises(BadLabels, match=r"0\.jpg: category 'zebra' is not one of the run's"):
        write(coco, tmp_path / "a.json", [labelled(0, [box("zebra", 1, 1, 2, 2)])])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"annotations": annotation(category_id=4)}, r"annotation 1: category 'zebra' is not declared.*'cat', 'dög'"),
        ({"annotations": annotation(category_id=5)}, "category_id 5 is not among the categories"),
        ({"annotations": annotation(category_id=[5])}, r"category_id \[5\]; ids are numbers"),
        ({"annotations": annotation(image_id=8)}, "image_id 8 is not among the images"),
        ({"annotations": annotation() * 2}, 'id 1 is there twice in "annotations"'),
        ({"annotations": annotation(bbox=[1, 2, 0, 4])}, r"annotation 1: bbox \[1, 2, 0, 4\] has no area"),
        ({"annotations": annotation(bbox=[100, 2, 5, 4])}, "no area inside the image of 100 x 50 pixels"),
        ({"annotations": annotation(bbox=[1, 2, 3])}, "not four numbers"),
        ({"annotations": annotation(bbox=[1, 2, 3, None])}, "not four numbers"),
        ({"annotations": annotation(bbox=[1, 2, float("nan"), 3])}, "is not JSON in UTF-8"),
        ({"annotations": annotation(score=1.5)}, "score is 1.5"),
        ({"annotations": 3}, '"annotations" is not a list'),
        ({"images": [{"id": 7, "file_name": "a"}] * 2}, 'id 7 is there twice in "images"'),
        ({"images": [{"id": 7, "file_name": "a"}, {"id": 8, "file_name": "a"}]}, "file_name 'a' is there twice"),
        ({"images": [{"id": 7}]}, "image 7 has no file_name"),
        ({"images": [{"file_name": "a"}]}, "has id None"),
        ({"images": None}, "is not COCO"),
        ({"categories": [{"id": 3, "name": "cat"}] * 2}, 'id 3 is there twice in "categories"'),
        ({"categories": [{"id": 3}]}, "category 3 has no name"),
    ],
)
def test_bad_coco(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    path = coco_file(tmp_path / "a.json", **changes)
    with pytest.raises(BadLabels, match=says) as e:
        read(coco, path)
    assert str(path) in str(e.value)


@pytest.mark.parametrize(
    ("text", "says"), [("[]", "COCO results"), ("{", "not JSON"), ("", "not JSON"), ("3", "is not COCO")]
)
def test_what_is_no_coco(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadLabels, match=says):
        read(coco, tmp_path / "a.json")


OBJECT = (
    "<object><name>cat</name><bndbox><xmin>3</xmin><ymin>4.5</ymin><xmax>10</xmax><ymax>20</ymax></bndbox></object>"
)


def voc_file(path: Path, filename: str = "a.jpg", objects: str = OBJECT, size: tuple[int, int] = (100, 50)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><filename>{filename}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
        f"{objects}</annotation>",
        encoding="utf-8",
    )
    return path


def test_voc(tmp_path: Path) -> None:
    voc_file(tmp_path / "a.xml")
    voc_file(tmp_path / "b.xml", r"C:\pictures\b.png", OBJECT.replace("10<", "101<"))  # reaches over the edge
    voc_file(tmp_path / "copied.xml", "other.jpeg", "")
    voc_file(tmp_path / "deep" / "c.d.xml", "c.d", size=(0, 0))
    voc_file(tmp_path / ".hidden.xml", objects="<broken>")
    entries = {e.name: e for e in read(voc, tmp_path)}
    assert list(entries) == ["a.jpg", "b.png", "copied.jpeg", "deep/c.d"]
    assert entries["a.jpg"].payload == {"boxes": [{"category": "cat", "xyxy": [3, 4.5, 10, 20]}]}
    assert entries["b.png"].payload == {"boxes": [{"category": "cat", "xyxy": [3, 4.5, 100, 20]}]}
    assert entries["copied.jpeg"].payload == {"boxes": []}
    assert entries["a.jpg"].extras == {"width": 100, "height": 50}
    assert entries["deep/c.d"].extras == {}
    assert read(voc, tmp_path / "a.xml")[0] == entries["a.jpg"]
    assert pick_reader(ALL, tmp_path, "bbox") is voc


def test_voc_from_one(tmp_path: Path) -> None:
    """The whole image is 1, 1, width, height in the original sets."""
    whole = (
        "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>100</xmax><ymax>50</ymax></bndbox></object>"
    )
    pixel = whole.replace("100", "1").replace("50", "1")
    voc_file(tmp_path / "a.xml", objects=whole + pixel)
    (entry,) = read(Voc(VocOptions(one_based=True), Context()), tmp_path)
    assert entry.payload is not None
    assert [b["xyxy"] for b in entry.payload["boxes"]] == [[0, 0, 100, 50], [0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        (OBJECT.replace("cat", "cot"), r"object 1: category 'cot' is not declared \(did you mean 'cat'\?\)"),
        (OBJECT.replace("10<", "3<"), "object 1: box 3, 4.5, 3, 20 has no area inside the image of 100 x 50"),
        (OBJECT.replace("10<", "2<"), "has no area"),
        (OBJECT.replace("4.5", "60").replace("20<", "70<"), "has no area"),
        (OBJECT.replace("10<", "nan<"), "has no area"),
        (OBJECT + OBJECT.replace("10<", "x<"), "object 2 needs <bndbox> with numbers"),
        ("<object><name>cat</name></object>", "needs <bndbox>"),
        ("<object>", "not well-formed"),
    ],
)
def test_bad_voc(tmp_path: Path, objects: str, says: str) -> None:
    path = voc_file(tmp_path / "x.xml", objects=objects)
    with pytest.raises(BadLabels, match=says) as e:
        read(voc, tmp_path)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_voc_with_entities_is_refused(tmp_path: Path, encoding: str) -> None:
    """Billion laughs: ten entities, each ten times the last."""
    entities = '<!ENTITY l0 "lol">' + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [{entities}]><annotation>&l9;</annotation>'
    (tmp_path / "a.xml").write_text(text, encoding=encoding)
    with pytest.raises(BadLabels, match=r"a\.xml is refused: it has a DOCTYPE"):
        read(voc, tmp_path)
    assert not voc.sniff(tmp_path)


def test_voc_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadLabels, match="no XML files"):
        read(voc, tmp_path)
    (tmp_path / "a.xml").write_text("<html/>")
    with pytest.raises(BadLabels, match="root is <html>"):
        read(voc, tmp_path)


def test_class_folders(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dög/deep/2.png", "loose.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / name)
    assert read(folder, tmp_path, "classification") == [
        Entry("cat/1.png", {"category": "cat"}, {}),
        Entry("dög/deep/2.png", {"category": "dög"}, {}),
        Entry("loose.png", None, {}),
    ]
    assert pick_reader(ALL, tmp_path, "classification") is folder
    with pytest.raises(BadLabels, match=r"folder dög: category 'dög' is not declared; --classes has 'cat'"):
        read(folder, tmp_path, "classification", ("cat",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadLabels, match="no images"):
        read(folder, tmp_path / "empty", "classification")


# ------------------------------------------------------------------------------------ core.labelfiles


def test_no_reader(tmp_path: Path) -> None:
    with pytest.raises(BadLabels, match="no such label file"):
        pick_reader(ALL, tmp_path / "none", "bbox")
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(BadLabels, match=r"convert it to one of: jsonl \(.*\); coco \(.*\); voc \(") as e:
        pick_reader(ALL, tmp_path / "a.txt", "bbox")
    assert "folder (" not in str(e.value)  # does not do boxes
    (tmp_path / "a.jsonl").write_text('{"name": "a", "payload": {}}')
    with pytest.raises(BadLabels, match="can be read as jsonl and jsonl"):
        pick_reader([jsonl, jsonl], tmp_path / "a.jsonl", "bbox")


def test_names_are_matched_by_path_then_file_then_stem() -> None:
    names = ["a/1.jpg", "b/1.jpg", "a/2.jpg", "c/x.png", "c.v/x.tar.jpg", "cafe\u0301.jpg", "deep/er/3.jpg", "q/3.jpg"]
    matcher = Matcher(names)
    for name, row in {
        "a/1.jpg": 0,
        "./b/1.jpg": 1,
        "a\\2.jpg": 2,
        "2.jpg": 2,
        "other/2.jpg": 2,
        "root/b/1.jpg": 1,
        "er/3.jpg": 6,
        "2": 2,
        "2.xml": 2,
        "x.jpg": 3,
        "x.tar": 4,
        "caf\u00e9.jpg": 5,
    }.items():
        assert matcher.row(name) == row, name
    assert matcher.row("4.jpg") is None
    for name in ("1.jpg", "1.xml", "z/3.jpg"):
        with pytest.raises(BadLabels, match=r"may be .* or .*\(2 images of that name\)"):
            matcher.row(name)


def _payloads(matched: dict[int, Entry]) -> dict[int, Any]:
    return {row: entry.payload for row, entry in matched.items() if entry.payload is not None}


def test_match_entries() -> None:
    names = ["a.jpg", "b.jpg", "c.jpg"]
    entries = [Entry("b.png", {"n": 1}, {}), Entry("c.jpg", None, {})]
    assert _payloads(dict(match_entries(entries, names))) == {1: {"n": 1}}
    foreign = [*entries, Entry("x.jpg", {}, {}), Entry("y.jpg", {}, {})]
    with pytest.raises(BadLabels, match=r"names 2 images that are not in the source, first: x\.jpg .*a\.jpg"):
        list(match_entries(foreign, names))
    assert _payloads(dict(match_entries(foreign, names, allow_missing=True))) == {1: {"n": 1}}
    with pytest.raises(BadLabels, match=r"labels b\.jpg twice, as b\.png and as sub/b\.jpg"):
        list(match_entries([*entries, Entry("sub/b.jpg", {}, {})], names))


def test_replacing_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "f"
    with replacing(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"


# ------------------------------------------------------------------------------------------ real data


@pytest.mark.skipif(not DATA.exists(), reason="the shared data sets are not in this checkout")
def test_real_data_sets() -> None:
    from gtloop.images import header, list_images

    items = list(list_images(str(DATA / "raccoons" / "images")))
    names = [i.name for i in items]
    for root in (DATA / "raccoons", DATA / "raccoons" / "annotations"):
        plugin = pick_reader(ALL, root, "bbox")
        entries = read(plugin, root, "bbox", ("raccoon",))
        matched = _payloads(dict(match_entries(entries, names)))
        assert len(matched) == len(items) == 200
        assert sum(len(p["boxes"]) for p in matched.values()) == 217
    matcher = Matcher(names)
    for entry in entries:
        row = matcher.row(entry.name)
        assert row is not None
        assert header(items[row].uri)[:2] == (entry.extras["width"], entry.extras["height"])
    digits = [i.name for i in list_images(str(DATA / "digits"))]
    entries = read(
        pick_reader(ALL, DATA / "digits", "classification"), DATA / "digits", "classification", tuple("0123456789")
    )
    truth = _payloads(dict(match_entries(entries, digits)))
    assert len(truth) == 4000
    assert all(digits[row].startswith(payload["category"] + "/") for row, payload in truth.items())
