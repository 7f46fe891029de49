"""A model as a deliverable: a folder with the detector's own files and a card that says how to use them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gtloop
from gtloop import config
from gtloop.errors import ConfigError, RunError
from gtloop.events import CategoriesChanged, ModelFitted, RunStarted, SettingsChanged, WarmStarted
from gtloop.job import USUAL_CUT
from gtloop.labelfiles import replacing_folder
from gtloop.ledgers import is_run
from gtloop.records import Record
from gtloop.settings import Settings
from gtloop.state import State
from gtloop.store import Store

if TYPE_CHECKING:
    from gtloop.opened import Run

CARD = "gtloop-model.json"
"""Beside the folder ``model``, which is the detector's."""


class Card(Record):
    """What is needed to use a model, and where it comes from."""

    format: int = 1
    gtloop: str
    run: str
    name: str
    task: str
    task_options: dict[str, Any] = {}
    detector: str
    detector_options: dict[str, Any] = {}
    score: str
    score_options: dict[str, Any] = {}
    learnt: dict[str, Any] = {}
    categories: tuple[str, ...]
    cut: float
    examples: int
    promise: dict[str, Any] = {}


def card_of(run: Run) -> tuple[Card, Path]:
    """The card and folder of a run's latest model.

    Raises:
        RunError: It has none.
    """
    path = run.state.facts.deliverable
    folder = run.root / path if path else None
    if path is None or folder is None or not folder.is_dir():
        raise RunError(f"{run.root} has no model yet: it has not come to a fit, or its detector does not learn")
    settings, fit = _fitted(run, path)
    r, promise = settings.run, run.status()["promise"]
    card = Card(
        gtloop=gtloop.__version__,
        run=run.root.name,
        name=folder.name,
        task=r.task,
        task_options=settings.options("task", r.task),
        detector=r.detector,
        detector_options=settings.options("detector", r.detector),
        score=r.score,
        score_options=settings.options("score", r.score),
        categories=r.classes,
        cut=cut_of(run.state, settings),
        learnt=learnt(run.store, run.state),
        examples=fit.examples,
        promise={k: promise[k] for k in ("kind", "metric", "target", "max_loss", "delta", "certified", "estimated")},
    )
    return card, folder


def cut_of(state: State, settings: Settings) -> float:
    """Least confidence of an object in the machine labels of a run: given, chosen at the latest look, or the usual."""
    return settings.run.cut or state.facts.cut or USUAL_CUT


def learnt(store: Store, state: State) -> dict[str, Any]:
    """What the score had learnt by the latest look; empty where it had not."""
    ref = state.facts.fitted
    return {} if ref is None else dict(store.read(ref)["fitted_json"][0])


def _fitted(run: Run, path: str) -> tuple[Settings, ModelFitted]:
    """The settings under which a model was fitted, and the event."""
    settings: Settings | None = None
    for entry in run.events():
        e = entry.event
        if isinstance(e, RunStarted):
            settings = Settings.model_validate(e.settings)
        elif isinstance(e, SettingsChanged) and settings is not None:
            settings = config.replaced(settings, e.changes)
        elif isinstance(e, CategoriesChanged) and settings is not None:
            settings = config.replaced(settings, {"run.classes": e.categories})
        elif isinstance(e, ModelFitted) and e.path == path and settings is not None:
            return settings, e
    raise RunError(f"the ledger of {run.root} knows no model {path}; restore the run folder from a back-up")


def export_model(run: Run, out: Path | None) -> Path:
    """Write a run's latest model to a folder (default: ``export/model`` of the run).

    Raises:
        RunError: There is no model.
        UsageError: The folder holds something else.
    """
    card, folder = card_of(run)
    path = out or run.root / "export" / "model"
    with replacing_folder(path, CARD) as work:
        shutil.copytree(folder, work / "model")
        (work / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path


def open_model(path: Path) -> tuple[Card, Path]:
    """The card and the detector's folder of an exported model, or of a run.

    Raises:
        RunError: It is neither, or the card can't be read.
    """
    from gtloop.opened import Run

    if is_run(path):
        return card_of(Run.open(path))
    try:
        return Card.model_validate_json((path / CARD).read_bytes()), path / "model"
    except OSError:
        raise RunError(
            f"{path} is neither a run nor an exported model; write one with: gtloop export RUN --format model"
        ) from None
    except ValueError:
        raise RunError(f"{path / CARD} is damaged or of a newer gtloop; export the model again") from None


def check_warm(settings: Settings) -> tuple[Card, Path] | None:
    """The model that a run is to start from, if it fits the run.

    Raises:
        RunError: It can't be read.
        ConfigError: It is of another task, detector or categories.
    """
    r = settings.run
    if r.warm_from is None:
        return None
    card, folder = open_model(Path(r.warm_from))
    mine = {"task": r.task, "detector": r.detector, "categories": tuple(r.classes)}
    for what, value in mine.items():
        theirs = getattr(card, what)
        if value != theirs:
            shown = [", ".join(v) if isinstance(v, tuple) else v for v in (theirs, value)]
            raise ConfigError(
                f"--warm-from {r.warm_from}: its {what} is {shown[0]}, this run's {shown[1]}; make them equal"
            )
    return card, folder


def copy_warm(card: Card, folder: Path, origin: str, root: Path) -> WarmStarted:
    """Copy the model into the run, so that the run needs no other."""
    path = "models/warm"
    target, work = root / path, root / "models" / ".warm.partial"
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, work)
    work.rename(target)
    sha = hashlib.sha256(card.model_dump_json().encode())
    for file in sorted(p for p in target.rglob("*") if p.is_file()):
        sha.update(json.dumps(file.relative_to(target).as_posix()).encode() + file.read_bytes())
    return WarmStarted(path=path, sha256=sha.hexdigest(), origin=origin, detector=card.detector)
