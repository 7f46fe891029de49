"""Whole runs of gtloop: its own loop and its own page, over real HTTP, killed and resumed; and a real browser."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gtloop
import httpx
import pytest
from crew import Crew
from emulator import Emulator
from gtloop import config
from gtloop.testing.fakes import CATEGORIES, tiny_items

N = 24
SIZES = {"probe": 4, "validation": 8, "train": 6, "batch": 6}
CHROMIUM = os.environ.get("GTLOOP_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
spawning = multiprocessing.get_context("spawn")
PATIENCE_S = 900.0
"""How long half a run may take on a busy machine."""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def flags(folder: Path, emulator: Emulator, n: int = N, **options: Any) -> dict[str, Any]:
    """Settings of a small run at a page of its own."""
    items = tiny_items(folder / "images", n)
    port = free_port()
    mine = {
        "endpoint": emulator.url, "public_url": f"http://127.0.0.1:{port}", "port": port, "confirm_usd": 1000,
        "images": 5, "seconds_per_image": 12, "least_hour": 12, "poll_s": 0.1, "timeout_s": 5, "leftovers_usd": 10,
        **options,
    }  # fmt: skip
    return {
        "run.source": str(items[0].uri.rsplit("/", 1)[0]), "run.task": "classification", "run.classes": CATEGORIES,
        "run.annotator": "prolific", "run.detector": "stub", "run.workers": 2, "prices.answer_usd": "0.05",
        "promise.kind": "selective", **{f"sizes.{k}": v for k, v in SIZES.items()},
        **{f"annotators.prolific.{k}": v for k, v in mine.items()},
    }  # fmt: skip


def drive(root: Path, given: dict[str, Any]) -> None:
    """Start or resume, to the end; the page is a process of its own that gtloop starts."""
    from gtloop import serving
    from gtloop.registry import Registry
    from gtloop.run import run_or_resume

    serving.READY_S = PATIENCE_S
    outcome, _ = run_or_resume(root, config.load(None, given), Registry.load(), wait=True, yes=True)
    assert outcome == "finished", outcome


def crowd(emulator: Emulator, given: dict[str, Any], stop: threading.Event) -> threading.Thread:
    """Participants who work as long as there is something to do, in a thread; the page may be away for a while."""
    url = given["annotators.prolific.public_url"]
    items = tiny_items(Path(given["run.source"]).parent / "images", N)
    crew = Crew(emulator, items, "classification")

    def work() -> None:
        while not stop.is_set():
            try:
                crew.work(lambda: httpx.Client(base_url=url, follow_redirects=False, timeout=20), most=1)
            except (httpx.HTTPError, AssertionError, KeyError):  # killed meanwhile: this one never comes back
                for s in emulator.submissions.values():
                    if s["status"] == "ACTIVE":
                        s["status"] = "RETURNED"
            time.sleep(0.02)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def check_books(root: Path, emulator: Emulator) -> None:
    """Both books agree, and nothing is there twice."""
    run = gtloop.open(root)
    assert run.state.facts.finished
    assert set(emulator.statuses()) <= {"APPROVED", "RETURNED"}
    names = Counter(s["internal_name"] for s in emulator.studies.values())
    assert max(names.values()) == 1, "never two studies for one batch"
    bill = run.state.facts.bill
    assert bill.human == 10_000 * emulator.paid()
    assert bill.overcharged == 0
    assert len(list(run.labels())) == N
    assert emulator.calls["misfit"] == 0
    answers = sum(ref.rows for ref in run.state.facts.answer_files)
    assert answers == sum(emulator_images(emulator).values())


def emulator_images(emulator: Emulator) -> Counter[str]:
    """Images of each approved submission, by what its study's internal name says."""
    sizes = {s["id"]: int(s["internal_name"].split()[2]) for s in emulator.studies.values()}
    done = [s for s in emulator.submissions.values() if s["status"] == "APPROVED"]
    return Counter({s["id"]: sizes[s["study"]] for s in done})


def spawn(root: Path, given: dict[str, Any]) -> Any:
    child = spawning.Process(target=drive, args=(root, given))
    child.start()
    return child


def test_a_whole_run_with_a_kill(start: Callable[..., Emulator], tmp_path: Path) -> None:
    """Once killed in the middle, with faults on the way: nobody is paid twice, nothing is lost."""
    emulator = start(faults=0.03, seed=1)
    given, root, stop = flags(tmp_path, emulator), tmp_path / "run", threading.Event()
    thread = crowd(emulator, given, stop)
    child, end = spawn(root, given), time.monotonic() + PATIENCE_S
    try:
        while child.is_alive() and emulator.statuses()["APPROVED"] < 2:
            assert time.monotonic() < end, "nobody is approved"
            time.sleep(0.05)
        child.kill()
        child.join()
        child = spawn(root, given)
        child.join(PATIENCE_S)
        assert child.exitcode == 0
    finally:
        child.kill()
        stop.set()
        thread.join()
    check_books(root, emulator)
    secret = os.environ["PROLIFIC_TOKEN"].encode()
    assert not [p for p in root.rglob("*") if p.is_file() and secret in p.read_bytes()], "the token is kept nowhere"


@pytest.mark.slow
def test_many_kills(start: Callable[..., Emulator], tmp_path: Path) -> None:
    emulator, rng = start(faults=0.08, seed=7), random.Random(3)
    given, root, stop = flags(tmp_path, emulator), tmp_path / "run", threading.Event()
    thread = crowd(emulator, given, stop)
    try:
        for kill in range(13):
            child = spawn(root, given)
            child.join(rng.uniform(2.0, 9.0) if kill < 12 else PATIENCE_S)
            if child.exitcode is None:
                child.kill()
                child.join()
            elif child.exitcode == 0:
                break
            else:
                assert child.exitcode == -9, "a resumed run must never fail"
    finally:
        stop.set()
        thread.join()
    assert child.exitcode == 0
    check_books(root, emulator)


def _ours(message: Any) -> bool:
    """Whether the page complains, and not the emulator's, which has no icon."""
    return "favicon" not in message.location.get("url", "")


def test_a_participant_in_a_real_browser(emulator: Emulator, tmp_path: Path) -> None:
    """From Prolific's link to the code and back: what a participant sees, in Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no browser tests without: pip install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip("no browser tests without Chromium: apt-get install chromium (or set GTLOOP_CHROMIUM)")
    given = flags(tmp_path, emulator, n=8, images=4)
    child = spawn(tmp_path / "run", {**given, "run.workers": 1, "sizes.validation": 2, "sizes.probe": 4})
    try:
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"], timeout=180_000
            )
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            context.add_init_script("try { localStorage.setItem('gtloop.guide', 'shut') } catch {}")
            page, faults = context.new_page(), []
            page.on("console", lambda m: faults.append(m.text) if m.type == "error" and _ours(m) else None)
            page.on("pageerror", lambda e: faults.append(str(e)))
            page.set_default_timeout(180_000)
            deadline = time.monotonic() + PATIENCE_S
            while not emulator.offered():
                assert child.is_alive(), "no study was published"
                assert time.monotonic() < deadline, "no study was published"
                time.sleep(0.1)
            taken = emulator.take("5f" * 12, emulator.offered()[0])
            assert taken is not None
            page.goto(taken[1])
            assert "Your code for Prolific comes after the last one." in page.inner_text("main")
            page.click("main button")
            size = int(next(iter(emulator.studies.values()))["internal_name"].split()[2])
            for n in range(size):
                page.wait_for_selector("body[data-state=task]")
                before = page.evaluate(
                    "async () => (await (await import('/static/js/app.js')).app).work.current.task.id"
                )
                page.keyboard.press("12"[n % 2])
                page.wait_for_function(
                    "async (id) => (await (await import('/static/js/app.js')).app).work.current?.task.id !== id",
                    arg=before,
                )
            page.wait_for_selector("body[data-state=done]")
            assert "These were all your images." in page.inner_text("#screen")
            code = page.inner_text("#screen code")
            page.click("#screen a.button")
            page.wait_for_selector("h1:has-text('AWAITING REVIEW')")
            assert emulator.submissions[taken[0]]["code"] == code
            assert not faults, faults
            browser.close()
        deadline = time.monotonic() + PATIENCE_S
        while emulator.submissions[taken[0]]["status"] != "APPROVED":
            assert child.is_alive(), "the submission was never approved"
            assert time.monotonic() < deadline, "the submission was never approved"
            time.sleep(0.1)
    finally:
        child.terminate()
        child.join(20)
