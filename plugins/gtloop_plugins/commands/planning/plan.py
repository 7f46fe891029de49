"""``gtloop plan``: what a job may cost, before anything is paid."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtloop.cli import JsonFlag, Overrides
from gtloop.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from gtloop.opened import Run
    from gtloop.registry import Registry
    from gtloop.settings import Settings
    from gtloop_plugins.commands.planning.forecast import Job


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def plan(
        ctx: typer.Context,
        images: Annotated[str | None, typer.Argument(help="Folder, glob, manifest or URL of images.")] = None,
        items: Annotated[int | None, typer.Option(min=1, help="Number of images, in place of IMAGES.")] = None,
        pilot: Annotated[Path | None, typer.Option(help="Run that tells how good a model becomes.")] = None,
        compare: Annotated[
            Path | None, typer.Option(help="Run to plan as it was started, and to compare with what it came to.")
        ] = None,
        config: Annotated[Path | None, typer.Option(help="Settings file; default: ./gtloop.toml if there.")] = None,
        task: Annotated[str | None, typer.Option(help="Task type.")] = None,
        annotator: Annotated[str | None, typer.Option(help="Where human labels come from.")] = None,
        detector: Annotated[str | None, typer.Option(help="What learns and predicts.")] = None,
        preset: Annotated[str | None, typer.Option(help="Named defaults: default or ground-truth.")] = None,
        target: Annotated[float | None, typer.Option(help="Mean quality promised of machine labels.")] = None,
        promise: Annotated[str | None, typer.Option(help="Kind of promise: selective or dataset.")] = None,
        delta: Annotated[float | None, typer.Option(help="Probability that the promise may be broken.")] = None,
        workers: Annotated[int | None, typer.Option(help="People who answer each item.")] = None,
        seconds: Annotated[
            float | None, typer.Option(min=0, help="Seconds that an answer takes; default: the pilot's.")
        ] = None,
        people: Annotated[int, typer.Option(min=1, help="People who label at the same time.")] = 1,
        draws: Annotated[int, typer.Option(min=10, help="Jobs that are drawn.")] = 200,
        out: Annotated[
            Path | None, typer.Option(help="Folder for table and picture; default: none is written.")
        ] = None,
        override: Overrides = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Say what a job may cost, and what would make it cheaper, before anybody is asked or paid."""
        import gtloop
        from gtloop.progress import watched
        from gtloop_plugins.commands.planning import advice

        flags = {
            "run.task": task,
            "run.annotator": annotator,
            "run.detector": detector,
            "run.preset": preset,
            "promise.target": target,
            "promise.kind": promise,
            "promise.delta": delta,
            "run.workers": workers,
        }
        given = {k: v for k, v in flags.items() if v is not None}
        registry: Registry = ctx.obj.registry
        compared = None if compare is None else gtloop.open(compare)
        if sum(x is not None for x in (images, items, compare)) > 1:
            raise UsageError("say once how many images there are: IMAGES, --items or --compare")
        settings, n = _job_of(registry, config, given, override or [], images, items, compared)
        piloted = None if pilot is None else gtloop.open(pilot)
        job = make_job(settings, n, registry, piloted, seconds, people)
        with watched(ctx.obj.debug, as_json) as progress:
            facts = advice.planned(job, draws, compared, registry, progress)
        if out is not None:
            facts["files"] = advice.write(facts, out, importlib.util.find_spec("matplotlib") is not None)
        if as_json:
            ctx.obj.json(facts)
            return
        typer.echo(advice.text(facts))
        typer.echo("\n".join(facts["files"]))


def _job_of(
    registry: Registry,
    config: Path | None,
    given: dict[str, Any],
    override: list[str],
    images: str | None,
    items: int | None,
    compared: Run | None,
) -> tuple[Settings, int]:
    """The settings, and how many images can be labelled.

    Raises:
        UsageError: Nobody says how many there are.
    """
    from functools import partial

    from gtloop import config as config_module
    from gtloop.cli import CONFIG
    from gtloop.listing import list_images, tell_skipped
    from gtloop.plugin_options import annotator_defaults
    from gtloop.state import ALIAS, QUARANTINED

    if compared is not None:
        state = compared.state
        n = len(state.status) - state.count(ALIAS) - state.count(QUARANTINED)
        return config_module.replaced(compared.settings, given, tuple(override)), n
    path = config or (Path(CONFIG) if Path(CONFIG).is_file() else None)
    settings = config_module.load(path, given, tuple(override), partial(annotator_defaults, registry))
    if items is not None:
        return settings, items
    source = images or settings.run.source
    if source is None:
        raise UsageError("say how many images there are: gtloop plan IMAGES, or gtloop plan --items N")
    skipped: Counter[str] = Counter()
    n = sum(1 for _ in list_images(source, skipped))
    tell_skipped(skipped)
    return settings, n


def make_job(
    settings: Settings,
    n: int,
    registry: Registry,
    pilot: Run | None = None,
    seconds: float | None = None,
    people: int = 1,
) -> Job:
    """A job of ``n`` images as its run would be started.

    Raises:
        UsageError: A plugin is unknown, or the promise can't be made.
        RunError: The pilot tells nothing.
    """
    from gtloop.interfaces import Context
    from gtloop.job import make_promise
    from gtloop_plugins.commands.planning.forecast import Job
    from gtloop_plugins.commands.planning.models import read_pilot
    from gtloop_plugins.commands.planning.pricing import Pricing

    def build(kind: str, name: str, context: Context) -> Any:
        options = registry.options(kind, name, settings.options(kind, name), settings.origins(kind, name))
        return registry.build(kind, name, options, context)

    run = settings.run
    context = Context(categories=run.classes, seed=run.seed, price_per_answer=settings.prices.answer)
    task: Any = build("task", run.task, context)
    if pilot is not None and pilot.settings.run.task.partition("@")[0] != run.task.partition("@")[0]:
        raise ConfigError(f"the pilot labels with task {pilot.settings.run.task!r}, not {run.task!r}; name another")
    detector: Any = registry.get("detector", run.detector)
    context = dataclasses.replace(context, form=task.form(), task=task)
    quote = build("annotator", run.annotator, context).quote(settings.prices.answer, run.workers)
    told = None if pilot is None else read_pilot(pilot)
    return Job(
        settings=settings,
        promise=make_promise(settings, task),
        items=n,
        trainable=detector.trainable,
        pricing=Pricing.of(settings.prices, settings.prices.rates().quoted(quote), () if told is None else told.work),
        pilot=told,
        seconds=seconds,
        people=people,
    )
