"""Images as people see them: the display frame, no metadata, no needless loss."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from gtloop.errors import BadImage
from gtloop.images import open_image
from gtloop.records import Item
from gtloop_plugins.annotators.local.pictures import Pictures, sized, strip_jpeg

SECRET = b"taken-at-home"


def noise(size: tuple[int, int] = (61, 40), mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def exif(orientation: int = 1) -> Image.Exif:
    found = Image.Exif()
    found[0x0112], found[0x010E] = orientation, SECRET.decode()
    return found


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_loses_its_metadata_and_nothing_else(tmp_path: Path, progressive: bool, mode: str) -> None:
    path = tmp_path / "a.jpg"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if mode == "RGB" else None
    noise(mode=mode).save(
        path, progressive=progressive, exif=exif(), comment=SECRET, icc_profile=profile, dpi=(72, 72), quality=90
    )
    path.write_bytes(path.read_bytes() + b"\xff\xd8 a second picture " + SECRET)
    picture = Pictures().get(str(path))
    assert picture.media == "image/jpeg"
    assert SECRET not in picture.data
    shown = Image.open(io.BytesIO(picture.data))
    assert "exif" not in shown.info
    assert shown.info.get("icc_profile") == profile
    assert np.array_equal(np.asarray(shown.convert("RGB")), np.asarray(open_image(str(path))))


def test_a_thumbnail_in_the_first_segment_goes(tmp_path: Path) -> None:
    out = io.BytesIO()
    noise().save(out, "JPEG")
    data = out.getvalue()
    assert data[2:4] == b"\xff\xe0"
    thumb = b"\x02\x01" + SECRET[:6]
    fat = data[:2] + b"\xff\xe0" + (16 + 6).to_bytes(2, "big") + data[6:18] + thumb + data[20:]
    assert Image.open(io.BytesIO(fat)).size == (61, 40)
    stripped = strip_jpeg(fat)
    assert stripped is not None
    assert SECRET[:6] not in stripped
    assert Image.open(io.BytesIO(stripped)).tobytes() == Image.open(io.BytesIO(data)).tobytes()


@pytest.mark.parametrize("orientation", [2, 6, 8])
def test_a_turned_jpeg_is_sent_as_it_is_displayed(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.jpg"
    noise().save(path, exif=exif(orientation))
    picture = Pictures().get(str(path))
    assert picture.media == "image/png"
    shown = Image.open(io.BytesIO(picture.data))
    assert np.array_equal(np.asarray(shown), np.asarray(open_image(str(path))))
    item = sized(Item(row=0, id="i", name="a.jpg", uri=str(path)))
    assert item.display_size == shown.size


def test_other_formats_become_plain_png(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", SECRET.decode())
    noise().save(path, pnginfo=info, exif=exif())
    cmyk = tmp_path / "b.jpg"
    noise(mode="CMYK").save(cmyk)
    for each in (path, cmyk):
        picture = Pictures().get(str(each))
        assert picture.media == "image/png"
        assert SECRET not in picture.data
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture.data))), np.asarray(open_image(str(each))))


def test_damaged_jpegs_are_not_sent_as_they_are() -> None:
    out = io.BytesIO()
    noise().save(out, "JPEG")
    data = out.getvalue()
    assert strip_jpeg(data) is not None
    rng = np.random.default_rng(0)
    for cut in range(0, len(data) - 1, 7):
        assert strip_jpeg(data[:cut]) is None
        broken = bytearray(data)
        broken[cut] = int(rng.integers(256))
        strip_jpeg(bytes(broken))  # whatever it finds, it ends
    assert strip_jpeg(b"") is None
    assert strip_jpeg(data[:2] + b"\xff\xe1\x00\x00" * 4) is None


def test_what_is_kept_is_bounded_and_what_is_gone_is_said(tmp_path: Path) -> None:
    paths = []
    for n in range(6):
        paths.append(tmp_path / f"{n}.jpg")
        noise((100 + n, 80)).save(paths[-1])
    size = max(p.stat().st_size for p in paths)
    pictures = Pictures(most=3 * size)
    sent = [pictures.get(str(p)) for p in paths]
    assert 2 <= len(pictures._kept) <= 3
    assert sum(len(p.data) for p in pictures._kept.values()) == pictures._held <= 3 * size
    assert pictures.get(str(paths[-1])) is sent[-1]
    paths[0].unlink()
    with pytest.raises(BadImage, match="no such file"):
        pictures.get(str(paths[0]))
    assert Pictures(most=10).get(str(paths[1])).data == sent[1].data
