"""What runs came to, as tables and a picture: cost against quality, one mark a setting, bars over the seeds."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtloop.files import write_atomic
from gtloop.plots import DARK, LIGHT, Theme, render
from gtloop.wording import counted
from gtloop_plugins.commands.planning.wishes import (
    Values,
    called,
    markdown,
    shown,
    spread,
    write_csv,
    write_json,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = {
    "answers": ("answers", "{:,.0f}"),
    "cost_usd": ("cost", "${:,.2f}"),
    "machine_share": ("machine share", "{:.2f}"),
    "saving": ("saving", "{:.0%}"),
    "certified": ("certified", "{:.3f}"),
    "quality_truth": ("machine against truth", "{:.3f}"),
    "quality_people": ("machine against people", "{:.3f}"),
    "quality_all": ("all against truth", "{:.3f}"),
}
"""Figure of a simulation to its heading in a table, and how it is written."""
REPLAYED = {name: FIGURES[name] for name in ("answers", "cost_usd", "machine_share", "saving", "quality_people")}
EXPLORATORY = (
    "Exploratory: these settings were chosen after the answers were known, so no promise covers what they would have "
    "labelled."
)


def figures_of(run: dict[str, Any]) -> dict[str, Any]:
    """What a table says of one simulated run."""
    status, quality = run["status"], run["quality"]
    return {
        "seed": run["seed"],
        "name": called(run["settings"]),
        "outcome": run["outcome"],
        "answers": status["annotations"],
        "cost_usd": status["cost_usd"]["total"],
        "machine_share": status["saving_items"],
        "saving": status["saving"],
        "certified": status["promise"]["certified"],
        "quality_truth": quality["truth"],
        "quality_people": quality["people"],
        "quality_all": quality["all"],
        "kept_truth": quality["kept_truth"],
        "kept_people": quality["kept_people"],
    }


def summary(
    rows: Sequence[dict[str, Any]], variants: Sequence[Values], figures: Mapping[str, Any], kept: Sequence[str]
) -> list[dict[str, Any]]:
    """One entry a setting: figures over its rows, and how often a promise was made and (``broken_*``) broken."""
    found = []
    for values in variants:
        own = [r for r in rows if r["name"] == called(values)]
        entry = {"settings": values, "name": called(values), "runs": len(own)}
        entry |= {name: spread([r[name] for r in own]) for name in figures}
        for name in kept:
            judged = [r[f"kept_{name}"] for r in own if r[f"kept_{name}"] is not None]
            entry |= {f"judged_{name}": len(judged), f"broken_{name}": sum(not k for k in judged)}
        found.append(entry)
    return found


def write_simulation(runs: Sequence[dict[str, Any]], variants: Sequence[Values], out: Path) -> dict[str, Any]:
    """Write tables and pictures of a simulation; returns what ``--json`` prints."""
    rows = [figures_of(r) for r in runs]
    found = summary(rows, variants, FIGURES, ("truth", "people"))
    text = table(found, FIGURES, ("truth", "people"))
    files = _write(rows, found, text, out, "quality_all", "mean quality of all labels, against the truth")
    facts = {"kind": "simulated", "settings": found, "runs": rows, "files": files}
    write_json(out / "summary.json", facts)
    return facts


def write_replay(
    rows: Sequence[dict[str, Any]], variants: Sequence[Values], out: Path, run: str, left_out: int
) -> dict[str, Any]:
    """Write tables and pictures of a replay; returns what ``--json`` prints."""
    plain = [
        {
            **{k: r[k] for k in ("name", "split", "answers", "cost_usd", "machine_share", "saving", "known")},
            "quality_people": r["quality"],
            "kept_people": r["kept"],
        }
        for r in rows
    ]
    found = summary(plain, variants, REPLAYED, ("people",))
    text = f"{EXPLORATORY}\n\n{table(found, REPLAYED, ('people',))}"
    if left_out:
        text += f"\n{counted(left_out, 'item')} that nobody had answered about took no part in new runs.\n"
    files = _write(plain, found, text, out, "quality_people", "quality of machine labels, against people; exploratory")
    facts = {"kind": "exploratory", "run": run, "left_out": left_out, "settings": found, "rows": plain, "files": files}
    write_json(out / "summary.json", facts)
    return facts


def _write(
    rows: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]], text: str, out: Path, y: str, label: str
) -> list[str]:
    """Write ``rows.csv``, ``table.md`` and, where matplotlib is installed, the pictures; their paths."""
    write_csv(out / "rows.csv", rows)
    write_atomic(out / "table.md", text.encode())
    paths = [out / "table.md", out / "rows.csv"]
    if importlib.util.find_spec("matplotlib") is not None:
        for theme, name in ((LIGHT, "frontier.png"), (DARK, "frontier-dark.png")):
            write_atomic(out / name, render(lambda figure, t: draw(figure, t, found, y, label), theme, (7, 4.2)))
            paths.append(out / name)
    return [str(p) for p in paths]


def table(found: Sequence[dict[str, Any]], figures: Mapping[str, Any], kept: Sequence[str]) -> str:
    """Markdown: median (least to most) over the rows of a setting."""
    columns = ["setting", "runs", *(heading for heading, _ in figures.values()), *(f"broken, {n}" for n in kept)]
    rows = [
        [
            s["name"],
            str(s["runs"]),
            *(shown(s[name], form) for name, (_, form) in figures.items()),
            *(f"{s[f'broken_{n}']} of {s[f'judged_{n}']}" for n in kept),
        ]
        for s in found
    ]
    return markdown(columns, rows)


def draw(figure: Figure, theme: Theme, found: Sequence[dict[str, Any]], y: str, label: str) -> None:
    """Quality over what was paid (over answers where nothing is), bars from least to most."""
    ax = figure.subplots()
    paid = any(s["cost_usd"]["high"] for s in found)
    x, unit = ("cost_usd", "US dollars") if paid else ("answers", "answers of people")
    known = [s for s in found if s[x]["median"] is not None and s[y]["median"] is not None]
    for n, s in enumerate(known):
        at, good = s[x], s[y]
        broken = any(s.get(f"broken_{k}") for k in ("truth", "people"))
        colour = theme.machine if broken else theme.human
        bars: dict[str, Any] = {"color": colour, "alpha": 0.45, "linewidth": 1.4, "zorder": 1}
        ax.plot([at["low"], at["high"]], [good["median"]] * 2, **bars)
        ax.plot([at["median"]] * 2, [good["low"], good["high"]], **bars)
        ax.plot(at["median"], good["median"], "o", color=colour, markersize=7, zorder=2)
        place: dict[str, Any] = {"xytext": (6, 8 if n % 2 == 0 else -14), "textcoords": "offset points", "fontsize": 8}
        ax.annotate(s["name"], (at["median"], good["median"]), **place)
    ax.set(xlabel=unit, ylabel=label)
    ax.margins(0.15)
