"""Faults that any kind can have, shown on a sampler."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from broken.row import Row
from gtloop import interfaces
from gtloop.interfaces import Context, Sampler
from gtloop_plugins.samplers.random import Random


class Unfinished(Sampler):
    """Lacks a method."""

    name = "unfinished"
    summary = "has no select"


class Nameless(Random):
    """Has a name that is not a slug."""

    name = "Most Objects"


class Wordy(Random):
    """Has a summary that fits no listing."""

    summary = "takes the images that a committee of several models trained on different folds disagrees about most"


class Outdated(Random):
    """Was written for another version of the plugin interface."""

    api = 0


class Undescribed(Random):
    """Has an option without a description."""

    class Options(interfaces.Options):
        depth: int = 3


class Lax(Random):
    """Takes options that it does not know."""

    class Options(interfaces.Options, extra="allow"):
        depth: int = Field(3, description="how deep")


class Unbuildable(Random):
    """Can't be constructed."""

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        (self.context.workdir / "weights.bin").read_bytes()


ROWS = [
    Row(Unfinished, "check_class_is_complete", "does not implement select"),
    Row(Nameless, "check_name_is_slug", "'Most Objects' is not a slug"),
    Row(Wordy, "check_summary_is_short", "at most 72 fit a listing"),
    Row(Outdated, "check_api_is_current", "written for plugin API 0"),
    Row(Undescribed, "check_options_are_described", "without a description: depth"),
    Row(Lax, "check_options_are_described", "does not refuse unknown keys"),
    Row(Unbuildable, "check_can_be_built", "constructing Unbuildable raised FileNotFoundError"),
]
