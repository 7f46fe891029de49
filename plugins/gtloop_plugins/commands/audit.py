"""``gtloop audit``: people check a random sample of machine labels; what audits have found so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtloop.cli import JsonFlag, RunArgument, find_run
from gtloop.errors import UsageError
from gtloop.money import show, usd
from gtloop.posting import post
from gtloop.wording import counted

if TYPE_CHECKING:
    from gtloop.audit import AuditCost


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def audit(
        ctx: typer.Context,
        run: RunArgument = None,
        n: Annotated[int | None, typer.Option("--n", min=1, help="Machine labels to check.")] = None,
        why: Annotated[str, typer.Option("--why", help="Reason, kept in the ledger.")] = "",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it costs at most; ask nobody.")] = False,
        as_json: JsonFlag = False,
    ) -> None:
        """Have people check a random sample of the machine labels, blind; without --n: what audits have found."""
        import gtloop
        from gtloop.audit import audit_cost
        from gtloop.letters import refuse_cancelled

        opened = gtloop.open(find_run(run))
        if n is not None:
            refuse_cancelled(opened.state)
            cost = audit_cost(opened.store, opened.state, opened.settings, n)
            if not as_json:
                typer.echo(_cost(cost))
            elif dry_run:
                ctx.obj.json(_facts(cost))
            if not dry_run:
                more = {"cost": _facts(cost)}
                post(ctx, run, lambda opened: opened.audit(n, why), "audit", as_json, more=more)
            return
        if dry_run:
            raise UsageError("say how many machine labels are to be checked: gtloop audit RUN --n N --dry-run")
        promise = opened.status(ctx.obj.registry)["promise"]
        if as_json:
            ctx.obj.json({"measured": promise["measured"], "audit": promise["audit"]})
        else:
            typer.echo("\n".join(_lines(promise)))


def _facts(cost: AuditCost) -> dict[str, Any]:
    return {
        "items": cost.items,
        "tests": cost.tests,
        "answers": cost.answers,
        "usd_most": usd(cost.most),
        "budget_left_usd": None if cost.left is None else usd(cost.left),
        "short": cost.short,
    }


def _cost(cost: AuditCost) -> str:
    """What an audit comes to, in a line."""
    tests = f" and {counted(cost.tests, 'test image')}" if cost.tests else ""
    text = f"{counted(cost.items, 'machine label')}{tests} to check: at most {counted(cost.answers, 'answer')}"
    if cost.most:
        text += f", {show(cost.most)}"
    if cost.left is not None:
        text += f"; the budget has {show(cost.left)} left"
    return text + (f", which does not pay for {cost.short} more" if cost.short else "")


def _lines(promise: dict[str, Any]) -> list[str]:
    """What audits have found, a line a region."""
    if promise["audit"] is None:
        return ["no audit yet; have people check some machine labels with: gtloop audit RUN --n 50"]
    sure, audit = 1 - promise["delta"], promise["audit"]
    found = [_line(region, promise["metric"], sure) for region in audit["regions"]]
    if audit["sure"] < sure - 1e-6:
        found.append(f"each is {sure:.0%} sure by itself, all of them at once {audit['sure']:.0%}")
    return found


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
