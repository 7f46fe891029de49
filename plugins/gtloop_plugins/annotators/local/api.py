# No "from __future__ import annotations" here: FastAPI reads annotations, and its types are imported in functions.
"""Routes of whoever labels: what to do next, answers, drafts, leases, progress."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gtloop.errors import BadImage
from gtloop.records import Outcome
from gtloop.wording import counted
from gtloop_plugins.annotators.local import figures
from gtloop_plugins.annotators.local.crowd import Farewell
from gtloop_plugins.annotators.local.guard import claim_of
from gtloop_plugins.annotators.local.pictures import sized
from gtloop_plugins.annotators.local.refused import Refused
from gtloop_plugins.annotators.local.site import Site
from gtloop_plugins.annotators.local.tokens import Claim
from gtloop_plugins.annotators.local.work import Idle, Said, Task

RETRY_S = 2.0
MOST_GONE = 50
"""Images that can't be read which one ``next`` passes over."""

TaskId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,64}$")]
TaskIds = Annotated[list[TaskId], Field(max_length=100)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NextBody(Body):
    holding: TaskIds = Field([], description="tasks that the page has now")


class TasksBody(Body):
    tasks: TaskIds


class DraftBody(Body):
    task: TaskId
    draft: dict[str, Any]


class SubmitBody(Body):
    task: TaskId
    outcome: Outcome
    payload: dict[str, Any] | None = None
    active_seconds: float = Field(0.0, ge=0, allow_inf_nan=False)


def label_routes(site: Site) -> Any:
    """The router of these routes."""
    from fastapi import APIRouter, Depends, Request
    from fastapi.responses import JSONResponse

    async def session(request: Request) -> Claim:
        return claim_of(request.scope)

    router = APIRouter(prefix="/api")
    who = Depends(session)
    # Responses are made here, in the thread of the request; else FastAPI takes further turns for them.

    @router.get("/form")
    def form(claim: Claim = who) -> JSONResponse:
        return JSONResponse(_form(site, claim))

    @router.post("/next")
    def next_(body: NextBody, claim: Claim = who) -> JSONResponse:
        return JSONResponse(_next(site, claim, body.holding))

    @router.post("/submit")
    def submit(body: SubmitBody, claim: Claim = who) -> JSONResponse:
        site.work.answer(claim, body.task, Said(body.outcome, body.payload, body.active_seconds))
        return JSONResponse({"ok": True, "progress": figures.progress(site.database, claim.person)})

    @router.post("/draft")
    def draft(body: DraftBody, claim: Claim = who) -> JSONResponse:
        try:
            text = json.dumps(body.draft, allow_nan=False)
        except (ValueError, RecursionError):
            raise Refused(422, "bad_draft", "draft: not a number, or nested too deep") from None
        return JSONResponse({"ok": True, "lease_s": site.work.draft(claim, body.task, text)})

    @router.post("/renew")
    def renew(body: TasksBody, claim: Claim = who) -> JSONResponse:
        return JSONResponse({"lost": site.work.renew(claim, body.tasks)})

    @router.post("/release")
    def release(body: TasksBody, claim: Claim = who) -> JSONResponse:
        site.work.release(claim, body.tasks)
        return JSONResponse({"ok": True})

    @router.get("/progress")
    def progress(claim: Claim = who) -> JSONResponse:
        site.people.admitted(claim)
        return JSONResponse(figures.progress(site.database, claim.person))

    return router


def _form(site: Site, claim: Claim) -> dict[str, Any]:
    person, form = site.people.admitted(claim), site.form
    samples = [{"url": f"/sample/{n}", "caption": s.caption, "good": s.good} for n, s in enumerate(form.samples)]
    return {
        "task": form.task,
        "instructions": form.instructions,
        "primitives": [p.model_dump(mode="json") for p in form.primitives],
        "empty_allowed": form.empty_allowed,
        "samples": samples,
        "person": {"name": person.name, "role": person.role},
    }


def _next(site: Site, claim: Claim, holding: list[str]) -> dict[str, Any]:
    gone: list[int] = []
    while True:
        found = site.work.next(claim, holding, gone)
        if isinstance(found, Idle):
            return _over(site, claim) if found.state == "over" and not gone else _idle(site, found, len(gone))
        try:
            return {"state": "task", "task": _task(site, found)}
        except BadImage:
            site.work.release(claim, [found.task])
            gone.append(found.number)
            if len(gone) > MOST_GONE:
                return _idle(site, Idle("none"), len(gone))


def _task(site: Site, found: Task) -> dict[str, Any]:
    width, height = sized(found.request.item).display_size or (0, 0)
    return {
        "id": found.task,
        "image": f"/image/{found.image}",
        "width": width,
        "height": height,
        "mode": found.request.mode,
        "proposal": found.request.proposal,
        "draft": found.draft,
        "lease_s": site.lease_s,
    }


def _over(site: Site, claim: Claim) -> dict[str, Any]:
    """The end of a guest's shift."""
    shift = site.shifts.last(claim.person)
    said = site.crowd.farewell("" if shift is None else shift.note, shift) if site.crowd else Farewell("")
    return {"state": "done", "why": said.text, "leave": said._asdict()}


def _idle(site: Site, found: Idle, gone: int) -> dict[str, Any]:
    if found.state == "blocked":
        return {"state": "blocked", "why": found.why}
    status = site.watch.view.status
    if gone:
        why = f"{counted(gone, 'image')} can't be read now; tell the owner of the run"
    elif found.state == "holding":
        why = "you have two images already, or your last answer is on its way"
    elif found.state == "held":
        why = "others have the last images of this batch; what they do not finish comes back"
    elif site.watch.view.over:
        return {"state": "done"}
    elif found.state == "others":
        why = "you have answered what is asked for now; it waits for other people"
    elif str(status.get("state", "")).startswith("paused"):
        why = f"the run is {status['state']}"
    else:
        why = "a model learns from your answers; new images come by themselves"
    return {"state": "wait", "retry_s": RETRY_S, "why": why}
