"""``gtloop replay``: a job's own answers under other settings; nobody is asked again."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtloop.cli import JsonFlag
from gtloop.errors import RunError, UsageError
from gtloop_plugins.commands.planning.simulate import Jobs, Sets
from gtloop_plugins.commands.planning.wishes import called

if TYPE_CHECKING:
    from gtloop.interfaces import Progress
    from gtloop.opened import Run
    from gtloop.registry import Registry
    from gtloop_plugins.commands.planning.runs import Cell
    from gtloop_plugins.commands.planning.wishes import Values

RECORDED = "gtloop_plugins.commands.planning.recorded"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def replay(
        ctx: typer.Context,
        run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder; finished or cancelled.")],
        sets: Sets = None,
        splits: Annotated[int, typer.Option(min=0, help="Draw anew who validates, so many times; 0: as it was.")] = 0,
        validation: Annotated[
            int | None, typer.Option(min=1, help="Items that validate in a split; default: as many as can be.")
        ] = None,
        jobs: Jobs = None,
        out: Annotated[
            Path | None, typer.Option(help="Folder of tables and pictures; default: replay/ in RUN.")
        ] = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Say what a job would have come to under other settings. Exploratory: no promise covers it."""
        import gtloop
        from gtloop.progress import watched
        from gtloop_plugins.commands.planning import again, frontier, wishes

        opened = gtloop.open(run)
        if not (opened.state.facts.finished or opened.state.facts.cancelled):
            raise RunError(f"{run} is not finished yet; go on with: gtloop run --run {run}")
        variants = wishes.settings_of(sets or [])
        courses = [v for v in variants if not again.only_look(v)]
        if splits and courses:
            raise UsageError(
                f"--splits draws anew for a look, and {wishes.called(courses[0])} changes what came before it: "
                "leave one of them out"
            )
        folder = opened.root / "replay" if out is None else out
        registry: Registry = ctx.obj.registry
        found: list[dict[str, Any]] = []
        with watched(ctx.obj.debug, as_json) as progress:
            for n, values in enumerate(variants, 1):
                if values not in courses:
                    found += again.replayed(opened, registry, values, splits, validation)
                    progress("settings", n, len(variants))
            left_out = 0
            if courses:
                made, left_out = _courses(opened, registry, courses, folder, jobs or os.cpu_count() or 1, progress)
                found += made
        facts = frontier.write_replay(found, variants, folder, str(opened.root), left_out)
        if as_json:
            ctx.obj.json(facts)
        else:
            typer.echo((folder / "table.md").read_text())
            typer.echo("\n".join(facts["files"]))


def _courses(
    run: Run, registry: Registry, variants: list[Values], out: Path, jobs: int, progress: Progress
) -> tuple[list[dict[str, Any]], int]:
    """Real runs over the items that people answered; how many items are left out because nobody did."""
    from gtloop import config
    from gtloop.files import write_atomic
    from gtloop.state import ALIAS, QUARANTINED
    from gtloop_plugins.commands.planning import runs
    from gtloop_plugins.commands.planning.recorded import said

    answered = sorted(said(run))
    if not answered:
        raise RunError(f"{run.root} has no answers that could be given again")
    manifest = (out / "items.txt").resolve()
    write_atomic(manifest, "".join(f"{uri}\n" for uri in answered).encode())
    fixed: dict[str, Any] = {
        "run.source": str(manifest),
        "run.truth": None,
        "run.labels": None,
        "run.budget_usd": None,
        "run.annotator": "recorded",
        "annotators.recorded.run": str(run.root),
        "people.gold": None,
        "observers": {},
    }
    cells = [runs.Cell(values, config.replaced(run.settings, {**fixed, **values})) for values in variants]
    for cell in cells:
        _check_sizes(run, cell, len(answered))
    blocked = [origin.plugin for origin in registry.blocked]
    plugs = runs.Plugs(tuple(blocked), (RECORDED,))
    measure = partial(measured, origin=str(run.root), plugs=plugs)
    made = runs.make_all(cells, out, measure, plugs, jobs, progress)
    left_out = len(run.state.status) - run.state.count(ALIAS) - run.state.count(QUARANTINED) - len(answered)
    rows = []
    for one in made:
        status, quality = one["status"], one["quality"]
        rows.append(
            {
                "settings": one["settings"],
                "name": called(one["settings"]),
                "split": None,
                "answers": status["annotations"],
                "cost_usd": status["cost_usd"]["total"],
                "machine_share": status["saving_items"],
                "saving": status["saving"],
                **quality,
            }
        )
    return rows, left_out


def _check_sizes(run: Run, cell: Cell, answered: int) -> None:
    """Refuse sizes that a replay could only cut to what there is, and would then be that of other settings.

    Raises:
        UsageError: People have not answered so many images.
    """
    sizes = cell.settings.sizes
    wanted = max(sizes.probe, sizes.validation or 0) + (sizes.train or 0)
    if wanted > answered and any(key.startswith("sizes.") for key in cell.values):
        raise UsageError(
            f"--set {called(cell.values)}: people have answered {answered} images of {run.root}, and nobody is asked "
            f"again; give validation and train of no more than {answered} together"
        )


def measured(root: Path, origin: str, plugs: Any) -> dict[str, Any]:
    """Machine labels of a replayed run against people's labels of the run whose answers it had."""
    import gtloop
    from gtloop_plugins.commands.planning.counterfactual import kept

    run, first = gtloop.open(root), gtloop.open(origin)
    registry = plugs.registry()
    task = run.task(registry)
    known = {first.items.uri[x.row]: x.payload for x in first.labels(task) if x.source != "machine"}
    machine = [x for x in run.labels(task) if x.source == "machine"]
    values = []
    for label in machine:
        other = known.get(run.items.uri[label.row])
        values.append(0.0 if other is None else 1 - float(task.error(label.payload, other)))
    status = run.status(registry)
    mean = sum(values) / len(values) if values else None
    total = status["items"]["total"] - status["items"]["aliases"] - status["items"]["quarantined"]
    return {"quality": {"quality": mean, "known": len(values), "kept": kept(values, status["promise"], total)}}
