"""Whole runs from a bucket: moto's S3 over HTTP, with a server that is busy, slow, cuts answers off, and goes down."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import buckets
import pytest
import runs
from runs import cli, small

import gtloop
from gtloop import imagecache, remote, retrying
from gtloop.errors import SourceError
from gtloop.images import list_images
from gtloop.items import list_items
from gtloop.store import Store
from gtloop_plugins.annotators.local.pictures import Pictures

N = 40


@pytest.fixture(scope="module")
def s3() -> Iterator[buckets.S3]:
    with buckets.serving() as found:
        yield found


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch, s3: buckets.S3) -> Iterator[None]:
    """Little waiting, nothing kept in memory (a pool is larger than that), a server without faults."""
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(remote, "KEPT_BYTES", 0)
    remote._forget()
    yield
    s3.proxy.busy = s3.proxy.cut = s3.proxy.slow = 0
    s3.proxy.asked.clear()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, s3: buckets.S3) -> Path:
    """Images in a folder, and the same in ``s3://photos/set``."""
    found, _ = runs.make_images(tmp_path_factory.mktemp("source"), N)
    s3.bucket("photos", found, "set/")
    return found


def given(source: object, root: Path, images: Path) -> tuple[object, ...]:
    return small(source, root, truth=images.parent / "truth.jsonl")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def unbroken(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What a run from the local folder comes to."""
    root = tmp_path_factory.mktemp("local") / "run"
    assert cli(*given(images, root, images)).code == 0
    return runs.facts(root)


@pytest.mark.slow
def test_a_run_from_a_busy_bucket_equals_one_from_a_folder(
    s3: buckets.S3, images: Path, unbroken: Mapping[str, Any], tmp_path: Path
) -> None:
    s3.proxy.busy, s3.proxy.cut, s3.proxy.slow = 5, 7, 11
    root = tmp_path / "run"
    ended = cli(*given("s3://photos/set", root, images))
    assert ended.code == 0, ended.err
    assert runs.facts(root) == unbroken
    assert min(s3.proxy.faults[f] for f in ("busy", "cut", "slow")) > 5
    uris = gtloop.open(root).items.uri
    assert {Path(uri).name for uri in uris} == {p.name for p in images.iterdir()}
    assert all(uri.startswith("s3://photos/set/") for uri in uris)


def test_copies_on_disk_are_fetched_once_in_a_whole_run(
    s3: buckets.S3, images: Path, unbroken: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(imagecache.FOLDER, str(tmp_path / "copies"))
    ended = cli(*given("s3://photos/set", tmp_path / "run", images))
    assert ended.code == 0, ended.err
    assert runs.facts(tmp_path / "run") == unbroken
    assert s3.proxy.gets("photos") == {f"set/{p.name}": 1 for p in images.iterdir()}


@pytest.mark.slow
def test_a_server_that_goes_down_stops_a_run_that_goes_on_when_it_is_back(
    s3: buckets.S3, images: Path, unbroken: Mapping[str, Any], tmp_path: Path
) -> None:
    root = tmp_path / "run"
    left = [9]

    @gtloop.hookimpl
    def gtloop_event(event: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            s3.proxy.down()

    outage = types.ModuleType("outage")
    outage.gtloop_event = gtloop_event  # type: ignore[attr-defined]
    ended = cli(*given("s3://photos/set", root, images), modules=[outage])
    try:
        assert ended.code == 1
        assert "s3://photos/set/" in ended.error
        assert "run the same command again" in ended.error
        again = cli(*given("s3://photos/set", root, images))
        assert (again.code, again.error.endswith("run the same command again")) == (1, True)
        assert runs.status(root)["items"]["quarantined"] == 0
    finally:
        s3.proxy.up()
    ended = cli(*given("s3://photos/set", root, images))
    assert ended.code == 0, ended.err
    assert runs.facts(root) == unbroken


def test_a_manifest_of_ground_truth_with_a_missing_object(s3: buckets.S3, images: Path, tmp_path: Path) -> None:
    """The manifest is in the bucket itself; what it names is asked for when it is opened."""
    missing = "s3://photos/set/none.png"
    refs = [*(f"s3://photos/set/{p.name}" for p in sorted(images.iterdir())), missing]
    s3.put("photos", "jobs/job.manifest", "".join(json.dumps({"source-ref": r}) + "\n" for r in refs).encode())
    root = tmp_path / "run"
    ended = cli(*given("s3://photos/jobs/job.manifest", root, images))
    assert ended.code == 0, ended.err
    assert runs.status(root)["items"] == {
        **{"total": N + 1, "quarantined": 1, "human": N},
        **{"machine": 0, "pool": 0, "unlabelable": 0, "aliases": 0},
    }
    out = tmp_path / "out.manifest"
    s3.proxy.down()  # labels leave without it
    try:
        row = runs.exported(root)["none.png"]
        assert (row["status"], row["reason"]) == ("quarantined", "there is no such object")
        assert cli("export", root, "--format", "groundtruth", "--out", out).code == 0
    finally:
        s3.proxy.up()
    assert {json.loads(line)["source-ref"] for line in out.read_text().splitlines()} == set(refs)


def test_an_object_is_fetched_once_to_be_listed(
    s3: buckets.S3, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To be hashed and measured, that is; nor is it asked about before."""
    monkeypatch.setattr(remote, "KEPT_BYTES", 1 << 20)
    list_items("s3://photos/set", 0, Store(tmp_path), lambda *_: None)
    assert set(s3.proxy.gets("photos").values()) == {1}
    assert len(s3.proxy.gets("photos")) == N
    assert {method for method, _ in s3.proxy.asked} == {"GET"}


def test_keys_of_all_kinds_page_by_page(s3: buckets.S3, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["a b.jpg", "a#1?.jpg", "deep/ü/%20.jpg", "deep/+&=.jpg", "z.jpg"]
    s3.bucket("odd")
    for key in (*keys, "deep/", ".hidden/x.jpg", "notes.md"):
        s3.put("odd", f"set/{key}", b"pixels")
    s3.put("odd", "set-2/no.jpg", b"pixels")
    from fsspec.asyn import sync_wrapper
    from s3fs import S3FileSystem

    call = S3FileSystem._call_s3

    async def three_a_page(self: Any, method: str, *more: Any, **options: Any) -> Any:
        return await call(self, method, *more, **options, **({"MaxKeys": 3} if "list" in method else {}))

    monkeypatch.setattr(S3FileSystem, "call_s3", sync_wrapper(three_a_page))
    listed = list(list_images("s3://odd/set"))
    assert [i.name for i in listed] == sorted(keys)
    assert s3.proxy.asked["GET", "/odd"] == 3
    assert {i.bytes for i in listed} == {6}
    for image in listed:
        assert remote.contents(image.uri) == b"pixels", image.uri
    assert [i.name for i in list_images("s3://odd/**/+*.jpg")] == ["set/deep/+&=.jpg"]
    assert [i.name for i in list_images("s3://odd/set/a*.jpg")] == ["a b.jpg", "a#1?.jpg"]
    assert [i.name for i in list_images("s3://odd/set/z.jpg")] == ["z.jpg"]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("s3://nobodys/set", "can't be listed: there is no such bucket"),
        ("s3://photos/none", "no images below s3://photos/none"),
        ("s3://photos/set/none.png", "there is no such object"),
    ],
)
def test_what_is_not_there(s3: buckets.S3, images: Path, source: str, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        list_images(source)


def test_signed_addresses_are_read_and_never_shown(s3: buckets.S3, images: Path, tmp_path: Path) -> None:
    """A manifest of presigned URLs: their signatures are nobody's business but the server's."""
    import boto3

    client = boto3.client("s3", endpoint_url=s3.proxy.url)
    keys = [p.name for p in sorted(images.iterdir())]
    signed = [
        client.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": f"set/{key}"})
        for key in [*keys, "no such.png"]
    ]
    assert all("Signature=" in url for url in signed)
    manifest = tmp_path / "list.txt"
    manifest.write_text("\n".join(signed))
    root = tmp_path / "run"
    ended = cli(*given(manifest, root, images))
    assert ended.code == 0, ended.err
    rows = runs.exported(root)
    assert rows.keys() == {*keys, "no such.png"}
    assert rows["no such.png"]["reason"] == "there is no such object"
    assert cli("export", root, "--format", "groundtruth", "--out", tmp_path / "out.manifest").code == 0
    s3.proxy.down()
    try:
        gone = cli(*given(signed[0], tmp_path / "gone", images))
        assert gone.code == 1
        assert gone.error.startswith(f"{s3.proxy.url}/photos/set/{keys[0]} can't be read now")
    finally:
        s3.proxy.up()
    written = [tmp_path / "out.manifest", tmp_path / "run-out.jsonl", root / "run.toml"]
    shown = [ended.out, ended.err, gone.err, *(p.read_text("utf-8") for p in written)]
    assert not any("Signature" in text for text in shown)


def test_the_local_page_shows_images_of_a_bucket(s3: buckets.S3, images: Path) -> None:
    pictures = Pictures()
    for path in sorted(images.iterdir())[:3]:
        assert pictures.get(f"s3://photos/set/{path.name}") == pictures.get(str(path))


def test_the_program_itself_is_quiet(s3: buckets.S3, images: Path, tmp_path: Path) -> None:
    """A process of its own: no connection is left open and complained about when it ends."""
    command = [sys.executable, "-m", "gtloop", "init", "s3://photos/set"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"for {N} images" in ended.stdout
    assert 'source = "s3://photos/set"' in (tmp_path / "gtloop.toml").read_text()
