"""Label Studio's JSON as a label format: what is written is read again, and what the server exports is read."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from gtloop.errors import BadLabels
from gtloop.interfaces import Context, Entry
from gtloop.testing import FormatContract

from gtloop_labelstudio import brush
from gtloop_labelstudio.annotator import LabelStudio
from gtloop_labelstudio.format import LabelStudioFormat, LabelStudioFormatOptions


class TestLabelStudioFormat(FormatContract):
    plugin = LabelStudioFormat


def test_gtloop_finds_them() -> None:
    (point,) = entry_points(group="gtloop", name="labelstudio")
    hooks = point.load()
    assert LabelStudio in hooks.gtloop_annotators()
    assert LabelStudioFormat in hooks.gtloop_formats()


def read(folder: Path, tasks: Any, task: str = "bbox", categories: tuple[str, ...] = ("crate",)) -> list[Entry]:
    path = folder / "tasks.json"
    path.write_text(json.dumps(tasks))
    reader = LabelStudioFormat(LabelStudioFormatOptions(), Context(categories=categories))
    assert reader.sniff(path)
    return list(reader.read(path, task, categories))


def box(x: float, name: str = "label", category: str = "crate", **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": 0, "width": 10, "height": 50, "rotation": 0, "rectanglelabels": [category]}
    frame = {"original_width": 200, "original_height": 100, "image_rotation": 0}
    return {"from_name": name, "to_name": "img", "type": "rectanglelabels", "value": value, **frame, **more}


def task(*annotations: Any, image: str = "/data/upload/7/0a1b2c3d-some-image.png", **more: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"image": image}, "annotations": [*annotations], "predictions": [], **more}


def test_an_export_of_a_project_of_ones_own_is_read(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, [task({"result": [box(10), {"type": "choices", "from_name": "note", "value": {}}]})])
    assert entry.name == "some-image.png", "the server's prefix is no part of the name"
    assert entry.payload == {"boxes": [{"category": "crate", "xyxy": [20.0, 0.0, 40.0, 50.0]}]}
    assert entry.source == "human"


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("https://host.example/a%20b/c.jpg?sig=x", "a b/c.jpg"),
        ("/data/local-files/?d=photos/one%20two.png", "photos/one two.png"),
        ("photos/x.jpg", "photos/x.jpg"),
    ],
)
def test_names_are_found_in_addresses(tmp_path: Path, image: str, name: str) -> None:
    (entry,) = read(tmp_path, [task({"result": []}, image=image)])
    assert entry.name == name
    assert entry.payload == {"boxes": []}, "an annotation without a box says that there is nothing"


def test_which_annotation_counts(tmp_path: Path) -> None:
    def first(*annotations: Any, **more: Any) -> Any:
        (entry,) = read(tmp_path, [task(*annotations, **more)])
        return entry.payload and [b["xyxy"][0] for b in entry.payload["boxes"]]

    one, two = {"result": [box(10)]}, {"result": [box(20)]}
    assert first(one, two) == [40.0], "the last"
    assert first({**one, "ground_truth": True}, two) == [20.0], "that with a star"
    assert first(one, {**two, "was_cancelled": True}) == [20.0], "none that was skipped"
    assert first() is None
    assert first(predictions=[{"result": [box(30)], "score": 0.5}]) == [60.0]


def test_scores_are_confidences(tmp_path: Path) -> None:
    found = read(tmp_path, [task(predictions=[{"result": [box(30, score=0.75)]}])])
    assert found[0].payload == {"boxes": [{"category": "crate", "xyxy": [60.0, 0.0, 80.0, 50.0], "confidence": 0.75}]}
    assert found[0].source == "machine"


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([task({"result": [box(10, category="bird")]})], "'bird' is not declared"),
        ([task({"result": [box(10) | {"value": {**box(10)["value"], "rotation": 30}}]})], "turned by 30 degrees"),
        ([task({"result": [{k: v for k, v in box(10).items() if "original" not in k}]})], "no size"),
        ([{"data": {"text": "x"}, "annotations": []}], 'no "image"'),
        ([task({"result": [box(10, score=7)]})], "score is 7"),
    ],
)
def test_what_cant_be_read_is_said_with_the_task(tmp_path: Path, tasks: Any, said: str) -> None:
    with pytest.raises(BadLabels, match=said) as e:
        read(tmp_path, tasks)
    assert "tasks.json, task 1" in str(e.value)


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    path.write_text('[{"data": {"image": "a.png"}, "annotations": [')
    reader = LabelStudioFormat(LabelStudioFormatOptions(), Context())
    with pytest.raises(BadLabels, match="no JSON list of tasks"):
        list(reader.read(path, "bbox", ()))


def test_strokes_of_one_category_become_one_region(tmp_path: Path) -> None:
    import numpy as np

    left, right = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    left[:, :2], right[:, 1:] = True, True
    strokes = [
        {
            **{"from_name": "tag", "type": "brushlabels", "original_width": 4, "original_height": 2},
            "value": {"format": "rle", "rle": brush.encode(mask), "brushlabels": [name]},
        }
        for mask, name in ((left, "crate"), (right, "void"))
    ]
    (entry,) = read(tmp_path, [task({"result": strokes})], "segmentation")
    assert entry.payload == {"size": [2, 4], "regions": [{"category": "crate", "counts": "026"}], "void": "26"}
