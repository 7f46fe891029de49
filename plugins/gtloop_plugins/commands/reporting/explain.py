"""``gtloop explain``: why an item has the label it has, and every certificate done again."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtloop.cli import JsonFlag
from gtloop.errors import UsageError
from gtloop.labelfiles import replacing

if TYPE_CHECKING:
    from gtloop.interfaces import Task
    from gtloop.opened import Run
    from gtloop_plugins.commands.reporting.story import Told


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def explain(
        ctx: typer.Context,
        run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
        item: Annotated[
            str | None, typer.Argument(help="Name of an image (as an export has it), its id or row; default: none.")
        ] = None,
        page: Annotated[
            Path | None, typer.Option("--html", help="Write the explanation there, with a picture.")
        ] = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Say why an image has its label; without an image, do the test of every certificate again."""
        import gtloop
        from gtloop_plugins.commands.reporting.story import find_item, tell

        opened = gtloop.open(run)
        if item is None:
            if page is not None:
                raise UsageError("--html shows one image: name it after the run")
            found = certificates(opened, ctx.obj.registry)
            ctx.obj.json({"run": str(opened.root), "certificates": found}) if as_json else _print_all(found)
            return
        told = tell(opened, ctx.obj.registry, find_item(opened, item))
        if page is not None:
            with replacing(page) as file:
                file.write(write_page(opened, opened.task(ctx.obj.registry), told).encode())
        if as_json:
            ctx.obj.json(told.facts)
            return
        for line in lines(told.facts):
            typer.echo(line)
        if page is not None:
            typer.echo(str(page))


def certificates(run: Run, registry: Any) -> list[dict[str, Any]]:
    """Every certificate of a run with the test done again.

    Raises:
        RunError: One comes out otherwise, or its evidence was changed.
    """
    from gtloop.job import make_promise
    from gtloop.recheck import recheck
    from gtloop_plugins.commands.reporting.story import refuse_difference

    found = []
    for _, checked in recheck(run, make_promise(run.settings, run.task(registry))):
        refuse_difference(run, checked)
        for c in checked:
            again = None if c.again is None else c.again.p
            found.append({**c.certificate.model_dump(mode="json"), "recomputed_p": again, "same": c.again is not None})
    return found


def _print_all(found: list[dict[str, Any]]) -> None:
    if not found:
        typer.echo("no look has tested anything yet: there is no certificate")
    for c in found:
        if not c["same"]:
            again = f"not recomputed: made by test {c['test']}, this version of gtloop has another"
        elif c["p"] is None:
            again = "nothing was tested, recomputed"
        else:
            again = f"p {c['p']:.4g}, recomputed {c['recomputed_p']:.4g}: the same"
        typer.echo(f"look {c['look']}, slice {c['slice']}: {again}; {c['why']}")


def lines(facts: dict[str, Any]) -> list[str]:
    """The explanation as text."""
    item, label = facts["item"], facts["label"]
    by = "no label" if label is None else f"labelled by {'machine' if label['source'] == 'machine' else 'people'}"
    found = [f"{item['name']} (row {item['row']}): {facts['status']}, {by}", ""]
    found += [f"- {sentence}" for sentence in facts["why"] if sentence]
    for r in facts["requests"]:
        found += [
            "",
            f"Asked in iteration {r['iteration']} ({r['phase']}, {r['purpose']}), {r['wanted']} answers wanted:",
        ]
        found += [f"  {_answer(a)}" for a in r["answers"]] or ["  nobody has answered yet"]
    found += ["", "What happened:"]
    found += [f"  {h['seq']:>5}  {h['at'][:19]}  {h['what']}" for h in facts["history"]]
    return found


def _answer(a: dict[str, Any]) -> str:
    parts = [f"{a['worker']}: {a['outcome']}, {a['seconds']:.0f} s"]
    if a["quality"] is not None:
        parts.append(f"{a['quality']:.2f} like the label")
    if a["skill"] is not None:
        parts.append(f"skill {a['skill']:.2f}")
    if a["note"]:
        parts.append(f"not used: {a['note']}")
    return ", ".join(parts)


STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#2b3138}"
    "img{max-width:100%}pre{white-space:pre-wrap;font-size:13px}"
    "@media(prefers-color-scheme:dark){body{background:#171b20;color:#c9d1d9}}"
)


def write_page(run: Run, task: Task, told: Told) -> str:
    """The explanation as a page that needs nothing else: picture, sentences, answers, history."""
    name = html.escape(told.facts["item"]["name"])
    body = html.escape("\n".join(lines(told.facts)[2:]))
    figure = _figure(run, task, told)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
        f"<h1>{name}</h1>{figure}<pre>{body}</pre></html>\n"
    )


def _figure(run: Run, task: Task, told: Told) -> str:
    from gtloop_plugins.commands.reporting.measure import Measured
    from gtloop_plugins.commands.reporting.pictures import picture

    if told.label is None:
        return ""
    classes = run.settings.run.classes
    measured = Measured(told.label, None, None, task.count(told.label.payload), None)
    drawn = picture(
        run.items[told.facts["item"]["row"]], measured, task.metric, len(classes) > 1, told.answers, classes
    )
    if not drawn.uri:
        return f"<p>{html.escape(drawn.fault)}</p>"
    notes = html.escape("; ".join(drawn.notes))
    return f'<figure><img alt="" src="{drawn.uri}"><figcaption>{notes}</figcaption></figure>'
