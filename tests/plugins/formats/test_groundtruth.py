"""``groundtruth``: manifests of SageMaker Ground Truth, its own, its users' and ours; and chained jobs."""

from __future__ import annotations

import json
import re
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exportrows import CATEGORIES, check_provenance, export_rows, info, read, row
from hypothesis import given, settings
from PIL import Image

from gtloop import masks
from gtloop.errors import BadLabels, ConfigError
from gtloop.images import list_images
from gtloop.interfaces import Context, Entry, ExportRow, Options
from gtloop.labelfiles import match_entries, pick_reader
from gtloop.records import Payload
from gtloop_plugins.formats.groundtruth import GroundTruth, GroundTruthOptions
from gtloop_plugins.formats.indexmasks import IndexMasks, MaskOptions
from gtloop_plugins.formats.jsonl import JsonLines

jsonl = JsonLines(Options(), Context())
ALL = [jsonl, IndexMasks(MaskOptions(), Context())]


def plugin(**options: Any) -> GroundTruth:
    return GroundTruth(GroundTruthOptions(**options), Context())


default = plugin()

# Lines as the service's documentation has them (its own images and classes replaced by ours).
MADE = {
    "job-name": "labeling-job/birds",
    "human-annotated": "yes",
    "creation-date": "2018-10-18T22:18:13.527256",
}
CLASS: dict[str, Any] = {
    "source-ref": "s3://bucket/set/a.jpg",
    "sport": 0,
    "sport-metadata": {
        "class-name": "cat",
        "confidence": 0.9,
        "type": "groundtruth/image-classification",
        **MADE,
    },
}
BOXES: dict[str, Any] = {
    "source-ref": "s3://bucket/set/a.jpg",
    "bb": {
        "image_size": [{"width": 500, "height": 400, "depth": 3}],
        "annotations": [
            {"class_id": 0, "left": 111, "top": 134, "width": 61, "height": 128},
            {"class_id": 5, "left": 161, "top": 250, "width": 80, "height": 50},
        ],
    },
    "bb-metadata": {
        "objects": [{"confidence": 0.8}, {"confidence": 0.9}],
        "class-map": {"0": "cat", "5": "dög"},
        "type": "groundtruth/object-detection",
        **MADE,
    },
}
SEGMENTS: dict[str, Any] = {
    "source-ref": "s3://bucket/set/a.jpg",
    "city-ref": "s3://bucket/job/annotations/consolidated-annotation/output/0_2018.png",
    "city-ref-metadata": {
        "internal-color-map": {
            "0": {"class-name": "BACKGROUND", "hex-color": "#ffffff", "confidence": 0.9},
            "1": {"class-name": "cat", "hex-color": "#2acf59", "confidence": 0.9},
            "7": {"class-name": "dög", "hex-color": "#f28333", "confidence": 0.9},
        },
        "type": "groundtruth/semantic-segmentation",
        **MADE,
    },
}


def lines(path: Path, *records: Any, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(end.join(r if isinstance(r, str) else json.dumps(r) for r in records).encode())
    return path


def changed(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A line with other metadata; None takes a key out."""
    key = next(k for k in record if k.endswith("-metadata"))
    metadata = {k: v for k, v in (record[key] | changes).items() if v is not None}
    return record | {key: metadata}


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# -------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("task", ["bbox", "classification", "segmentation"])
@pytest.mark.parametrize("frame", ["display", "stored"])
def test_round_trip(task: str, frame: str) -> None:
    @settings(max_examples=30, deadline=None)
    @given(rows=export_rows(task))
    def check(rows: list[ExportRow]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "sub", "out.manifest")
            plugin(source_ref="s3://bucket/deep/").write(path, iter(rows), task, info(frame))
            names = {"out.manifest", "out-masks"} if task == "segmentation" else {"out.manifest"}
            assert {p.name for p in path.parent.iterdir()} == names
            if rows:
                assert pick_reader([default, *ALL], path, task) is default
            entries = read(default, path, task)
            text = path.read_bytes().decode()
        assert text.count("\n") == len(rows)
        frames = {e.frame for e in entries if e.payload is not None}
        assert frames <= {"display" if task == "classification" else frame}
        check_provenance(rows, [e._replace(frame="stored") for e in entries], "stored")
        for put, got in zip(rows, entries, strict=True):
            check_payload(task, put.label.payload if put.label else None, got.payload)

    check()


def check_payload(task: str, put: Payload | None, got: Payload | None) -> None:
    if task != "bbox" or put is None or got is None:
        assert got == put
        return
    assert len(got["boxes"]) == len(put["boxes"])
    for a, b in zip(got["boxes"], put["boxes"], strict=True):
        assert (a["category"], a.get("confidence")) == (b["category"], b.get("confidence"))
        assert ("confidence" in a) == ("confidence" in b)
        assert a["xyxy"] == pytest.approx(b["xyxy"], abs=1e-9)  # left + width may be one rounding off


# ------------------------------------------------------------------------------- what is written


def test_boxes_as_the_service_writes_them(tmp_path: Path) -> None:
    boxes = [
        {"category": "racc oon", "xyxy": [1, 2, 4.0, 6], "confidence": 0.5},
        {"category": "cat", "xyxy": [0.25, 0, 10, 10]},
    ]
    rows = [row(0, {"boxes": boxes}), row(1, {"boxes": []}, "machine"), row(2, None), row(3, {"boxes": []}, "adjusted")]
    (note,) = default.write(tmp_path / "job.manifest", rows, "bbox", info())
    assert note.startswith("1 of 2 boxes have fractions of a pixel")
    a, b, c, d = written(tmp_path / "job.manifest")
    assert list(a) == ["source-ref", "label", "label-metadata", "gtloop"]
    assert a["source-ref"] == "/photos/0.jpg"
    assert a["label"] == {
        "image_size": [{"width": 100, "height": 80, "depth": 3}],
        "annotations": [
            {"class_id": 2, "left": 1, "top": 2, "width": 3, "height": 4},
            {"class_id": 0, "left": 0.25, "top": 0, "width": 9.75, "height": 10},
        ],
    }
    assert all(isinstance(v, int) for v in a["label"]["annotations"][0].values())
    made = a["label-metadata"].pop("creation-date")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", made)
    assert a["label-metadata"] == {
        "objects": [{"confidence": 0.5}, {"confidence": 0.75}],  # the second has none of its own: the label's
        "class-map": {"0": "cat", "2": "racc oon"},
        "type": "groundtruth/object-detection",
        "job-name": "labeling-job/birds",
        "human-annotated": "yes",
    }
    assert b["label"]["annotations"] == b["label-metadata"]["objects"] == []
    assert b["label-metadata"]["class-map"] == {}
    assert [x["label-metadata"]["human-annotated"] for x in (b, d)] == ["no", "yes"]
    assert list(c) == ["source-ref", "gtloop"]
    assert (c["gtloop"]["status"], c["gtloop"]["reason"]) == ("pool", "not labelled yet")


def test_options_of_an_export(tmp_path: Path) -> None:
    boxes = {"boxes": [{"category": "cat", "xyxy": [0.4, 0.6, 0.45, 7.5]}]}
    rows = [row(0, boxes, name="a b/ü.jpg")]
    out = plugin(attribute="my-birds", integers=True, source_ref="s3://bucket/folder")
    assert out.write(tmp_path / "a.manifest", rows, "bbox", info()) == []
    (line,) = written(tmp_path / "a.manifest")
    assert line["source-ref"] == "s3://bucket/folder/a b/ü.jpg"
    assert line["my-birds"]["annotations"] == [{"class_id": 0, "left": 0, "top": 1, "width": 1, "height": 7}]
    (entry,) = read(default, tmp_path / "a.manifest", "bbox")
    assert entry.name == "a b/ü.jpg"
    plugin(source_ref="https://host/x/").write(tmp_path / "a.manifest", rows, "bbox", info())
    assert written(tmp_path / "a.manifest")[0]["source-ref"] == "https://host/x/a%20b/%C3%BC.jpg"
    (entry,) = read(default, tmp_path / "a.manifest", "bbox")
    assert entry.name == "a b/ü.jpg"


def test_classes_as_the_service_writes_them(tmp_path: Path) -> None:
    rows = [row(0, {"category": "dög", "confidence": 0.5}), row(1, {"category": "cat"}, "machine")]
    assert default.write(tmp_path / "a.manifest", rows, "classification", info()) == []
    a, b = written(tmp_path / "a.manifest")
    assert (a["label"], b["label"]) == (1, 0)
    assert a["label-metadata"] == {
        "class-name": "dög",
        "confidence": 0.5,
        "type": "groundtruth/image-classification",
        "job-name": "labeling-job/birds",
        "human-annotated": "yes",
        "creation-date": a["label-metadata"]["creation-date"],
    }
    assert b["label-metadata"]["confidence"] == 0.75


def test_masks_as_the_service_writes_them(tmp_path: Path) -> None:
    index = np.array([[0, masks.BACKGROUND], [2, masks.VOID]])
    label = masks.from_map(index, CATEGORIES).model_dump(mode="json", exclude_none=True)
    label["regions"][0]["confidence"] = 0.25
    rows = [row(0, label, name="a/b.jpg"), row(1, None)]
    plugin(mask_ref="s3://bucket/masks").write(tmp_path / "job.manifest", rows, "segmentation", info())
    line, bare = written(tmp_path / "job.manifest")
    assert list(line) == ["source-ref", "label-ref", "label-ref-metadata", "gtloop"]
    assert list(bare) == ["source-ref", "gtloop"]
    assert line["label-ref"] == "s3://bucket/masks/a/b.png"
    assert line["label-ref-metadata"]["internal-color-map"] == {
        "0": {"class-name": "BACKGROUND", "hex-color": "#ffffff", "confidence": 0.75},
        "1": {"class-name": "cat", "hex-color": "#800000", "confidence": 0.25},
        "3": {"class-name": "racc oon", "hex-color": "#808000", "confidence": 0.75},
        "255": {"class-name": "VOID", "hex-color": "#e0e0c0", "confidence": 0.75},
    }
    assert line["label-ref-metadata"]["type"] == "groundtruth/semantic-segmentation"
    image = Image.open(tmp_path / "job-masks" / "a" / "b.png")
    assert image.mode == "P"
    assert np.asarray(image).tolist() == [[1, 0], [3, 255]]
    shown = np.asarray(image.convert("RGB"))
    assert ["#{:02x}{:02x}{:02x}".format(*shown[y, x]) for y, x in ((0, 0), (0, 1), (1, 0), (1, 1))] == [
        "#800000",
        "#ffffff",
        "#808000",
        "#e0e0c0",
    ]
    entries = read(default, tmp_path / "job.manifest", "segmentation")
    assert [e.payload for e in entries] == [label, None]


def test_limits_are_reported(tmp_path: Path) -> None:
    def boxes(n: int) -> Payload:
        return {"boxes": [{"category": "cat", "xyxy": [1, 2, 3, 4]}] * n}

    rows = [row(0, boxes(1)), row(1, boxes(400)), row(2, boxes(2000)), row(3, boxes(1)), row(4, boxes(500))]
    line, attribute = default.write(tmp_path / "a.manifest", rows, "bbox", info())
    assert line.startswith("1 image is written with a line of over 100,000 characters")
    assert "2.jpg" in line
    assert attribute.startswith("2 images are written with an attribute of over 20,000 characters")
    lengths = [len(x) for x in (tmp_path / "a.manifest").read_text().splitlines()]
    assert [n > 100_000 for n in lengths] == [False, False, True, False, False]


def test_frames_are_reported(tmp_path: Path) -> None:
    rows = [row(0, {"boxes": []}, orientation=6), row(1, {"boxes": []}), row(2, None, orientation=6)]
    (note,) = default.write(tmp_path / "a.manifest", rows, "bbox", info("display"))
    assert note.startswith("1 image is turned by EXIF")
    assert "--frame stored" in note
    assert default.write(tmp_path / "a.manifest", rows, "bbox", info("stored")) == []


@pytest.mark.parametrize("name", ["a_b", "-a", "a-", "x-metadata", "source", "source-ref", "gtloop", "a$b", "b" * 128])
def test_names_that_the_service_refuses(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"formats\.groundtruth\.attribute="):
        plugin(attribute=name).write(tmp_path / "a.manifest", [], "bbox", info())
    with pytest.raises(ConfigError, match="only the labels of segmentation end with -ref"):
        plugin(attribute="x-ref").write(tmp_path / "a.manifest", [], "bbox", info())
    plugin(attribute="x-ref").write(tmp_path / "a.manifest", [], "segmentation", info())


def test_faults_of_writing(tmp_path: Path) -> None:
    for task, payload in (
        ("bbox", {"boxes": [{"category": "zebra", "xyxy": [1, 1, 2, 2]}]}),
        ("classification", {"category": "zebra"}),
        ("segmentation", masks.from_map(np.array([[0]]), ("zebra",)).model_dump(mode="json")),
    ):
        with pytest.raises(BadLabels, match=r"0\.jpg: category 'zebra' is not one of the run's"):
            default.write(tmp_path / "a.manifest", [row(0, payload)], task, info())
    many = tuple(map(str, range(255)))
    with pytest.raises(BadLabels, match="a mask of a manifest holds 254 categories, not 255"):
        default.write(tmp_path / "a.manifest", [], "segmentation", info(categories=many))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.manifest"
    label = masks.from_map(np.array([[0]]), CATEGORIES).model_dump(mode="json")
    default.write(path, [row(0, label)], "segmentation", info())
    before = path.read_bytes()

    def broken() -> Iterator[ExportRow]:
        yield row(1, label)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        default.write(path, broken(), "segmentation", info())
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["0.png", "a-masks", "a.manifest", "gtloop.jsonl"]


def test_both_ways_stream(tmp_path: Path) -> None:
    boxes = {"boxes": [{"category": "cat", "xyxy": [1, 1, 50, 50]}] * 5}

    def peak(n: int) -> int:
        tracemalloc.start()
        default.write(tmp_path / "a", (row(i, boxes) for i in range(n)), "bbox", info())
        for _ in default.read(tmp_path / "a", "bbox", CATEGORIES):
            pass
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(10)
    assert peak(1500) < peak(100) + 400_000  # what stays is where each image was seen; the file is 1.5 MB
    assert (tmp_path / "a").stat().st_size > 50_000


# ---------------------------------------------------------------------------- what others write


def test_a_manifest_of_the_service(tmp_path: Path) -> None:
    path = tmp_path / "output.manifest"
    lines(path, "\ufeff" + json.dumps(BOXES), "", {"source-ref": "s3://b/plain.jpg", "note": 3}, end="\r\n")
    labelled, bare = read(default, path, "bbox")
    assert labelled.payload == {
        "boxes": [
            {"category": "cat", "xyxy": [111, 134, 172, 262], "confidence": 0.8},
            {"category": "dög", "xyxy": [161, 250, 241, 300], "confidence": 0.9},
        ]
    }
    assert labelled[:1] + labelled[3:] == ("set/a.jpg", "human", "stored")
    assert (labelled.extras["width"], labelled.extras["height"]) == (500, 400)
    assert labelled.extras["bb-metadata"]["job-name"] == "labeling-job/birds"
    assert bare == Entry("plain.jpg", None, {"note": 3}, None, "stored")
    assert read(plugin(frame="display"), path, "bbox")[0].frame == "display"
    assert pick_reader([default, *ALL], path, "bbox") is default


@pytest.mark.parametrize("number", [0, "0"])
def test_classes_of_the_service(tmp_path: Path, number: Any) -> None:
    path = lines(tmp_path / "a.jsonl", CLASS | {"sport": number})
    (entry,) = read(default, path, "classification")
    assert entry.payload == {"category": "cat", "confidence": 0.9}
    assert entry[:1] + entry[3:] == ("set/a.jpg", "human", "display")  # a category has no frame
    assert entry.extras["confidence"] == 0.9
    assert pick_reader([default, *ALL], path, "classification") is default


def test_the_class_name_wins_over_the_number(tmp_path: Path) -> None:
    """The number counts in the job's list, which need not be ours."""
    path = lines(tmp_path / "a.manifest", CLASS | {"sport": 3})
    assert read(default, path, "classification")[0].payload == {"category": "cat", "confidence": 0.9}


@pytest.mark.parametrize("key", [5, "5"])
def test_class_numbers_are_numbers_or_text(tmp_path: Path, key: Any) -> None:
    bb = {"annotations": [{"class_id": key, "left": 1, "top": 1, "width": 2, "height": 2}]}
    line = changed(BOXES, objects=None) | {"bb": bb}
    (entry,) = read(default, lines(tmp_path / "a.manifest", line), "bbox")
    assert entry.payload == {"boxes": [{"category": "dög", "xyxy": [1, 1, 3, 3]}]}
    assert "width" not in entry.extras


def test_lists_for_training_have_no_metadata(tmp_path: Path) -> None:
    """Hand-made manifests for SageMaker's trainers; the attribute has to be named."""
    records = [{"source-ref": "a.jpg", "class": 1}, {"source-ref": "./b.jpg", "class": "dög"}]
    path = lines(tmp_path / "train.jsonl", *records)
    assert [e.payload for e in read(default, path, "classification")] == [None, None]
    named = read(plugin(attribute="class"), path, "classification")
    assert [e.payload for e in named] == [{"category": "dög"}, {"category": "dög"}]
    assert [e.source for e in named] == [None, None]
    with pytest.raises(BadLabels, match="class 1 is not in the class-map"):
        read(plugin(attribute="class"), path, "classification", ())


@pytest.mark.parametrize(("people", "source", "kept"), [("yes", "human", False), ("no", "machine", True)])
def test_zero_confidence(tmp_path: Path, people: str, source: str, kept: bool) -> None:
    """One worker's label has confidence 0 in the service, which does not mean that it is wrong; no object is lost."""
    line = changed(BOXES, objects=[{"confidence": 0}, {"confidence": 0.0}], **{"human-annotated": people})
    (entry,) = read(default, lines(tmp_path / "a.manifest", line), "bbox")
    assert entry.source == source
    assert entry.payload is not None
    assert [b.get("confidence") for b in entry.payload["boxes"]] == ([0, 0] if kept else [None, None])
    line = changed(CLASS, confidence=0.0, **{"human-annotated": people})
    (entry,) = read(default, lines(tmp_path / "a.manifest", line), "classification")
    assert entry.payload == {"category": "cat"} | ({"confidence": 0} if kept else {})


def test_failed_labels(tmp_path: Path) -> None:
    typed = changed(BOXES, **{"failure-reason": "ClientError: too large"})
    del typed["bb"]
    untyped = {"source-ref": "b.jpg", "bb-metadata": {"failure-reason": "Expired", "human-annotated": "yes"}}
    with_value = changed(BOXES, **{"failure-reason": "oops"}) | {"source-ref": "c.jpg"}
    null = {**BOXES, "bb": None, "source-ref": "d.jpg"}
    found = read(default, lines(tmp_path / "a.manifest", untyped, typed, with_value, null), "bbox")
    assert [e.payload for e in found] == [None] * 4
    assert [e.extras.get("reason") for e in found] == ["Expired", "ClientError: too large", "oops", None]
    assert [e.source for e in found] == [None] * 4


def test_chained_manifests_name_their_attribute(tmp_path: Path) -> None:
    """The original, an adjustment and a verification of it, in one file."""
    adjusted = BOXES["bb"] | {"annotations": BOXES["bb"]["annotations"][:1]}
    metadata = BOXES["bb-metadata"] | {"objects": [{"confidence": 0.1}], "adjustment-status": "adjusted"}
    verdict = {"class-name": "bad", "confidence": 0.93, "type": "groundtruth/label-verification", **MADE}
    line = {
        **BOXES,
        "adjusted-bb": adjusted,
        "adjusted-bb-metadata": metadata,
        "v": "1",
        "v-metadata": verdict,
    }
    path = lines(tmp_path / "a.manifest", {"source-ref": "first.jpg"}, line)
    with pytest.raises(BadLabels) as e:
        read(default, path, "bbox")
    assert "line 2: labels of type groundtruth/object-detection are under bb and adjusted-bb" in str(e.value)
    assert "-o formats.groundtruth.attribute=NAME" in str(e.value)
    counts = [
        len(read(plugin(attribute=name), path, "bbox")[1].payload["boxes"])  # type: ignore[index]
        for name in ("bb", "adjusted-bb")
    ]
    assert counts == [2, 1]
    (_, verified) = read(plugin(attribute="v"), path, "classification", ("good", "bad"))
    assert verified.payload == {"category": "bad", "confidence": 0.93}


def test_an_attribute_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Not a file without labels: a run that was imported has the attribute of its job."""
    path = lines(tmp_path / "a.manifest", {"source-ref": "first.jpg"}, BOXES)
    with pytest.raises(BadLabels, match=r"has no labels under mine, but bb \(groundtruth/object-detection\)"):
        read(plugin(attribute="mine"), path, "bbox")


def test_two_names_in_two_lines_are_several_too(tmp_path: Path) -> None:
    other = {"source-ref": "b.jpg", "cc": BOXES["bb"], "cc-metadata": BOXES["bb-metadata"]}
    with pytest.raises(BadLabels, match=r"line 2: labels of type .* are under bb and cc"):
        read(default, lines(tmp_path / "a.manifest", BOXES, other), "bbox")


def test_labels_of_other_types(tmp_path: Path) -> None:
    multi = changed(CLASS, type="groundtruth/image-classification-multilabel") | {"sport": [1, 0]}
    path = lines(tmp_path / "a.manifest", BOXES)
    with pytest.raises(BadLabels, match=r"has no labels of type groundtruth/image-classification, but bb \(ground"):
        read(default, path, "classification")
    with pytest.raises(BadLabels, match="task classification needs groundtruth/image-classification"):
        read(plugin(attribute="bb"), path, "classification")
    lines(path, multi)
    with pytest.raises(BadLabels, match="multi-label classification is not supported"):
        read(default, path, "classification")
    with pytest.raises(BadLabels, match="multi-label classification is not supported"):
        read(plugin(attribute="sport"), path, "classification")
    lines(path, {"source-ref": "a.jpg", "sport": [1]})
    with pytest.raises(BadLabels, match="multi-label classification is not supported"):
        read(plugin(attribute="sport"), path, "classification")


# ------------------------------------------------------------------------------------------- masks


def service_mask(path: Path, pixels: Any = ((0, 1), (7, 7))) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    image.putpalette([255, 255, 255] * 256)
    image.save(path)
    return path


@pytest.mark.parametrize("place", ["0_2018.png", "output/0_2018.png", "output-masks/0_2018.png"])
def test_masks_of_the_service(tmp_path: Path, place: str) -> None:
    """Downloaded: beside the manifest, with some of its folders, or to the folder that we would write."""
    service_mask(tmp_path / place)
    path = lines(tmp_path / "output.manifest", SEGMENTS)
    index = np.array([[masks.BACKGROUND, 0], [1, 1]])
    expected = masks.from_map(index, ("cat", "dög")).model_dump(mode="json", exclude_none=True)
    for region in expected["regions"]:
        region["confidence"] = 0.9
    for reader in (default, plugin(attribute="city"), plugin(attribute="city-ref")):
        (entry,) = read(reader, path, "segmentation")
        assert entry.payload == expected
        assert (entry.source, entry.frame) == ("human", "stored")


def test_masks_elsewhere(tmp_path: Path) -> None:
    path = lines(tmp_path / "m" / "a.manifest", SEGMENTS)
    with pytest.raises(BadLabels, match=r"no mask at s3://.*-o formats\.groundtruth\.masks=FOLDER"):
        read(default, path, "segmentation")
    service_mask(tmp_path / "down" / "output" / "0_2018.png")
    (entry,) = read(plugin(masks=tmp_path / "down"), path, "segmentation")
    assert entry.payload is not None
    lines(path, SEGMENTS | {"city-ref": str(service_mask(tmp_path / "x.png"))})
    assert read(default, path, "segmentation")[0].payload == entry.payload
    lines(path, SEGMENTS | {"city-ref": "../x.png"})
    assert read(default, path, "segmentation")[0].payload == entry.payload


def test_wrong_masks(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.manifest", SEGMENTS)
    service_mask(tmp_path / "0_2018.png", [[0, 3]])
    with pytest.raises(BadLabels, match=r"0_2018\.png has pixels of number 3, which the internal-color-map does not"):
        read(default, path, "segmentation")
    Image.new("RGB", (2, 2), "#2acf59").save(tmp_path / "0_2018.png")
    with pytest.raises(BadLabels, match=r"has colours \(RGB\); needs an index PNG"):
        read(default, path, "segmentation")
    service_mask(tmp_path / "0_2018.png")
    for changes, says in (
        ({"internal-color-map": {"x": {"class-name": "cat"}}}, "internal-color-map\\['x'\\] has no"),
        ({"internal-color-map": {"1": "cat"}}, "internal-color-map\\['1'\\] has no class-name"),
        ({"internal-color-map": None}, 'with an "internal-color-map" in its metadata'),
        ({"internal-color-map": {"0": {"class-name": "zebra"}, "1": {"class-name": "cat"}, "7": {"class-name": "cat"}}},
         "category 'zebra' is not declared"),
    ):  # fmt: skip
        with pytest.raises(BadLabels, match=says):
            read(default, lines(path, changed(SEGMENTS, **changes)), "segmentation")


# --------------------------------------------------------------------------------------- bad lines


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2 is not JSON"),
        ("3", "line 2 is not a JSON object"),
        ("[" * 100_000, "line 2 is not JSON"),
        ('{"source-ref": "b", "x": NaN}', "line 2 is not JSON"),
        ('{"source": "some text"}', 'line 2 has no "source-ref"'),
        ('{"source-ref": 3}', 'line 2 has no "source-ref"'),
        ('{"source-ref": "first.jpg"}', "line 2: first.jpg is there already, in line 1; remove one"),
        (BOXES | {"bb": 3}, 'bb has no list "annotations"'),
        (BOXES | {"bb": {"annotations": [3, 4]}}, "bb, annotation 1 is no object"),
        (changed(BOXES, objects=[]), "not one for each of the 2 annotations; add or remove both in step"),
        (changed(BOXES, objects=[{"confidence": 2}, {}]), "annotation 1: confidence is 2, not a number from 0 to 1"),
        (changed(BOXES, **{"class-map": {"0": "cat"}}), "annotation 2: class 5 is not in the class-map"),
        (changed(BOXES, **{"class-map": {"0": "cot"}}), "category 'cot' is not declared (did you mean 'cat'?)"),
        (changed(BOXES, **{"human-annotated": True}), '"human-annotated" is True; write "yes" or "no"'),
    ],
)
def test_bad_lines(tmp_path: Path, line: Any, says: str) -> None:
    path = lines(tmp_path / "a.manifest", {"source-ref": "first.jpg"}, line)
    with pytest.raises(BadLabels) as e:
        read(default, path, "bbox")
    assert says in str(e.value)
    assert str(e.value).startswith(f"{path}, line 2")
    assert "\n" not in str(e.value)


def test_metadata_that_is_no_object_says_nothing(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.manifest", CLASS | {"sport-metadata": 3})
    assert [e.payload for e in read(default, path, "classification")] == [None]
    with pytest.raises(BadLabels, match="line 1: sport-metadata is no object"):
        read(plugin(attribute="sport"), path, "classification")


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        ({"class_id": True}, "the number of the class is True"),
        ({"class_id": -1}, "the number of the class is -1"),
        ({"class_id": None}, "the number of the class is None"),
        ({"left": None}, "left, top, width, height are [None, 1, 2, 2], not four numbers"),
        ({"left": "1"}, "not four numbers"),
        ({"width": 0}, "has no area inside the image of 500 x 400 pixels"),
        ({"left": 500}, "has no area inside the image"),
    ],
)
def test_bad_boxes(tmp_path: Path, annotation: dict[str, Any], says: str) -> None:
    box = {"class_id": 0, "left": 1, "top": 1, "width": 2, "height": 2} | annotation
    line = changed(BOXES, objects=None) | {"bb": BOXES["bb"] | {"annotations": [box]}}
    with pytest.raises(BadLabels) as e:
        read(default, lines(tmp_path / "a.manifest", line), "bbox")
    assert says in str(e.value)
    assert "line 1: bb, annotation 1" in str(e.value)


def test_boxes_are_clipped(tmp_path: Path) -> None:
    box = {"class_id": 0, "left": -3, "top": 390, "width": 10, "height": 20}
    line = changed(BOXES, objects=[{"confidence": 1}]) | {"bb": BOXES["bb"] | {"annotations": [box]}}
    (entry,) = read(default, lines(tmp_path / "a.manifest", line), "bbox")
    assert entry.payload == {"boxes": [{"category": "cat", "xyxy": [0, 390, 7, 400], "confidence": 1}]}


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    assert not default.sniff(tmp_path)
    with pytest.raises(BadLabels, match="can't be read"):
        read(default, tmp_path, "bbox")


def test_sniff_leaves_jsonl_its_own(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"name": "a.jpg", "payload": None, "source-ref": "a.jpg"})
    assert pick_reader([default, *ALL], path, "bbox") is jsonl
    lines(path, {"source-ref": "a.jpg"})
    assert pick_reader([default, *ALL], path, "bbox") is default
    path.write_bytes(b"\xff\xfe")
    assert not default.sniff(path)


# ---------------------------------------------------------------------------------------- chaining


def test_a_chained_job_asks_for_what_has_no_label(tmp_path: Path) -> None:
    """The manifest is source of the images and of their labels at once; file names that come twice are told apart."""
    names = ["x.png", "a/x.png", "b/x.png", "b/y ü.png"]
    rows = []
    for n, name in enumerate(names):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 80), (n, 0, 0)).save(file)
        payload = None if n == 2 else {"boxes": [{"category": "cat", "xyxy": [n, 1, 50, 60]}]}
        rows.append(row(n, payload, name=name, uri=str(file)))
    path = tmp_path / "photos" / "job.manifest"
    default.write(path, rows, "bbox", info())
    listed = [i.name for i in list_images(str(path))]
    assert sorted(listed) == sorted(names)
    matched = dict(match_entries(read(default, path, "bbox"), listed))
    found = {listed[at]: entry.payload for at, entry in matched.items()}
    assert found == {r.item.name: r.label and r.label.payload for r in rows}
    elsewhere = tmp_path / "elsewhere.manifest"
    elsewhere.write_bytes(path.read_bytes())
    listed = [i.name for i in list_images(str(elsewhere))]
    assert sorted(listed) == sorted(f"photos/{n}" for n in names)


def test_names_of_source_refs(tmp_path: Path) -> None:
    refs = {
        "s3://bucket/deep/a%20b.jpg": "deep/a%20b.jpg",
        "https://host/deep/a%20b.jpg?X-Amz-Signature=1": "deep/a b.jpg",
        "file:///home/me/%C3%BC.jpg": "home/me/ü.jpg",
        "/home/me/c.jpg": "/home/me/c.jpg",
        "sub/d.jpg": "sub/d.jpg",
    }
    path = lines(tmp_path / "a.manifest", *({"source-ref": r} for r in refs))
    assert [e.name for e in read(default, path, "bbox")] == list(refs.values())
    own = [{"source-ref": "s3://b/x/y.jpg", "gtloop": {"name": n}} for n in ("y.jpg", "x/y.jpg", "z.jpg", "", 3)]
    names = [read(default, lines(path, line), "bbox")[0].name for line in own]
    assert names == ["y.jpg", "x/y.jpg", "x/y.jpg", "x/y.jpg", "x/y.jpg"]
