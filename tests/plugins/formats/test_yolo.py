"""``yolo``: round trips, what ultralytics and supervision make of an export, other people's folders, bad files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gtloop.errors import BadLabels, UsageError
from gtloop.interfaces import Context, Entry, ExportRow, Format
from gtloop.labelfiles import MARKER, Matcher
from gtloop.records import Item, Label
from gtloop_plugins.formats.coco import Coco
from gtloop_plugins.formats.folder import ClassFolders
from gtloop_plugins.formats.voc import Voc
from gtloop_plugins.formats.yolo import Yolo

CATEGORIES = ("cat", "dög", "yes: 'no'")
INFO = {"categories": CATEGORIES, "run": "r", "frame": "display", "version": "0.1.0"}


def plugin(**options: Any) -> Yolo:
    return Yolo(Yolo.Options(**options), Context(categories=CATEGORIES))


def box(category: str, *xyxy: float, confidence: float | None = None) -> dict[str, Any]:
    found = {"category": category, "xyxy": list(xyxy)}
    return found if confidence is None else found | {"confidence": confidence}


def row(
    n: int,
    name: str,
    *boxes: dict[str, Any],
    uri: str = "/nowhere",
    size: tuple[int, int] | None = (100, 50),
    **more: Any,
) -> ExportRow:
    width, height = size or (None, None)
    item = Item(row=n, id=f"id-{n}", name=name, uri=uri, width=width, height=height, **more)
    label = Label(row=n, payload={"boxes": list(boxes)}, source="machine", confidence=0.75, iteration=2, model="m1")
    return ExportRow(item, label, width, height, "machine", "")


def bare(n: int, name: str, uri: str = "/nowhere") -> ExportRow:
    return ExportRow(Item(row=n, id=f"id-{n}", name=name, uri=uri), None, None, None, "quarantined", "unreadable")


def write(path: Path, rows: list[ExportRow], info: dict[str, Any] = INFO, **options: Any) -> list[str]:
    return plugin(**options).write(path, iter(rows), "bbox", info)


def read(path: Path, categories: tuple[str, ...] = CATEGORIES, **options: Any) -> dict[str, Entry]:
    entries = list(plugin(**options).read(path, "bbox", categories))
    found = {e.name: e for e in entries}
    assert len(found) == len(entries)
    return found


def image(path: Path, size: tuple[int, int] = (100, 50), orientation: int = 1) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, (90, 120, 150)).save(path, **({"exif": exif} if orientation != 1 else {}))
    return str(path)


def folder(root: Path, files: dict[str, str | tuple[int, int]]) -> Path:
    """A data set that somebody else wrote: text files, and images of the sizes given."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content)
        else:
            image(path, content)
    return root


# -------------------------------------------------------------------------------------- round trips


@st.composite
def export_rows(draw: st.DrawFn) -> list[ExportRow]:
    parts = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=5)
    name = st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "a/", "b/", "images/", "a/b/"]),
        parts,
        st.sampled_from([".jpg", ".png", ".JPG", ""]),
    )
    rows = []
    for n, called in enumerate(draw(st.lists(name, max_size=8, unique=True))):
        kind = draw(st.sampled_from(["label", "label", "label", "bare", "unsized"]))
        if kind == "bare":
            rows.append(bare(n, called))
            continue
        w, h = draw(st.integers(2, 10_000)), draw(st.integers(2, 10_000))
        boxes = []
        for _ in range(draw(st.integers(0, 3))):
            x1, y1 = draw(st.floats(0, w - 0.01)), draw(st.floats(0, h - 0.01))
            x2, y2 = draw(st.floats(x1 + 0.005, w)), draw(st.floats(y1 + 0.005, h))
            confidence = draw(st.none() | st.floats(0, 1))
            boxes.append(box(draw(st.sampled_from(CATEGORIES)), x1, y1, x2, y2, confidence=confidence))
        rows.append(row(n, called, *boxes, size=(w, h) if kind == "label" else None))
    return rows


@settings(max_examples=60, deadline=None)
@given(rows=export_rows(), val=st.sampled_from([0.0, 0.1, 0.5]))
def test_round_trip(rows: list[ExportRow], val: float) -> None:
    """Names, boxes to 1e-4 pixels at 10,000, confidences, sizes and provenance come back; nothing is lost."""
    with tempfile.TemporaryDirectory() as tmp:
        path = Path(tmp, "out")
        write(path, rows, images="none", val=val)
        entries = read(path)
        assert entries.keys() == {r.item.name for r in rows}
        for r in rows:
            entry = entries[r.item.name]
            assert (entry.extras["width"], entry.extras["height"]) == (r.width, r.height)
            assert entry.extras.items() >= {"row": r.item.row, "id": r.item.id, "reason": r.reason}.items()
            if r.label is None:
                assert entry.payload is entry.source is None
                continue
            assert entry.source == "machine"
            assert entry.extras.items() >= {"confidence": 0.75, "iteration": 2, "model": "m1", "bound": None}.items()
            assert entry.payload is not None
            for got, put in zip(entry.payload["boxes"], r.label.payload["boxes"], strict=True):
                assert got["category"] == put["category"]
                assert got.get("confidence") == put.get("confidence")
                assert got["xyxy"] == pytest.approx(put["xyxy"], abs=1e-4)
        labels = [p for p in path.rglob("labels/*/*.txt")]
        fit = [r for r in rows if r.label and (r.width or not r.label.payload["boxes"])]
        assert len(labels) == len(fit)
        # Ultralytics refuses any other number of columns.
        assert all(len(line.split()) == 5 for p in labels for line in p.read_text().splitlines())


def test_what_is_lost_is_said(tmp_path: Path) -> None:
    cat = box("cat", 1, 2, 30, 40)
    said = write(
        tmp_path / "a",
        [
            row(0, "a.gif", cat, uri=image(tmp_path / "in" / "a.gif")),
            row(1, "gone.jpg", cat),
            row(2, "unsized.jpg", cat, size=None),
            row(3, "tiny.jpg", size=(9, 20), uri=image(tmp_path / "in" / "tiny.jpg", (9, 20))),
            bare(4, "bad.jpg"),
        ],
    )
    assert [s.split(":")[0].split(";")[0] for s in said] == [
        "1 image is without a label (1 unreadable)",
        "1 image is of unknown size, so that the boxes can't be normalised",
        "1 image is not there as a local file",
        "1 image is of a file type that ultralytics does not open",
        "1 image is smaller than 10 pixels, which ultralytics leaves out.",
    ]
    assert write(tmp_path / "b", [row(0, "a.png", cat)], images="none")[0].startswith("LABELS ONLY")
    assert write(tmp_path / "c", [])[0].startswith("No image has a label")
    said = write(tmp_path / "d", [row(0, "a.png", uri=image(tmp_path / "in" / "a.png"))])
    assert said == ["The split val is empty (only one image): data.yaml validates on the training images."]
    assert yaml.safe_load((tmp_path / "d" / "data.yaml").read_text())["val"] == "images/train"


def test_exif_and_frames(tmp_path: Path) -> None:
    """Ultralytics turns images by EXIF, so boxes of the stored frame do not fit, and that is said."""
    uri = image(tmp_path / "in" / "turned.jpg", (100, 50), orientation=6)
    stored = row(0, "turned.jpg", box("cat", 10, 5, 20, 25), uri=uri, orientation=6)
    said = write(tmp_path / "stored", [stored], INFO | {"frame": "stored"})
    assert any(s.startswith("BOXES DO NOT FIT: 1 image is turned by EXIF") for s in said)
    entry = read(tmp_path / "stored")["turned.jpg"]
    assert entry.frame == "stored"
    assert entry.payload == {"boxes": [{"category": "cat", "xyxy": pytest.approx([10, 5, 20, 25])}]}
    display = stored._replace(width=50, height=100)
    assert not any("EXIF" in s for s in write(tmp_path / "display", [display]))
    (tmp_path / "display" / MARKER).unlink()  # the size now comes from the image, as displayed
    entry = read(tmp_path / "display")["images/train/turned.jpg"]
    assert entry.frame == "display"
    assert entry.payload is not None
    assert entry.payload["boxes"][0]["xyxy"] == pytest.approx([10, 5, 20, 25])


def test_names_that_collide_lose_nothing(tmp_path: Path) -> None:
    names = ["a.jpg", "a.png", "A.jpg", "x/a.jpg", "y/a.jpg", "x__a.jpg", "images/b.jpg", "x" * 250 + ".jpg", "d.e.jpg"]
    names += ["d.jpg", "../c.jpg", "labels/classes.jpg"]
    rows = [
        row(n, name, box("cat", n, 0, n + 1, 9), uri=image(tmp_path / "in" / f"{n}.png"))
        for n, name in enumerate(names)
    ]
    write(tmp_path / "one", rows)
    first = sorted(p.name for p in (tmp_path / "one").rglob("images/*/*"))
    assert len(first) == len(names)
    assert len({n.rpartition(".")[0].casefold() for n in first}) == len(names)
    write(tmp_path / "one", rows)  # again, over it
    assert sorted(p.name for p in (tmp_path / "one").rglob("images/*/*")) == first
    entries = read(tmp_path / "one")
    for n, name in enumerate(names):
        payload = entries[name].payload
        assert payload is not None
        assert payload["boxes"][0]["xyxy"][0] == pytest.approx(n)


def test_split_is_stable_and_keeps_copies_together(tmp_path: Path) -> None:
    def split(rows: list[ExportRow], path: Path, val: float = 0.2) -> dict[str, str]:
        write(path, rows, images="none", val=val)
        lines = (json.loads(line) for line in (path / MARKER).open())
        return {line["name"]: line["file"].split("/")[1] for line in lines}

    rows = [row(n, f"{n}.jpg") for n in range(400)]
    whole = split(rows, tmp_path / "a")
    part = split(rows[::2], tmp_path / "b")
    assert part.items() <= whole.items()
    assert 50 <= sum(s == "val" for s in whole.values()) <= 110  # 80 expected, sd 8
    copies = [row(400 + n, f"copy-{n}.jpg", alias_of=n) for n in range(50)]
    both = split(rows + copies, tmp_path / "c")
    assert all(both[f"copy-{n}.jpg"] == both[f"{n}.jpg"] for n in range(50))
    for n in range(2, 12):  # at least one each
        assert set(split(rows[:n], tmp_path / "d", val=0.01).values()) == {"train", "val"}
        assert set(split(rows[:n], tmp_path / "d", val=0.99).values()) == {"train", "val"}
    assert set(split(rows, tmp_path / "e", val=0).values()) == {"train"}
    assert split([rows[0], row(9, "copy.jpg", alias_of=0)], tmp_path / "f") == {"0.jpg": "train", "copy.jpg": "train"}


def test_links_copies_and_what_is_replaced(tmp_path: Path) -> None:
    uri = image(tmp_path / "in" / "a.jpg")
    rows = [
        row(0, "a.jpg", box("cat", 1, 2, 3, 4), uri=uri),
        bare(1, "bad.jpg", uri),
        row(2, "b.jpg", uri=f"file://{uri}"),
    ]
    write(tmp_path / "out", rows)
    placed = sorted((tmp_path / "out" / "images").rglob("*.jpg"))
    assert sorted(p.name for p in placed if p.is_symlink()) == ["a.jpg", "b.jpg"]
    assert all(p.resolve() == Path(uri).resolve() for p in placed)
    assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["path"] == str(tmp_path / "out")
    write(tmp_path / "out", rows, images="copy")
    placed = list((tmp_path / "out" / "images").rglob("*.jpg"))
    assert len(placed) == 2
    assert not any(p.is_symlink() for p in placed)
    assert "path" not in yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="is no export of gtloop"):
        write(tmp_path / "mine", rows)
    with pytest.raises(BadLabels, match=r"a\.jpg: category 'cow' is not among"):
        write(tmp_path / "out", [row(0, "a.jpg", box("cow", 1, 2, 3, 4))])
    assert len(list((tmp_path / "out" / "images").rglob("*.jpg"))) == 2, "what was there stays"


def test_changes_by_hand_count(tmp_path: Path) -> None:
    """A text file that was changed is read as it is now, and no longer called the model's."""
    rows = [row(n, f"{n}.jpg", box("cat", 10, 10, 20, 20, confidence=0.5)) for n in range(3)]
    write(tmp_path / "out", rows, images="none")
    by_stem = {p.stem: p for p in (tmp_path / "out").rglob("labels/*/*.txt")}
    by_stem["0"].write_text("1 0.5 0.5 1 1\n")
    by_stem["1"].unlink()
    by_stem["2"].write_bytes(by_stem["2"].read_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "out" / "labels" / "train" / "new.txt").write_text("")
    entries = read(tmp_path / "out")
    assert entries["0.jpg"].payload == {"boxes": [box("dög", 0, 0, 100, 50)]}
    assert entries["0.jpg"].source is None
    assert "model" not in entries["0.jpg"].extras
    assert entries["1.jpg"].payload is None
    assert entries["2.jpg"].source == "machine"
    assert entries["2.jpg"].payload is not None
    assert entries["2.jpg"].payload["boxes"][0]["confidence"] == 0.5
    assert entries["images/train/new"].payload == {"boxes": []}


# ---------------------------------------------------------------------------------- foreign readers


def dataset(tmp_path: Path, **options: Any) -> tuple[Path, list[ExportRow]]:
    """An export of eleven images: one has no label, two nothing in them, the others one to three boxes."""
    categories = ("cat", "dog")
    rows = []
    for n in range(10):
        uri = image(tmp_path / "in" / f"{n % 3}" / f"{n // 3}.jpg", (64, 48))
        boxes = [box(categories[k % 2], 5.5 + 9 * k, 4, 30 + 9 * k, 40.25, confidence=0.5) for k in range(n % 4)]
        rows.append(row(n, f"{n % 3}/{n // 3}.jpg", *(boxes if n % 5 else ()), uri=uri, size=(64, 48)))
    rows.append(bare(10, "bad.jpg", image(tmp_path / "in" / "bad.jpg")))
    write(tmp_path / "out", rows, INFO | {"categories": categories}, **options)
    return tmp_path / "out", rows


def in_ultralytics(script: str, *arguments: str, config: Path) -> Any:
    """What a script prints last, as JSON; ultralytics keeps its settings in a folder of the test, and stays offline."""
    env = {
        **os.environ,
        "YOLO_CONFIG_DIR": str(config),
        "YOLO_OFFLINE": "true",
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "off",
    }
    config.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=env, cwd=config, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


SCAN = """
import json, sys
from pathlib import Path
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset, verify_image_label

data = check_det_dataset(sys.argv[1], autodownload=False)
found = {"names": data["names"], "counts": [0, 0, 0, 0], "messages": []}
for split in ("train", "val"):
    labels = YOLODataset(img_path=data[split], data=data, task="detect", augment=False, imgsz=64).labels
    found[split] = {}
    for l in labels:
        found[split][Path(l["im_file"]).name] = [l["shape"], l["cls"].ravel().tolist(), l["bboxes"].tolist()]
        text = l["im_file"].replace("/images/", "/labels/").rpartition(".")[0] + ".txt"
        asked = (l["im_file"], text, "", False, len(data["names"]), 0, 0, False)
        *_, nm, nf, ne, nc, message = verify_image_label(asked)
        found["counts"] = [a + b for a, b in zip(found["counts"], (nm, nf, ne, nc))]
        found["messages"] += [message] if message else []
print(json.dumps(found))
"""


def test_ultralytics_reads_the_labels(tmp_path: Path) -> None:
    """Ultralytics' own data set finds every labelled image, its boxes and its backgrounds, also in a moved copy."""
    out, rows = dataset(tmp_path, images="copy", val=0.3)
    moved = out.rename(tmp_path / "elsewhere")
    found = in_ultralytics(SCAN, str(moved / "data.yaml"), config=tmp_path / "config")
    assert found["names"] == {"0": "cat", "1": "dog"}
    assert found["messages"] == []
    assert found["counts"] == [0, 10, 4, 0]  # missing, found, empty, corrupt
    assert found["train"]
    assert found["val"]
    files = {line["name"]: line["file"] for line in map(json.loads, (moved / MARKER).open())}
    both = found["train"] | found["val"]
    assert len(both) == 10
    for r in rows[:10]:
        shape, classes, boxes = both[Path(files[r.item.name]).name]
        assert shape == [48, 64]
        assert r.label is not None
        put = r.label.payload["boxes"]
        assert [("cat", "dog")[int(c)] for c in classes] == [b["category"] for b in put]
        for (cx, cy, w, h), b in zip(boxes, put, strict=True):
            back = [(cx - w / 2) * 64, (cy - h / 2) * 48, (cx + w / 2) * 64, (cy + h / 2) * 48]
            assert back == pytest.approx(b["xyxy"], abs=1e-4)


TRAIN = """
import json, sys
from ultralytics import YOLO

model = YOLO("yolov8n.yaml")
seen = {}
model.add_callback("on_train_start", lambda t: seen.update(
    train=len(t.train_loader.dataset), val=len(t.test_loader.dataset),
    boxes=sum(len(l["cls"]) for l in t.train_loader.dataset.labels + t.test_loader.dataset.labels)))
model.train(data=sys.argv[1], epochs=1, imgsz=64, batch=4, workers=0, device="cpu", project=sys.argv[2],
            plots=False, verbose=False, amp=False, pretrained=False)
print(json.dumps(seen | {"names": list(model.names.values())}))
"""


@pytest.mark.slow
def test_ultralytics_trains_on_it(tmp_path: Path) -> None:
    out, rows = dataset(tmp_path)
    seen = in_ultralytics(TRAIN, str(out / "data.yaml"), str(tmp_path / "runs"), config=tmp_path / "config")
    assert seen["train"] + seen["val"] == 10
    assert seen["val"] >= 1
    assert seen["boxes"] == sum(len(r.label.payload["boxes"]) for r in rows if r.label)
    assert seen["names"] == ["cat", "dog"]
    assert list((tmp_path / "runs").rglob("last.pt"))
    entries = read(out, ("cat", "dog"))  # what the training leaves there does not disturb
    assert len(entries) == 11


def test_supervision_opens_it(tmp_path: Path) -> None:
    import supervision as sv

    out, rows = dataset(tmp_path, val=0.3)
    images = boxes = 0
    for split in ("train", "val"):
        found = sv.DetectionDataset.from_yolo(
            str(out / "images" / split), str(out / "labels" / split), str(out / "data.yaml")
        )
        assert found.classes == ["cat", "dog"]
        images += len(found)
        boxes += sum(len(d) for d in found.annotations.values())
    assert images == 10
    assert boxes == sum(len(r.label.payload["boxes"]) for r in rows if r.label)


# --------------------------------------------------------------------------- other people's folders

LINE = "0 0.5 0.5 0.2 0.4\n"
ONE = {"category": "cat", "xyxy": pytest.approx([40, 15, 60, 35])}
CAT = {"boxes": [ONE]}
NAMES = "names: [cat, dög]\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {
                "data.yaml": "train: images/train\nval: images/val\ntest: images/nothing\nnames: {0: cat, 1: dog}\n",
                "images/train/sub/a.jpg": (100, 50),
                "labels/train/sub/a.txt": LINE,
                "images/val/b.png": (100, 50),
                "labels/val/b.txt": "",
            },
            {"images/train/sub/a.jpg": CAT, "images/val/b.png": {"boxes": []}},
            id="ultralytics",
        ),
        pytest.param(
            {
                "data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: ['cat']\n",
                "README.roboflow.txt": "hello",
                "train/images/a_jpg.rf.123.jpg": (100, 50),
                "train/labels/a_jpg.rf.123.txt": LINE,
                "valid/images/b.jpg": (100, 50),
                "valid/labels/b.txt": LINE.strip(),
            },
            {"train/images/a_jpg.rf.123.jpg": CAT, "valid/images/b.jpg": CAT},
            id="roboflow",
        ),
        pytest.param(
            {
                "data.yaml": "path: /not/here\ntrain: train.txt\nval: [more.txt, images/b.jpg]\nnames: [cat]\n",
                "train.txt": "./images/a.jpg\n\n",
                "more.txt": "images/c.jpg\nimages/a.jpg\n",
                "images/a.jpg": (100, 50),
                "images/b.jpg": (100, 50),
                "images/c.jpg": (100, 50),
                "labels/a.txt": LINE,
                "labels/b.txt": LINE,
                "labels/c.txt": "\ufeff" + LINE.replace("\n", "\r\n"),
            },
            {"images/a.jpg": CAT, "images/b.jpg": CAT, "images/c.jpg": CAT},
            id="lists",
        ),
        pytest.param(
            {
                "classes.txt": "cat\n",
                "notes.json": "{}",
                "images/a.jpg": (100, 50),
                "images/c.jpg": (100, 50),
                "labels/a.txt": LINE,
            },
            {"images/a.jpg": CAT, "images/c.jpg": None},
            id="label-studio",
        ),
        pytest.param(
            {"labels/classes.txt": "cat\n", "labels/a.txt": ""},
            {"images/a": {"boxes": []}},
            id="labels only",
        ),
        pytest.param(
            {
                "data.yaml": "train: all\nval: all\nnames: [cat]\n",
                "all/a.jpg": (100, 50),
                "all/a.txt": LINE,
                "all/notes.txt": "?",
            },
            {"all/a.jpg": CAT},
            id="labels beside images",
        ),
        pytest.param(
            {
                "data.yaml": f"train: images\nval: images\n{NAMES}",
                "images/a.jpg": (100, 50),
                "labels/a.txt": "0 0.4 0.3 0.6 0.3 0.6 0.7 0.4 0.7\n0 0.4 0.3 0.6 0.5 0.5 0.7\n"
                "0 0.5 0.5 0.2 0.4 0.25\n0 .5 .5 .2 .4\n",
            },
            {"images/a.jpg": {"boxes": [ONE, ONE, ONE | {"confidence": 0.25}, ONE]}},
            id="polygons, oriented boxes, confidences",
        ),
        pytest.param(
            {
                "data.yaml": f"train: images\nval: images\nkpt_shape: [1, 2]\n{NAMES}",
                "images/a.jpg": (100, 50),
                "labels/a.txt": "0 0.5 0.5 0.2 0.4 0.9 0.9\n",
            },
            {"images/a.jpg": CAT},
            id="poses",
        ),
    ],
)
def test_folders_of_others(tmp_path: Path, files: dict[str, Any], expected: dict[str, Any]) -> None:
    root = folder(tmp_path / "set", files)
    assert plugin().sniff(root)
    entries = read(root, ())
    assert {name: e.payload for name, e in entries.items()} == expected
    assert all(e.source is None and e.frame == "display" for e in entries.values())
    if (root / "data.yaml").is_file():
        assert plugin().sniff(root / "data.yaml")
        assert read(root / "data.yaml", ()).keys() == entries.keys()


def test_missing_label_files(tmp_path: Path) -> None:
    root = folder(tmp_path, {"classes.txt": "cat", "images/a.jpg": (100, 50), "labels/b.txt": ""})
    assert {n: e.payload for n, e in read(root).items()} == {"images/a.jpg": None, "images/b": {"boxes": []}}
    assert read(root, missing="empty")["images/a.jpg"].payload == {"boxes": []}


def test_entries_match_the_images_of_a_source(tmp_path: Path) -> None:
    files = {"data.yaml": f"train: images\nval: images\n{NAMES}"}
    files |= {f"labels/{s}/a.txt": "" for s in "xy"}
    root = folder(tmp_path, files | {f"images/{s}/a.jpg": (100, 50) for s in "xy"})  # type: ignore[dict-item]
    matcher = Matcher(["y/a.jpg", "x/a.jpg"])
    assert [matcher.row(name) for name in read(root)] == [1, 0]


def test_sniff_leaves_others_alone(tmp_path: Path) -> None:
    others: list[Format] = [Coco(Coco.Options(), Context()), ClassFolders(ClassFolders.Options(), Context())]
    others.append(Voc(Voc.Options(), Context()))
    out, _ = dataset(tmp_path)
    assert plugin().sniff(out)
    assert [f.name for f in others if f.sniff(out)] == []
    voc = folder(tmp_path / "voc", {"Annotations/a.xml": "<annotation/>", "JPEGImages/a.jpg": (9, 9)})
    classes = folder(tmp_path / "classes", {"cat/a.jpg": (9, 9), "labels/b.jpg": (9, 9)})
    notes = folder(tmp_path / "notes", {"compose.yaml": "services:\n  train: {}\n", "data.yaml": "x: 1\n"})
    for path in (voc, classes, notes, notes / "compose.yaml", tmp_path / "nowhere", Path(__file__)):
        assert not plugin().sniff(path), path


# --------------------------------------------------------------------------------------- bad files

GOOD = f"train: images\nval: images\n{NAMES}"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"labels/a.txt": "0 0.5 0.5 0.2\n"}, r"labels/a.txt, line 1: 4 columns; a box has 5, class cx cy w h"),
        ({"labels/a.txt": "0 1 2 3 4 5 6 7\n"}, r"line 1: 8 columns"),
        ({"labels/a.txt": LINE + "0 a b c d\n"}, r"line 2: '0 a b c d' is not numbers"),
        ({"labels/a.txt": LINE + "\n0 50 20 10 10\n"}, r"line 3: 50 is no share of the image's width or height"),
        ({"labels/a.txt": "0 nan .5 .1 .1\n"}, r"line 1: nan is no share"),
        ({"labels/a.txt": "0 .5 .5 0 .1\n"}, r"line 1: the box has no area inside the image"),
        ({"labels/a.txt": "0 .5 .5 .1 .1 7\n"}, r"line 1: the sixth column, 7, is no confidence"),
        ({"labels/a.txt": "7 .5 .5 .1 .1\n"}, r"line 1: class 7 is none of the 2 names"),
        ({"labels/a.txt": "-1 .5 .5 .1 .1\n"}, r"line 1: class -1 is none of the 2 names"),
        ({"labels/a.txt": "inf .5 .5 .1 .1\n"}, r"line 1: class inf is none of the 2 names"),
        ({"labels/a.txt": "0.5 .5 .5 .1 .1\n"}, r"line 1: class 0.5 is none of the 2 names"),
        (
            {"labels/b.txt": LINE},
            r"labels/b.txt: its image is not there, so that its size is unknown; put it into .*images",
        ),
        ({"images/a.jpg": "no image"}, r"labels/a.txt: the size of its image .*images/a.jpg is unknown: not an image"),
        ({"data.yaml": "train: images\nval: images\nnames: [cow]\n"}, r"category 'cow' is not declared"),
        ({"data.yaml": "names: [cat\ntrain: {"}, r"data.yaml, line \d is not plain YAML"),
        (
            {"data.yaml": "names: [cat]\ntrain: !!python/object/apply:os.system ['touch HACKED']\n"},
            r"data.yaml, line 2 .*constructor",
        ),
        ({"data.yaml": "names: " + "[" * 5000}, r"data.yaml.* is not plain YAML"),
        ({"data.yaml": "- names: 1\n"}, r"data.yaml has no keys"),
        ({"data.yaml": "train: images\nval: images\nnames: 2\n"}, r"data.yaml has no names of classes"),
        ({"data.yaml": "train: images\nval: images\nnames: [no]\n"}, r"False among names is no text; put it in quotes"),
        ({"data.yaml": "train: images\nval: images\nnames: {1: cat}\n"}, r"the keys of names are not 0, 1, 2"),
        (
            {"data.yaml": f"train: pictures\nval: images\n{NAMES}"},
            r"data.yaml: train is pictures, but there is neither",
        ),
        ({"data.yaml": f"train: 7\nval: images\n{NAMES}"}, r"data.yaml: train is 7, not a path"),
        (
            {"data.yaml": f"train: l.txt\nval: images\n{NAMES}", "l.txt": "\nx.jpg\n"},
            r"l.txt, line 2: neither .*x.jpg nor",
        ),
        ({MARKER: '{"name": "a", "file": 7}\n'}, r'gtloop.jsonl, line 1: "file" is no path'),
        ({MARKER: "{\n"}, r"gtloop.jsonl, line 1 is not JSON"),
    ],
)
def test_bad_files_say_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], says: str) -> None:
    monkeypatch.chdir(tmp_path)
    good: dict[str, Any] = {"data.yaml": GOOD, "images/a.jpg": (100, 50), "labels/a.txt": LINE}
    root = folder(tmp_path / "set", good | files)
    with pytest.raises(BadLabels, match=says) as e:
        read(root)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "HACKED").exists()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    root = folder(tmp_path, {"data.yaml": GOOD, "images/a.jpg": (100, 50), "labels/a.txt": ""})
    (root / "labels" / "a.txt").write_bytes(b"\xff\xfe0")
    with pytest.raises(BadLabels, match=r"labels/a.txt is not UTF-8"):
        read(root)
    (root / "data.yaml").write_bytes(b"names: [cat]\n" + b"#" * (1 << 20))
    with pytest.raises(BadLabels, match=r"data.yaml has more than 1 MiB"):
        read(root)
    with pytest.raises(BadLabels, match=r"has neither data.yaml nor classes.txt"):
        read(root / "images")
