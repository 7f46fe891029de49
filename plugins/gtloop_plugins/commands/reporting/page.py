"""The page of a report: facts, plots and pictures put into ``page.html.j2``, and all of it written."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gtloop
from gtloop.errors import UsageError
from gtloop.files import write_atomic
from gtloop.money import usd
from gtloop.plots import HUMAN, MACHINE, TRUTH, render_all
from gtloop_plugins.commands.reporting.galleries import galleries
from gtloop_plugins.commands.reporting.groups import called
from gtloop_plugins.commands.reporting.measure import Facts
from gtloop_plugins.commands.reporting.panels import Plot, plots
from gtloop_plugins.commands.reporting.picks import unlabelled
from gtloop_plugins.commands.reporting.promising import promised, unlooked
from gtloop_plugins.commands.reporting.recipe import again

if TYPE_CHECKING:
    from gtloop.interfaces import Task
    from gtloop.opened import Run

SHOWN_PEOPLE = 50
"""Workers in the table of people; ``gtloop workers`` has all."""


@dataclass(frozen=True)
class Shown:
    """A plot as the page needs it: its words, and its pictures as ``data:`` URIs."""

    title: str
    caption: str
    light: str
    dark: str
    width: int


def write_report(facts: Facts, run: Run, task: Task, folder: Path) -> Path:
    """Write ``index.html``, and every plot as a PNG and as an SVG of the same name, to ``folder``.

    Returns:
        The path of the page.

    Raises:
        UsageError: The folder can't be written.
    """
    drawn = [(plot, render_all(plot.draw, plot.size)) for plot in plots(facts, run.settings.run.classes)]
    page = build_page(facts, run, task, [_shown(plot, of.light, of.dark) for plot, of in drawn])
    try:
        for plot, of in drawn:
            write_atomic(folder / f"{plot.name}.png", of.light)
            write_atomic(folder / f"{plot.name}.svg", of.svg)
        write_atomic(folder / "index.html", page.encode("utf-8", "surrogateescape"))
    except OSError as e:
        raise UsageError(f"cannot write {folder}: {e.strerror or e}; choose another place with --out") from e
    return folder / "index.html"


def _shown(plot: Plot, light: bytes, dark: bytes) -> Shown:
    return Shown(plot.title, plot.caption, _data_uri(light), _data_uri(dark), round(96 * plot.size[0]))


def _data_uri(png: bytes) -> str:
    """The same pixels as WebP, which takes a third of a PNG's room."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(out, format="WEBP", lossless=True, quality=60, method=1)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def build_page(facts: Facts, run: Run, task: Task, shown: Sequence[Shown]) -> str:
    """The HTML of the report, complete in itself."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"figure": _figure, "usd": lambda v: f"${v:,.2f}", "share": lambda v: f"{v:.0%}"}
    environment.filters |= {"anchor": lambda title: re.sub(r"\W+", "-", title.lower())}
    text = resources.files("gtloop_plugins.commands.reporting").joinpath("page.html.j2").read_text("utf-8")
    s, pictures, people, evaluation = (
        facts.status,
        galleries(facts, run, task),
        _people(facts),
        _evaluation(facts.status),
    )
    return environment.from_string(text).render(
        s=s,
        name=run.root.name,
        version=gtloop.__version__,
        colours={"human": HUMAN, "machine": MACHINE, "truth": TRUTH},
        tiles=_tiles(s),
        state=_state(s),
        promise=promised(s),
        unlooked=unlooked(s, run),
        plots=shown,
        galleries=pictures,
        contents=[
            "The promise",
            *(plot.title for plot in shown),
            *(("People, one by one",) if people else ()),
            *(("Figures of merit",) if evaluation else ()),
            *(gallery.title for gallery in pictures),
            *("Every iteration", "Every image", "How it was made"),
        ],
        reasons=facts.reasons,
        unlabelled=unlabelled(facts.rows),
        people=people,
        evaluation=evaluation,
        by_category=_by_category(s),
        settings=facts.recipe,
        again=again(run),
        truth=facts.truth,
    )


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _tiles(s: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The numbers at the top: value, what it is, and a kind that gives its colour."""
    items, cost = s["items"], s["cost_usd"]
    tiles = [
        (f"{items['human']:,}", "images labelled by people", "human"),
        (f"{items['machine']:,}", "images labelled by machine", "machine"),
        (f"{s['annotations']:,}", "answers of people", ""),
    ]
    left = items["pool"] + items["unlabelable"] + items["quarantined"]
    if left:
        tiles.append((f"{left:,}", "images without a label", ""))
    if cost["if_all_human"]:
        tiles.append((f"${cost['total']:,.2f}", f"paid; people alone: ${cost['if_all_human']:,.2f}", ""))
    elif s["hours"]["human"]:
        alone = s["hours"]["if_all_human"]
        words = "" if alone is None else f"; people alone: {alone:,.1f}"
        tiles.append((f"{s['hours']['human']:,.1f}", f"hours of people{words}", ""))
    if s["quality"] and s["quality"]["all"]["mean"] is not None:
        tiles.append((f"{s['quality']['all']['mean']:.3f}", f"{s['promise']['metric']} against the truth", "truth"))
    return tiles


def _state(s: dict[str, Any]) -> str:
    """Of the run, as ``gtloop status`` says it to people: one that nobody drives does not run."""
    if s["state"] != "running" or s["driven"]:
        return str(s["state"])
    return "wants to go on" if s["reopened"] else "stopped"


def _people(facts: Facts) -> dict[str, Any] | None:
    """Sentences about all people, and a table row of each of the ``SHOWN_PEOPLE`` worst."""
    if facts.people is None:
        return None
    tested = any(w.tested for w in facts.people.workers)
    rows = [
        (
            w.worker,
            [
                *(f"{w.answers:,}", f"{w.items:,}", _figure(w.quality), _figure(w.skill), _figure(w.seconds, 1)),
                *(f"{share:.0%}" for share in (w.declined, w.cannot_tell, w.empty)),
                *((f"{w.tested:,}", _figure(w.gold)) if tested else ()),
                f"${usd(w.paid):,.2f}",
            ],
            w.flag,
        )
        for w in facts.people.workers[:SHOWN_PEOPLE]
    ]
    tests = ("tests", "on tests") if tested else ()
    columns = ("answers", "images", "quality", "skill", "seconds", "declined", "can't tell", "empty", *tests, "paid")
    sentences = [s[0].upper() + s[1:] + "." for s in facts.people.sentences(facts.status["promise"]["metric"])]
    if facts.status["wage_usd_hour"]:
        wage = f"${facts.status['wage_usd_hour']:,.2f}"
        sentences.append(f"They got {wage} for an hour of active time, as the annotator measured it.")
    left = len(facts.people.workers) - len(rows)
    return {"sentences": sentences, "columns": columns, "rows": rows, "left": left}


SOURCES = {"human": "people", "machine": "machine", "all": "all"}


class ByCategory(NamedTuple):
    """A table: figures, below each of them the sources of labels, and a row a category."""

    figures: list[str]
    sources: list[str]
    rows: list[tuple[str, list[str]]]


def _evaluation(s: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """One row a figure of the task: its name and its value for people, machine and all."""
    by = s["evaluation"]
    if by is None or not s["quality"]["all"]["count"]:
        return []
    known = {"mean": s["promise"]["metric"], "count": "images"}
    rows = []
    for name in by["all"]:
        if "." not in name:
            rows.append((known.get(name, called(name)), _cells([by[b].get(name) for b in SOURCES])))
    return rows


def _by_category(s: dict[str, Any]) -> ByCategory:
    """The task's figures named ``figure.category`` as a table."""
    if s["evaluation"] is None:
        return ByCategory([], [], [])
    labels = {by: figures for by, figures in s["evaluation"].items() if s["quality"][by]["count"]}
    if len(labels) == 2:  # all labels are of one source
        del labels["all"]
    parts = [name.partition(".") for name in s["evaluation"]["all"] if "." in name]
    columns = list(dict.fromkeys(figure for figure, _, _ in parts))
    rows = [
        (c, [_cells([v.get(f"{column}.{c}")])[0] for column in columns for v in labels.values()])
        for c in dict.fromkeys(category for _, _, category in parts)
    ]
    if len(rows) < 2:
        rows = []  # the figures of all say the same
    return ByCategory([called(c) for c in columns], [SOURCES[by] for by in labels], rows)


def _cells(values: Sequence[float | None]) -> list[str]:
    """Figures as text: counts without decimals, the rest with three."""
    whole = all(v is None or v == round(v) for v in values) and any(v is not None and v > 1 for v in values)
    return [_figure(v, 0 if whole else 3) for v in values]
