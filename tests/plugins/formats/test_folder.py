"""``folder``: class folders written, opened by torchvision, changed by hand, and read back."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gtloop.errors import BadLabels, UsageError
from gtloop.interfaces import Context, Entry, ExportRow
from gtloop.labelfiles import MARKER
from gtloop.records import Item, Label
from gtloop_plugins.formats.folder import ClassFolders

CATEGORIES = ("cat", "dög", "a/b", "..", "v1.0", "v1.5", "Cat", ".x")
INFO = {"categories": CATEGORIES, "run": "r", "frame": "display", "version": "0.1.0"}


def plugin(**options: Any) -> ClassFolders:
    return ClassFolders(ClassFolders.Options(**options), Context(categories=CATEGORIES))


def image(path: Path, size: tuple[int, int] = (20, 10)) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 150)).save(path)
    return str(path)


def row(n: int, name: str, category: str | None, uri: str, confidence: float | None = None) -> ExportRow:
    item = Item(row=n, id=f"id-{n}", name=name, uri=uri, width=20, height=10)
    if category is None:
        return ExportRow(item, None, None, None, "quarantined", "unreadable")
    payload = {"category": category} if confidence is None else {"category": category, "confidence": confidence}
    label = Label(row=n, payload=payload, source="machine", confidence=0.75, iteration=2, model="m1", threshold=0.5)
    return ExportRow(item, label, 20, 10, "machine", "")


def write(path: Path, rows: list[ExportRow], categories: tuple[str, ...] = CATEGORIES, **options: Any) -> list[str]:
    return plugin(**options).write(path, iter(rows), "classification", INFO | {"categories": categories})


def read(path: Path, categories: tuple[str, ...] = CATEGORIES) -> dict[str, Entry]:
    entries = list(plugin().read(path, "classification", categories))
    found = {e.name: e for e in entries}
    assert len(found) == len(entries)
    return found


names = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "cat/", "b/", "a/b/"]),
    st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=5),
    st.sampled_from([".jpg", ".png", ".JPG", ".gif"]),
)


@settings(max_examples=40, deadline=None)
@given(
    drawn=st.lists(
        st.tuples(names, st.none() | st.sampled_from(CATEGORIES), st.booleans(), st.none() | st.floats(0, 1)),
        max_size=8,
        unique_by=lambda d: d[0],
    ),
    how=st.sampled_from(["link", "copy"]),
)
def test_round_trip(drawn: list[tuple[str, str | None, bool, float | None]], how: str) -> None:
    """Names, categories, confidences and provenance come back, whether or not the image is there."""
    with tempfile.TemporaryDirectory() as tmp:
        there = image(Path(tmp, "in", "a.png"))
        rows = [row(n, name, c, there if ok else "memory://b/x", p) for n, (name, c, ok, p) in enumerate(drawn)]
        path = Path(tmp, "out")
        write(path, rows, images=how)
        assert plugin().sniff(path) == bool(rows)
        entries = read(path)
        assert entries.keys() == {r.item.name for r in rows}
        for r in rows:
            entry = entries[r.item.name]
            assert entry.extras["row"] == r.item.row
            assert entry.extras["reason"] == r.reason
            assert entry.payload == (None if r.label is None else r.label.payload)
            assert entry.source == (None if r.label is None else "machine")
            if r.label is not None:
                assert entry.extras.items() >= {"confidence": 0.75, "model": "m1", "threshold": 0.5}.items()
        placed = [p for p in path.rglob("*") if p.is_file() and p.name != MARKER]
        assert len(placed) == sum(ok and c is not None for _, c, ok, _ in drawn)
        assert all(p.is_symlink() == (how == "link") for p in placed)
        assert all(len(p.relative_to(path).parts) == 2 for p in placed)


def test_torchvision_opens_it(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    rows = [
        row(
            n,
            f"{'xyz'[n % 3]}/a.jpg" if n < 3 else f"{n}.png",
            ("cat", "dog")[n % 2],
            image(tmp_path / "in" / f"{n}.png"),
        )
        for n in range(6)
    ]
    rows.append(row(6, "bad.jpg", None, image(tmp_path / "in" / "bad.png")))
    said = write(tmp_path / "out", rows, ("dog", "cat", "horse"))
    assert said == [
        "1 image is without a label (1 unreadable): listed in gtloop.jsonl only.",
        "No image is 'horse': no folder was written for it, as ImageFolder refuses empty ones.",
    ]
    found = ImageFolder(str(tmp_path / "out"))
    assert found.classes == ["cat", "dog"]
    assert len(found) == 6
    by_file = {line["file"]: line["payload"]["category"] for line in map(json.loads, (tmp_path / "out" / MARKER).open())
               if line["file"]}  # fmt: skip
    for path, index in found.samples:
        assert by_file[Path(path).relative_to(tmp_path / "out").as_posix()] == found.classes[index]
    assert found[0][0].size == (20, 10)


def test_what_is_lost_is_said(tmp_path: Path) -> None:
    there = image(tmp_path / "a.png")
    rows = [row(0, "a.gif", "cat", there), row(1, "b.png", "dog", "/nowhere"), row(2, "c.png", "a/b", there)]
    assert write(tmp_path / "out", rows, ("cat", "dog", "a/b")) == [
        "1 image is not there as a local file: the label is in gtloop.jsonl only.",
        "1 image is of a file type that torchvision does not open; convert to .png.",
        "No image is 'dog': no folder was written for it, as ImageFolder refuses empty ones.",
        "Categories that are no folder names have others: 'a/b' is in a__b.",
    ]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a__b", "cat", MARKER]
    assert {n: e.payload for n, e in read(tmp_path / "out", ("cat", "dog", "a/b")).items()} == {
        "a.gif": {"category": "cat"},
        "b.png": {"category": "dog"},
        "c.png": {"category": "a/b"},
    }


def test_changes_by_hand_count(tmp_path: Path) -> None:
    there = image(tmp_path / "a.png")
    rows = [row(n, f"{n}/a.png", "cat", there, 0.5) for n in range(4)]
    out = tmp_path / "out"
    write(out, rows, ("cat", "dog"))
    assert sorted(p.name for p in (out / "cat").iterdir()) == ["1__a.png", "2__a.png", "3__a.png", "a.png"]
    (out / "dog").mkdir()
    (out / "cat" / "a.png").rename(out / "dog" / "a.png")
    (out / "cat" / "1__a.png").unlink()
    (out / "cat" / "2__a.png").rename(out / "2__a.png")
    image(out / "dog" / "new.png")
    entries = read(out, ("cat", "dog"))
    assert {n: e.payload for n, e in entries.items()} == {
        "0/a.png": {"category": "dog"},
        "1/a.png": None,
        "2/a.png": None,
        "3/a.png": {"category": "cat", "confidence": 0.5},
        "dog/new.png": {"category": "dog"},
    }
    assert {n: e.source for n, e in entries.items() if e.source} == {"3/a.png": "machine"}
    assert "model" not in entries["0/a.png"].extras


def test_what_is_there_is_replaced_or_kept(tmp_path: Path) -> None:
    there = image(tmp_path / "in" / "a.png")
    out = tmp_path / "out"
    write(out, [row(0, "a.png", "cat", there), row(1, "b.png", "dög", there)])
    write(out, [row(0, "a.png", "dög", there)])
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png")) == ["dög/a.png"]
    with pytest.raises(UsageError, match="is no export of gtloop"):
        write(tmp_path / "in", [row(0, "a.png", "cat", there)])
    assert Path(there).is_file()


def test_folders_of_others_are_read_as_before(tmp_path: Path) -> None:
    for name in ("cat/a.png", "dög/sub/b.png", "c.png"):
        image(tmp_path / name)
    assert plugin().sniff(tmp_path)
    assert {n: e.payload for n, e in read(tmp_path).items()} == {
        "c.png": None,
        "cat/a.png": {"category": "cat"},
        "dög/sub/b.png": {"category": "dög"},
    }
    with pytest.raises(BadLabels, match=r"folder dög: category 'dög' is not declared"):
        read(tmp_path, ("cat",))
    (tmp_path / MARKER).write_text("{\n")
    assert not plugin().sniff(tmp_path)
    with pytest.raises(BadLabels, match=r"gtloop.jsonl, line 1 is not JSON; export again"):
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadLabels, match="no images in the folder"):
        read(tmp_path / "empty")


@pytest.mark.parametrize(
    ("files", "yes"),
    [
        (("cat/a.png", "dog/b.png"), True),
        (("masks/a.png", "no masks/b.png"), True),  # categories may have such names
        (("labels/a.png", "boxes/b.png"), True),
        (("annotations/a.png", "cat/b.png"), True),
        (("images/train/a.png", "data.yaml"), False),
        (("images/a.png", "labels/a.txt"), False),
        (("images/a.png", "masks/a.png"), False),
        (("Annotations/a.xml", "JPEGImages/a.png"), False),
        (("annotations/instances.json", "train2017/a.png"), False),
        (("a.png", "b.png"), False),
        (("notes/a.txt",), False),
    ],
)
def test_sniff(tmp_path: Path, files: tuple[str, ...], yes: bool) -> None:
    for name in files:
        if name.endswith(".png"):
            image(tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
    assert plugin().sniff(tmp_path) is yes
