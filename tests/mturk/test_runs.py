"""Whole jobs over real HTTP: what goes wrong on the way changes neither a label nor a cent."""

from __future__ import annotations

import random
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jobs
import pytest
import runs
from emulator.crew import answer_xml
from mturkkit import Start

from gtloop.errors import ConfigError


@pytest.mark.parametrize("task", ["bbox", "classification", pytest.param("segmentation", marks=pytest.mark.slow)])
def test_a_job_of_each_task(start: Start, tmp_path: Path, task: str) -> None:
    images, _ = runs.make_images(tmp_path, 60, task)
    emulator = start(**jobs.plan(task, 60))
    sizes = {"sizes__validation": 20, "sizes__train": 10, "sizes__batch": 10, "sizes__look_at": None}
    jobs.drive(tmp_path / "run", jobs.settings(images, emulator, task, **sizes))
    jobs.check_books(emulator, tmp_path / "run")
    status = runs.status(tmp_path / "run")
    assert status["items"]["human"] + status["items"]["machine"] == 60, "every image has a label"
    human, fees = jobs.dollars(tmp_path / "run")
    assert (human, fees) == (status["annotations"] * 60_000, status["annotations"] * 12_000)


def test_a_job_on_images_of_the_web(start: Start, tmp_path: Path) -> None:
    """A manifest of web addresses, and no ``image_url``: workers are sent to where gtloop reads them."""
    images, _ = runs.make_images(tmp_path, 30)
    emulator = start(**jobs.plan("bbox", 30))
    sizes = {"sizes__validation": 10, "sizes__train": 5, "sizes__batch": 10, "sizes__look_at": None}
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(images))) as web:
        threading.Thread(target=web.serve_forever, args=(0.02,), daemon=True).start()
        listed = tmp_path / "list.txt"
        listed.write_text("".join(f"http://127.0.0.1:{web.server_port}/{p.name}\n" for p in sorted(images.iterdir())))
        jobs.drive(tmp_path / "run", jobs.settings(listed, emulator, annotators__mturk__image_url=None, **sizes))
        web.shutdown()
    jobs.check_books(emulator, tmp_path / "run")
    assert runs.status(tmp_path / "run")["items"]["human"] == 30
    with pytest.raises(ConfigError, match="can't see the images"):
        jobs.drive(tmp_path / "other", jobs.settings(images, emulator, annotators__mturk__image_url=None, **sizes))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list, tuple[int, int], float]:
    """A job without faults: its images, labels, dollars and seconds."""
    folder = tmp_path_factory.mktemp("unbroken")
    images, _ = runs.make_images(folder, 180)
    emulator = jobs.Process(folder / "emulator", **jobs.plan("bbox", 180))
    try:
        given = jobs.settings(images, emulator)
        began = time.monotonic()
        child = jobs.spawn(folder / "run", given)
        child.join()
        assert child.exitcode == 0
        seconds = time.monotonic() - began
        jobs.check_books(emulator, folder / "run")
    finally:
        emulator.kill()
    labels = jobs.said(folder / "run")
    assert {"human", "machine"} == {label["source"] for label in labels}
    return images, labels, jobs.dollars(folder / "run"), seconds


@pytest.mark.slow
def test_faults_change_nothing(unbroken: tuple, start: Start, tmp_path: Path) -> None:
    images, labels, dollars, _ = unbroken
    emulator = start(**jobs.plan("bbox", 180, faults=0.1))
    child = jobs.spawn(tmp_path / "run", jobs.settings(images, emulator))
    child.join()
    assert child.exitcode == 0
    jobs.check_books(emulator, tmp_path / "run")
    assert jobs.dollars(tmp_path / "run") == dollars
    assert jobs.said(tmp_path / "run") == labels
    calls = emulator.ask("books")["calls"]
    assert calls["CreateHITWithHITType AWS.MechanicalTurk.HitAlreadyExists"] > 3, "the faults were there"


@pytest.mark.slow
def test_20_kills_change_nothing(unbroken: tuple, start: Start, tmp_path: Path) -> None:
    """kill -9 at random moments, with faults on and an emulator that is killed as well."""
    images, labels, dollars, seconds = unbroken
    rng, kills, n = random.Random(5), 0, 0
    while kills < 20:
        root = tmp_path / f"run{n}"
        emulator = start(**jobs.plan("bbox", 180, faults=0.02, seed=n))
        kills += jobs.kill_often(root, jobs.settings(images, emulator), 20 - kills, rng, seconds / 6)
        emulator.kill()
        emulator.start()
        jobs.check_books(emulator, root)
        assert jobs.dollars(root) == dollars
        assert jobs.said(root) == labels
        n += 1


def test_rubbish_is_rejected_and_not_paid(start: Start, tmp_path: Path) -> None:
    """What fits no form is rejected with the reason, where the rules say so; both books know it."""
    images, _ = runs.make_images(tmp_path, 60)
    plan = jobs.plan("bbox", 60, faults=0.05)
    plan["crew"]["rubbish"] = 4
    emulator = start(**plan)
    sizes = {"sizes__validation": 20, "sizes__train": 10, "sizes__batch": 10, "sizes__look_at": None}
    jobs.drive(tmp_path / "run", jobs.settings(images, emulator, people__reject=("misfits",), **sizes))
    jobs.check_books(emulator, tmp_path / "run")
    rejected = emulator.rows("SELECT worker, feedback FROM assignment WHERE status = 'Rejected'")
    assert {r["worker"] for r in rejected} == {"A000WORKER", "A001WORKER", "A002WORKER", "A003WORKER"}
    assert all(r["feedback"].startswith("The answer can't be used: ") for r in rejected)
    paid = emulator.rows("SELECT DISTINCT worker FROM payment")
    assert not {p["worker"] for p in paid} & {r["worker"] for r in rejected}


def test_people_who_fail_tests_get_no_more_work(start: Start, tmp_path: Path) -> None:
    images, truth = runs.make_images(tmp_path, 80)
    plan = jobs.plan("bbox", 80)
    plan["crew"]["rubbish"] = 3
    emulator = start(**plan)
    gold = tmp_path / "gold.jsonl"
    gold.write_text("".join(truth.read_text().splitlines(keepends=True)[:20]))
    tests = {"people__gold": str(gold), "people__gold_share": 0.5, "people__gold_after": 2}
    sizes = {"sizes__validation": 20, "sizes__train": 10, "sizes__batch": 10, "sizes__look_at": None}
    jobs.drive(tmp_path / "run", jobs.settings(images, emulator, **tests, **sizes))
    jobs.check_books(emulator, tmp_path / "run")
    held = {
        r["worker"]
        for r in emulator.rows(
            "SELECT worker FROM holder h JOIN qualification q ON q.id = qualification "
            "WHERE name LIKE '%no further work'"
        )
    }
    assert held >= {"A000WORKER", "A001WORKER", "A002WORKER"}
    late = emulator.rows("SELECT hit FROM assignment WHERE worker = 'A000WORKER' ORDER BY number DESC LIMIT 1")
    last = emulator.rows("SELECT id FROM hit ORDER BY number DESC LIMIT 1")
    assert late != [{"hit": last[0]["id"]}]


def test_a_cancelled_run_waits_for_those_at_work_and_pays_them(start: Start, tmp_path: Path) -> None:
    images, _ = runs.make_images(tmp_path, 40)
    emulator = start()
    given = jobs.settings(images, emulator)
    runs.run_here(tmp_path / "run", given, wait=False, yes=True)
    hit = emulator.rows("SELECT id FROM hit ORDER BY number LIMIT 1")[0]["id"]
    taken = emulator.ask("accept", worker="AWORKS", hit=hit)
    assert runs.cli("cancel", tmp_path / "run").code == 0
    outcome, _ = runs.run_here(tmp_path / "run", given, wait=False, yes=True)
    assert outcome == "waiting"
    emulator.ask("submit", assignment=taken, answer=answer_xml({"boxes": {"boundingBoxes": []}}))
    outcome, _ = runs.run_here(tmp_path / "run", given, wait=True, yes=True)
    assert outcome == "cancelled"
    assert emulator.ask("books")["held"] == 0
    assert jobs.dollars(tmp_path / "run") == emulator.paid() == (60_000, 12_000)


def test_unreachable_is_said_before_anything_is_reserved(start: Start, tmp_path: Path) -> None:
    images, _ = runs.make_images(tmp_path, 20)
    emulator = start()
    emulator.kill()
    options = {**jobs.FAST, "endpoint": emulator.url, "timeout_s": 0.5}
    given = [x for key, value in options.items() for x in ("-o", f"annotators.mturk.{key}={value}")]
    command = runs.small(images, tmp_path / "run", "-o", "run.annotator=mturk", *given)
    ended = runs.cli(*["mturk" if a == "synthetic" else a for a in command])
    assert ended.code == 1
    assert "nothing was asked or paid. Other annotators (--annotator): " in ended.error
    assert "synthetic" in ended.error
