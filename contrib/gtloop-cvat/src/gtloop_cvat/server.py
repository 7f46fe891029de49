"""A CVAT server through ``cvat-sdk``: few calls, patient, and with errors of one line that hold no secret."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from gtloop.errors import ConfigError, GtloopError, Unreachable

from gtloop_cvat.options import PASSWORD, TOKEN, USER, CvatOptions


class Refused(GtloopError):
    """The server says no.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, what: str, status: int, said: str) -> None:
        super().__init__(f"CVAT refuses to {what}: {said}")
        self.status = status


class Server:
    """One account at one server."""

    def __init__(self, options: CvatOptions) -> None:
        self._options = options
        self._client: Any = None

    @property
    def api(self) -> Any:
        """The SDK's low-level client, signed in."""
        return self._made().api_client

    def do(self, what: str, call: Callable[[], Any], *, once: bool = False, until: float | None = None) -> Any:
        """What a call of the SDK returns; tried again while the server fails for a while.

        Args:
            what: For the error: "list jobs".
            once: Not tried again where it may have been done.
            until: ``time.monotonic()`` after which it is not tried again; None: ``patience_s`` from now.

        Raises:
            ConfigError: There are no credentials, or the server does not know them.
            Refused: The server says no.
            Unreachable: It does not answer.
        """
        import urllib3
        from cvat_sdk.core.exceptions import BackgroundRequestException, CvatSdkException
        from cvat_sdk.exceptions import ApiException

        until = time.monotonic() + self._options.patience_s if until is None else until
        pause = 0.2
        while True:
            try:
                return call()
            except BackgroundRequestException as e:
                raise Refused(what, 400, " ".join(str(e).split())[:300]) from None
            except ApiException as e:
                if e.status in (401, 403):
                    raise ConfigError(
                        f"CVAT at {self._options.url} does not let this account {what}: check {TOKEN}, or {USER} and "
                        f"{PASSWORD}"
                    ) from None
                if e.status and e.status < 500 and e.status != 429:
                    raise Refused(what, e.status, _said(e)) from None
                why = f"HTTP {e.status}"
            except (urllib3.exceptions.HTTPError, CvatSdkException, OSError) as e:
                why = _reason(e)
            if once or time.monotonic() + pause > until:
                raise Unreachable(f"CVAT at {self._options.url}: can't {what}: {why}")
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, 20.0)

    # ------------------------------------------------------------------------------------------ tasks

    def find_tasks(self, name: str) -> list[Any]:
        """All tasks of that name."""
        return [t for t in self._pages("list tasks", self.api.tasks_api.list, name=name) if t.name == name]

    def create_task(self, name: str, labels: list[dict[str, Any]]) -> int:
        from cvat_sdk import models

        spec = models.TaskWriteRequest(
            name=name, labels=[models.PatchedLabelRequest(**label) for label in labels], segment_size=0
        )
        made, _ = self.do("create a task", lambda: self.api.tasks_api.create(task_write_request=spec), once=True)
        return int(made.id)

    def delete_task(self, task: int) -> None:
        """Delete a task; one that is gone already is fine."""
        try:
            self.do("delete a task", lambda: self.api.tasks_api.destroy(task))
        except Refused as e:
            if e.status != 404:
                raise

    def upload(self, task: int, files: list[Path], urls: list[str]) -> None:
        """Give a task its images, in this order, and wait until it has its job.

        Raises:
            Refused: The server can't make a task of them.
        """
        from cvat_sdk.core.proxies.tasks import ResourceType

        proxy = self.do("read a task", lambda: self._made().tasks.retrieve(task))
        params = {"image_quality": self._options.image_quality, "sorting_method": "predefined"}
        kind = ResourceType.REMOTE if urls else ResourceType.LOCAL
        self.do("upload images", lambda: proxy.upload_data(urls or files, resource_type=kind, params=params), once=True)

    def frames(self, task: int) -> list[Any]:
        """Name, width and height of a task's images."""
        meta, _ = self.do("read a task", lambda: self.api.tasks_api.retrieve_data_meta(task))
        return list(meta.frames)

    def job_of(self, task: int) -> Any | None:
        """The job of a task; None where the task is gone, or has none yet."""
        found, _ = self.do("list jobs", lambda: self.api.jobs_api.list(task_id=task))
        return found.results[0] if found.results else None

    def label_ids(self, task: int) -> dict[str, int]:
        """Name to id of a task's labels."""
        found = self._pages("list labels", self.api.labels_api.list, task_id=task)
        return {str(label.name): int(label.id) for label in found}

    def annotations(self, job: int) -> Any:
        found, _ = self.do("read annotations", lambda: self.api.jobs_api.retrieve_annotations(job))
        return found

    def propose(self, job: int, shapes: list[dict[str, Any]], tags: list[dict[str, Any]]) -> None:
        """Put annotations into a job, in place of those that it has."""
        from cvat_sdk import models

        data = models.LabeledDataRequest(
            shapes=[models.LabeledShapeRequest(**{**s, "type": models.ShapeType(s["type"])}) for s in shapes],
            tags=[models.LabeledImageRequest(**t) for t in tags],
        )
        self.do("upload proposals", lambda: self.api.jobs_api.update_annotations(job, labeled_data_request=data))

    def assign(self, job: int, user: int) -> None:
        from cvat_sdk import models

        change = models.PatchedJobWriteRequest(assignee=user)
        self.do("assign a job", lambda: self.api.jobs_api.partial_update(job, patched_job_write_request=change))

    def user_id(self, name: str) -> int:
        """The id of a user.

        Raises:
            ConfigError: There is none of that name.
        """
        found, _ = self.do("list users", lambda: self.api.users_api.list(search=name))
        for user in found.results:
            if user.username == name:
                return int(user.id)
        raise ConfigError(f"CVAT has no user {name!r}; correct annotators.cvat.assignees, or invite them")

    def about(self, seconds: float) -> None:
        """Whether the server answers, and knows the account."""
        until = time.monotonic() + seconds
        self.do("read the account", lambda: self.api.users_api.retrieve_self(), until=until)

    def _pages(self, what: str, call: Callable[..., Any], **given: Any) -> list[Any]:
        """The results of all pages of a list."""
        found: list[Any] = []
        for page in count(1):
            some, _ = self.do(what, partial(call, **given, page=page))
            found += some.results
            if not some.next:
                break
        return found

    def _made(self) -> Any:
        if self._client is not None:
            return self._client
        from cvat_sdk.core.client import AccessTokenCredentials, Client, Config, PasswordCredentials

        token, user, password = (os.environ.get(name, "") for name in (TOKEN, USER, PASSWORD))
        if not token and not (user and password):
            raise ConfigError(f"set {TOKEN} to a token of your CVAT account, or {USER} and {PASSWORD}")
        client = Client(self._options.url, config=Config(status_check_period=0.2), check_server_version=False)
        client.organization_slug = self._options.organization
        _bound(client.api_client.rest_client.pool_manager, self._options.timeout_s)
        credentials = AccessTokenCredentials(token) if token else PasswordCredentials(user, password)
        self.do("sign in", lambda: client.login(credentials), until=time.monotonic() + 10)
        self._client = client
        return client


def _bound(pool: Any, seconds: float) -> None:
    """Let no call take longer: where nothing else is said, the SDK waits for ever."""
    plain = pool.request

    def request(*args: Any, timeout: Any = None, **more: Any) -> Any:
        return plain(*args, timeout=timeout or seconds, **more)

    pool.request = request


def _reason(error: BaseException) -> str:
    """Why a call did not come through, without the layers of pool and retries around it."""
    while (inner := getattr(error, "reason", None)) is not None and isinstance(inner, BaseException):
        error = inner
    text = " ".join(str(error).split())
    text = text.rpartition(": ")[2] if "Connection" in text else text  # urllib3 puts the connection in front
    return text if len(text) <= 200 else text[:200].rpartition(" ")[0] + " ..."


def _said(e: Any) -> str:
    """What the server says is wrong."""
    body = e.body.decode("utf-8", "replace") if isinstance(e.body, bytes) else str(e.body or "")
    try:
        found = json.loads(body)
    except ValueError:
        return f"HTTP {e.status}"
    return " ".join(json.dumps(found).split())[:300]
