"""One server for all tests; each has a project of its own there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from studio import INSTALL, Server, executable


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder below which the server may show files of this machine."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[Server]:
    """A real server; without its program tests are skipped, or fail where GTLOOP_FORBID_SKIPS forbids that."""
    if not executable().is_file():
        why = f"no Label Studio at {executable()}: {INSTALL}, or set LABEL_STUDIO"
        if os.environ.get("GTLOOP_FORBID_SKIPS"):
            pytest.fail(why)
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("studio")
    server = Server(folder, files)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _token(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner's personal access token, where a test has a server."""
    if "studio" in request.fixturenames:
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", request.getfixturevalue("studio").owner.personal)
