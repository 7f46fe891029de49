"""Forms of third parties' tasks: points, lines, polygons, choices, texts, and a page of their own; hostile names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from desks import Desk, paint

from gtloop.interfaces import Form, Primitive

OpenDesk = Callable[..., Desk]
NAMES = ("nose", "left ear", "tail")
HOSTILE = "</script><img src=x onerror=\"document.body.id='taken'\"><b>" + "so long a name " * 12
OWN = """<!doctype html><p id="size">waiting</p><button id="go" disabled>It is 42</button><script>
addEventListener("message", (e) => {
  const picture = new Image();
  picture.onload = () => {
    const seen = `${picture.width} x ${picture.height} ${e.data.categories} ${location.pathname}`;
    document.getElementById("size").textContent = seen;
    document.getElementById("go").disabled = false;
  };
  picture.src = e.data.url;
});
document.getElementById("go").onclick = () => {
  let stolen = "";
  try { stolen = parent.document.querySelector("meta[name=csrf]").content } catch {}
  fetch("/api/form").then(() => { stolen += "fetched" }).catch(() => {}).finally(() =>
    parent.postMessage({ type: "gtloop:answer", payload: { answer: 42, stolen } }, "*"));
};
</script>"""


def form(*primitives: Primitive) -> dict[str, Any]:
    made = Form(task="third-party", instructions="Do what the form says.", primitives=primitives)
    return made.model_dump(mode="json")


def test_points_to_the_end_of_a_small_job(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    points = Primitive(kind="point", name="points", categories=NAMES, multiple=True)
    desk = open_desk(form=form(points), classes=NAMES)
    desk.submit(paint(desk.folder / "images", 3))
    desk.serve()
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    for place in ((50, 40), (90, 60), (130, 80)):  # after a point, the next category without one
        anna.click(*place)
    anna.drag((90, 60), (100, 70))
    anna.press("Enter")
    anna.next_after(task)
    task = anna.ready()
    anna.press("n", "Shift+ArrowRight", "n", "Escape", "Tab", "3", "Enter")  # by keys alone
    anna.next_after(task)
    task = anna.ready()
    anna.press("e")
    anna.next_after(task)
    anna.send()
    first, second, third = desk.wait(3)
    assert [p["category"] for p in first.payload["points"]] == list(NAMES)
    assert all(abs(a - b) < 1 for a, b in zip(first.payload["points"][1]["xy"], (100, 70), strict=True))
    assert [p["category"] for p in second.payload["points"]] == ["tail"]
    assert third.outcome == "empty"


def test_a_form_of_many_parts(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    parts = (
        Primitive(kind="polygon", name="outline", categories=("body",), multiple=True),
        Primitive(kind="polyline", name="spine", categories=("spine",), multiple=True),
        Primitive(kind="choice", name="pose", categories=("standing", "lying")),
        Primitive(kind="choice", name="seen", categories=("head", "feet"), multiple=True),
        Primitive(kind="text", name="remark"),
    )
    desk = open_desk(form=form(*parts), classes=["body", "spine"])
    desk.submit(paint(desk.folder / "images", 1))
    desk.serve()
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    for corner in ((40, 40), (140, 40), (140, 140), (90, 160)):
        anna.click(*corner)
    anna.press("Backspace", "Enter")  # takes back the last corner, closes
    anna.drag((140, 140), (150, 150))  # a corner
    anna.page.get_by_role("button", name="Draw spine").click()
    for corner in ((200, 60), (240, 80), (280, 60)):
        anna.click(*corner)
    anna.press("Enter", "Enter")  # ends the line; then: a choice is missing
    assert anna.ready() == task
    assert anna.page.locator("#toasts").get_by_text("Choose one for “pose”").is_visible()
    for name in ("lying", "feet", "head"):
        anna.page.get_by_role("button", name=name).click()
    anna.page.get_by_label("remark").fill("it sleeps, 1 e s")
    anna.press("Control+Enter")
    anna.next_after(task)
    anna.send()
    (payload,) = (a.payload for a in desk.wait(1))
    assert (payload["pose"], payload["seen"], payload["remark"]) == ("lying", ["head", "feet"], "it sleeps, 1 e s")
    (outline,), (spine,) = payload["outline"], payload["spine"]
    assert len(outline["xy"]) == 3
    assert all(abs(v - 150) < 1 for v in outline["xy"][2])
    assert spine["category"] == "spine"
    assert len(spine["xy"]) == 3


def test_a_page_of_its_own_stays_in_its_frame(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_desk(form=form(Primitive(kind="html", name="own", categories=NAMES, html=OWN)), classes=NAMES)
    desk.submit(paint(desk.folder / "images", 2))
    desk.serve()
    anna = visit(desk.links["Anna"])
    for _ in range(2):
        task = anna.ready()
        frame = anna.page.frame_locator("iframe")  # for a moment still with the page of the task before
        frame.get_by_text(f"320 x 240 nose,left ear,tail /frame/{task}").wait_for()
        frame.get_by_role("button", name="It is 42").click()
        anna.page.wait_for_selector("#actions .primary:not(.unready)")
        anna.page.get_by_role("button", name="Submit").click()
        anna.next_after(task)
    anna.send()
    assert [a.payload for a in desk.wait(2)] == [{"answer": 42, "stolen": ""}] * 2
    anna.faults.clear()  # the frame's attempts are refused, and the console says so


def test_hostile_names_are_text_and_break_nothing(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    classes = [HOSTILE, "fox"]
    desk = open_desk(task="bbox", classes=classes, instructions=HOSTILE * 5, options={"people": [HOSTILE[:80]]})
    paths = paint(desk.folder / "images", 2)
    desk.submit(paths)
    desk.spec["samples"] = [{"path": str(paths[0]), "caption": HOSTILE}]
    desk.serve()
    for tablet in (False, True):
        visitor = visit(desk.links[HOSTILE[:80]], guide=True, tablet=tablet)
        visitor.ready()
        if tablet:
            visitor.page.get_by_role("button", name="Got it").tap()
        visitor.drag((40, 40), (100, 100))
        assert visitor.page.locator("body#taken").count() == 0
        assert visitor.page.locator("#guide b, #panel b").count() == 0, "nothing of it became an element"
        wide = visitor.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], "the page does not scroll sideways"
        for name in ("Submit", "Nothing here", "Skip"):
            box = visitor.page.get_by_role("button", name=name).bounding_box()
            assert box
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= wide[1]
            assert box["height"] >= 40
