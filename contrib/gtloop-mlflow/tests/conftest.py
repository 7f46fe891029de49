"""Fixtures: a real MLflow server, and images to label."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["gtloop.testing.pytest_plugin"]
sys.path.insert(0, str(Path(__file__).parent))

from kit import Server, make_images, program  # noqa: E402

INSTALL = "no MLflow server: python -m venv .venv-mlflow && .venv-mlflow/bin/pip install mlflow, or set MLFLOW"


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")  # before ``timeout_s``: a busy machine is no fault
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests; who stops it starts it again."""
    mlflow = program()
    if mlflow is None:
        (pytest.fail if os.environ.get("GTLOOP_FORBID_SKIPS") else pytest.skip)(INSTALL)
    made = Server(tmp_path_factory.mktemp("server"), mlflow)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"), 180)
