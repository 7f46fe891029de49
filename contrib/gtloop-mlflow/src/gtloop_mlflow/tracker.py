"""Brings an MLflow server up to date with a run: only what it lacks is sent, however often that is tried."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from gtloop.errors import ConfigError
from gtloop.files import write_atomic
from gtloop.models import CARD, card_of
from gtloop.opened import Run

from gtloop_mlflow.snapshot import Snapshot

KEY = "gtloop.key"
"""Tag by which a run is found again."""
DELIVERED = "gtloop.delivered"
"""Tag that says which artifacts the server has."""
BATCH = 100
"""Parameters, tags or metrics in one request."""
_SECRET = re.compile(r"(^|_)(secret|password|passwd|token|key|credentials?)$", re.IGNORECASE)


def address(given: str | None) -> str:
    """The server's address: the option, else ``MLFLOW_TRACKING_URI``.

    Raises:
        ConfigError: There is none, it is none of http or https, or it holds a password or a query.
    """
    uri = (given or os.environ.get("MLFLOW_TRACKING_URI", "")).strip()
    if not uri:
        raise ConfigError(
            "observers.mlflow: name the server with tracking_uri=http://HOST:PORT, or MLFLOW_TRACKING_URI"
        )
    try:
        parts = urlsplit(uri)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not uri.isprintable() or " " in uri:
        raise ConfigError("observers.mlflow: the server's address has to be of http or https: http://HOST:PORT")
    if parts.username is not None or parts.query:
        raise ConfigError(
            "observers.mlflow: no password in the address, please: set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    return uri


class Tracker:
    """One gtloop run and its MLflow run.

    What the server has is asked once, and again after a failure: nothing is sent twice, and no second run is made.

    Args:
        uri: Address of the server.
        experiment: Name of the experiment; made where there is none.
        folder: Where the run's key is kept.
        timeout_s: Seconds that the server may take to answer a request.
        model: Whether the model is sent at the end.
    """

    def __init__(self, uri: str, experiment: str, folder: Path, *, timeout_s: float, model: bool) -> None:
        self._uri, self._experiment, self._folder = uri, experiment, folder
        self._timeout_s, self._model = timeout_s, model
        self._client: Any = None
        self._run: Any = None
        self._sent: dict[tuple[str, int], float] = {}

    def push(self, told: Snapshot, root: Path | None, *, whole: bool = False) -> str:
        """Send what the server lacks; the MLflow run's id.

        Args:
            told: The run as it is to be shown.
            root: Its folder; None where there is none.
            whole: Send artifacts also where the run has not ended.

        Raises:
            Exception: Whatever MLflow raises; what was sent counts all the same.
        """
        try:
            self._connect(told.run)
            self._log(told)
            if told.ended or whole:
                self._deliver(told, root)
            self._end(told)
        except Exception:
            self._run = None  # ask the server again what it has
            raise
        return str(self._run.info.run_id)

    def _connect(self, name: str) -> None:
        if self._run is not None:
            return
        client = self._client = self._client or _client(self._uri, self._timeout_s)
        experiment = client.get_experiment_by_name(self._experiment)
        number = experiment.experiment_id if experiment else client.create_experiment(self._experiment)
        key = self._key()
        found = client.search_runs([number], filter_string=f"tags.`{KEY}` = '{key}'", order_by=["start_time ASC"])
        tags = {KEY: key, "mlflow.source.name": "gtloop", "mlflow.source.type": "LOCAL"}
        run = _used(found) or client.create_run(number, run_name=name, tags=tags)
        self._sent = {
            (key, metric.step): metric.value
            for key in run.data.metrics
            for metric in client.get_metric_history(run.info.run_id, key)
        }
        self._run = run

    def _key(self) -> str:
        """What tells this run from all others, on disk before the server hears of it."""
        path = self._folder / "key"
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomic(path, uuid4().hex.encode())
        return path.read_text("ascii")

    def _log(self, told: Snapshot) -> None:
        from mlflow.entities import Metric, Param, RunTag

        data, now = self._run.data, int(time.time() * 1000)
        metrics = [Metric(k, v, now, step) for (k, step), v in told.metrics.items() if self._sent.get((k, step)) != v]
        params = [Param(key, value) for key, value in told.params.items() if key not in data.params]
        tags = [RunTag(key, value) for key, value in told.tags.items() if data.tags.get(key) != value]
        for part in zip_longest(_parts(metrics), _parts(params), _parts(tags), fillvalue=()):
            self._client.log_batch(self._run.info.run_id, *part)
        self._sent.update(told.metrics)
        data.params.update({p.key: p.value for p in params})
        data.tags.update({t.key: t.value for t in tags})

    def _deliver(self, told: Snapshot, root: Path | None) -> None:
        """Send the artifacts, unless the server has these already."""
        pages = sorted((root / "report").rglob("*")) if root is not None else []
        newest = max((p.stat().st_mtime_ns for p in pages if p.is_file()), default=0)
        mark = f"{told.seq}, {told.model if self._model else None}, {newest}"
        if self._run.data.tags.get(DELIVERED) == mark:
            return
        client, number = self._client, self._run.info.run_id
        client.log_dict(number, dict(told.facts), "status.json")
        client.log_dict(number, dict(told.facts["promise"]), "promise.json")
        if newest and root is not None:
            client.log_artifacts(number, str(root / "report"), "report")
        if self._model and told.model is not None and root is not None:
            self._send_model(root)
        client.set_tag(number, DELIVERED, mark)
        self._run.data.tags[DELIVERED] = mark

    def _send_model(self, root: Path) -> None:
        """Send the model as ``gtloop export --format model`` writes it, options that may be secret left out."""
        card, folder = card_of(Run.open(root))
        options = {name: _open(getattr(card, name)) for name in ("task_options", "detector_options", "score_options")}
        with tempfile.TemporaryDirectory(prefix="gtloop-mlflow-") as scratch:
            path = Path(scratch, CARD)
            path.write_text(card.model_copy(update=options).model_dump_json(indent=1) + "\n", encoding="utf-8")
            self._client.log_artifact(self._run.info.run_id, str(path), "model")
        self._client.log_artifacts(self._run.info.run_id, str(folder), "model/model")

    def _end(self, told: Snapshot) -> None:
        """Say how it stands."""
        if self._run.info.status == told.status:
            return
        if told.ended:
            self._client.set_terminated(self._run.info.run_id, told.status)
        else:
            self._client.update_run(self._run.info.run_id, told.status)
        self._run = self._client.get_run(self._run.info.run_id)


def fault(e: Exception) -> str:
    """Why something could not be sent, in one short line."""
    text = " ".join(str(e).split())
    if "Max retries exceeded" in text or "Connection" in type(e).__name__:
        return "can't be reached"
    return f"says: {text[:200]}" if text else f"fails: {type(e).__name__}"


def _client(uri: str, timeout_s: float) -> Any:
    """A client that gives up soon, as everything is tried again anyway, and that reports to nobody else."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(max(1, round(timeout_s))))
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _used(found: Sequence[Any]) -> Any:
    """Of the MLflow runs with one key the one that is written to: a call that broke off may make another one late."""
    return next((run for run in found if run.data.params), found[0] if found else None)


def _open(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a plugin without those whose name says that they are secret."""
    return {key: value for key, value in options.items() if not _SECRET.search(key)}


def _parts(entries: Sequence[Any]) -> Iterator[list[Any]]:
    """At most ``BATCH`` at a time, as servers take no more."""
    left = iter(entries)
    while part := list(islice(left, BATCH)):
        yield part
