"""Participants: they take what is offered, open its URL at the page, label what they see, and hand in their code."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emulator import Emulator
from gtloop.images import open_image
from gtloop.interfaces import Context
from gtloop.records import Answer, Closed, Item, Request, Settlement
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth
from gtloop_plugins.annotators.local.guard import Limiter
from gtloop_plugins.annotators.local.server import guarded
from gtloop_plugins.annotators.local.site import Address
from PIL import Image

from gtloop_prolific.annotator import Prolific, page_of

PAGE = "http://127.0.0.1:8765"
FAST: dict[str, Any] = {
    "public_url": PAGE,
    "confirm_usd": 1000,
    "images": 3,
    "seconds_per_image": 60,
    "least_hour": 12,
    "timeout_s": 5,
    "patience_s": 20,
    "poll_s": 0,
}


def build(folder: Path, emulator: Emulator, task: str = "bbox", price: int = 200_000, **options: Any) -> Prolific:
    """An annotator on a folder."""
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    made: Any = registry.build("task", task, registry.options("task", task, {}, "test"), Context(categories=CATEGORIES))
    folder.mkdir(parents=True, exist_ok=True)
    context = Context(categories=CATEGORIES, workdir=folder, task=made, form=made.form(), price_per_answer=price)
    return Prolific(Prolific.Options(**{**FAST, "endpoint": emulator.url, **options}), context)


def requests(folder: Path, n: int, answers: int = 1, **more: Any) -> list[Request]:
    return [Request(id=f"r{i.row}", item=i, answers=answers, **more) for i in tiny_items(folder / "images", n)]


@contextmanager
def served(annotator: Prolific) -> Iterator[Any]:
    """The page without a socket; gives what makes a new browser."""
    from starlette.testclient import TestClient

    app = guarded(page_of(annotator).site(Address("127.0.0.1", 8765)))
    app._limiter = Limiter(1e6, 1e6)  # type: ignore[attr-defined]  # tests are faster than people
    yield lambda: TestClient(app, base_url=PAGE, follow_redirects=False, raise_server_exceptions=False)


class Participant:
    """Somebody who opened a study's URL; ``page`` is what they saw first, ``in_`` whether there is work for them."""

    def __init__(self, client: Any, url: str) -> None:
        self.http, self.csrf = client, ""
        shown = client.get(url.removeprefix(PAGE))
        self.status, self.page = shown.status_code, shown.text
        token = re.search(r'name="token" value="([^"]+)"', shown.text)
        self.in_ = token is not None
        if token:
            assert client.post("/join", data={"token": token[1]}).status_code == 303
            found = re.search(r'name="csrf" content="(\w+)"', client.get("/").text)
            assert found
            self.csrf = found[1]

    def post(self, path: str, body: Any) -> Any:
        return self.http.post(path, json=body, headers={"X-CSRF-Token": self.csrf})

    def next(self) -> dict[str, Any]:
        said = self.post("/api/next", {"holding": []})
        assert said.status_code == 200, said.text
        return dict(said.json())

    def say(self, task: dict[str, Any], payload: Any, outcome: str = "label") -> None:
        body = {"task": task["id"], "outcome": outcome, "payload": payload, "active_seconds": 1.0}
        said = self.post("/api/submit", body)
        assert said.status_code == 200, said.text

    @property
    def code(self) -> str:
        """The code on the page that turned them away."""
        found = re.search(r'class="code">(\w+)<', self.page)
        assert found, self.page
        return found[1]


class Crew:
    """Participants who know the truth of the tiny images."""

    def __init__(
        self, emulator: Emulator, items: Sequence[Item], task: str = "bbox", prefix: str = "p", name: str = ""
    ) -> None:
        truths = tiny_truth(task, max(i.row for i in items) + 1)
        assert truths is not None
        self.emulator, self.truths = emulator, truths
        self._rows = {open_image(i.uri).tobytes(): i.row for i in items}
        self._prefix, self._name, self._people = prefix, name, 0

    def work(self, browser: Any, most: int = 1000, outcome: str = "label") -> int:
        """Take what is offered until nothing is; returns the number of submissions that ended with a code."""
        done = 0
        while done < most and (offered := self.emulator.offered(self._name)):
            self._people += 1
            taken = self.emulator.take(f"{self._prefix}{self._people:019d}", offered[0])
            assert taken is not None
            who = Participant(browser(), taken[1])
            if not who.in_:
                self.emulator.complete(taken[0], who.code)
                break  # others are turned away as well, until the annotator looks
            end = self.do(who, outcome=outcome)
            self.emulator.complete(taken[0], end["leave"]["code"])
            done += 1
        return done

    def do(self, who: Participant, most: int = 1000, outcome: str = "label") -> dict[str, Any]:
        """Label up to ``most`` images; returns what is said then."""
        for _ in range(most):
            found = who.next()
            if found["state"] != "task":
                return found
            task = found["task"]
            shown = who.http.get(task["image"])
            assert shown.status_code == 200, shown.text
            seen = Image.open(io.BytesIO(shown.content)).convert("RGB").tobytes()
            truth = self.truths[self._rows[seen]]
            who.say(task, truth if outcome == "label" else None, outcome)
        return who.next()


class Driver:
    """What core does with an annotator: asks, collects, and settles."""

    def __init__(self, annotator: Prolific) -> None:
        self.annotator, self.cursor = annotator, ""
        self.answers: dict[str, Answer] = {}
        self.closed: dict[str, Closed] = {}

    def look(self, times: int = 1) -> None:
        """Whole looks."""
        for _ in range(times):
            while True:
                got = self.annotator.collect(self.cursor, 20.0)
                self.answers.update((a.id, a) for a in got.answers)
                self.closed.update((c.request, c) for c in got.closed)
                moved, self.cursor = got.cursor != self.cursor, got.cursor
                if not moved:
                    break

    @property
    def cost(self) -> int:
        return sum(a.price for a in self.answers.values())


def begin(
    folder: Path, emulator: Emulator, n: int = 6, answers: int = 1, **options: Any
) -> tuple[Driver, Crew, list[Request]]:
    """An annotator that was asked, and has looked once."""
    annotator = build(folder / "work", emulator, **options)
    asked = requests(folder, n, answers)
    annotator.submit(asked)
    driver = Driver(annotator)
    driver.look()
    return driver, Crew(emulator, [r.item for r in asked]), asked


def judge(driver: Driver, rejected: Collection[str] = ()) -> None:
    """Have all answers paid but those."""
    driver.annotator.settle(
        [
            Settlement(answer=a.id, request=a.request, worker=a.worker,
                       verdict="reject" if a.id in rejected else "pay", reason="Boxes are missing.")
            for a in driver.answers.values() if a.outcome != "declined"
        ]
    )  # fmt: skip
