"""A real Label Studio server for tests, and people who answer through its API as its page does for annotators."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[3]
QUIET = {
    **{"COLLECT_ANALYTICS": "0", "LATEST_VERSION_CHECK": "0", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""},
    **{"OMP_NUM_THREADS": "1", "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true", "PYTHONPATH": ""},
}
"""No telemetry, no question whether there is a newer version."""
PASSWORD = "a-password-of-tests"
START_S = 600
INSTALL = "python -m venv .venv-labelstudio && .venv-labelstudio/bin/pip install label-studio==1.23.2"


def executable() -> Path:
    """The server's program: ``LABEL_STUDIO``, or that of the environment at the root of the checkout."""
    return Path(os.environ.get("LABEL_STUDIO") or ROOT / ".venv-labelstudio" / "bin" / "label-studio")


class Server:
    """A server on a folder of its own; ``kill`` and ``start`` as often as one likes."""

    def __init__(self, folder: Path, files: Path | None = None) -> None:
        self.folder, self._files = folder, files or folder
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = int(s.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._people: dict[int, Person] = {}
        if not (folder / "label_studio.sqlite3").exists():
            shutil.copytree(_migrated(), folder, dirs_exist_ok=True)

    def start(self) -> None:
        command = [executable(), "start", "--no-browser", "--data-dir", self.folder, "--internal-host", "127.0.0.1"]
        env = {**os.environ, **QUIET, "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(self._files)}
        with (self.folder / "server.log").open("ab") as log:
            words = [*map(str, command), "--port", str(self.port), "--log-level", "ERROR"]
            self._process = subprocess.Popen(words, env=env, stdout=log, stderr=log, cwd=self.folder)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            assert self._process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            time.sleep(0.3)
        raise AssertionError(f"no answer within {START_S} s: {(self.folder / 'server.log').read_text()[-2000:]}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def person(self, number: int) -> Person:
        """The first is the owner of the organization, all others are its members."""
        if number not in self._people:
            if number:
                self.person(0)
            self._people[number] = Person(self, number)
        return self._people[number]

    @property
    def owner(self) -> Person:
        return self.person(0)


class Person:
    """Somebody with an account and access tokens of their own."""

    def __init__(self, server: Server, number: int) -> None:
        self.number = number
        self._http = httpx.Client(base_url=server.url, timeout=60)
        link = server.owner.get("/api/invite")["invite_url"] if number else "/user/signup/"
        self._http.get(link)
        form = {"email": f"person{number}@example.org", "password": PASSWORD}
        joined = self._http.post(link, data={**form, "csrfmiddlewaretoken": self._csrf})
        assert joined.status_code == 302, joined.text
        self.personal = self._session("POST", "/api/token/")["token"]
        self.legacy = self._session("GET", "/api/current-user/token")["token"]
        self._http.cookies.clear()
        self._access = ""
        self.id = int(self.get("/api/current-user/whoami")["id"])

    @property
    def _csrf(self) -> str:
        return self._http.cookies.get("csrftoken") or ""

    def _session(self, method: str, path: str) -> Any:
        answer = self._http.request(method, path, headers={"X-CSRFToken": self._csrf})
        assert answer.is_success, answer.text
        return answer.json()

    def call(self, method: str, path: str, **given: Any) -> httpx.Response:
        """With an access token that is got anew when it has run out."""
        for fresh in (False, True):
            if fresh or not self._access:
                got = self._http.post("/api/token/refresh/", json={"refresh": self.personal})
                self._access = got.json()["access"]
            answer = self._http.request(method, path, headers={"Authorization": f"Bearer {self._access}"}, **given)
            self._http.cookies.clear()
            if answer.status_code != 401:
                return answer
        raise AssertionError(f"{method} {path}: {answer.text}")

    def get(self, path: str, **params: Any) -> Any:
        answer = self.call("GET", path, params=params)
        assert answer.is_success, f"{path}: {answer.text[:500]}"
        return answer.json()

    def post(self, path: str, body: Any) -> Any:
        answer = self.call("POST", path, json=body)
        assert answer.is_success, f"{path}: {answer.text[:500]}"
        return answer.json()

    def next(self, project: int) -> dict[str, Any] | None:
        """The task that the server offers next; None: there is none for this person."""
        answer = self.call("GET", f"/api/projects/{project}/next")
        if answer.status_code == 404:
            return None
        assert answer.is_success, answer.text[:500]
        found: dict[str, Any] = answer.json()
        return found

    def annotate(self, task: int, result: list[Any], seconds: float = 3.5, *, skip: bool = False) -> dict[str, Any]:
        """Press Submit, or Skip."""
        body = {"result": result, "lead_time": seconds, **({"was_cancelled": True} if skip else {})}
        made: dict[str, Any] = self.post(f"/api/tasks/{task}/annotations/", body)
        return made

    def sees(self, task: Mapping[str, Any]) -> str:
        """Hash of the picture that their browser shows."""
        answer = self.call("GET", task["data"]["image"])
        assert answer.is_success, answer.text[:500]
        return hashlib.sha256(answer.content).hexdigest()


def _migrated() -> Path:
    """The data of a server that was never used: making its database takes most of a minute, and is done once."""
    program = executable()
    made = program.parents[1] / "gtloop-unused-data"
    with (program.parents[1] / "gtloop-unused-data.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            work = made.with_name(f"{made.name}.{os.getpid()}")
            work.mkdir()
            (work / "label_studio.sqlite3").touch()
            server = Server(work)
            try:
                server.start()
            finally:
                server.kill()
            work.rename(made)
    return made
