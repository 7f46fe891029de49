"""Running the page: one process, one address, until it is interrupted."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from gtloop.errors import GtloopError
from gtloop.files import write_atomic
from gtloop_plugins.annotators.local.site import EVERYWHERE, Site

logger = logging.getLogger(__name__)

NEARBY = 20
"""How many ports after the usual one are tried."""
GRACE_S = 5
TIDY_S = 5.0
SWITCH_S = 0.001


def listen(host: str, port: int, nearby: bool) -> socket.socket:
    """A socket that listens at a port, or with ``nearby`` at the next that is free.

    Raises:
        GtloopError: It can't listen there.
    """
    for candidate in range(port, port + 1 + (NEARBY if nearby else 0)):
        try:
            return _bound(host, candidate)
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                reason = (e.strerror or str(e)).lower()
                raise GtloopError(
                    f"can't listen at {host} port {candidate}: {reason}; give another host or port"
                ) from None
    raise GtloopError(
        f"port {port} of {host} is taken by another program; give another: "
        f"-o annotators.local.port={port + 1}, or to gtloop serve: --port {port + 1}"
    )


def _bound(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, proto, _, address = found[0]
    bound = socket.socket(family, kind, proto)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError:
        bound.close()
        raise
    return bound


@contextmanager
def announced(folder: Path, url: str, many: bool = False) -> Iterator[None]:
    """Say in ``serve.json`` where the page is, while it is; of ``many``, where the last that was opened is.

    Raises:
        GtloopError: Another process serves this run, and it may not be many.
    """
    with _serving(folder, many):
        path = folder / "serve.json"
        said = json.dumps({"pid": os.getpid(), "url": url}).encode()
        write_atomic(path, said)
        try:
            yield
        finally:
            with suppress(FileNotFoundError):  # another may have been the last, and gone before
                if not many or path.read_bytes() == said:
                    path.unlink()


def served_at(folder: Path) -> str | None:
    """The address of the page, where a process serves it."""
    lock = folder / "serve.lock"
    if not lock.exists():
        return None
    with lock.open("a+") as file:
        if _locked(file):
            return None
    try:
        return str(json.loads((folder / "serve.json").read_text())["url"])
    except (OSError, ValueError, KeyError):
        return None


@contextmanager
def _serving(folder: Path, many: bool) -> Iterator[None]:
    """The lock of who serves, in the block: alone, or as one of many."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "serve.lock").open("a+") as file:
        # more than once: who only looks whether a page is there holds it for a moment
        for _ in range(5):
            if _locked(file, many):
                break
            time.sleep(0.1)
        else:
            raise GtloopError(f"this run is served already, at {served_at(folder) or 'another process'}; use that page")
        yield


def _locked(file: IO[str], shared: bool = False) -> bool:
    """Whether the lock is ours now; it goes with the file."""
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def serve(site: Site, app: Any, bound: socket.socket, started: Callable[[], None]) -> None:
    """Answer requests until SIGINT or SIGTERM; those in progress are finished first."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                started()

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Stop at a signal, without raising it again afterwards as uvicorn does."""
            if threading.current_thread() is not threading.main_thread():
                yield
                return
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.handle_exit, number, None)
            try:
                yield
            finally:
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.remove_signal_handler(number)

    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=60,
    )
    server = Server(config)
    site.watch.start()
    # A thread that comes back from the database gets its turn within a millisecond, not five.
    sys.setswitchinterval(SWITCH_S)
    try:
        with _tidied(site):
            server.run([bound])
    finally:
        site.watch.stop()
        bound.close()


@contextmanager
def _tidied(site: Site) -> Iterator[None]:
    """Do beside the requests what they would have to wait for: keep the log short, end what is past its deadline."""
    stop = threading.Event()

    def keep() -> None:
        while not stop.wait(TIDY_S):
            try:
                site.database.checkpoint()
                site.desk.expire()
            except Exception:  # a full disk, say: answers meet it too, and the next time may do
                logger.exception("the database can't be tidied now")

    thread = threading.Thread(target=keep, name="tidy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)


def anywhere(host: str) -> bool:
    """Whether a server at this host is reached from other machines."""
    return host in EVERYWHERE or not host.startswith(("127.", "localhost", "::1"))
