"""A real MLflow server in a process of its own, and small whole runs of gtloop in theirs."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth

KILLER = """
import os, signal, sys, types
import gtloop
from gtloop import cli
from gtloop.registry import Registry

left = [int(sys.argv[1])]

@gtloop.hookimpl
def gtloop_event(event):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

killer = types.ModuleType("killer")
killer.gtloop_event = gtloop_event
load = Registry.load
Registry.load = lambda *a, **k: load(*a, **{**k, "extra_modules": [killer, *k.get("extra_modules", ())]})
cli.main(sys.argv[2:])
"""
"""gtloop, killed after its N-th event."""


def program() -> str | None:
    """The ``mlflow`` of an environment with a whole MLflow; None where there is none."""
    default = Path(__file__).resolve().parents[3] / ".venv-mlflow" / "bin" / "mlflow"
    path = Path(os.environ.get("MLFLOW", default))
    return str(path) if path.is_file() else None


class Server:
    """``mlflow server`` on loopback with SQLite; may be stopped and started again on the same port."""

    def __init__(self, folder: Path, mlflow: str) -> None:
        self._folder, self._mlflow = folder, mlflow
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = ["server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        words += ["--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"]
        words += ["--artifacts-destination", str(self._folder / "artifacts")]
        own = ("PYTHONPATH", "MLFLOW_TRACKING_URI")
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        clean = {k: v for k, v in os.environ.items() if k not in own} | quiet
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._mlflow, *words], stdout=log, stderr=log, env=clean, cwd=self._folder, start_new_session=True
            )
        end = time.monotonic() + 400
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise AssertionError((self._folder / "server.log").read_text())
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill it, with the processes that it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def make_images(folder: Path, n: int) -> Path:
    """Images, with the truth beside them."""
    items, truth = tiny_items(folder / "images", n), tiny_truth("bbox", n) or []
    lines = [json.dumps({"name": i.name, "payload": p}) for i, p in zip(items, truth, strict=True)]
    (folder / "truth.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "images"


def words(images: Path, root: Path, *more: str) -> list[str]:
    """The arguments of a small run with the detector ``stub``."""
    sizes = {"probe": 5, "validation": 60, "train": 20, "batch": 20, "look_at": 92}
    given = [x for k, v in sizes.items() for x in ("-o", f"sizes.{k}={v}")]
    given += ["-o", "promise.kind=dataset", "-o", "promise.max_loss=0.06", "-o", "prices.answer_usd=0.01"]
    fixed = ["run", str(images), "--run", str(root), "--truth", str(images.parent / "truth.jsonl")]
    plugins = ["--detector", "stub", "--annotator", "synthetic", "--classes", ",".join(CATEGORIES)]
    return [*fixed, *plugins, *given, *more]


def gtloop(*args: str, kill_at: int = 0, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``gtloop ARGS`` in a process of its own; ``kill_at``: kill it after so many events."""
    start = [sys.executable, "-c", KILLER, str(kill_at)] if kill_at else [sys.executable, "-m", "gtloop"]
    ended = subprocess.run([*start, *args], capture_output=True, text=True, timeout=900)
    assert ended.returncode == code, ended.stderr[-3000:]
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended


def status(root: Path) -> dict[str, Any]:
    """What ``gtloop status RUN --json`` prints."""
    found: dict[str, Any] = json.loads(gtloop("status", str(root), "--json").stdout)
    return found
