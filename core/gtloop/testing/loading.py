"""Plugins of a file or package that need not be installed: what ``gtloop plugins check ./my_plugin.py`` checks."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import NamedTuple

from gtloop.errors import UsageError
from gtloop.interfaces import KINDS
from gtloop.provided import Failed, Provided, installed
from gtloop.registry import Registry


class Target(NamedTuple):
    """The plugins of one module, and what of it can't be used; ``registry`` has them and all that is installed."""

    registry: Registry
    provided: list[Provided]
    failed: list[Failed]


def is_module(text: str) -> bool:
    """Whether ``text`` names a file, a folder or an importable module rather than a plugin."""
    if text.endswith(".py") or "/" in text or "\\" in text or (Path(text) / "__init__.py").is_file():
        return True
    return _dotted(text) and installed(text)


def load_module(text: str, registry: Registry) -> Target:
    """Load the plugins of a ``.py`` file, a package's folder, or an importable module.

    A file is imported as Python would: by its name in its package, or from its folder, which is put on the path.

    Args:
        text: Path or import name.
        registry: What is loaded already; what it blocks stays blocked.

    Raises:
        UsageError: There is no such module, its name is taken, or it provides no plugin.
    """
    path = _path(text)
    name = _import_name(path) if path else text
    found = _of(registry, name)
    if not found.provided:
        found = _of(Registry.load(block=[o.plugin for o in registry.blocked], extra_modules=[name]), name)
    module = sys.modules.get(name)
    if path and module is not None and Path(module.__file__ or "").resolve() != path:
        raise UsageError(f"another module named {name!r} is there already ({module.__file__}); rename {text}")
    if not found.provided and not found.failed:
        raise UsageError(
            f"{text} provides no plugin: it needs a function such as gtloop_samplers, marked @gtloop.hookimpl, "
            f"that returns classes; see docs/plugins/writing.md"
        )
    return found


def _dotted(text: str) -> bool:
    return not text.endswith(".py") and all(part.isidentifier() for part in text.split("."))


def _path(text: str) -> Path | None:
    """The module file that is meant; None for an import name."""
    path = Path(text).resolve()
    if path.is_dir() and (path / "__init__.py").is_file():
        return path / "__init__.py"
    if path.is_file() and path.suffix == ".py":
        return path
    if _dotted(text):
        return None
    raise UsageError(f"{text} is no .py file and no folder with an __init__.py: name one, or the plugin to check")


def _import_name(path: Path) -> str:
    """The name by which ``path`` can be imported, its root put on the path."""
    parts = [] if path.name == "__init__.py" else [path.stem]
    root = path.parent
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    if not all(part.isidentifier() for part in parts):
        raise UsageError(f"{path.name} can't be imported: rename it to letters, digits and _")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    return ".".join(parts)


def _of(registry: Registry, name: str) -> Target:
    """What the module, or a module below it, provides."""
    found = [
        p
        for kind in KINDS
        for p in registry.providers(kind)
        if p.plugin == name or f"{p.cls.__module__}.".startswith(f"{name}.")
    ]
    return Target(registry, found, [f for f in registry.failed if f.name == name])
