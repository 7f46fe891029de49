"""The driver of a run in a process of its own, as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gtloop.testing.fakes import CATEGORIES

PATIENCE_S = 600.0
SMALL = {"sizes.probe": 2, "sizes.validation": 4, "sizes.train": 4, "sizes.batch": 4}


class Driver:
    """The process of a run on the images of a folder; killed and started again, it goes on.

    Args:
        folder: With ``images``; the run is made beside them.
        task: Its name.
        url: The server's.
        options: What ``-o`` takes.
        wait: Whether it stays where people have to answer.
    """

    def __init__(self, folder: Path, task: str, url: str, options: Mapping[str, Any], wait: bool = True) -> None:
        words = [sys.executable, "-m", "gtloop", "run", folder / "images", "--run", folder / "run", "--task", task]
        words += ["--classes", ",".join(CATEGORIES), "--detector", "stub", "--annotator", "labelstudio"]
        words += ["--workers", 2, "--yes", *(["--wait"] if wait else [])]
        own = {f"annotators.labelstudio.{k}": v for k, v in {"url": url, "poll_s": 0.2, "chunk": 7}.items()}
        self._command = [*map(str, words), *(w for k, v in {**options, **own}.items() for w in ("-o", f"{k}={v}"))]
        self._log = folder / "driver.log"
        self.journal = folder / "run" / "annotator" / "labelstudio" / "labelstudio.jsonl"

    def start(self) -> None:
        with self._log.open("ab") as log:
            env = {**os.environ, "NO_COLOR": "1"}
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=env)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def written(self) -> int:
        """Bytes of the annotator's journal, once it has a whole line."""
        return len(self.journal.read_bytes().rpartition(b"\n")[0]) if self.journal.exists() else 0

    def until(self, done: Callable[[], bool]) -> None:
        """Let it work until something is done, which it has to live to see."""
        end = time.monotonic() + PATIENCE_S
        while not done():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.02)

    def finish(self, fine: Callable[[], bool] = lambda: True, code: int = 0) -> str:
        """Let it work to its end, as long as the rest is fine; returns what it has said so far."""
        end = time.monotonic() + PATIENCE_S
        while self._process.poll() is None and fine():
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.1)
        assert self._process.poll() == code, self._log.read_text()
        return self._log.read_text()
