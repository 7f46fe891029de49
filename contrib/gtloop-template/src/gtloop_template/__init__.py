"""The hooks of gtloop-template: what the entry point in pyproject.toml names. One distribution, two plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gtloop

if TYPE_CHECKING:
    from gtloop.interfaces import Detector, Sampler


@gtloop.hookimpl
def gtloop_detectors() -> list[type[Detector]]:
    """The classes; imported here, so that a listing of plugins stays quick."""
    from gtloop_template.detector import TemplateDetector

    return [TemplateDetector]


@gtloop.hookimpl
def gtloop_samplers() -> list[type[Sampler]]:
    """The classes; imported here, so that a listing of plugins stays quick."""
    from gtloop_template.sampler import TemplateSampler

    return [TemplateSampler]
