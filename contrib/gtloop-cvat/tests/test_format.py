"""Format ``cvat``: the contract, what comes back, what CVAT writes, and what is refused."""

from __future__ import annotations

import zipfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gtloop import masks
from gtloop.errors import BadLabels
from gtloop.interfaces import Context, Entry, ExportRow
from gtloop.records import Item, Label
from gtloop.testing import FormatContract
from hypothesis import given, settings
from hypothesis import strategies as st

from gtloop_cvat import rle
from gtloop_cvat.shapes import upright
from gtloop_cvat.xml import CvatXml

INFO = {"categories": ("car", "dog"), "run": "r", "frame": "display", "version": "0"}
SIZE = (12, 17)


class TestCvatXml(FormatContract):
    plugin = CvatXml


def test_gtloop_finds_it() -> None:
    (point,) = entry_points(group="gtloop", name="cvat")
    assert CvatXml in point.load().gtloop_formats()


def make(**options: Any) -> CvatXml:
    return CvatXml(CvatXml.Options(**options), Context(categories=INFO["categories"]))  # type: ignore[arg-type]


def row(name: str, payload: dict[str, Any] | None, number: int = 0) -> ExportRow:
    item = Item(row=number, id=f"i{number}", name=name, uri=name, width=SIZE[1], height=SIZE[0])
    label = payload and Label(row=number, payload=payload, source="adjusted", confidence=0.5, iteration=2)
    return ExportRow(item, label or None, SIZE[1], SIZE[0], "human" if payload else "pool", "" if payload else "budget")


def round_trip(path: Path, payloads: list[dict[str, Any] | None], task: str) -> list[Entry]:
    rows = [row(f"a/{n}.png", p, n) for n, p in enumerate(payloads)]
    make().write(path, rows, task, INFO)
    return list(make().read(path, task, ("car", "dog")))


edges = st.lists(st.floats(0, 12, allow_subnormal=False), min_size=2, max_size=2, unique=True).map(sorted)


@st.composite
def boxes(draw: Any) -> dict[str, Any]:
    (x1, x2), (y1, y2) = draw(edges), draw(edges)
    made: dict[str, Any] = {"category": draw(st.sampled_from(["car", "dog"])), "xyxy": [x1, y1, x2, y2]}
    sure: dict[str, Any] = draw(st.fixed_dictionaries({}, optional={"confidence": st.floats(0, 1)}))
    return made | sure


@settings(max_examples=60)
@given(st.lists(st.lists(boxes(), max_size=4), max_size=3))
def test_boxes_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, images: list[list[Any]]) -> None:
    found = round_trip(tmp_path_factory.mktemp("x") / "a.xml", [{"boxes": bs} for bs in images], "bbox")
    assert [e.payload for e in found] == [{"boxes": bs} for bs in images]
    assert all(e.source == "adjusted" and e.frame == "display" for e in found)


pixels = st.lists(st.integers(-2, 1), min_size=SIZE[0] * SIZE[1], max_size=SIZE[0] * SIZE[1])


@settings(max_examples=40)
@given(pixels)
def test_masks_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, flat: list[int]) -> None:
    index = np.array(flat).reshape(SIZE)
    label: dict[str, Any] = {"size": list(SIZE), "regions": [
        {"category": c, "counts": masks.encode(index == k)} for k, c in enumerate(("car", "dog")) if (index == k).any()
    ]}  # fmt: skip
    if (index == -2).any():
        label["void"] = masks.encode(index == -2)
    (entry,) = round_trip(tmp_path_factory.mktemp("x") / "a.xml", [label], "segmentation")
    assert entry.payload == label


@given(st.lists(st.booleans(), min_size=20, max_size=20))
def test_runs_are_those_of_cvat(flat: list[bool]) -> None:
    mask = np.array(flat).reshape(4, 5)
    runs = rle.encode(mask)
    if runs is None:
        assert not mask.any()
        return
    assert (rle.decode(*runs, size=(4, 5)) == mask).all()
    theirs = pytest.importorskip("cvat_sdk.masks", reason="pip install cvat-sdk")
    left, top, right, bottom = runs.left, runs.top, runs.left + runs.width - 1, runs.top + runs.height - 1
    assert theirs.encode_mask(mask) == [*runs.runs, left, top, right, bottom]


@given(st.floats(-720, 720))
def test_a_turned_box_lies_inside_the_upright_one(rotation: float) -> None:
    x1, y1, x2, y2 = upright((10, 10, 30, 20), rotation)
    angle = np.radians(rotation)
    for dx, dy in ((-10, -5), (10, -5), (10, 5), (-10, 5)):
        x = 20 + dx * np.cos(angle) - dy * np.sin(angle)
        y = 15 + dx * np.sin(angle) + dy * np.cos(angle)
        assert x1 - 1e-9 <= x <= x2 + 1e-9
        assert y1 - 1e-9 <= y <= y2 + 1e-9
    assert upright((10, 10, 30, 20), 90) == pytest.approx((15, 5, 25, 25))


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><job><id>7</id><labels><label><name>car</name></label></labels></job></meta>
  <image id="0" name="b/one.jpg" subset="train" width="100" height="50">
    <box label="car" source="manual" occluded="1" xtl="10.00" ytl="10.00" xbr="30.00" ybr="20.00" rotation="90.00">
      <attribute name="colour">red</attribute>
    </box>
    <polygon label="dog" source="manual" occluded="0" points="0.00,0.00;20.00,0.00;20.00,20.00;0.00,20.00" z_order="1">
    </polygon>
    <mask label="car" source="semi-auto" occluded="0" rle="0, 4, 2, 4" left="18" top="1" width="5" height="2">
    </mask>
    <polyline label="dog" source="manual" occluded="0" points="1,1;2,2" z_order="0"></polyline>
    <tag label="dog" source="manual"></tag>
  </image>
  <image id="1" name="two.jpg" width="100" height="50"></image>
</annotations>
"""


@pytest.mark.parametrize("kind", ["xml", "zip", "folder"])
def test_what_cvat_exports(tmp_path: Path, kind: str) -> None:
    path = {"xml": tmp_path / "job.xml", "zip": tmp_path / "job.zip", "folder": tmp_path / "job"}[kind]
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("annotations.xml", CVAT)
    else:
        path.mkdir() if kind == "folder" else None
        (path / "annotations.xml" if kind == "folder" else path).write_text(CVAT)
    assert make().sniff(path)
    one, two = make().read(path, "bbox", ("car", "dog"))
    assert one.payload == {"boxes": [{"category": "car", "xyxy": [15.0, 5.0, 25.0, 25.0]}]}
    assert (one.name, one.source, one.extras["subset"]) == ("b/one.jpg", "human", "train")
    assert one.extras["attributes"] == [
        {"label": "car", "colour": "red", "rotation": "90.00", "occluded": "1"},
    ]
    assert [o["shape"] for o in one.extras["others"]] == ["polygon", "mask", "polyline", "tag"]
    assert two.payload is None, "CVAT lists every image, also what nobody has looked at"
    (_, empty) = make(bare="empty").read(path, "bbox", ())
    assert empty.payload == {"boxes": []}
    one, two = make().read(path, "classification", ("car", "dog"))
    assert (one.payload, two.payload) == ({"category": "dog"}, None)
    one, _ = make().read(path, "segmentation", ("car", "dog"))
    assert one.payload is not None
    assert one.source is None, "one by hand, one with a machine's help"
    car, dog = one.payload["regions"]
    assert masks.area(dog["counts"]) == 400, "the polygon lies on top"
    assert masks.area(car["counts"]) == 8 - 3


def test_names_that_xml_cant_hold_and_unlabelled_images_come_back(tmp_path: Path) -> None:
    rows = [row("a\x01\udc80.png", {"boxes": []}, 0), row('b<&".png', None, 1)]
    said = make().write(tmp_path / "a.xml", rows, "bbox", INFO)
    assert len(said) == 1
    assert "budget" in said[0]
    found = list(make().read(tmp_path / "a.xml", "bbox", ()))
    assert [(e.name, e.payload) for e in found] == [("a\x01\udc80.png", {"boxes": []}), ('b<&".png', None)]
    assert found[1].extras["reason"] == "budget"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("<annotations>", "<!DOCTYPE x [<!ENTITY a 'b'>]><annotations>"), "DOCTYPE"),
        (("</annotations>", ""), "not well-formed"),
        (("<version>", "<track><box/></track><version>"), "tracks of a video"),
        (('label="car" source="manual"', 'label="cat" source="manual"'), "'cat' is not declared"),
        (('xbr="30.00"', 'xbr="x"'), "xbr is 'x'"),
        (('xbr="30.00"', 'xbr="nan"'), "no area"),
        (('name="b/one.jpg"', 'name=""'), "has no name"),
        (('name="two.jpg"', 'name="two.jpg" gtloop="[1]"'), "not a JSON object"),
        (('name="colour">red', 'name="confidence">7'), "not a number from 0 to 1"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, change: tuple[str, str], why: str) -> None:
    (tmp_path / "a.xml").write_text(CVAT.replace(*change))
    with pytest.raises(BadLabels, match=why) as found:
        list(make().read(tmp_path / "a.xml", "bbox", ("car", "dog")))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("change", "why", "task"),
    [
        (('rle="0, 4, 2, 4"', 'rle="0, 4"'), "4 pixels in a mask of 5 x 2", "segmentation"),
        (('rle="0, 4, 2, 4"', 'rle=""'), "can't be read", "segmentation"),
        (("0.00,0.00;20.00,0.00;20.00,20.00;0.00,20.00", "1,1;2,2"), "fewer than three", "segmentation"),
        ((' width="100" height="50">\n', ">\n"), "no width and height", "segmentation"),
        (("<tag", '<tag label="car"/><tag'), "2 tags", "classification"),
    ],
)
def test_bad_masks_and_tags(tmp_path: Path, change: tuple[str, str], why: str, task: str) -> None:
    (tmp_path / "a.xml").write_text(CVAT.replace(*change))
    with pytest.raises(BadLabels, match=why):
        list(make().read(tmp_path / "a.xml", task, ("car", "dog")))


def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    """Ten thousand images, and the reader holds one of them."""
    import tracemalloc

    make().write(tmp_path / "a.xml", (row(f"{n}.png", {"boxes": []}, n) for n in range(10_000)), "bbox", INFO)
    tracemalloc.start()
    assert sum(1 for _ in make().read(tmp_path / "a.xml", "bbox", ())) == 10_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
