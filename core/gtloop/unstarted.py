"""A run folder whose run has not started: what may be in it, and how that goes away again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from gtloop.errors import RunError
from gtloop.interfaces import KINDS
from gtloop.opened import LEDGER

STARTING = {"driver.lock", "items.parquet", "labels", "listing", "models", "run.toml"}
STARTING |= {f"{LEDGER}-wal", f"{LEDGER}-shm"}
"""What a start that was broken off may leave; the next one goes over it."""


def ask(root: Path, agree: Callable[[str], bool], why: str) -> None:
    """Go on where somebody agrees; else leave nothing behind that looks like a run.

    Args:
        root: Run folder, of a run that has not started.
        agree: Told ``why``, says whether to start all the same.
        why: What speaks against it.

    Raises:
        RunError: Nobody agrees.
    """
    agrees = False
    try:
        agrees = agree(why)
    finally:  # Ctrl-C says no as well
        if not agrees:
            _remove(root)
    if not agrees:
        raise RunError("nothing was started, and nobody was asked; run again with other settings")


def _remove(root: Path) -> None:
    for path in (root / name for name in (*STARTING, LEDGER, *KINDS)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if not any(root.iterdir()):
        root.rmdir()
