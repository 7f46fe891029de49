from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gtloop.errors import RunError
from gtloop.journal import Journal


def test_append_and_follow(tmp_path: Path) -> None:
    writer, reader = Journal(tmp_path / "new" / "j.jsonl"), Journal(tmp_path / "new" / "j.jsonl")
    assert list(reader.entries()) == []
    writer.append([])
    assert not writer.path.exists()
    writer.append([{"a": 1}, {"b": "\u2028é\n"}])
    assert list(reader.entries()) == [{"a": 1}, {"b": "\u2028é\n"}]
    reader.append([{"c": 3}])
    assert list(writer.entries()) == list(reader.entries()) == [{"a": 1}, {"b": "\u2028é\n"}, {"c": 3}]


def test_a_torn_line_is_skipped_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"a":1}\n{"b":')
    assert list(Journal(path).entries()) == [{"a": 1}]
    Journal(path).append([{"c": 3}])
    assert path.read_bytes() == b'{"a":1}\n{"c":3}\n'


def test_a_file_that_was_cleared_starts_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append([{"a": 1}])
    journal.path.unlink()
    journal.append([{"b": 2}])
    assert journal.path.read_bytes() == b'{"b":2}\n'
    assert list(journal.entries()) == [{"b": 2}]


def test_a_damaged_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").write_bytes(b'{"a":1}\n###\n')
    with pytest.raises(RunError, match="damaged"):
        Journal(tmp_path / "j.jsonl").entries()


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    code = (
        "import sys; from pathlib import Path; from gtloop.journal import Journal\n"
        "j = Journal(Path(sys.argv[1]))\n"
        "n = len(j.entries())\n"
        "while True:\n"
        "    j.append([{'n': n, 'pad': 'x' * 5000}]); print(n, flush=True); n += 1\n"
    )
    for wait in (0.05, 0.02, 0.09):
        child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(wait)
        os.kill(child.pid, signal.SIGKILL)
        acknowledged = [int(x) for x in child.communicate()[0].split()]
        found = [e["n"] for e in Journal(path).entries()]
        assert found == list(range(len(found)))
        assert not acknowledged or found[-1] >= acknowledged[-1]
