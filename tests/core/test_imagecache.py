"""Copies of images behind URLs: what is read only once, what is no copy, who makes room, what a limit means."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import buckets as bucket_server
import pytest

from gtloop import imagecache, remote, retrying
from gtloop.errors import BadImage, ConfigError
from gtloop.images import open_image
from gtloop.interfaces import quiet
from gtloop.items import Items, list_items
from gtloop.store import Store
from gtloop.testing.fakes import tiny_items

fork = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No waiting, nothing from another test."""
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 0.001)
    remote._forget()
    imagecache._told.clear()
    yield
    remote._forget()


class Web:
    """A web server of the files in ``folder`` that counts what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: Counter[str] = Counter()
        web = self

        class Handler(SimpleHTTPRequestHandler):
            def send_head(self) -> Any:
                web.asked[self.path] += 1
                return super().send_head()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def write(self, n: int, size: int = 952) -> list[str]:
        """URLs of ``n`` objects; with what stands before it, a copy takes ``size`` + 48 bytes."""
        for k in range(n):
            (self.folder / f"{k}.jpg").write_bytes(_data(k, size))
        return [f"{self.url}/{k}.jpg" for k in range(n)]


def _data(k: int, size: int = 952) -> bytes:
    return f"{k:08d}".encode() * (size // 8)


def content(url: str) -> bytes:
    """What is behind a URL, whatever this process has in memory."""
    remote._process.kept = remote._Kept()
    return remote.contents(url)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "web").mkdir()
    found = Web(tmp_path / "web")
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of copies, at most 20 of those that ``Web.write`` makes."""
    monkeypatch.setenv(imagecache.FOLDER, str(tmp_path / "kept"))
    monkeypatch.setenv(imagecache.SIZE, "20 kB")
    return tmp_path / "kept"


def _copies(folder: Path) -> list[Path]:
    return sorted(folder.glob("??/*"))


def test_nothing_is_kept_unless_asked(web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(imagecache.FOLDER, raising=False)
    [url] = web.write(1)
    assert content(url) == content(url) == _data(0)
    assert web.asked["/0.jpg"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["web"]


def test_a_second_look_reads_nothing_over_the_network(
    web: Web, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of a manifest are fetched to be listed; later, also by another process, they are read from disk."""
    monkeypatch.setenv(imagecache.SIZE, "1 MB")
    local = {Path(i.uri).name: Path(i.uri) for i in tiny_items(tmp_path / "tiny", 8, 0)}
    for name, path in local.items():
        (web.folder / name).write_bytes(path.read_bytes())
    (web.folder / "list.txt").write_text("\n".join([*local, "none.png"]))
    store = Store(tmp_path / "run")
    items = Items.read(list_items(f"{web.url}/list.txt", 0, store, quiet), store)
    assert {f"/{name}" for name in local} < set(web.asked)
    web.asked.clear()
    remote._forget()
    for item in items:
        if item.name == "none.png":
            with pytest.raises(BadImage, match="no such object"):
                open_image(item.uri)
        else:
            assert open_image(item.uri).tobytes() == open_image(str(local[item.name])).tobytes()
    with fork.Pool(1) as pool:
        assert pool.map(content, [f"{web.url}/{name}" for name in local]) == [p.read_bytes() for p in local.values()]
    assert web.asked == {"/none.png": 1}, "what is not there is asked for again"


def test_what_has_no_version_is_fetched_anew_where_it_is_listed(web: Web, kept: Path, tmp_path: Path) -> None:
    """A new run sees the images of now, and the manifest of now; what it saw is what is kept."""
    (web.folder / "a.png").write_bytes(Path(tiny_items(tmp_path / "tiny", 1, 0)[0].uri).read_bytes())
    for n, names in enumerate((["a.png"], ["a.png", "b.png"])):
        (web.folder / "list.txt").write_text("\n".join(names))
        store = Store(tmp_path / str(n))
        items = Items.read(list_items(f"{web.url}/list.txt", 0, store, quiet), store)
        assert list(items.name) == names
        for name in names:
            assert content(f"{web.url}/{name}") == (web.folder / name).read_bytes()
            (web.folder / name).write_bytes(b"changed")
        (web.folder / "b.png").write_bytes(b"new")
        remote._forget()
    assert content(f"{web.url}/b.png") == b"new", "it was listed before it changed"


def test_a_bucket_says_what_has_changed(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run from the same bucket fetches what is new there, and only that."""
    monkeypatch.setenv(imagecache.SIZE, "1 MB")
    monkeypatch.setattr(remote, "KEPT_BYTES", 0)
    tiny_items(tmp_path / "tiny", 6, 0)
    with bucket_server.serving() as s3:
        s3.bucket("photos", tmp_path / "tiny", "set/")
        fetched = []
        for n in range(3):
            store = Store(tmp_path / f"run{n}")
            items = Items.read(list_items("s3://photos/set", 0, store, quiet), store)
            for item in items:
                open_image(item.uri)
            fetched.append(sorted(s3.proxy.gets("photos")))
            s3.proxy.asked.clear()
            remote._forget()
            if n == 1:
                s3.put("photos", f"set/{items.name[2]}", Path(tiny_items(tmp_path / "b", 1, 9)[0].uri).read_bytes())
        assert fetched == [[f"set/{name}" for name in items.name], [], [f"set/{items.name[2]}"]]
        monkeypatch.setenv("AWS_PROFILE", "somebody-else")
        assert imagecache.get(items.uri[0], None) is None, "another's bucket of that name is another bucket"


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "other", "longer"])
def test_what_is_damaged_is_fetched_again(web: Web, kept: Path, damage: str) -> None:
    urls = web.write(2)
    assert [content(url) for url in urls] == [_data(0), _data(1)]
    [path] = [p for p in _copies(kept) if _data(0) in p.read_bytes()]
    [other] = [p for p in _copies(kept) if p != path]
    whole = path.read_bytes()
    made = {
        "cut": whole[:-1],
        "empty": b"",
        "flipped": whole[:70] + bytes([whole[70] ^ 1]) + whole[71:],
        "other": other.read_bytes(),
        "longer": whole + b"\0",
    }
    path.write_bytes(made[damage])
    assert content(urls[0]) == content(urls[0]) == _data(0)
    assert web.asked["/0.jpg"] == 2
    assert path.read_bytes() == whole


def test_what_was_used_longest_ago_makes_room(web: Web, kept: Path) -> None:
    urls = web.write(21)
    for url in urls[:20]:
        content(url)
    for age, path in enumerate(sorted(_copies(kept), key=lambda p: p.stat().st_mtime_ns, reverse=True), 1):
        os.utime(path, ns=(0, path.stat().st_mtime_ns - age * 10**9))
    content(urls[0])
    content(urls[20])
    web.asked.clear()
    found = [url for url in urls if imagecache.get(url, None) is not None]
    assert found == [urls[0], *urls[4:]], "a tenth is made free at once"
    assert not web.asked


def test_what_is_not_ours_is_left_alone(web: Web, kept: Path) -> None:
    """Also where somebody names a folder that holds something."""
    (kept / "ab").mkdir(parents=True)
    for path in (kept / "mine.jpg", kept / "ab" / "mine.jpg"):
        path.write_bytes(b"x" * 30_000)
    for url in web.write(60):
        content(url)
    assert {p.name for p in kept.rglob("*.jpg")} == {"mine.jpg"}
    assert (kept / "mine.jpg").stat().st_size == (kept / "ab" / "mine.jpg").stat().st_size == 30_000


def test_what_is_larger_than_the_limit_is_not_kept(web: Web, kept: Path) -> None:
    [url] = web.write(1, 24_000)
    assert content(url) == content(url) == _data(0, 24_000)
    assert web.asked["/0.jpg"] == 2
    assert not _copies(kept)


def _read(urls: list[str]) -> bool:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(content, urls))
    return found == [_data(int(url.rpartition("/")[2].removesuffix(".jpg"))) for url in urls]


def test_the_limit_holds_for_all_together(web: Web, kept: Path) -> None:
    """Four processes of four threads each read and evict; whoever looks under their lock never sees more."""
    urls = web.write(60)
    content(urls[0])  # there is a folder
    most = 0
    with fork.Pool(4) as pool:
        work = [pool.apply_async(_read, (urls[15 * k :] + urls[: 15 * k],)) for k in range(4)]
        while not all(w.ready() for w in work):
            with imagecache._locked(kept):
                most = max(most, sum(p.stat().st_size for p in _copies(kept)))
            work[0].wait(0.005)
        assert all(w.get() for w in work)
    held = sum(p.stat().st_size for p in _copies(kept))
    assert 10_000 < max(held, most) <= 20_000
    assert {p.stat().st_size for p in _copies(kept)} == {1000}


def _fill(started: Any) -> None:
    for k in range(10**6):
        imagecache.put(f"https://none.invalid/{k % 50}", "", _data(k % 50))
        if k == 100:
            started.set()


def test_who_is_killed_leaves_no_lock_and_no_half_copy(kept: Path) -> None:
    for _ in range(5):
        started = fork.Event()
        child = fork.Process(target=_fill, args=(started,))
        child.start()
        assert started.wait(60)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
    leftover = next(iter(_copies(kept))).with_name(f".x{imagecache._SUFFIX}.y.tmp")
    leftover.write_bytes(b"x" * 500)
    os.utime(leftover, (1, 1))
    found = [imagecache.get(f"https://none.invalid/{k}", None) for k in range(50)]
    assert all(data in (None, _data(k)) for k, data in enumerate(found))
    for k in range(100, 140):
        imagecache.put(f"https://none.invalid/{k}", "", _data(k))
    assert imagecache.get("https://none.invalid/139", None) == _data(139)
    assert not leftover.exists(), "what a killed process left makes room like the rest"
    assert sum(p.stat().st_size for p in _copies(kept)) <= 20_000
    (kept / "held").write_bytes(b"nonsense")
    for k in range(200, 240):
        imagecache.put(f"https://none.invalid/{k}", "", _data(k))
    assert 10_000 < sum(p.stat().st_size for p in _copies(kept)) <= 20_000


def test_a_full_disk_is_said_once(web: Web, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files may not grow beyond 100 bytes: what the system says then is as where a disk is full."""
    urls = web.write(3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with caplog.at_level(logging.WARNING, "gtloop"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            assert [content(url) for url in urls] == [_data(k) for k in range(3)]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [r.getMessage() for r in caplog.records] == [
        f"images are read without a copy: {kept} can't be written (File too large)"
    ]
    assert not _copies(kept)
    assert content(urls[0]) == content(urls[0]) == _data(0)
    assert web.asked["/0.jpg"] == 2, "once there is room, copies are kept"


def test_a_folder_that_can_not_be_is_said_once(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv(imagecache.FOLDER, str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "gtloop"):
        assert [content(url) for url in web.write(2)] == [_data(0), _data(1)]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [("20 GB", 20 * 1000**3), ("1.5tb", 1.5 * 1000**4), ("512 MiB", 512 << 20), ("7", 7), ("900 kB", 900_000)],
)
def test_sizes(text: str, size: int) -> None:
    assert imagecache._bytes(text) == size


@pytest.mark.parametrize("text", ["much", "-1 GB", "20 PB", "1,5 GB"])
def test_a_limit_that_is_none_says_how_to_write_one(web: Web, kept: Path, text: str, monkeypatch: Any) -> None:
    monkeypatch.setenv(imagecache.SIZE, text)
    with pytest.raises(ConfigError, match=r"GTLOOP_IMAGE_CACHE_SIZE is .*; write a number of bytes such as '20 GB'"):
        content(web.write(1)[0])
