"""The hooks of gtloop-huggingface: the format ``huggingface`` and the detector ``transformers``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gtloop

if TYPE_CHECKING:
    from gtloop.interfaces import Detector, Format


@gtloop.hookimpl
def gtloop_formats() -> list[type[Format]]:
    """The class; imported here, so that a listing of plugins stays quick."""
    from gtloop_huggingface.dataset import HuggingFace

    return [HuggingFace]


@gtloop.hookimpl
def gtloop_detectors() -> list[type[Detector]]:
    """The class; imported here, so that a listing of plugins stays quick."""
    from gtloop_huggingface.detector import Transformers

    return [Transformers]
