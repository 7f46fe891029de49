"""Whole runs with executor ``ray``: labels and certificates are those of ``local``, whatever dies on the way."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import runs

RAY = {"run__executor": "ray"}


def left_behind() -> set[psutil.Process]:
    """Processes of every Ray that gtloop started whose driver is gone; other tests may have theirs meanwhile."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        folder = re.search(r"/[\w./-]*?gtloop-ray-\w+", " ".join(process.info["cmdline"] or []))
        if folder and not _held(Path(folder[0]) / "lock"):
            found.add(process)
    return found


def _held(lock: Path) -> bool:
    """Whether the driver that has locked this file lives."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@pytest.mark.slow
def test_a_run_decides_as_one_with_local_does(tmp_path: Path) -> None:
    images, truth = runs.make_images(tmp_path, 180)
    for executor in ("local", "ray"):
        given = runs.settings(images, truth, run__executor=executor)
        state, _ = runs.run_here(tmp_path / executor / "run", given, yes=True)
        assert state == "finished"
    here, there = (runs.facts(tmp_path / executor / "run") for executor in ("local", "ray"))
    assert here["certificates"]
    assert there == here


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_nothing_running_and_resumes(tmp_path: Path) -> None:
    images, truth = runs.make_images(tmp_path, 180)
    given = runs.settings(images, truth, **RAY)
    root = tmp_path / "killed" / "run"
    before = left_behind()
    killed = runs.spawn(root, given, kill_at=17)
    killed.join()
    assert killed.exitcode == -9
    started = left_behind() - before
    resumed = runs.spawn(root, given)
    resumed.join()
    assert resumed.exitcode == 0
    whole = tmp_path / "whole" / "run"
    runs.run_here(whole, runs.settings(images, truth), yes=True)
    assert runs.facts(root) == runs.facts(whole)
    _, left = psutil.wait_procs(list(started), timeout=60)
    assert not left


LOSES_A_NODE = """
import sys
from pathlib import Path
from ray.cluster_utils import Cluster

from gtloop.interfaces import Context
from gtloop.testing.fakes import EchoDetector, endless, tiny_items
from gtloop_plugins.executors.ray import Ray, RayOptions

folder = Path(sys.argv[1])
items = tiny_items(folder / "images", 10)
echo = EchoDetector(EchoDetector.Options(), Context())
(folder / "model").mkdir()
echo.fit([], folder / "model", seed=1)
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
second = cluster.add_node(num_cpus=4)
options = RayOptions(address=cluster.address, min_actors=5, batch_size=2)
rows, stream = [], endless(items)
for p in Ray(options, Context()).predict(echo, folder / "model", (next(stream) for _ in range(400))):
    rows.append(p.raw["row"])
    if len(rows) == 100:
        cluster.remove_node(second, allow_graceful=False)
print("ROWS", rows == list(range(400)))
cluster.shutdown()
"""


@pytest.mark.slow
def test_a_machine_that_is_lost_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOSES_A_NODE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert "ROWS True" in done.stdout, done.stdout + done.stderr
