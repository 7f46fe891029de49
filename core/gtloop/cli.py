"""The command line: ``build_app(registry)``; no logic lives here.

Exit codes of ``run``: 0 finished (or cancelled), 3 waiting for people, for a yes or paused, 4 stopped by the budget,
1 error, 2 usage. Errors are one line; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtloop.errors import GtloopError, UsageError
from gtloop.mistyping import MISTYPED, tell

if TYPE_CHECKING:
    from gtloop.registry import Registry

EXIT = {"finished": 0, "cancelled": 0, "waiting": 3, "confirm": 3, "paused": 3, "budget": 4}
CONFIG = "gtloop.toml"


@dataclass
class Cli:
    """What every command finds in ``ctx.obj``."""

    registry: Registry
    debug: bool = False

    def json(self, value: Any) -> None:
        """Print a value as JSON."""
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


RunArgument = Annotated[Path | None, typer.Argument(help="Run folder; default: the one of ./gtloop.toml.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
Overrides = Annotated[
    list[str] | None, typer.Option("-o", metavar="KIND.PLUGIN.KEY=VALUE", help="Any option; may be repeated.")
]


def build_app(registry: Registry) -> typer.Typer:
    """The program with the commands of core and of every plugin."""
    app = typer.Typer(
        name="gtloop",
        help="Turn unlabelled images into labelled data with as little human work as an honest promise allows.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )

    @app.callback(result_callback=lambda _value, **_: None)  # what a command returns is no exit code
    def main_callback(
        ctx: typer.Context,
        debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
        block: Annotated[list[str] | None, typer.Option(help="Plugin not to load; may be repeated.")] = None,
    ) -> None:
        ctx.obj = Cli(registry, debug)

    _add_run(app)
    _add_reading(app)
    registry.commands(app)
    return app


def _add_run(app: typer.Typer) -> None:
    @app.command()
    def init(
        ctx: typer.Context,
        images: Annotated[str, typer.Argument(help="Folder, glob, manifest or URL of images.")],
        task: Annotated[str, typer.Option(help="Task type.")] = "bbox",
        classes: Annotated[str | None, typer.Option(help="Categories, comma separated.")] = None,
        force: Annotated[bool, typer.Option("--force", help="Replace a gtloop.toml that is there.")] = False,
    ) -> None:
        """Write a commented gtloop.toml for a source of images."""
        from gtloop.starter import write_config

        typer.echo(write_config(Path(CONFIG), images, task, _split(classes), ctx.obj.registry, force=force))

    @app.command()
    def run(
        ctx: typer.Context,
        images: Annotated[str | None, typer.Argument(help="Folder, glob, manifest or URL of images.")] = None,
        config: Annotated[Path | None, typer.Option(help="Settings file; default: ./gtloop.toml if there.")] = None,
        task: Annotated[str | None, typer.Option(help="Task type: bbox, classification, ...")] = None,
        annotator: Annotated[str | None, typer.Option(help="Where human labels come from.")] = None,
        detector: Annotated[str | None, typer.Option(help="What learns and predicts.")] = None,
        sampler: Annotated[str | None, typer.Option(help="What people label next.")] = None,
        score: Annotated[str | None, typer.Option(help="Image confidence.")] = None,
        executor: Annotated[str | None, typer.Option(help="Where fits and predictions run.")] = None,
        classes: Annotated[str | None, typer.Option(help="Categories, comma separated.")] = None,
        truth: Annotated[
            str | None, typer.Option(help="Known labels, for synthetic annotators: PATH or FORMAT:PATH.")
        ] = None,
        labels: Annotated[
            str | None, typer.Option(help="Human labels that are there already; only what is missing is asked.")
        ] = None,
        warm_from: Annotated[
            Path | None, typer.Option(help="Run or exported model that every fit starts from.")
        ] = None,
        target: Annotated[float | None, typer.Option(help="Mean quality promised of machine labels.")] = None,
        promise: Annotated[str | None, typer.Option(help="Kind of promise: selective or dataset.")] = None,
        delta: Annotated[float | None, typer.Option(help="Probability that the promise may be broken.")] = None,
        workers: Annotated[int | None, typer.Option(help="People who answer each item.")] = None,
        batch: Annotated[int | None, typer.Option(help="Items given to people in each later iteration.")] = None,
        budget: Annotated[float | None, typer.Option(help="Hard cap in USD.")] = None,
        folder: Annotated[Path | None, typer.Option("--run", help="Run folder; resumed if it is there.")] = None,
        preset: Annotated[str | None, typer.Option(help="Named defaults: default or ground-truth.")] = None,
        seed: Annotated[int | None, typer.Option(help="Seed of all randomness.")] = None,
        yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: start any plan, spend after the probe.")] = False,
        wait: Annotated[
            bool | None, typer.Option("--wait/--no-wait", help="Stay while people answer; default: at a page.")
        ] = None,
        override: Overrides = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Label the images: start the loop, or go on where it stopped."""
        from gtloop import config as settings_module
        from gtloop.labelfiles import absolute
        from gtloop.ledgers import is_run
        from gtloop.plugin_options import annotator_defaults
        from gtloop.progress import agreed, watched
        from gtloop.run import default_folder, run_or_resume, settings_of
        from gtloop.servers import VARIABLE

        registry = ctx.obj.registry

        flags = {
            "run.source": images and absolute(images, Path(), prefixed=False),
            "run.task": task,
            "run.annotator": annotator,
            "run.detector": detector,
            "run.sampler": sampler,
            "run.score": score,
            "run.executor": executor,
            "run.classes": _split(classes),
            "run.truth": truth and absolute(truth, Path()),
            "run.labels": labels and absolute(labels, Path()),
            "run.warm_from": warm_from and str(warm_from.resolve()),
            "run.workers": workers,
            "run.budget_usd": budget,
            "run.preset": preset,
            "run.seed": seed,
            "promise.target": target,
            "promise.kind": promise,
            "promise.delta": delta,
            "sizes.batch": batch,
        }
        given = {k: v for k, v in flags.items() if v is not None}
        if images is None and config is None and folder is not None and is_run(folder):
            settings = settings_of(folder, given, tuple(override or ()))
        else:
            suiting = partial(annotator_defaults, registry)
            settings = settings_module.load(_config_path(config), given, tuple(override or ()), suiting)
        if settings.run.source is None:
            raise UsageError("no images named: gtloop run IMAGES, or write a gtloop.toml with: gtloop init IMAGES")
        root = folder or default_folder(settings.run.source, settings.run.task)
        ask = not (yes or as_json) and all(s is not None and s.isatty() for s in (sys.stdin, sys.stderr))
        url = os.environ.get(VARIABLE)
        with watched(ctx.obj.debug, as_json) as progress:
            outcome, found = run_or_resume(
                root, settings, registry, yes=yes, wait=wait, progress=progress, agree=partial(agreed, ask), url=url
            )
        if as_json:
            ctx.obj.json({"outcome": outcome, **found})
        else:
            typer.echo(found["summary"])
            if found.get("where"):
                typer.echo(found["where"])
            typer.echo(_next(outcome, root, found["lacking"]))
        raise typer.Exit(EXIT[outcome])


def _next(outcome: str, root: Path, lacking: dict[str, Any]) -> str:
    budget = f"--budget, to {lacking['budget_usd']:.2f} for the next look," if lacking["usd"] else "--budget"
    return {
        "finished": f"Finished. Look: gtloop report {root}   Take the labels: gtloop export {root} --format jsonl",
        "waiting": f"Waiting for people. Go on with the same command; look with: gtloop status {root}",
        "confirm": f"The probe is answered. Look at it with gtloop report {root}, then run again with --yes to go on.",
        "budget": f"Stopped by the budget. Raise {budget} to go on with the same command.",
        "paused": f"Paused, as somebody asked. Go on with: gtloop run --run {root}",
        "cancelled": f"Cancelled. What there is: gtloop export {root} --format jsonl",
    }[outcome]


def _add_reading(app: typer.Typer) -> None:
    @app.command()
    def status(ctx: typer.Context, run: RunArgument = None, as_json: JsonFlag = False) -> None:
        """Say how a run stands."""
        import gtloop

        opened = gtloop.open(find_run(run))
        found = opened.status(ctx.obj.registry)
        if as_json:
            ctx.obj.json(found)
        else:
            from gtloop.tables import print_status

            print_status(found)

    @app.command()
    def export(
        ctx: typer.Context,
        run: RunArgument = None,
        fmt: Annotated[str, typer.Option("--format", help="Any installed format that writes, or: model.")] = "jsonl",
        out: Annotated[Path | None, typer.Option(help="Where to; default: export/ in the run folder.")] = None,
        frame: Annotated[str, typer.Option(help="display (EXIF applied) or stored pixels.")] = "display",
        override: Overrides = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Write the labels: one row an item, none dropped silently."""
        import gtloop
        from gtloop.exporting import export_run
        from gtloop.models import export_model

        opened = gtloop.open(find_run(run))
        if fmt == "model":
            path = export_model(opened, out)
            ctx.obj.json({"path": str(path)}) if as_json else typer.echo(f"model written to {path}")
            return
        path, count, notes = export_run(opened, ctx.obj.registry, fmt, out, frame, override or ())
        if as_json:
            ctx.obj.json({"path": str(path), "rows": count, "notes": notes})
            return
        typer.echo(f"{count} rows written to {path}")
        for note in notes:
            typer.echo(f"note: {note}")


def find_run(run: Path | None) -> Path:
    """The run folder that a command means: the one named, or that of ./gtloop.toml.

    Raises:
        UsageError: Neither is there.
    """
    if run is not None:
        return run
    path = _config_path(None)
    if path is None:
        raise UsageError("name a run folder, or work where a gtloop.toml is")
    from gtloop import config
    from gtloop.run import default_folder

    settings = config.load(path, {})
    if settings.run.source is None:
        raise UsageError(f"{path} names no run.source; name a run folder")
    return default_folder(settings.run.source, settings.run.task)


def _config_path(config: Path | None) -> Path | None:
    if config is not None:
        return config
    return Path(CONFIG) if Path(CONFIG).is_file() else None


def _split(classes: str | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    names = tuple(c.strip() for c in classes.split(",") if c.strip())
    if len(set(names)) != len(names):
        raise UsageError(f"--classes names a category twice: {classes}")
    return names


def main(argv: list[str] | None = None) -> None:
    """Entry point of the ``gtloop`` program."""
    from gtloop.registry import Registry

    args = sys.argv[1:] if argv is None else argv
    blocked = [args[i + 1] for i, a in enumerate(args[:-1]) if a == "--block"]
    blocked += [a.removeprefix("--block=") for a in args if a.startswith("--block=")]
    debug = "--debug" in args
    try:
        code = build_app(Registry.load(block=blocked))(args, prog_name="gtloop", standalone_mode=False)
    except MISTYPED as e:
        raise SystemExit(tell(e, args)) from None
    except typer.Abort:  # Ctrl-C, or no more input, at a question
        print("error: stopped", file=sys.stderr)
        raise SystemExit(1) from None
    except GtloopError as e:
        if debug:
            raise
        print(f"error: {e}", file=sys.stderr)
        raise SystemExit(e.exit_code) from None
    except Exception as e:  # an OSError says what to do by itself; anything else is a fault of gtloop
        if debug:
            raise
        text = " ".join(str(e).split())
        if not isinstance(e, OSError):
            text = f"{type(e).__name__}: {text} (a fault in gtloop: please report it with what --debug shows)"
        print(f"error: {text}", file=sys.stderr)
        raise SystemExit(1) from None
    raise SystemExit(code or 0)
