"""Images behind URLs: addresses and names, what is listed, what is tried again, what an error means."""

from __future__ import annotations

import json
import multiprocessing
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from gtloop import buckets, remote, retrying, urls
from gtloop.errors import BadImage, MissingExtra, SourceError
from gtloop.imagefolders import place_image
from gtloop.images import Listed, content, content_hash, header, list_images, open_image, read_ahead
from gtloop.testing.fakes import tiny_items

SECRET = "X-Amz-Signature=0123secret"


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing kept from another test, and no waiting."""
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 0.001)
    remote._forget()
    yield
    remote._forget()


@pytest.fixture
def memory() -> Iterator[Callable[..., None]]:
    """Writes objects of ``memory://bucket``: name and content."""
    system = fsspec.filesystem("memory")
    system.store.clear()

    def write(*names: str, data: bytes = b"x") -> None:
        for name in names:
            system.pipe_file(f"/bucket/{name}", data)

    yield write
    system.store.clear()


class Web:
    """A web server whose answers are what ``answers`` says: path to (status, body) in turn, the last for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, bytes]]] = {}
        self.asked: Counter[str] = Counter()
        self.queries: list[str] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                web.queries.append(query)
                turn = web.asked[path]
                web.asked[path] += 1
                found = web.answers.get(path, [(404, b"")])
                status, body = found[min(turn, len(found) - 1)]
                self.send_response_only(abs(status))
                self.send_header("content-length", str(len(body) + (10 if status < 0 else 0)))  # negative: cut off
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def web() -> Iterator[Web]:
    found = Web()
    yield found
    found.server.shutdown()
    found.server.server_close()


def names(source: str) -> list[str]:
    return [i.name for i in list_images(source)]


# ---------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("s3://b/a b/ü#1?.jpg", "s3://b/a b/ü#1?.jpg", "s3://b/a b/ü#1?.jpg"),
        ("s3://b/a%20b.jpg", "s3://b/a%20b.jpg", "s3://b/a%20b.jpg"),
        ("https://h/a%20b/%C3%BC.jpg?" + SECRET + "#f", "https://h/a b/ü.jpg", "https://h/a%20b/%C3%BC.jpg"),
        ("https://me:pass@h:8/x.jpg", "https://h:8/x.jpg", "https://h:8/x.jpg"),
        ("sftp://me:pass@h/x.jpg", "sftp://h/x.jpg", "sftp://h/x.jpg"),
        ("abfs://container@account.net/x.jpg", *2 * ("abfs://container@account.net/x.jpg",)),
        ("https://h/../../etc/passwd.jpg", "https://h/etc/passwd.jpg", "https://h/../../etc/passwd.jpg"),
        ("/local/a?b.jpg", "/local/a?b.jpg", "/local/a?b.jpg"),
    ],
)
def test_addresses(url: str, address: str, shown: str) -> None:
    assert (urls.address(url), urls.shown(url)) == (address, shown)


@pytest.mark.parametrize(
    ("manifest", "entry", "url"),
    [
        ("s3://b/m/list.txt", "s/a b.jpg", "s3://b/m/s/a b.jpg"),
        ("s3://b/m/list.txt", "../x?#.jpg", "s3://b/x?#.jpg"),
        ("s3://b/list.txt", "/x.jpg", "s3://b/x.jpg"),
        (f"https://h/m/list.txt?{SECRET}", "a%20b.jpg?v=2", "https://h/m/a%20b.jpg?v=2"),
    ],
)
def test_relative_entries(manifest: str, entry: str, url: str) -> None:
    assert urls.beside(manifest, entry) == url


# ------------------------------------------------------------------------------------------------ listing


def test_a_folder_is_listed_as_the_same_folder_here(tmp_path: Path, memory: Callable[..., None]) -> None:
    keys = (
        *("a.jpg", "a/1.jpg", "a/2/deep.PNG", "a b/ü#1.jpg", "a-b/x?.jpg", "b[1].jpg", "z.jpg"),
        *(".hidden.jpg", ".git/x.jpg", "a/.hid/y.jpg", "notes.md", "a/raw.heic"),
    )
    for key in keys:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(b"x")
    memory(*(f"set/{key}" for key in keys), "other/o.jpg", "set-2/o.jpg")
    here, there = Counter[str](), Counter[str]()
    expected = [i.name for i in list_images(str(tmp_path), here)]
    for source in ("memory://bucket/set", "memory://bucket/set/"):
        there.clear()
        listed = list(list_images(source, there))
        assert [i.name for i in listed] == expected
        assert there == here
        assert {i.bytes for i in listed} == {1}
        assert listed[0].uri == "memory://bucket/set/a b/ü#1.jpg"
        assert content(listed[0].uri) == b"x"


def test_globs(memory: Callable[..., None]) -> None:
    memory("p/a.jpg", "p/b.png", "p/x/c.jpg", "p/x/y/d.jpg", "p/x/.h/e.jpg", "p/t.txt", "odd[1]/a.jpg")
    assert names("memory://bucket/p/*.jpg") == ["a.jpg"]
    assert names("memory://bucket/p/**/*.jpg") == ["a.jpg", "x/c.jpg", "x/y/d.jpg"]
    assert names("memory://bucket/p/x/**") == ["c.jpg", "y/d.jpg"]
    assert names("memory://bucket/*/?.[jp]*g") == ["odd[1]/a.jpg", "p/a.jpg", "p/b.png"]
    assert names("memory://bucket/odd[1]") == ["a.jpg"], "a folder of that name comes before a glob"
    assert names("memory://bucket/p/a.jpg") == ["a.jpg"]


def test_manifests(tmp_path: Path, memory: Callable[..., None]) -> None:
    """Nothing is asked for before it is opened: these hosts do not exist."""
    memory("m/list.txt", data=b"b.jpg\ns/a.jpg\n")
    assert list(list_images("memory://bucket/m/list.txt")) == [
        Listed("b.jpg", "memory://bucket/m/b.jpg", 0),
        Listed("s/a.jpg", "memory://bucket/m/s/a.jpg", 0),
    ]

    local = tmp_path / "job.manifest"

    def manifest(*refs: str) -> list[str]:
        local.write_text("".join(json.dumps({"source-ref": ref, "label": 1}) + "\n" for ref in refs))
        return names(str(local))

    assert manifest("s3://b/set/y.jpg", "s3://b/set/deep/x.jpg") == ["deep/x.jpg", "y.jpg"]
    assert manifest("s3://b1/x.jpg", "gs://b2/x.jpg") == ["b1/x.jpg", "b2/x.jpg"]
    (tmp_path / "here.jpg").write_bytes(b"x")
    assert manifest("here.jpg", "s3://b/x.jpg")[0] == "b/x.jpg"
    signed = f"https://none.invalid/set/a%20b.jpg?{SECRET}"
    assert manifest(signed, "https://none.invalid/set/c.jpg") == ["a b.jpg", "c.jpg"]
    assert next(list_images(str(local))).uri == signed


@pytest.mark.parametrize(
    ("source", "lines", "says"),
    [
        ("memory://bucket/none", "", "memory://bucket/none/ can't be listed: there is no such object"),
        ("memory://bucket/m/none.txt", "", "memory://bucket/m/none.txt: there is no such object"),
        ("memory://bucket/m/none.jpg", "", "there is no such object; give a folder"),
        ("memory://bucket/m/*.jpg", "", "no images match memory://bucket/m/\\*.jpg"),
        ("memory://bucket/m/**a.jpg", "", r"write \*\* for whole folders"),
        ("memory://b*/m.jpg", "", "write out the bucket"),
        ("memory://bucket/m", "", "no images below memory://bucket/m .skipped 1 file"),
        ("memory://bucket/m/list.txt", "file:///etc/x.jpg", "line 1 names a local file"),
        ("memory://bucket/m/list.txt", "\n\n", "no images in the manifest"),
        ("memory://bucket/m/list.txt", f"https://h/a.jpg?{SECRET}\nhttps://h/a.jpg?v=2", "line 2.*its own path"),
        ("memory://bucket/m/list.txt", "a.jpg\n./a.jpg", r"line 2: \./a\.jpg is listed twice \(line 1\); remove one"),
        (f"https://h/folder/?{SECRET}", "", "https://h/folder/: a web server does not list its files"),
    ],
)
def test_what_can_not_be_listed(memory: Callable[..., None], source: str, lines: str, says: str) -> None:
    memory("m/list.txt", data=lines.encode())
    with pytest.raises(SourceError, match=says) as e:
        list_images(source)
    assert "secret" not in str(e.value)
    assert "\n" not in str(e.value)


def test_listing_streams(memory: Callable[..., None]) -> None:
    memory("a/1.jpg", "z/2.jpg")
    listed = list_images("memory://bucket")
    assert next(listed).name == "a/1.jpg"
    memory("z/3.jpg")
    assert [i.name for i in listed] == ["z/2.jpg", "z/3.jpg"]


def test_keys_out_of_order_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are numbered in the order of names, so that a run from a bucket equals one from a folder."""
    monkeypatch.setattr(buckets, "objects", lambda folder, start="": iter([("b.jpg", 1, ""), ("a.jpg", 1, "")]))
    with pytest.raises(SourceError, match="manifest"):
        list(list_images("s3://bucket/set"))


# ------------------------------------------------------------------------------------------------ reading


def test_an_image_is_the_same_from_anywhere(tmp_path: Path, memory: Callable[..., None], web: Web) -> None:
    local = Path(tiny_items(tmp_path, 1, 0)[0].uri)
    memory("a.png", data=local.read_bytes())
    web.answers["/a%20b.png"] = [(200, local.read_bytes())]
    for uri in ("memory://bucket/a.png", f"{web.url}/a b.png?{SECRET}", f"{web.url}/a%20b.png", local.as_uri()):
        assert content_hash(uri) == content_hash(str(local))
        assert header(uri) == header(str(local))
        assert open_image(uri).tobytes() == open_image(str(local)).tobytes()
    assert SECRET in web.queries
    assert web.asked == {"/a%20b.png": 2}, "each address is asked once"


def test_what_may_pass_is_tried_again(web: Web) -> None:
    web.answers["/a.jpg"] = [(503, b""), (429, b""), (-200, b"half"), (500, b""), (200, b"whole")]
    assert content(f"{web.url}/a.jpg") == b"whole"
    assert web.asked["/a.jpg"] == 5


@pytest.mark.parametrize(
    ("status", "error", "says", "tries"),
    [
        (404, BadImage, "there is no such object", 1),
        (410, BadImage, "there is no such object", 1),
        (403, BadImage, "access is denied; a signed URL may have expired", 1),
        (400, BadImage, "the server refuses it .HTTP 400", 1),
        (418, BadImage, "the server refuses it .HTTP 418", 1),
        (503, SourceError, "can't be read now .*run the same command again", retrying.TRIES),
        (-200, SourceError, "can't be read now .*run the same command again", retrying.TRIES),
    ],
)
def test_what_a_status_means(web: Web, status: int, error: type[Exception], says: str, tries: int) -> None:
    web.answers["/a.jpg"] = [(status, b"x")]
    with pytest.raises(error, match=says) as e:
        open_image(f"{web.url}/a.jpg?{SECRET}")
    assert web.asked["/a.jpg"] == tries
    assert "secret" not in str(e.value)
    with pytest.raises(SourceError) as e:
        list_images(f"{web.url}/a.jpg?{SECRET}")
    assert "secret" not in str(e.value)


@pytest.mark.parametrize(
    ("code", "status", "error", "says", "tries"),
    [
        ("NoSuchKey", 404, BadImage, "there is no such object", 1),
        ("NoSuchBucket", 404, BadImage, "there is no such bucket", 1),
        ("AccessDenied", 403, BadImage, "access is denied", 1),
        ("InvalidObjectState", 403, BadImage, "archive; restore it", 1),
        ("ExpiredToken", 400, SourceError, "s3://b/x.jpg: no valid credentials .* set AWS_PROFILE", 1),
        ("SignatureDoesNotMatch", 403, SourceError, "no valid credentials", 1),
        ("PermanentRedirect", 301, SourceError, "s3://b/x.jpg can't be read: .* no$", 1),
        ("SlowDown", 503, SourceError, "run the same command again", retrying.TRIES),
        ("RequestTimeout", 400, SourceError, "run the same command again", retrying.TRIES),
        ("InternalError", 500, SourceError, "run the same command again", retrying.TRIES),
    ],
)
def test_what_an_error_of_s3_means(code: str, status: int, error: type[Exception], says: str, tries: int) -> None:
    """As botocore raises it and s3fs translates it."""
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    asked = []

    def call() -> None:
        asked.append(1)
        response = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise translate_boto_error(ClientError(response, "GetObject"))

    with pytest.raises(error, match=says):
        retrying.tried("s3://b/x.jpg", call)
    assert len(asked) == tries


@pytest.mark.parametrize(
    ("cause", "error", "says"),
    [
        (ConnectionRefusedError("nobody listens"), SourceError, "can't be read now .*run the same command again"),
        (PermissionError("no"), BadImage, "access is denied"),
        (ValueError("what?"), BadImage, "there is no such object"),
    ],
)
def test_an_outage_that_is_told_as_a_missing_file_is_none(
    monkeypatch: pytest.MonkeyPatch, cause: Exception, error: type[Exception], says: str
) -> None:
    """As fsspec does over HTTP where it asks for a size first."""
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 0.0)

    def call() -> None:
        raise FileNotFoundError("https://h/x.csv") from cause

    with pytest.raises(error, match=says):
        retrying.tried("https://h/x.csv", call)


def test_many_denials_in_a_row_blame_no_image(web: Web) -> None:
    """Signatures run out at once: images put aside for it would be lost to the run."""
    web.answers |= {f"/{n}.jpg": [(403, b"")] for n in range(60)} | {"/10.jpg": [(200, b"x")]}
    for n in range(10 + 1 + remote.DENIED_IN_A_ROW):
        with suppress(BadImage):
            content(f"{web.url}/{n}.jpg")
    with pytest.raises(SourceError, match=r"20 images before it: access is denied.*run the same command again"):
        content(f"{web.url}/59.jpg")


def test_a_server_that_is_gone_blames_no_image() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        with pytest.raises(SourceError, match="can't be read now"):
            header(f"http://127.0.0.1:{taken.getsockname()[1]}/a.jpg")


def test_what_is_missing_to_read_a_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, protocol, extra in (("gcsfs", "gs", "gcs"), ("adlfs", "az", "azure")):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(MissingExtra, match=rf"{protocol}:// needs .*: pip install 'gtloop\[{extra}\]'"):
            list_images(f"{protocol}://bucket/set")
    with pytest.raises(SourceError, match="nonsense:// is not known"):
        list_images("nonsense://bucket/set")


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch, memory: Callable[..., None]) -> None:
    monkeypatch.setattr(remote, "KEPT_BYTES", 1000)
    memory(*(f"{n}.jpg" for n in range(20)), data=b"x" * 100)
    memory("big.jpg", data=b"x" * 3000)
    paths = [f"memory://bucket/{n}.jpg" for n in range(20)] * 3
    with ThreadPoolExecutor(8) as pool:
        assert {len(data) for data in pool.map(content, paths)} == {100}
    kept = remote._process.kept
    assert sum(map(len, kept._data.values())) == kept._bytes == 1000
    content("memory://bucket/big.jpg")
    assert list(kept._data) == ["memory://bucket/big.jpg"], "the last is kept, for whoever measures it next"


def test_reading_ahead_reads_once(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where what is kept holds fewer objects than are under way."""
    monkeypatch.setattr(remote, "KEPT_BYTES", 1600)
    web.answers |= {f"/{n}.jpg": [(200, b"x" * 100)] for n in range(40)}
    for thing in read_ahead([Listed(f"{n}", f"{web.url}/{n}.jpg", 0) for n in range(40)]):
        assert content(thing.uri) == content(thing.uri) == b"x" * 100
    assert set(web.asked.values()) == {1}


def test_reading_ahead_keeps_the_order(web: Web, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    things = [Listed(f"{n}", f"{web.url}/{n}.jpg", 0) for n in range(40)]
    web.answers |= {f"/{n}.jpg": [(503, b""), (200, b"x")] for n in range(40) if n != 7}  # which stays missing
    things[20:20] = [Listed("here", str(tmp_path / "a.jpg"), 1)]
    assert list(read_ahead(things)) == things
    assert web.asked["/7.jpg"] == 1
    assert web.asked["/8.jpg"] == 2
    web.answers["/39.jpg"] = [(503, b"")]
    remote._forget()
    with pytest.raises(SourceError, match="39"):
        list(read_ahead(things))


def _child(url: str) -> bytes:
    return content(url)


def test_a_forked_process_reads_too(web: Web) -> None:
    """It has the parent's file systems, but not the threads that they run in."""
    web.answers["/a.jpg"] = web.answers["/b.jpg"] = [(200, b"x")]
    assert content(f"{web.url}/a.jpg") == b"x"
    with remote._process.lock, multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_child, (f"{web.url}/b.jpg",)).get(timeout=60) == b"x"


def test_an_export_copies_what_is_behind_a_url(tmp_path: Path, memory: Callable[..., None]) -> None:
    memory("a.jpg", data=b"pixels")
    assert place_image("memory://bucket/a.jpg", tmp_path / "a.jpg", "copy")
    assert (tmp_path / "a.jpg").read_bytes() == b"pixels"
    assert not place_image("memory://bucket/none.jpg", tmp_path / "n.jpg", "copy")
    assert not place_image("memory://bucket/a.jpg", tmp_path / "l.jpg", "link")
    assert {p.name for p in tmp_path.iterdir()} == {"a.jpg"}
