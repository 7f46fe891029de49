"""Observer ``webhook``: who is told what, over real HTTP on loopback, whatever the other side does."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ports import free_port
from runs import cli, make_images, run_here, settings, small, spawn, status

import gtloop
from gtloop.errors import ConfigError
from gtloop.interfaces import Context, Plugin
from gtloop.registry import Registry
from gtloop.testing import ObserverContract
from gtloop.testing.history import history
from gtloop_plugins.annotators.synthetic import Synthetic
from gtloop_plugins.observers.webhook import OCCASIONS, Webhook, outbox


class Post(NamedTuple):
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw)
        return found


class Receiver:
    """A server that takes POSTs; ``answers`` are the codes of the first ones, all others get 200."""

    def __init__(self, *answers: int, port: int = 0) -> None:
        self.posts: list[Post] = []
        self.refused: list[Post] = []
        self.other: list[str] = []
        self.go = threading.Event()
        self.go.set()
        codes = list(answers)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                post = Post(dict(self.headers), self.rfile.read(int(self.headers["Content-Length"])))
                code = codes.pop(0) if codes else 200
                (receiver.posts if code == 200 else receiver.refused).append(post)
                receiver.go.wait()
                self.send_response(code)
                if 300 <= code < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def do_GET(self) -> None:
                receiver.other.append(self.path)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook/s3cr3t"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def told(self, what: str = "") -> list[dict[str, Any]]:
        return [p.body for p in self.posts if what in ("", p.body["event"])]

    def events(self) -> list[str]:
        return [body["event"] for body in self.told()]

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, and time enough on a busy machine to tell the last messages."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(outbox, "CLOSE_S", 60.0)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("source"), 40)[0]


REGISTRY = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
TASK = REGISTRY.build("task", "bbox", {}, Context(categories=("crate", "drum")))


def webhook(url: str, workdir: Path = Path("nowhere"), **options: Any) -> Webhook:
    made: Webhook = REGISTRY.build(
        "observer", "webhook", {"url": url, **options}, Context(run="mine", task=TASK, workdir=workdir)
    )
    return made


def tell_all(url: str, tmp_path: Path, **options: Any) -> None:
    """Let one webhook see the whole history of a run, and close it."""
    observer = webhook(url, tmp_path / "work", **options)
    for event, state in history():
        observer.observe(event, state)
    observer.close()


def hook(receiver: Receiver, **options: Any) -> list[str]:
    return [x for k, v in {"url": receiver.url, **options}.items() for x in ("-o", f"observers.webhook.{k}={v}")]


class TestWebhook(ObserverContract):
    plugin = Webhook

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _serve(cls) -> Iterator[None]:
        receiver = Receiver()
        cls.options = {"url": receiver.url}
        yield
        receiver.close()


# ------------------------------------------------------------------------------------------ occasions


def test_a_run_says_when_people_are_needed_and_when_it_is_done(
    receiver: Receiver, source: Path, tmp_path: Path
) -> None:
    ended = cli(*small(source, tmp_path / "photos", *hook(receiver)))
    assert ended.code == 0, ended.err
    batches = len(gtloop.open(tmp_path / "photos").state.facts.batches)
    assert receiver.events() == ["people"] * batches + ["done"]
    first, *_, last = receiver.told()
    assert first["text"] == "photos needs people: 5 images to answer (probe)"
    assert first["state"]["state"] == "waiting"
    found = status(tmp_path / "photos")
    assert last["text"] == f"photos is finished: {found['summary']}"
    assert last["run"] == "photos"
    assert last["state"]["items"] == found["items"]
    assert last["state"]["cost_usd"] == {**found["cost_usd"], "budget": None}
    assert last["state"]["certified"] == found["promise"]["certified"]
    assert {p.headers["Content-Type"] for p in receiver.posts} == {"application/json; charset=utf-8"}
    assert len({body["id"] for body in receiver.told()}) == len(receiver.posts)


def test_the_budget_is_told_when_it_is_nearly_gone_and_when_it_is(
    receiver: Receiver, source: Path, tmp_path: Path
) -> None:
    prices = ["-o", "prices.answer_usd=0.01"]  # 3 cents an image: 13 images
    more = [*hook(receiver, on="budget,paused", budget_at=0.5), *prices]
    ended = cli(*small(source, tmp_path / "run", *more, "--budget", "0.4"))
    assert ended.code == 4, ended.err
    assert receiver.events() == ["budget", "budget", "paused"]
    near, gone, paused = receiver.told()
    assert re.fullmatch(r"run has spent or promised \d+% of its budget of \$0.40", near["text"])
    assert near["state"]["cost_usd"]["budget"] == 0.4
    assert gone["text"] == "run has used up its budget: $0.01 is left, an image costs $0.03"
    assert paused["text"].startswith("run is paused: the budget of $0.40 ")

    assert cli(*small(source, tmp_path / "run", *more, "--budget", "0.4")).code == 4
    assert len(receiver.posts) == 3, "what was told is told again by another process"

    assert cli(*small(source, tmp_path / "run", *more, "--budget", "3")).code == 0
    assert len(receiver.posts) == 3, "there is plenty now"


def test_the_share_of_the_budget_is_told_once(receiver: Receiver, source: Path, tmp_path: Path) -> None:
    more = [*hook(receiver, on="budget", budget_at=0.1), "-o", "prices.answer_usd=0.01"]
    assert cli(*small(source, tmp_path / "run", *more, "--budget", "3")).code == 0
    assert receiver.events() == ["budget"]
    assert receiver.told()[0]["state"]["cost_usd"]["reserved"] > 0, "what is promised counts, not only what is paid"


class Paid(Synthetic):
    """Simulated people who are paid real money."""

    name = "paid"
    spends_money = True


def plugins(**hooks: type[Plugin]) -> types.ModuleType:
    module = types.ModuleType("more")
    for hook_name, cls in hooks.items():
        setattr(module, hook_name, gtloop.hookimpl(lambda cls=cls: [cls], specname=hook_name))
    return module


def test_a_yes_that_is_owed_is_told(receiver: Receiver, source: Path, tmp_path: Path) -> None:
    words = [*small(source, tmp_path / "run", *hook(receiver)), "--annotator", "paid"]
    ended = cli(*words, modules=[plugins(gtloop_annotators=Paid)])
    assert ended.code == 3, ended.err
    assert receiver.events() == ["people", "confirm"]
    assert "--yes" in receiver.told()[1]["text"]


def test_a_pause_and_an_end_by_hand_are_told(receiver: Receiver, source: Path, tmp_path: Path) -> None:
    words = small(source, tmp_path / "run", *hook(receiver, on="paused,done"), "--budget", "0.4")
    words = (*words, "-o", "prices.answer_usd=0.01")
    assert cli(*words).code == 4
    run = gtloop.open(tmp_path / "run")
    run.change(**{"run.budget_usd": 50.0})
    run.pause("lunch")
    cli(*words)
    run.cancel()
    cli(*words)
    texts = [body["text"].partition(": ")[::2] for body in receiver.told()]
    assert texts[1] == ("run is paused", "lunch")
    assert texts[2][0] == "run is cancelled"
    assert receiver.told()[2]["state"]["state"] == "cancelled"
    assert receiver.events() == ["paused", "paused", "done"]


# ------------------------------------------------------------------------------------------- delivery


def test_what_fails_is_sent_again(tmp_path: Path) -> None:
    receiver = Receiver(500, 503)
    try:
        tell_all(receiver.url, tmp_path, on="done")
        assert receiver.events() == ["done"]
        assert [p.raw for p in receiver.refused] == [receiver.posts[0].raw] * 2
    finally:
        receiver.close()


def test_a_server_that_comes_late_is_told(tmp_path: Path) -> None:
    port = free_port()
    observer = webhook(f"http://127.0.0.1:{port}/", on="done")
    observer.observe(*history()[-1])
    _until(lambda: bool(observer._outbox._thread and observer._outbox._queue.empty()))  # the first try is under way
    receiver = Receiver(port=port)
    try:
        observer.close()
        assert receiver.events() == ["done"]
    finally:
        receiver.close()


@pytest.mark.parametrize("code", [302, 307, 404])
def test_what_is_refused_for_good_is_not_sent_again(
    code: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(code)
    try:
        tell_all(receiver.url, tmp_path, on="done")
        assert (len(receiver.refused), receiver.posts, receiver.other) == (1, [], [])
    finally:
        receiver.close()
    (record,) = [r for r in caplog.records if r.name == "gtloop.webhook"]
    assert f"answers {code}" in record.getMessage()
    assert ("redirects" in record.getMessage()) == (code < 400)


def test_a_hanging_server_does_not_hold_the_run_up(
    receiver: Receiver, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "CLOSE_S", 1.0)
    receiver.go.clear()
    start = time.monotonic()
    ended = cli(*small(source, tmp_path / "run", *hook(receiver, timeout_s=60)))
    took = time.monotonic() - start
    assert ended.code == 0
    assert len(receiver.posts) == 1, "the first message hangs, the others wait for it"
    assert took < 60, f"{took:.1f} s: it waited for the answer to the first"
    assert "127.0.0.1 was not told in time, left out: " in ended.err
    assert "s3cr3t" not in ended.err


def test_messages_that_nobody_takes_are_left_out_not_piled_up(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "CLOSE_S", 0.1)
    receiver.go.clear()
    observer = webhook(receiver.url, on="done")
    for _ in range(outbox.QUEUE + 20):
        observer.observe(*history()[-1])
    assert observer._outbox._queue.qsize() <= outbox.QUEUE
    observer.close()
    assert sum("does not keep up" in r.getMessage() for r in caplog.records) in (19, 20)


def test_the_body_is_signed(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "between us")
    tell_all(receiver.url, tmp_path, secret_env="MY_SECRET")
    assert set(receiver.events()) == set(OCCASIONS) - {"confirm"}
    for post in receiver.posts:
        expected = hmac.new(b"between us", post.raw, hashlib.sha256).hexdigest()
        assert post.headers["X-Gtloop-Signature"] == f"sha256={expected}"
        assert b"between us" not in post.raw


@pytest.mark.slow
def test_after_a_crash_nothing_is_told_twice(receiver: Receiver, tmp_path: Path) -> None:
    """Killed again and again in the middle, the run tells each event at most once, and its end."""
    images, truth = make_images(tmp_path, 180)
    given = settings(images, truth, observers__webhook__url=receiver.url)
    root = tmp_path / "run"
    for kill_at in (4, 5, 7):
        child = spawn(root, given, kill_at)
        child.join(120)
        assert child.exitcode == -9
    run_here(root, given)
    ids = [body["id"] for body in receiver.told()]
    assert len(ids) == len(set(ids))
    assert receiver.events().count("done") == 1
    assert receiver.events()[-1] == "done"
    batches = gtloop.open(root).state.facts.batches
    assert 1 <= receiver.events().count("people") <= len(batches)
    run_here(root, given)
    assert len(receiver.posts) == len(ids), "a run that is finished has nothing to tell"


# ------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["webhok.url=http://h/"], "no observer named 'webhok'. Did you mean 'webhook'?"),
        (["webhook.urll=http://h/"], "observers.webhook.urll: unknown option"),
        (["webhook.on=people,lunch", "webhook.url=http://h/"], "observers.webhook.on.1: input should be 'people'"),
        (["webhook.budget_at=2", "webhook.url=http://h/"], "observers.webhook.budget_at"),
        (["webhook.on=done"], "name the address to tell, by url or url_env"),
        (["webhook.url=http://h/", "webhook.url_env=HOOK"], "by url or url_env (one of the two)"),
        (["webhook.url_env=NO_SUCH_VARIABLE"], "the environment variable NO_SUCH_VARIABLE is not set"),
        (["webhook.url=http://h/", "webhook.secret_env=NO_SUCH_VARIABLE"], "secret_env: the environment variable NO_"),
        *(
            ([f"webhook.url={url}"], "holds no http or https address")
            for url in (
                "file:///etc/passwd",
                "h/s3cr3t",
                "http://",
                "http://h:x/s3cr3t",
                "http://u:s3cr3t@h/",
                "http://h/s3 cr3t",
            )
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    options: list[str], said: str, source: Path, tmp_path: Path
) -> None:
    given = [x for option in options for x in ("-o", f"observers.{option}")]
    ended = cli(*small(source, tmp_path / "run", *given))
    assert ended.code == 2
    assert said in ended.error
    assert "cr3t" not in ended.error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_address_of_the_environment_is_written_nowhere(
    receiver: Receiver, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", receiver.url)
    monkeypatch.setenv("MY_SECRET", "between us")
    told = ["-o", "observers.webhook.url_env=HOOK", "-o", "observers.webhook.secret_env=MY_SECRET"]
    assert cli(*small(source, tmp_path / "run", *told)).code == 0
    assert receiver.events()[-1] == "done"
    monkeypatch.delenv("HOOK")  # who only looks needs no address
    assert cli("report", tmp_path / "run").code == 0
    for path in (p for p in (tmp_path / "run").rglob("*") if p.is_file()):
        for secret in (b"s3cr3t", b"between us"):
            assert secret not in path.read_bytes(), path


@pytest.mark.slow
def test_the_report_does_not_show_the_address(receiver: Receiver, source: Path, tmp_path: Path) -> None:
    assert cli(*small(source, tmp_path / "run", *hook(receiver, on="done"))).code == 0
    assert cli("report", tmp_path / "run").code == 0
    pages = [p.read_text("utf-8") for p in (tmp_path / "run").rglob("*.html")]
    assert pages
    assert all("s3cr3t" not in page for page in pages)
    assert any("observers.webhook.on" in page for page in pages)


def test_repr_and_faults_do_not_show_the_address(receiver: Receiver) -> None:
    assert "s3cr3t" not in repr(webhook(receiver.url).options)
    with pytest.raises(ConfigError) as e:
        webhook("ftp://h/s3cr3t")
    assert "s3cr3t" not in str(e.value)


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_log_names_the_host_only(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "WAITS_S", ())
    observer = webhook(f"http://127.0.0.1:{free_port()}/s3cr3t", on="done")
    with caplog.at_level(logging.WARNING, "gtloop.webhook"):
        observer.observe(*history()[-1])
        observer.close()
    (record,) = caplog.records
    assert "127.0.0.1 was not told, as it can't be reached" in record.getMessage()
    assert "s3cr3t" not in record.getMessage()
