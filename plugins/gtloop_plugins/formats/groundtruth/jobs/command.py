"""``gtloop import groundtruth``: a job of SageMaker Ground Truth becomes a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from gtloop.cli import JsonFlag, Overrides
from gtloop.errors import RunError, UsageError
from gtloop.wording import counted


def register(group: typer.Typer) -> None:
    """Add the command to those of ``gtloop import``."""

    @group.command()
    def groundtruth(
        ctx: typer.Context,
        job_folder: Annotated[Path, typer.Argument(metavar="JOB_FOLDER", help="Copy of S3OutputPath/JOB.")],
        run: Annotated[Path | None, typer.Option("--run", help="Run folder to make; default: after the job.")] = None,
        images: Annotated[
            list[str] | None,
            typer.Option(help="FOLDER, or s3://BUCKET/PATH=FOLDER; may be repeated; default: read from the bucket."),
        ] = None,
        manifest: Annotated[Path | None, typer.Option(help="Input manifest; default: the output manifest.")] = None,
        attribute: Annotated[str | None, typer.Option(help="Label attribute, where there are several.")] = None,
        task: Annotated[str | None, typer.Option(help="Task type, where nothing tells it.")] = None,
        classes: Annotated[str | None, typer.Option(help="Categories, comma separated; default: the job's.")] = None,
        annotator: Annotated[str | None, typer.Option(help="Who labels what is left.")] = None,
        detector: Annotated[str | None, typer.Option(help="What learns and predicts from now on.")] = None,
        preset: Annotated[str | None, typer.Option(help="Named defaults for what is left.")] = None,
        seed: Annotated[int | None, typer.Option(help="Seed of all randomness.")] = None,
        override: Overrides = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Make a run of a whole Ground Truth job: answers, labels, iterations and prices, to report or go on with."""
        from gtloop.plugin_options import annotator_defaults
        from gtloop.progress import watched
        from gtloop.run import default_folder
        from gtloop_plugins.formats.groundtruth.jobs import run as runs
        from gtloop_plugins.formats.groundtruth.jobs.facts import facts_of
        from gtloop_plugins.formats.groundtruth.jobs.folder import JobFolder
        from gtloop_plugins.formats.groundtruth.jobs.images import Images
        from gtloop_plugins.formats.groundtruth.options import TYPES

        if task is not None and task not in TYPES:
            raise UsageError(f"--task {task}: choose one of {', '.join(TYPES)}")
        folder = JobFolder(job_folder, None if manifest is None else manifest.resolve())
        assert folder.manifest is not None
        names = None if classes is None else [c.strip() for c in classes.split(",") if c.strip()]
        flags = {
            "run.annotator": annotator,
            "run.detector": detector,
            "run.preset": preset,
            "run.seed": seed,
        }
        given = {k: v for k, v in flags.items() if v is not None}
        with watched(ctx.obj.debug, as_json) as progress:
            root = (run or default_folder(str(folder.root), "groundtruth")).resolve()
            known = runs.imported_before(root, folder)
            if known is None:
                facts = facts_of(folder, task, attribute, names, progress)
                suiting = partial(annotator_defaults, ctx.obj.registry)
                settings = runs.settings_of(folder, facts, given, tuple(override or ()), suiting)
                where = Images(images or (), folder.manifest.parent)
                found = runs.import_job(root, folder, facts, where, settings, ctx.obj.registry, progress)
            elif not known.same:
                raise RunError(f"{root} was made of {folder.root}, which has changed since; choose another with --run")
            else:
                found = known.found
        found["already"] = known is not None
        ctx.obj.json(found) if as_json else typer.echo("\n".join(_lines(found, root, runs.REFUSED)))


def _lines(found: dict[str, Any], root: Path, refused: str) -> list[str]:
    batches, answers, people = found["batches"], found["answers"], found["workers"]
    how = "imported already, nothing is changed" if found["already"] else "imported"
    answered = f"{counted(answers, 'answer')} of {counted(people, 'worker')} in {counted(batches, 'iteration')}"
    lines = [f"{how}: {answered}; {found['summary']}"]
    agreement = found["agreement"]
    if agreement["mean"] is not None:
        labels = counted(agreement["count"], "label")
        lines.append(
            f"{labels} made of these answers anew: {agreement['metric']} with the service's {agreement['mean']:.3f}"
        )
    if iterations := found.get("iterations"):
        lines.extend(_numbered(**iterations))
    left_out = found["left_out"]
    if left_out["failed"]:
        lines.append(f"{counted(left_out['failed'], 'object')} failed at the service, and will be asked again")
    if left_out["answered"]:
        lines.append(f"left out: {left_out['answered']} machine labels of objects that people answered")
    if found["refused"]:
        lines.append(
            f"{counted(found['refused'], 'entry')} could not be used, each with its reason in {root / refused}"
        )
    unreadable = found.get("unreadable", {"count": 0})
    if unreadable["count"]:
        names = ", ".join(unreadable["first"]) + (", ..." if unreadable["count"] > len(unreadable["first"]) else "")
        lines.append(
            f"{unreadable['count']} of {counted(found['items']['total'], 'image')} can't be found or read: {names} "
            f"(looked for at {unreadable['looked_for']}); nothing is learned from them, and nobody is asked about "
            "them, unless they are there when it goes on"
        )
    state = found["state"]
    then = "" if state == "finished" else f"   Go on: gtloop run --run {root}"
    return [*lines, f"Look: gtloop report {root}{then}"]


def _numbered(lacking: list[list[int]], called: dict[str, int]) -> list[str]:
    """Which of the job's iterations are not there, and what the run calls those that come after."""
    if not called:
        return []
    gaps = ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in lacking)
    missing = f"the folder has nothing of iteration {gaps} of the job: " if lacking else ""
    pairs = list(called.items())  # in order
    (job, run), (last_job, last_run) = pairs[0], pairs[-1]
    if job == last_job:
        return [f"{missing}iteration {job} of the job is {run} in the run"]
    return [f"{missing}iterations {job} to {last_job} of the job are {run} to {last_run} in the run"]
