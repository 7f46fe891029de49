"""``gtloop plugins``: what is installed, what it can be told, and whether it keeps its contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtloop.errors import UnknownName, UsageError
from gtloop.provided import Provided

if TYPE_CHECKING:
    from gtloop.registry import Registry
    from gtloop.testing import Verdict

app = typer.Typer(help="What is installed, its options, and the contract of plugins.", no_args_is_help=False)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Kind = Annotated[str, typer.Option("--kind", help="Kind of plugin, where several kinds share the name.")]
CAPABILITIES = ("tasks", "forms", "trainable", "spends_money", "patient", "reads", "writes", "metric", "feature_names")


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
    name: Annotated[str, typer.Argument()],
    kind: Kind = "",
    option: Annotated[list[str] | None, typer.Option("-o", help="key=value, an option of the plugin.")] = None,
    as_json: Json = False,
) -> None:
    """Run the contract of a plugin; exit code 1 where it breaks it."""
    from gtloop.testing import verdicts

    registry = _registry(ctx)
    options = dict(_pair(text) for text in option or [])
    results: dict[str, list[Verdict]] = {}
    for provided in _find(registry, name, kind):
        cls = registry.get(provided.cls.kind, name)
        registry.options(cls.kind, name, options, "-o")  # wrong or missing options: one error, not one a check
        results[f"{cls.kind} {cls.name}"] = verdicts(cls, registry, options)
    if as_json:
        ctx.obj.json({title: [v._asdict() for v in found] for title, found in results.items()})
    else:
        for title, found in results.items():
            _say(title, found)
    if not all(v.ok for found in results.values() for v in found):
        raise typer.Exit(1)


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


def _say(title: str, found: list[Verdict]) -> None:
    typer.echo(title)
    for v in found:
        mark = "skip" if v.skipped else "ok  " if v.ok else "FAIL"
        typer.echo(f"  {mark}  {v.check}: {v.message}")
    failed = sum(not v.ok for v in found)
    skipped = sum(v.skipped for v in found)
    typer.echo(f"  {len(found) - failed - skipped} ok, {failed} failed, {skipped} skipped")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"-o {text}: write it as key=value")
    return key.strip(), value.strip()
