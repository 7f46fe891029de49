"""``pause``, ``cancel``, ``relabel``, ``review``, ``add``, ``import`` and ``categories``: change your mind about a run.

Each leaves a letter. Where nobody drives the run it is answered at once, else by the process that does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from gtloop.cli import JsonFlag, RunArgument, find_run
from gtloop.errors import UsageError
from gtloop.posting import post

if TYPE_CHECKING:
    from gtloop.opened import Run


class ImportGroup(typer.core.TyperGroup):
    """``gtloop import RUN LABELS`` is short for ``gtloop import labels RUN LABELS``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = not args or args[0] == "--help" or args[0] in self.commands
        return super().parse_args(ctx, args if known else ["labels", *args])


Why = Annotated[str, typer.Option("--why", help="Reason, kept in the ledger.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    _add_stops(app)
    _add_more(app)
    _add_labels(app)
    _add_review(app)


def _add_stops(app: typer.Typer) -> None:
    @app.command()
    def pause(ctx: typer.Context, run: RunArgument = None, why: Why = "", as_json: JsonFlag = False) -> None:
        """Stop a run until it is run again; people's open work stays open."""
        post(ctx, run, lambda opened: opened.pause(why), "pause", as_json)

    @app.command()
    def cancel(ctx: typer.Context, run: RunArgument = None, why: Why = "", as_json: JsonFlag = False) -> None:
        """End a run: withdraw what people have not answered, keep and pay what they have."""
        taken = post(ctx, run, lambda opened: opened.cancel(why), "cancel", as_json, quiet=True)
        outcome = _drive(ctx, find_run(run), as_json) if taken else "cancelling"
        ctx.obj.json({"asked": "cancel", "taken": taken, "outcome": outcome}) if as_json else typer.echo(
            _CANCELLED[outcome]
        )


_CANCELLED = {
    "cancelled": "cancelled",
    "waiting": "cancelled; the annotator still has to confirm what was withdrawn: gtloop run --run RUN takes it in",
    "cancelling": "the process that drives the run will cancel it",
}


def _drive(ctx: typer.Context, root: Path, as_json: bool) -> str:
    """Go on with a run until it has ended."""
    from gtloop.progress import watched
    from gtloop.run import run_or_resume, settings_of

    with watched(ctx.obj.debug, as_json) as progress:
        outcome, _ = run_or_resume(root, settings_of(root, {}), ctx.obj.registry, progress=progress)
    return outcome


def _add_more(app: typer.Typer) -> None:
    @app.command()
    def add(
        ctx: typer.Context,
        run: RunFolder,
        images: Annotated[str, typer.Argument(help="Folder, glob, manifest or URL of more images.")],
        truth: Annotated[str | None, typer.Option(help="Their known labels, for synthetic annotators.")] = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Add images to a run; they get a validation set of their own, after what was there before."""
        from gtloop.labelfiles import absolute

        source = absolute(images, Path(), prefixed=False)
        known = truth and absolute(truth, Path())
        post(ctx, run, lambda opened: opened.add(source, known), "add", as_json)


def import_group() -> typer.Typer:
    """The commands of ``gtloop import``; others add theirs."""
    group = typer.Typer(cls=ImportGroup, no_args_is_help=True)

    @group.callback()
    def default() -> None:
        """Take in what was labelled elsewhere: labels into a run, or a whole job as a run."""

    @group.command()
    def labels(
        ctx: typer.Context,
        run: RunFolder,
        labels: Annotated[str, typer.Argument(help="Labels that people made: PATH or FORMAT:PATH.")],
        as_json: JsonFlag = False,
    ) -> None:
        """Take in human labels made elsewhere: they train, and are never asked for again."""
        from gtloop.labelfiles import absolute

        post(ctx, run, lambda opened: opened.import_labels(absolute(labels, Path())), "import", as_json)

    return group


def _add_labels(app: typer.Typer) -> None:
    @app.command()
    def relabel(
        ctx: typer.Context,
        run: RunFolder,
        images: Annotated[list[str] | None, typer.Argument(help="Names of images, as an export has them.")] = None,
        source: Annotated[str, typer.Option(help="All labels made by: human or machine.")] = "",
        category: Annotated[str, typer.Option(help="All labels that hold this category.")] = "",
        below: Annotated[float | None, typer.Option(help="All labels of less confidence than this.")] = None,
        why: Why = "",
        as_json: JsonFlag = False,
    ) -> None:
        """Have people label images again; their labels of now are withdrawn, and kept in the ledger.

        Several conditions are joined by "and".
        """
        if not (images or source or category or below is not None):
            raise UsageError("say which: name images, or give --source, --category or --below")
        if source not in ("", "human", "machine"):
            raise UsageError(f"--source {source}: choose human or machine")
        post(
            ctx,
            run,
            lambda opened: opened.relabel(_chosen(opened, images or [], source, category, below), why),
            "relabel",
            as_json,
        )

    @app.command()
    def categories(
        ctx: typer.Context,
        run: RunArgument = None,
        rename: Annotated[list[str] | None, typer.Option(metavar="OLD=NEW", help="May be repeated.")] = None,
        merge: Annotated[list[str] | None, typer.Option(metavar="OLD=INTO", help="May be repeated.")] = None,
        as_json: JsonFlag = False,
    ) -> None:
        """List the categories of a run, rename them, or merge one into another, in every label."""
        import gtloop

        names = dict(_pair(text) for text in (*(rename or ()), *(merge or ())))
        if names:
            _check_intent(gtloop.open(find_run(run)).settings.run.classes, rename or (), merge or ())
            post(ctx, run, lambda opened: opened.rename_categories(names), "categories", as_json)
            return
        found = list(gtloop.open(find_run(run)).settings.run.classes)
        ctx.obj.json({"categories": found}) if as_json else typer.echo("\n".join(found))


def _add_review(app: typer.Typer) -> None:
    @app.command()
    def review(
        ctx: typer.Context,
        run: RunFolder,
        images: Annotated[list[str] | None, typer.Argument(help="Names of images, as an export has them.")] = None,
        mode: Annotated[str, typer.Option(help="verify: right or wrong; adjust: correct it.")] = "verify",
        n: Annotated[int | None, typer.Option("--n", help="So many of them, drawn at random.")] = None,
        source: Annotated[str, typer.Option(help="Labels made by: human or machine.")] = "",
        category: Annotated[str, typer.Option(help="Labels that hold this category.")] = "",
        below: Annotated[float | None, typer.Option(help="Labels of less confidence than this.")] = None,
        blind: Annotated[
            float, typer.Option(min=0, max=1, help="Share that is drawn from nothing, to measure anchoring.")
        ] = 0.2,
        workers: Annotated[int, typer.Option(min=1, help="People who look at each.")] = 1,
        others: Annotated[bool, typer.Option("--others", help="Leave out whoever made a label.")] = False,
        why: Why = "",
        as_json: JsonFlag = False,
    ) -> None:
        """Have people look at labels: keep what is right, correct or relabel what is not."""
        if mode not in ("verify", "adjust"):
            raise UsageError(f"--mode {mode}: choose verify or adjust")
        if source not in ("", "human", "machine"):
            raise UsageError(f"--source {source}: choose human or machine")

        def ask(opened: Run) -> int:
            rows = _sample(opened, _chosen(opened, images or [], source, category, below), n)
            shown: Any = mode
            return opened.review(rows, shown, blind=blind, answers=workers, others=others, why=why)

        post(ctx, run, ask, "review", as_json)


def _sample(opened: Run, rows: list[int], n: int | None) -> list[int]:
    """``n`` of the rows that have a label, drawn at random; another draw for each review."""
    from gtloop.keyed import rng

    labelled = {label.row for label in opened.labels()}
    rows = [row for row in rows if row in labelled]
    if n is None or n >= len(rows):
        return rows
    chance = rng(opened.settings.run.seed, "review", opened.state.facts.letter)
    return sorted(chance.choice(rows, n, replace=False).tolist())


def _chosen(opened: Run, images: list[str], source: str, category: str, below: float | None) -> list[int]:
    """Rows of the images named (all where none is) whose labels fulfil the conditions.

    Raises:
        UsageError: An image is unknown, or nothing is chosen.
    """
    from gtloop.labelfiles import Matcher

    named: set[int] = set()
    matcher = Matcher(opened.items.name)
    for name in images:
        row = matcher.row(name)
        if row is None:
            raise UsageError(f"the run has no image {name}; see the names in: gtloop export {opened.root}")
        alias = int(opened.items.alias_of[row])
        named.add(row if alias < 0 else alias)
    chosen = [
        label.row
        for label in opened.labels()
        if (not images or label.row in named)
        and (not source or label.source == source)
        and (below is None or label.confidence < below)
        and (not category or category in _categories(label.payload))
    ]
    unlabelled = named - {label.row for label in opened.labels()} if not (source or category or below) else set()
    rows = sorted({*chosen, *unlabelled})
    if not rows:
        raise UsageError("no label is chosen; loosen --source, --category or --below")
    return rows


def _categories(value: Any) -> set[str]:
    """Every category that a payload names."""
    if isinstance(value, dict):
        own = {value["category"]} if isinstance(value.get("category"), str) else set()
        return own.union(*map(_categories, value.values()))
    return set().union(*map(_categories, value)) if isinstance(value, list) else set()


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (equals and old.strip() and new.strip()):
        raise UsageError(f"{text}: write it as OLD=NEW")
    return old.strip(), new.strip()


def _check_intent(classes: tuple[str, ...], rename: Any, merge: Any) -> None:
    """A merge can't be undone, so nobody gets one by a slip of a name."""
    for old, new in map(_pair, rename):
        if new in classes:
            raise UsageError(
                f"--rename {old}={new}: there is a category {new!r}; to make them one: --merge {old}={new}"
            )
    for old, new in map(_pair, merge):
        if new not in classes:
            raise UsageError(f"--merge {old}={new}: no category is named {new!r}; there are: {', '.join(classes)}")
