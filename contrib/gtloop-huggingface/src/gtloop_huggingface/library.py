"""The libraries of Hugging Face, told to report to nobody and to draw no progress bars."""

from __future__ import annotations

import os
from typing import Any


def quiet() -> None:
    """Set what the libraries read when they are imported; what the user has set stays."""
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")


def datasets() -> Any:
    """The library ``datasets``."""
    quiet()
    import datasets

    return datasets


def transformers() -> Any:
    """The library ``transformers``."""
    quiet()
    import transformers

    return transformers
