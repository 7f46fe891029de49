"""What the registry knows about a plugin: where it is from, whether it can be used, what it lacks."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from gtloop.interfaces import Plugin

BUILTIN = "builtin"
"""Name of the entry point of the built-in plugins."""
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Origin(NamedTuple):
    """Where a plugin comes from; ``plugin`` is what ``--block`` and ``GTLOOP_PLUGINS`` name."""

    plugin: str
    distribution: str
    version: str


class Failed(NamedTuple):
    """A plugin, or a class of one, that can't be used."""

    name: str
    distribution: str
    error: str
    traceback: str


class Provided(NamedTuple):
    """A class that a plugin provides."""

    cls: type[Plugin]
    plugin: str
    distribution: str
    version: str

    @property
    def builtin(self) -> bool:
        """Whether it comes with gtloop."""
        return self.plugin == BUILTIN and self.distribution == "gtloop"

    @property
    def missing(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        return [name for name in self.cls.requires if not installed(name)]

    @property
    def install(self) -> str:
        """The line that installs what is missing."""
        extra = self.cls.extra
        if extra is None:
            wanted = " ".join(self.missing)
        elif "[" not in extra and (self.builtin or extra in _extras(self.distribution)):
            wanted = f"'{self.distribution}[{extra}]'"
        else:
            wanted = f"'{extra}'"
        return f"pip install {wanted}"


def class_fault(kind: str, cls: Any) -> str:
    """Why ``cls`` is no usable plugin of that kind, one line; empty where it is one."""
    from gtloop.interfaces import KINDS, Options

    base = KINDS[kind]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        return f"{cls!r} is not a subclass of gtloop.interfaces.{base.__name__}"
    for attribute in ("name", "summary"):
        if not isinstance(getattr(cls, attribute, None), str):
            return f"{kind} {cls.__name__} has no {attribute}"
    if not SLUG.fullmatch(cls.name):
        return f"{kind} {cls.__name__}: name {cls.name!r} is not a slug (a-z, 0-9, single hyphens)"
    if inspect.isabstract(cls):
        return f"{kind} {cls.name!r} ({cls.__name__}) does not implement {', '.join(sorted(cls.__abstractmethods__))}"
    if not (isinstance(cls.Options, type) and issubclass(cls.Options, Options)):
        return f"{kind} {cls.name!r}: Options is not a subclass of gtloop.interfaces.Options"
    return ""


def installed(name: str) -> bool:
    """Whether an import name can be imported, without importing it."""
    top = name.partition(".")[0]  # find_spec imports the parents of a dotted name
    try:
        return importlib.util.find_spec(top) is not None
    except ValueError:  # already imported, by a loader that leaves no spec
        return True


def _extras(distribution: str) -> list[str]:
    try:
        return importlib.metadata.metadata(distribution).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []
