"""The real library, sealed: nothing is installed, downloaded or reported, and nothing is written outside of a fit.

Importing ``ultralytics`` looks for the network, writes ``settings.json``, ``persistent_cache.json`` and the like below
the user's home, replaces ``torch.save`` and sets ``OMP_NUM_THREADS``; a training reports itself to Google Analytics, to
the maker's platform and to whatever tracker is installed (``ultralytics/utils/__init__.py``, ``events.py`` and
``callbacks``, 8.4.190). Whoever needs the library gets it from here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np

from gtloop.errors import MissingExtra

OLDEST = "8.4.190"
"""What this was written against; older versions lack semantic segmentation and the careful opening of weights."""
_SEAL = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false", "ULTRALYTICS_SAFE_LOAD": "true"}
"""Set for the whole process: child processes and later imports are sealed, too."""


def sealed(scratch: Path) -> ModuleType:
    """The module ``ultralytics``, imported and sealed.

    Args:
        scratch: A folder to write to; it is left as it was.

    Raises:
        MissingExtra: It is older than ``OLDEST``.
    """
    found = version("ultralytics")
    if _numbers(found) < _numbers(OLDEST):
        raise MissingExtra(
            f"detector 'ultralytics' needs ultralytics {OLDEST} or later, not {found}. "
            "Install: pip install -U 'gtloop[ultralytics]'"
        )
    if "ultralytics" not in sys.modules:
        _first_import(scratch)
    import torch
    import ultralytics
    from PIL import Image
    from ultralytics.nn import tasks
    from ultralytics.utils import LOGGER, SETTINGS, checks, events, patches, torch_utils

    # Its own opener asks to install a package where an image is broken, instead of saying that it is.
    if Image.open is patches.image_open:
        Image.open = patches._image_open
    # Someone else may have imported it before, with other ideas.
    LOGGER.setLevel(logging.ERROR)
    events.events.enabled = False
    checks.AUTOINSTALL = checks.ONLINE = False
    torch_utils.NUM_THREADS = torch.get_num_threads()  # it would set its own number for the whole process
    tasks.SAFE_LOAD = True  # no eval of what an architecture says, no pickles of unknown classes
    off = {key: False for key, value in SETTINGS.items() if isinstance(value, bool)}
    dict.update(SETTINGS, off | {"api_key": ""})  # not SETTINGS.update, which writes the user's file
    return ultralytics  # type: ignore[no-any-return]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _first_import(scratch: Path) -> None:
    # torch settles its number of threads when it is loaded: before ultralytics says that it is to be one.
    import torch

    os.environ.update(_SEAL)
    before = {key: os.environ.get(key) for key in ("YOLO_CONFIG_DIR", "MPLCONFIGDIR", "OMP_NUM_THREADS")}
    save = torch.save
    made = [folder for folder in (scratch, *scratch.parents) if not folder.exists()]
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=scratch, prefix="ultralytics-") as folder:
            os.environ["YOLO_CONFIG_DIR"] = os.environ["MPLCONFIGDIR"] = folder
            import ultralytics.engine.trainer
            import ultralytics.models.yolo
            import ultralytics.utils.events  # noqa: F401
    finally:
        torch.save = save
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        for empty in made:
            with contextlib.suppress(OSError):
                empty.rmdir()


@contextlib.contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seed the generators that the library draws from, and put them back as they were."""
    import torch

    states = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        try:
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
