"""A job made a run: its answers and labels as the events that the loop would have committed."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gtloop
from gtloop import config
from gtloop.errors import RunError
from gtloop.events import RunFinished, RunStarted
from gtloop.files import write_atomic
from gtloop.interfaces import Progress
from gtloop.items import Items, write_items
from gtloop.job import Job, Plugins, make_promise
from gtloop.labelfiles import json_line
from gtloop.ledger import LEDGER, Ledger
from gtloop.ledgers import is_run, started
from gtloop.locks import Lock
from gtloop.remedies import hopeless
from gtloop.run import run_toml
from gtloop.settings import Settings
from gtloop.sizes import Plan, make_plan
from gtloop.stages import next_stage
from gtloop.state import HUMAN, POOL, State
from gtloop.status import status
from gtloop.store import Store
from gtloop.urls import shown
from gtloop_plugins.formats.groundtruth.jobs.facts import JobFacts
from gtloop_plugins.formats.groundtruth.jobs.folder import JobFolder
from gtloop_plugins.formats.groundtruth.jobs.images import Images
from gtloop_plugins.formats.groundtruth.jobs.labels import Labels
from gtloop_plugins.formats.groundtruth.jobs.replay import Replay, commit

log = logging.getLogger("gtloop.groundtruth")
MARK = "import.json"
"""File of an imported run that says what it was made of, and what the import found."""
REFUSED = "import.refused.jsonl"
"""File of an imported run with what could not be used, and why."""
FIRST = 3
"""Names of images that can't be read that are said."""
STAGE = "what another service chose to label tells nothing about what it left"


class Known(NamedTuple):
    """A run that was imported before: what was said of it, and whether the job's folder is as it was then."""

    found: dict[str, Any]
    same: bool


def imported_before(root: Path, job: JobFolder) -> Known | None:
    """What an import into ``root`` said; None where nothing is there.

    Raises:
        RunError: Something else is there.
    """
    mark = root / MARK
    if mark.is_file():
        known = json_line(mark.read_bytes(), str(mark), "restore it from a back-up") or {}
        if known.get("job") == str(job.root):
            return Known(known["found"], known.get("fingerprint") == job.fingerprint())
    if root.is_file() or started(root) or is_run(root):
        raise RunError(f"{root} is there already and holds something else; choose another folder with --run")
    return None


def settings_of(
    job: JobFolder, facts: JobFacts, flags: dict[str, Any], overrides: tuple[str, ...], defaults: Any
) -> Settings:
    """The settings of the run: what was given, and else what the job did; its prices are the service's."""
    assert job.manifest is not None
    prices = config.preset("ground-truth", facts.task)["prices"]
    found = {
        "run.source": str(job.manifest),
        "run.task": facts.task,
        "run.classes": facts.categories,
        **({"run.workers": facts.workers} if facts.workers else {}),
        **({"formats.groundtruth.attribute": facts.attribute} if facts.attribute else {}),
        **{f"prices.{key}": value for key, value in prices.items()},
    }
    return config.load(None, found | flags, overrides, defaults)


def import_job(
    root: Path, job: JobFolder, facts: JobFacts, images: Images, settings: Settings, registry: Any, progress: Progress
) -> dict[str, Any]:
    """Make the run; ``root`` appears whole or not at all.

    Returns:
        What the command prints as JSON.

    Raises:
        GtloopError: One line that says what to do.
    """
    with _beside(root) as work:
        with closing(Ledger.open(work / LEDGER, create=True)) as ledger:
            plugins = Plugins(settings, registry, root)
            made = _start(work, ledger, settings, registry, plugins, job, images, progress)
            labels = Labels(job, facts, made, settings.options("format", "groundtruth"))
            replay = Replay(made, job, facts, labels, progress)
            replay.all()
            _end(made)
            found = _found(root, made, job, facts, replay)
        mark = {"job": str(job.root), "fingerprint": job.fingerprint(), "found": found}
        refused = "".join(json.dumps(r._asdict(), ensure_ascii=False) + "\n" for r in job.refused)
        write_atomic(work / REFUSED, refused.encode())
        write_atomic(work / MARK, json.dumps(mark, ensure_ascii=False).encode())
    return found


@contextmanager
def _beside(root: Path) -> Iterator[Path]:
    """A folder beside ``root`` that takes its place at the end of the block; what a killed import left is removed."""
    work = root.with_name(f".{root.name}.importing")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise RunError(f"cannot make the run folder {root}: {e.strerror}; name another with --run") from None
    with Lock(work) as lock:
        for left in work.iterdir():
            if left.name != lock.name:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield work
            work.rename(root)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def _start(
    work: Path,
    ledger: Ledger,
    settings: Settings,
    registry: Any,
    plugins: Plugins,
    job: JobFolder,
    images: Images,
    progress: Progress,
) -> Job:
    store, state = Store(work), State()
    ref = write_items(images.listed(job.objects), settings.run.seed, store, progress)
    items = Items.read(ref, store)
    images.check(items)
    plugins.bind(items)
    promise = make_promise(settings, plugins.task)
    aliases = int((items.alias_of >= 0).sum())
    plan = make_plan(settings, promise, len(items) - aliases, plugins.detector.trainable)
    write_atomic(work / "run.toml", run_toml(settings).encode())
    first = RunStarted(
        gtloop=gtloop.__version__,
        settings=settings.model_dump(mode="json"),
        plan=plan.model_dump(mode="json"),
        items=ref,
        aliases=aliases,
    )
    for entry in ledger.append([first]):
        state.apply(entry.event, store, entry.seq)
    return Job(work, ledger, state, settings, registry, plugins, progress)


def _end(made: Job) -> None:
    """What is left begins a stage of its own, with validation items of its own; where nothing is, the run is over."""
    s = made.state
    if not s.count(POOL):
        commit(made, RunFinished(iteration=s.iteration))
        return
    commit(made, next_stage(made, STAGE))
    plan = Plan.model_validate(s.facts.plan)
    n, trainable = s.count(POOL), made.plugins.detector.trainable
    if lacking := hopeless(plan, made.settings, made.promise, n, trainable, s.count(HUMAN)):
        for name in ("target", "delta"):  # an import has no flags for these
            lacking = lacking.replace(f"--{name} ", f"-o promise.{name}=")
        again = "; settings like these are fixed from now on: import into another --run with them"
        log.info("note: of the images that are left, %s%s", lacking, again if "-o " in lacking else "")


def _gaps(numbers: Iterable[int]) -> list[list[int]]:
    """The first and last number of each stretch that is not among ``numbers``, from 1 to the largest."""
    return [[a + 1, b - 1] for a, b in pairwise([0, *sorted(numbers)]) if b - a > 1]


def _unreadable(made: Job) -> dict[str, Any]:
    """The images that can't be read: how many, the names of the first, and where the first one was looked for."""
    rows = np.flatnonzero(made.items.width == 0)
    where = shown(made.items.uri[rows[0]]) if len(rows) else None
    return {"count": len(rows), "first": made.items.name.at(rows[:FIRST]), "looked_for": where}


def _found(root: Path, made: Job, job: JobFolder, facts: JobFacts, replay: Replay) -> dict[str, Any]:
    said = status(str(root), made.state, made.settings, made.promise, driven=False)
    return {
        "run": str(root),
        "job": str(job.root),
        "task": facts.task,
        "attribute": facts.attribute,
        "categories": list(facts.categories),
        "batches": len(made.state.facts.batches),
        "iterations": {
            "lacking": _gaps(job.responses.keys() | job.automatic.keys()),
            "called": {str(own): run for own, run in replay.called.items() if own != run},
        },
        "answers": made.state.facts.annotations,
        "workers": len(replay.workers),
        "items": said["items"],
        "unreadable": _unreadable(made),
        "imported": said["imported"],
        "cost_usd": said["cost_usd"]["total"],
        "agreement": {"metric": made.promise.metric, **replay.agreement()},
        "left_out": dict(replay.left_out),
        "refused": len(job.refused),
        "state": said["state"],
        "summary": said["summary"],
    }
