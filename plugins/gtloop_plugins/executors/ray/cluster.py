"""Ray itself: started on this machine, or joined where it runs already. Once a process, at first use."""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import queue
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from gtloop.errors import ConfigError, Unreachable

LOCAL = "local"
PREFIX = "gtloop-ray-"
ANSWERS_S = 5.0
"""Seconds that a cluster's head may take to answer."""
_lock = threading.Lock()
_folder: str | None = None


def address_of(option: str) -> str:
    """The cluster to join, as ``host:port`` or ``auto``; ``local``: none."""
    return option or os.environ.get("RAY_ADDRESS", "") or LOCAL


def check(address: str) -> None:
    """Whether somebody listens at ``address``.

    Raises:
        ConfigError: It is no address.
        Unreachable: Nobody does.
    """
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise ConfigError(
            f"executors.ray.address={address}: give host:port of a Ray cluster's head, or auto for that of this machine"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS_S).close()
    except (OSError, OverflowError) as e:
        raise _unreachable(address, e) from e


def join(address: str) -> str | None:
    """Make Ray usable in this process; does nothing where it is already.

    Returns the folder for what workers write, which goes with Ray; None: theirs to choose.

    What was started here ends with the process. A cluster that was joined goes on, and so does what the program around
    gtloop started by ``ray.init``.

    Raises:
        Unreachable: There is no cluster at ``address``, or it is of another version.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # gtloop reports nothing to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # an actor without GPUs sees none
    import ray

    with _lock:
        if not ray.is_initialized():
            _hush()
            _for_good(_start if address == LOCAL else partial(_connect, address))
        return _folder


def _start() -> None:
    """Ray on this machine alone, which leaves no file behind."""
    import ray

    global _folder
    # Sockets lie below it, and their paths may have 107 characters: TMPDIR may be too long.
    parent = Path("/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir())
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    mine = open(folder / "lock", "w")  # noqa: SIM115 (for as long as this process lives)
    fcntl.flock(mine, fcntl.LOCK_EX)

    def end() -> None:
        global _folder
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        mine.close()
        _folder = None

    atexit.register(end)
    ray.init(
        address=LOCAL, include_dashboard=False, log_to_driver=False, configure_logging=False, _temp_dir=str(folder)
    )
    _folder = str(folder)


def _sweep(parent: Path) -> None:
    """Remove what gtloop left here when it was killed."""
    for lock in parent.glob(f"{PREFIX}*/lock"):
        with suppress(OSError), lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while its process lives
            shutil.rmtree(lock.parent, ignore_errors=True)


def _hush() -> None:
    """Ray tells of a dead worker on standard output, where others read JSON; what matters of it is an error here."""
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    ray._private.worker._worker_logs_enabled = False


def _connect(address: str) -> None:
    import ray

    check(address)
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except Exception as e:  # whatever Ray raises about a cluster that it can't join
        raise _unreachable(address, e) from e


def _for_good(start: Callable[[], None]) -> None:
    """Call ``start`` in a thread that lives as long as this process.

    What Ray starts dies with the thread that did it (PR_SET_PDEATHSIG); and from the main thread it would put its own
    answer to SIGTERM in place of gtloop's.
    """
    outcome: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            start()
        except BaseException as e:
            outcome.put(e)
            return
        outcome.put(None)
        threading.Event().wait()

    threading.Thread(target=run, name="gtloop-ray", daemon=True).start()
    if (error := outcome.get()) is not None:
        raise error


def _unreachable(address: str, error: Exception) -> Unreachable:
    text = " ".join(str(error).split())[:200]
    return Unreachable(
        f"executor 'ray': no cluster of this version of Ray answers at {address} ({text}); start one with: "
        "ray start --head, or leave executors.ray.address out"
    )
