"""A CVAT server as far as the annotator sees it: its REST shapes over HTTP, and the people who work there.

What it is sent has to be what ``cvat-sdk``'s own models take, without a key too many; what it answers, the SDK checks
against the same models as it reads it. Uploads follow the SDK's protocol. Faults can be asked for.
"""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import uvicorn
from cvat_sdk import models
from cvat_sdk.api_client import Configuration
from cvat_sdk.api_client.model_utils import validate_and_convert_types
from cvat_sdk.exceptions import OpenApiException
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from PIL import Image, ImageOps

TOKEN = "cvat-secret-5b1e"
USERS = {"admin": 1, "anna": 2, "ben": 3}


class Denied(Exception):
    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(str(detail))
        self.status, self.detail = status, detail


def checked(body: Any, model: Any) -> dict[str, Any]:
    """A body, if the SDK's model takes it, and knows all of its keys."""
    unknown = set(body) - set(model.attribute_map.values())
    if unknown:
        raise Denied(400, {key: ["Unknown field."] for key in sorted(unknown)})
    try:
        validate_and_convert_types(body, (model,), ["body"], True, True, Configuration())
    except OpenApiException as e:
        raise Denied(400, {"body": [str(e)]}) from None
    return dict(body)


class Emulator:
    """One server; ``next_faults`` holds (part of a call, "500 before" | "500 after" | "hang" | "late") to come.

    "late": the creation of a task fails, and is carried out ``late_s`` afterwards.
    """

    def __init__(self) -> None:
        self.tasks: dict[int, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()
        self.next_faults: list[tuple[str, str]] = []
        self.hang_s = 2.0
        self.late_s = 1.0
        self.broken = ""
        """What background work fails with."""
        self._lock, self._count = threading.RLock(), 100
        bound = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self._app(), log_level="error", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, args=([bound],), daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)

    # ------------------------------------------------------------------------------------- people

    def open_tasks(self, name: str = "") -> list[dict[str, Any]]:
        """Tasks with images whose job is not completed."""
        tasks = list(self.tasks.values())  # at once: calls make more meanwhile
        return [t for t in tasks if name in t["name"] and t["images"] and t["state"] != "completed"]

    def completed(self) -> int:
        return sum(t["state"] == "completed" for t in list(self.tasks.values()))

    def images(self, task: dict[str, Any]) -> list[Image.Image]:
        """What people see, in the order of frames."""
        return [ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB") for _, data in task["images"]]

    def complete(self, task: dict[str, Any], shapes: list[Any], tags: list[Any], user: str | None = None) -> None:
        """Somebody saves annotations and says that the job is done."""
        full = {"occluded": False, "z_order": 0, "rotation": 0.0, "attributes": [], "source": "manual"}
        task["shapes"] = [{**full, **s} for s in shapes]
        task["tags"] = [{"source": "manual", "attributes": [], **t} for t in tags]
        task["state"], task["updated"] = "completed", _now()
        task["assignee"] = user or task["assignee"]

    def create(self, name: str, labels: list[dict[str, Any]]) -> dict[str, Any]:
        """A task without images."""
        with self._lock:
            number = self._id()
            self.tasks[number] = {
                "id": number, "name": name, "labels": [{"id": self._id(), "task_id": number, **x} for x in labels],
                "images": [], "job": None, "state": "new", "assignee": None, "shapes": [], "tags": [],
                "updated": _now(), "files": [],
            }  # fmt: skip
            return self.tasks[number]

    # --------------------------------------------------------------------------------------- HTTP

    def _id(self) -> int:
        self._count += 1
        return self._count

    def _task(self, number: int) -> dict[str, Any]:
        if number not in self.tasks:
            raise Denied(404, {"detail": "Not found."})
        return self.tasks[number]

    def _of_job(self, number: int) -> dict[str, Any]:
        found = [t for t in self.tasks.values() if t["job"] == number]
        if not found:
            raise Denied(404, {"detail": "Not found."})
        return found[0]

    def _app(self) -> FastAPI:
        app = FastAPI(redirect_slashes=False)

        @app.middleware("http")
        async def wrap(request: Request, call_next: Any) -> Any:
            call = f"{request.method} {request.url.path}"
            self.calls[request.method] += 1
            if TOKEN not in request.headers.get("authorization", ""):
                return JSONResponse({"detail": "Authentication credentials were not provided."}, 401)
            fault = self._fault(call)
            if fault == "late":
                self._later(await request.json())
            if fault in ("500 before", "late"):
                return Response("<html>", 502)
            answer = await call_next(request)
            if fault == "500 after":
                return Response("<html>", 502)
            if fault == "hang":
                await asyncio.sleep(self.hang_s)
            return answer

        @app.exception_handler(Denied)
        async def denied(request: Request, e: Denied) -> JSONResponse:
            self.calls["denied"] += 1
            return JSONResponse(e.detail, e.status)

        self._task_routes(app)
        self._job_routes(app)
        return app

    def _later(self, body: dict[str, Any]) -> None:
        timer = threading.Timer(self.late_s, self.create, [body["name"], body["labels"]])
        timer.daemon = True
        timer.start()

    def _fault(self, call: str) -> str:
        for n, (part, fault) in enumerate(self.next_faults):
            if part in call:
                del self.next_faults[n]
                return fault
        return ""

    def _task_routes(self, app: FastAPI) -> None:
        @app.get("/api/users/self")
        def me() -> Any:
            return {"id": 1, "username": "admin", "groups": []}

        @app.get("/api/users")
        def users(search: str = "") -> Any:
            found = [{"id": n, "username": name, "url": "u"} for name, n in USERS.items() if search in name]
            return _page([{**u, "first_name": "", "last_name": ""} for u in found])

        @app.get("/api/tasks")
        def tasks(name: str = "", page: int = 1) -> Any:
            return _page([_told(t) for t in self.tasks.values() if name in ("", t["name"])], page)

        @app.post("/api/tasks", status_code=201)
        async def create(request: Request) -> Any:
            body = checked(await request.json(), models.TaskWriteRequest)
            return _told(self.create(body["name"], body["labels"]))

        @app.get("/api/tasks/{number}")
        def task(number: int) -> Any:
            return _told(self._task(number))

        @app.delete("/api/tasks/{number}", status_code=204)
        def delete(number: int) -> Response:
            self._task(number)
            del self.tasks[number]
            return Response(status_code=204)

        @app.post("/api/tasks/{number}/data/")
        async def data(number: int, request: Request) -> Any:
            found = self._task(number)
            if found["images"]:
                raise Denied(400, {"data": ["The task has data already."]})
            if "upload-start" in request.headers:
                found["files"] = []
                return Response(status_code=202)
            if "upload-multiple" in request.headers:
                form = await request.form()
                for key, file in form.multi_items():
                    if key.startswith("client_files"):
                        found["files"].append((file.filename.rsplit("/", 1)[-1], await file.read()))  # type: ignore[union-attr]
                return Response(status_code=200)
            found["job"], found["images"] = self._id(), sorted(found["files"])
            return JSONResponse({"rq_id": f"action=create&target=task&id={number}"}, 202)

        @app.get("/api/requests/{name}")
        def progress(name: str) -> Any:
            target = {"type": "create:task", "target": "task", "task_id": int(name.rsplit("=", 1)[-1])}
            status = "failed" if self.broken else "finished"
            return {"id": name, "status": status, "message": self.broken, "operation": target, "created_date": _now()}

        @app.get("/api/tasks/{number}/data/meta")
        def meta(number: int) -> Any:
            found = self._task(number)
            frames = [
                {"name": name, "width": image.width, "height": image.height, "related_files": 0}
                for (name, _), image in zip(found["images"], self.images(found), strict=True)
            ]
            return {"chunks_updated_date": _now(), "frames": frames, "deleted_frames": [], "size": len(frames)}

    def _job_routes(self, app: FastAPI) -> None:
        @app.get("/api/labels")
        def labels(task_id: int, page: int = 1) -> Any:
            found = [{**x, "color": "#fff", "has_parent": False} for x in self._task(task_id)["labels"]]
            return _page(found, page)

        @app.get("/api/jobs")
        def jobs(task_id: int) -> Any:
            found = self.tasks.get(task_id)
            return _page([] if found is None or found["job"] is None else [_job(found)])

        @app.patch("/api/jobs/{number}")
        async def change(number: int, request: Request) -> Any:
            body = checked(await request.json(), models.PatchedJobWriteRequest)
            found = self._of_job(number)
            found["assignee"] = {n: name for name, n in USERS.items()}[body["assignee"]]
            return _job(found)

        @app.get("/api/jobs/{number}/annotations/")
        def annotations(number: int) -> Any:
            found = self._of_job(number)
            return {"version": 1, "tags": found["tags"], "shapes": found["shapes"], "tracks": []}

        @app.put("/api/jobs/{number}/annotations/")
        async def put(number: int, request: Request) -> Any:
            body = checked(await request.json(), models.LabeledDataRequest)
            found = self._of_job(number)
            for shape in body.get("shapes", []):
                checked(shape, models.LabeledShapeRequest)
            found["shapes"], found["tags"] = body.get("shapes", []), body.get("tags", [])
            return {"version": 2, "tags": found["tags"], "shapes": found["shapes"], "tracks": []}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _page(results: list[Any], page: int = 1, size: int = 2) -> dict[str, Any]:
    following = "next" if len(results) > size * page else None
    some = results[size * (page - 1) : size * page]
    return json.loads(json.dumps({"count": len(results), "next": following, "previous": None, "results": some}))  # type: ignore[no-any-return]


def _told(task: dict[str, Any]) -> dict[str, Any]:
    return {"id": task["id"], "name": task["name"], "size": len(task["images"]), "labels": {"url": "l"},
            "jobs": {"completed": 0, "validation": 0, "count": 1}, "created_date": task["updated"]}  # fmt: skip


def _job(task: dict[str, Any]) -> dict[str, Any]:
    who = task["assignee"]
    return {
        "id": task["job"], "task_id": task["id"], "state": task["state"], "stage": "annotation", "issues": {},
        "labels": {"url": "l"}, "updated_date": task["updated"], "frame_count": len(task["images"]),
        "assignee": None if who is None else {"id": USERS[who], "username": who, "url": "u", "first_name": "",
                                              "last_name": ""},
    }  # fmt: skip
