"""``coco``: round trips, other tools' readers and files, bad files, bounded memory."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gtloop import masks
from gtloop.errors import BadLabels
from gtloop.interfaces import Context, Entry, ExportRow
from gtloop.records import Item, Label
from gtloop_plugins.formats.coco import Coco, CocoOptions
from gtloop_plugins.formats.coco.regions import _drawn

CATEGORIES = ("cat", "dög", "racc oon")
NAMES = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=3).map("/".join)

coco = Coco(CocoOptions(), Context())
stored = Coco(CocoOptions(frame="stored"), Context())


def read(path: Path, task: str = "segmentation", plugin: Coco = coco) -> list[Entry]:
    return list(plugin.read(path, task, CATEGORIES))


def write(path: Path, rows: list[ExportRow], task: str = "segmentation", frame: str = "display") -> list[str]:
    info = {"categories": CATEGORIES, "run": "r", "frame": frame, "version": "0.1.0"}
    return coco.write(path, iter(rows), task, info)


def row_of(number: int, name: str, payload: Any, size: tuple[int, int], **changes: Any) -> ExportRow:
    """``size`` is (width, height)."""
    item = Item(row=number * 2, id=f"i{number}", name=name, uri="/x", width=size[0], height=size[1])
    if payload is None:
        return ExportRow(item, None, None, None, "quarantined", "damaged")
    facts = {"source": "machine", "confidence": 0.25, "iteration": 3, "model": "m", "bound": 0.5} | changes
    label = Label(row=item.row, payload=payload, **facts)
    return ExportRow(item, label, size[0], size[1], label.source, "")


@st.composite
def maps(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Index maps of a few blocks: regions, void, background, in any mixture."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    index = np.full((height, width), masks.BACKGROUND, np.int16)
    for _ in range(draw(st.integers(0, 4))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        tall, wide = draw(st.integers(1, height)), draw(st.integers(1, width))
        index[y : y + tall, x : x + wide] = draw(st.sampled_from([masks.BACKGROUND, masks.VOID, 0, 1, 2]))
    return index


@st.composite
def rows_of_masks(draw: st.DrawFn) -> list[ExportRow]:
    rows = []
    for number, name in enumerate(draw(st.lists(NAMES, max_size=5, unique=True))):
        index = draw(maps())
        payload = masks.from_map(index, CATEGORIES).model_dump(mode="json", exclude_none=True)
        for region in payload["regions"]:
            if draw(st.booleans()):
                region["confidence"] = draw(st.floats(0, 1))
        source = draw(st.sampled_from(["human", "machine", "adjusted"]))
        known = None if draw(st.integers(0, 3)) == 0 else payload
        rows.append(row_of(number, name, known, index.shape[::-1], source=source))
    return rows


@settings(max_examples=80, deadline=None)
@given(rows=rows_of_masks(), frame=st.sampled_from(["display", "stored"]))
def test_masks_come_back_as_they_were(rows: list[ExportRow], frame: str) -> None:
    """Payloads to the bit, sources, frame and provenance; what COCO can't hold is said."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.json")
        said = write(path, rows, frame=frame)
        entries = read(path)
    assert [e.name for e in entries] == [r.item.name for r in rows]
    for row, entry in zip(rows, entries, strict=True):
        assert entry.frame == frame
        assert entry.extras.items() >= {"row": row.item.row, "status": row.status, "reason": row.reason}.items()
        assert entry.payload == (row.label.payload if row.label else None)
        assert entry.source == (row.label.source if row.label else None)
        assert entry.extras.get("width") == (row.item.width if row.label else None)
        if row.label:
            assert entry.extras.items() >= row.label.model_dump(exclude={"row", "payload"}).items()
    voids = sum(row.label is not None and "void" in row.label.payload for row in rows)
    assert [s for s in said if "COCO has no void" in s] == [s for s in said[-1:] if voids]
    assert not voids or said[-1].startswith(f"{voids} image")


@pytest.mark.parametrize("frame", ["display", "stored"])
def test_boxes_come_back_as_they_were(tmp_path: Path, frame: str) -> None:
    boxes = [
        {"category": "dög", "xyxy": [0.125, 1, 7.5, 9], "confidence": 0.1},
        {"category": "cat", "xyxy": [1, 1, 2, 2]},
    ]
    rows = [
        row_of(0, "a/1.jpg", {"boxes": boxes}, (10, 9), source="adjusted"),
        row_of(1, "b/1.jpg", {"boxes": []}, (10, 9), source="human"),
        row_of(2, "b/é.png", None, (1, 1)),
    ]
    write(tmp_path / "a.json", rows, "bbox", frame)
    for plugin in (coco, stored):  # what the file says goes before the option
        entries = read(tmp_path / "a.json", "bbox", plugin)
        assert [e.name for e in entries] == ["a/1.jpg", "b/1.jpg", "b/é.png"]
        assert [e.payload for e in entries] == [{"boxes": boxes}, {"boxes": []}, None]
        assert [e.source for e in entries] == ["adjusted", "human", None]
        assert [e.frame for e in entries] == [frame] * 3
        assert entries[2].extras["reason"] == "damaged"


# ------------------------------------------------------------------------------------- other readers


def pictures(folder: Path, masked: bool) -> tuple[Path, list[ExportRow]]:
    """Images of 20 x 12 with their export; the third has no object."""
    index = np.full((12, 20), masks.BACKGROUND, np.int16)
    index[2:6, 3:9], index[4:10, 12:18], index[10:, :2] = 1, 0, masks.VOID
    boxes = [
        {"category": "dög", "xyxy": [3.0, 2.0, 9.0, 6.0], "confidence": 0.5},
        {"category": "cat", "xyxy": [12.5, 4.0, 18.0, 10.0]},
    ]
    label = masks.from_map(index, CATEGORIES).model_dump(mode="json", exclude_none=True)
    empty = masks.from_map(np.full((12, 20), masks.BACKGROUND), CATEGORIES).model_dump(mode="json", exclude_none=True)
    full, none = (label, empty) if masked else ({"boxes": boxes}, {"boxes": []})
    rows = [row_of(n, f"{n % 2}/{n}.png", none if n == 2 else full, (20, 12)) for n in range(3)]
    for row in rows:
        (folder / row.item.name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 12)).save(folder / row.item.name)
    write(folder / "out.json", rows, "segmentation" if masked else "bbox")
    return folder / "out.json", rows


def test_masks_by_pycocotools(tmp_path: Path) -> None:
    from pycocotools import mask as coder
    from pycocotools.coco import COCO

    path, rows = pictures(tmp_path, masked=True)
    with contextlib.redirect_stdout(io.StringIO()):
        foreign = COCO(str(path))
    assert sorted(foreign.anns) == [1, 2, 3, 4]
    for image, row in zip(foreign.dataset["images"], rows, strict=True):
        assert row.label is not None
        found = foreign.loadAnns(foreign.getAnnIds([image["id"]]))
        assert len(found) == len(row.label.payload["regions"])
        for annotation, region in zip(found, row.label.payload["regions"], strict=True):
            assert CATEGORIES[annotation["category_id"] - 1] == region["category"]
            mask = foreign.annToMask(annotation).astype(bool)
            assert np.array_equal(mask, masks.decode(region["counts"], (12, 20)))
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == coder.toBbox(annotation["segmentation"]).tolist()
    void = foreign.dataset["images"][0]["gtloop"]["void"]
    assert coder.decode(void).sum() == 4


@pytest.mark.parametrize("masked", [False, True])
def test_by_supervision(tmp_path: Path, masked: bool) -> None:
    import supervision

    path, rows = pictures(tmp_path, masked)
    foreign = supervision.DetectionDataset.from_coco(str(tmp_path), str(path))
    assert foreign.classes == list(CATEGORIES)
    assert len(foreign) == 3
    for (image, _, found), row in zip(foreign, rows, strict=True):
        assert row.label is not None
        assert image == str((tmp_path / row.item.name).resolve())
        expected = row.label.payload["regions" if masked else "boxes"]
        assert len(found) == len(expected)
        for k, thing in enumerate(expected):
            assert foreign.classes[found.class_id[k]] == thing["category"]
            if masked:
                assert np.array_equal(found.mask[k], masks.decode(thing["counts"], (12, 20)))
            else:
                assert found.xyxy[k] == pytest.approx(thing["xyxy"])


@pytest.mark.slow
def test_by_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import CocoDetection

    path, rows = pictures(tmp_path, masked=False)
    with contextlib.redirect_stdout(io.StringIO()):
        foreign = CocoDetection(str(tmp_path), str(path))
    assert len(foreign) == 3
    for (image, found), row in zip((foreign[k] for k in range(3)), rows, strict=True):
        assert row.label is not None
        assert image.size == (20, 12)
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in found)]
        assert boxes == [b["xyxy"] for b in row.label.payload["boxes"]]


# --------------------------------------------------------------------------------------- other files


def file_of(path: Path, annotations: list[dict[str, Any]], **changes: Any) -> Path:
    data = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 6, "height": 4}],
        "annotations": [{"id": n, "image_id": 7, "category_id": 3} | a for n, a in enumerate(annotations, 1)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dög"}],
    }
    path.write_text(json.dumps(data | changes))
    return path


def square(x1: float, y1: float, x2: float, y2: float) -> list[list[float]]:
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def index_of(entry: Entry) -> list[str]:
    """The label as rows of letters: c(at), d(ög), - for void."""
    from gtloop.labels import SegmentationLabel

    assert entry.payload is not None
    found = masks.to_map(SegmentationLabel.model_validate(entry.payload), CATEGORIES)
    return ["".join({masks.BACKGROUND: ".", masks.VOID: "-", 0: "c", 1: "d"}[int(v)] for v in line) for line in found]


def test_parts_in_any_order(tmp_path: Path) -> None:
    parts = {
        "info": {"gtloop": {"frame": "stored"}},
        "images": [{"id": n, "file_name": f"{n!r}.jpg", "width": 9, "height": 9} for n in (5, "5", 3)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": 3, "bbox": [n, 0, 1, 1]} for n, i in enumerate([3, "5", 3, 5])
        ],
        "categories": [{"id": 3, "name": "cat"}],
    }
    path = tmp_path / "a.json"
    for order in itertools.permutations(parts):
        path.write_text(json.dumps({key: parts[key] for key in order}))
        entries = read(path, "bbox")
        assert [e.name for e in entries] == ["5.jpg", "'5'.jpg", "3.jpg"]
        lefts = [[b["xyxy"][0] for b in e.payload["boxes"]] for e in entries if e.payload is not None]
        assert lefts == [[3], [1], [0, 2]]
        assert {e.frame for e in entries} == {"stored"}
        assert {e.source for e in entries} == {None}


def test_masks_in_every_form(tmp_path: Path) -> None:
    plain = {"size": [4, 6], "counts": [4, 2, 18]}
    text = {"size": [4, 6], "counts": masks.text([4, 2, 18])}
    for form in (plain, text, square(1, 0, 2, 2)):
        (entry,) = read(file_of(tmp_path / "a.json", [{"segmentation": form, "score": 0.5}]))
        assert index_of(entry) == [".c....", ".c....", "......", "......"]
        assert entry.payload is not None
        assert entry.payload["regions"][0]["confidence"] == 0.5
        (entry,) = (
            read(file_of(tmp_path / "a.json", [{"segmentation": form}], images=[{"id": 7, "file_name": "a"}]))
            if (isinstance(form, dict))
            else (entry,)
        )
        assert entry.payload["size"] == [4, 6]
    (entry,) = read(file_of(tmp_path / "a.json", [{"segmentation": square(1, 0, 2, 2) + square(-5, 3, 2, 99)}]))
    assert index_of(entry) == [".c....", ".c....", "......", "cc...."]


def test_one_category_is_one_region(tmp_path: Path) -> None:
    """Neighbours merge, also where they overlap; the lowest score is that of the region."""
    path = file_of(
        tmp_path / "a.json",
        [
            {"segmentation": square(0, 0, 3, 2), "score": 0.75},
            {"segmentation": square(2, 1, 6, 3), "score": 0.5},
            {"segmentation": square(0, 3, 1, 4)},
        ],
    )
    (entry,) = read(path)
    assert index_of(entry) == ["ccc...", "cccccc", "..cccc", "c....."]
    assert entry.payload is not None
    assert [(r["category"], r["confidence"]) for r in entry.payload["regions"]] == [("cat", 0.5)]


def test_the_smaller_lies_on_top_and_crowds_are_void(tmp_path: Path) -> None:
    large = {"segmentation": square(0, 0, 5, 4)}
    small = {"segmentation": square(1, 1, 3, 3), "category_id": 4}
    crowd = {"segmentation": {"size": [4, 6], "counts": [16, 8]}, "iscrowd": 1, "category_id": None}
    for order in itertools.permutations([large, small, crowd]):
        (entry,) = read(file_of(tmp_path / "a.json", list(order)))
        assert index_of(entry) == ["ccccc-", "cddcc-", "cddcc-", "ccccc-"]
        assert entry.extras["crowds"] == 1
        (boxes,) = read(file_of(tmp_path / "a.json", [{**a, "bbox": [0, 0, 1, 1]} for a in order]), "bbox")
        assert boxes.payload is not None
        assert len(boxes.payload["boxes"]) == 2


def test_boxes_of_a_file_with_broken_masks(tmp_path: Path) -> None:
    (entry,) = read(file_of(tmp_path / "a.json", [{"bbox": [1, 1, 2, 2], "segmentation": [[1]]}]), "bbox")
    assert entry.payload == {"boxes": [{"category": "cat", "xyxy": [1, 1, 3, 3]}]}


def test_frame_of_others(tmp_path: Path) -> None:
    for info in ({}, {"info": {}}, {"info": 3}, {"info": {"gtloop": {"frame": "upside down"}}}):
        path = file_of(tmp_path / "a.json", [], **info)
        assert (read(path)[0].frame, read(path, plugin=stored)[0].frame) == ("display", "stored")


@settings(max_examples=100, deadline=None)
@given(
    polygons=st.lists(
        st.lists(st.floats(-6, 16), min_size=3, max_size=6).map(lambda v: [*v, *reversed(v)]), min_size=1, max_size=3
    ),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_a_polygon_in_its_window_is_that_in_the_image(polygons: list[list[float]], size: tuple[int, int]) -> None:
    index: Any = np.zeros(size, np.int16)
    _drawn([[round(v, 3) for v in p] for p in polygons], size, "").paint(index, 1)
    assert np.array_equal(index == 1, masks.from_polygons([[round(v, 3) for v in p] for p in polygons], size))


def test_polygons_as_pycocotools_draws_them(tmp_path: Path) -> None:
    from pycocotools import mask as coder

    angles = np.linspace(0, 2 * np.pi, 40)[:-1]
    polygon = np.stack([50 + 40 * np.cos(angles), 45 + 30 * np.sin(angles)], axis=1).ravel().tolist()
    images = [{"id": 7, "file_name": "a.jpg", "width": 100, "height": 90}]
    (entry,) = read(file_of(tmp_path / "a.json", [{"segmentation": [polygon]}], images=images))
    assert entry.payload is not None
    ours = masks.decode(entry.payload["regions"][0]["counts"], (90, 100))
    theirs = coder.decode(coder.frPyObjects([polygon], 90, 100))[:, :, 0].astype(bool)
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.98


# ---------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"segmentation": {"size": [6, 4], "counts": [24]}},
            r"mask has size \[6, 4\] \(height, width\), its image \[4, 6",
        ),
        ({"segmentation": {"counts": [24]}}, "mask has size None"),
        ({"segmentation": {"size": [4, 6], "counts": [25]}}, "code is broken .a run is longer than the mask"),
        ({"segmentation": {"size": [4, 6], "counts": [1, 2]}}, "code is broken .3 pixels in a mask of 6 x 4"),
        ({"segmentation": {"size": [4, 6], "counts": [-1, 25]}}, "code is broken"),
        ({"segmentation": {"size": [4, 6], "counts": [-1, 24, 1]}}, "code is broken .a run of negative length"),
        ({"segmentation": {"size": [4, 6], "counts": [1.5, 22.5]}}, "neither a text nor a list of whole numbers"),
        ({"segmentation": {"size": [4, 6], "counts": 3}}, "neither a text nor a list of whole numbers"),
        ({"segmentation": {"size": [4, 6], "counts": "é!"}}, "code is broken .no run-length code"),
        ({"segmentation": {"size": [4, 6], "counts": "oooooooooo7"}}, "code is broken"),
        ({"segmentation": [[1, 2, 3, 4]]}, "a polygon is not three or more pairs"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "a polygon is not three or more pairs"),
        ({"segmentation": [[1, 2, 3, 4, 5, "6"]]}, "a polygon is not three or more pairs"),
        ({"segmentation": [[1, 2, 3, 4, 5, 1e300]]}, "a polygon is not three or more pairs"),
        ({"segmentation": [1, 2, 3, 4, 5, 6]}, "a polygon is not three or more pairs"),
        ({"segmentation": []}, r"segmentation is \[\], neither polygons nor a run-length code"),
        ({}, "segmentation is None, neither"),
        ({"segmentation": square(0, 0, 1, 1), "score": 2}, "score is 2, not a number from 0 to 1"),
        ({"segmentation": square(0, 0, 1, 1), "category_id": 9}, "category_id 9 is not among the categories"),
    ],
)
def test_bad_masks(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    path = file_of(tmp_path / "a.json", [{"segmentation": square(0, 0, 1, 1)}, changes | {"id": 77}])
    with pytest.raises(BadLabels, match=says) as e:
        read(path)
    assert str(e.value).startswith(f"{path}, annotation 77: ")
    assert "\n" not in str(e.value)


def test_masks_need_a_size(tmp_path: Path) -> None:
    for size in ({}, {"width": 0, "height": 4}, {"width": "6", "height": 4}):
        images = [{"id": 7, "file_name": "a.jpg", **size}]
        with pytest.raises(BadLabels, match=r"image 7 has no width and height, which masks need"):
            read(file_of(tmp_path / "a.json", [{"segmentation": square(0, 0, 1, 1)}], images=images))
    images = [{"id": 7, "file_name": "a.jpg", "width": 10**6, "height": 10**6}]
    with pytest.raises(BadLabels, match="1000000 x 1000000 pixels are too many"):
        read(file_of(tmp_path / "a.json", [], images=images))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"images": [{"id": NaN}]}', "not JSON in UTF-8"),
        (b'{"images": [], "annotations": [1]', "not a list of objects"),
        (b'{"images": []} {', "not JSON in UTF-8"),
        (b'{"images": [{"id": 1, "file_name": "\xff"}]}', "not JSON in UTF-8"),
        (b'{"images": {"id": 1}}', 'it has no list "images"'),
        (b'{"images": [], "categories": {"cat": 1}}', '"categories" is not a list of objects'),
        (b'{"images": [], "annotations": null}', '"annotations" is not a list of objects'),
        (b'{"images": [[]]}', '"images" is not a list of objects'),
        (b'\xef\xbb\xbf [{"image_id": 1}]', "is a list, as COCO results are"),
        (b'{"images": ' + b"[" * 100_000, "more than 100 lists or objects in each other"),
    ],
)
def test_what_is_no_coco(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    for task in ("bbox", "segmentation"):
        with pytest.raises(BadLabels, match=says) as e:
            read(tmp_path / "a.json", task)
        assert str(e.value).startswith(str(tmp_path / "a.json"))
        assert "\n" not in str(e.value)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.json", [{"segmentation": square(0, 0, 1, 1)}])
    before = read(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path) == before


def test_the_same_ids_and_names_twice(tmp_path: Path) -> None:
    twice = [{"id": "x", "segmentation": square(0, 0, 1, 1)}] * 2
    with pytest.raises(BadLabels, match="id 'x' is there twice in \"annotations\""):
        read(file_of(tmp_path / "a.json", twice))
    images = [{"id": n, "file_name": "é"} for n in (7, 8)]
    with pytest.raises(BadLabels, match="file_name 'é' is there twice"):
        read(file_of(tmp_path / "a.json", [], images=images))


# ------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("task", ["bbox", "segmentation"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, task: str) -> None:
    def peak(images: int) -> int:
        path = tmp_path / "a.json"
        with path.open("w") as f:
            f.write('{"annotations": [')
            for n in range(images * 20):  # an image's annotations are far from each other
                shape = {"bbox": [1, 1, 9, 9], "segmentation": square(1, 1, 4, 4)}
                f.write(("," if n else "") + json.dumps({"id": n, "image_id": n % images, "category_id": 3, **shape}))
            f.write('], "categories": [{"id": 3, "name": "cat"}], "images": [')
            for n in range(images):
                f.write(("," if n else "") + json.dumps({"id": n, "file_name": f"{n}.jpg", "width": 32, "height": 32}))
            f.write("]}")
        tracemalloc.start()
        count = sum(len((e.payload or {}).get("boxes", [0] * 20)) for e in coco.read(path, task, CATEGORIES))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == images * 20
        return top

    peak(1)
    small, large = (100, 500) if task == "bbox" else (40, 120)
    assert peak(large) < peak(small) + 300_000  # 80 more images are 1,600 annotations, over 1 MB of objects
