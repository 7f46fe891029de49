"""One thing at a time against a real server: what is asked, of whom, and what their answers become."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from desk import BOX, Desk, drawn
from driver import SMALL, Driver
from gtloop.testing.fakes import SIZE, tiny_items, tiny_truth
from PIL import Image
from studio import Server


def test_what_people_send_and_what_it_becomes(studio: Server, tmp_path: Path) -> None:
    """Labels, nothing, skips, and what fits no form; who and how long; each once."""
    desk = Desk(tmp_path, url=studio.url)
    desk.ask(*(desk.request(row) for row in range(4)))
    one, two = studio.person(1), studio.person(2)
    sent = one.annotate(desk.task(0), drawn(desk), 12.25)
    one.annotate(desk.task(1), [])
    two.annotate(desk.task(2), [], skip=True)
    turned = drawn(desk)
    turned[0]["value"]["rotation"] = 45
    two.annotate(desk.task(3), turned)
    desk.look(0, 1, 2, 3)
    found = {row: desk.of(row)[0] for row in range(4)}
    assert [found[row].outcome for row in range(4)] == ["label", "empty", "cannot_tell", "label"]
    assert found[0].payload == {"boxes": [{"category": "drum", "xyxy": pytest.approx([10.0, 20.0, 30.0, 44.0])}]}
    assert found[0].active_seconds == 12.25
    assert "turned by 45 degrees" in (found[3].payload or {})["unreadable"], "kept, and said why it can't be used"
    assert found[0].worker == found[1].worker
    assert found[2].worker == found[3].worker
    assert len({a.worker for a in found.values()}) == 2
    assert str(one.id) not in (found[0].worker,), "names tell nothing"
    assert {c.reason for c in desk.closed.values()} == {"complete"}
    assert one.next(desk.project) is None, "the server offers it no more"
    before = dict(desk.answers)
    desk.cursor = ""
    desk.again()
    desk.look(0, 1, 2, 3)
    assert desk.answers == before, "from the start, by a new object: the same"
    changed = one.call("PATCH", f"/api/annotations/{sent['id']}/", json={"result": []})
    assert changed.is_success, changed.text
    desk.look_once()
    assert desk.answers == before, "what was taken in stays"


def test_many_people_and_who_does_not_count(studio: Server, tmp_path: Path) -> None:
    """The same person twice, somebody kept out, somebody blocked: their places are given to others."""
    desk = Desk(tmp_path, url=studio.url)
    one, two, three, four = (studio.person(n) for n in (1, 2, 3, 4))
    desk.ask(desk.request(0), desk.request(1))
    one.annotate(desk.task(0), drawn(desk))
    two.annotate(desk.task(1), drawn(desk))
    desk.look(0, 1)
    first, second = desk.of(0)[0].worker, desk.of(1)[0].worker
    desk.annotator.block({second: "a test"})
    desk.ask(desk.request(2, 2, exclude_workers=(first,)))
    for person in (one, two, three, three):
        person.annotate(desk.task(2), drawn(desk))
    desk.look_for(3)
    desk.look_once()
    assert [a.worker in (first, second) for a in desk.of(2)] == [False]
    assert "request-2" not in desk.closed
    assert studio.owner.get(f"/api/tasks/{desk.task(2)}/")["overlap"] == 5, "two, and three places that did not count"
    offered = four.next(desk.project)
    assert offered is not None
    assert offered["id"] == desk.task(2)
    four.annotate(desk.task(2), drawn(desk))
    desk.look(2)
    assert desk.closed["request-2"].delivered == 2
    del desk.closed["request-2"]
    desk.ask(desk.request(2, 3, exclude_workers=(first,)))
    assert studio.person(5).next(desk.project) is not None, "one more person is let in"
    studio.person(5).annotate(desk.task(2), [])
    desk.look(2)
    assert desk.closed["request-2"].delivered == 3
    assert len({a.worker for a in desk.of(2)}) == 3


def test_skips_that_ask_somebody_else(studio: Server, tmp_path: Path) -> None:
    desk = Desk(tmp_path, url=studio.url, skipped="declined")
    desk.ask(desk.request(0))
    studio.person(1).annotate(desk.task(0), [], skip=True)
    desk.look_for(1)
    assert desk.of(0)[0].outcome == "declined"
    assert "request-0" not in desk.closed
    assert studio.person(1).next(desk.project) is None
    assert studio.person(2).next(desk.project) is not None
    studio.person(2).annotate(desk.task(0), drawn(desk))
    desk.look(0)
    assert desk.closed["request-0"].delivered == 1


def test_cancelled_and_late(studio: Server, tmp_path: Path) -> None:
    """Nobody is asked any more; what came in time counts."""
    desk = Desk(tmp_path, url=studio.url)
    desk.ask(desk.request(0, 2), desk.request(1, 1), desk.request(2, 2, deadline_s=0.05))
    studio.person(1).annotate(desk.task(0), drawn(desk))
    studio.person(1).annotate(desk.task(2), drawn(desk))
    desk.annotator.cancel(["request-0", "request-1", "nothing"])
    desk.annotator.cancel(["request-0"])
    desk.look(0, 1, 2)
    told = {i: (c.reason, c.delivered) for i, c in desk.closed.items()}
    assert told == {"request-0": ("cancelled", 1), "request-1": ("cancelled", 0), "request-2": ("expired", 1)}
    desk.look_once()
    assert studio.person(2).next(desk.project) is None
    del desk.closed["request-1"]
    desk.ask(desk.request(1, 2))
    assert studio.person(2).next(desk.project) is not None, "asked anew, for more"


def test_a_label_to_correct_is_shown(studio: Server, tmp_path: Path) -> None:
    desk = Desk(tmp_path, url=studio.url)
    desk.ask(desk.request(0, mode="adjust", proposal=BOX), desk.request(1))
    found = {}
    for person in (studio.person(1), studio.person(2)):
        while (task := person.next(desk.project)) is not None:
            found[task["id"]] = task["predictions"]
            person.annotate(task["id"], task["predictions"][0]["result"] if task["predictions"] else [])
    assert found[desk.task(1)] == []
    assert len(found[desk.task(0)]) == 1
    desk.look(0, 1)
    (answer,) = desk.of(0)
    assert answer.payload == {"boxes": [{"category": "drum", "xyxy": pytest.approx([10.0, 20.0, 30.0, 44.0])}]}


def test_masks_and_classes(studio: Server, tmp_path: Path) -> None:
    for task in ("segmentation", "classification"):
        desk = Desk(tmp_path / task, task, url=studio.url)
        truth = tiny_truth(task, 6) or []
        desk.ask(*(desk.request(row) for row in range(2)))
        for row in range(2):
            studio.person(1).annotate(desk.task(row), drawn(desk, truth[row]))
        desk.look(0, 1)
        for row in range(2):
            payload = desk.of(row)[0].payload
            assert payload is not None
            assert desk.context.task is not None
            assert desk.context.task.error(desk.context.task.parse(payload, desk.items[row]), truth[row]) == 0


def test_images_reach_people(studio: Server, tmp_path: Path, files: Path) -> None:
    """Uploaded as they are, upright where EXIF turns them, a rare format as JPEG; at their own address, or on disk."""
    desk = Desk(tmp_path, url=studio.url, image_url=None)
    turned = tmp_path / "images" / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(turned, exif=exif)
    desk.items[1] = desk.items[1].model_copy(
        update={"uri": str(turned), "name": "secret-class/turned.jpg", "width": 40, "height": 20, "orientation": 6}
    )
    rare = tmp_path / "images" / "rare.tif"
    Image.new("RGB", SIZE, "blue").save(rare)
    desk.items[2] = desk.items[2].model_copy(update={"uri": str(rare), "name": "secret-class/rare.tif"})
    web = "http://127.0.0.1:1/a%20folder/web.png"
    desk.items[3] = desk.items[3].model_copy(update={"uri": web, "name": "web.png"})
    desk.ask(*(desk.request(row) for row in range(4)))
    assert studio.owner.get(f"/api/tasks/{desk.task(3)}/")["data"]["image"] == web
    studio.person(1).annotate(desk.task(3), [])
    seen = {}
    for _ in range(3):
        task = studio.person(1).next(desk.project)
        assert task is not None
        seen[task["id"]] = studio.person(1).call("GET", task["data"]["image"])
        assert "secret" not in task["data"]["image"], "its name tells nothing"
        studio.person(1).annotate(task["id"], [])
    with Image.open(io.BytesIO(seen[desk.task(2)].content)) as copy:
        assert copy.format == "JPEG", "browsers show no TIFF"
    assert seen[desk.task(0)].content == Path(desk.items[0].uri).read_bytes()
    with Image.open(io.BytesIO(seen[desk.task(1)].content)) as copy:
        assert copy.size == (20, 40)
    served = Desk(files / "photos", url=studio.url, image_url=None, local_root=str(files))
    served.ask(served.request(0))
    task = studio.person(1).next(served.project)
    assert task is not None
    assert task["data"]["image"].startswith("/data/local-files/?d=photos/")
    assert studio.person(1).call("GET", task["data"]["image"]).content == Path(served.items[0].uri).read_bytes()


def test_a_run_that_does_not_wait(studio: Server, tmp_path: Path) -> None:
    """It says where people label, and ends; the same command takes in what they said, and asks for more."""
    tiny_items(tmp_path / "images", 10)
    driver = Driver(tmp_path, "classification", studio.url, SMALL, wait=False)
    driver.start()
    said = driver.finish(code=3)
    found = re.search(rf"label at {studio.url}/projects/([0-9]+)", said)
    assert found is not None, said
    for person in (studio.person(1), studio.person(2)):
        while (task := person.next(int(found[1]))) is not None:
            choice = {"from_name": "category", "to_name": "image", "type": "choices", "value": {"choices": ["drum"]}}
            person.annotate(task["id"], [choice])
    driver.start()
    assert "2 images answered, 2 labelled by people so far" in driver.finish(code=3)
    assert studio.person(3).next(int(found[1])) is not None
