"""Run-length codes of masks: against pycocotools, round trips, frames."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps
from pycocotools import mask as coco

from gtloop import masks
from gtloop.labels import SegmentationLabel

shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))
some_masks = shapes.flatmap(lambda size: arrays(np.bool_, size))


@given(some_masks)
def test_codes_are_those_of_pycocotools(mask: masks.Mask) -> None:
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    ours = masks.encode(mask)
    assert ours == theirs["counts"].decode()
    assert (masks.decode(ours, mask.shape) == mask).all()
    assert masks.area(ours) == coco.area(theirs)
    box = masks.bounds(ours, mask.shape)
    if box is None:
        assert not mask.any()
    else:
        x, y, w, h = coco.toBbox(theirs)
        assert box == (x, y, x + w, y + h)


def test_a_large_mask() -> None:
    mask = np.zeros((3000, 4000), bool)
    mask[100:2900, 7:3990] = True
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert masks.encode(mask) == theirs["counts"].decode()
    assert (masks.decode(masks.encode(mask), mask.shape) == mask).all()


@given(st.text(max_size=30))
def test_any_text_is_a_code_or_a_value_error(code: str) -> None:
    with contextlib.suppress(ValueError):
        assert masks.decode(code, (5, 7)).shape == (5, 7)


@pytest.mark.parametrize("code", ["", "é", "~~~", "P" * 40])
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match=r"code|pixels|length"):
        masks.decode(code, (5, 7))


@given(shapes.flatmap(lambda size: arrays(np.int16, size, elements=st.integers(-2, 4))))
def test_index_maps_come_back(index: masks.IndexMap) -> None:
    label = masks.from_map(index, ("a", "b", "c"))
    assert SegmentationLabel.model_validate_json(label.model_dump_json()) == label
    expected = np.where((index > 2) | (index == masks.VOID), masks.VOID, index)
    assert (masks.to_map(label, ("a", "b", "c")) == expected).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reorient_is_what_pillow_does(orientation: int) -> None:
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    shown = np.asarray(ImageOps.exif_transpose(image))
    assert (masks.reorient(stored, orientation, "display") == shown).all()
    assert (masks.reorient(shown, orientation, "stored") == stored).all()


def test_polygons_are_those_of_pycocotools_but_for_their_edges() -> None:
    polygons = [[10.0, 10.0, 60.0, 12.0, 55.0, 70.0, 20.0, 50.0], [70.0, 5.0, 90.0, 5.0, 90.0, 25.0, 70.0, 25.0]]
    theirs = coco.decode(coco.merge(coco.frPyObjects(polygons, 80, 100))).astype(bool)
    ours = masks.from_polygons(polygons, (80, 100))
    union, both = (ours | theirs).sum(), (ours & theirs).sum()
    assert both / union > 0.97
