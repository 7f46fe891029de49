"""Labels out: every item one row, in the format and frame asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gtloop
from gtloop.errors import ConfigError, Unsupported
from gtloop.interfaces import Context, ExportRow, Format, Frame
from gtloop.labelfiles import does
from gtloop.run import Run

if TYPE_CHECKING:
    from gtloop.registry import Registry


def export_run(
    run: Run, registry: Registry, name: str, out: Path | None, frame: str = "display"
) -> tuple[Path, int, list[str]]:
    """Write a run's labels.

    Returns:
        Where to, the number of rows, and a sentence for each thing that the format could not hold.

    Raises:
        UsageError: Unknown format, one that does not write this task, or an unknown frame.
    """
    if frame not in ("display", "stored"):
        raise ConfigError(f"--frame {frame}: choose display (EXIF applied) or stored")
    task = run.task(registry)
    cls = cast("type[Format]", registry.get("format", name))
    if not _writes(cls, task.name):
        can = [p.cls.name for p in registry.providers("format") if _writes(p.cls, task.name)]
        raise Unsupported(f"format {name!r} does not write task {task.name!r}; formats that do: {', '.join(can)}")
    options = registry.options("format", name, run.settings.options("format", name))
    fmt: Format = registry.build("format", name, options, Context(categories=run.settings.run.classes))
    path = out or run.root / "export" / f"{fmt.name}{cls.suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0

    def counted() -> Iterator[ExportRow]:
        nonlocal count
        for row in run.rows(task, cast(Frame, frame)):
            count += 1
            yield row

    info = {
        "categories": list(run.settings.run.classes),
        "run": run.root.name,
        "frame": frame,
        "version": gtloop.__version__,
    }
    notes = fmt.write(path, counted(), task.name, info)
    return path, count, notes


def _writes(cls: Any, task: str) -> bool:
    return bool(cls.writes and does(cls, task))
