"""Segmentation in a real browser: brush, eraser, polygon, fill, void; exact pixels; a large image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from desks import Desk, paint

from gtloop import masks

OpenDesk = Callable[..., Desk]
CLASSES = ["road", "tree"]


def open_masks(open_desk: OpenDesk, n: int, size: tuple[int, int] = (320, 240), **request: Any) -> Desk:
    desk = open_desk(task="segmentation", classes=CLASSES)
    desk.submit(paint(desk.folder / "images", n, size), **request)
    desk.serve()
    return desk


def maps(desk: Desk, n: int) -> list[Any]:
    """Index maps of the answers: -1 nothing, -2 void."""
    from gtloop.labels import SegmentationLabel

    return [masks.to_map(SegmentationLabel.model_validate(a.payload), CLASSES) for a in desk.wait(n)]


def test_a_small_job_to_the_end(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_masks(open_desk, 2)
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    anna.press("p", "1")
    for corner in ((20, 20), (120, 20), (120, 100), (20, 100)):
        anna.click(*corner)
    anna.click(20, 20)  # the first corner again closes it
    anna.press("b", "2")
    anna.drag((200, 60), (280, 60), steps=8)
    anna.press("x")
    anna.drag((60, 60), (62, 60))
    anna.press("v")
    anna.drag((200, 200), (240, 200))
    anna.press("Enter")
    anna.next_after(task)
    task = anna.ready()
    anna.press("e")
    anna.next_after(task)
    anna.send()
    drawn, empty = maps(desk, 2)
    assert (empty == masks.BACKGROUND).all()
    polygon = masks.from_polygons([[20, 20, 120, 20, 120, 100, 20, 100]], (240, 320))
    road = drawn == 0
    assert not (road & ~polygon).any()
    hole = polygon & ~road
    radius = 5  # 320 / 60, rounded
    assert hole[60, 61]
    assert abs(hole.sum() - (np.pi * radius**2 + 2 * radius * 2)) < 15
    tree = drawn == 1
    assert tree[60, 200:280].all()
    assert not tree[60 + radius + 1].any()
    assert (drawn[200, 201:239] == masks.VOID).all()


def test_undo_redo_and_fill(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_masks(open_desk, 1)
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    anna.press("b", "1")
    anna.drag((60, 60), (160, 60), (160, 160), (60, 160), (60, 60), steps=10)
    anna.press("f", "2")
    anna.click(110, 110)  # inside the outline
    anna.press("Control+z", "Control+z")
    assert anna.objects() == []
    anna.press("Control+Shift+z", "Control+Shift+z", "k")
    anna.press("p", "2")
    for corner in ((40, 40), (180, 40), (180, 120), (40, 120)):
        anna.click(*corner)
    anna.press("Enter", "Enter")  # closes; sends
    anna.next_after(task)
    anna.send()
    (found,) = maps(desk, 1)
    assert found[110, 110] == 1
    assert found[60, 100] == 0, "free pixels only: the outline stays"
    assert found[45, 45] == 1
    assert found[200, 200] == masks.BACKGROUND
    assert found[140, 110] == 1


def test_a_proposal_is_corrected_and_the_rest_stays_exact(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    index = np.where(rng.random((240, 320)) < 0.5, 0, masks.BACKGROUND).astype(np.int16)
    index[:, 300:] = masks.VOID
    label = masks.from_map(index, CLASSES).model_dump(mode="json", exclude_none=True)
    desk = open_masks(open_desk, 1, mode="adjust", proposal=lambda path: label)
    anna = visit(desk.links["Rita"])
    task = anna.ready()
    anna.press("b", "2")
    anna.drag((100, 100), (150, 100))
    anna.press("Enter")
    anna.next_after(task)
    anna.send()
    (found,) = maps(desk, 1)
    assert (found[100, 100:150] == 1).all()
    assert np.array_equal(found[:90], index[:90])
    assert np.array_equal(found[112:], index[112:])


MEASURE = """async () => {
    const { view } = await (await import("/static/js/app.js")).app;
    const editor = view.tool;
    window.moves = [];
    for (const name of ["move", "hover"]) {
        const real = editor[name].bind(editor);
        editor[name] = (...given) => {
            const t = performance.now();
            real(...given);
            window.moves.push(performance.now() - t);
        };
    }
    const refresh = editor.tiles.refresh.bind(editor.tiles);
    window.frames = [];
    editor.tiles.refresh = () => { const t = performance.now(); refresh(); window.frames.push(performance.now() - t); };
}"""


@pytest.mark.slow
def test_a_stroke_on_a_4k_image_is_smooth(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_masks(open_desk, 1, (3840, 2160))
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    anna.press("b", "1")
    anna.page.evaluate(MEASURE)
    slow: dict[str, float] = {}
    for _ in range(4):  # the best of some: a busy machine is not the page's fault
        anna.page.evaluate("() => { moves.length = frames.length = 0; }")
        anna.drag((400, 400), (3400, 500), (3000, 1700), (600, 1500), steps=40)
        for what in ("moves", "frames"):
            took = sorted(anna.page.evaluate(what))
            middle, late = took[len(took) // 2], took[int(len(took) * 0.95)]
            print(f"{len(took)} {what}: median {middle:.2f} ms, p95 {late:.2f} ms")
            slow[what] = min(late, slow.get(what, late))
        if max(slow.values()) < 8:
            break
    assert max(slow.values()) < 8, f"they take {slow} ms; half of a frame of 16 ms is theirs"
    anna.press("Enter")
    anna.next_after(task)
    anna.send()
    (found,) = maps(desk, 1)
    assert found.shape == (2160, 3840)
    assert found[500, 3399] == 0
    assert (found == 0).mean() > 0.05


def test_masks_by_touch(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_masks(open_desk, 1)
    anna = visit(desk.links["Anna"], tablet=True)
    task = anna.ready()
    anna.page.get_by_role("button", name="tree").tap()
    with anna.fingers() as touch:
        touch.drag((60, 60), (120, 60), (180, 60))
        touch.pinch((100, 100), 50, 120)
    anna.page.get_by_role("button", name="Submit").tap()
    anna.next_after(task)
    anna.send()
    (found,) = maps(desk, 1)
    assert (found[60, 61:179] == 1).all()
    assert not (found[100:] == 1).any()
