"""``gtloop audit``: people check a random sample of machine labels; what audits have found so far."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gtloop.cli import JsonFlag, RunArgument, find_run
from gtloop.posting import post


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def audit(
        ctx: typer.Context,
        run: RunArgument = None,
        n: Annotated[int | None, typer.Option("--n", min=1, help="Machine labels to check.")] = None,
        why: Annotated[str, typer.Option("--why", help="Reason, kept in the ledger.")] = "",
        as_json: JsonFlag = False,
    ) -> None:
        """Have people check a random sample of the machine labels, blind; without --n: what audits have found."""
        if n is not None:
            post(ctx, run, lambda opened: opened.audit(n, why), "audit", as_json)
            return
        import gtloop

        promise = gtloop.open(find_run(run)).status(ctx.obj.registry)["promise"]
        if as_json:
            ctx.obj.json({"measured": promise["measured"], "audit": promise["audit"]})
        else:
            typer.echo("\n".join(_lines(promise)))


def _lines(promise: dict[str, Any]) -> list[str]:
    """What audits have found, a line a region."""
    if promise["audit"] is None:
        return ["no audit yet; have people check some machine labels with: gtloop audit RUN --n 50"]
    sure = 1 - promise["delta"]
    return [_line(region, promise["metric"], sure) for region in promise["audit"]["regions"]]


def _line(r: dict[str, Any], metric: str, sure: float) -> str:
    text = f"look {r['look']}, {r['slice']}: {r['audited']} of {r['labels']} machine labels checked"
    if r["mean"] is None:
        return text
    text += f", {metric} {r['mean']:.3f}; of all {r['lower']:.3f} to {r['upper']:.3f} ({sure:.0%} sure, at any time)"
    if r["remaining_lower"] is not None:
        text += f", of those left at least {r['remaining_lower']:.3f}"
    if r["approximate"] is not None:
        text += f"; approximately {r['approximate'][0]:.3f} to {r['approximate'][1]:.3f}"
    return text + ("; withdrawn, as that breaks the promise" if r["demoted"] else "")
