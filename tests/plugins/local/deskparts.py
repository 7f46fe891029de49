"""Parts of the tests of annotator ``local``: desks over tiny images, real server processes, and people at them.

Run as a program, it serves the desk of a folder until it is stopped: ``deskparts.py FOLDER PORT [TASK]``.
"""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from gtloop.images import open_image
from gtloop.interfaces import Context, Form, Task
from gtloop.records import Answer, Closed, Item, Request
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES, tiny_items
from gtloop_plugins.annotators.local import Local
from gtloop_plugins.annotators.local.guard import Limiter
from gtloop_plugins.annotators.local.site import Address, Site

HOST = "127.0.0.1:8765"
BOX = {"boxes": [{"category": "crate", "xyxy": [1.0, 2.0, 30.0, 40.0]}]}


def make_local(folder: Path, task: str = "bbox", form: Form | None = None, **options: Any) -> Local:
    """A desk in ``folder/desk``, of a built-in task or of a form that nobody parses."""
    plugin: Task | None = None
    if form is None:
        registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
        plugin = registry.build("task", task, {}, Context(categories=CATEGORIES))
        form = plugin.form()
    context = Context(categories=CATEGORIES, workdir=folder / "desk", form=form, task=plugin, price_per_answer=7)
    return Local(Local.Options(**options), context)


def make_requests(folder: Path, n: int, answers: int = 1, first: int = 0, **fields: Any) -> list[Request]:
    """Requests of tiny images."""
    items = tiny_items(folder / "images", first + n)[first:]
    return [Request(id=f"request-{item.row}", item=item, answers=answers, **fields) for item in items]


def gather(local: Local) -> tuple[list[Answer], list[Closed]]:
    """All that a driver who starts from nothing gets."""
    answers: list[Answer] = []
    closed: list[Closed] = []
    cursor = ""
    while True:
        got = local.collect(cursor, 0)
        if not got.answers and not got.closed:
            return answers, closed
        answers += got.answers
        closed += got.closed
        cursor = got.cursor


class Visitor:
    """Somebody with a browser: keeps the cookie, and sends the CSRF token of the page."""

    def __init__(self, client: Any, link: str, holding: Sequence[str] = ()) -> None:
        self.http, self.holding = client, list(holding)
        self.joined = client.post("/join", data={"token": link.rsplit("/", 1)[1]})
        self.csrf = ""
        if self.joined.status_code in (200, 303):
            page = client.get("/")
            found = re.search(r'name="csrf" content="(\w+)"', page.text)
            assert found, page.text
            self.csrf = found[1]

    def get(self, path: str, **more: Any) -> Any:
        return self.http.get(path, **more)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        given = {"X-CSRF-Token": self.csrf, **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.http.post(path, json={} if body is None else body, headers=given)

    def next(self, *holding: str) -> dict[str, Any]:
        found = self.post("/api/next", {"holding": list(holding)})
        assert found.status_code == 200, found.text
        return dict(found.json())

    def task(self, *holding: str) -> dict[str, Any]:
        found = self.next(*holding)
        assert found["state"] == "task", found
        return dict(found["task"])

    def say(self, task: str, payload: Any = BOX, outcome: str = "label", seconds: float = 2.5) -> Any:
        body = {"task": task, "outcome": outcome, "payload": payload, "active_seconds": seconds}
        return self.post("/api/submit", body)


def site_of(local: Local, **more: Any) -> Site:
    """The page of a desk, at the usual address."""
    return local.site(Address("127.0.0.1", 8765, **more))


@contextmanager
def page(local: Local, site: Site | None = None) -> Iterator[Any]:
    """The whole application, guard and all, without a socket; gives what makes a new browser."""
    from starlette.testclient import TestClient

    from gtloop_plugins.annotators.local.server import guarded

    app = guarded(site or site_of(local))
    app._limiter = Limiter(1e6, 1e6)  # type: ignore[attr-defined]  # tests are faster than people
    yield lambda: TestClient(app, base_url=f"http://{HOST}", follow_redirects=False, raise_server_exceptions=False)


def links_of(local: Local, url: str = f"http://{HOST}") -> dict[str, str]:
    return dict(local._links(url))


def row_of(data: bytes, items: Sequence[Item]) -> int:
    """Which of the tiny images it is that somebody sees."""
    from PIL import Image

    seen = Image.open(io.BytesIO(data)).convert("RGB").tobytes()
    return next(item.row for item in items if open_image(item.uri).tobytes() == seen)


class Server:
    """A real server process; ``links`` are the personal ones that it prints."""

    def __init__(self, folder: Path, port: int = 0, task: str = "bbox") -> None:
        from ports import free_port  # in tests/e2e, where the program does not look

        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder), str(port or free_port()), task], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        lines = [self._process.stdout.readline()]
        while lines[-1] and not lines[-1].startswith("dashboard"):
            lines.append(self._process.stdout.readline())
        self.links = dict(line.strip().split(": ", 1) for line in lines if line)
        assert "dashboard" in self.links, f"the server did not start: exit {self._process.wait(10)}"
        self.url = self.links["dashboard"].split("/join/")[0]

    def visitor(self, who: str) -> Visitor:
        return Visitor(httpx.Client(base_url=self.url, timeout=30), self.links[who])

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait for the end."""
        self._process.send_signal(number)
        try:
            return self._process.wait(60)
        finally:
            self._process.kill()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill(signal.SIGTERM)


PEOPLE = tuple(f"p{k}" for k in range(8))


def main() -> None:
    folder, port, task = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    local = make_local(folder, task, people=PEOPLE, reviewers=("rita",))
    local.serve(None, host=None, port=port, ready=lambda text: print(text, flush=True))


def until(condition: Any, seconds: float = 60.0) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


if __name__ == "__main__":
    main()
