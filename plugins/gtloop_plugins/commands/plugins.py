"""``gtloop plugins``: what is installed, what it can be told, and whether it keeps its contract."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtloop.errors import ConfigError, UnknownName, UsageError
from gtloop.provided import Provided

if TYPE_CHECKING:
    from gtloop.registry import Registry
    from gtloop.testing import Verdict
    from gtloop.testing.loading import Target

app = typer.Typer(help="What is installed, its options, and the contract of plugins.", no_args_is_help=False)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Kind = Annotated[str, typer.Option("--kind", help="Kind of plugin, where several kinds share the name.")]
CAPABILITIES = (
    "tasks",
    "forms",
    "modes",
    "trainable",
    "spends_money",
    "patient",
    "reads",
    "writes",
    "metric",
    "feature_names",
)


@app.callback(invoke_without_command=True)
def default(ctx: typer.Context) -> None:
    """List plugins where no other command is given."""
    if ctx.invoked_subcommand is None:
        list_plugins(ctx)


@app.command("list")
def list_plugins(
    ctx: typer.Context,
    as_json: Json = False,
    errors: Annotated[bool, typer.Option("--errors", help="Show the tracebacks of what failed to load.")] = False,
) -> None:
    """List every plugin, and what failed or is blocked."""
    from gtloop.interfaces import KINDS  # here and below: not needed for `gtloop --help`

    registry = _registry(ctx)
    rows = [_row(p) for kind in KINDS for p in registry.providers(kind)]
    failed = [f._asdict() for f in registry.failed]
    if as_json:
        blocked = [o._asdict() for o in registry.blocked]
        ctx.obj.json({"plugins": rows, "failed": failed, "blocked": blocked})
    elif errors:
        for f in registry.failed:
            typer.echo(f"{f.name} ({f.distribution}): {f.error}\n{f.traceback}".rstrip() + "\n")
        if not failed:
            typer.echo("every plugin loaded")
    else:
        _table(registry, rows)


@app.command("show")
def show(ctx: typer.Context, name: Annotated[str, typer.Argument()], kind: Kind = "", as_json: Json = False) -> None:
    """Show a plugin: its options, licence, and what it needs and gives."""
    found = [_details(p) for p in _find(_registry(ctx), name, kind)]
    if as_json:
        ctx.obj.json(found[0] if len(found) == 1 else found)
        return
    for details in found:
        _describe(details)


@app.command("check")
def check(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument()] = None,
    kind: Kind = "",
    option: Annotated[list[str] | None, typer.Option("-o", help="key=value, an option of the plugin.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Check every plugin that is not built in.")] = False,
    as_json: Json = False,
) -> None:
    """Run the contract of a plugin, a .py file or a package; exit code 1 where it breaks it."""
    registry = _registry(ctx)
    options = dict(_pair(text) for text in option or [])
    if (name is None) != everything:
        raise UsageError("name a plugin, a .py file or a package: gtloop plugins check NAME; or check all with --all")
    if everything and options:
        raise UsageError("-o goes with one plugin: gtloop plugins check NAME -o KEY=VALUE")
    target = _chosen(registry, name, kind, options)
    results: dict[str, list[Verdict]] = {}
    for title, found in _checks(target, options, strict=not everything):
        if not as_json:
            typer.echo(title)
        results[title] = [v if as_json else _say(v) for v in found]
        if not as_json:
            _conclude(results[title])
    if as_json:
        ctx.obj.json({title: [v._asdict() for v in found] for title, found in results.items()})
    elif len(results) != 1:
        _summarise(results)
    if not all(v.ok for found in results.values() for v in found):
        raise typer.Exit(1)


def _chosen(registry: Registry, name: str | None, kind: str, options: Mapping[str, str]) -> Target:
    """What is to be checked: plugins of a name, of a module, or all that are not built in."""
    from gtloop.interfaces import KINDS
    from gtloop.testing.loading import Target, is_module, load_module

    if kind and kind not in KINDS:
        raise UsageError(f"no kind named {kind!r}; there are: {', '.join(KINDS)}")
    if name is None:
        outside = [p for k in KINDS for p in registry.providers(k) if not p.builtin]
        target = Target(registry, outside, [f for f in registry.failed if f.distribution != "gtloop"])
    elif any(name.partition("@")[0] in registry.names(k) for k in KINDS) or not is_module(name):
        found = _find(registry, name, kind)
        for p in found:
            registry.get(p.cls.kind, name)  # a missing library or another API: one error, not one a check
        target = Target(registry, found, [])
    else:
        target = load_module(name, registry)
    if kind:
        target = target._replace(provided=[p for p in target.provided if p.cls.kind == kind])
    if options and len({p.cls.kind for p in target.provided}) != len(target.provided):
        raise UsageError(f"{name} provides {len(target.provided)} plugins: -o goes with one; choose it with --kind")
    return target


def _checks(target: Target, options: Mapping[str, str], strict: bool) -> Iterator[tuple[str, Iterable[Verdict]]]:
    """(title, verdicts) of each plugin; wrong or missing options are an error if ``strict``, else a skip."""
    from gtloop import plugin_options
    from gtloop.testing import Verdict, each_verdict

    for f in target.failed:
        places = re.findall(r'File "(.+?)", line (\d+)', f.traceback)
        at = " See {}, line {}.".format(*places[-1]) if places else ""
        advice = f"Mend it, and check again: gtloop ignores what it can't load.{at}"
        yield f"{f.name} ({f.distribution})", [Verdict("load", False, f.error, advice=advice)]
    for p in target.provided:
        title = f"{p.cls.kind} {p.cls.name}" + ("" if strict else f" ({p.distribution} {p.version}".rstrip() + ")")
        if p.missing:
            yield title, [Verdict("load", True, f"needs {', '.join(p.missing)}: {p.install}", skipped=True)]
            continue
        try:
            plugin_options.validate(p.cls, options, "-o")
        except ConfigError as e:
            if strict:
                raise
            how = f"{e}; check it alone: gtloop plugins check {p.cls.name} -o KEY=VALUE"
            yield title, [Verdict("load", True, how, skipped=True)]
            continue
        yield title, each_verdict(p.cls, target.registry, options)


def _registry(ctx: typer.Context) -> Registry:
    registry: Registry = ctx.obj.registry
    return registry


def _find(registry: Registry, name: str, kind: str) -> list[Provided]:
    """Every plugin of that name, of one kind or of all."""
    from gtloop.interfaces import KINDS

    if kind and kind not in KINDS:
        raise UsageError(f"no kind named {kind!r}; there are: {', '.join(KINDS)}")
    if kind:
        return [registry.find(kind, name)]
    found = []
    for each in KINDS:
        try:
            found.append(registry.find(each, name))
        except UnknownName:
            continue
    if not found:
        import difflib

        names = sorted({n for k in KINDS for n in registry.names(k)})
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        lost = len(registry.failed)
        hint += f" {lost} failed to load: gtloop plugins list --errors." if lost else ""
        raise UnknownName(f"no plugin named {name!r}.{hint} See them all: gtloop plugins list")
    return found


def _row(p: Provided) -> dict[str, Any]:
    return {
        "kind": p.cls.kind,
        "name": p.cls.name,
        "plugin": p.plugin,
        "distribution": p.distribution,
        "version": p.version,
        "status": _status(p),
        "summary": p.cls.summary,
    }


def _status(p: Provided) -> str:
    from gtloop.interfaces import API

    if p.cls.api != API:
        return f"written for API {p.cls.api}"
    return f"missing {', '.join(p.missing)}" if p.missing else "ready"


def _table(registry: Registry, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("kind", "name", "from", "status", "summary"):
        table.add_column(heading, no_wrap=heading in ("kind", "name"))
    for r in rows:
        cells = (r["kind"], r["name"], f"{r['distribution']} {r['version']}", r["status"], r["summary"])
        table.add_row(*(Text(c.strip()) for c in cells))
    for f in registry.failed:
        table.add_row(*(Text(c) for c in ("", f.name, f.distribution, "failed", f.error)))
    for o in registry.blocked:
        table.add_row(*(Text(c) for c in ("", o.plugin, f"{o.distribution} {o.version}", "blocked", "")))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a pipe has no width: do not fold lines at 80
    console.print(table)
    if registry.failed:
        typer.echo("tracebacks: gtloop plugins list --errors")


def _details(p: Provided) -> dict[str, Any]:
    from gtloop import plugin_options

    cls = p.cls
    capabilities = {name: getattr(cls, name) for name in CAPABILITIES if hasattr(cls, name)}
    return {
        **_row(p),
        "class": f"{cls.__module__}:{cls.__qualname__}",
        "licence": cls.licence,
        "requires": list(cls.requires),
        "install": p.install if p.missing else None,
        "needs": sorted(cls.needs),
        "gives": sorted(cls.gives),
        **{name: sorted(v) if isinstance(v, frozenset) else v for name, v in capabilities.items()},
        "table": f"{plugin_options.table_name(cls.kind)}.{cls.name}",
        "options": [o._asdict() for o in plugin_options.describe(cls)],
    }


def _describe(details: Mapping[str, Any]) -> None:
    typer.echo(f"{details['kind']} {details['name']}: {details['summary']}")
    skip = {"kind", "name", "summary", "options", "table", "plugin", "version", "distribution"}
    typer.echo(f"  from: {details['plugin']} ({details['distribution']} {details['version']})")
    for key, value in details.items():
        if key in skip or value is None or value == []:
            continue
        text = ", ".join(value) if isinstance(value, list | tuple) else str(value)
        typer.echo(f"  {key.replace('_', ' ')}: {text}")
    options = details["options"]
    typer.echo(
        f"  options, in [{details['table']}] or as -o {details['table']}.KEY=VALUE:" if options else "  no options"
    )
    for o in options:
        typer.echo(f"    {o['name']} ({o['type']}, {o['default']}): {o['description']}")


def _say(v: Verdict) -> Verdict:
    """Print one line about a check, as soon as its verdict is there."""
    mark = "skip" if v.skipped else "ok  " if v.ok else typer.style("FAIL", fg="red", bold=True)
    typer.echo(f"  {mark}  {v.check}: {v.message}")
    return v


def _conclude(found: Sequence[Verdict]) -> None:
    """Repeat the failures with what to do about them, and count."""
    failed = [v for v in found if not v.ok]
    if len(found) == 1 == len(failed):  # it stands right above
        typer.echo(f"        what to do: {failed[0].advice}")
        return
    for n, v in enumerate(failed, 1):
        typer.echo(f"\n  failure {n} of {len(failed)}: {v.check}")
        typer.echo(f"    fault:      {v.message}")
        typer.echo(f"    what to do: {v.advice}")
    skipped = sum(v.skipped for v in found)
    blank = "\n" if failed else ""
    typer.echo(f"{blank}  {len(found) - len(failed) - skipped} ok, {len(failed)} failed, {skipped} skipped")


def _summarise(results: Mapping[str, Sequence[Verdict]]) -> None:
    """One line about several plugins."""
    if not results:
        typer.echo("nothing to check: every plugin that is installed is built in")
        return
    bad = [title for title, found in results.items() if not all(v.ok for v in found)]
    which = f": {', '.join(bad)}" if bad else ""
    typer.echo(f"{len(results)} plugins checked, {len(bad)} broken{which}")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"-o {text}: write it as key=value")
    return key.strip(), value.strip()
