"""People in front of the page: a browser tab driven by mouse, keys and touch, in pixels of the image."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

PATIENCE_S = 60.0
APP = "/static/js/app.js"
WHERE = """async () => {
    const { view } = await (await import("/static/js/app.js")).app;
    const box = view.container.getBoundingClientRect();
    return [view.scale, view.stage.x() + box.left, view.stage.y() + box.top];
}"""


class Visitor:
    """Somebody with a personal link.

    Attributes:
        page: The tab, at the labelling page (or the dashboard) once ``join`` returns.
        faults: What the browser's console complained about.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.page: Page = context.new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda m: self.faults.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.faults.append(f"{e}\n{e.stack or ''}"))

    def join(self, link: str) -> None:
        self.page.goto(link)
        self.page.click("main button")
        self.page.wait_for_url(lambda url: "/join" not in url)

    def ready(self) -> str:
        """Wait for a task; its opaque id."""
        self.page.wait_for_selector("body[data-state=task]")
        found: str = self.page.evaluate(
            "async () => (await (await import('/static/js/app.js')).app).work.current.task.id"
        )
        return found

    def next_after(self, task: str) -> None:
        """Wait until another task is shown, or none."""
        self.until(f"work.current?.task.id !== '{task}'")

    def until(self, holds: str) -> None:
        """Wait until something holds of the page's parts (``work``, ``bench``, ``outbox``)."""
        script = (
            f"async () => {{ const {{ work, bench, outbox }} = await (await import('{APP}')).app; return {holds} }}"
        )
        deadline = time.monotonic() + PATIENCE_S
        while not self.page.evaluate(script):
            assert time.monotonic() < deadline, f"it never came to: {holds}"
            time.sleep(0.02)

    def send(self) -> None:
        """Let the last answer go without the moment in which it can be taken back."""
        self.page.evaluate("""async () => {
            const { outbox } = await (await import("/static/js/app.js")).app;
            for (const entry of outbox.entries) entry.due = 0;
            outbox.pump();
        }""")

    @contextmanager
    def unhurried(self) -> Iterator[None]:
        """What the page waits for from now on takes 20 times as long: a busy machine is slower than people who undo."""
        self.page.evaluate("""() => {
            window.hurried = window.setTimeout;
            window.setTimeout = (run, ms = 0, ...given) => window.hurried(run, 20 * ms, ...given);
        }""")
        yield
        self.page.evaluate("() => { window.setTimeout = window.hurried; }")

    def state(self, name: str, timeout: float = 60_000) -> None:
        self.page.wait_for_selector(f"body[data-state={name}]", timeout=timeout)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the image is on the screen."""
        scale, left, top = self.page.evaluate(WHERE)
        return left + x * scale, top + y * scale

    def move(self, x: float, y: float) -> None:
        self.page.mouse.move(*self.at(x, y))

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.at(x, y))

    def drag(self, *points: tuple[float, float], steps: int = 4) -> None:
        """Press at the first point, go to the others, release."""
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=steps)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def objects(self) -> list[dict[str, Any]]:
        """What is drawn now."""
        script = "async () => (await (await import('/static/js/app.js')).app).bench.active.value()"
        found: list[dict[str, Any]] = self.page.evaluate(script)
        return found

    @contextmanager
    def fingers(self) -> Iterator[Touch]:
        """Real touch events, through the browser's protocol."""
        session = self.context.new_cdp_session(self.page)
        yield Touch(session, self)
        session.detach()


class Touch:
    """Fingers on the screen; points are pixels of the image."""

    def __init__(self, session: Any, visitor: Visitor) -> None:
        self._session, self._visitor = session, visitor

    def _send(self, kind: str, points: Sequence[tuple[float, float]]) -> None:
        touches = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    def drag(self, *points: tuple[float, float]) -> None:
        places = [self._visitor.at(*p) for p in points]
        self._send("touchStart", places[:1])
        for place in places[1:]:
            self._send("touchMove", [place])
        self._send("touchEnd", [])

    def pinch(self, about: tuple[float, float], start: float, end: float) -> None:
        """Two fingers either side of a point of the screen's picture, ``start`` then ``end`` screen pixels away."""
        x, y = self._visitor.at(*about)
        self._send("touchStart", [(x - start, y)])
        self._send("touchStart", [(x - start, y), (x + start, y)])
        for step in range(1, 6):
            away = start + (end - start) * step / 5
            self._send("touchMove", [(x - away, y), (x + away, y)])
        self._send("touchEnd", [])
