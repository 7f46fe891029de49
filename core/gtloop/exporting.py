"""Labels out: every item one row, in the format and frame asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gtloop
from gtloop import config
from gtloop.errors import ConfigError, Unsupported
from gtloop.interfaces import Context, ExportRow, Format, Frame
from gtloop.labelfiles import does
from gtloop.opened import Run

if TYPE_CHECKING:
    from gtloop.registry import Registry


def export_run(
    run: Run,
    registry: Registry,
    name: str,
    out: Path | None,
    frame: str = "display",
    overrides: Sequence[str] = (),
) -> tuple[Path, int, list[str]]:
    """Write a run's labels; ``overrides`` are options of the format (``formats.NAME.key=value``) over the run's.

    Returns:
        Where to, the number of rows, and a sentence for each thing that the format could not hold.

    Raises:
        UsageError: Unknown format, one that does not write this task, an unknown frame, or an override of another kind.
    """
    if frame not in ("display", "stored"):
        raise ConfigError(f"--frame {frame}: choose display (EXIF applied) or stored")
    for text in overrides:
        if not text.strip().removeprefix("formats.").removeprefix("format.").startswith(f"{name}."):
            raise ConfigError(f"-o {text}: an export takes options of its format only, -o formats.{name}.KEY=VALUE")
    settings = config.replaced(run.settings, {}, tuple(overrides))
    task, classes = run.task(registry), run.settings.run.classes
    path, counts, notes = write_rows(
        registry,
        name,
        out,
        run.rows(task, cast(Frame, frame)),
        task.name,
        classes,
        run.root.name,
        frame=cast(Frame, frame),
        default=run.root / "export" / name,
        options=settings.options("format", name),
    )
    return path, counts["rows"], notes


def write_rows(
    registry: Registry,
    name: str,
    out: Path | None,
    rows: Iterable[ExportRow],
    task: str,
    categories: tuple[str, ...],
    run: str,
    *,
    default: Path,
    frame: Frame = "display",
    options: Mapping[str, Any] | None = None,
) -> tuple[Path, dict[str, int], list[str]]:
    """Write rows of a task in a format.

    Returns:
        Where to (``out``, or ``default`` with the format's suffix), the numbers of ``rows`` and ``labelled`` ones,
        and a sentence for each thing that the format could not hold.

    Raises:
        UsageError: Unknown format, or one that does not write this task.
    """
    cls = cast("type[Format]", registry.get("format", name))
    if not _writes(cls, task):
        can = [p.cls.name for p in registry.providers("format") if _writes(p.cls, task)]
        raise Unsupported(f"format {name!r} does not write task {task!r}; formats that do: {', '.join(can)}")
    context = Context(categories=categories)
    fmt: Format = registry.build("format", name, registry.options("format", name, options or {}), context)
    path = out or default.with_name(default.name + cls.suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = {"rows": 0, "labelled": 0}

    def counted() -> Iterator[ExportRow]:
        for row in rows:
            counts["rows"] += 1
            counts["labelled"] += row.label is not None
            yield row

    info = {"categories": list(categories), "run": run, "frame": frame, "version": gtloop.__version__}
    notes = fmt.write(path, counted(), task, info)
    return path, counts, notes


def _writes(cls: Any, task: str) -> bool:
    return bool(cls.writes and does(cls, task))
