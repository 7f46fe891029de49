"""Locks on a run folder: only one process drives a run, or serves its page."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from gtloop.errors import Busy, RunError


def busy(run: Path, who: str, what: str = "driven") -> Busy:
    """What is said to the second who comes; ``who`` is the first: ``pid N``, or more."""
    return Busy(
        f"{run} is being {what} by another process ({who}); wait for it, stop it, or start another run with --run"
    )


class Lock:
    """A file lock, gone with who holds it; one that is ``shared`` is in the way of others only that are not."""

    def __init__(self, run: Path, name: str = "driver.lock", what: str = "driven", shared: bool = False) -> None:
        self.name = name
        self._path, self._what, self._shared = run / name, what, shared
        self._file: IO[str] | None = None

    def __enter__(self) -> Lock:
        try:
            self._file = self._path.open("a+")
        except OSError as e:
            raise RunError(f"{self._path.parent} can't be written ({e.strerror}); name another with --run") from None
        try:
            self._take(self._file)
        except OSError:
            self._file.seek(0)
            pid = self._file.read().strip() or "unknown"
            self._file.close()
            raise busy(self._path.parent, f"pid {pid}", self._what) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()
        return self

    def _take(self, file: IO[str]) -> None:
        """Lock; for up to a second, as somebody may just be looking whether it is (``driven``)."""
        import fcntl

        kind = fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX
        end = time.monotonic() + 1
        while True:
            try:
                return fcntl.flock(file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
            time.sleep(random.uniform(0.001, 0.02))

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()


def driven(run: Path) -> bool:
    """Whether a process drives the run now; a killed one does not. True where that can't be told."""
    return held(run, "driver.lock", shared=True)


def held(run: Path, name: str, *, shared: bool = False) -> bool:
    """Whether a process has the lock of that name; a killed one does not. True where that can't be told.

    A look that is ``shared`` is in nobody's way, other looks among them, and does not see locks that are shared too.
    """
    import fcntl

    try:
        with (run / name).open() as file:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
