"""Images: the display frame, right to the pixel; damaged files; listing."""

from __future__ import annotations

import gc
import io
import json
import os
import struct
import subprocess
import sys
import textwrap
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from gtloop import images
from gtloop.errors import BadImage, SourceError
from gtloop.images import content_hash, header, list_images, open_image, thumbnail
from gtloop.listing import tell_skipped

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")  # pytest undoes the filter of the import

# What EXIF 2.32, table 6 says, in numpy: stored to displayed, for axes (row, column).
DISPLAYED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda s: s,
    2: lambda s: s[:, ::-1],
    3: lambda s: s[::-1, ::-1],
    4: lambda s: s[::-1],
    5: lambda s: s.swapaxes(0, 1),
    6: lambda s: np.rot90(s, -1),
    7: lambda s: s[::-1, ::-1].swapaxes(0, 1),
    8: lambda s: np.rot90(s, 1),
}


def colours(width: int = 23, height: int = 14) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def exif(orientation: object) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def opened(path: Path) -> np.ndarray:
    image = open_image(str(path))
    assert image.mode == "RGB"
    assert type(image) is Image.Image
    return np.asarray(image)


def save(path: Path, image: Image.Image, **kwargs: object) -> Path:
    image.save(path, **kwargs)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("suffix", "kwargs"),
    [
        (".jpg", {"quality": 95}),
        (".png", {}),
        (".tiff", {}),
        (".tif", {"compression": "tiff_deflate"}),
        (".webp", {"lossless": True}),
        (".avif", {"quality": 100, "subsampling": "4:4:4"}),
    ],
)
def test_every_orientation_of_every_format(
    tmp_path: Path, orientation: int, suffix: str, kwargs: dict[str, object]
) -> None:
    if suffix not in images.suffixes():
        pytest.skip("this version of Pillow lacks the format")
    stored = Image.fromarray(colours())
    with Image.open(save(tmp_path / f"plain{suffix}", stored, **kwargs)) as plain:
        pixels = np.asarray(plain)
    turned = save(tmp_path / f"turned{suffix}", stored, exif=exif(orientation), **kwargs)
    expected = DISPLAYED[orientation](pixels)
    np.testing.assert_array_equal(opened(turned), expected)
    h = header(str(turned))
    assert (h.width, h.height, h.orientation) == (23, 14, orientation)
    small = thumbnail(str(turned), 8)
    assert max(small.size) == 8
    assert (small.width > small.height) == (expected.shape[1] > expected.shape[0])


@pytest.mark.parametrize("value", [0, 9, 300])
def test_an_impossible_orientation_is_none(tmp_path: Path, value: int) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(colours()), exif=exif(value))
    np.testing.assert_array_equal(opened(path), colours())
    assert header(str(path)).orientation == 1


@pytest.mark.parametrize("junk", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0garbage!"])
def test_damaged_exif_is_no_orientation(tmp_path: Path, junk: bytes) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(colours()), exif=junk)
    assert opened(path).shape == (14, 23, 3)
    assert header(str(path)).orientation == 1


def with_late_chunk(path: Path, kind: bytes, body: bytes) -> Path:
    """A PNG with one more chunk after its pixels."""
    buffer = io.BytesIO()
    Image.fromarray(colours()).save(buffer, "PNG")
    data = buffer.getvalue()
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(data[:-12] + chunk + data[-12:])
    return path


@pytest.mark.parametrize("orientation", [1, 6])
def test_png_exif_after_the_pixels(tmp_path: Path, orientation: int) -> None:
    """Pillow finds it only by decoding; header and open_image have to agree all the same."""
    path = with_late_chunk(tmp_path / "late.png", b"eXIf", exif(orientation).tobytes()[6:])
    assert header(str(path)).orientation == orientation
    np.testing.assert_array_equal(opened(path), DISPLAYED[orientation](colours()))


def test_header_decodes_no_pixels(tmp_path: Path) -> None:
    """Not even where text stands after them, as ImageMagick writes it."""
    path = with_late_chunk(tmp_path / "a.png", b"tEXt", b"date:create\x002026")
    data = bytearray(path.read_bytes())
    at = data.index(b"IDAT") + 4
    data[at : at + 40] = b"\xff" * 40
    path.write_bytes(data)
    assert header(str(path)) == (23, 14, 1, "PNG")
    with pytest.raises(BadImage):
        open_image(str(path))


def test_gray_palette_and_one_bit(tmp_path: Path) -> None:
    gray = colours()[..., 0]
    np.testing.assert_array_equal(opened(save(tmp_path / "l.png", Image.fromarray(gray))), np.dstack([gray] * 3))
    palette = Image.fromarray(colours()).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(opened(save(tmp_path / "p.png", palette)), expected)
    np.testing.assert_array_equal(opened(save(tmp_path / "p.bmp", palette)), expected)
    bits = Image.fromarray(gray > 99)
    expected = np.where((gray > 99)[..., None], 255, 0).repeat(3, 2)
    np.testing.assert_array_equal(opened(save(tmp_path / "1.png", bits)), expected)
    np.testing.assert_array_equal(opened(save(tmp_path / "1.tif", bits, compression="group4")), expected)


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255])])
def test_transparent_palette_is_composited_on_white(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.putdata([0, 1, 2])
    got = opened(save(tmp_path / "p.png", image, transparency=transparency))
    half = [127, 227, 127] if isinstance(transparency, bytes) else [0, 200, 0]
    np.testing.assert_allclose(got[0].astype(int), [[255, 255, 255], half, [0, 0, 200]], atol=1)
    if isinstance(transparency, int):
        gif = opened(save(tmp_path / "p.gif", image, transparency=transparency))
        np.testing.assert_array_equal(gif, got)


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", ".png"), ("LA", ".png"), ("RGBA", ".tif"), ("RGBA", ".webp")])
def test_alpha_is_composited_on_white(tmp_path: Path, mode: str, suffix: str) -> None:
    channels = len(mode)
    stored = np.random.default_rng(1).integers(0, 256, (9, 8, channels), dtype=np.uint8)
    stored[0, :, -1], stored[1, :, -1] = 0, 255
    path = save(
        tmp_path / f"a{suffix}",
        Image.fromarray(stored, mode),
        **({"lossless": True, "exact": True} if suffix == ".webp" else {}),
    )
    colour, alpha = stored[..., :-1].astype(float), stored[..., -1:] / 255
    expected = np.rint(colour * alpha + 255 * (1 - alpha))
    got = opened(path).astype(int)
    np.testing.assert_allclose(got, np.broadcast_to(expected, got.shape), atol=1)
    assert (got[0] == 255).all()
    np.testing.assert_array_equal(got[1], np.broadcast_to(colour[1], got[1].shape))


def test_colour_key_transparency(tmp_path: Path) -> None:
    pixels = np.array([[[10, 20, 30], [40, 50, 60]]], np.uint8)
    got = opened(save(tmp_path / "k.png", Image.fromarray(pixels), transparency=(10, 20, 30)))
    np.testing.assert_array_equal(got[0], [[255, 255, 255], [40, 50, 60]])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bit_gray_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    wide = np.array([[0, 257, 128, 129, 32896, 65534, 65535]], np.uint16)
    got = opened(save(tmp_path / f"w{suffix}", Image.fromarray(wide)))
    np.testing.assert_array_equal(got[0, :, 0], [0, 1, 0, 1, 128, 255, 255])
    assert (got == got[..., :1]).all()


def test_big_endian_32_bit_and_float_gray(tmp_path: Path) -> None:
    big = Image.frombytes("I;16B", (2, 1), b"\x80\x80\xff\xff")
    assert opened(save(tmp_path / "b.tif", big))[0, :, 0].tolist() == [128, 255]
    ints = Image.fromarray(np.array([[-5, 0, 32896, 65535]], np.int32))
    assert opened(save(tmp_path / "i.tif", ints))[0, :, 0].tolist() == [0, 0, 128, 255]
    more = Image.fromarray(np.array([[0, 1_000_000, 2_000_000]], np.int32))
    assert opened(save(tmp_path / "m.tif", more))[0, :, 0].tolist() == [0, 128, 255]
    for values, expected in [
        ([0.0, 0.5, 1.0, -3.0, np.nan], [0, 128, 255, 0, 0]),
        ([0.0, 7.4, 255.0, np.inf, 1.0], [0, 7, 255, 0, 1]),
        ([0.0, 32896.0, 65535.0, 257.0, 0.0], [0, 128, 255, 1, 0]),
    ]:
        image = Image.fromarray(np.array([values], np.float32))
        assert opened(save(tmp_path / "f.tif", image))[0, :, 0].tolist() == expected


def test_cmyk_also_as_inverted_adobe_jpeg(tmp_path: Path) -> None:
    """Pillow writes CMYK JPEG as Adobe does: inverted, with its marker."""
    inks = {(0, 0, 0, 0): (255, 255, 255), (0, 0, 0, 255): (0, 0, 0), (255, 0, 0, 0): (0, 255, 255)}
    for cmyk, rgb in inks.items():
        image = Image.new("CMYK", (16, 16), cmyk)
        jpeg = save(tmp_path / "c.jpg", image, quality=100)
        assert b"Adobe" in jpeg.read_bytes()
        for path in (jpeg, save(tmp_path / "c.tif", image)):
            np.testing.assert_allclose(opened(path)[8, 8].astype(int), rgb, atol=1)


def test_lab_and_ycbcr_tiff(tmp_path: Path) -> None:
    # L*a*b* (D50) of three sRGB colours by Lindbloom's matrices; a and b are stored as signed bytes.
    for lab, rgb in [
        ((54.22, 38, 46), (200, 100, 50)),
        ((58.81, -42, 28), (60, 160, 90)),
        ((37.08, 20, -62), (50, 80, 190)),
    ]:
        stored = bytes([round(lab[0] * 2.55), lab[1] & 255, lab[2] & 255]) * 4
        image = Image.frombytes("LAB", (2, 2), stored)
        path = save(tmp_path / "lab.tif", image)
        np.testing.assert_allclose(opened(path)[0, 0].astype(int), rgb, atol=5)
    ycbcr = Image.fromarray(colours()).convert("YCbCr")
    path = save(tmp_path / "y.tif", ycbcr)
    np.testing.assert_array_equal(opened(path), np.asarray(ycbcr.convert("RGB")))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_an_animation_gives_its_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 6), c) for c in ("red", "blue", "lime")]
    path = save(tmp_path / f"a{suffix}", frames[0], save_all=True, append_images=frames[1:], lossless=True)
    got = opened(path)
    assert got.shape == (6, 8, 3)
    np.testing.assert_allclose(got[3, 4].astype(int), (255, 0, 0), atol=1)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".bmp", ".tif", ".webp", ".ppm", ".jp2", ".avif"])
@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_truncated_files_are_bad(tmp_path: Path, suffix: str, keep: float) -> None:
    if suffix not in images.suffixes():
        pytest.skip("this version of Pillow lacks the format")
    path = save(tmp_path / f"a{suffix}", Image.fromarray(colours(97, 83)))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    for read in (open_image, lambda uri: thumbnail(uri, 16)):
        with pytest.raises(BadImage) as e:
            read(str(path))
        assert "\n" not in str(e.value)


def test_what_is_no_image(tmp_path: Path) -> None:
    cases = {
        "empty": b"",
        "text": b"<html>404 not found</html>" * 9,
        "noise": os.urandom(4096),
        "magic": b"\xff\xd8\xff",
    }
    for name, data in cases.items():
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(data)
        for read in (open_image, header):
            with pytest.raises(BadImage):
                read(str(path))
    with pytest.raises(BadImage, match="empty"):
        header(str(tmp_path / "empty.jpg"))
    with pytest.raises(BadImage, match="no such file"):
        open_image(str(tmp_path / "absent.jpg"))
    with pytest.raises(BadImage, match="directory"):
        open_image(str(tmp_path))
    with pytest.raises(SourceError, match="not known"):
        open_image("nonsense://bucket/a.jpg")
    with pytest.raises(BadImage):
        open_image("a\0b.jpg")


def test_postscript_starts_no_program(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(colours()), format="EPS")
    with pytest.raises(BadImage, match="not an image"):
        open_image(str(path))


def bomb(path: Path, width: int, height: int) -> Path:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b""))
    return path


def test_bombs_are_refused_from_the_header(tmp_path: Path) -> None:
    for size in [(13400, 13400), (60000, 60000)]:
        path = bomb(tmp_path / "bomb.png", *size)
        for read in (open_image, header):
            before = psutil.Process().memory_info().rss
            with pytest.raises(BadImage, match=r"too large.*178956970"):
                read(str(path))
            assert psutil.Process().memory_info().rss - before < 50e6
    small = save(tmp_path / "small.png", Image.fromarray(colours()))
    with pytest.raises(BadImage, match="23 x 14 pixels, the limit is 300"):
        header(str(small), max_pixels=300)
    assert header(str(small), max_pixels=23 * 14).width == 23


def test_no_warning_in_a_fresh_process(tmp_path: Path) -> None:
    """Even with -W error: a size that Pillow warns about, and EXIF that it grumbles about."""
    bomb(tmp_path / "large.png", 10000, 10000)
    save(tmp_path / "exif.jpg", Image.fromarray(colours()), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    image = Image.new("P", (4, 4))
    image.putpalette([1, 2, 3] * 4)
    save(tmp_path / "p.png", image, transparency=bytes([0, 9, 255, 3]))
    save(tmp_path / "large.tif", Image.new("1", (9500, 9500)), compression="group4")
    code = """
        import sys
        from gtloop.images import header, open_image
        large, exif, p, tif = sys.argv[1:]
        assert header(large).width == 10000
        assert header(exif).orientation == 1
        assert open_image(exif).size == (23, 14)
        assert open_image(p).size == (4, 4)
        assert open_image(tif).size == (9500, 9500)
    """
    names = [str(tmp_path / n) for n in ("large.png", "exif.jpg", "p.png", "large.tif")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_file_is_left_open(tmp_path: Path) -> None:
    good = [save(tmp_path / f"g{s}", Image.fromarray(colours())) for s in (".jpg", ".png", ".tif", ".gif", ".webp")]
    frames = [Image.new("L", (8, 8), v) for v in (1, 200)]
    good.append(save(tmp_path / "many.tif", frames[0], save_all=True, append_images=frames[1:], compression="lzw"))
    bad = tmp_path / "bad.tif"
    bad.write_bytes(good[2].read_bytes()[:300])
    gc.collect()  # what other tests have left is closed now, not meanwhile
    before = psutil.Process().num_fds()
    kept = []
    for path in [*good, bad, tmp_path / "none"]:
        for read in (open_image, header, content_hash, lambda u: thumbnail(u, 5)):
            try:
                kept.append(read(str(path)))
            except BadImage:
                assert path not in good
    assert psutil.Process().num_fds() <= before
    assert len(kept) >= 4 * len(good)


def test_threads(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.png", Image.fromarray(colours()), exif=exif(i)) for i in range(1, 9)] * 8
    with ThreadPoolExecutor(8) as pool:
        for path, got in zip(paths, pool.map(opened, paths), strict=True):
            np.testing.assert_array_equal(got, DISPLAYED[int(path.stem)](colours()))


def test_thumbnail_looks_like_the_image(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 640, dtype=np.uint8)[None, :, None].repeat(480, 0).repeat(3, 2)
    path = save(tmp_path / "a.jpg", Image.fromarray(ramp), quality=95, exif=exif(8))
    small = thumbnail(str(path), 64)
    assert small.size == (48, 64)
    expected = open_image(str(path)).resize((48, 64), Image.Resampling.LANCZOS)
    np.testing.assert_allclose(np.asarray(small, int), np.asarray(expected, int), atol=4)
    assert thumbnail(str(path), 5000).size == (480, 640)


def test_content_hash(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")  # FIPS 180-2, B.1
    assert content_hash(path.as_uri()) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(BadImage, match="no such file"):
        content_hash(str(tmp_path / "b"))


# --------------------------------------------------------------------------------------------- listing


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))


def names(source: object) -> list[str]:
    return [i.name for i in list_images(str(source))]


def test_a_folder_is_listed_in_order_of_whole_names(tmp_path: Path) -> None:
    kept = ["a.jpg", "a/z.JPEG", "a-b/c.png", "ab.png", "b/c/d.webp", "b/ü 日本.tif", "B.Jpg"]
    touch(
        tmp_path, *kept, ".hidden.jpg", ".git/x.jpg", "b/._m.jpg", "notes.txt", "b/c.xml", "model.h5", "v.mpg", "p.pdf"
    )
    listed = list(list_images(str(tmp_path)))
    assert [i.name for i in listed] == sorted(kept)
    for item in listed:
        assert os.path.isabs(item.uri)
        assert Path(item.uri) == tmp_path / item.name
        assert item.bytes == len(item.name)
    assert names(tmp_path.as_uri()) == sorted(kept)


def test_links_are_followed_but_not_round_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.jpg", "set/b.jpg")
    (tmp_path / "set/link").symlink_to(tmp_path / "real")
    (tmp_path / "set/loop").symlink_to(tmp_path / "set")
    (tmp_path / "set/dangling.jpg").symlink_to(tmp_path / "nothing")
    assert names(tmp_path / "set") == ["b.jpg", "dangling.jpg", "link/a.jpg"]


def test_a_glob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "x/a.jpg", "x/b.png", "y/a.jpg", "y/deep/c.jpg", "y/t.txt")
    assert names(tmp_path / "*" / "*.jpg") == ["x/a.jpg", "y/a.jpg"]
    assert names(tmp_path / "y" / "**") == ["a.jpg", "deep/c.jpg"]
    monkeypatch.chdir(tmp_path)
    assert names("x/*") == ["a.jpg", "b.png"]
    assert names("**/*.jpg") == ["x/a.jpg", "y/a.jpg", "y/deep/c.jpg"]
    touch(tmp_path, "odd[1]/a.jpg")
    assert names("odd[1]") == ["a.jpg"]


def test_manifests(tmp_path: Path) -> None:
    touch(tmp_path, "m/b.jpg", "m/s/a.jpg", "m/with space.jpg", "else/c.jpg", "m/noext")
    text = tmp_path / "m" / "list.txt"
    text.write_text("\ufeffs/a.jpg\r\n\r\nwith space.jpg\nb.jpg\nnoext\n", encoding="utf-8")
    assert names(text) == ["b.jpg", "noext", "s/a.jpg", "with space.jpg"]
    lines = [{"source-ref": "b.jpg", "label": 3}, {"image": str(tmp_path / "else/c.jpg")}]
    manifest = tmp_path / "m" / "in.manifest"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    assert names(manifest) == ["else/c.jpg", "m/b.jpg"]
    assert names(tmp_path / "m/b.jpg") == ["b.jpg"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a.jpg\nb.jpg\n\nc.jpg\n", r"2 of 3 listed files do not exist, first line 2: b\.jpg"),
        ("a.jpg\n./a.jpg\n", r"line 2: \./a\.jpg is listed twice \(line 1\)"),
        ("\n\n", "no images in the manifest"),
        ('{"source-ref": 3}', "line 1 has no"),
        ('[1]\n{"image": "a.jpg"}', "line 1 has no"),
        ("{oops", "line 1 is not JSON"),
        ("\udcff.jpg", "line 1 is not UTF-8"),
        ("a\\u0000.jpg", "null character"),
    ],
)
def test_bad_manifests(tmp_path: Path, content: str, says: str) -> None:
    touch(tmp_path, "a.jpg")
    path = tmp_path / ("m.jsonl" if content[:1] in "{[" else "m.txt")
    path.write_bytes(content.replace("\\u0000", "\0").encode("utf-8", "surrogateescape"))
    with pytest.raises(SourceError, match=says):
        list_images(str(path))


def test_nothing_there(tmp_path: Path) -> None:
    touch(tmp_path, "docs/readme.md")
    for source, says in [
        (tmp_path / "absent", "no such file or folder.*give a folder"),
        (tmp_path / "docs", "no images in the folder"),
        (tmp_path / "*.jpg", "no images match"),
        (tmp_path / "docs/readme.md", "neither an image nor a manifest"),
        ("", "no images given"),
        ("nonsense://bucket/images", "nonsense:// is not known; write s3://"),
        ("s3://", "names no bucket"),
        ("https://example.org/images/", "does not list its files; give a manifest"),
    ]:
        with pytest.raises(SourceError, match=says) as e:
            list_images(str(source))  # at once, before anything is iterated
        assert "\n" not in str(e.value)


def test_what_is_skipped_is_counted_by_type(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a.jpg", "b.heic", "s/c.HEIC", "s/d.txt", "Makefile", ".git/x.txt", ".hidden.heic")
    for source in (tmp_path, tmp_path / "**"):
        skipped: Counter[str] = Counter()
        assert [i.name for i in list_images(str(source), skipped)] == ["a.jpg"]
        assert skipped == {".heic": 2, ".txt": 1, "": 1}
    with caplog.at_level("INFO", "gtloop"):
        tell_skipped(skipped)
        tell_skipped(Counter())
    assert caplog.messages == [
        "note: skipped 4 files of types that are not read: 2 .heic, 1 without a suffix, 1 .txt; "
        "convert .heic to JPEG or PNG first"
    ]
    (tmp_path / "a.jpg").unlink()
    for source in (tmp_path, tmp_path / "s" / "*"):
        with pytest.raises(
            SourceError, match=r"no images .* \(skipped .*\.heic.*; convert \.heic to JPEG or PNG first\)"
        ):
            list_images(str(source))


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")).write_bytes(b"x")
    with pytest.raises(SourceError, match=r"caf.*rename it"):
        list(list_images(str(tmp_path)))


def test_listing_streams(tmp_path: Path) -> None:
    """The first image is there before the last folder is read."""
    touch(tmp_path, "a/1.jpg", "z/2.jpg")
    listed = list_images(str(tmp_path))
    assert next(listed).name == "a/1.jpg"
    (tmp_path / "z/3.jpg").write_bytes(b"")
    assert [i.name for i in listed] == ["z/2.jpg", "z/3.jpg"]


def test_suffixes_are_those_that_open() -> None:
    assert {".jpg", ".jpeg", ".png", ".gif", ".webp", ".tif", ".bmp", ".mpo"} <= images.suffixes()
    assert not {".eps", ".wmf", ".pdf", ".mpg", ".h5"} & images.suffixes()
