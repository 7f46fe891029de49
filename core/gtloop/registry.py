"""Which plugins are installed: loaded one by one, guarded, and chosen by kind and name.

A plugin that fails to load, a class that is not what it says, or an observer that raises is
recorded in ``Registry.failed`` (or logged) with its owner's name and hurts nobody else.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import logging
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import pluggy

import gtloop
from gtloop import hookspecs
from gtloop.errors import GtloopError, IncompatibleApi, MissingExtra, NameClash, PluginFault, UnknownName
from gtloop.provided import BUILTIN, Failed, Origin, Provided, class_fault

if TYPE_CHECKING:
    import typer

    from gtloop.events import Event
    from gtloop.interfaces import Context, Options, Plugin
    from gtloop.state import State

GROUP = "gtloop"
ALLOW = "GTLOOP_PLUGINS"
log = logging.getLogger("gtloop.plugins")


class Registry:
    """The installed plugins. ``failed`` and ``blocked`` say what is not there, and why.

    The classes of a kind are asked for when the kind is first needed, so that ``gtloop --help`` imports none.
    """

    def __init__(self) -> None:
        self._faults: list[Failed] = []
        self.blocked: list[Origin] = []
        self._pm = pluggy.PluginManager(GROUP)
        self._pm.add_hookspecs(hookspecs)
        self._origins: dict[str, Origin] = {}
        self._provided: dict[str, list[Provided]] = {}

    # ---------------------------------------------------------------------------------- loading

    @classmethod
    def load(
        cls, discover: bool = True, block: Sequence[str] = (), extra_modules: Sequence[str | ModuleType] = ()
    ) -> Registry:
        """Load plugins; never raises for a plugin's fault.

        Args:
            discover: Load the entry points of the group ``gtloop``. The environment variable
                ``GTLOOP_PLUGINS`` (names, comma separated) limits them; built-ins always load.
            block: Names of plugins (or of their distributions) not to load.
            extra_modules: Further modules, or their import names, to register.
        """
        self = cls()
        if discover:
            self._discover(set(block))
        for module in extra_modules:
            name = module if isinstance(module, str) else module.__name__
            origin = Origin(name, f"module {name}", "")
            if name == "gtloop_plugins":
                origin = Origin(BUILTIN, "gtloop", gtloop.__version__)
            if not self._is_blocked(origin, set(block)):
                self._register(origin, partial(_module, module))
        return self

    @property
    def failed(self) -> list[Failed]:
        """Every plugin, or class of one, that can't be used; asks all plugins for all kinds."""
        from gtloop.interfaces import KINDS

        for kind in KINDS:
            self._of(kind)
        return self._faults

    def _of(self, kind: str) -> list[Provided]:
        if kind not in self._provided:
            self._provided[kind] = []
            self._collect(kind)
        return self._provided[kind]

    def _discover(self, block: set[str]) -> None:
        allowed = os.environ.get(ALLOW)
        allow = None if allowed is None else {name.strip() for name in allowed.split(",") if name.strip()}
        seen = set()
        # One by one, because one broken plugin must not hide the others. Not by
        # pm.load_setuptools_entrypoints(name=...): of two distributions with the same entry point
        # name it would drop one without a word.
        for point in sorted(importlib.metadata.entry_points(group=GROUP), key=_order):
            name, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "")
            seen.add(point.name)
            unique = point.name if point.name not in self._origins else f"{point.name}@{name}"
            origin = Origin(unique, name, version)
            if self._is_blocked(origin, block):
                continue
            if allow is not None and point.name not in allow | {BUILTIN}:
                self.blocked.append(origin)
                continue
            self._register(origin, point.load)
        for absent in sorted((allow or set()) - seen):
            self._faults.append(Failed(absent, "", f"{ALLOW} names {absent!r}, which is not installed", ""))

    def _is_blocked(self, origin: Origin, block: set[str]) -> bool:
        plain = origin.plugin.partition("@")[0]
        blocked = bool({plain, f"{plain}@{origin.distribution}", origin.distribution} & block)
        if blocked:
            self.blocked.append(origin)
        return blocked

    def _register(self, origin: Origin, load: Callable[[], Any]) -> None:
        self._origins[origin.plugin] = origin
        with self._guard(origin, "cannot be loaded"):
            module = load()
            self._pm.register(module, name=origin.plugin)
            try:
                self._pm.check_pending()
            except pluggy.PluginValidationError:
                self._pm.unregister(module)
                raise

    @contextmanager
    def _guard(self, origin: Origin, what: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as e:
            reason = " ".join(str(e).split()) or type(e).__name__
            error = f"{what}: {type(e).__name__}: {reason}"
            self._faults.append(Failed(origin.plugin, origin.distribution, error, traceback.format_exc()))

    def _implementations(self, hook: str) -> list[tuple[Origin, pluggy.HookImpl]]:
        found = getattr(self._pm.hook, hook).get_hookimpls()
        return [(self._origins[impl.plugin_name], impl) for impl in found]

    def _collect(self, kind: str) -> None:
        hook = f"gtloop_{kind}s"
        for origin, impl in self._implementations(hook):
            classes: list[Any] = []
            with self._guard(origin, f"{hook} raised"):
                classes = list(cast(Iterable[Any], impl.function()))
            for cls in classes:
                fault = class_fault(kind, cls) or self._repeated(kind, cls, origin)
                if fault:
                    self._faults.append(Failed(origin.plugin, origin.distribution, fault, ""))
                else:
                    self._provided[kind].append(Provided(cls, *origin))

    def _repeated(self, kind: str, cls: type[Plugin], origin: Origin) -> str:
        same = [p.cls for p in self._provided[kind] if p.plugin == origin.plugin and p.cls.name == cls.name]
        return f"{kind} {cls.name!r} is provided twice: {same[0].__name__}, {cls.__name__}" if same else ""

    # ---------------------------------------------------------------------------------- choosing

    def providers(self, kind: str) -> list[Provided]:
        """Every usable class of a kind, sorted by name."""
        return sorted(self._of(kind), key=lambda p: (p.cls.name, p.distribution, p.plugin))

    def names(self, kind: str) -> list[str]:
        """Names of a kind, sorted, each once."""
        return sorted({p.cls.name for p in self._of(kind)})

    def find(self, kind: str, name: str) -> Provided:
        """The class of that name, or ``name@distribution``, whether or not its libraries are there.

        Raises:
            UnknownName: There is none; says the nearest and the installed names.
            NameClash: It is provided twice; says by whom and how to choose.
        """
        plain, _, distribution = name.partition("@")
        found = [p for p in self.providers(kind) if p.cls.name == plain and distribution in ("", p.distribution)]
        if len(found) == 1:
            return found[0]
        if not found:
            raise UnknownName(self._unknown(kind, name))
        by = " and ".join(f"{p.plugin!r} ({p.distribution} {p.version})".replace(" )", ")") for p in found)
        choice = f"--block {found[-1].plugin}"
        if len({p.distribution for p in found}) == len(found):
            choice = f"say {plain}@{found[0].distribution}, or block one: {choice}"
        raise NameClash(f"{kind} {plain!r} is provided by both {by}; {choice}")

    def _unknown(self, kind: str, name: str) -> str:
        names = self.names(kind)
        message = f"no {kind} named {name!r}."
        if close := difflib.get_close_matches(name.partition("@")[0], names, n=1):
            offers = [f"{close[0]}@{p.distribution}" for p in self.providers(kind) if p.cls.name == close[0]]
            message += f" Did you mean {(offers[0] if '@' in name else close[0])!r}?"
        message += f" Installed: {', '.join(names) or 'none'}."
        if self.failed:
            message += f" {len(self.failed)} failed to load: gtloop plugins list --errors"
        return message

    def get(self, kind: str, name: str) -> type[Plugin]:
        """The class of that name, ready to be built.

        Raises:
            UnknownName, NameClash: As ``find``.
            IncompatibleApi: It was written for another version of the plugin interface.
            MissingExtra: A library that it needs is not installed; says the pip line.
        """
        from gtloop.interfaces import API

        found = self.find(kind, name)
        cls: type[Plugin] = found.cls
        if cls.api != API:
            side = f"upgrade {found.distribution}" if cls.api < API else "upgrade gtloop"
            raise IncompatibleApi(
                f"{kind} {cls.name!r} ({found.distribution} {found.version}) was written for plugin API {cls.api}, "
                f"this gtloop has {API}: {side}"
            )
        if found.missing:
            packages = f"package{'s' if len(found.missing) > 1 else ''} {', '.join(found.missing)}"
            raise MissingExtra(f"{kind} {cls.name!r} needs the {packages}. Install: {found.install}")
        return cls

    def options(
        self, kind: str, name: str, table: Mapping[str, Any], where: str | Mapping[str, str] = "options"
    ) -> Options:
        """Validate a TOML table or ``-o`` strings by the plugin's ``Options``; ``where`` is as in ``validate``.

        Raises:
            ConfigError: ``gtloop.toml: annotators.mturk.reward_cent: unknown option (got 7); ...``
        """
        from gtloop import plugin_options

        return plugin_options.validate(self.find(kind, name).cls, table, where)

    def build(self, kind: str, name: str, options: Options | Mapping[str, Any], context: Context) -> Any:
        """Make the plugin.

        Raises:
            UsageError: As ``get`` and ``options``.
            PluginFault: Its constructor raised something that is not gtloop's.
        """
        from gtloop.interfaces import Options

        cls = self.get(kind, name)
        checked = options if isinstance(options, Options) else self.options(kind, name, options)
        try:
            return cls(checked, context)
        except GtloopError:
            raise
        except Exception as e:
            raise PluginFault(f"{kind} {cls.name!r} can't be built: {type(e).__name__}: {e}") from e

    # ---------------------------------------------------------------------- commands and observers

    def commands(self, app: typer.Typer) -> None:
        """Let every plugin add its commands; one that raises is recorded as failed."""
        for origin, impl in self._implementations("gtloop_commands"):
            with self._guard(origin, "gtloop_commands raised"):
                _call(impl, app=app)

    def notify(self, event: Event, state: State) -> None:
        """Tell every observer about a committed event; what they raise is logged."""
        for origin, impl in self._implementations("gtloop_event"):
            try:
                _call(impl, event=event, state=state)
            except Exception as e:
                what = f"{type(e).__name__}: {' '.join(str(e).split())}"
                log.exception("observer of plugin %r (%s) failed: %s", origin.plugin, origin.distribution, what)


def _module(module: str | ModuleType) -> ModuleType:
    return importlib.import_module(module) if isinstance(module, str) else module


def _call(impl: pluggy.HookImpl, **arguments: Any) -> None:
    impl.function(*(arguments[name] for name in impl.argnames))


def _order(point: importlib.metadata.EntryPoint) -> tuple[bool, str, str]:
    return (point.name != BUILTIN, point.name, point.dist.name if point.dist else "")
