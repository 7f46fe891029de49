"""The owner's dashboard in a real browser: it moves, and people come and go by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runs
from desks import Desk, paint

import gtloop

OpenDesk = Callable[..., Desk]


def test_invite_join_label_revoke(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_desk(task="bbox", classes=["raccoon"])
    desk.submit(paint(desk.folder / "images", 3))
    desk.serve()
    owner = visit(desk.links["dashboard"])
    owner.page.get_by_label("Name").fill("Zoë <b>")
    owner.page.get_by_role("button", name="Invite").click()
    link = owner.page.get_by_label("Link of Zoë <b>").input_value()
    row = owner.page.get_by_role("row", name="Zoë <b>")
    row.get_by_text("never").wait_for()
    zoe = visit(link)
    task = zoe.ready()
    zoe.press("e")
    zoe.next_after(task)
    zoe.send()
    (answer,) = desk.wait(1)
    row.get_by_role("cell", name="1", exact=True).first.wait_for()
    owner.page.locator("#tiles div", has_text="answer so far").get_by_text("1", exact=True).wait_for()
    assert owner.page.locator("#pace canvas").is_visible()
    assert "Zo" not in answer.worker
    owner.page.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Revoke").click()
    row.get_by_text("revoked").wait_for()
    zoe.press("e")
    zoe.send()
    zoe.page.get_by_text("You are signed out").wait_for()
    zoe.faults.clear()  # the refusal's status


def test_only_the_owner_sees_it(open_desk: OpenDesk, visit: Callable[..., Any]) -> None:
    desk = open_desk(task="bbox", classes=["raccoon"])
    desk.submit(paint(desk.folder / "images", 1))
    desk.serve()
    anna = visit(desk.links["Anna"])
    anna.page.goto(desk.links["Anna"].split("/join")[0] + "/dashboard")
    assert anna.page.get_by_text("Only the owner", exact=False).is_visible()
    anna.context.clear_cookies()
    anna.page.reload()
    assert anna.page.get_by_text("You need a link to come in").is_visible()
    anna.faults.clear()  # the refusals' statuses


@pytest.mark.slow
def test_it_moves_with_the_run(open_desk: OpenDesk, visit: Callable[..., Any], tmp_path: Path) -> None:
    images, truth = runs.make_images(tmp_path, 180)
    given, root = runs.settings(images, truth), tmp_path / "run"
    child = runs.spawn(root, given, kill_at=12)
    child.join(120)
    early = gtloop.open(root).status()
    assert early["state"] != "finished"
    assert early["items"]["human"] > 0
    desk = open_desk(task="bbox", classes=["crate", "drum"], run=str(root))
    desk.serve()
    owner = visit(desk.links["dashboard"])
    page = owner.page
    human = page.locator("#items .legend span", has_text="by people").locator("b")
    human.get_by_text(str(early["items"]["human"]), exact=True).wait_for()
    page.get_by_role("button", name="Pause the run").wait_for()
    assert page.locator("#history canvas").is_visible()
    early_events = page.locator("#events li").count()
    assert early_events > 1
    runs.run_here(root, given)
    late = gtloop.open(root).status()
    page.locator("#state").get_by_text("finished").wait_for()
    assert human.inner_text() == str(late["items"]["human"]) != str(early["items"]["human"])
    assert page.locator("#summary").inner_text().startswith(late["summary"][:1].upper() + late["summary"][1:20])
    assert 5 < page.locator("#events li").count() <= 20
    assert "delta" not in page.locator("#promise p").first.inner_text()
    assert f"{late['promise']['max_loss']}" in page.locator("#promise").inner_text()
    # Who labels is told that it is over.
    anna = visit(desk.links["Anna"])
    anna.state("done")
    assert anna.page.get_by_text("All done").is_visible()
