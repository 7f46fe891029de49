"""From an item to what a detector predicts from: large JPEGs are decoded no larger than the detector needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gtloop.errors import PluginFault
from gtloop.inference import decode
from gtloop.interfaces import Context
from gtloop.records import Item
from gtloop.testing.fakes import EchoDetector


class Modest(EchoDetector):
    """Needs a fifth of an image's sides."""

    def least_size(self, width: int, height: int) -> tuple[int, int] | None:
        return width // 5, height // 5

    def prepare(self, image: Any, item: Item) -> Any:
        return image.size, item.display_size


def saved(folder: Path, name: str, orientation: int = 1) -> Item:
    """A picture of 400 x 300 stored pixels whose size is not known yet."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.linear_gradient("L").resize((400, 300)).convert("RGB").save(folder / name, exif=exif)
    return Item(row=0, id="0", name=name, uri=str(folder / name))


@pytest.mark.parametrize(
    ("name", "orientation", "seen", "whole"),
    [
        ("a.jpg", 1, (100, 75), (400, 300)),
        ("turned.jpg", 6, (75, 100), (300, 400)),
        ("a.png", 1, (400, 300), (400, 300)),
    ],
)
def test_a_jpeg_is_decoded_as_large_as_needed(
    tmp_path: Path, name: str, orientation: int, seen: tuple[int, int], whole: tuple[int, int]
) -> None:
    detector = Modest(Modest.Options(), Context())
    assert decode(detector, saved(tmp_path, name, orientation)).prepared == (seen, whole)


def test_who_says_nothing_gets_the_whole_image(tmp_path: Path) -> None:
    detector = EchoDetector(EchoDetector.Options(), Context())
    assert decode(detector, saved(tmp_path, "a.jpg")).prepared == (0, (400, 300))


def test_a_detector_that_breaks_is_named(tmp_path: Path) -> None:
    class Breaks(EchoDetector):
        def least_size(self, width: int, height: int) -> tuple[int, int] | None:
            raise ValueError("no idea")

    detector = Breaks(Breaks.Options(), Context())
    with pytest.raises(PluginFault, match="detector 'echo': least_size raised ValueError: no idea"):
        decode(detector, saved(tmp_path, "a.jpg"))
