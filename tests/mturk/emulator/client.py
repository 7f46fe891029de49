"""Start, kill, restart and ask an emulator in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ports import free_port

HERE = Path(__file__).resolve().parents[1]
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}


class Denied(Exception):
    """The emulator says no."""


class Process:
    """An emulator on a free port, with its books in ``folder``; they survive ``kill`` and ``start``."""

    def __init__(self, folder: Path, **plan: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(json.dumps(plan))
        self.folder, self.port = folder, free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(HERE)}
        command = [sys.executable, "-m", "emulator", str(self.folder), str(self.port)]
        self._child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line.strip():
            raise RuntimeError("the emulator did not start")
        self.port = int(line)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()

    def ask(self, what: str, **given: Any) -> Any:
        request = urllib.request.Request(f"{self.url}/control/{what}", json.dumps(given).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return json.load(response)
        except urllib.error.HTTPError as e:
            raise Denied(json.load(e)["message"]) from None

    def rows(self, select: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("sql", select=select)
        return found

    def paid(self, kind: str = "reward") -> tuple[int, int]:
        """(to workers, in fees), micro-dollars."""
        found = self.ask("books")["paid"].get(kind, {"amount": 0, "fee": 0})
        return found["amount"], found["fee"]
