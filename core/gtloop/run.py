"""A run on disk: start it, or go on with it; answer its letters.

``gtloop.opened`` reads one.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import gtloop
from gtloop import config
from gtloop.crew import check_quote, quoted
from gtloop.errors import Busy, ConfigError, RunError, blame
from gtloop.events import AnyEvent, Confirmed, LabelsImported, LetterRefused, RunResumed, RunStarted, SettingsChanged
from gtloop.files import write_atomic
from gtloop.importing import write_imported
from gtloop.interfaces import Progress, quiet
from gtloop.items import Items, check_probe, list_items
from gtloop.job import Job, Plugins, fold_ledger, make_promise
from gtloop.ledger import Ledger
from gtloop.ledgers import check_place, driving, is_run, started
from gtloop.letters import check_affordable, check_minimum, read_letters
from gtloop.loop import Outcome, drive
from gtloop.models import check_warm, copy_warm
from gtloop.money import Rates, micro
from gtloop.observing import observed
from gtloop.opened import Run
from gtloop.picking import check_people
from gtloop.remedies import hopeless
from gtloop.servers import check_no_password
from gtloop.serving import page_beside
from gtloop.settings import Settings
from gtloop.sizes import make_plan
from gtloop.state import LATER, POOL, State
from gtloop.status import status
from gtloop.store import Store
from gtloop.unstarted import ask
from gtloop.urls import shown

if TYPE_CHECKING:
    from gtloop.registry import Registry

log = logging.getLogger("gtloop.run")
FAREWELL_S = 4.0
"""How long a page stays when a run has ended, so that whoever has it open is told."""


def default_folder(source: str, task: str) -> Path:
    """``runs/<source path>-<task>``: the same source and task mean the same run."""
    path = Path(source)
    parts = [p for p in path.resolve().parts[-2:] if p not in ("/", "")] if "://" not in source else [shown(source)]
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts)).strip("-.") or "images"
    return Path("runs") / f"{slug}-{task.partition('@')[0]}"


def run_or_resume(
    root: Path,
    settings: Settings,
    registry: Registry,
    *,
    yes: bool = False,
    wait: bool | None = None,
    progress: Progress = quiet,
    agree: Callable[[str], bool] = lambda why: True,
    url: str | None = None,
) -> tuple[Outcome, dict[str, Any]]:
    """Start a run, or go on with it, until it is finished, paused or waiting.

    Args:
        root: Run folder.
        settings: What was typed.
        registry: Where plugins come from.
        yes: Spend money after the probe.
        wait: Stay while people outside this process answer; None: where the annotator serves a page.
        progress: Told of long work.
        agree: Whether to start where no machine label can come, told why.
        url: Where the ledger of a new run is to be if the settings don't say; it may have a password.

    Returns:
        How it ended, and its status; a run that waits for people adds ``where`` they find the work.

    Raises:
        GtloopError: One line that says what to do.
    """
    root = root.resolve()
    if root.exists() and not root.is_dir():
        raise RunError(f"{root} is a file; name a folder for the run with --run")
    fresh = not is_run(root)
    if fresh and started(root):
        raise RunError(f"{root} is not empty and holds no run; choose another folder with --run")
    settings, url = _place(root, settings, url)
    plugins = Plugins(settings, registry, root)  # every usage error comes before anything is written
    plugins.observers()
    make_promise(settings, plugins.task)
    check_minimum(settings)
    if fresh:
        check_warm(settings)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise RunError(f"cannot make the run folder {root}: {e.strerror}; name another with --run") from None
    with driving(root, url, create=True) as ledger:
        state = fold_ledger(ledger, root)
        if state.facts.items is None:
            _start(root, ledger, state, settings, registry, plugins, progress, agree)
        else:
            _resume(ledger, state, settings, Store(root), registry)
            effective = Settings.model_validate(state.facts.settings)
            if effective != settings:  # a letter changed something that the command does not say
                settings, plugins = effective, Plugins(effective, registry, root, state.facts)
        job = Job(root, ledger, state, settings, registry, plugins, progress)
        with observed(job):
            if yes and not state.facts.confirmed:
                job.commit([Confirmed(iteration=state.iteration)])
            if state.facts.paused == "asked":
                job.commit([RunResumed(iteration=state.iteration)])
            job.commit(quoted(job))
            outcome = _drive(job, wait)
        found = status(str(root), state, job.settings, job.promise, driven=False)  # not any more
        if outcome == "waiting":
            found["where"] = job.plugins.annotator.where()
        return outcome, found


def _place(root: Path, settings: Settings, url: str | None) -> tuple[Settings, str | None]:
    """Settings without the ledger's address, and where a new run's ledger is to be."""
    wanted = settings.run.ledger
    if wanted is None:
        return settings, url
    check_no_password(wanted)
    if is_run(root):
        check_place(root, wanted)
    return settings.model_copy(update={"run": settings.run.model_copy(update={"ledger": None})}), wanted


def _drive(job: Job, wait: bool | None) -> Outcome:
    """Drive a run, its page beside it, once people can be reached."""
    read_letters(job)  # one may open a finished run again
    f, annotator = job.state.facts, job.plugins.annotator
    if f.finished:
        return drive(job)
    waiting = job.state.count(POOL) + job.state.count(LATER)
    check_people(annotator, job.registry, _worst_case(job.state.rates, job.settings, waiting, f.bill.left(job.budget)))
    if wait is False:
        return drive(job)
    with page_beside(job.root, annotator, [origin.plugin for origin in job.registry.blocked]) as page:
        job.page = page
        outcome = drive(job, wait=page is not None if wait is None else wait)
        if page is not None and outcome in ("finished", "cancelled"):
            time.sleep(FAREWELL_S)
        return outcome


def _worst_case(rates: Rates, settings: Settings, items: int, left: int | None) -> int:
    """What ``items`` cost at most, micro-dollars, if people label them all; no more than the budget has left."""
    cost = items * rates.request(settings.run.workers)
    return cost if left is None else min(cost, left)


def _start(
    root: Path,
    ledger: Ledger,
    state: State,
    settings: Settings,
    registry: Registry,
    plugins: Plugins,
    progress: Progress,
    agree: Callable[[str], bool],
) -> None:
    """List the items, check what is known of them, and commit the first events."""
    store = Store(root)
    if settings.run.source is None:
        raise ConfigError("no images named: gtloop run IMAGES, or run.source in gtloop.toml")
    ref = list_items(settings.run.source, settings.run.seed, store, progress)
    items = Items.read(ref, store)
    plugins.bind(items)
    if settings.run.truth is not None:
        plugins.check_truth()
    with blame("detector", plugins.detector.name, "check"):
        own = np.flatnonzero((items.alias_of < 0) & (items.width > 0))
        plugins.detector.check(items.some(own))
    plugins.executor.check(plugins.detector)
    more: list[AnyEvent] = []
    if (warm := check_warm(settings)) is not None:
        more.append(copy_warm(*warm, str(settings.run.warm_from), root))
    if settings.run.labels is not None:
        known = plugins.known.matched(settings.run.labels, items, range(len(items)), allow_missing=True)
        more.append(write_imported(store, plugins.task, known, items, settings.run.labels))
    if settings.people.gold is not None:
        known = plugins.known.matched(settings.people.gold, items, range(len(items)), allow_missing=True)
        number = 1 + sum(isinstance(e, LabelsImported) for e in more)
        source = settings.people.gold
        more.append(write_imported(store, plugins.task, known, items, source, number=number, gold=True))
    aliases = int((items.alias_of >= 0).sum())
    imported = [store.read(e.labels, ["row"])["row"] for e in more if isinstance(e, LabelsImported)]
    earlier = len(np.unique(np.concatenate(imported))) if imported else 0
    n, trainable = len(items) - aliases - earlier, plugins.detector.trainable
    promise = make_promise(settings, plugins.task)
    plan = make_plan(settings, promise, n, trainable, known=earlier)
    if lacking := hopeless(plan, settings, promise, n, trainable, earlier):
        log.info("note: %s", lacking)
        ask(root, agree, lacking)
    check_probe(items, settings.run.seed, plan.probe, settings.run.probe_failures)
    quote, budget = plugins.quote(), settings.run.budget_usd
    rates = settings.prices.rates().quoted(quote)
    check_people(
        plugins.annotator, registry, _worst_case(rates, settings, n, None if budget is None else micro(budget))
    )
    write_atomic(root / "run.toml", run_toml(settings).encode())
    started = RunStarted(
        gtloop=gtloop.__version__,
        settings=settings.model_dump(mode="json"),
        plan=plan.model_dump(mode="json"),
        items=ref,
        aliases=aliases,
    )
    for entry in ledger.append([started, *more]):
        state.apply(entry.event, store, entry.seq)


def run_toml(settings: Settings) -> str:
    """What ``run.toml`` of a new run says."""
    return (
        f"# The settings that this run started with (gtloop {gtloop.__version__}). The ledger holds what changed.\n\n"
        + (config.to_toml(settings))
    )


def _resume(ledger: Ledger, state: State, settings: Settings, store: Store, registry: Registry) -> None:
    """Take changed settings in as an event; refuse those that are frozen."""
    old = Settings.model_validate(state.facts.typed)
    was, given = (shown(s.run.source or "") for s in (old, settings))
    if was != given:
        raise RunError(f"this run labels {was}, not {given}; name another folder for a new run with --run")
    same = {"source": old.run.source}  # but for a signature
    settings = settings.model_copy(update={"run": settings.run.model_copy(update=same)})
    if list(settings.run.classes) == state.facts.settings["run"]["classes"]:  # their names of now will do too
        settings = settings.model_copy(update={"run": settings.run.model_copy(update={"classes": old.run.classes})})
    if settings.run.cut is None:  # older runs have one
        settings = settings.model_copy(update={"run": settings.run.model_copy(update={"cut": old.run.cut})})
    if settings.run.budget_usd is None:  # a cap is not dropped by leaving its flag out
        settings = settings.model_copy(
            update={"run": settings.run.model_copy(update={"budget_usd": old.run.budget_usd})}
        )
    changed = config.changes(old, settings)
    if state.facts.finished:  # what is done stays as it was done; checking it may take more money
        cap, more = state.facts.settings["run"]["budget_usd"], settings.run.budget_usd
        raised = cap is not None and more is not None and more > cap
        changed = {name: value for name, value in changed.items() if raised and name == "run.budget_usd"}
    if changed:
        now = Settings.model_validate(state.facts.settings)
        after, event = config.changed(now, changed), SettingsChanged(iteration=state.iteration, changes=changed)
        check_affordable(state, now, after)
        check_quote(state, event, store, Plugins(after, registry, store.root, state.facts), after)
        for entry in ledger.append([event]):
            state.apply(entry.event, store, entry.seq)


def settings_of(root: Path, flags: Mapping[str, Any], overrides: tuple[str, ...] = ()) -> Settings:
    """What was typed for a run so far, with what is typed now (``config.load``)."""
    typed = Settings.model_validate(Run.open(root).state.facts.typed)
    return config.replaced(typed, flags, overrides)


def take_in(root: Path, registry: Registry, letter: int, progress: Progress = quiet) -> bool:
    """Answer the letters of a run that nobody drives; False where a driver will.

    Raises:
        RunError: ``letter`` was refused.
    """
    try:
        with driving(root) as ledger:
            state = fold_ledger(ledger, root)
            settings = Settings.model_validate(state.facts.settings)
            plugins = Plugins(settings, registry, root, state.facts)
            read_letters(Job(root, ledger, state, settings, registry, plugins, progress))
            _raise_refusal(ledger, letter)
    except Busy:
        return False
    return True


def _raise_refusal(ledger: Ledger, letter: int) -> None:
    for entry in ledger.read():
        if isinstance(entry.event, LetterRefused) and entry.event.letter == letter:
            raise RunError(entry.event.why)
