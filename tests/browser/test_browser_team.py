"""Several people, a bad network, reloads, lost leases: nothing is lost, nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from desks import Desk, paint

OpenDesk = Callable[..., Desk]
Visit = Callable[..., Any]


@pytest.fixture
def boxes(open_desk: OpenDesk) -> Callable[..., Desk]:
    def make(n: int, **options: Any) -> Desk:
        desk = open_desk(task="bbox", classes=["raccoon"], options=options)
        desk.submit(paint(desk.folder / "images", n))
        desk.serve()
        return desk

    return make


def test_two_people_side_by_side_never_have_the_same_image(boxes: Callable[..., Desk], visit: Visit) -> None:
    desk = boxes(8)
    people = [visit(desk.links[name]) for name in ("Anna", "Ben")]
    for round_ in range(4):
        tasks = [person.ready() for person in people]
        for person, task in zip(people, tasks, strict=True):
            person.drag((20 + round_, 20), (90, 80))
            person.press("Enter")
            person.next_after(task)
    for person in people:
        person.send()
    found = desk.wait(8)
    assert len({a.request for a in found}) == 8
    assert sorted(sum(a.worker == w for a in found) for w in {a.worker for a in found}) == [4, 4]
    for person in people:
        person.state("wait")


def test_old_drawings_are_forgotten_and_new_ones_kept(boxes: Callable[..., Desk], visit: Visit) -> None:
    anna = visit(boxes(1).links["Anna"])
    anna.ready()
    keep = """async ([name, days]) => {
        const { work } = await (await import("/static/js/app.js")).app;
        await work.drafts.store.put(`draft/${name}`, { at: Date.now() - days * 86_400_000 });
    }"""
    for name, days in (("a", 20), ("b", 20), ("c", 1), ("d", 20)):
        anna.page.evaluate(keep, [name, days])
    anna.page.reload()
    anna.ready()
    keys = '(await work.drafts.store.run("readonly", (table) => table.getAllKeys()))'
    anna.until(f'{keys}.map((key) => key.at(-1)).join("") === "c"')


def test_a_reload_brings_the_drawing_back(boxes: Callable[..., Desk], visit: Visit) -> None:
    desk = boxes(3)
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    anna.drag((40, 30), (120, 90))
    anna.drag((150, 100), (200, 160))
    drawn = anna.objects()
    anna.press("Escape")
    anna.page.reload()
    assert anna.ready() == task
    assert anna.objects() == drawn
    # The server has it too, a little later: another browser of the same person goes on with it.
    with anna.page.expect_response("**/api/draft"):
        anna.drag((10, 10), (30, 30))
    anna.context.close()
    again = visit(desk.links["Anna"])
    assert again.ready() == task
    assert len(again.objects()) == 3


def test_without_a_network_nothing_is_lost(boxes: Callable[..., Desk], visit: Visit) -> None:
    desk = boxes(4)
    anna = visit(desk.links["Anna"])
    first = anna.ready()
    anna.until("work.ahead !== null")
    anna.context.set_offline(True)
    anna.drag((40, 30), (120, 90))
    anna.press("Enter")
    anna.next_after(first)
    second = anna.ready()  # it was fetched ahead
    anna.drag((50, 50), (120, 90))
    anna.press("Enter")
    anna.next_after(second)
    anna.state("offline")
    anna.page.get_by_text("Offline · 2 kept here").wait_for()
    assert anna.page.get_by_text("2 answers wait here to be sent.").is_visible()
    assert desk.collect() == []
    anna.context.set_offline(False)
    third = anna.ready()
    assert third not in (first, second)
    assert [a.payload["boxes"][0]["xyxy"][0] for a in desk.wait(2)] == pytest.approx([40, 50], abs=1.5)
    anna.page.get_by_text("All sent").wait_for()


def test_answers_survive_a_closed_tab_and_a_dead_server(boxes: Callable[..., Desk], visit: Visit) -> None:
    desk = boxes(3)
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    desk.stop()
    anna.drag((40, 30), (120, 90))
    anna.press("Enter")
    anna.next_after(task)
    anna.send()
    anna.page.get_by_text("kept here").wait_for()
    anna.until("(await outbox.store.all('answer/')).length === 1")  # it is on the disk
    anna.page.goto("about:blank")
    desk.serve()
    anna.page.goto(desk.links["Anna"].split("/join")[0])
    (answer,) = desk.wait(1)
    assert len(answer.payload["boxes"]) == 1
    assert anna.ready() != task
    anna.faults.clear()  # refused connections


@pytest.mark.slow
def test_a_lease_that_ran_out_is_said_and_work_goes_on(boxes: Callable[..., Desk], visit: Visit) -> None:
    desk = boxes(2, lease_minutes=0.05)
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    anna.drag((40, 30), (120, 90))
    # Anna's machine sleeps; her two leases run out, and Ben gets the images.
    anna.page.evaluate("""async () => {
        const app = await (await import("/static/js/app.js")).app;
        app.work.asleep = app.work.renew;
        app.work.renew = async () => {};
        app.work.drafts.send = async () => {};
    }""")
    ben = visit(desk.links["Ben"])
    ben.ready()
    ben.until("work.ahead !== null")
    # His page renews leases as short as these too late.
    ben.page.evaluate("async () => { await (await (await import('/static/js/app.js')).app).work.renew(); }")
    anna.page.evaluate(
        "async () => { const { work } = await (await import('/static/js/app.js')).app; await work.asleep(); }"
    )
    banner = anna.page.locator("#banner")
    banner.get_by_text("somebody else may have it").wait_for()
    anna.press("Enter")  # she is first after all: it is still wanted
    anna.next_after(task)
    anna.send()
    assert len(desk.wait(1)) == 1
    ben_task = ben.ready()
    ben.press("e")
    ben.next_after(ben_task)
    ben.send()
    ben_task = ben.ready()
    ben.press("e")
    ben.next_after(ben_task)
    ben.send()
    assert {a.request for a in desk.wait(2)} == {"draw-picture-0", "draw-picture-1"}
    ben.page.locator("#toasts").get_by_text("An answer was not needed").wait_for()
    ben.faults.clear()  # the refusal's status
    anna.faults.clear()


def test_idle_time_does_not_count(boxes: Callable[..., Desk], visit: Visit) -> None:
    desk = boxes(1)
    anna = visit(desk.links["Anna"])
    anna.page.clock.install()
    anna.page.reload()
    task = anna.ready()
    anna.drag((40, 30), (120, 90))
    anna.page.clock.fast_forward(10 * 60_000)
    anna.drag((130, 30), (160, 90))
    anna.press("Enter")
    anna.page.clock.fast_forward(5000)
    anna.next_after(task)
    anna.send()
    (answer,) = desk.wait(1)
    script = "async () => (await (await import('/static/js/app.js')).app).work.answered.draft.seconds"
    assert 30 <= anna.page.evaluate(script) < 45
    assert answer.active_seconds < 45


def test_an_answer_that_is_not_accepted_comes_back(boxes: Callable[..., Desk], visit: Visit) -> None:
    desk = boxes(2)
    anna = visit(desk.links["Anna"])
    task = anna.ready()
    refusal = {"status": 422, "json": {"error": "boxes.0: too odd", "code": "bad_payload"}}
    anna.page.route("**/api/submit", lambda route: route.fulfill(**refusal), times=1)
    anna.drag((40, 30), (120, 90))
    anna.press("Enter")
    anna.next_after(task)
    anna.send()
    anna.page.locator("#toasts").get_by_text("Not accepted: boxes.0: too odd").wait_for()
    anna.until(f"work.current?.task.id === '{task}'")
    assert len(anna.objects()) == 1
    anna.press("Enter")
    anna.next_after(task)
    anna.send()
    assert len(desk.wait(1)[0].payload["boxes"]) == 1
    anna.faults.clear()  # the refusal's status


def test_a_damaged_image_can_be_passed_on(boxes: Callable[..., Desk], visit: Visit) -> None:
    desk = boxes(2)
    for path in (desk.folder / "images").iterdir():
        path.write_bytes(path.read_bytes()[:60])  # its size can be read, its pixels can't
    anna = visit(desk.links["Anna"])
    anna.state("broken")
    first = anna.page.evaluate("async () => (await (await import('/static/js/app.js')).app).work.current.task.id")
    anna.press("s")
    anna.next_after(first)
    anna.send()
    assert desk.wait(1)[0].outcome == "declined"
    anna.faults.clear()  # the damaged images
