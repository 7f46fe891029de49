"""``gtloop simulate``: whole runs with simulated people on labelled images, for many seeds and settings."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtloop.cli import JsonFlag, Overrides
from gtloop.errors import UsageError

if TYPE_CHECKING:
    from gtloop.registry import Registry
    from gtloop.settings import Settings
    from gtloop_plugins.commands.planning.wishes import Values

Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=V1,V2", help="Settings to try, every combination; may be repeated."),
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Runs at a time; default: one for each processor.")]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def simulate(
        ctx: typer.Context,
        images: Annotated[str, typer.Argument(help="Folder, glob, manifest or URL of images.")],
        truth: Annotated[str, typer.Option(help="Known labels: PATH or FORMAT:PATH.")],
        seeds: Annotated[str, typer.Option(help="Seeds of the runs: 0-9 or 0,2,5-7.")] = "0-2",
        sets: Sets = None,
        jobs: Jobs = None,
        out: Annotated[Path, typer.Option(help="Folder of runs, tables and pictures.")] = Path("simulation"),
        config: Annotated[Path | None, typer.Option(help="Settings file.")] = None,
        task: Annotated[str | None, typer.Option(help="Task type.")] = None,
        classes: Annotated[str | None, typer.Option(help="Categories, comma separated.")] = None,
        detector: Annotated[str | None, typer.Option(help="What learns and predicts.")] = None,
        preset: Annotated[str | None, typer.Option(help="Named defaults: default or ground-truth.")] = None,
        target: Annotated[float | None, typer.Option(help="Mean quality promised of machine labels.")] = None,
        override: Overrides = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Run whole jobs with simulated people, and say what they cost and how good their labels are."""
        from gtloop.labelfiles import absolute
        from gtloop.progress import watched
        from gtloop_plugins.commands.planning import runs
        from gtloop_plugins.commands.planning.wishes import seeds_of, settings_of

        flags = {
            "run.source": absolute(images, Path(), prefixed=False),
            "run.truth": absolute(truth, Path()),
            "run.annotator": "synthetic",
            "run.task": task,
            "run.classes": None if classes is None else tuple(c.strip() for c in classes.split(",") if c.strip()),
            "run.detector": detector,
            "run.preset": preset,
            "promise.target": target,
        }
        given = {k: v for k, v in flags.items() if v is not None}
        variants = settings_of(sets or [])
        cells = [
            runs.Cell(
                values, _settings(config, {**given, **values, "run.seed": seed, "run.ledger": None}, override or [])
            )
            for values in variants
            for seed in seeds_of(seeds)
        ]
        registry: Registry = ctx.obj.registry
        _check(cells[0].settings, registry, out)
        plugs = runs.Plugs(tuple(origin.plugin for origin in registry.blocked))
        with watched(ctx.obj.debug, as_json) as progress:
            measure = partial(measured, plugs=plugs)
            found = runs.make_all(cells, out, measure, plugs, jobs or os.cpu_count() or 1, progress)
        from gtloop_plugins.commands.planning.frontier import write_simulation

        facts = write_simulation(found, variants, out)
        if as_json:
            ctx.obj.json(facts)
        else:
            typer.echo((out / "table.md").read_text())
            typer.echo("\n".join(facts["files"]))


def _settings(config: Path | None, flags: Values, override: list[str]) -> Settings:
    from gtloop import config as config_module

    settings = config_module.load(config, flags, tuple(override))
    return settings.model_copy(update={"observers": {}})  # nobody is told of what did not happen


def _check(settings: Settings, registry: Registry, out: Path) -> None:
    """Every usage error comes before the first run.

    Raises:
        UsageError: The annotator is not simulated, or ``--out`` is a run.
    """
    from gtloop.job import Plugins
    from gtloop.ledgers import is_run

    if is_run(out):
        raise UsageError(f"--out {out} is a run; name another folder for what is simulated")
    plugins = Plugins(settings, registry, out)
    if "truth" not in plugins.annotator.needs:
        raise UsageError(f"annotator {plugins.annotator.name!r} does not answer from a truth; leave run.annotator out")


def measured(root: Path, plugs: Any) -> dict[str, Any]:
    """How good the labels of a simulated run are."""
    import gtloop
    from gtloop_plugins.commands.planning.counterfactual import outcome

    run, registry = gtloop.open(root), plugs.registry()
    return {"quality": outcome(run, registry, run.status(registry)["promise"])}
