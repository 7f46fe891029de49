"""``gtloop mlflow RUN``: bring a server up to date by hand, also with a run that nobody drives any more."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from gtloop.cli import JsonFlag, RunArgument, find_run


def register(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command()
    def mlflow(
        ctx: typer.Context,
        run: RunArgument = None,
        tracking_uri: Annotated[
            str | None, typer.Option(help="Address of the server; default: the run's, or MLFLOW_TRACKING_URI.")
        ] = None,
        experiment: Annotated[str | None, typer.Option(help="Experiment; default: the run's, or gtloop.")] = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Send to an MLflow server what it lacks of a run, artifacts too."""
        import gtloop

        from gtloop_mlflow.observer import Mlflow
        from gtloop_mlflow.snapshot import snapshot

        opened = gtloop.open(find_run(run))
        given = opened.settings.options("observer", "mlflow")
        typed = {"tracking_uri": tracking_uri, "experiment": experiment}
        options: Any = ctx.obj.registry.options(
            "observer", Mlflow.name, {**given, **{k: v for k, v in typed.items() if v is not None}}
        )
        told = snapshot(opened.root.name, opened.state, opened.task(ctx.obj.registry))
        number = _push(options, told, opened.root)
        if as_json:
            ctx.obj.json({"run": str(opened.root), "mlflow_run": number, "experiment": options.experiment})
            return
        typer.echo(f"sent to experiment {options.experiment!r} as run {number}")


def _push(options: Any, told: Any, root: Any) -> str:
    """Send everything; waits.

    Raises:
        Busy: The run is being driven: its own observer sends.
        Unreachable: The server can't be reached, or refuses.
    """
    from gtloop.errors import Unreachable
    from gtloop.locks import Lock

    from gtloop_mlflow.observer import tracker
    from gtloop_mlflow.tracker import fault

    made = tracker(options, root / "observer" / "mlflow")
    with Lock(root):
        try:
            return made.push(told, root, whole=True)
        except Exception as e:
            raise Unreachable(
                f"the MLflow server {fault(e)}; check observers.mlflow.tracking_uri, and try again"
            ) from e
