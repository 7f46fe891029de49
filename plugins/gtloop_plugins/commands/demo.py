"""``gtloop demo``: the whole job on generated pictures, offline; simulated people, real training, a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gtloop.cli import EXIT, JsonFlag, Overrides

CLASSES = {"bbox": ("bird",), "segmentation": ("background", "bird")}
DATASET = {"promise.kind": "dataset", "promise.max_loss": 0.2}
"""What a few minutes of training on hard pictures can keep; target .6 for machine labels alone takes more labels."""
NOISE = 0.5
"""Simulated people are careful: half the errors of a crowd (option ``noise`` of annotator ``synthetic``)."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def demo(
        ctx: typer.Context,
        out: Annotated[Path, typer.Option(help="Folder of the pictures and the run.")] = Path("demo"),
        images: Annotated[int, typer.Option(help="How many pictures.", min=30)] = 300,
        task: Annotated[str, typer.Option(help="bbox, classification or segmentation.")] = "bbox",
        preset: Annotated[str, typer.Option(help="default or ground-truth.")] = "default",
        promise: Annotated[
            str,
            typer.Option(help="dataset: mean loss over all images at most .2; selective: mean IoU of machine labels."),
        ] = "dataset",
        detector: Annotated[str, typer.Option(help="What learns and predicts.")] = "torchvision",
        seed: Annotated[int, typer.Option(help="Seed of pictures, people and training.")] = 0,
        override: Overrides = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Label generated pictures of birds with simulated people, to a finished report; needs no network."""
        from gtloop import config
        from gtloop.progress import watched
        from gtloop.run import run_or_resume

        flags = {
            "run.source": str((out / "images").resolve()),
            "run.truth": str((out / ("masks" if task == "segmentation" else "truth.jsonl")).resolve()),
            "run.task": task,
            "run.classes": _classes(task),
            "run.annotator": "synthetic",
            "run.detector": detector,
            "run.preset": preset,
            "run.seed": seed,
            "annotators.synthetic": {"noise": NOISE},
            **({"tasks.segmentation": {"background": "background"}} if task == "segmentation" else {}),
            **(DATASET if promise == "dataset" and preset == "default" else {}),
        }
        settings = config.load(None, flags, tuple(override or ()))
        root = out / ("run" if preset == "default" else preset)
        with watched(ctx.obj.debug, as_json) as progress:
            _pictures(out, images, seed, task, progress)
            outcome, found = run_or_resume(root, settings, ctx.obj.registry, progress=progress)
        if as_json:
            ctx.obj.json({"outcome": outcome, **found})
        else:
            _report(ctx, root)
        raise typer.Exit(EXIT[outcome])


def _classes(task: str) -> tuple[str, ...]:
    from gtloop_plugins.demo.species import SPECIES

    return CLASSES.get(task, SPECIES)


def _pictures(out: Path, images: int, seed: int, task: str, progress: Any) -> None:
    from gtloop_plugins.demo.scenes import write_dataset

    write_dataset(out, images, seed, task=task, progress=progress)


def _report(ctx: typer.Context, root: Path) -> None:
    """Run the command ``report`` as if it had been typed."""
    assert ctx.parent is not None
    program: Any = ctx.parent.command
    program.main(["report", str(root)], standalone_mode=False)
