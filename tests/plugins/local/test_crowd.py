"""People from outside: they arrive without a link, do the images of one shift, and are sent back with a code."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deskparts import BOX, Visitor, gather, make_local, make_requests, page

from gtloop_plugins.annotators.local import Local
from gtloop_plugins.annotators.local.crowd import Arrival, Farewell
from gtloop_plugins.annotators.local.refused import Refused
from gtloop_plugins.annotators.local.shifts import Shift


class Harbour:
    """A crowd of sailors: ``/arrive?who=NAME&trip=ID``, two images a trip."""

    def __init__(self) -> None:
        self.out: set[str] = set()
        self.lasts_s = 600.0

    def arrive(self, query: Mapping[str, str]) -> Arrival:
        if "who" not in query:
            raise Refused(403, "no_sailor", "come by ship")
        return Arrival(query["who"], query["trip"], 2, self.lasts_s, "note", "Two images, then a code.")

    def admits(self, person: str) -> bool:
        return person not in self.out

    def farewell(self, note: str, shift: Shift | None) -> Farewell:
        assert note == "note"
        if shift is None:
            return Farewell("There is nothing to do.", "EMPTY", "https://harbour.example/return", "Back on board")
        return Farewell("That was all.", "DONE42", "https://harbour.example/done")


def make(folder: Path) -> tuple[Local, Harbour]:
    harbour = Harbour()

    class Port(Local):
        def crowd(self) -> Harbour:
            return harbour

    plain = make_local(folder, people=())
    return Port(plain.options, plain.context), harbour


def arrive(browser: Any, who: str, trip: str) -> Any:
    """What somebody sees at ``/arrive``: a ``Visitor`` where there is work for them, else the text of the page."""
    client = browser()
    shown = client.get("/arrive", params={"who": who, "trip": trip})
    assert shown.status_code == 200, shown.text
    token = re.search(r'name="token" value="([^"]+)"', shown.text)
    return Visitor(client, f"/join/{token[1]}") if token else shown.text


def work(visitor: Visitor, outcome: str = "label") -> dict[str, Any]:
    """Do all there is; returns what is said at the end."""
    while (found := visitor.next())["state"] == "task":
        said = visitor.say(found["task"]["id"], BOX if outcome == "label" else None, outcome)
        assert said.status_code == 200, said.text
    return found


def test_a_guest_does_one_shift_and_gets_a_code(tmp_path: Path) -> None:
    local, _ = make(tmp_path)
    local.submit(make_requests(tmp_path, 5))
    with page(local) as browser:
        anna = arrive(browser, "anna", "t1")
        end = work(anna)
        assert end == {"state": "done", "why": "That was all.", "leave": Farewell(
            "That was all.", "DONE42", "https://harbour.example/done")._asdict()}  # fmt: skip
        assert "DONE42" in arrive(browser, "anna", "t1"), "who comes again with the same shift is done"
        again = arrive(browser, "anna", "t2")
        assert work(again)["state"] == "done"
        assert "EMPTY" in arrive(browser, "anna", "t3"), "one image is no shift of two"
    answers, _ = gather(local)
    assert len(answers) == 4
    assert len({a.worker for a in answers}) == 1, "the same name is the same person"
    assert "anna" not in answers[0].worker


def test_images_of_a_shift_are_nobody_elses(tmp_path: Path) -> None:
    local, _ = make(tmp_path)
    local.submit(make_requests(tmp_path, 3))
    with page(local) as browser:
        anna = arrive(browser, "anna", "t1")
        assert "EMPTY" in arrive(browser, "ben", "t2"), "one image is left, and a shift has two"
        assert anna.post("/api/release", {"tasks": [anna.task()["id"]]}).status_code == 200
        assert "EMPTY" in arrive(browser, "ben", "t3"), "a guest who gives an image back keeps it"
        local.shifts.end("t1")
        assert work(anna)["leave"]["code"] == "DONE42"
        assert work(arrive(browser, "ben", "t4"))["state"] == "done"
    assert {a.worker for a in gather(local)[0]} == {local.shifts.last(p).person for p in people(local)[1:]}


def people(local: Local) -> list[str]:
    """Ids of guests in the order in which they came."""
    return [p.id for p in local._people.everybody() if p.role == "guest"]


def test_another_guest_gets_no_shift_of_somebody(tmp_path: Path) -> None:
    local, harbour = make(tmp_path)
    local.submit(make_requests(tmp_path, 4))
    with page(local) as browser:
        arrive(browser, "anna", "t1")
        assert "EMPTY" in arrive(browser, "ben", "t1")
        harbour.out = set(people(local))
        assert "EMPTY" in arrive(browser, "anna", "t2"), "whom the crowd does not admit is turned away"
        assert browser().get("/arrive").status_code == 403
    with page(make_local(tmp_path / "other")) as browser:
        assert browser().get("/arrive").status_code == 404, "a desk without a crowd"


def test_a_shift_that_runs_out_is_given_to_others(tmp_path: Path) -> None:
    local, harbour = make(tmp_path)
    local.submit(make_requests(tmp_path, 2))
    harbour.lasts_s = 0.2
    with page(local) as browser:
        arrive(browser, "anna", "t1")
        time.sleep(0.3)
        harbour.lasts_s = 600
        assert work(arrive(browser, "ben", "t2"))["leave"]["code"] == "DONE42"
    (first, second) = local.shifts.running()
    assert (first.id, first.answered, len(second.answered)) == ("t1", (), 2)


def test_shifts_spread_over_images_so_that_the_last_is_whole(tmp_path: Path) -> None:
    """Three images for two people each are three shifts of two different images, whoever comes."""
    local, _ = make(tmp_path)
    local.submit(make_requests(tmp_path, 3, answers=2))
    assert sorted(local.shifts.free()) == [2, 2, 2]
    with page(local) as browser:
        for n in range(3):
            assert work(arrive(browser, f"p{n}", f"t{n}"))["leave"]["code"] == "DONE42"
    assert local.shifts.free() == []
    _, closed = gather(local)
    assert [(c.delivered, c.reason) for c in closed] == [(2, "complete")] * 3


def test_what_a_guest_declines_is_not_asked_again(tmp_path: Path) -> None:
    local, _ = make(tmp_path)
    requests = make_requests(tmp_path, 2, answers=2)
    local.submit(requests)
    with page(local) as browser:
        work(arrive(browser, "anna", "t1"), "declined")
        assert local.shifts.free() == [1, 1]
        work(arrive(browser, "ben", "t2"))
    assert local.shifts.free() == []
    _, closed = gather(local)
    assert [(c.delivered, c.reason) for c in closed] == [(1, "declined")] * 2
    local.submit([r.model_copy(update={"answers": 3}) for r in requests])
    assert local.shifts.free() == [1, 1], "unless more are asked for"


def test_a_request_that_ends_leaves_a_shift_shorter(tmp_path: Path) -> None:
    local, _ = make(tmp_path)
    local.submit(make_requests(tmp_path, 2))
    with page(local) as browser:
        anna = arrive(browser, "anna", "t1")
        local.cancel(["request-0"])
        assert work(anna)["leave"]["code"] == "DONE42"
    (shift,) = local.shifts.running()
    assert (shift.answered, shift.left) == (("request-1",), ())
    local.shifts.end("t1")
    assert local.shifts.running() == []
