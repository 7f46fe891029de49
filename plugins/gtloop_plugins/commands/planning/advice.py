"""A plan in words, numbers and a picture: ranges, what would make the job cheaper, and what all of it assumes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtloop import config
from gtloop.files import write_atomic
from gtloop.plots import DARK, LIGHT, Theme, render
from gtloop.remedies import hopeless
from gtloop_plugins.commands.planning.forecast import Job, actual, crosses, forecast, percentiles
from gtloop_plugins.commands.planning.wishes import Values, called, markdown, write_csv, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gtloop.interfaces import Progress
    from gtloop.opened import Run
    from gtloop.registry import Registry

FIGURES = {
    "cost_usd": ("cost", "${:,.2f}"),
    "answers": ("answers of people", "{:,.0f}"),
    "people_items": ("images labelled by people", "{:,.0f}"),
    "machine_share": ("machine share", "{:.2f}"),
    "saving": ("saving", "{:.0%}"),
    "hours": ("hours of people's work", "{:,.1f}"),
    "wall_hours": ("hours until it is done", "{:,.1f}"),
}
"""Figure to what it is called and how it is written."""


def planned(job: Job, draws: int, compared: Run | None, registry: Registry, progress: Progress) -> dict[str, Any]:
    """What ``--json`` prints."""
    wishes = levers(job)
    progress("plan", 0, 1 + len(wishes))
    found = forecast(job, draws)
    ranges = percentiles(found)
    few, cheaper = max(10, draws // 4), []
    base = percentiles(found[:few])  # the same luck as that of what is compared
    for n, (values, note) in enumerate(wishes, 1):
        progress("plan", n, 1 + len(wishes), called(values))
        cheaper.append(_lever(job, values, note, few, base))
    progress("plan", 1 + len(wishes), 1 + len(wishes))
    paid = job.if_all_human_usd > 0
    cheaper.sort(key=lambda x: x["cost_usd" if paid else "answers"]["change"])
    plan = job.plan
    return {
        "items": job.items,
        "task": job.settings.run.task,
        "promise": {
            "kind": job.promise.kind,
            "metric": job.promise.metric,
            "target": job.promise.target if job.promise.kind == "selective" else None,
            "max_loss": job.promise.max_loss,
            "delta": job.promise.delta,
            "rule": job.promise.rule,
        },
        "sizes": plan.model_dump(mode="json"),
        "if_all_human_usd": job.if_all_human_usd,
        "draws": draws,
        "range": ranges,
        "none_by_machine": sum(r["machine_share"] == 0 for r in found) / draws,
        "cheaper": cheaper,
        "assumptions": assumptions(job),
        "note": hopeless(plan, job.settings, job.promise, job.items, job.trainable),
        "compared": None if compared is None else compare(compared, registry, ranges),
        "files": [],
    }


def levers(job: Job) -> list[tuple[Values, str]]:
    """Settings that may make a job cheaper, each with what it costs instead."""
    s, p, plan = job.settings, job.promise, job.plan
    found: list[tuple[Values, str]] = []
    crossed, known = crosses(job), job.pilot is not None and len(job.pilot.losses) > 1
    for factor, note in ((0.5, "fewer images to show the target"), (2.0, "more labels before the first look")):
        sizes = [max(plan.probe, round(factor * plan.validation)), plan.train]
        if crossed:  # training images validate too, so both sizes matter
            sizes[1] = round(factor * plan.train)
            note += "" if known or factor > 1 else "; that the model learns from fewer is not known, and not counted"
        if sizes[0] != plan.validation and sum(sizes) < job.items:
            found.append((dict(zip(("sizes.validation", "sizes.train"), sizes, strict=True)), note))
    if known and not crossed and plan.train > 20:
        found.append(({"sizes.validation": plan.validation, "sizes.train": plan.train // 2}, "a model of fewer images"))
    if s.loop.certify == "late":
        found += [({"promise.looks": k}, "delta is split over the looks") for k in (1, 2, 3) if k != p.looks]
    if p.kind == "selective" and p.rule != "empirical":
        loss = round((1 - p.target) * 0.5, 3)
        dataset = {"promise.kind": "dataset", "promise.target": None, "promise.max_loss": loss}
        found.append((dataset, f"another promise: all images together lose at most {loss:g}"))
    if p.rule == "exact":
        found.append(({"promise.rule": "ttest"}, "approximate: it breaks its target more often"))
    if p.delta < 0.2:
        found.append(({"promise.delta": 0.2}, "a promise that is broken in up to one job of five"))
    if s.run.workers > 1:
        found.append(({"run.workers": s.run.workers - 1}, "worse labels of people, which this plan does not model"))
    return found


def _lever(job: Job, values: Values, note: str, draws: int, base: Mapping[str, Any]) -> dict[str, Any]:
    settings = config.replaced(job.settings, values)
    p = settings.promise
    # the target is the task's where none is given, so the promise is changed, not made anew
    promise = dataclasses.replace(
        job.promise, kind=p.kind, delta=p.delta, rule=p.rule, looks=p.looks, max_loss=p.max_loss
    )
    changed = percentiles(forecast(dataclasses.replace(job, settings=settings, promise=promise), draws))
    names = ("cost_usd", "answers", "machine_share")
    return {
        "settings": values,
        "name": called(values),
        "note": note,
        **{n: {**changed[n], "change": changed[n]["p50"] - base[n]["p50"]} for n in names},
    }


def assumptions(job: Job) -> list[str]:
    """What the ranges rest on, one sentence each."""
    found = []
    if job.pilot is None:
        found.append(
            "no pilot: the model is anything between the weak and the strong one of docs/promise.md, all equally "
            "likely, and no better at a later look; a pilot (--pilot RUN) tells more"
        )
    else:
        sizes = sorted(job.pilot.losses)
        curve = (
            f"a truncated power law through {len(sizes)} numbers of training images ({', '.join(map(str, sizes))})"
            if len(sizes) > 1
            else "none: the pilot's models had equally many training images, so more of them count as no better"
        )
        found.append(
            f"model: {len(job.pilot.items.score)} validation images of the pilot, drawn again; learning curve: {curve}"
        )
        found.append("the images are like the pilot's, and so are the people")
    found.append(
        "the sampler picks as if at random; images that can't be read, and late or missing answers, are left out"
    )
    if not job.settings.prices.rates().request(job.settings.run.workers):
        found.append(
            f"people cost nothing at annotator {job.settings.run.annotator!r}: name another (--annotator), or prices "
            "(-o prices.answer_usd=...), for dollars"
        )
    found.append(
        "the 10th and 90th percentiles are too near to each other: in trials half to seven tenths of the jobs came out "
        "between them with a pilot, fewer without (docs/planning.md)"
    )
    found.append("prices are those of now; every image that people label costs as many answers as run.workers says")
    if job.settings.prices.variable and job.pilot is None:
        found.append("answers are priced by what is in them: without a pilot, each counts as dear as one can be")
    if job.settings.people.first_answers is not None:
        found.append("every image gets all its answers, though some may need fewer (people.first_answers)")
    if job.settings.run.budget_usd is not None:
        found.append(f"the budget of ${job.settings.run.budget_usd:,.2f} is not looked at: it may stop the run earlier")
    if job.seconds is None and (job.pilot is None or not len(job.pilot.seconds)):
        found.append("hours are not known: say how long an answer takes (--seconds), or name a pilot")
    if job.pilot is None or job.pilot.predict_s is None:
        found.append("the time of fits and predictions is not known without a pilot, and left out")
    return found


def compare(run: Run, registry: Registry, ranges: Mapping[str, Any]) -> dict[str, Any]:
    """What a run came to, and whether each figure lies between its 10th and 90th percentile."""
    seconds = sum(a.active_seconds for _, _, answers in run.answers() for a in answers)
    status = run.status(registry)
    found = actual(status, seconds or None)
    inside = {
        name: None
        if value is None or ranges[name]["p10"] is None
        else bool(ranges[name]["p10"] - 1e-9 <= value <= ranges[name]["p90"] + 1e-9)
        for name, value in found.items()
    }
    return {"run": str(run.root), "state": status["state"], "actual": found, "inside": inside}


# ------------------------------------------------------------------------------------------- output


def text(facts: Mapping[str, Any]) -> str:
    """The plan as Markdown."""
    lines = [f"Note: {facts['note']}.", ""] if facts["note"] else []
    lines += [f"{facts['items']:,} images; if people label all of them: ${facts['if_all_human_usd']:,.2f}", ""]
    lines += [_ranges(facts)]
    lines += [f"No machine labels at all in {facts['none_by_machine']:.0%} of {facts['draws']} jobs drawn."]
    lines += ["", "What other settings would come to (medians), cheapest first:", "", _cheaper(facts)]
    lines += ["Assumed:", *(f"- {a}" for a in facts["assumptions"])]
    return "\n".join(lines)


def _ranges(facts: Mapping[str, Any]) -> str:
    compared = facts["compared"]
    columns = ["", "10th percentile", "median", "90th percentile", *(["the run"] if compared else [])]
    rows = []
    for name, (what, form) in FIGURES.items():
        of = facts["range"][name]
        if of["p50"] is None:
            continue
        row = [what, *(form.format(of[p]) for p in ("p10", "p50", "p90"))]
        if compared:
            value, inside = compared["actual"][name], compared["inside"][name]
            row.append("" if value is None else form.format(value) + ("" if inside else " (outside)"))
        rows.append(row)
    return markdown(columns, rows)


def _cheaper(facts: Mapping[str, Any]) -> str:
    name, what, form, plus = (
        ("cost_usd", "cost", "${:,.2f}", "{:+,.2f}")
        if facts["if_all_human_usd"]
        else ("answers", "answers", "{:,.0f}", "{:+,.0f}")
    )
    rows = [
        [
            c["name"],
            form.format(c[name]["p50"]),
            plus.format(c[name]["change"]),
            f"{c['machine_share']['p50']:.2f}",
            c["note"],
        ]
        for c in facts["cheaper"]
    ]
    return markdown(["setting", what, "change", "machine share", "but"], rows)


def write(facts: dict[str, Any], out: Path, pictures: bool) -> list[str]:
    """Write ``plan.md``, ``plan.csv``, ``plan.json`` and, where they can be drawn, the pictures; their paths."""
    write_atomic(out / "plan.md", (text(facts) + "\n").encode())
    write_csv(out / "plan.csv", [{"figure": name, **of} for name, of in facts["range"].items()])
    paths = [out / "plan.md", out / "plan.csv", out / "plan.json"]
    if pictures:
        for theme, name in ((LIGHT, "plan.png"), (DARK, "plan-dark.png")):
            write_atomic(out / name, render(lambda figure, t: draw(figure, t, facts), theme, (7, 3.6)))
            paths.append(out / name)
    write_json(out / "plan.json", facts)
    return [str(p) for p in paths]


def draw(figure: Figure, theme: Theme, facts: Mapping[str, Any]) -> None:
    """Median cost (answers, where nothing is paid) with its range, of the plan and of each setting that changes it."""
    paid = facts["if_all_human_usd"] > 0
    name, unit = ("cost_usd", "US dollars") if paid else ("answers", "answers of people")
    bars = [("this plan", facts["range"][name]), *((c["name"], c[name]) for c in facts["cheaper"])]
    ax = figure.subplots()
    for y, (_, of) in enumerate(bars):
        colour = theme.human if y == 0 else theme.machine
        ax.plot([of["p10"], of["p90"]], [y, y], color=colour, alpha=0.5, linewidth=5, solid_capstyle="round")
        ax.plot(of["p50"], y, "o", color=colour, markersize=7)
    ax.set_yticks(range(len(bars)), [title for title, _ in bars])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
    ax.set(xlabel=f"{unit}: median, and from the 10th to the 90th percentile")
    ax.set_xlim(left=0)
    if paid:
        ax.axvline(facts["if_all_human_usd"], color=theme.ink, linestyle=(0, (4, 3)), linewidth=1.2)
        ax.annotate(
            "people label everything", (facts["if_all_human_usd"], 1), xycoords=("data", "axes fraction"),
            xytext=(-4, 4), textcoords="offset points", ha="right", fontsize=8,
        )  # fmt: skip
