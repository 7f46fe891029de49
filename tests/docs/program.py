"""The program whose documentation is tested: its commands by path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from gtloop.cli import build_app
from gtloop.registry import Registry


def leaves(command: Any, path: str = "gtloop") -> Iterator[tuple[str, Any]]:
    """Every command and group of the program with its path, such as ``gtloop plugins list``."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from leaves(child, f"{path} {name}")


def program(registry: Registry) -> Any:
    """The program with the commands of the plugins of a registry."""
    return typer.main.get_command(build_app(registry))
