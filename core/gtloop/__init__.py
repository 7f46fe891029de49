"""gtloop: unlabelled images in, labelled data out, with an honest promise of quality.

``gtloop.open(run)`` reads a run; ``gtloop.testing`` checks plugins; ``gtloop.hookimpl`` marks hooks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gtloop.hookspecs import hookimpl

if TYPE_CHECKING:
    from gtloop.opened import Run

__version__ = "0.1.0"
__all__ = ["__version__", "hookimpl", "open"]


def open(run: str | Path) -> Run:
    """Open a run folder to read it: ``.status()``, ``.labels()``, ``.events()``.

    Raises:
        RunError: There is no run, or another version of gtloop made it.
    """
    from gtloop.opened import Run

    return Run.open(Path(run))
