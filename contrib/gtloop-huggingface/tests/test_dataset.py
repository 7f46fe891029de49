"""Format ``huggingface``: exports as ``datasets`` opens them, data sets of others, what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from gtloop.errors import BadLabels
from gtloop.interfaces import Context, Entry, ExportRow
from gtloop.records import Item, Label
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth
from PIL import Image

from gtloop_huggingface.dataset import HuggingFace, HuggingFaceOptions

LAYOUTS = ("parquet", "disk", "imagefolder")
INFO = {"categories": CATEGORIES, "run": "tiny", "frame": "display", "version": "0"}


def fmt(**options: Any) -> HuggingFace:
    return HuggingFace(HuggingFaceOptions(**options), Context(categories=CATEGORIES))


def export_rows(folder: Path, task: str, n: int = 10) -> list[ExportRow]:
    """People's and machine's labels; the last image has none."""
    truths = tiny_truth(task, n)
    assert truths is not None
    rows = []
    for item, payload in zip(tiny_items(folder, n), truths, strict=True):
        machine = item.row % 2 == 1
        if machine and task == "bbox":
            payload = {"boxes": [{**box, "confidence": 0.75} for box in payload["boxes"]]}
        made = {"source": "machine", "model": "m1", "bound": 0.5} if machine else {"source": "human", "workers": 3}
        label = Label(row=item.row, payload=payload, confidence=0.9, iteration=1, **made)
        last = item.row == n - 1
        rows.append(ExportRow(item, None if last else label, 96, 64, "pool" if last else "human", "budget" * last))
    return rows


def opened(path: Path, layout: str) -> Any:
    """The export as its users open it."""
    if layout == "disk":
        return datasets.load_from_disk(str(path))
    return datasets.load_dataset(str(path), split="train", cache_dir=str(path.parent / "cache"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_boxes_are_opened_by_datasets_and_come_back(layout: str, tmp_path: Path) -> None:
    rows, out = export_rows(tmp_path / "images", "bbox"), tmp_path / "out"
    (said,) = fmt(layout=layout).write(out, rows, "bbox", INFO)
    assert said == "1 image is without a label (1 budget): listed in gtloop.jsonl only."
    found = opened(out, layout)
    assert len(found) == 9
    for row, example in zip(rows, found, strict=False):
        assert row.label is not None
        boxes, objects = row.label.payload["boxes"], example["objects"]
        assert example["image"].size == (96, 64)
        assert np.array_equal(np.asarray(example["image"]), np.asarray(Image.open(row.item.uri)))
        assert objects["bbox"] == [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (b["xyxy"] for b in boxes)]
        assert objects["area"] == [b[2] * b[3] for b in objects["bbox"]]
        named = objects["category"]
        if layout != "imagefolder":
            feature = found.features["objects"]["category"].feature
            assert feature.names == list(CATEGORIES)
            named = [feature.int2str(n) for n in named]
        assert named == [b["category"] for b in boxes]
    check_back(list(fmt().read(out, "bbox", CATEGORIES)), rows)


def check_back(entries: list[Entry], rows: list[ExportRow]) -> None:
    """Labels, and where they come from, are what was written."""
    assert [e.name for e in entries] == [r.item.name for r in rows]
    for entry, row in zip(entries, rows, strict=True):
        if row.label is None:
            assert entry.payload is None
            assert entry.extras["reason"] == "budget"
            continue
        assert entry.payload == json.loads(json.dumps(row.label.payload))
        assert entry.source == row.label.source
        kept = {"confidence": 0.9, "iteration": 1, "model": row.label.model, "bound": row.label.bound}
        assert {k: entry.extras.get(k) for k in kept} == kept
        assert (entry.extras["row"], entry.extras["id"]) == (row.item.row, row.item.id)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_classes_and_masks_are_opened_by_datasets_and_come_back(layout: str, task: str, tmp_path: Path) -> None:
    rows, out = export_rows(tmp_path / "images", task), tmp_path / "out"
    fmt(layout=layout).write(out, rows, task, INFO)
    found = opened(out, layout)
    if task == "classification":
        label = found.features["label"]
        names = found["label"] if layout == "imagefolder" else [label.int2str(n) for n in found["label"]]
        assert list(names) == [CATEGORIES[i % 2] for i in range(9)]
    else:
        mask = np.asarray(found[0]["label"])
        meaning = json.loads((out / "id2label.json").read_text())
        assert mask.shape == (64, 96)
        assert meaning[str(int(np.unique(mask)[1]))] == "crate"
        assert (mask[:, -2:] == 255).all(), "pixels that do not count"
    check_back(list(fmt().read(out, task, CATEGORIES)), rows)


def test_shards_are_small_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gtloop_huggingface.dataset import writing

    monkeypatch.setattr(writing, "ROWS", 2)
    options = HuggingFaceOptions().model_copy(update={"shard_mb": 0})
    rows, out = export_rows(tmp_path / "images", "bbox"), tmp_path / "out"
    HuggingFace(options, Context(categories=CATEGORIES)).write(out, rows, "bbox", INFO)
    names = sorted(p.name for p in (out / "data").iterdir())
    assert names == [f"train-{n:05d}-of-00005.parquet" for n in range(5)]
    check_back(list(fmt().read(out, "bbox", CATEGORIES)), rows)
    one = out / "data" / names[0]
    assert fmt().sniff(one)
    assert [e.name for e in fmt().read(one, "bbox", CATEGORIES)] == ["tiny_000.png", "tiny_001.png"]


def test_an_image_that_is_gone_keeps_its_label(tmp_path: Path) -> None:
    rows, out = export_rows(tmp_path / "images", "bbox", 4), tmp_path / "out"
    Path(rows[1].item.uri).unlink()
    said = fmt().write(out, rows, "bbox", INFO)
    assert "1 image is not there any more: the label is in gtloop.jsonl only." in said
    back = {e.name: e for e in fmt().read(out, "bbox", CATEGORIES)}
    assert rows[1].label is not None
    assert back["tiny_001.png"].payload == rows[1].label.payload


def test_what_was_corrected_in_the_metadata_is_read_as_it_is_now(tmp_path: Path) -> None:
    rows, out = export_rows(tmp_path / "images", "classification", 4), tmp_path / "out"
    fmt(layout="imagefolder").write(out, rows, "classification", INFO)
    path = out / "data" / "metadata.jsonl"
    path.write_text(path.read_text().replace('"label": "drum"', '"label": "crate"'))
    back = {e.name: e for e in fmt().read(out, "classification", CATEGORIES)}
    changed = back["tiny_001.png"]
    assert changed.payload == {"category": "crate"}
    assert changed.source is None
    assert back["tiny_000.png"].source == "human"


def test_regions_keep_their_confidences(tmp_path: Path) -> None:
    """Also where they stand in another order than the categories: the best first."""
    from gtloop import masks

    index = np.full((64, 96), masks.BACKGROUND, np.int16)
    index[:10], index[20:30] = 0, 1
    payload = masks.from_map(index, CATEGORIES).model_dump(mode="json", exclude_none=True)
    payload["regions"] = [{**r, "confidence": c} for r, c in zip(payload["regions"][::-1], (0.9, 0.6), strict=True)]
    label = Label(row=0, payload=payload, source="machine", confidence=0.9, iteration=1, model="m1")
    row = ExportRow(tiny_items(tmp_path / "images", 1)[0], label, 96, 64, "machine", "")
    for layout in LAYOUTS:
        fmt(layout=layout).write(tmp_path / layout, [row], "segmentation", INFO)
        (entry,) = fmt().read(tmp_path / layout, "segmentation", CATEGORIES)
        assert entry.source == "machine"
        assert entry.payload is not None
        by_name = {r["category"]: r for r in entry.payload["regions"]}
        assert by_name == {r["category"]: r for r in payload["regions"]}


def picture(folder: Path, name: str, colour: int = 9) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (colour, 0, 0)).save(folder / name)
    return name


def test_an_imagefolder_as_the_documentation_of_datasets_has_it(tmp_path: Path) -> None:
    """Splits as folders, ``categories`` as numbers: the example of its guide on object detection."""
    lines = [
        {"file_name": picture(tmp_path / "train", "a.png"), "objects": {"bbox": [[1, 2, 3, 4]], "categories": [1]}},
        {"file_name": picture(tmp_path / "train", "b.png", 8), "objects": {"bbox": [], "categories": []}},
    ]
    (tmp_path / "train" / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert fmt().sniff(tmp_path)
    found = {e.name: e.payload for e in fmt().read(tmp_path, "bbox", CATEGORIES)}
    assert found["train/a.png"] == {"boxes": [{"category": "drum", "xyxy": [1.0, 2.0, 4.0, 6.0]}]}
    assert found["train/b.png"] == {"boxes": []}


def hub_style(folder: Path, **columns: Any) -> Any:
    """A data set as others push it: pictures inside, no names."""
    given: dict[str, Any] = {
        "image_id": [7, 8],
        "image": [str(folder / picture(folder, f"{n}.png", n)) for n in (1, 2)],
    }
    return datasets.Dataset.from_dict(given | columns).cast_column("image", datasets.Image())


def test_a_set_as_on_the_hub_with_splits(tmp_path: Path) -> None:
    """The columns of cppe-5, saved with save_to_disk, and as Parquet."""
    names = datasets.ClassLabel(names=["mask", "crate", "drum"])
    objects = [{"id": [1], "area": [12], "bbox": [[1, 2, 3, 4]], "category": [1]}] * 2
    made = hub_style(tmp_path / "images", objects=objects)
    features = made.features.copy()
    features["objects"]["category"] = datasets.List(names)
    made = made.cast(features)
    whole = datasets.DatasetDict({"train": made, "test": made.select([1])})
    whole.save_to_disk(str(tmp_path / "disk"))
    made.to_parquet(str(tmp_path / "some.parquet"))
    expected = {"boxes": [{"category": "crate", "xyxy": [1.0, 2.0, 4.0, 6.0]}]}
    for path, n in ((tmp_path / "disk", 3), (tmp_path / "some.parquet", 2)):
        assert fmt().sniff(path)
        found = list(fmt().read(path, "bbox", CATEGORIES))
        assert [e.payload for e in found] == [expected] * n
    assert len(list(fmt(split="test").read(tmp_path / "disk", "bbox", CATEGORIES))) == 1
    with pytest.raises(BadLabels, match="has no split 'validation'; there are: train, test"):
        list(fmt(split="validation").read(tmp_path / "disk", "bbox", CATEGORIES))
    with pytest.raises(BadLabels, match=r"has no labels of task 'classification' \(columns: .*it needs a column label"):
        list(fmt().read(tmp_path / "some.parquet", "classification", CATEGORIES))
    with pytest.raises(BadLabels, match="category 'crate' is not declared"):
        list(fmt().read(tmp_path / "some.parquet", "bbox", ("drum",)))


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "state.json").write_text("{")
    (broken / "dataset_info.json").write_text("{")
    with pytest.raises(BadLabels, match="can't be read as a data set of Hugging Face") as e:
        list(fmt().read(broken, "bbox", CATEGORIES))
    assert "\n" not in str(e.value)
    numbers = hub_style(tmp_path / "images", label=[0, 5])
    numbers.save_to_disk(str(tmp_path / "numbers"))
    with pytest.raises(BadLabels, match="category 5 has no name; name the categories with --classes, in order"):
        list(fmt().read(tmp_path / "numbers", "classification", CATEGORIES))


def test_a_turned_image_is_opened_turned(tmp_path: Path) -> None:
    """``datasets`` applies EXIF as gtloop does: boxes of the display frame fit."""
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(path, exif=exif)
    item = Item(row=0, id="t", name="turned.jpg", uri=str(path), width=40, height=30, orientation=6)
    payload = {"boxes": [{"category": "crate", "xyxy": [1, 2, 29, 39]}]}
    label = Label(row=0, payload=payload, source="human", confidence=1, iteration=1)
    row = ExportRow(item, label, 30, 40, "human", "")
    assert fmt().write(tmp_path / "out", [row], "bbox", INFO) == []
    assert opened(tmp_path / "out", "parquet")[0]["image"].size == (30, 40)
    said = fmt().write(tmp_path / "out", [row], "bbox", {**INFO, "frame": "stored"})
    assert said == ["1 image is turned by EXIF when datasets opens them: stored pixels do not fit them."]
