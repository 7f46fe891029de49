"""Screenshots of every screen at both sizes: ``python tests/browser/shots.py FOLDER`` (needs ../shared/data).

Not a test: for looking at. ``python tests/browser/shots.py FOLDER boxes masks`` makes some of them only.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gtloop import masks
from gtloop.interfaces import Form, Primitive

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "e2e")]

from chromium import CHROMIUM, FLAGS  # noqa: E402
from conftest import LAPTOP, TABLET  # noqa: E402
from desks import Desk  # noqa: E402
from visitors import Visitor  # noqa: E402

LONG = "Ein unanständig langer Name mit </script><img src=x onerror=alert(1)> " + "donaudampfschifffahrt" * 6
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
STREETS = ["sky", "building", "road", "pavement", "tree", "car", "pedestrian"]
BREEDS = [f"breed {n:03d}" for n in range(1, 121)]


class Studio:
    """Takes pictures of what people see, on a laptop in light and a tablet in dark."""

    def __init__(self, browser: Any, folder: Path) -> None:
        self.browser, self.folder = browser, folder
        self._looks = (("laptop-light", {"viewport": LAPTOP}, "light"), ("tablet-dark", {"viewport": TABLET}, "dark"))
        self.other: dict[str, str] = {}

    def shoot(
        self, name: str, link: str, act: Callable[[Visitor], object], guide: bool = False, full: bool = False
    ) -> None:
        for look, context, scheme in self._looks:
            touch = look.startswith("tablet")
            made = self.browser.new_context(**context, color_scheme=scheme, has_touch=touch, is_mobile=touch)
            if not guide:
                made.add_init_script("localStorage.setItem('gtloop.guide', 'shut')")
            visitor = Visitor(made)
            visitor.join(self.other.get(link, link) if touch else link)
            act(visitor)
            visitor.page.evaluate("scrollTo(0, 0)")
            visitor.page.wait_for_timeout(350)
            visitor.page.screenshot(path=self.folder / f"{name}-{look}.png", full_page=full)
            made.close()
            print(name, look, visitor.faults or "")

    def page(self, name: str, url: str) -> None:
        for look, context, scheme in self._looks:
            made = self.browser.new_context(**context, color_scheme=scheme)
            page = made.new_page()
            page.goto(url)
            page.screenshot(path=self.folder / f"{name}-{look}.png")
            made.close()


@contextmanager
def desk(images: str, n: int, **spec: Any) -> Iterator[Desk]:
    request = {k: spec.pop(k) for k in ("mode", "proposal") if k in spec}
    with tempfile.TemporaryDirectory() as folder:
        made = Desk(Path(folder), **spec)
        paths = sorted(p for p in (SHARED / images).rglob("*") if p.suffix in (".jpg", ".png"))[:n]
        made.submit(paths, answers=2, **request)
        made.serve()
        try:
            yield made
        finally:
            made.stop()


def samples(*names: str) -> list[dict[str, Any]]:
    captions = ("The box touches fur on all four sides", "Too loose: much of it is background")
    return [
        {"path": str(SHARED / name), "caption": c, "good": n == 0}
        for n, (name, c) in enumerate(zip(names, captions, strict=False))
    ]


def boxes(studio: Studio) -> None:
    pictures = samples("raccoons/images/raccoon-1.jpg", "raccoons/images/raccoon-10.jpg")
    with desk("raccoons/images", 9, task="bbox", classes=["raccoon", "fox", "badger"], samples=pictures) as d:

        def two(v: Visitor) -> None:
            v.ready()
            v.drag((100, 60), (420, 380))
            v.drag((450, 40), (560, 200))
            v.press("2")
            v.move(500, 120)

        studio.page("join", d.links["Anna"])
        studio.page("join-owner", d.links["dashboard"])
        studio.page("error-401", d.links["Anna"] + "x")
        studio.shoot("boxes-guide", d.links["Anna"], Visitor.ready, guide=True)
        studio.other = {d.links["Anna"]: d.links["Ben"]}
        studio.shoot("boxes", d.links["Anna"], two)
        studio.shoot("help", d.links["Anna"], lambda v: [v.ready(), v.page.click("#help-button")])

        def undo(v: Visitor) -> None:
            task = v.ready()
            v.drag((100, 60), (220, 180))
            v.press("Enter")
            v.next_after(task)
            v.ready()

        studio.shoot("undo", d.links["Ben"], undo)

        def offline(v: Visitor) -> None:
            task = v.ready()
            v.until("work.ahead !== null")
            v.context.set_offline(True)
            for _ in range(2):
                task = v.ready()
                v.press("e")
                v.next_after(task)
            v.page.wait_for_timeout(4000)

        studio.shoot("offline", d.links["Ben"], offline)


def hostile(studio: Studio) -> None:
    with desk("raccoons/images", 4, task="bbox", classes=[LONG, LONG[::-1], "fox"], instructions=LONG * 3,
              options={"people": [LONG[:80]]}) as d:  # fmt: skip
        link = next(iter(d.links.values()))
        studio.page("hostile-join", link)
        studio.shoot("hostile", link, lambda v: [v.ready(), v.drag((100, 60), (420, 380))], guide=True)


def choice(studio: Studio) -> None:
    with desk("digits", 9, task="classification", classes=[str(n) for n in range(9)]) as d:
        studio.shoot("choice", d.links["Anna"], Visitor.ready)
    with desk("raccoons/images", 9, task="classification", classes=BREEDS) as d:
        studio.shoot(
            "choice-search",
            d.links["Anna"],
            lambda v: [v.ready(), v.press("/"), v.page.keyboard.type("ed 11")],
        )


def segmentation(studio: Studio) -> None:
    with desk("streets/images", 9, task="segmentation", classes=STREETS) as d:

        def paint(v: Visitor) -> None:
            v.ready()
            v.press("p", "1")
            for p in ((5, 5), (470, 5), (470, 90), (240, 140), (5, 60)):
                v.click(*p)
            v.press("Enter", "3")
            for p in ((5, 350), (200, 200), (280, 200), (475, 350)):
                v.click(*p)
            v.press("Enter", "b", "6")
            v.drag((60, 220), (150, 215), steps=8)
            v.press("v")
            v.drag((380, 160), (400, 230), steps=8)
            v.press("5")
            v.move(330, 180)

        studio.other = {d.links["Anna"]: d.links["Ben"]}
        studio.shoot("masks", d.links["Anna"], paint)


def forms(studio: Studio) -> None:
    names = ("nose", "left ear", "right ear", "tail")
    parts = (Primitive(kind="point", name="points", categories=names, multiple=True),
             Primitive(kind="polygon", name="outline", categories=("raccoon",), multiple=True),
             Primitive(kind="choice", name="pose", categories=("standing", "lying", "climbing")),
             Primitive(kind="text", name="remark"))  # fmt: skip
    form = Form(task="keypoints", instructions="Click every listed point that can be seen.", primitives=parts)
    with desk("raccoons/images", 9, form=form.model_dump(mode="json"), classes=list(names)) as d:

        def fill(v: Visitor) -> None:
            v.ready()
            for p in ((320, 235), (230, 110), (380, 110)):
                v.click(*p)
            v.press("Control+2")
            for p in ((200, 90), (420, 90), (470, 330), (150, 330)):
                v.click(*p)
            v.press("Enter")
            v.page.get_by_role("button", name="lying").click()

        studio.other = {d.links["Anna"]: d.links["Ben"]}
        studio.shoot("forms", d.links["Anna"], fill)


def review(studio: Studio) -> None:
    whole = {"boxes": [{"category": "raccoon", "xyxy": [90, 50, 430, 380]}]}
    for mode in ("verify", "adjust"):
        with desk(
            "raccoons/images", 4, task="bbox", classes=["raccoon", "fox"], mode=mode, proposal=lambda p: whole
        ) as d:
            studio.shoot(f"{mode}-boxes", d.links["Rita"], Visitor.ready)
    label = {"category": "raccoon"}
    with desk(
        "raccoons/images", 4, task="classification", classes=["raccoon", "fox"], mode="verify", proposal=lambda p: label
    ) as d:
        studio.shoot("verify-choice", d.links["Rita"], Visitor.ready)

    def regions(path: Path) -> Any:
        truth = np.asarray(Image.open(SHARED / "streets/masks" / f"{path.stem}.png"))
        table = np.full(256, masks.BACKGROUND, np.int16)
        table[[0, 1, 3, 4, 5, 8, 9]] = range(7)
        return masks.from_map(table[truth], STREETS).model_dump(mode="json", exclude_none=True)

    with desk("streets/images", 4, task="segmentation", classes=STREETS, mode="verify", proposal=regions) as d:
        studio.shoot("verify-masks", d.links["Rita"], Visitor.ready)


def screens(studio: Studio) -> None:
    with desk("digits", 1, task="classification", classes=["zero", "one"]) as d:
        d.local.cancel([f"draw-{p.stem}" for p in sorted((SHARED / "digits").rglob("*.png"))[:1]])
        studio.shoot("waiting", d.links["Anna"], lambda v: v.state("wait"))
        d.collect()
        anna = _worker(d, "Anna")
        d.local.block({anna: "three of your answers to test images were wrong"})
        studio.shoot("blocked", d.links["Anna"], lambda v: v.state("blocked"))


def _worker(d: Desk, name: str) -> str:
    import sqlite3

    with sqlite3.connect(Path(d.spec["folder"]) / "desk.sqlite") as c:
        return str(c.execute("SELECT id FROM person WHERE name = ?", (name,)).fetchone()[0])


def board(studio: Studio) -> None:
    """The dashboard of a run half way, and the screen of who comes when it is over."""
    import runs

    with tempfile.TemporaryDirectory() as folder:
        images, truth = runs.make_images(Path(folder), 180)
        given, root = runs.settings(images, truth), Path(folder) / "run"
        child = runs.spawn(root, given, kill_at=20)
        child.join()
        with desk("raccoons/images", 30, task="bbox", classes=["raccoon"], run=str(root)) as d:

            def work(v: Visitor) -> None:
                for _ in range(4):
                    task = v.ready()
                    v.press("e")
                    v.next_after(task)
                    v.send()

            studio.shoot("working", d.links["Anna"], work)

            def invite(v: Visitor) -> None:
                v.page.wait_for_timeout(1500)
                v.page.get_by_label("Name").fill(f"Zoe {v.page.viewport_size['width']}")
                v.page.get_by_role("button", name="Invite").click()
                v.page.wait_for_timeout(2500)

            studio.shoot("dashboard", d.links["dashboard"], invite, full=True)
        runs.run_here(root, given)
        with desk("digits", 1, task="bbox", classes=["raccoon"], run=str(root)) as d:
            d.local.cancel([f"draw-{p.stem}" for p in sorted((SHARED / "digits").rglob("*.png"))[:1]])
            studio.shoot("done", d.links["Anna"], lambda v: v.state("done"))
            studio.shoot("dashboard-finished", d.links["dashboard"], lambda v: v.page.wait_for_timeout(1500), full=True)


SCENES = {f.__name__: f for f in (boxes, hostile, choice, segmentation, forms, review, screens, board)}


def main() -> None:
    from playwright.sync_api import sync_playwright

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name in sys.argv[2:] or SCENES:
            SCENES[name](Studio(browser, folder))
        browser.close()


if __name__ == "__main__":
    main()
