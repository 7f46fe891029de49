"""The log of a run: append-only, exactly once, of one version, with one driver."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from gtloop import events as ev
from gtloop.errors import RunError
from gtloop.ledger import Ledger
from gtloop.locks import Lock, driven
from gtloop.store import Store


def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(tmp_path / "ledger.sqlite", create=True)


def test_events_come_back_in_order(tmp_path: Path) -> None:
    log = ledger(tmp_path)
    events = [ev.BudgetReached(needed=n, left=0) for n in range(5)]
    log.append(events[:2])
    log.append(events[2:])
    read = list(log.read())
    assert [e.event for e in read] == events
    assert [e.seq for e in read] == [1, 2, 3, 4, 5]
    assert [e.event for e in log.read(after=3)] == events[3:]


def test_an_event_happens_once(tmp_path: Path) -> None:
    log = ledger(tmp_path)
    log.append([ev.BatchSubmitted(batch=1)])
    with pytest.raises(RunError, match="another process wrote"):
        log.append([ev.BudgetReached(needed=1, left=0), ev.BatchSubmitted(batch=1)])
    assert len(list(log.read())) == 1, "a refused transaction leaves nothing behind"


def test_a_letter_is_taken_once(tmp_path: Path) -> None:
    log = ledger(tmp_path)
    assert log.post("settings", "a", '{"run.budget_usd": 5}') == 1
    assert log.post("settings", "a", '{"run.budget_usd": 6}') == 1
    assert log.post("pause", "b", "{}") == 2
    assert [(x.number, x.kind) for x in log.letters()] == [(1, "settings"), (2, "pause")]
    assert [x.body for x in log.letters() if x.kind == "settings"] == ['{"run.budget_usd": 5}']
    assert [x.number for x in log.letters(after=1)] == [2]


def test_anyone_may_write_letters_while_the_driver_runs(tmp_path: Path) -> None:
    driver, other = ledger(tmp_path), Ledger.open(tmp_path / "ledger.sqlite")
    for n in range(20):
        other.post("settings", str(n), "{}")
        driver.append([ev.BudgetReached(needed=n, left=0)])
    assert len(driver.letters()) == len(list(other.read())) == 20


def test_what_is_no_ledger_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        Ledger.open(tmp_path / "ledger.sqlite")
    (tmp_path / "text.sqlite").write_text("hello, I am not a database at all" * 50)
    with pytest.raises(RunError, match="is not a gtloop ledger"):
        Ledger.open(tmp_path / "text.sqlite")


def test_another_version_is_refused(tmp_path: Path) -> None:
    ledger(tmp_path).close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as c:
        c.execute("update schema_version set version = 99")
    with pytest.raises(RunError, match="another version of gtloop"):
        Ledger.open(tmp_path / "ledger.sqlite")


def test_a_second_driver_is_refused_and_a_dead_one_is_not_in_the_way(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from gtloop.locks import Lock\n"
        "with Lock(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    )
    assert not driven(tmp_path), "nobody ever has"
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert driven(tmp_path)
        with pytest.raises(RunError, match=f"pid {other.pid}"), Lock(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    assert not driven(tmp_path)
    with Lock(tmp_path):
        assert driven(tmp_path), "this process counts, too"
    assert not driven(tmp_path)


def test_who_only_looks_is_in_nobody_s_way(tmp_path: Path) -> None:
    """Readers that ask all the time whether it is driven, and a driver that starts again and again."""
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            driven(tmp_path)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(100):
            with Lock(tmp_path):
                pass
    finally:
        done.set()
        for reader in readers:
            reader.join()


def test_side_files_are_whole_and_checked(tmp_path: Path) -> None:
    store = Store(tmp_path)
    columns = {
        "row": np.arange(3, dtype=np.int32),
        "features": np.arange(6, dtype=np.float32).reshape(3, 2),
        "payload_json": [{"boxes": []}, None, {"category": "é"}],
        "name": ["a", "b", None],
    }
    ref = store.write("labels/x.parquet", columns)
    back = store.read(ref)
    assert ref.rows == 3
    np.testing.assert_array_equal(back["row"], columns["row"])
    np.testing.assert_array_equal(back["features"], columns["features"])
    assert back["payload_json"] == columns["payload_json"]
    assert back["name"] == columns["name"]
    assert list(store.payloads([ref])) == [(0, {"boxes": []}), (2, {"category": "é"})]
    path = tmp_path / ref.path
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(RunError, match="was changed"):
        store.read(ref)
    path.unlink()
    with pytest.raises(RunError, match="is missing"):
        store.read(ref)
