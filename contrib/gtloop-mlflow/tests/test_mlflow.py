"""Runs of gtloop at a real MLflow server: what it shows, killed runs, a server that is away, faults of settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gtloop.status import iterations
from gtloop.testing import ObserverContract
from gtloop.testing.history import history
from kit import Server, gtloop, status, words
from mlflow import MlflowClient

from gtloop_mlflow.observer import Mlflow


def on(server: Server, experiment: str, **options: Any) -> list[str]:
    """The arguments that turn the observer on."""
    given = {"tracking_uri": server.uri, "experiment": experiment, **options}
    return [x for k, v in given.items() for x in ("-o", f"observers.mlflow.{k}={v}")]


def only_run(server: Server, experiment: str) -> tuple[MlflowClient, Any]:
    """The one MLflow run of an experiment."""
    client = MlflowClient(server.uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    (run,) = client.search_runs([found.experiment_id])
    return client, run


def history_of(client: MlflowClient, run: Any, key: str) -> list[tuple[int, float]]:
    return sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, key))


def check_complete(server: Server, experiment: str, root: Path) -> tuple[MlflowClient, Any]:
    """The server's run says the same as gtloop's own status, every figure once."""
    client, run = only_run(server, experiment)
    found = status(root)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.note.content"] == found["summary"]
    for key in ("human", "machine", "cost_usd"):
        assert history_of(client, run, key) == [(r["n"], r[key]) for r in found["iterations"]]
    for key in ("coverage", "threshold", "certified"):
        known = [(r["n"], r[key]) for r in found["iterations"] if r[key] is not None]
        assert known
        assert history_of(client, run, key) == known
    seconds = history_of(client, run, "seconds")
    assert [n for n, _ in seconds] == [r["n"] for r in found["iterations"]]
    assert history_of(client, run, "saving")[-1][1] == pytest.approx(found["saving"], abs=1e-5)
    assert run.data.metrics["total.machine"] == found["items"]["machine"] > 0
    assert run.data.metrics["promise.certified"] == found["promise"]["certified"]
    return client, run


class TestMlflow(ObserverContract):
    plugin = Mlflow

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _serve(cls, server: Server) -> None:
        cls.options = {"tracking_uri": server.uri, "experiment": "contract", "close_s": 3}


class TestMlflowWithoutServer(ObserverContract):
    plugin = Mlflow
    options = {"tracking_uri": "http://127.0.0.1:9", "close_s": 3}


def test_a_run_is_shown_with_its_settings_figures_and_artifacts(server: Server, images: Path, tmp_path: Path) -> None:
    root = tmp_path / "shown"
    gtloop(*words(images, root, *on(server, "whole", close_s=600)))
    client, run = check_complete(server, "whole", root)
    assert run.info.run_name == "shown"
    assert run.data.params["run.classes"] == "crate, drum"
    assert run.data.params["promise.max_loss"] == "0.06"
    assert run.data.params["plan.validation"] == "60"
    assert run.data.tags["run.detector"] == "stub"
    where = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    told = json.loads((where / "status.json").read_text())
    assert told["items"] == status(root)["items"]
    (passed,) = [c for c in json.loads((where / "promise.json").read_text())["certificates"] if c["threshold"]]
    assert passed["bound"] == pytest.approx(run.data.metrics["promise.certified"])
    out = tmp_path / "again.jsonl"  # the model that was sent is one that gtloop uses
    gtloop("predict", str(where / "model"), str(images), "--out", str(out))
    assert sum('"machine"' in line for line in out.read_text().splitlines()) == 180

    before = len(history_of(client, run, "human"))
    gtloop(*words(images, root, *on(server, "whole")))
    said = gtloop("mlflow", str(root), "--json").stdout
    assert json.loads(said)["mlflow_run"] == run.info.run_id
    assert len(history_of(client, run, "human")) == before, "what the server had is sent again"

    gtloop("report", str(root))
    gtloop("mlflow", str(root))
    assert "report/index.html" in {f.path for f in client.list_artifacts(run.info.run_id, "report")}


@pytest.mark.slow
def test_killed_runs_are_one_run(server: Server, images: Path, tmp_path: Path) -> None:
    root = tmp_path / "killed"
    given = words(images, root, *on(server, "killed"))
    for kill_at in (4, 9, 14):
        gtloop(*given, kill_at=kill_at, code=-9)
    gtloop(*given)
    gtloop("mlflow", str(root))  # what the last process had no time for
    check_complete(server, "killed", root)


@pytest.mark.slow
def test_a_server_that_is_away_hurts_nobody(server: Server, images: Path, tmp_path: Path) -> None:
    """It is there when the run starts, away for most of it, and back at the end."""
    root, budget = tmp_path / "away", ["--budget", "2.2"]
    given = words(images, root, *on(server, "away"))
    gtloop(*given, *budget, code=4)
    gtloop("mlflow", str(root))
    assert only_run(server, "away")[1].info.status == "SCHEDULED"
    server.stop()
    try:
        ended = gtloop(*given, "--budget", "100")
        warned = [line for line in ended.stderr.splitlines() if "mlflow: " in line]
        assert len([w for w in warned if "can't be reached; what it lacks is sent later" in w]) == 1, ended.stderr
        assert len(warned) == 2, "one when it is away, one at the end"
        refused = gtloop("mlflow", str(root), code=1).stderr
        assert "error: the MLflow server can't be reached; check observers.mlflow.tracking_uri" in refused
    finally:
        server.start()
    gtloop("mlflow", str(root))
    check_complete(server, "away", root)


def test_nothing_waits_for_a_server_that_is_away(server: Server, images: Path, tmp_path: Path) -> None:
    """All that a run told nobody is at the server as soon as that is back, without a second run."""
    from gtloop.interfaces import Context
    from gtloop.registry import Registry

    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins", "gtloop_mlflow"])
    task = registry.build("task", "bbox", {}, Context(categories=("crate", "drum")))
    context = Context(run="tiny", task=task, workdir=tmp_path / "observer" / "mlflow")
    options = {"tracking_uri": server.uri, "experiment": "late", "close_s": 600}
    server.stop()
    try:
        observer = registry.build("observer", "mlflow", options, context)
        for event, state in history():
            observer.observe(event, state)
    finally:
        server.start()
    observer.close()
    client, run = only_run(server, "late")
    assert history_of(client, run, "human") == [(r["n"], r["human"]) for r in iterations(history()[-1].state)]
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("hours", [-1, 1], ids=["begun before", "begun after"])
def test_a_run_that_the_server_makes_late_stays_empty(server: Server, tmp_path: Path, hours: int) -> None:
    """A call that broke off is carried out once another run is written to: all processes go on with that one."""
    from gtloop.interfaces import Context
    from gtloop.registry import Registry

    from gtloop_mlflow.snapshot import snapshot
    from gtloop_mlflow.tracker import KEY, Tracker

    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    task = registry.build("task", "bbox", {}, Context(categories=("crate", "drum")))
    first, last = (snapshot("tiny", state, task) for _, state in (history()[0], history()[-1]))
    experiment = f"late {hours}"

    def process() -> Tracker:
        return Tracker(server.uri, experiment, tmp_path, timeout_s=10, model=False)

    number = process().push(first, None)
    client, run = only_run(server, experiment)
    start = run.info.start_time + hours * 3_600_000
    late = client.create_run(run.info.experiment_id, start, {KEY: run.data.tags[KEY]}).info.run_id
    assert process().push(last, None) == number
    assert not client.get_run(late).data.params


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "name the server with tracking_uri=http://HOST:PORT, or MLFLOW_TRACKING_URI"),
        (["tracking_uri=sqlite:///x.db"], "has to be of http or https"),
        (["tracking_uri=http://"], "has to be of http or https"),
        (["tracking_uri=http://me:s3cr3t@host:5000"], "MLFLOW_TRACKING_USERNAME"),
        (["tracking_uri=http://host:5000", "experimant=x"], "unknown option"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    options: list[str], said: str, images: Path, tmp_path: Path
) -> None:
    given = [x for option in options or ["experiment=x"] for x in ("-o", f"observers.mlflow.{option}")]
    ended = gtloop(*words(images, tmp_path / "run", *given), code=2)
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert said in line
    assert "s3cr3t" not in ended.stderr
    assert not (tmp_path / "run").exists()


def test_no_secret_is_sent() -> None:
    """A signed address of the source's labels and another observer's address stay at home."""
    import copy

    from gtloop_mlflow.snapshot import snapshot

    state = copy.deepcopy(history()[-1].state)
    state.facts.settings["run"]["labels"] = "coco:https://user:s3cr3t@host/labels.json?signature=s3cr3t"
    state.facts.settings["observers"] = {"webhook": {"url": "http://h/s3cr3t"}}
    from gtloop.interfaces import Context
    from gtloop.registry import Registry

    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    task = registry.build("task", "bbox", {}, Context(categories=("crate", "drum")))
    made = snapshot("tiny", state, task)
    assert made.params["run.labels"] == "coco:https://host/labels.json"
    assert "s3cr3t" not in repr(made)
