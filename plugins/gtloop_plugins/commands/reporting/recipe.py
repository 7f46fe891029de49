"""How a run was made, so that it can be made again: without what is a default anyway, and without secrets."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gtloop import config
from gtloop.config import PLUGIN_TABLES
from gtloop.errors import GtloopError
from gtloop.events import (
    AnyEvent,
    CategoriesChanged,
    ItemsAdded,
    LabelsImported,
    RelabelAsked,
    RunStarted,
    SettingsChanged,
    StageStarted,
)
from gtloop.interfaces import KINDS
from gtloop.plugin_options import table_name
from gtloop.settings import Settings

if TYPE_CHECKING:
    from gtloop.opened import Run
    from gtloop.registry import Registry

Row = tuple[str, str]

CHOSEN = (
    *("source", "truth", "task", "classes", "annotator", "workers", "detector", "sampler", "score", "preset", "seed"),
    "budget_usd",
)
"""Keys of ``[run]`` that are shown in any case."""
HIDDEN = "(not shown)"
IMPORTED = "import.json"
"""What ``gtloop import groundtruth`` leaves in a run; the plan that the run started with was never followed then."""
_SECRET = re.compile(r"(^|_)(secret|password|passwd|token|key|credentials?)$", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/@\s]+@")


def recipe(run: Run, registry: Registry) -> list[Row]:
    """Rows of what and how much: the choices, the sizes, all else that is no default, and what changed on the way."""
    events = [entry.event for entry in run.events()]
    started = next(e for e in events if isinstance(e, RunStarted))
    settings = Settings.model_validate(started.settings)
    rows = [
        *_chosen(settings),
        *([] if imported_from(run) else [("sizes", sizes(started.plan, settings))]),
        *_tables(settings),
        *(row for kind, name in _plugins(settings) for row in _given(kind, name, settings, registry)),
        *((f"iteration {e.iteration}", text) for e in events if (text := _happened(e, settings, registry))),
        ("gtloop", started.gtloop),
    ]
    return [(what, _USER.sub("", text)) for what, text in rows]


def imported_from(run: Run) -> str:
    """The job folder of another service that the run was made of; empty for a run that gtloop began."""
    mark = run.root / IMPORTED
    return str(json.loads(mark.read_bytes())["job"]) if mark.is_file() else ""


def again(run: Run) -> str:
    """The sentence that says how to make the run once more."""
    if job := imported_from(run):
        return (
            f"It began as a job of another service. Again, with the options that were given then: gtloop import "
            f"groundtruth {shlex.quote(job)} --run NEW"
        )
    return f"Again, from the same folder: gtloop run --config {shlex.quote(str(run.root / 'run.toml'))} --run NEW"


def _chosen(settings: Settings) -> list[Row]:
    r, p = settings.run, settings.prices
    return [
        ("source", str(r.source)),
        *([("truth", r.truth)] if r.truth else []),
        ("task", r.task),
        ("classes", ", ".join(r.classes)),
        ("annotator", f"{r.annotator}, {r.workers} people an image"),
        ("detector", r.detector),
        ("sampler", r.sampler),
        ("score", r.score),
        ("preset, seed", f"{r.preset}, {r.seed}"),
        ("prices", f"${p.answer_usd} an answer, ${p.item_fee_usd} fee an image, ${p.machine_fee_usd} a machine label"),
        ("budget", "none" if r.budget_usd is None else f"${r.budget_usd:,.2f}"),
    ]


def sizes(plan: Mapping[str, Any], settings: Settings) -> str:
    """The numbers of images that the settings came to."""
    if settings.loop.certify == "late":
        looks = "a look after " + ", ".join(f"{n:,}" for n in plan["look_at"])
    else:
        looks = "a look after every batch"
    return (
        f"{plan['validation']:,} for validation, {plan['probe']:,} of them as a probe; {plan['train']:,} "
        f"for training at first; batches of {plan['batch']:,}; {looks}"
    )


def _tables(settings: Settings) -> Iterator[Row]:
    """Keys of the fixed tables that are other than the preset says."""
    before, now = (s.model_dump(mode="json") for s in (_preset(settings), settings))
    for table in ("run", "promise", "loop", "sizes"):
        for key, value in now[table].items():
            if value != before[table][key] and not (table == "run" and key in CHOSEN):
                yield f"{table}.{key}", _text(value)


def _preset(settings: Settings) -> Settings:
    return Settings.model_validate(config.preset(settings.run.preset, settings.run.task))


def _plugins(settings: Settings) -> Iterator[tuple[str, str]]:
    """Kind and name of the plugins whose options tell: the chosen ones, all formats, and observers that are on."""
    for kind in KINDS:
        chosen = getattr(settings.run, kind, None)
        names = getattr(settings, table_name(kind)) if chosen is None else [chosen]
        yield from ((kind, name) for name in names)


def _given(kind: str, name: str, settings: Settings, registry: Registry) -> Iterator[Row]:
    """Options of a plugin that are other than its defaults, or than the preset's where that has them."""
    given, before = (s.options(kind, name) for s in (settings, _preset(settings)))
    for option, text, default in options(kind, name, given, registry):
        usual = given.get(option) == before[option] if option in before else default
        if not usual:
            yield f"{table_name(kind)}.{name.partition('@')[0]}.{option}", text


def options(kind: str, name: str, table: Mapping[str, Any], registry: Registry) -> list[tuple[str, str, bool]]:
    """Name and value of the options in a plugin's table, and whether it is the default; secrets are ``HIDDEN``.

    An option is secret where pydantic says so (``SecretStr``, ``repr=False``) or its name does. Of a plugin that is
    not installed all are: it alone knows.
    """
    try:
        known = registry.find(kind, name).cls.Options.model_fields
        found = registry.options(kind, name, table)
    except GtloopError:
        return [(option, HIDDEN, False) for option in table]
    values, shown = found.model_dump(), found.model_dump(mode="json")
    return [
        (
            option,
            _text(shown[option]) if known[option].repr and not _SECRET.search(option) else HIDDEN,
            values[option] == known[option].get_default(call_default_factory=True),
        )
        for option in known
        if option in found.model_fields_set
    ]


def _happened(event: AnyEvent, settings: Settings, registry: Registry) -> str:
    """What somebody changed while the run was under way; empty for all other events."""
    match event:
        case SettingsChanged():
            return ", ".join(_changed(key, value, registry) for key, value in event.changes.items())
        case CategoriesChanged():
            return "renamed " + ", ".join(f"{old} to {new}" for old, new in event.names.items())
        case ItemsAdded():
            return f"images added: {event.source}" + (f", truth {event.truth}" if event.truth else "")
        case LabelsImported() if event.letter:
            return f"labels imported: {event.source}"
        case RelabelAsked():
            return f"{event.rows.rows:,} images to be labelled again"
        case StageStarted():
            return f"{event.why}: {sizes(event.plan, settings)}"
    return ""


def _changed(key: str, value: Any, registry: Registry) -> str:
    table, _, name = key.partition(".")
    if table not in PLUGIN_TABLES:
        return f"{key} {_text(value)}"
    if value is None:
        return f"{key}: off"
    given = options(table.removesuffix("s"), name, value, registry)
    return f"{key}: " + (", ".join(f"{option} {text}" for option, text, _ in given) or "defaults")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
