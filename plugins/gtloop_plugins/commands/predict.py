"""``gtloop predict``: what a finished model says about images; no promise covers it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtloop.cli import JsonFlag

if TYPE_CHECKING:
    from gtloop.interfaces import ExportRow, Progress
    from gtloop.models import Card
    from gtloop.records import Item
    from gtloop.registry import Registry


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def predict(
        ctx: typer.Context,
        model: Annotated[Path, typer.Argument(help="Exported model, or run folder.")],
        images: Annotated[str, typer.Argument(help="Folder, glob, manifest or URL of images.")],
        out: Annotated[Path | None, typer.Option(help="Where to; default: predictions in this folder.")] = None,
        fmt: Annotated[str, typer.Option("--format", help="Any installed format that writes.")] = "jsonl",
        as_json: JsonFlag = False,
    ) -> None:
        """Label images with a model of an earlier run; no promise covers these labels."""
        from gtloop.exporting import write_rows
        from gtloop.models import open_model
        from gtloop.progress import watched

        card, folder = open_model(model)
        with watched(ctx.obj.debug, as_json) as progress:
            rows = predictions(card, folder, images, ctx.obj.registry, progress)
            path, counts, notes = write_rows(
                ctx.obj.registry, fmt, out, rows, card.task, card.categories, card.run, default=Path("predictions")
            )
        if as_json:
            ctx.obj.json({"path": str(path), **counts, "notes": notes})
            return
        typer.echo(f"{counts['rows']} rows written to {path}, {counts['labelled']} of them labelled by {card.name}")
        for note in notes:
            typer.echo(f"note: {note}")


def predictions(card: Card, folder: Path, source: str, registry: Registry, progress: Progress) -> Iterator[ExportRow]:
    """Stream one row an image: the model's label, or the reason why there is none."""
    import dataclasses

    import numpy as np

    from gtloop.interfaces import Context, ExportRow
    from gtloop.records import Label

    context = Context(categories=card.categories)
    task: Any = _build(registry, "task", card.task, card.task_options, context)
    context = dataclasses.replace(context, form=task.form(), task=task)
    detector: Any = _build(registry, "detector", card.detector, card.detector_options, context)
    score: Any = _build(registry, "score", card.score, card.score_options, context)
    executor: Any = _build(registry, "executor", "local", {}, context)
    for p in executor.predict(detector, folder, items(source), progress):
        width, height = p.item.display_size or (None, None)
        if p.raw is None:
            yield ExportRow(p.item, None, width, height, "quarantined", p.fault)
            continue
        features = np.asarray(task.features(p.raw, card.cut), np.float32)
        columns = {name: features[k : k + 1] for k, name in enumerate(task.feature_names)}
        label = Label(
            row=p.item.row,
            payload=task.label(p.raw, card.cut),
            source="machine",
            confidence=float((score.fitted(columns, card.learnt) if card.learnt else score.score(columns))[0]),
            iteration=0,
            model=f"{card.run}/{card.name}",
        )
        yield ExportRow(p.item, label, width, height, "machine", "")


def items(source: str) -> Iterator[Item]:
    """Stream the images of a source as items; sizes are known once they are decoded."""
    from collections import Counter

    from gtloop.keyed import digest
    from gtloop.listing import list_images, tell_skipped
    from gtloop.records import Item

    skipped: Counter[str] = Counter()
    for row, image in enumerate(list_images(source, skipped)):
        yield Item(row=row, id=digest(0, image.name), name=image.name, uri=image.uri)
    tell_skipped(skipped)


def _build(registry: Registry, kind: str, name: str, given: dict[str, Any], context: Any) -> Any:
    return registry.build(kind, name, registry.options(kind, name, given), context)
