"""Whole runs in scratch folders, in parallel processes; what is finished is kept for the next time."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gtloop.caching import FOLDER
from gtloop.errors import GtloopError, RunError
from gtloop.interfaces import Progress
from gtloop.keyed import digest
from gtloop.settings import Settings
from gtloop_plugins.commands.planning.wishes import Values, called, write_json

if TYPE_CHECKING:
    from gtloop.registry import Registry

RESULT = "result.json"
Measure = Callable[[Path], dict[str, Any]]


class Plugs(NamedTuple):
    """Which plugins a process of its own loads: all but ``blocked``, and modules besides."""

    blocked: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    def registry(self) -> Registry:
        """Load them."""
        from gtloop.registry import Registry as Loaded

        return Loaded.load(block=self.blocked, extra_modules=self.modules)


class Cell(NamedTuple):
    """One run to make."""

    values: Values
    settings: Settings

    @property
    def seed(self) -> int:
        return self.settings.run.seed

    @property
    def folder(self) -> str:
        """A name for these very settings."""
        return f"{self.seed}-{digest(self.settings.model_dump_json(), length=12)}"


def make_all(
    cells: Sequence[Cell], out: Path, measure: Measure, plugs: Plugs, jobs: int, progress: Progress
) -> list[dict[str, Any]]:
    """What every run came to, in the order of the cells.

    Args:
        cells: Runs to make.
        out: Folder of the runs; ``measure``'s results of those that are finished lie there.
        measure: What is kept of a run, by its folder.
        plugs: What each process loads.
        jobs: Processes.
        progress: Told after every run.

    Raises:
        RunError: A run failed; what is finished is kept.
    """
    cache = Path(os.environ.get(FOLDER) or out / "cache").resolve()
    results: dict[str, dict[str, Any]] = {}
    todo: dict[str, Cell] = {}
    for cell in cells:
        kept = out / "runs" / cell.folder / RESULT
        if kept.is_file():
            results[cell.folder] = json.loads(kept.read_text())
        else:
            todo[cell.folder] = cell
    done = len(results)
    progress("runs", done, done + len(todo), "kept from before" if done else "")
    for name, found in _made(todo, out, measure, plugs, min(jobs, len(todo)), cache):
        results[name] = found
        done += 1
        progress("runs", done, done + len(todo) - len(results.keys() & todo.keys()), _note(todo[name]))
    return [{"settings": dict(c.values), "seed": c.seed, **results[c.folder]} for c in cells]


def _note(cell: Cell) -> str:
    return f"{called(cell.values)}, seed {cell.seed}"


def _made(
    todo: dict[str, Cell], out: Path, measure: Measure, plugs: Plugs, jobs: int, cache: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Folder and result of each run, as they are finished."""
    if jobs <= 1:
        for name, cell in todo.items():
            yield name, _outcome(_one(cell.settings, out / "runs" / name, measure, plugs, cache), cell)
        return
    context = multiprocessing.get_context("spawn")  # torch and fork don't mix
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        asked = {
            pool.submit(_one, cell.settings, out / "runs" / name, measure, plugs, cache): name
            for name, cell in todo.items()
        }
        try:
            for future in as_completed(asked):
                yield asked[future], _outcome(future.result(), todo[asked[future]])
        finally:
            pool.shutdown(cancel_futures=True)


def _outcome(found: dict[str, Any] | str, cell: Cell) -> dict[str, Any]:
    if isinstance(found, str):
        raise RunError(f"{_note(cell)}: {found}; what is finished is kept: the same command goes on from there")
    return found


def _one(settings: Settings, root: Path, measure: Measure, plugs: Plugs, cache: Path) -> dict[str, Any] | str:
    """Make a run (or go on with it) and measure it; a text says what went wrong."""
    from gtloop.run import run_or_resume

    before = os.environ.get(FOLDER)
    os.environ[FOLDER] = str(cache)
    try:
        outcome, status = run_or_resume(root, settings, plugs.registry(), wait=False, yes=True)
        found = {"outcome": outcome, "status": status, **measure(root)}
        write_json(root / RESULT, found)
        return found
    except GtloopError as e:
        return str(e)
    finally:
        os.environ.pop(FOLDER) if before is None else os.environ.__setitem__(FOLDER, before)
