"""The demo's generated pictures: exact truth, the same for the same seed, resumable."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gtloop.errors import UsageError
from gtloop.labels import BoxesLabel, ClassLabel
from gtloop_plugins.demo.scenes import MIN_PIXELS, SPECIES, Scene, make_scene, write_dataset

SMALL = (160, 120)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(3, i, SMALL) for i in range(60)]


@pytest.mark.slow
def test_a_scene_depends_on_seed_index_and_size_only(scenes: list[Scene]) -> None:
    again = make_scene(3, 7, SMALL)
    assert again.jpeg == scenes[7].jpeg
    assert again.boxes == scenes[7].boxes
    assert np.array_equal(again.mask, scenes[7].mask)
    assert make_scene(4, 7, SMALL).jpeg != again.jpeg
    assert make_scene(3, 8, SMALL).jpeg != again.jpeg


def test_boxes_lie_inside_the_image_and_have_pixels(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.image.size == SMALL
        assert scene.image.mode == "RGB"
        for species, (x1, y1, x2, y2) in scene.boxes:
            assert 0 <= x1 < x2 <= SMALL[0]
            assert 0 <= y1 < y2 <= SMALL[1]
            own = scene.mask[int(y1) : int(y2), int(x1) : int(x2)] == SPECIES.index(species) + 1
            assert own.sum() >= MIN_PIXELS


def test_the_boxes_of_a_species_are_tight_around_its_mask(scenes: list[Scene]) -> None:
    seen = 0
    for scene in scenes:
        for i, species in enumerate(SPECIES):
            boxes = [box for name, box in scene.boxes if name == species]
            ys, xs = np.nonzero(scene.mask == i + 1)
            assert bool(boxes) == bool(len(xs))
            if boxes:
                seen += 1
                x1, y1, x2, y2 = (np.array(side) for side in zip(*boxes, strict=True))
                extent = (x1.min(), y1.min(), x2.max(), y2.max())
                assert extent == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert seen > 40


def test_the_prominent_species_shows_on_the_image(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert (scene.species is None) == (not scene.boxes)
        if len(scene.boxes) == 1:
            assert scene.species == scene.boxes[0][0]


def test_every_species_occurs_and_counts_vary(scenes: list[Scene]) -> None:
    counts = np.array([len(s.boxes) for s in scenes])
    assert {name for s in scenes for name, _ in s.boxes} == set(SPECIES)
    assert 0.03 < (counts == 0).mean() < 0.16
    assert counts.max() == 5
    assert 1.4 < counts.mean() < 2.3


def test_a_bird_changes_the_pixels_that_its_mask_claims() -> None:
    with_birds = make_scene(3, 7, SMALL)
    assert with_birds.boxes
    pixels = np.asarray(with_birds.image, np.float64)
    inside, outside = pixels[with_birds.mask > 0].mean(axis=0), pixels[with_birds.mask == 0].mean(axis=0)
    assert np.abs(inside - outside).max() > 3


def test_max_birds_and_empty_are_kept() -> None:
    assert all(len(make_scene(5, i, SMALL, 1, empty=0.0).boxes) == 1 for i in range(12))
    assert all(not make_scene(5, i, SMALL, 0).boxes for i in range(4))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("task", ["bbox", "segmentation"])
def test_a_data_set_made_in_pieces_is_the_one_made_at_once(tmp_path: Path, task: str) -> None:
    once, pieces = tmp_path / "once", tmp_path / "pieces"
    write_dataset(once, 6, 1, SMALL, task)
    write_dataset(pieces, 3, 1, SMALL, task)
    (pieces / "images" / "00002.jpg").unlink()
    # What a kill leaves: an unfinished truth with half a line.
    text = (pieces / "truth.jsonl").read_text()
    (pieces / "truth.jsonl").unlink()
    (pieces / "truth.jsonl.part").write_text(text + '{"name": "0000')
    kept = (pieces / "images" / "00000.jpg").stat().st_mtime_ns
    steps: list[int] = []
    write_dataset(pieces, 6, 1, SMALL, task, progress=lambda step, done, total, note="": steps.append(done))
    assert steps == [2, 3, 4, 5, 6]
    assert (pieces / "images" / "00000.jpg").stat().st_mtime_ns == kept
    assert files(pieces) == files(once)


def test_two_processes_write_what_one_writes(tmp_path: Path) -> None:
    write_dataset(tmp_path / "one", 6, 2, SMALL, workers=1)
    write_dataset(tmp_path / "two", 6, 2, SMALL, workers=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_bbox_truth_is_the_labels_of_the_scenes(tmp_path: Path) -> None:
    write_dataset(tmp_path, 4, 3, SMALL)
    for i, line in enumerate((tmp_path / "truth.jsonl").read_text().splitlines()):
        row, scene = json.loads(line), make_scene(3, i, SMALL)
        assert row["name"] == f"{i:05d}.jpg"
        label = BoxesLabel.model_validate(row["payload"])
        assert [b.xyxy for b in label.boxes] == [box for _, box in scene.boxes]
        assert {b.category for b in label.boxes} <= {"bird"}
        with Image.open(tmp_path / "images" / row["name"]) as image:
            assert np.array_equal(np.asarray(image.convert("RGB")), np.asarray(scene.image))


def test_classification_truth_is_the_only_bird(tmp_path: Path) -> None:
    write_dataset(tmp_path, 5, 3, SMALL, "classification")
    for i, line in enumerate((tmp_path / "truth.jsonl").read_text().splitlines()):
        scene = make_scene(3, i, SMALL, 1, empty=0.0)
        assert ClassLabel.model_validate(json.loads(line)["payload"]).category == scene.boxes[0][0]


def test_segmentation_masks_are_index_images(tmp_path: Path) -> None:
    write_dataset(tmp_path, 2, 3, SMALL, "segmentation")
    for i, line in enumerate((tmp_path / "truth.jsonl").read_text().splitlines()):
        with Image.open(tmp_path / json.loads(line)["payload"]["mask"]) as mask:
            assert np.array_equal(np.asarray(mask), make_scene(3, i, SMALL).mask > 0)


def test_bad_requests_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose one of bbox"):
        write_dataset(tmp_path, 1, 0, SMALL, "pose")
    with pytest.raises(UsageError, match="too small"):
        make_scene(0, 0, (64, 48))
    write_dataset(tmp_path, 1, 0, SMALL)
    with pytest.raises(UsageError, match="another demo data set"):
        write_dataset(tmp_path, 1, 1, SMALL)
