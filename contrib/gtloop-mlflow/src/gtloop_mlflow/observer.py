"""Observer ``mlflow``: one MLflow run for each gtloop run, brought up to date while it goes on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from gtloop.interfaces import Context, Observer, Options
from gtloop.ledgers import is_run
from pydantic import Field

from gtloop_mlflow.sender import Sender
from gtloop_mlflow.snapshot import Snapshot, snapshot
from gtloop_mlflow.tracker import Tracker, address

if TYPE_CHECKING:
    from gtloop.events import Event
    from gtloop.state import State

TELLING = frozenset(
    {
        *("batch-submitted", "labels-consolidated", "model-fitted", "items-predicted", "looked", "audit-concluded"),
        *("settings-changed", "stage-started", "run-paused", "run-resumed", "run-cancelled", "run-finished"),
    }
)
"""Types of events after which there is something new to show."""

log = logging.getLogger("gtloop.mlflow")


class MlflowOptions(Options):
    """Options of ``mlflow``."""

    tracking_uri: str | None = Field(
        None, description="http or https address of the server; default: the variable MLFLOW_TRACKING_URI"
    )
    experiment: str = Field("gtloop", min_length=1, description="experiment that the run belongs to; made if needed")
    model: bool = Field(True, description="whether the latest model is sent at the end")
    timeout_s: float = Field(10.0, gt=0, le=600, description="seconds that the server may take to answer a request")
    close_s: float = Field(
        8.0, gt=0, le=3600, description="seconds that the end of the process waits for what is being sent"
    )


class Mlflow(Observer):
    """Shows settings, figures of each iteration, certificates and the model; the run never waits for the server.

    What is shown follows from the run's state alone: what a server missed while it was away, or while nobody drove the
    run, is sent with the next event.
    """

    name = "mlflow"
    summary = "shows runs in MLflow: settings, figures, certificates, the model"
    Options: ClassVar[type[Options]] = MlflowOptions
    requires: ClassVar[tuple[str, ...]] = ("mlflow",)
    extra: ClassVar[str | None] = "gtloop-mlflow"

    def __init__(self, options: MlflowOptions, context: Context) -> None:
        super().__init__(options, context)
        self._tracker = tracker(options, context.workdir)
        self._sender = Sender(self._push, urlsplit(address(options.tracking_uri)).netloc)
        self._started = self._closed = False

    def observe(self, event: Event, state: State) -> None:
        """Queue what there is to show, where the event changes it."""
        if self._started and getattr(event, "type", "") not in TELLING:
            return
        self._started = True
        assert self.context.task is not None
        self._sender.put(snapshot(self.context.run, state, self.context.task))

    def close(self) -> None:
        """Wait for what is being sent, ``close_s`` seconds at most."""
        if self._closed:
            return
        self._closed = True
        if not self._sender.close(self.options.close_s):
            log.warning("mlflow: not all was sent in time; send the rest with: gtloop mlflow RUN")

    def _push(self, told: Snapshot) -> None:
        self._tracker.push(told, run_folder(self.context.workdir))


def tracker(options: MlflowOptions, workdir: Path) -> Tracker:
    """What brings a server up to date with the run that owns ``workdir``.

    Raises:
        ConfigError: There is no usable address.
    """
    return Tracker(
        address(options.tracking_uri), options.experiment, workdir, timeout_s=options.timeout_s, model=options.model
    )


def run_folder(workdir: Path) -> Path | None:
    """The run that a plugin's folder lies in; None where it lies in none."""
    return next((folder for folder in workdir.parents if is_run(folder)), None)
