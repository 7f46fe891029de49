"""What the owner sees and can do, over a real run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deskparts import BOX, Visitor, links_of, make_local, make_requests, page, site_of, until
from runs import make_images, run_here, settings

import gtloop
from gtloop_plugins.annotators.local import watch
from gtloop_plugins.annotators.local.site import Address


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is finished."""
    folder = tmp_path_factory.mktemp("run")
    run_here(folder / "run", settings(*make_images(folder, 100)))
    return folder / "run"


def test_the_dashboard_shows_run_desk_people_and_history(root: Path, tmp_path: Path) -> None:
    local = make_local(tmp_path, people=("anna", "ben"))
    local.submit(make_requests(tmp_path, 3))
    site = local.site(Address("127.0.0.1", 8765), root)
    site.watch.start()
    with page(local, site) as browser:
        links = links_of(local)
        anna, owner = Visitor(browser(), links["anna"]), Visitor(browser(), links["dashboard"])
        assert anna.say(anna.task()["id"]).status_code == 200
        held = anna.task()
        shown = owner.get("/api/dashboard").json()
        assert shown["status"]["state"] == "finished"
        assert shown["status"] == gtloop.open(root).status()
        assert {k: shown["desk"][k] for k in ("open", "leased", "answers")} == {"open": 2, "leased": 1, "answers": 1}
        rows = {p["name"]: p for p in shown["desk"]["people"]}
        assert {n: (r["answers"], r["today"], r["active"], r["role"]) for n, r in rows.items()} == {
            "anna": (1, 1, True, "annotator"),
            "ben": (0, 0, False, "annotator"),
            "owner": (0, 0, False, "owner"),
        }
        assert len(shown["desk"]["throughput"]) == 60
        assert sum(m["answers"] for m in shown["desk"]["throughput"]) == 1
        assert shown["events"][0]["type"] == "run-finished"
        assert 5 < len(shown["events"]) <= 20
        assert all(e["text"] for e in shown["events"])
        counts, history = shown["status"]["items"], shown["history"]
        assert (history["human"][-1], history["machine"][-1]) == (counts["human"], counts["machine"])
        assert (history["human"][0], history["machine"][0]) == (0, 0)
        assert history["at"] == sorted(history["at"])
        assert len(history["human"]) == len(history["machine"]) == len(history["at"]) > 3
        assert history["human"] == sorted(history["human"])
        # what was asked is still to be answered, then it is over
        for task in (held, anna.task(held["id"])):
            assert anna.say(task["id"]).status_code == 200
        assert anna.next() == {"state": "done"}
    site.watch.stop()


def test_the_view_follows_a_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EVERY_S", 0.05)
    images, truth = make_images(tmp_path, 100)
    run_here(tmp_path / "run", settings(images, truth, run__budget_usd=5.0))
    local = make_local(tmp_path)
    site = local.site(Address("127.0.0.1", 8765), tmp_path / "run")
    site.watch.start()
    try:
        assert site.watch.view.status["state"] == "paused: budget"
        with page(local, site) as browser:
            assert "paused: budget" in Visitor(browser(), links_of(local)["me"]).next()["why"]
        gtloop.open(tmp_path / "run").rename_categories({"crate": "chest"})
        gtloop.open(tmp_path / "run").change(**{"run.budget_usd": 500.0})
        run_here(tmp_path / "run", settings(images, truth, run__budget_usd=5.0))
        until(lambda: site.watch.view.over)
        until(lambda: site.form.primitives[0].categories == ("chest", "drum"))
    finally:
        site.watch.stop()


def test_people_are_invited_and_linked_anew(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 1, mode="verify", proposal=BOX))
    with page(local) as browser:
        owner = Visitor(browser(), links_of(local)["dashboard"])
        assert owner.joined.headers["location"] == "/dashboard"
        assert "dashboard" in owner.get("/dashboard").text.lower()
        rita = owner.post("/api/people", {"name": "  Rita ", "role": "reviewer"}).json()
        assert (rita["name"], rita["role"]) == ("Rita", "reviewer")
        assert Visitor(browser(), rita["link"]).task()["proposal"] == BOX
        assert owner.post("/api/people", {"name": "Rita"}).json()["code"] == "name_taken"
        for bad in ("", "  ", "x" * 81, "a\nb", "\ud800", None, 7):
            assert _post_raw(owner, bad).status_code == 422, bad
        assert owner.post("/api/people", {"name": "x", "role": "owner"}).status_code == 422
        assert owner.post("/api/people/w-none/link").status_code == 404
        me = next(p["id"] for p in owner.get("/api/dashboard").json()["desk"]["people"] if p["role"] == "owner")
        assert owner.post(f"/api/people/{me}/revoke").json()["code"] == "owner"
        assert owner.post("/api/run/pause").json()["code"] == "no_run"


def _post_raw(visitor: Visitor, name: Any) -> Any:
    import json

    headers = {"X-CSRF-Token": visitor.csrf, "Content-Type": "application/json"}
    return visitor.http.post("/api/people", content=json.dumps({"name": name}), headers=headers)


def test_pause_leaves_a_letter(tmp_path: Path) -> None:
    images, truth = make_images(tmp_path, 100)
    root = tmp_path / "run"
    run_here(root, settings(images, truth, run__budget_usd=5.0))
    local = make_local(tmp_path)
    with page(local, local.site(Address("127.0.0.1", 8765), root)) as browser:
        owner = Visitor(browser(), links_of(local)["dashboard"])
        assert owner.post("/api/run/pause").json() == {"ok": True}
    letters = gtloop.open(root)._ledger.letters()
    assert [x.kind for x in letters] == ["pause"]


def test_progress_counts_what_the_batch_still_wants(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 2))
    with page(local, site_of(local)) as browser:
        me = Visitor(browser(), links_of(local)["me"])
        assert me.get("/api/progress").json() == {
            "mine": 0, "today": 0, "seconds": 0.0, "per_hour": 0.0, "left": 2, "total": 2
        }  # fmt: skip
        first = me.say(me.task()["id"], seconds=600.0).json()["progress"]
        assert (first["mine"], first["today"], first["left"], first["total"]) == (1, 1, 1, 2)
        assert 0 <= first["seconds"] < 600.0  # no more than the time since the lease began
        last = me.say(me.task()["id"], None, "declined").json()["progress"]
        assert (last["mine"], last["left"], last["total"]) == (1, 0, 0)
        local.submit(make_requests(tmp_path, 3, first=2, answers=2))
        assert [me.get("/api/progress").json()[k] for k in ("left", "total")] == [6, 6]
