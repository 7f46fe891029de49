"""``gtloop data``: data sets to try things on, fetched from where they are published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gtloop.cli import JsonFlag
from gtloop.errors import UsageError
from gtloop.wording import counted, some


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    group = typer.Typer(no_args_is_help=True)

    @group.callback()
    def data() -> None:
        """Fetch published data sets, with labels that gtloop reads."""

    _add_openimages(group)
    app.add_typer(group, name="data")


def _add_openimages(group: typer.Typer) -> None:
    @group.command()
    def openimages(
        ctx: typer.Context,
        classes: Annotated[
            list[str], typer.Option("--class", help="Class such as Bird, its sub-classes included; may be repeated.")
        ],
        most: Annotated[int, typer.Option("--max", min=1, help="Images, at most.")] = 1000,
        out: Annotated[Path | None, typer.Option(help="Folder; default: openimages-CLASS-SPLIT.")] = None,
        split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
        seed: Annotated[int, typer.Option(help="Which images are drawn, where there are more.")] = 0,
        annotations: Annotated[
            str | None, typer.Option("--annotations-url", help="URL or folder of the tables; default: Google's.")
        ] = None,
        images: Annotated[
            str | None, typer.Option("--images-url", help="URL or folder of the images; default: CVDF's.")
        ] = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Fetch images of Open Images V4 with all boxes of some classes; goes on where it was stopped."""
        from gtloop.progress import watched
        from gtloop_plugins.commands.data import openimages as oi

        if split not in oi.SPLITS:
            raise UsageError(f"--split {split}: choose {', '.join(oi.SPLITS)}")
        wish = oi.Wish(tuple(dict.fromkeys(classes)), most, split, seed)
        folder = out or Path(f"openimages-{'-'.join(wish.classes).lower().replace(' ', '-').replace('/', '')}-{split}")
        tables = oi.Tables((annotations or oi.ANNOTATIONS).rstrip("/"), split)
        with watched(ctx.obj.debug, as_json) as progress:
            found = oi.fetch(folder, wish, tables, (images or oi.IMAGES).rstrip("/"), progress)
        ctx.obj.json(found) if as_json else typer.echo("\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> list[str]:
    images, boxes = counted(found["images"], "image"), counted(found["boxes"], "box")
    lines = [f"{images} with {boxes} in {found['out']}, {found['fetched']} of them fetched now"]
    if found["missing"]:
        lines.append(f"left out, as they could not be had: {some([x['image'] for x in found['missing']])}")
    names = ",".join(found["classes"])
    return [
        *lines,
        f"Next: gtloop run {found['out']}/images --classes '{names}' --annotator synthetic --truth {found['labels']}",
    ]
