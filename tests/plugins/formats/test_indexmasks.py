"""``masks``: index PNGs with their names, and what others make of them."""

from __future__ import annotations

import json
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exportrows import CATEGORIES, check_provenance, export_rows, info, read, row
from hypothesis import given, settings
from numpy.typing import NDArray
from PIL import Image

from gtloop import maskfiles, masks
from gtloop.errors import BadLabels, ConfigError, UsageError
from gtloop.images import list_images
from gtloop.interfaces import Context, Entry, ExportRow, Options
from gtloop.labelfiles import MARKER, match_entries, pick_reader
from gtloop.labels import SegmentationLabel
from gtloop.records import Payload
from gtloop_plugins.formats.groundtruth import GroundTruth, GroundTruthOptions
from gtloop_plugins.formats.indexmasks import IndexMasks, MaskOptions
from gtloop_plugins.formats.jsonl import JsonLines

plain = IndexMasks(MaskOptions(), Context())
from_one = IndexMasks(MaskOptions(first=1, background=0), Context())
manifest = GroundTruth(GroundTruthOptions(), Context())
ALL = [plain, manifest, JsonLines(Options(), Context())]
STREETS = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist")


def payload(index: NDArray[Any], categories: tuple[str, ...] = CATEGORIES) -> Payload:
    return masks.from_map(index, categories).model_dump(mode="json", exclude_none=True)


def save(path: Path, pixels: Any, mode: str = "L", dtype: Any = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, dtype))
    (image if image.mode == mode else image.convert(mode)).save(path)
    return path


@pytest.mark.parametrize("plugin", [plain, from_one], ids=["from 0", "from 1"])
@pytest.mark.parametrize("frame", ["display", "stored"])
def test_round_trip(plugin: IndexMasks, frame: str) -> None:
    """Also by a reader with other options: an export says what its numbers mean."""

    @settings(max_examples=30, deadline=None)
    @given(rows=export_rows("segmentation"))
    def check(rows: list[ExportRow]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "out")
            assert plugin.write(path, iter(rows), "segmentation", info(frame)) == []
            assert [p.name for p in Path(folder).iterdir()] == ["out"]
            assert len(list(path.rglob("*.png"))) == sum(r.label is not None for r in rows)
            if rows:
                assert pick_reader(ALL, path, "segmentation") is plain
            entries = read(plain, path, "segmentation")
        check_provenance(rows, entries, frame)
        assert [e.payload for e in entries] == [r.label.payload if r.label else None for r in rows]

    check()


def test_street_masks_round_trip_exactly(shared_data: Path, tmp_path: Path) -> None:
    """All 184 masks of a real set, whose 11 is void: read, written, read again, and equal pixel by pixel."""
    source = shared_data / "streets" / "masks"
    assert pick_reader(ALL, source, "segmentation") is plain
    names = [i.name for i in list_images(str(shared_data / "streets" / "images"))]
    entries = read(plain, source, "segmentation", STREETS)
    matched = {at: entry.payload for at, entry in match_entries(entries, names)}
    assert sorted(matched) == list(range(184))
    rows = [row(n, matched[n], name=name, width=480, height=360) for n, name in enumerate(names)]
    plain.write(tmp_path / "out", iter(rows), "segmentation", info(categories=STREETS))
    again = read(plain, tmp_path / "out", "segmentation", STREETS)
    assert [e.payload for e in again] == [matched[n] for n in range(184)]
    for name in names[::23]:
        file = Path(name).with_suffix(".png")
        old, new = np.asarray(Image.open(source / file)), np.asarray(Image.open(tmp_path / "out" / file))
        assert (np.where(old == 11, 255, old) == new).all()


def test_as_torchvision_and_pillow_see_it(tmp_path: Path) -> None:
    """Laid out as a Pascal VOC set (0 background, 255 void), ``VOCSegmentation`` gives the very numbers."""
    from torchvision.datasets import VOCSegmentation

    home = tmp_path / "VOCdevkit" / "VOC2012"
    index = np.array([[0, 1, 2], [masks.BACKGROUND, masks.VOID, 3]])
    from_one.write(home / "SegmentationClass", [row(0, payload(index), name="a.jpg")], "segmentation", info())
    (home / "JPEGImages").mkdir()
    Image.new("RGB", (3, 2)).save(home / "JPEGImages" / "a.jpg")
    (home / "ImageSets" / "Segmentation").mkdir(parents=True)
    (home / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    _, mask = VOCSegmentation(str(tmp_path), image_set="train")[0]
    assert mask.mode == "P"
    assert np.asarray(mask).tolist() == [[1, 2, 3], [0, 255, 4]]
    shown = np.asarray(mask.convert("RGB")).tolist()
    assert shown == [[[128, 0, 0], [0, 128, 0], [128, 128, 0]], [[0, 0, 0], [224, 224, 192], [0, 0, 128]]]


def test_many_categories_take_16_bits(tmp_path: Path) -> None:
    categories = tuple(f"c{i}" for i in range(300))
    index = np.array([[0, 253, 254], [255, 299, masks.BACKGROUND], [masks.VOID, 1, 2]])
    plain.write(tmp_path / "out", [row(0, payload(index, categories))], "segmentation", info(categories=categories))
    image = Image.open(tmp_path / "out" / "0.png")
    assert image.mode == "I;16"
    assert np.asarray(image).tolist() == [[0, 253, 254], [255, 299, 65534], [65535, 1, 2]]
    (tmp_path / "out" / MARKER).unlink()  # as a foreign folder, by the size of the list alone
    (entry,) = read(plain, tmp_path / "out", "segmentation", categories)
    assert entry == Entry("0.png", payload(index, categories), {})
    assert plain.sniff(tmp_path / "out")


@pytest.mark.parametrize(("n", "void"), [(254, 255), (255, 65535)])
def test_8_bits_hold_254_categories(tmp_path: Path, n: int, void: int) -> None:
    categories = tuple(f"c{i}" for i in range(n))
    index = np.array([[n - 1, masks.BACKGROUND, masks.VOID]])
    plain.write(tmp_path / "out", [row(0, payload(index, categories))], "segmentation", info(categories=categories))
    assert np.asarray(Image.open(tmp_path / "out" / "0.png")).tolist() == [[n - 1, void - 1, void]]
    (entry,) = read(plain, tmp_path / "out", "segmentation", categories)
    assert entry.payload == payload(index, categories)


# ---------------------------------------------------------------------------------- folders of others


def test_values_beyond_are_void(tmp_path: Path) -> None:
    save(tmp_path / "a" / "b.png", [[0, 3, 4], [254, 255, 100]])
    save(tmp_path / ".hidden.png", [[[1, 2, 3]]], "RGB")
    (tmp_path / "notes.txt").write_text("hello")
    (entry,) = read(plain, tmp_path, "segmentation")
    void = np.array([[0, 3, masks.VOID], [masks.BACKGROUND, masks.VOID, masks.VOID]])
    assert entry == Entry("a/b.png", payload(void), {})
    assert plain.sniff(tmp_path)
    (entry,) = read(from_one, tmp_path, "segmentation")
    shifted = np.array([[masks.BACKGROUND, 2, 3], [masks.VOID, masks.VOID, masks.VOID]])
    assert entry.payload == payload(shifted)


def test_values_that_mean_nothing_are_noted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "a.png", [[0, 9, 7, 3, 254, 255]])
    save(tmp_path / "b.png", [[0, 9, 0, 0, 0, 0]])
    save(tmp_path / "c.png", [[0, 1, 2, 3, 254, 255]])
    with caplog.at_level("INFO", "gtloop"):
        read(plain, tmp_path, "segmentation")
    (note,) = caplog.messages
    assert note.startswith(f"note: {tmp_path}: 2 of 3 masks have values that mean nothing: 7, 9 ")
    assert "0 to 3 are categories, 254 background, 255 void" in note
    assert "-o formats.masks.first=N" in note
    caplog.clear()
    for file in ("a.png", "b.png"):
        (tmp_path / file).unlink()
    with caplog.at_level("INFO", "gtloop"):
        read(plain, tmp_path, "segmentation")
    assert not caplog.messages, "void that is meant is nothing to tell"


def test_masks_that_mostly_mean_nothing_are_refused(tmp_path: Path) -> None:
    """Such as 0 and 128, or colours' numbers; more than half, so that half alone is no error."""
    save(tmp_path / "a.png", [[0, 100, 101, 102, 103, 104, 105, 106]])
    save(tmp_path / "b.png", [[0, 0, 0, 0, 0, 0]])
    read(plain, tmp_path, "segmentation")
    save(tmp_path / "b.png", [[0, 0, 0, 0, 0]])
    with pytest.raises(BadLabels) as e:
        read(plain, tmp_path, "segmentation")
    assert f"{tmp_path}: 54% of all pixels have values that mean nothing: 100, 101, 102, 103, 104, ... " in str(e.value)
    assert "name every category with --classes" in str(e.value)
    save(tmp_path / "a.png", [[255] * 9])
    read(plain, tmp_path, "segmentation")


@pytest.mark.parametrize(("mode", "dtype"), [("L", np.uint8), ("P", np.uint8), ("I;16", np.uint16), ("1", bool)])
def test_modes(tmp_path: Path, mode: str, dtype: Any) -> None:
    file = tmp_path / "a.png"
    if mode == "P":
        maskfiles.write_index(file, np.array([[0, 1], [1, 0]]), maskfiles.colours())
    else:
        save(file, [[0, 1], [1, 0]], mode, dtype)
    assert Image.open(file).mode == mode
    (entry,) = read(plain, tmp_path, "segmentation")
    assert entry.payload == payload(np.array([[0, 1], [1, 0]]))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_of_few_bits_is_not_stretched(tmp_path: Path, bits: int) -> None:
    """Pillow turns 3 in 2 bits of grey into 255; the number is meant."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    values = [0, 1, 1, 0] if bits == 1 else [0, 3, 1, 2]
    packed = int("".join(f"{v:0{bits}b}" for v in values).ljust(8, "0"), 2).to_bytes(max(1, bits * 4 // 8), "big")
    head = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    png = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" + packed)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png)
    (entry,) = read(plain, tmp_path, "segmentation")
    assert entry.payload == payload(np.array([values]))


def test_class_list_of_the_folder_names_the_numbers(tmp_path: Path) -> None:
    save(tmp_path / "a.png", [[0, 1]])
    (tmp_path / "classes.txt").write_text("dög\ncat\nzebra\n\n", encoding="utf-8")
    (entry,) = read(plain, tmp_path, "segmentation")
    assert entry.payload == payload(np.array([[1, 0]])) | {"regions": entry.payload["regions"]}
    assert [r["category"] for r in entry.payload["regions"]] == ["dög", "cat"]
    (entry,) = read(plain, tmp_path, "segmentation", ())
    assert entry.payload is not None
    save(tmp_path / "a.png", [[2]])
    with pytest.raises(BadLabels, match=r"a\.png: category 'zebra' is not declared"):
        read(plain, tmp_path, "segmentation")
    (tmp_path / "classes.txt").write_text("cat\ncat\n")
    with pytest.raises(BadLabels, match="a category twice"):
        read(plain, tmp_path, "segmentation")
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(BadLabels, match="can't be read"):
        read(plain, tmp_path, "segmentation")


def test_images_of_one_stem_keep_their_masks_apart(tmp_path: Path) -> None:
    index = [np.full((2, 2), i) for i in range(4)]
    names = ["a.jpg", "a.png", "A.JPG", "a.png/b.jpg"]
    rows = [row(n, payload(index[n]), name=name) for n, name in enumerate(names)]
    rows += [row(5, None, name="a.tif"), row(6, payload(index[0]), name="../x.jpg")]
    plain.write(tmp_path / "out", rows, "segmentation", info())
    files = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png") if p.is_file()}
    assert len(files) == 5
    entries = read(plain, tmp_path / "out", "segmentation")
    assert {e.name: e.payload for e in entries} == {r.item.name: r.label and r.label.payload for r in rows}


def test_masks_drawn_later_on_an_unlabelled_image_count(tmp_path: Path) -> None:
    plain.write(tmp_path / "out", [row(0, None), row(1, None)], "segmentation", info())
    save(tmp_path / "out" / "1.png", [[2]])
    save(tmp_path / "out" / "new.png", [[1]])
    nothing, drawn, new = read(plain, tmp_path / "out", "segmentation")
    assert (nothing.name, nothing.payload, nothing.extras["reason"]) == ("0.jpg", None, "not labelled yet")
    assert (drawn.name, drawn.payload, drawn.source) == ("1.jpg", payload(np.array([[2]])), None)
    assert (new.name, new.payload) == ("new.png", payload(np.array([[1]])))


def test_what_sniff_leaves_to_others(tmp_path: Path) -> None:
    save(tmp_path / "rgb" / "a.png", [[[1, 2, 3]]], "RGB")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.png").write_bytes(b"hello")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"hello")
    manifest.write(tmp_path / "m.manifest", [row(0, payload(np.array([[0]])))], "segmentation", info())
    assert (tmp_path / "m-masks" / "0.png").is_file()
    assert not any(plain.sniff(p) for p in tmp_path.iterdir())
    assert pick_reader(ALL, tmp_path / "m.manifest", "segmentation") is manifest


# ---------------------------------------------------------------------------------------- bad folders


def test_a_folder_of_colours_is_told_so_whether_or_not_the_format_is_named(tmp_path: Path) -> None:
    save(tmp_path / "m" / "a.png", [[[1, 2, 3]]], "RGB")
    with pytest.raises(BadLabels, match=r"m looks like masks, but \S*a\.png has colours \(RGB\); needs an index PNG"):
        pick_reader(ALL, tmp_path / "m", "segmentation")
    (tmp_path / "m" / "a.png").write_bytes(b"hello")
    with pytest.raises(BadLabels, match="in no format that is read for task 'segmentation'"):
        pick_reader(ALL, tmp_path / "m", "segmentation")


def test_colours_are_refused(tmp_path: Path) -> None:
    for mode in ("RGB", "RGBA", "LA"):
        file = tmp_path / "a.png"
        Image.new(mode, (2, 2)).save(file)
        with pytest.raises(BadLabels, match=rf"a\.png has colours \({mode}\); needs an index PNG"):
            read(plain, tmp_path, "segmentation")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2 is not JSON"),
        ('{"file": "0.png"}', 'line 2 has no "name"'),
        ('{"name": "b", "file": 3}', 'line 2: "file" is no path'),
        ('{"name": "b", "file": "gone.png"}', "lists gone.png for b, which is not there"),
        ('{"name": "b", "file": "0.png"}', "lists 0.png for b, which is not there (once)"),
        ('{"name": "b", "confidences": {"cat": 2}}', '"confidences" of b are not numbers from 0 to 1'),
    ],
)
def test_bad_marker(tmp_path: Path, line: str, says: str) -> None:
    plain.write(tmp_path / "out", [row(0, payload(np.array([[0]])))], "segmentation", info())
    with (tmp_path / "out" / MARKER).open("a") as f:
        f.write(line + "\n")
    with pytest.raises(BadLabels) as e:
        read(plain, tmp_path / "out", "segmentation")
    assert says in str(e.value)
    assert "\n" not in str(e.value)


def test_bad_values_of_an_export(tmp_path: Path) -> None:
    plain.write(tmp_path / "out", [row(0, payload(np.array([[0]])))], "segmentation", info())
    marker = tmp_path / "out" / MARKER
    marker.write_text(json.dumps({"name": "0.jpg", "file": "0.png", "values": [1, 2]}))
    with pytest.raises(BadLabels, match='"values" are no three numbers'):
        read(plain, tmp_path / "out", "segmentation")


def test_other_faults(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(BadLabels, match="no PNGs in"):
        read(plain, tmp_path / "none", "segmentation")
    with pytest.raises(BadLabels, match="is no folder"):
        read(plain, tmp_path / "nothing here", "segmentation")
    save(tmp_path / "some" / "a.png", [[0]])
    with pytest.raises(BadLabels, match=r"has no classes\.txt"):
        read(plain, tmp_path / "some", "segmentation", ())
    clash = IndexMasks(MaskOptions(background=2), Context())
    with pytest.raises(ConfigError, match="background=2 is also the number of a category"):
        read(clash, tmp_path / "some", "segmentation")
    data = (tmp_path / "some" / "a.png").read_bytes()
    (tmp_path / "some" / "a.png").write_bytes(data[:40])
    with pytest.raises(BadLabels, match=r"a\.png can't be read as a PNG"):
        read(plain, tmp_path / "some", "segmentation")


def test_faults_of_writing(tmp_path: Path) -> None:
    zebra = payload(np.array([[0]]), ("zebra",))
    with pytest.raises(BadLabels, match=r"0\.jpg: category 'zebra' is not one of the run's"):
        plain.write(tmp_path / "out", [row(0, zebra)], "segmentation", info())
    with pytest.raises(BadLabels, match=r"is no line of classes\.txt"):
        plain.write(tmp_path / "out", [], "segmentation", info(categories=("a\nb",)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="is no export of gtloop"):
        plain.write(tmp_path / "mine", [], "segmentation", info())
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    plain.write(tmp_path / "out", [row(0, payload(np.array([[0]])))], "segmentation", info())
    plain.write(tmp_path / "out", [], "segmentation", info())  # an earlier export is replaced
    assert not list((tmp_path / "out").glob("*.png"))


def test_a_payload_is_one_of_the_task(tmp_path: Path) -> None:
    plain.write(tmp_path / "out", [row(0, payload(np.array([[0, masks.VOID]])))], "segmentation", info())
    (entry,) = read(plain, tmp_path / "out", "segmentation")
    assert SegmentationLabel.model_validate(entry.payload).size == (1, 2)
